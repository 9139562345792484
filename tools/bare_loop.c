// What bench_runner.py holds the native runner against: nothing but calls of LiteRT between two looks
// at the clock. Prints the median time of one call in ns, and the time that a tenth of the calls stays below.
//
//     bare_loop libLiteRt.so MODEL SECONDS       (a .tflite with one float input and one output)

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MOST 10000000

static void *library;
static long long times[MOST];

static void check(int status, const char *what) {
  if (status == 0) return;
  fprintf(stderr, "%s gives status %d\n", what, status);
  exit(1);
}

// Functions of libLiteRt.so 2.3 by name; all arguments are pointers or sizes.
#define CALL(name, types, ...) \
  check(((int(*) types)dlsym(library, "LiteRt" #name))(__VA_ARGS__), #name)

static void keep(void *text) { (void)text; }

static long long now(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int by_size(const void *one, const void *other) {
  long long a = *(const long long *)one, b = *(const long long *)other;
  return (a > b) - (a < b);
}

static void *buffer(void *environment, void *compiled, void *signature, int output) {
  int32_t type[18] = {0};
  void *tensor, *wants, *made;
  if (output) {
    CALL(GetSignatureOutputTensorByIndex, (void *, size_t, void **), signature, 0, &tensor);
    CALL(GetCompiledModelOutputBufferRequirements, (void *, size_t, size_t, void **), compiled, 0, 0,
         &wants);
  } else {
    CALL(GetSignatureInputTensorByIndex, (void *, size_t, void **), signature, 0, &tensor);
    CALL(GetCompiledModelInputBufferRequirements, (void *, size_t, size_t, void **), compiled, 0, 0,
         &wants);
  }
  CALL(GetRankedTensorType, (void *, void *), tensor, type);
  CALL(CreateManagedTensorBufferFromRequirements, (void *, void *, void *, void **), environment,
       type, wants, &made);
  return made;
}

int main(int count, char **words) {
  if (count != 4 || (library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL)) == NULL) return 2;
  void *environment, *model, *options, *threads, *compiled, *signature, *data;
  CALL(CreateEnvironment, (int, void *, void **), 0, NULL, &environment);
  CALL(CreateModelFromFile, (void *, char *, void **), environment, words[2], &model);
  CALL(CreateOptions, (void **), &options);
  CALL(SetOptionsHardwareAccelerators, (void *, int), options, 1);
  static char one[] = "num_threads = 1\n";
  CALL(CreateOpaqueOptions, (char *, void *, void (*)(void *), void **), "xnnpack", one, keep,
       &threads);
  CALL(AddOpaqueOptions, (void *, void *), options, threads);
  CALL(CreateCompiledModel, (void *, void *, void *, void **), environment, model, options,
       &compiled);
  CALL(GetModelSignature, (void *, size_t, void **), model, 0, &signature);
  void *input = buffer(environment, compiled, signature, 0);
  void *output = buffer(environment, compiled, signature, 1);
  size_t bytes;
  CALL(GetTensorBufferPackedSize, (void *, size_t *), input, &bytes);
  CALL(LockTensorBuffer, (void *, void **, int), input, &data, 1);
  srand(1);
  for (size_t i = 0; i < bytes / 4; i++) ((float *)data)[i] = (float)rand() / (float)RAND_MAX;
  CALL(UnlockTensorBuffer, (void *), input);
  int (*run)(void *, size_t, size_t, void **, size_t, void **) =
      (int (*)(void *, size_t, size_t, void **, size_t, void **))dlsym(library,
                                                                       "LiteRtRunCompiledModel");
  size_t taken = 0;
  for (int warm = 1; warm >= 0; warm--) {  // once to warm up, once to count
    long long end = now() + (long long)(atof(words[3]) * 1e9);
    taken = 0;
    do {
      long long before = now();
      int status = run(compiled, 0, 1, &input, 1, &output);
      times[taken] = now() - before;
      check(status, "RunCompiledModel");
      if (++taken == MOST) break;
    } while (now() < end);
  }
  qsort(times, taken, sizeof *times, by_size);
  printf("%lld %lld\n", times[taken / 2], times[taken / 10]);
  return 0;
}
