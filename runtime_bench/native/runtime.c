// Which runtime computes: LiteRT, which this program knows, or one of a module that is given.

#include <dlfcn.h>
#include <string.h>

#include "runner.h"

const char *library_paths[MOST_LIBRARIES];
size_t library_count;
const char *library_version, *module_path;
const struct runtime *runtime = &litert;

static const char HINT[] = "give the runner the module and the libraries that belong to it";

// Symbols of what is loaded are found by what comes later: a library of the names that it was linked
// with need not lie where the loader looks.
static void *opened(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) {
    const char *why = dlerror();
    fail(NO_RUNTIME, "runtime_broken", HINT, "cannot load the runtime: %s", why ? why : path);
  }
  return library;
}

static void open_module(void) {
  for (size_t i = 0; i < library_count; i++) opened(library_paths[i]);
  const struct runtime *found = dlsym(opened(module_path), "edgekit_runtime");
  if (found == NULL || strcmp(found->version, RUNNER_VERSION) != 0)
    fail(NO_RUNTIME, "runtime_broken", HINT, "%s is no module of runner " RUNNER_VERSION,
         module_path);
  runtime = found;
}

void open_runtime(const struct job *job) {
  if (module_path) open_module();
  if (job->runtime && strcmp(job->runtime, runtime->name) != 0)
    fail(NO_RUNTIME, "runtime_missing", "take the Python runner for it",
         "the native runner has no %s here, only %s", job->runtime, runtime->name);
  runtime->open();
}

_Noreturn void run_failed(int status) {
  fail(FAILED, "run_failed", "", "the model fails when it runs: %s", runtime->status_text(status));
}
