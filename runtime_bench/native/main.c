// Loads a model on the device, checks it and times it, where there is no Python. Jobs and events are
// those of ../edgekit_bench.
//
//     edgekit-bench [--library FILE]... [--module FILE] [--library-version TEXT] JOB.json
//                                                                      (or - for standard input)
//     edgekit-bench --sampler < SPEC      is the sampler of a job with sensors, see sampler.c
//
// --root FOLDER reads /proc and /sys below a folder, for tests.

#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runner.h"

// Seconds after the budget at which the kernel ends this process, whatever it hangs in: the link to
// who started it may be gone by then.
#ifndef ALARM_GRACE_SECONDS
#define ALARM_GRACE_SECONDS 15
#endif

void set_alarm(const struct job *job) {
  double seconds = ceil(job->time_budget_seconds);
  signal(SIGALRM, SIG_DFL);
  alarm(seconds > 1e9 ? 1000000000u : (unsigned)seconds + ALARM_GRACE_SECONDS);
}

int main(int count, char **words) {
  int64_t started = clock_ns();
  int at = 1;
  if (count == 2 && strcmp(words[1], "--sampler") == 0) {
    run_sampler();
    return 0;
  }
  for (; at + 1 < count && strncmp(words[at], "--", 2) == 0; at += 2) {
    if (strcmp(words[at], "--library") == 0 && library_count < MOST_LIBRARIES)
      library_paths[library_count++] = words[at + 1];
    else if (strcmp(words[at], "--module") == 0) module_path = words[at + 1];
    else if (strcmp(words[at], "--library-version") == 0) library_version = words[at + 1];
    else if (strcmp(words[at], "--root") == 0) system_root = words[at + 1];
    else break;
  }
  if (at != count - 1)
    fail(BAD_JOB, "bad_job", "", "give one argument: the path of the job, or -; before it may stand "
                                 "--library FILE, --module FILE and --library-version TEXT");
  struct job job = read_job(words[at]);
  double budget_ns = job.time_budget_seconds * 1e9;
  int64_t deadline_ns = budget_ns > 4e18 ? INT64_MAX : started + (int64_t)budget_ns;
  set_alarm(&job);
  struct stat model;
  if (stat(job.model, &model) != 0 || !S_ISREG(model.st_mode))
    fail(BAD_JOB, "bad_job", "", "there is no model file '%s'", job.model);
  void (*before_done)(void) = job.sampler ? tell_sensors : NULL;
  if (job.sampler) start_sensors(&job);
  if (job.streams == 1) one_stream(&job, deadline_ns, 0, NULL, before_done);
  else many_streams(&job, deadline_ns, before_done);
  return 0;
}
