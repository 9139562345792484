// The job: the same keys, defaults and refusals as in ../edgekit_bench/job.py.

#include <errno.h>
#include <math.h>
#include <string.h>

#include "runner.h"

#define LARGEST_JOB (16u << 20)

static const char *const KEYS[] = {
    "batch",       "inputs",   "max_runs", "min_seconds", "model",   "names",   "operators",
    "outputs",     "protocol", "runs",     "runtime",     "sample_every",       "sensors",
    "sha256",      "streams",
    "threads",     "time_budget_seconds",  "warmup_runs", "warmup_seconds",
};
static const char *const RUNTIMES[] = {"ai-edge-litert", "tflite-runtime", "tensorflow",
                                       "executorch", "onnxruntime"};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool is_one_of(const char *name, const char *const *known, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strcmp(name, known[i]) == 0) return true;
  return false;
}

static const char *joined(const char *const *known, size_t count) {
  struct text out = {0};
  for (size_t i = 0; i < count; i++) text_format(&out, "%s%s", i ? ", " : "", known[i]);
  return out.data;
}

static const char *shown(const struct json *value) {
  struct text out = {0};
  if (value == NULL) return "null";
  json_write(&out, value);
  return out.data;
}

// The key's value; NULL where it is absent or null.
static const struct json *given(const struct json *data, const char *key) {
  const struct json *found = json_find(data, key);
  return found && found->kind != JSON_NULL ? found : NULL;
}

static const char *text_of(const struct json *data, const char *key) {
  const struct json *found = given(data, key);
  bool wanted = strcmp(key, "model") == 0;
  if (found == NULL && !wanted) return NULL;
  if (found == NULL || found->kind != JSON_TEXT || !*found->text)
    fail(BAD_JOB, "bad_job", "", "%s = %s is not a text", key, shown(found));
  return found->text;
}

// False where it is absent; not null either.
static bool truth_of(const struct json *data, const char *key) {
  const struct json *found = json_find(data, key);
  if (found == NULL) return false;
  if (found->kind != JSON_BOOL)
    fail(BAD_JOB, "bad_job", "", "%s = %s is not true or false", key, shown(found));
  return found->truth;
}

// Whole numbers may be absent, but not null.
static int64_t whole_of(const struct json *data, const char *key, int64_t least, int64_t otherwise) {
  const struct json *found = json_find(data, key);
  if (found == NULL) return otherwise;
  if (found->kind != JSON_WHOLE || found->whole < least)
    fail(BAD_JOB, "bad_job", "", "%s = %s is not a whole number >= %lld", key, shown(found),
         (long long)least);
  return found->whole;
}

static double seconds_of(const struct json *data, const char *key, double otherwise) {
  const struct json *found = json_find(data, key);
  if (found == NULL) return otherwise;
  bool number = found->kind == JSON_WHOLE || found->kind == JSON_REAL;
  if (!number || !isfinite(found->real) || found->real < 0)
    fail(BAD_JOB, "bad_job", "", "%s = %s is not a number of seconds, zero or more", key,
         shown(found));
  return found->real;
}

static void check_names(const struct json *names) {
  bool good = names->kind == JSON_OBJECT && names->count == 2;
  static const char *const sides[] = {"inputs", "outputs"};
  for (size_t side = 0; good && side < 2; side++) {
    const struct json *list = json_find(names, sides[side]);
    good = list && list->kind == JSON_LIST;
    for (size_t i = 0; good && i < list->count; i++)
      good = list->items[i].kind == JSON_TEXT && *list->items[i].text;
  }
  if (!good)
    fail(BAD_JOB, "bad_job", "",
         "names = %s is not {\"inputs\": [texts], \"outputs\": [texts]}", shown(names));
}

static void read_sensors(const struct json *sensors, struct job *job) {
  const struct json *sampler = NULL, *spec = NULL, *idle = NULL;
  if (sensors->kind == JSON_OBJECT && sensors->count == 3) {
    sampler = json_find(sensors, "sampler");
    spec = json_find(sensors, "spec");
    idle = json_find(sensors, "idle_seconds");
  }
  bool good = sampler && spec && idle && sampler->kind == JSON_TEXT && spec->kind == JSON_OBJECT &&
              (idle->kind == JSON_WHOLE || idle->kind == JSON_REAL) && idle->real >= 0 &&
              idle->real <= 600;
  if (!good)
    fail(BAD_JOB, "bad_job", "",
         "sensors = %s is not {\"sampler\": text, \"spec\": object, \"idle_seconds\": 0 to 600}",
         shown(sensors));
  job->sampler = sampler->text;
  job->sampler_spec = spec;
  job->idle_seconds = idle->real;
}

static struct job validated(const struct json *data) {
  if (data->kind != JSON_OBJECT) fail(BAD_JOB, "bad_job", "", "the job is not a JSON object");
  for (size_t i = 0; i < data->count; i++)
    if (!is_one_of(data->items[i].key, KEYS, COUNT(KEYS)))
      fail(BAD_JOB, "bad_job", "", "unknown key '%s' in the job; allowed: %s", data->items[i].key,
           joined(KEYS, COUNT(KEYS)));
  const struct json *protocol = json_find(data, "protocol");
  bool number = protocol && (protocol->kind == JSON_WHOLE || protocol->kind == JSON_REAL);
  if (!number || protocol->real != PROTOCOL)
    fail(BAD_JOB, "bad_job", "use the runner and the edgekit of one version",
         "the job has protocol %s, this runner speaks %d", shown(protocol), PROTOCOL);
  struct job job = {
      .model = text_of(data, "model"),
      .sha256 = text_of(data, "sha256"),
      .runtime = text_of(data, "runtime"),
      .inputs = text_of(data, "inputs"),
      .outputs = text_of(data, "outputs"),
  };
  if (job.runtime && !is_one_of(job.runtime, RUNTIMES, COUNT(RUNTIMES)))
    fail(BAD_JOB, "bad_job", "", "there is no runtime '%s'; known: %s", job.runtime,
         joined(RUNTIMES, COUNT(RUNTIMES)));
  job.names = given(data, "names");
  if (job.names) check_names(job.names);
  if (given(data, "sensors")) read_sensors(given(data, "sensors"), &job);
  job.threads = whole_of(data, "threads", 1, 1);
  job.streams = whole_of(data, "streams", 1, 1);
  job.operators = truth_of(data, "operators");
  if (job.operators && job.streams != 1)
    fail(BAD_JOB, "bad_job", "", "operators are told of one stream, not of %lld",
         (long long)job.streams);
  if (job.outputs && job.streams != 1)
    fail(BAD_JOB, "bad_job", "", "outputs are written by one stream, not by %lld",
         (long long)job.streams);
  if (job.outputs && !job.inputs)
    fail(BAD_JOB, "bad_job", "", "outputs is given, but no inputs to compute them from");
  job.batch = given(data, "batch") ? whole_of(data, "batch", 1, 0) : 0;
  job.warmup_runs = whole_of(data, "warmup_runs", 0, 0);
  job.runs = whole_of(data, "runs", 0, 1);
  job.max_runs = whole_of(data, "max_runs", 1, 200000);
  job.sample_every = whole_of(data, "sample_every", 1, 1);
  job.warmup_seconds = seconds_of(data, "warmup_seconds", 0);
  job.min_seconds = seconds_of(data, "min_seconds", 0);
  job.time_budget_seconds = seconds_of(data, "time_budget_seconds", 600);
  if (job.time_budget_seconds <= 0)
    fail(BAD_JOB, "bad_job", "", "time_budget_seconds must be above zero");
  if (job.runs > job.max_runs)
    fail(BAD_JOB, "bad_job", "", "runs = %lld is more than max_runs = %lld", (long long)job.runs,
         (long long)job.max_runs);
  return job;
}

struct job read_job(const char *reference) {
  size_t length;
  const char *why = NULL;
  char *data = read_whole(reference, LARGEST_JOB, &length);
  if (data == NULL)
    fail(BAD_JOB, "bad_job", "", "cannot read the job '%s': %s", reference, strerror(errno));
  const struct json *read = json_read(data, length, &why);
  if (read == NULL) fail(BAD_JOB, "bad_job", "", "cannot read the job '%s': %s", reference, why);
  return validated(read);
}
