// What the parts of the native runner know of each other. The job, the events and the exit statuses
// are those of ../edgekit_bench.

#ifndef EDGEKIT_RUNNER_H
#define EDGEKIT_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus  // executorch.cpp
extern "C" {
#define _Noreturn __attribute__((noreturn))
#endif

#define RUNNER_VERSION "0.2.0-native"
#define PROTOCOL 2
#define MOST_DIMENSIONS 8

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors and .npz files are read as little-endian"
#endif

// --- text.c: text that grows, and what is printed

struct text {
  char *data;  // always ends in a zero byte
  size_t length, room;
};

void text_add(struct text *text, const char *more);
void text_bytes(struct text *text, const void *bytes, size_t count);
__attribute__((format(printf, 2, 3))) void text_format(struct text *text, const char *format, ...);
// As a JSON string with quotes; what is no UTF-8 becomes U+FFFD.
void text_json(struct text *text, const char *value);
void text_json_bytes(struct text *text, const char *value, size_t length);
void text_real(struct text *text, double value);
void text_free(struct text *text);
// Bytes of the UTF-8 character at `at`, of which `left` are there; 0 if it is none.
size_t utf8_length(const char *at, size_t left);

void *need_memory(void *old, size_t count, size_t size);  // realloc that ends the run if it fails
char *copy_text(const char *text);

// Print one event at once: `rest` is its JSON without the braces, or empty.
void emit(const char *event, const struct text *rest);

// End with an error event; `hint` may be empty. In a stream the event has the status, too.
enum status { BAD_JOB = 2, NO_RUNTIME = 3, REFUSED = 4, FAILED = 5 };
__attribute__((format(printf, 4, 5))) _Noreturn void fail(enum status status, const char *code,
                                                          const char *hint, const char *format,
                                                          ...);
extern bool in_stream;
extern void (*at_failure)(void);  // called before that event, if it is set; not in a stream

int64_t clock_ns(void);  // monotonic

// --- said.c: what a runtime says on standard error while it loads a model

void listen_to_runtime(void);
// Until now. Its errors in one line, at most 500 bytes, empty if there were none: `error_in` finds
// the words of one in a line, or gives NULL.
const char *heard(const char *(*error_in)(const char *line));

// --- json.c: a strict reader of JSON

enum json_kind { JSON_NULL, JSON_BOOL, JSON_WHOLE, JSON_REAL, JSON_TEXT, JSON_LIST, JSON_OBJECT };

struct json {
  enum json_kind kind;
  bool truth;
  int64_t whole;
  double real;  // of a JSON_WHOLE too
  char *text;   // of a JSON_TEXT; never with a zero byte inside
  char *key;    // where it is part of an object
  size_t count;
  struct json *items;  // of lists and objects
};

// The value in `length` bytes, or NULL with `why` set. Whole numbers that do not fit in 64 bits are
// JSON_REAL.
struct json *json_read(const char *data, size_t length, const char **why);
const struct json *json_find(const struct json *object, const char *key);
void json_write(struct text *to, const struct json *value);

// --- job.c

struct job {
  const char *model, *sha256, *runtime, *inputs, *outputs;  // NULL where not given
  int64_t threads, streams, batch;                           // batch 0: as in the model
  bool operators;
  int64_t warmup_runs, runs, max_runs, sample_every;
  double warmup_seconds, min_seconds, time_budget_seconds;
  const struct json *names;  // {"inputs": [texts], "outputs": [texts]}, or NULL
  const char *sampler;  // NULL where no sensors are asked for
  const struct json *sampler_spec;
  double idle_seconds;
};

struct job read_job(const char *reference);

// --- files.c

// All of a file, or of standard input for "-"; NULL with errno set. At most `most` bytes.
char *read_whole(const char *path, size_t most, size_t *length);
char *read_open(int file, size_t most, size_t *length);  // what is left of an open one
int memory_file(void);  // a file in no folder; -1 with errno set
// The trimmed text of a small file, or NULL; `why`, if given, says why not.
char *read_small(const char *path, struct text *why);
void sha256_file(const char *path, char hex[65]);

// --- machine.c

extern const char *system_root;  // below which /proc and /sys are read; empty but in tests

void describe_machine(struct text *to);
void emit_environment(const char *when);
// Bytes, or -1 where it cannot be read.
void resident_bytes(int64_t *now, int64_t *peak);

// What is held besides: see memory_use in ../edgekit_bench/memory.py. -1 with the reason where not
// known.
enum { MODEL_RSS, MODEL_PSS, SWAP, ARENA, DRIVER, HELD };
extern const char *const HELD_KEYS[HELD];
struct held {
  int64_t bytes[HELD];
  const char *why[HELD];
};
struct held memory_held(const struct job *job);  // but for the arena

struct other_work {
  double busy, own;
  int64_t began_ns;
};
void watch_others(struct other_work *watch);
// Cores that this process and others kept busy since then; negative where not known.
void cores_since(const struct other_work *watch, double *own, double *others);

// --- npz.c: arrays in and out, in numpy's format

struct dtype {
  const char *name;   // numpy's
  const char *descr;  // as in .npy
  size_t size;
  char kind;  // f, i, u or b
};
const struct dtype *dtype_named(const char *name);

struct array {
  char *name;  // without .npy
  const struct dtype *dtype;
  int rank;
  int64_t shape[MOST_DIMENSIONS + 2];  // samples and a batch of one may come before a row
  const char *data;
  size_t bytes;
};
// The arrays of the .npz at `path`. What is not exactly what numpy.savez writes ends the run.
struct array *read_npz(const char *path, size_t *count);
void write_npz(const char *path, const struct array *arrays, size_t count);

// --- litert.c, executorch.cpp: the model

struct tensor {
  const char *name;  // that the signature gives, or the file's own
  const char *tensor;
  const struct dtype *dtype;
  int rank;
  int64_t shape[MOST_DIMENSIONS];
  size_t bytes;
  size_t scales;  // how many; 0 where it is not quantized
  const float *scale;
  const int64_t *zero_point;
};

struct model {
  int64_t load_ns;
  size_t inputs, outputs;
  struct tensor *input, *output;
};

#define MOST_LIBRARIES 16
extern const char *library_paths[MOST_LIBRARIES];  // of --library, in that order
extern size_t library_count;
extern const char *library_version;  // as told; NULL if unknown

struct runtime {
  const char *version;  // RUNNER_VERSION of what this was built with
  const char *name;
  void (*open)(void);
  struct model (*load)(const struct job *job);
  void (*set_input)(size_t index, const void *data);
  void (*get_output)(size_t index, void *data);
  int (*run)(void);                          // 0, or the runtime's status
  const char *(*status_text)(int status);    // of a run that failed
  int64_t (*arena_bytes)(const char **why);  // -1 where it does not tell, with the reason
  // A session of its own, with the runtime's profiler, in which `run` computes with the inputs of
  // before: `profile_from` is called when it has been run once, `profile_end` writes the operators as
  // a list in JSON, without brackets. All give NULL, or why there is no time by operator.
  const char *(*profile_begin)(const struct job *job);
  const char *(*profile_from)(void);
  const char *(*profile_end)(int64_t runs, struct text *operators);
};
extern const struct runtime litert;
// The operators in the summary that LiteRT's profiler writes, as a list in JSON without brackets;
// nothing where it is of another form.
void litert_operators(const char *summary, struct text *to);
extern const struct runtime *runtime;  // the one that is used
_Noreturn void run_failed(int status);
extern const char *module_path;  // a library with a struct runtime called edgekit_runtime, or NULL
void open_runtime(const struct job *job);

// --- measure.c, streams.c

// The whole job in this process; `wait` is called before samples are taken and `before_done` before
// the last event, unless they are NULL.
void one_stream(const struct job *job, int64_t deadline_ns, int64_t stream, void (*wait)(void),
                void (*before_done)(void));
void many_streams(const struct job *job, int64_t deadline_ns, void (*before_done)(void));
void set_alarm(const struct job *job);

// --- sensors.c, sampler.c

void start_sensors(const struct job *job);  // returns when it is ready and has seen some idle time
void tell_sensors(void);
void end_sensors(void);
void run_sampler(void);  // this process is one

#ifdef __cplusplus
}
#endif

#endif
