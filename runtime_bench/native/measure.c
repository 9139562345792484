// One job in this process, from hello to done.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

#define SAMPLES_A_LINE 10000

// --- what the tensors are

static void add_tensors(struct text *to, const char *key, const struct tensor *tensors,
                        size_t count) {
  text_format(to, ", \"%s\": [", key);
  for (size_t i = 0; i < count; i++) {
    const struct tensor *tensor = &tensors[i];
    text_format(to, "%s{\"name\": ", i ? ", " : "");
    text_json(to, tensor->name);
    text_add(to, ", \"tensor\": ");
    text_json(to, tensor->tensor);
    text_add(to, ", \"shape\": [");
    for (int d = 0; d < tensor->rank; d++)
      text_format(to, "%s%lld", d ? ", " : "", (long long)tensor->shape[d]);
    text_format(to, "], \"dtype\": \"%s\", \"scales\": [", tensor->dtype->name);
    for (size_t s = 0; s < tensor->scales; s++) {
      if (s) text_add(to, ", ");
      text_real(to, tensor->scale[s]);
    }
    text_add(to, "], \"zero_points\": [");
    for (size_t s = 0; s < tensor->scales; s++)
      text_format(to, "%s%lld", s ? ", " : "", (long long)tensor->zero_point[s]);
    text_add(to, "]}");
  }
  text_add(to, "]");
}

static void emit_load(const struct model *model) {
  struct text rest = {0};
  text_format(&rest, "\"ns\": %lld", (long long)model->load_ns);
  add_tensors(&rest, "inputs", model->input, model->inputs);
  add_tensors(&rest, "outputs", model->output, model->outputs);
  emit("load", &rest);
  text_free(&rest);
}

static size_t elements(const struct tensor *tensor) { return tensor->bytes / tensor->dtype->size; }

// --- inputs

// Rows for one input: `row` bytes a sample. `whole` ones hold the whole tensor, and not one place of
// its batch.
struct rows {
  const char *data;
  size_t row;
  bool whole;
};
struct given {
  size_t samples, batch;
  struct rows *rows;
};

static char *shape_text(const int64_t *shape, int rank) {
  struct text out = {0};
  text_add(&out, "(");
  for (int i = 0; i < rank; i++)
    text_format(&out, "%lld%s", (long long)shape[i], rank == 1 ? "," : i + 1 < rank ? ", " : "");
  text_add(&out, ")");
  return out.data;
}

static bool same(const int64_t *one, int rank, const int64_t *other, int other_rank) {
  return rank == other_rank && (rank == 0 || memcmp(one, other, (size_t)rank * sizeof *one) == 0);
}

static struct rows fitted(const struct tensor *tensor, const struct array *array) {
  const int64_t *shape = array->shape + 1, *row = tensor->shape + 1;
  int rank = array->rank - 1, row_rank = tensor->rank > 0 ? tensor->rank - 1 : 0;
  if (array->dtype != tensor->dtype)
    fail(BAD_JOB, "bad_inputs", "", "input %s takes %s, not %s", tensor->name, tensor->dtype->name,
         array->dtype->name);
  bool of_rows = rank >= 0 && same(shape, rank, row, row_rank);
  bool whole = rank >= 0 && same(shape, rank, tensor->shape, tensor->rank);
  bool of_one = rank > 0 && shape[0] == 1 && same(shape + 1, rank - 1, row, row_rank);
  if (!of_rows && !whole && !of_one)
    fail(BAD_JOB, "bad_inputs", "", "input %s takes rows of shape %s, not %s", tensor->name,
         shape_text(row, row_rank), rank >= 0 ? shape_text(shape, rank) : "a single number");
  size_t samples = (size_t)array->shape[0];
  return (struct rows){array->data, samples ? array->bytes / samples : 0, whole};
}

static const struct array *array_for(const struct model *model, size_t index,
                                     const struct array *arrays, size_t count, const char *path) {
  const struct tensor *tensor = &model->input[index];
  const char *names[] = {tensor->name, tensor->tensor}, *only = NULL;
  struct text held = {0};
  size_t inputs = 0, last = 0;
  for (size_t n = 0; n < 2; n++)
    for (int prefix = 1; prefix >= 0; prefix--)
      for (size_t i = 0; *names[n] && i < count; i++) {
        const char *name = arrays[i].name;
        if (strncmp(name, "out:", 4) == 0) continue;
        if (prefix && strncmp(name, "in:", 3) != 0) continue;
        if (strcmp(name + (prefix ? 3 : 0), names[n]) == 0) return &arrays[i];
      }
  for (size_t i = 0; i < count; i++) {
    if (strncmp(arrays[i].name, "out:", 4) == 0) continue;
    text_format(&held, "%s'%s'", inputs++ ? ", " : "", arrays[i].name);
    last = i;
  }
  if (inputs == 1 && model->inputs == 1) return &arrays[last];
  only = strcmp(names[0], names[1]) == 0 ? "" : names[1];
  fail(BAD_JOB, "bad_inputs", "", "input %zu is called '%s'%s%s%s; %s holds [%s]", index, names[0],
       *only ? " or '" : "", only, *only ? "'" : "", path, held.data ? held.data : "");
}

static struct given given_inputs(const struct model *model, const char *path) {
  size_t count;
  struct array *arrays = read_npz(path, &count);
  struct given given = {.samples = SIZE_MAX, .batch = 1};
  given.rows = need_memory(NULL, model->inputs, sizeof *given.rows);
  bool equal = true;
  for (size_t i = 0; i < model->inputs; i++) {
    const struct array *array = array_for(model, i, arrays, count, path);
    given.rows[i] = fitted(&model->input[i], array);
    size_t samples = (size_t)array->shape[0];
    equal = equal && (given.samples == SIZE_MAX || given.samples == samples);
    given.samples = samples;
  }
  if (!equal || given.samples == 0 || given.samples == SIZE_MAX)
    fail(BAD_JOB, "bad_inputs", "", "the inputs in '%s' are empty or not equally many", path);
  for (size_t i = model->inputs; i-- > 0;)
    if (!given.rows[i].whole) given.batch = (size_t)model->input[i].shape[0];
  if (given.batch == 0)
    fail(BAD_JOB, "bad_inputs", "", "the model's inputs have a batch of 0");
  return given;
}

// Set the batch that begins with the sample `start`; it is filled up with the first ones again.
static void set_rows(const struct model *model, const struct given *given, size_t start) {
  for (size_t i = 0; i < model->inputs; i++) {
    const struct rows *rows = &given->rows[i];
    if (rows->whole) {
      runtime->set_input(i, rows->data + start * rows->row);
      continue;
    }
    char *joined = need_memory(NULL, model->input[i].bytes, 1);
    size_t batch = (size_t)model->input[i].shape[0];
    if (batch * rows->row != model->input[i].bytes || batch != given->batch)
      fail(BAD_JOB, "bad_inputs", "", "the inputs have batches of different sizes");
    for (size_t b = 0; b < batch; b++)
      memcpy(joined + b * rows->row, rows->data + (start + b) % given->samples * rows->row,
             rows->row);
    runtime->set_input(i, joined);
    free(joined);
  }
}

// xorshift64* by Vigna (2016): the same inputs each time.
static uint64_t random_bits(void) {
  static uint64_t state = 0x9E3779B97F4A7C15u;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545F4914F6CDD1Du;
}

// A float16 in [0, 1): k / 1024, which it holds exactly.
static uint16_t random_half(void) {
  unsigned k = (unsigned)(random_bits() >> 54), exponent = 14;
  if (k == 0) return 0;
  for (k <<= 1; k < 1024; k <<= 1) exponent--;
  return (uint16_t)(exponent << 10 | (k & 1023));
}

// Inputs of the right shape and type where none are given: floats uniform in [0, 1), quantized
// integers over their whole range, other integers 0; see synthetic_inputs in
// ../edgekit_bench/inputs.py.
static void set_synthetic(const struct model *model) {
  for (size_t i = 0; i < model->inputs; i++) {
    const struct tensor *tensor = &model->input[i];
    const struct dtype *dtype = tensor->dtype;
    char *data = need_memory(NULL, tensor->bytes, 1);
    memset(data, 0, tensor->bytes);
    for (size_t e = 0; e < elements(tensor); e++) {
      char *at = data + e * dtype->size;
      double real = (double)(random_bits() >> 11) / 9007199254740992.0;
      float single = (float)(random_bits() >> 40) / 16777216.0f;
      uint16_t half = random_half();
      uint64_t bits = random_bits();
      if (dtype->kind == 'f')
        memcpy(at, dtype->size == 8 ? (void *)&real : dtype->size == 4 ? (void *)&single : &half,
               dtype->size);
      else if (dtype->kind != 'b' && tensor->scales)
        memcpy(at, &bits, dtype->size);
    }
    runtime->set_input(i, data);
    free(data);
  }
}

// --- outputs

static size_t count_not_finite(const struct tensor *tensor, const char *data) {
  size_t bad = 0;
  if (tensor->dtype->kind != 'f') return 0;
  for (size_t e = 0; e < elements(tensor); e++) {
    uint64_t bits = 0;
    memcpy(&bits, data + e * tensor->dtype->size, tensor->dtype->size);
    uint64_t exponent = tensor->dtype->size == 8   ? 0x7FF0000000000000u
                        : tensor->dtype->size == 4 ? 0x7F800000u
                                                   : 0x7C00u;
    bad += (bits & exponent) == exponent;
  }
  return bad;
}

struct tally {
  size_t bad, of;
};

static void add_finite(struct text *to, const struct model *model, const struct tally *tallies) {
  struct text bad = {0};
  for (size_t i = 0; i < model->outputs; i++) {
    if (tallies[i].bad == 0) continue;
    text_format(&bad, "%s{\"name\": ", bad.length ? ", " : "");
    text_json(&bad, model->output[i].name);
    text_format(&bad, ", \"not_finite\": %zu, \"of\": %zu}", tallies[i].bad, tallies[i].of);
  }
  text_format(to, ", \"finite\": %s, \"not_finite\": [%s]", bad.length ? "false" : "true",
              bad.length ? bad.data : "");
  text_free(&bad);
}

static void emit_first(const struct model *model) {
  struct text rest = {0};
  struct tally *tallies = need_memory(NULL, model->outputs, sizeof *tallies);
  int64_t began = clock_ns();
  int status = runtime->run();
  int64_t took = clock_ns() - began;
  if (status != 0) run_failed(status);
  for (size_t i = 0; i < model->outputs; i++) {
    char *data = need_memory(NULL, model->output[i].bytes, 1);
    runtime->get_output(i, data);
    tallies[i] = (struct tally){count_not_finite(&model->output[i], data),
                                elements(&model->output[i])};
    free(data);
  }
  text_format(&rest, "\"ns\": %lld", (long long)took);
  add_finite(&rest, model, tallies);
  emit("first", &rest);
  text_free(&rest);
  free(tallies);
}

// Where the first dimension is that of a batch, each sample has its own row of the output.
static void keep_rows(struct text *to, const struct tensor *tensor, const char *data, size_t size,
                      size_t fresh, size_t *kept) {
  bool batched = tensor->rank > 0 && size > 1 && (size_t)tensor->shape[0] == size;
  text_bytes(to, data, batched ? tensor->bytes / size * fresh : tensor->bytes);
  *kept += batched ? fresh : 1;
}

static struct array output_array(const struct tensor *tensor, struct text *rows, size_t kept,
                                 size_t size) {
  struct text name = {0};
  text_format(&name, "out:%s", tensor->name);
  struct array out = {.name = name.data, .dtype = tensor->dtype, .rank = 1};
  bool split = tensor->rank > 0 && (tensor->shape[0] == 1 ||
                                    (size > 1 && (size_t)tensor->shape[0] == size));
  out.shape[0] = (int64_t)kept;
  for (int d = split ? 1 : 0; d < tensor->rank; d++) out.shape[out.rank++] = tensor->shape[d];
  out.data = rows->data ? rows->data : "";
  out.bytes = rows->length;
  return out;
}

// Run every sample and write all outputs, one row a sample, into the .npz at `path`.
static void check(const struct model *model, const struct given *given, const char *path) {
  size_t outputs = model->outputs;
  struct text *rows = need_memory(NULL, outputs, sizeof *rows);
  size_t *kept = need_memory(NULL, outputs, sizeof *kept);
  struct tally *tallies = need_memory(NULL, outputs, sizeof *tallies);
  struct array *arrays = need_memory(NULL, outputs, sizeof *arrays);
  memset(rows, 0, outputs * sizeof *rows);
  memset(kept, 0, outputs * sizeof *kept);
  memset(tallies, 0, outputs * sizeof *tallies);
  size_t size = given->batch;
  for (size_t start = 0; start < given->samples; start += given->batch) {
    size_t left = given->samples - start, fresh = left < given->batch ? left : given->batch;
    set_rows(model, given, start);
    int status = runtime->run();
    if (status != 0) run_failed(status);
    for (size_t i = 0; i < outputs; i++) {
      const struct tensor *tensor = &model->output[i];
      char *data = need_memory(NULL, tensor->bytes, 1);
      runtime->get_output(i, data);
      tallies[i].bad += count_not_finite(tensor, data);
      tallies[i].of += elements(tensor);
      keep_rows(&rows[i], tensor, data, size, fresh, &kept[i]);
      free(data);
    }
  }
  for (size_t i = 0; i < outputs; i++)
    arrays[i] = output_array(&model->output[i], &rows[i], kept[i], size);
  write_npz(path, arrays, outputs);
  struct text rest = {0};
  text_format(&rest, "\"samples\": %zu, \"path\": ", given->samples);
  text_json(&rest, path);
  add_finite(&rest, model, tallies);
  emit("check", &rest);
  text_free(&rest);
  for (size_t i = 0; i < outputs; i++) {
    text_free(&rows[i]);
    free(arrays[i].name);
  }
  free(rows);
  free(kept);
  free(tallies);
  free(arrays);
}

// --- the measurement

struct samples {
  int64_t *ns;
  size_t count;
  const char *stopped;
};

static int64_t later(int64_t from, double seconds) {
  double ns = seconds * 1e9;
  return ns > 4e18 ? INT64_MAX : from + (int64_t)ns;
}

// Time the model until both `runs` and `seconds` are reached. Nothing but the call stands between the
// two clock readings. With `every` above 1 the others of so many run untimed before each timed one.
static struct samples sample(int64_t runs, double seconds, int64_t max_runs, int64_t deadline_ns,
                             int64_t every) {
  struct samples out = {.stopped = "enough"};
  if (runs <= 0 && seconds <= 0) return out;
  size_t room = 0;
  int64_t enough_ns = later(clock_ns(), seconds);
  int (*run)(void) = runtime->run;
  while (true) {
    if (out.count == room) {
      room = room ? room * 2 : 4096;
      out.ns = need_memory(out.ns, room, sizeof *out.ns);
    }
    int status = 0;
    for (int64_t i = 1; i < every && status == 0; i++) status = run();
    if (status != 0) run_failed(status);
    int64_t before = clock_ns();
    status = run();
    int64_t after = clock_ns();
    if (status != 0) run_failed(status);
    out.ns[out.count++] = after - before;
    if ((int64_t)out.count >= runs && after >= enough_ns) break;
    if ((int64_t)out.count >= max_runs) {
      out.stopped = "max_runs";
      break;
    }
    if (after >= deadline_ns) {
      out.stopped = "time_budget";
      break;
    }
  }
  return out;
}

static void emit_times(const char *event, int64_t stream, const struct samples *times) {
  for (size_t start = 0; start < times->count; start += SAMPLES_A_LINE) {
    struct text rest = {0};
    text_format(&rest, "\"stream\": %lld, \"ns\": [", (long long)stream);
    for (size_t i = start; i < times->count && i < start + SAMPLES_A_LINE; i++)
      text_format(&rest, "%s%lld", i > start ? ", " : "", (long long)times->ns[i]);
    text_add(&rest, "]");
    emit(event, &rest);
    text_free(&rest);
  }
}

static void add_cores(struct text *to, const char *key, double cores) {
  text_format(to, "%s\"%s\": ", to->length ? ", " : "", key);
  if (cores < 0) text_add(to, "null");
  else text_format(to, "%.3f", cores);
}

static const char *measure(const struct job *job, int64_t deadline_ns, int64_t stream,
                           void (*wait)(void)) {
  struct samples warmup =
      sample(job->warmup_runs, job->warmup_seconds, job->max_runs, deadline_ns, 1);
  if (wait) wait();
  struct other_work watch;
  double own, others;
  watch_others(&watch);
  int64_t began = clock_ns();
  struct samples samples =
      sample(job->runs, job->min_seconds, job->max_runs, deadline_ns, job->sample_every);
  int64_t ended = clock_ns();
  cores_since(&watch, &own, &others);
  struct text rest = {0};
  text_format(&rest, "\"stream\": %lld, \"start_ns\": %lld, \"end_ns\": %lld", (long long)stream,
              (long long)began, (long long)ended);
  emit("window", &rest);
  text_free(&rest);
  emit_times("warmup", stream, &warmup);
  emit_times("samples", stream, &samples);
  add_cores(&rest, "own_cores", own);
  add_cores(&rest, "other_cores", others);
  emit("interference", &rest);
  text_free(&rest);
  free(warmup.ns);
  free(samples.ns);
  return samples.stopped;
}

// --- all of it

static void emit_hello(void) {
  struct text rest = {0};
  text_format(&rest, "\"protocol\": %d, \"runner\": \"" RUNNER_VERSION "\", \"runtime\": ", PROTOCOL);
  text_json(&rest, runtime->name);
  text_add(&rest, ", \"runtime_version\": ");
  text_json(&rest, library_version ? library_version : "unknown");
  describe_machine(&rest);
  emit("hello", &rest);
  text_free(&rest);
}

static void verify_digest(const struct job *job) {
  char found[65];
  sha256_file(job->model, found);
  if (strcmp(found, job->sha256) != 0)
    fail(REFUSED, "model_changed", "remove it from the device and push it again",
         "%s has SHA-256 %.12s, not %.12s", job->model, found, job->sha256);
}

static void emit_memory(int64_t before, int64_t after, int64_t peak, const struct held *held) {
  struct text rest = {0};
  const char *const keys[] = {"before_load_bytes", "after_load_bytes", "peak_bytes"};
  int64_t values[] = {before, after, peak};
  for (int i = 0; i < 3; i++)
    if (values[i] >= 0)
      text_format(&rest, "%s\"%s\": %lld", rest.length ? ", " : "", keys[i], (long long)values[i]);
  struct text unavailable = {0};
  for (int i = 0; i < HELD; i++) {
    if (held->bytes[i] >= 0) {
      text_format(&rest, "%s\"%s\": %lld", rest.length ? ", " : "", HELD_KEYS[i],
                  (long long)held->bytes[i]);
      continue;
    }
    text_format(&unavailable, "%s\"%s\": ", unavailable.length ? ", " : "", HELD_KEYS[i]);
    text_json(&unavailable, held->why[i]);
  }
  text_format(&rest, "%s\"unavailable\": {%s}", rest.length ? ", " : "",
              unavailable.length ? unavailable.data : "");
  text_free(&unavailable);
  emit("memory", &rest);
  text_free(&rest);
}

#define PROFILED_RUNS 50
#define PROFILED_NS 2000000000

static const char *profiled(const struct job *job, int64_t deadline_ns, struct text *told) {
  const char *why = runtime->profile_begin(job);
  if (why) return why;
  int status = runtime->run();
  if (status == 0) why = runtime->profile_from();
  if (why) return why;
  int64_t began = clock_ns(), enough_ns = began + PROFILED_NS, runs = 0;
  if (enough_ns > deadline_ns) enough_ns = deadline_ns;
  while (status == 0 && runs < PROFILED_RUNS && (runs == 0 || clock_ns() < enough_ns)) {
    status = runtime->run();
    runs++;
  }
  if (status != 0) run_failed(status);
  int64_t total_ns = clock_ns() - began;
  struct text operators = {0};
  why = runtime->profile_end(runs, &operators);
  if (why == NULL)
    text_format(told, "\"runs\": %lld, \"total_ns\": %lld, \"operators\": [%s]", (long long)runs,
                (long long)total_ns, operators.length ? operators.data : "");
  text_free(&operators);
  return why;
}

static void emit_operators(const struct job *job, int64_t deadline_ns) {
  struct text told = {0};
  const char *why = profiled(job, deadline_ns, &told);
  if (why) {
    text_add(&told, "\"unavailable\": ");
    text_json(&told, why);
  }
  emit("operators", &told);
  text_free(&told);
}

void one_stream(const struct job *job, int64_t deadline_ns, int64_t stream, void (*wait)(void),
                void (*before_done)(void)) {
  int64_t before_load, after_load, peak;
  open_runtime(job);
  emit_hello();
  if (job->sha256) verify_digest(job);
  emit_environment("before");
  resident_bytes(&before_load, &peak);
  struct model model = runtime->load(job);
  resident_bytes(&after_load, &peak);
  emit_load(&model);

  struct given given = {0};
  if (job->inputs) {
    given = given_inputs(&model, job->inputs);
    set_rows(&model, &given, 0);
  } else {
    set_synthetic(&model);
  }
  emit_first(&model);
  if (job->outputs) {
    check(&model, &given, job->outputs);
    set_rows(&model, &given, 0);
  }
  const char *stopped = measure(job, deadline_ns, stream, wait);
  int64_t now;
  resident_bytes(&now, &peak);
  struct held held = memory_held(job);
  held.bytes[ARENA] = runtime->arena_bytes(&held.why[ARENA]);
  if (job->operators) emit_operators(job, deadline_ns);
  emit_memory(before_load, after_load, peak, &held);
  emit_environment("after");
  if (before_done) before_done();
  struct text rest = {0};
  text_format(&rest, "\"stopped\": \"%s\"", stopped);
  emit("done", &rest);
  text_free(&rest);
}
