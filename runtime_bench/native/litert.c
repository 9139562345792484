// A .tflite in LiteRT's C library, libLiteRt.so of the ai-edge-litert wheels, which is loaded when
// the program runs. No header comes with it: what is used is declared here, as the library of
// version 2.3 has it. https://github.com/google-ai-edge/LiteRT/tree/main/litert/c

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <link.h>
#endif
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner.h"

#define WHICH "ai-edge-litert 2.3"
// kLiteRtRuntimeBuiltin is the library's own table of its functions. It grows with each version
// (2.2 has 165 entries), and no version number is to be found in the library.
#define FUNCTIONS 169

typedef void *handle;

struct layout {
  unsigned rank : 7;
  unsigned has_strides : 1;
  int32_t dimensions[MOST_DIMENSIONS];
  uint32_t strides[MOST_DIMENSIONS];
};
struct ranked {
  int32_t element;
  struct layout layout;
};
_Static_assert(sizeof(struct ranked) == 72, "LiteRtRankedTensorType");
struct per_tensor {
  float scale;
  int64_t zero_point;
};
struct per_channel {
  int32_t dimension;
  uint64_t channels;
  float *scales;
  int64_t *zero_points;
};

enum { CPU = 1, READ = 0, WRITE = 1, RANKED = 0, PER_TENSOR = 1, PER_CHANNEL = 2 };

#define FUNCTIONS_USED(X)                                                            \
  X(CreateEnvironment, (int, const void *, handle *))                                \
  X(CreateModelFromFile, (handle, const char *, handle *))                           \
  X(CreateOptions, (handle *))                                                       \
  X(SetOptionsHardwareAccelerators, (handle, int))                                   \
  X(CreateOpaqueOptions, (const char *, void *, void (*)(void *), handle *))         \
  X(AddOpaqueOptions, (handle, handle))                                              \
  X(CreateCompiledModel, (handle, handle, handle, handle *))                         \
  X(GetNumModelSignatures, (handle, size_t *))                                       \
  X(GetModelSignature, (handle, size_t, handle *))                                   \
  X(GetMainModelSubgraphIndex, (handle, size_t *))                                   \
  X(GetModelSubgraph, (handle, size_t, handle *))                                    \
  X(GetSignatureSubgraph, (handle, handle *))                                        \
  X(GetNumSubgraphInputs, (handle, size_t *))                                        \
  X(GetNumSubgraphOutputs, (handle, size_t *))                                       \
  X(GetSubgraphInput, (handle, size_t, handle *))                                    \
  X(GetSubgraphOutput, (handle, size_t, handle *))                                   \
  X(GetNumSignatureInputs, (handle, size_t *))                                       \
  X(GetNumSignatureOutputs, (handle, size_t *))                                      \
  X(GetSignatureInputName, (handle, size_t, const char **))                          \
  X(GetSignatureOutputName, (handle, size_t, const char **))                         \
  X(GetSignatureInputTensorByIndex, (handle, size_t, handle *))                      \
  X(GetSignatureOutputTensorByIndex, (handle, size_t, handle *))                     \
  X(GetTensorName, (handle, const char **))                                          \
  X(GetTensorTypeId, (handle, int *))                                                \
  X(GetRankedTensorType, (handle, struct ranked *))                                  \
  X(GetQuantizationTypeId, (handle, int *))                                          \
  X(GetPerTensorQuantization, (handle, struct per_tensor *))                         \
  X(GetPerChannelQuantization, (handle, struct per_channel *))                       \
  X(GetCompiledModelInputTensorLayout, (handle, size_t, size_t, struct layout *))    \
  X(GetCompiledModelOutputTensorLayouts, (handle, size_t, size_t, struct layout *, bool)) \
  X(CompiledModelResizeInputTensorNonStrict, (handle, size_t, size_t, const int *, size_t)) \
  X(GetCompiledModelInputBufferRequirements, (handle, size_t, size_t, handle *))     \
  X(GetCompiledModelOutputBufferRequirements, (handle, size_t, size_t, handle *))    \
  X(CreateManagedTensorBufferFromRequirements,                                       \
    (handle, const struct ranked *, handle, handle *))                               \
  X(GetTensorBufferPackedSize, (handle, size_t *))                                   \
  X(LockTensorBuffer, (handle, void **, int))                                        \
  X(UnlockTensorBuffer, (handle))                                                    \
  X(RunCompiledModel, (handle, size_t, size_t, handle *, size_t, handle *))          \
  X(CompiledModelGetProfiler, (handle, handle *))                                    \
  X(StartProfiler, (handle))                                                         \
  X(StopProfiler, (handle))                                                          \
  X(GetProfileSummary, (handle, handle, const char **))

#define DECLARE(name, arguments) static int(*name) arguments;
FUNCTIONS_USED(DECLARE)

static const char *library_path;
static handle environment, file, compiled;
static size_t signature;  // which of the file's is run
// In the order that the signature has, which a run wants.
static size_t run_inputs, run_outputs;
static handle *run_input, *run_output;
// The same in the order of the model's own inputs and outputs.
static handle *input_buffer, *output_buffer;
static size_t *input_bytes, *output_bytes;

// --- the library

static const char *beside_program(void) {
  char program[4096];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length > 0) {
    program[length] = 0;
    char *slash = strrchr(program, '/');
    struct text path = {0};
    if (slash) text_bytes(&path, program, (size_t)(slash - program) + 1);
    text_add(&path, "libLiteRt.so");
    if (access(path.data, F_OK) == 0) return path.data;
  }
  return "libLiteRt.so";  // where the loader looks
}

static const char HINT[] = "give it the libLiteRt.so of " WHICH " for this processor and C library";

static void check_version(void *table) {
#ifdef __GLIBC__  // others do not tell a symbol's size
  Dl_info info;
  const ElfW(Sym) *symbol = NULL;
  if (dladdr1(table, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || symbol == NULL)
    fail(NO_RUNTIME, "runtime_broken", HINT, "%s: cannot tell its version", library_path);
  if (symbol->st_size != FUNCTIONS * sizeof(void *))
    fail(NO_RUNTIME, "runtime_broken", HINT,
         "%s is another version than " WHICH ": it has %zu functions, not %d", library_path,
         (size_t)symbol->st_size / sizeof(void *), FUNCTIONS);
#else
  (void)table;
#endif
}

static void open_library(void) {
  if (library_count > 1) fail(BAD_JOB, "bad_job", "", "for LiteRT give one --library");
  library_path = library_count ? library_paths[0] : beside_program();
  void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    const char *why = dlerror();
    bool there = access(library_path, F_OK) == 0;
    fail(NO_RUNTIME, there ? "runtime_broken" : "runtime_missing", HINT, "cannot load LiteRT: %s",
         why ? why : library_path);
  }
  void *table = dlsym(library, "kLiteRtRuntimeBuiltin");
  if (table == NULL)
    fail(NO_RUNTIME, "runtime_broken", HINT, "%s is another version than " WHICH, library_path);
  check_version(table);
#define FIND(name, arguments)                                                                     \
  *(void **)&name = dlsym(library, "LiteRt" #name);                                               \
  if (name == NULL)                                                                               \
    fail(NO_RUNTIME, "runtime_broken", HINT, "%s is another version than " WHICH ": no LiteRt" #name, \
         library_path);
  FUNCTIONS_USED(FIND)
}

static const char *error_in(const char *line) {
  const char *found = strstr(line, "ERROR: ");
  return found ? found + strlen("ERROR: ") : NULL;
}

__attribute__((format(printf, 1, 2))) static _Noreturn void refuse(const char *format, ...) {
  char what[200];
  va_list values;
  va_start(values, format);
  vsnprintf(what, sizeof what, format, values);
  va_end(values);
  const char *errors = heard(error_in);
  fail(REFUSED, "model_refused", "", "the runtime does not load the model: %s",
       *errors ? errors : what);
}

#define DO(name, ...)                                                           \
  do {                                                                          \
    int status_ = name(__VA_ARGS__);                                            \
    if (status_ != 0) refuse("LiteRt" #name " gives status %d", status_);       \
  } while (0)

// --- the model

static const struct dtype *dtype_of(int element) {
  static const char *const names[] = {
      [1] = "float32", [2] = "int32", [3] = "uint8",  [4] = "int64",   [6] = "bool",
      [7] = "int16",   [9] = "int8",  [10] = "float16", [11] = "float64", [13] = "uint64",
      [16] = "uint32", [17] = "uint16",
  };
  bool known = element >= 0 && element < (int)(sizeof names / sizeof *names) && names[element];
  if (!known) refuse("a tensor has the type %d, which numpy does not have", element);
  return dtype_named(names[element]);
}

static void describe_quantization(handle of, struct tensor *tensor) {
  int kind = 0;
  DO(GetQuantizationTypeId, of, &kind);
  if (kind == PER_TENSOR) {
    struct per_tensor found = {0};
    DO(GetPerTensorQuantization, of, &found);
    float *scale = need_memory(NULL, 1, sizeof *scale);
    int64_t *zero_point = need_memory(NULL, 1, sizeof *zero_point);
    *scale = found.scale;
    *zero_point = found.zero_point;
    tensor->scales = 1;
    tensor->scale = scale;
    tensor->zero_point = zero_point;
  } else if (kind == PER_CHANNEL) {
    struct per_channel found = {0};
    DO(GetPerChannelQuantization, of, &found);
    tensor->scales = (size_t)found.channels;
    tensor->scale = found.scales;
    tensor->zero_point = found.zero_points;
  }
}

static struct tensor described(handle of, const char *name, const struct layout *layout) {
  struct tensor tensor = {0};
  struct ranked type = {0};
  DO(GetTensorName, of, &tensor.tensor);
  DO(GetRankedTensorType, of, &type);
  tensor.name = name && *name ? name : tensor.tensor;
  tensor.dtype = dtype_of(type.element);
  tensor.rank = (int)layout->rank;
  if (tensor.rank > MOST_DIMENSIONS) refuse("a tensor has %d dimensions", tensor.rank);
  tensor.bytes = tensor.dtype->size;
  for (int i = 0; i < tensor.rank; i++) {
    tensor.shape[i] = layout->dimensions[i];
    // A size that is found while it runs is 0 before that, or negative.
    if (tensor.shape[i] <= 0) refuse("the size of '%s' is known only when it runs", tensor.name);
    if (__builtin_mul_overflow(tensor.bytes, (size_t)tensor.shape[i], &tensor.bytes))
      refuse("'%s' is too large for memory", tensor.name);
  }
  describe_quantization(of, &tensor);
  return tensor;
}

// Which signature stands for the model's main graph: that one is run. Its only one, as a rule.
static handle main_signature(size_t *count) {
  size_t graph_index = 0;
  handle graph = NULL;
  DO(GetNumModelSignatures, file, count);
  DO(GetMainModelSubgraphIndex, file, &graph_index);
  DO(GetModelSubgraph, file, graph_index, &graph);
  for (signature = 0; signature < *count; signature++) {
    handle found = NULL, its_graph = NULL;
    DO(GetModelSignature, file, signature, &found);
    DO(GetSignatureSubgraph, found, &its_graph);
    if (its_graph == graph) return found;
  }
  refuse("none of its signatures is of its main graph");
}

static void set_batch(const struct job *job, handle of) {
  if (job->batch > INT32_MAX) refuse("a batch of %lld is too large", (long long)job->batch);
  for (size_t i = 0; i < run_inputs; i++) {
    struct ranked type = {0};
    handle tensor = NULL;
    DO(GetSignatureInputTensorByIndex, of, i, &tensor);
    DO(GetRankedTensorType, tensor, &type);
    struct layout *layout = &type.layout;
    if (layout->rank == 0 || layout->dimensions[0] == job->batch) continue;
    for (unsigned d = 1; d < layout->rank && d < MOST_DIMENSIONS; d++)
      if (layout->dimensions[d] < 0) layout->dimensions[d] = 1;
    layout->dimensions[0] = (int32_t)job->batch;
    DO(CompiledModelResizeInputTensorNonStrict, compiled, signature, i, layout->dimensions,
       layout->rank);
  }
}

static handle new_buffer(bool output, size_t index, const struct tensor *tensor, handle of,
                         const struct layout *layout) {
  struct ranked type = {0};
  handle wants = NULL, made = NULL;
  size_t packed = 0;
  DO(GetRankedTensorType, of, &type);
  type.layout = *layout;
  if (output)
    DO(GetCompiledModelOutputBufferRequirements, compiled, signature, index, &wants);
  else
    DO(GetCompiledModelInputBufferRequirements, compiled, signature, index, &wants);
  DO(CreateManagedTensorBufferFromRequirements, environment, &type, wants, &made);
  DO(GetTensorBufferPackedSize, made, &packed);
  if (packed != tensor->bytes)
    refuse("the buffer of '%s' has %zu bytes, not %zu", tensor->name, packed, tensor->bytes);
  return made;
}

// The tensors of one side in the order of the main graph, each with its buffer.
static size_t side(bool output, handle of, bool named, struct tensor **tensors, handle **in_run,
                   handle **buffers) {
  handle graph = NULL;
  size_t in_graph = 0, count = output ? run_outputs : run_inputs, done = 0;
  DO(GetSignatureSubgraph, of, &graph);
  if (output)
    DO(GetNumSubgraphOutputs, graph, &in_graph);
  else
    DO(GetNumSubgraphInputs, graph, &in_graph);
  *tensors = need_memory(NULL, count, sizeof **tensors);
  *buffers = need_memory(NULL, count, sizeof **buffers);
  *in_run = memset(need_memory(NULL, count, sizeof **in_run), 0, count * sizeof **in_run);
  struct layout *layouts = need_memory(NULL, count, sizeof *layouts);
  memset(layouts, 0, count * sizeof *layouts);
  if (output)
    DO(GetCompiledModelOutputTensorLayouts, compiled, signature, count, layouts, true);
  else
    for (size_t i = 0; i < count; i++)
      DO(GetCompiledModelInputTensorLayout, compiled, signature, i, &layouts[i]);
  for (size_t position = 0; position < in_graph; position++) {
    handle wanted = NULL;
    if (output)
      DO(GetSubgraphOutput, graph, position, &wanted);
    else
      DO(GetSubgraphInput, graph, position, &wanted);
    for (size_t i = 0; i < count; i++) {
      handle tensor = NULL;
      const char *name = NULL;
      if ((*in_run)[i] != NULL) continue;
      if (output) {
        DO(GetSignatureOutputTensorByIndex, of, i, &tensor);
        DO(GetSignatureOutputName, of, i, &name);
      } else {
        DO(GetSignatureInputTensorByIndex, of, i, &tensor);
        DO(GetSignatureInputName, of, i, &name);
      }
      if (tensor != wanted) continue;
      struct tensor *made = &(*tensors)[done];
      *made = described(tensor, named ? name : NULL, &layouts[i]);
      (*in_run)[i] = (*buffers)[done] = new_buffer(output, i, made, tensor, &layouts[i]);
      done++;
      break;
    }
  }
  free(layouts);
  if (done != count) refuse("its signature has tensors that its main graph does not have");
  return count;
}

static void check_kind(const char *path) {
  unsigned char head[8] = {0};
  int opened = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = opened < 0 ? -1 : read(opened, head, sizeof head);
  if (got < 0) refuse("cannot read '%s': %s", path, strerror(errno));
  close(opened);
  if (memcmp(head + 4, "TFL3", 4) != 0) refuse("'%s' is no .tflite", path);
}

// The library frees `text`.
static void tell(handle options, const char *kind, char *text) {
  handle made = NULL;
  DO(CreateOpaqueOptions, kind, text, free, &made);
  DO(AddOpaqueOptions, options, made);
}

// Make what runs of the file: `compiled`, the tensors of `model`, and their buffers.
static void compile(const struct job *job, bool profiled, struct model *model) {
  handle options = NULL, of = NULL;
  size_t signatures = 0;
  DO(CreateOptions, &options);
  DO(SetOptionsHardwareAccelerators, options, CPU);
  struct text wish = {0};
  text_format(&wish, "num_threads = %lld\n", (long long)job->threads);
  tell(options, "xnnpack", wish.data);
  if (profiled) tell(options, "runtime_options_string", copy_text("enable_profiling = true\n"));
  DO(CreateCompiledModel, environment, file, options, &compiled);
  of = main_signature(&signatures);
  DO(GetNumSignatureInputs, of, &run_inputs);
  DO(GetNumSignatureOutputs, of, &run_outputs);
  if (job->batch) set_batch(job, of);
  // The sizes of the outputs, and the memory of all tensors, come with the buffers.
  bool named = signatures == 1;
  model->inputs = side(false, of, named, &model->input, &run_input, &input_buffer);
  model->outputs = side(true, of, named, &model->output, &run_output, &output_buffer);
}

static struct model open_model(const struct job *job) {
  struct model model = {0};
  check_kind(job->model);
  int64_t began = clock_ns();
  listen_to_runtime();
  DO(CreateEnvironment, 0, NULL, &environment);
  DO(CreateModelFromFile, environment, job->model, &file);
  compile(job, false, &model);
  model.load_ns = clock_ns() - began;
  input_bytes = need_memory(NULL, model.inputs, sizeof *input_bytes);
  output_bytes = need_memory(NULL, model.outputs, sizeof *output_bytes);
  for (size_t i = 0; i < model.inputs; i++) input_bytes[i] = model.input[i].bytes;
  for (size_t i = 0; i < model.outputs; i++) output_bytes[i] = model.output[i].bytes;
  heard(error_in);
  return model;
}

static void set_input(size_t index, const void *data) {
  void *to = NULL;
  int status = LockTensorBuffer(input_buffer[index], &to, WRITE);
  if (status != 0 || to == NULL) run_failed(status);
  memcpy(to, data, input_bytes[index]);
  status = UnlockTensorBuffer(input_buffer[index]);
  if (status != 0) run_failed(status);
}

static void get_output(size_t index, void *data) {
  void *from = NULL;
  int status = LockTensorBuffer(output_buffer[index], &from, READ);
  if (status != 0 || from == NULL) run_failed(status);
  memcpy(data, from, output_bytes[index]);
  status = UnlockTensorBuffer(output_buffer[index]);
  if (status != 0) run_failed(status);
}

static int run_model(void) {
  return RunCompiledModel(compiled, signature, run_inputs, run_input, run_outputs, run_output);
}

// --- the time of each operator

static handle profiler;

static const char *gives(const char *function, int status) {
  struct text out = {0};
  if (status == 0) return NULL;
  text_format(&out, "the profiler fails: LiteRt%s gives status %d", function, status);
  return out.data;
}

static const char *profile_begin(const struct job *job) {
  size_t inputs = run_inputs;
  char **kept = need_memory(NULL, inputs, sizeof *kept);
  for (size_t i = 0; i < inputs; i++) {
    void *from = NULL;
    kept[i] = need_memory(NULL, input_bytes[i], 1);
    int status = LockTensorBuffer(input_buffer[i], &from, READ);
    if (status != 0 || from == NULL) return gives("LockTensorBuffer", status ? status : -1);
    memcpy(kept[i], from, input_bytes[i]);
    UnlockTensorBuffer(input_buffer[i]);
  }
  struct model model = {0};
  listen_to_runtime();
  compile(job, true, &model);
  heard(error_in);
  for (size_t i = 0; i < inputs; i++) {
    set_input(i, kept[i]);
    free(kept[i]);
  }
  free(kept);
  return gives("CompiledModelGetProfiler", CompiledModelGetProfiler(compiled, &profiler));
}

static const char *profile_from(void) { return gives("StartProfiler", StartProfiler(profiler)); }

static const char *profile_end(int64_t runs, struct text *operators) {
  const char *table = NULL, *why = gives("StopProfiler", StopProfiler(profiler));
  (void)runs;
  if (why == NULL)
    why = gives("GetProfileSummary", GetProfileSummary(profiler, compiled, &table));
  if (why) return why;
  litert_operators(table, operators);
  return operators->length ? NULL : "its profiler's table is of another form";
}

static int64_t arena_bytes(const char **why) {
  *why = "TFLite and LiteRT tell it neither in Python nor in C";
  return -1;
}

static const char *status_text(int status) {
  struct text out = {0};
  text_format(&out, "LiteRT's status %d", status);
  return out.data;
}

const struct runtime litert = {
    RUNNER_VERSION, "ai-edge-litert", open_library,  open_model,   set_input,  get_output,
    run_model,      status_text,      arena_bytes,   profile_begin, profile_from, profile_end,
};
