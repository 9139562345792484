// Reads sensors at an even rate, beside what is measured: the same spec and the same lines as of
// ../edgekit_sampler.py, which tells what they are and why.

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runner.h"

#define SAMPLER_VERSION 1
#define MOST_RATE 1000.0
#define FILE_BYTES 4096
#define COMMAND_BYTES 65536
#define COMMAND_NS 5000000000
#define LINE_BYTES 65536
#define SPEC_BYTES (16u << 20)
#define MOST_ERRORS 20
#define ERROR_BYTES 300

enum kind { FILES, RUN, STREAM };
static const char *const KINDS[] = {"files", "run", "stream"};

struct channel {
  enum kind kind;
  size_t number, count;
  char **words;  // ends in NULL
  int64_t every, next_turn, reads, errors, read_ns;
  int *open;      // of files, -1 where one is not open
  pid_t process;  // of a stream, 0 if there is none
  int source;
  struct text rest;  // of a stream: the line that has begun
  int problem;       // of a stream that did not start: errno
};

static struct channel *channels;
static size_t channel_count;

// --- what is printed

static struct text lines;  // of this turn: they are written at once
static double bytes_left;

static void flush_lines(void) {
  for (size_t done = 0; done < lines.length;) {
    ssize_t wrote = write(STDOUT_FILENO, lines.data + done, lines.length - done);
    if (wrote < 0 && errno != EINTR) _exit(1);  // nobody reads any more
    if (wrote > 0) done += (size_t)wrote;
  }
  bytes_left -= (double)lines.length;
  lines.length = 0;
}

static void begin_line(const struct channel *channel, int64_t before, int64_t took) {
  text_format(&lines, "[%zu,%lld,%lld,", channel->number, (long long)before, (long long)took);
}

// `texts` is a list in JSON without its brackets.
static void tell(struct channel *channel, int64_t before, int64_t took, const struct text *texts) {
  channel->read_ns += took;
  channel->reads++;
  begin_line(channel, before, took);
  text_add(&lines, "[");
  text_bytes(&lines, texts->data, texts->length);
  text_add(&lines, "]]\n");
}

static void tell_error(struct channel *channel, int64_t before, int64_t took,
                       const struct text *why) {
  channel->read_ns += took;
  if (++channel->errors > MOST_ERRORS) return;
  begin_line(channel, before, took);
  text_add(&lines, "null,");
  text_json_bytes(&lines, why->data, why->length < ERROR_BYTES ? why->length : ERROR_BYTES);
  text_add(&lines, "]\n");
}

// --- files: they stay open; reading one of sysfs again from its start asks the driver again

static void add_stripped(struct text *texts, const char *data, size_t length, const char *strip,
                         size_t strips) {
  while (length && memchr(strip, data[length - 1], strips)) length--;
  while (length && memchr(strip, *data, strips)) {
    data++;
    length--;
  }
  text_json_bytes(texts, data, length);
}

static bool read_files(struct channel *channel, struct text *texts, struct text *why) {
  for (size_t i = 0; i < channel->count; i++) {
    char data[FILE_BYTES];
    int *file = &channel->open[i];
    if (*file < 0) *file = open(channel->words[i], O_RDONLY | O_CLOEXEC);
    ssize_t got = *file < 0 ? -1 : pread(*file, data, sizeof data, 0);
    if (got < 0) {
      text_format(why, "%s: %s", channel->words[i], strerror(errno));
      if (*file >= 0) close(*file);  // the driver may have gone and come again
      *file = -1;
      return false;
    }
    if (i) text_add(texts, ",");
    add_stripped(texts, data, (size_t)got, "\0\n ", 3);
  }
  return true;
}

// --- commands

static void die_with_parent(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != parent) _exit(1);  // it has ended before that was asked for
}

// Start a command whose output comes to `*source`; 0 with errno set if it cannot be started.
static pid_t start_command(char **words, bool with_errors, int *source) {
  int out[2], problem[2], why = 0;
  if (pipe2(out, O_CLOEXEC) != 0) return 0;
  if (pipe2(problem, O_CLOEXEC) != 0) {
    why = errno;
    close(out[0]);
    close(out[1]);
    errno = why;
    return 0;
  }
  pid_t parent = getpid(), child = fork();
  if (child == 0) {
    int nothing = open("/dev/null", O_RDWR);
    die_with_parent(parent);
    dup2(nothing, STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(with_errors ? out[1] : nothing, STDERR_FILENO);
    execvp(words[0], words);
    why = errno;
    ssize_t ignored = write(problem[1], &why, sizeof why);
    (void)ignored;
    _exit(127);
  }
  if (child < 0) why = errno;
  close(out[1]);
  close(problem[1]);
  if (child > 0) {
    while (read(problem[0], &why, sizeof why) < 0 && errno == EINTR) {
    }
    if (why) waitpid(child, NULL, 0);
  }
  close(problem[0]);
  if (why) {
    close(out[0]);
    errno = why;
    return 0;
  }
  *source = out[0];
  return child;
}

// As Python tells it: the status, or the signal's number below zero.
static int ended_with(int status) {
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static const char SPACE[] = " \t\n\r\v\f";

static bool run_command(struct channel *channel, struct text *texts, struct text *why) {
  int source, status = 0;
  pid_t child = start_command(channel->words, true, &source);
  if (child == 0) {
    text_format(why, "%s: %s", channel->words[0], strerror(errno));
    return false;
  }
  struct text out = {0};
  text_add(&out, "");
  int64_t until = clock_ns() + COMMAND_NS, left;
  while ((left = until - clock_ns()) > 0) {
    char data[4096];
    struct pollfd waiting = {.fd = source, .events = POLLIN};
    if (poll(&waiting, 1, (int)(left / 1000000) + 1) <= 0) continue;
    ssize_t got = read(source, data, sizeof data);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    size_t room = COMMAND_BYTES - out.length;
    text_bytes(&out, data, (size_t)got < room ? (size_t)got : room);
  }
  close(source);
  if (left <= 0) kill(child, SIGKILL);
  waitpid(child, &status, 0);
  if (left <= 0) {
    text_format(why, "%s did not end within %d s", channel->words[0],
                (int)(COMMAND_NS / 1000000000));
  } else if (status != 0) {
    while (out.length && isspace((unsigned char)out.data[out.length - 1])) out.length--;
    text_format(why, "%s ended with %d: ", channel->words[0], ended_with(status));
    text_bytes(why, out.data, out.length);
  } else {
    add_stripped(texts, out.data, out.length, SPACE, sizeof SPACE - 1);
  }
  text_free(&out);
  return left > 0 && status == 0;
}

static void start_stream(struct channel *channel) {
  channel->process = start_command(channel->words, false, &channel->source);
  if (channel->process == 0) channel->problem = errno;
}

// Take what a stream has printed; its lines have the time of their arrival.
static void more_of_stream(struct channel *channel) {
  int64_t now = clock_ns();
  char data[1 << 16], *from, *end;
  ssize_t got = read(channel->source, data, sizeof data);
  if (got < 0 && errno == EINTR) return;
  text_bytes(&channel->rest, data, got > 0 ? (size_t)got : 0);
  from = channel->rest.data;
  size_t left = channel->rest.length;
  while ((end = memchr(from, '\n', left)) != NULL) {
    struct text texts = {0};
    size_t length = (size_t)(end - from);
    add_stripped(&texts, from, length < LINE_BYTES ? length : LINE_BYTES, SPACE, sizeof SPACE - 1);
    tell(channel, now, 0, &texts);
    text_free(&texts);
    left -= length + 1;
    from = end + 1;
  }
  if (left > LINE_BYTES) {
    from += left - LINE_BYTES;
    left = LINE_BYTES;
  }
  memmove(channel->rest.data, from, left);
  channel->rest.length = left;
  if (got > 0) return;
  int status = 0;
  struct text why = {0};
  waitpid(channel->process, &status, 0);
  close(channel->source);
  channel->process = 0;
  text_format(&why, "%s ended with %d while it was needed", channel->words[0], ended_with(status));
  tell_error(channel, now, 0, &why);
  text_free(&why);
}

static void end_stream(struct channel *channel) {
  if (channel->process == 0) return;
  kill(channel->process, SIGTERM);
  int64_t until = clock_ns() + 1000000000;
  while (waitpid(channel->process, NULL, WNOHANG) == 0) {
    if (clock_ns() < until) {
      nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
      continue;
    }
    kill(channel->process, SIGKILL);
    waitpid(channel->process, NULL, 0);
    break;
  }
  close(channel->source);
  channel->process = 0;
}

static void take(struct channel *channel) {
  int64_t before = clock_ns();
  struct text texts = {0}, why = {0};
  if (channel->kind == STREAM) {
    if (channel->problem) {
      text_format(&why, "%s: %s", channel->words[0], strerror(channel->problem));
      tell_error(channel, before, 0, &why);
      channel->problem = 0;
    }
  } else {
    bool good = channel->kind == FILES ? read_files(channel, &texts, &why)
                                       : run_command(channel, &texts, &why);
    int64_t took = clock_ns() - before;
    if (good) tell(channel, before, took, &texts);
    else tell_error(channel, before, took, &why);
  }
  text_free(&texts);
  text_free(&why);
}

// --- the spec

struct spec {
  double rate, seconds;
  uint64_t seed;
};

__attribute__((format(printf, 1, 2))) static _Noreturn void bad_spec(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fputs("edgekit-bench --sampler: ", stderr);
  vfprintf(stderr, format, values);
  fputs("\n", stderr);
  exit(1);
}

// As JSON; lives until the program ends.
static const char *shown(const struct json *value) {
  struct text out = {0};
  if (value == NULL) return "null";
  json_write(&out, value);
  return out.data;
}

static double number_of(const struct json *spec, const char *key, double otherwise) {
  const struct json *found = json_find(spec, key);
  if (found == NULL) return otherwise;
  if ((found->kind != JSON_WHOLE && found->kind != JSON_REAL) || found->real < 0)
    bad_spec("%s = %s is not a number, zero or more", key, shown(found));
  return found->real;
}

static struct channel read_channel(size_t number, const struct json *data) {
  struct channel channel = {.number = number, .every = 1};
  const struct json *words = NULL, *every = NULL;
  size_t kinds = 0;
  if (data->kind == JSON_OBJECT) {
    every = json_find(data, "every");
    for (size_t kind = 0; kind < 3; kind++) {
      const struct json *found = json_find(data, KINDS[kind]);
      if (found == NULL) continue;
      kinds++;
      words = found;
      channel.kind = (enum kind)kind;
    }
  }
  if (kinds != 1 || data->count != (every ? 2 : 1))
    bad_spec("channel %zu = %s is not one of files, run, stream", number, shown(data));
  bool good = words->kind == JSON_LIST && words->count > 0;
  for (size_t i = 0; good && i < words->count; i++) good = words->items[i].kind == JSON_TEXT;
  if (!good) bad_spec("channel %zu: %s is not a list of texts", number, shown(words));
  if (every && (every->kind != JSON_WHOLE || every->whole < 1))
    bad_spec("channel %zu: every = %s is not a whole number >= 1", number, shown(every));
  if (every) channel.every = every->whole;
  channel.count = words->count;
  channel.words = need_memory(NULL, words->count + 1, sizeof *channel.words);
  channel.open = need_memory(NULL, words->count, sizeof *channel.open);
  for (size_t i = 0; i < words->count; i++) {
    channel.words[i] = words->items[i].text;
    channel.open[i] = -1;
  }
  channel.words[words->count] = NULL;
  return channel;
}

static struct spec read_spec(void) {
  static const char *const keys[] = {"channels", "max_bytes", "rate", "seconds", "seed"};
  struct text line = {0};
  const char *why = NULL;
  char byte = 0;
  text_add(&line, "");
  while (byte != '\n') {  // no more than that: poll would not see what a buffer holds
    ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) bad_spec("standard input ended before the spec did");
    text_bytes(&line, &byte, 1);
    if (line.length > SPEC_BYTES) bad_spec("the spec is longer than %u bytes", SPEC_BYTES);
  }
  const struct json *data = json_read(line.data, line.length, &why);
  if (data == NULL) bad_spec("the spec is no JSON: %s", why);
  if (data->kind != JSON_OBJECT) bad_spec("the spec is not a JSON object");
  for (size_t i = 0; i < data->count; i++) {
    bool known = false;
    for (size_t k = 0; k < 5; k++) known = known || strcmp(data->items[i].key, keys[k]) == 0;
    if (!known)
      bad_spec("unknown key '%s'; allowed: channels, max_bytes, rate, seconds, seed",
               data->items[i].key);
  }
  struct spec spec = {
      .rate = number_of(data, "rate", 10),
      .seconds = number_of(data, "seconds", 3600),
      .seed = (uint64_t)number_of(data, "seed", 0),
  };
  bytes_left = number_of(data, "max_bytes", 16000000);
  if (spec.rate <= 0 || spec.rate > MOST_RATE)
    bad_spec("rate = %s is not above 0 and at most %g", shown(json_find(data, "rate")), MOST_RATE);
  const struct json *wanted = json_find(data, "channels");
  if (wanted == NULL || wanted->kind != JSON_LIST || wanted->count == 0)
    bad_spec("channels = %s is not a list with something in it", shown(wanted));
  channel_count = wanted->count;
  channels = need_memory(NULL, channel_count, sizeof *channels);
  for (size_t i = 0; i < channel_count; i++) channels[i] = read_channel(i, &wanted->items[i]);
  return spec;
}

// --- the loop

// In [0, 1): splitmix64 by Vigna (2015).
static double chance(uint64_t *state) {
  uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

struct counts {
  int64_t taken, missed;
};

// Read until told to stop; why it ended.
static const char *sample(const struct spec *spec, struct counts *counts) {
  struct pollfd *waiting = need_memory(NULL, channel_count + 1, sizeof *waiting);
  double interval = 1e9 / spec->rate;
  int64_t began = clock_ns(), due = began, turn = 0;
  int64_t ends = spec->seconds > 4e9 ? INT64_MAX : began + (int64_t)(spec->seconds * 1e9);
  uint64_t state = spec->seed;
  const char *ended = NULL;
  while (ended == NULL) {
    int64_t now = clock_ns();
    if (now >= due) {
      for (size_t i = 0; i < channel_count; i++) {
        struct channel *channel = &channels[i];
        if (turn < channel->next_turn) continue;
        channel->next_turn = turn - turn % channel->every + channel->every;
        take(channel);
      }
      counts->taken++;
      int64_t current = (int64_t)((double)(clock_ns() - began) / interval);
      if (current < turn + 1) current = turn + 1;
      counts->missed += current - turn - 1;
      turn = current;
      due = began + (int64_t)(((double)turn + chance(&state)) * interval);
    }
    flush_lines();
    if (bytes_left <= 0) ended = "bytes";
    else if (now >= ends) ended = "seconds";
    if (ended) break;
    waiting[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    for (size_t i = 0; i < channel_count; i++)
      waiting[i + 1] = (struct pollfd){.fd = channels[i].process ? channels[i].source : -1,
                                       .events = POLLIN};
    int64_t left = (due < ends ? due : ends) - clock_ns();
    if (left < 0) left = 0;
    struct timespec most = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    if (ppoll(waiting, channel_count + 1, &most, NULL) <= 0) continue;
    for (size_t i = 0; i < channel_count; i++)
      if (waiting[i + 1].revents) more_of_stream(&channels[i]);
    char ignored[4096];
    if (waiting[0].revents && read(STDIN_FILENO, ignored, sizeof ignored) == 0) ended = "asked";
  }
  if (strcmp(ended, "asked") == 0)  // one more, so that the end lies between two readings
    for (size_t i = 0; i < channel_count; i++) take(&channels[i]);
  free(waiting);
  return ended;
}

static double cpu_seconds(int of) {
  struct rusage used;
  if (getrusage(of, &used) != 0) return 0;
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void add_counts(const char *key, size_t at) {
  text_format(&lines, ",\"%s\":[", key);
  for (size_t i = 0; i < channel_count; i++)
    text_format(&lines, "%s%lld", i ? "," : "",
                (long long)*(int64_t *)((char *)&channels[i] + at));
  text_add(&lines, "]");
}

void run_sampler(void) {
  die_with_parent(getppid());
  signal(SIGINT, SIG_IGN);  // Ctrl-C ends the one who started this
  struct spec spec = read_spec();
  struct counts counts = {0};
  double start = cpu_seconds(RUSAGE_SELF);
  text_format(&lines, "{\"sampler\":%d,\"began_ns\":%lld}\n", SAMPLER_VERSION,
              (long long)clock_ns());
  flush_lines();
  for (size_t i = 0; i < channel_count; i++)
    if (channels[i].kind == STREAM) start_stream(&channels[i]);
  const char *ended = sample(&spec, &counts);
  for (size_t i = 0; i < channel_count; i++) end_stream(&channels[i]);
  text_format(&lines, "{\"ended\":\"%s\",\"ended_ns\":%lld,\"start_cpu_seconds\":%.6f", ended,
              (long long)clock_ns(), start);
  text_format(&lines, ",\"cpu_seconds\":%.6f,\"commands_cpu_seconds\":%.6f",
              cpu_seconds(RUSAGE_SELF) - start, cpu_seconds(RUSAGE_CHILDREN));
  text_format(&lines, ",\"turns\":%lld,\"missed\":%lld", (long long)counts.taken,
              (long long)counts.missed);
  add_counts("reads", offsetof(struct channel, reads));
  add_counts("errors", offsetof(struct channel, errors));
  add_counts("read_ns", offsetof(struct channel, read_ns));
  text_add(&lines, "}\n");
  flush_lines();
}
