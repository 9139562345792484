// Several processes that each load the model, wait for each other, and are timed at the same time.
// They are forked before the runtime is loaded, since runtimes start threads.

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

struct event {
  char *line;  // without the newline
  struct json *read;
};

struct stream {
  pid_t process;
  int reader, status;
  bool waits, ended;
  struct text text;
  size_t count;
  struct event *events;
};

static int go = -1;
static struct stream *streams;
static size_t stream_count;

static void wait_for_all(void) {
  char ignored;
  emit("waits", NULL);
  while (read(go, &ignored, 1) < 0 && errno == EINTR) {
  }
}

static const char *name_of(const struct event *event) {
  const struct json *name = json_find(event->read, "event");
  return name && name->kind == JSON_TEXT ? name->text : "";
}

static void end_all(void) {
  for (size_t i = 0; i < stream_count; i++)
    if (!streams[i].ended) {
      kill(streams[i].process, SIGKILL);
      waitpid(streams[i].process, NULL, 0);
    }
}

static void start(const struct job *job, int64_t deadline_ns, size_t number, int starter) {
  int ends[2];
  struct stream *stream = &streams[number];
  pid_t child = pipe(ends) == 0 ? fork() : -1;
  if (child < 0) {
    const char *why = strerror(errno);
    stream_count = number;
    end_all();
    fail(FAILED, "run_failed", "", "cannot start stream %zu: %s", number + 1, why);
  }
  if (child == 0) {
    close(starter);
    close(ends[0]);
    for (size_t i = 0; i < number; i++) close(streams[i].reader);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    in_stream = true;
    set_alarm(job);  // a fork does not inherit it
    one_stream(job, deadline_ns, (int64_t)number, wait_for_all, NULL);
    _exit(0);
  }
  close(ends[1]);
  *stream = (struct stream){.process = child, .reader = ends[0]};
}

static void add_event(struct stream *stream, const char *line, size_t length) {
  const char *why = NULL;
  struct event event = {.read = json_read(line, length, &why)};
  if (event.read == NULL) return;  // its end is told of below
  struct text copy = {0};
  text_bytes(&copy, line, length);
  event.line = copy.data;
  stream->events = need_memory(stream->events, stream->count + 1, sizeof event);
  stream->events[stream->count++] = event;
  stream->waits = stream->waits || strcmp(name_of(&event), "waits") == 0;
}

static void read_stream(struct stream *stream) {
  char data[1 << 16];
  ssize_t got = read(stream->reader, data, sizeof data);
  if (got < 0 && errno == EINTR) return;
  if (got <= 0) {
    close(stream->reader);
    waitpid(stream->process, &stream->status, 0);
    stream->ended = true;
    return;
  }
  text_bytes(&stream->text, data, (size_t)got);
  char *from = stream->text.data, *end;
  size_t left = stream->text.length;
  while ((end = memchr(from, '\n', left)) != NULL) {
    add_event(stream, from, (size_t)(end - from));
    left -= (size_t)(end - from) + 1;
    from = end + 1;
  }
  memmove(stream->text.data, from, left);
  stream->text.length = left;
}

static void read_some(void) {
  struct pollfd *waiting = need_memory(NULL, stream_count, sizeof *waiting);
  for (size_t i = 0; i < stream_count; i++)
    waiting[i] = (struct pollfd){.fd = streams[i].ended ? -1 : streams[i].reader, .events = POLLIN};
  if (poll(waiting, stream_count, -1) > 0)
    for (size_t i = 0; i < stream_count; i++)
      if (waiting[i].revents) read_stream(&streams[i]);
  free(waiting);
}

static const char *text_in(const struct json *event, const char *key) {
  const struct json *found = json_find(event, key);
  return found && found->kind == JSON_TEXT ? found->text : "";
}

static void raise_first_error(void) {
  for (size_t i = 0; i < stream_count; i++) {
    struct stream *stream = &streams[i];
    const struct event *last = stream->count ? &stream->events[stream->count - 1] : NULL;
    const char *name = last ? name_of(last) : "";
    if (strcmp(name, "error") == 0) {
      const struct json *status = json_find(last->read, "status");
      end_all();
      fail(status && status->kind == JSON_WHOLE ? (enum status)status->whole : FAILED,
           text_in(last->read, "code"), text_in(last->read, "hint"), "%s",
           text_in(last->read, "message"));
    }
    if (stream->ended && strcmp(name, "done") != 0) {
      end_all();
      fail(FAILED, "run_failed", "", "stream %zu of %zu ended before it was done (status %d)",
           i + 1, stream_count, stream->status);
    }
  }
}

// --- one run's events out of those of several streams

static const struct event *first_of(const struct stream *stream, const char *name) {
  for (size_t i = 0; i < stream->count; i++)
    if (strcmp(name_of(&stream->events[i]), name) == 0) return &stream->events[i];
  fail(FAILED, "run_failed", "", "a stream printed no '%s' event", name);
}

static void print(const struct event *event) {
  const char *line = event->line;
  fwrite(line, 1, strlen(line), stdout);
  fputc('\n', stdout);
  if (fflush(stdout) != 0) _exit(1);
}

// The sum of a number over all streams; negative where one of them does not have it.
static double sum_of(const char *event, const char *key) {
  double sum = 0;
  for (size_t i = 0; i < stream_count; i++) {
    const struct json *value = json_find(first_of(&streams[i], event)->read, key);
    if (value == NULL || (value->kind != JSON_WHOLE && value->kind != JSON_REAL)) return -1;
    sum += value->real;
  }
  return sum;
}

static void emit_interference(void) {
  struct text rest = {0};
  double used = sum_of("interference", "own_cores"), more = -1;
  if (used >= 0 && sum_of("interference", "other_cores") >= 0) {
    // To each stream the others are other work.
    const struct json *read = first_of(&streams[0], "interference")->read;
    more = json_find(read, "other_cores")->real + json_find(read, "own_cores")->real - used;
    if (more < 0) more = 0;
  }
  text_add(&rest, "\"own_cores\": ");
  if (used < 0) text_add(&rest, "null");
  else text_format(&rest, "%.3f", used);
  text_add(&rest, ", \"other_cores\": ");
  if (more < 0) text_add(&rest, "null");
  else text_format(&rest, "%.3f", more);
  emit("interference", &rest);
  text_free(&rest);
}

static void emit_memory_of_all(void) {
  struct text rest = {0};
  const char *keys[3 + HELD] = {"after_load_bytes", "before_load_bytes", "peak_bytes"};
  memcpy(keys + 3, HELD_KEYS, sizeof HELD_KEYS);
  for (size_t i = 0; i < 3 + HELD; i++) {
    double sum = sum_of("memory", keys[i]);
    if (sum >= 0) text_format(&rest, "%s\"%s\": %.0f", rest.length ? ", " : "", keys[i], sum);
  }
  text_format(&rest, "%s\"unavailable\": ", rest.length ? ", " : "");
  json_write(&rest, json_find(first_of(&streams[0], "memory")->read, "unavailable"));
  emit("memory", &rest);
  text_free(&rest);
}

static void emit_together(void (*before_done)(void)) {
  static const char *const once[] = {"hello", "environment", "load", "first"};
  static const char *const each[] = {"window", "warmup", "samples"};
  for (size_t i = 0; i < 4; i++) print(first_of(&streams[0], once[i]));
  for (size_t name = 0; name < 3; name++)
    for (size_t i = 0; i < stream_count; i++)
      for (size_t e = 0; e < streams[i].count; e++)
        if (strcmp(name_of(&streams[i].events[e]), each[name]) == 0) print(&streams[i].events[e]);
  emit_interference();
  emit_memory_of_all();
  for (size_t e = streams[0].count; e-- > 0;)
    if (strcmp(name_of(&streams[0].events[e]), "environment") == 0) {
      print(&streams[0].events[e]);
      break;
    }
  if (before_done) before_done();
  const char *stopped = "enough";
  for (size_t i = stream_count; i-- > 0;) {
    const char *why = text_in(first_of(&streams[i], "done")->read, "stopped");
    if (strcmp(why, "enough") != 0) stopped = why;
  }
  struct text rest = {0};
  text_format(&rest, "\"stopped\": \"%s\"", stopped);
  emit("done", &rest);
  text_free(&rest);
}

static bool all(bool ready_will_do) {
  for (size_t i = 0; i < stream_count; i++)
    if (!streams[i].ended && !(ready_will_do && streams[i].waits)) return false;
  return true;
}

void many_streams(const struct job *job, int64_t deadline_ns, void (*before_done)(void)) {
  int ends[2];
  if (job->streams > 1024) fail(BAD_JOB, "bad_job", "", "streams is more than 1024");
  if (pipe(ends) != 0) fail(FAILED, "run_failed", "", "cannot make a pipe: %s", strerror(errno));
  go = ends[0];
  stream_count = (size_t)job->streams;
  streams = need_memory(NULL, stream_count, sizeof *streams);
  memset(streams, 0, stream_count * sizeof *streams);
  for (size_t i = 0; i < (size_t)job->streams; i++) start(job, deadline_ns, i, ends[1]);
  close(go);
  while (!all(true)) {
    read_some();
    raise_first_error();
  }
  close(ends[1]);  // every stream reads an end of file there, all at once
  while (!all(false)) read_some();
  raise_first_error();
  emit_together(before_done);
}
