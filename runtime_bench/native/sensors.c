// The sampler as a process of its own, from before the load to the end of the run; see Sampler in
// ../edgekit_bench/sensors.py. Whatever goes wrong with it is told in its event: times are
// as good without.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

#define READY_NS 15000000000
#define END_NS 10000000000  // it may be waiting for a command that it runs
#define ROWS_A_LINE 1000

static pid_t sampler;
static int input = -1, output = -1, said = -1;
static struct text problem;
static int64_t idle_start, idle_end;

static void sleep_ns(int64_t ns) {
  struct timespec left = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

// It has ended: note how.
static void note_end(int status) {
  size_t length = 0;
  sampler = 0;
  if (status == 0 || problem.length) return;
  lseek(said, 0, SEEK_SET);
  char *words = read_open(said, 1 << 16, &length);
  while (length && (words[length - 1] == '\n' || words[length - 1] == ' ')) length--;
  text_format(&problem, "the sampler ended with %d: ",
              WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
  if (length) text_bytes(&problem, words, length < 500 ? length : 500);
  else text_add(&problem, "it said nothing");
}

static void start(const struct job *job) {
  int ends[2];
  output = memory_file();
  said = memory_file();
  pid_t child = output < 0 || said < 0 || pipe2(ends, O_CLOEXEC) != 0 ? -1 : fork();
  if (child < 0)
    fail(FAILED, "no_sampler", "", "cannot start the sampler: %s", strerror(errno));
  if (child == 0) {
    dup2(ends[0], STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(said, STDERR_FILENO);
    execl(job->sampler, job->sampler, "--sampler", (char *)NULL);
    dprintf(STDERR_FILENO, "%s: %s", job->sampler, strerror(errno));
    _exit(127);
  }
  close(ends[0]);
  input = ends[1];
  sampler = child;
  at_failure = end_sensors;
  struct text spec = {0};
  json_write(&spec, job->sampler_spec);
  text_add(&spec, "\n");
  void (*kept)(int) = signal(SIGPIPE, SIG_IGN);
  for (size_t done = 0; done < spec.length;) {
    ssize_t wrote = write(input, spec.data + done, spec.length - done);
    if (wrote < 0 && errno != EINTR) break;  // it has ended already; its end says why
    if (wrote > 0) done += (size_t)wrote;
  }
  signal(SIGPIPE, kept);
  text_free(&spec);
}

void start_sensors(const struct job *job) {
  start(job);
  struct stat printed;
  int status;
  int64_t until = clock_ns() + READY_NS;
  while (fstat(output, &printed) == 0 && printed.st_size == 0) {
    if (waitpid(sampler, &status, WNOHANG) == sampler) {
      note_end(status);
      break;
    }
    if (clock_ns() > until) {
      text_format(&problem, "the sampler was not ready after %d s", (int)(READY_NS / 1000000000));
      break;
    }
    sleep_ns(10000000);
  }
  idle_start = clock_ns();
  sleep_ns((int64_t)(job->idle_seconds * 1e9));
  idle_end = clock_ns();
}

void end_sensors(void) {
  if (input >= 0) close(input);  // the sign to stop
  input = -1;
  int status = 0;
  int64_t until = clock_ns() + END_NS;
  while (sampler > 0 && waitpid(sampler, &status, WNOHANG) == 0) {
    if (clock_ns() > until) {
      text_free(&problem);
      text_format(&problem, "the sampler did not end within %d s", (int)(END_NS / 1000000000));
      kill(sampler, SIGKILL);
      waitpid(sampler, &status, 0);
      break;
    }
    sleep_ns(5000000);
  }
  if (sampler > 0) note_end(status);
}

static void emit_rows(struct text *rows) {
  if (rows->length == 0) return;
  struct text rest = {0};
  text_format(&rest, "\"rows\": [%s]", rows->data);
  emit("sensors", &rest);
  text_free(&rest);
  text_free(rows);
}

void tell_sensors(void) {
  end_sensors();
  struct text rest = {0}, rows = {0};
  text_add(&rest, "\"problem\": ");
  text_json(&rest, problem.data ? problem.data : "");
  text_format(&rest, ", \"idle_start_ns\": %lld, \"idle_end_ns\": %lld", (long long)idle_start,
              (long long)idle_end);
  emit("sensors", &rest);
  text_free(&rest);
  size_t length = 0, count = 0;
  lseek(output, 0, SEEK_SET);
  char *data = read_open(output, SIZE_MAX / 2, &length), *from = data, *end;
  // What has no end is of a process that was killed in mid-line.
  while (data && (end = memchr(from, '\n', length - (size_t)(from - data))) != NULL) {
    if (rows.length) text_add(&rows, ",");
    text_bytes(&rows, from, (size_t)(end - from));
    from = end + 1;
    if (++count % ROWS_A_LINE == 0) emit_rows(&rows);
  }
  emit_rows(&rows);
}
