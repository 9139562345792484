// What the machine is and what it does: the same keys as in machine.py and environment.py
// of ../edgekit_bench.

#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner.h"

const char *system_root = "";

// A path below the root, which lives until the program ends.
static const char *rooted(const char *path) {
  struct text out = {0};
  text_format(&out, "%s%s", system_root, path);
  return out.data;
}

// Adds `, "key": "value"`, where there is one.
static void add_text(struct text *to, const char *key, const char *value) {
  if (value == NULL || !*value) return;
  text_format(to, "%s\"%s\": ", to->length ? ", " : "", key);
  text_json(to, value);
}

// --- what it is

// The value of the first line "key : value" in `text`, or NULL.
static char *line_value(const char *text, const char *key) {
  size_t length = strlen(key);
  for (const char *line = text; line && *line;) {
    const char *end = line + strcspn(line, "\n"), *after = line + length;
    if (strncmp(line, key, length) == 0) {
      while (after < end && isspace((unsigned char)*after)) after++;
      if (after < end && *after == ':') {
        do after++;
        while (after < end && isspace((unsigned char)*after));
        while (end > after && isspace((unsigned char)end[-1])) end--;
        struct text out = {0};
        text_bytes(&out, after, (size_t)(end - after));
        return out.data;
      }
    }
    line = *end ? end + 1 : end;
  }
  return NULL;
}

static const char *cpu_model(const char *cpuinfo) {
  static const char *const keys[] = {"model name", "Model", "Hardware"};
  for (size_t i = 0; i < 3; i++) {
    char *value = line_value(cpuinfo, keys[i]);
    if (value && *value) return value;
  }
  const char *part = line_value(cpuinfo, "CPU part");  // Arm kernels give numbers, no name
  const char *maker = line_value(cpuinfo, "CPU implementer");
  if (part == NULL) return NULL;
  struct text out = {0};
  text_format(&out, "implementer %s part %s", maker ? maker : "?", part);
  return out.data;
}

// Why this processor is known to be emulated, or NULL; see emulation() in
// ../edgekit_bench/machine.py.
static const char *emulation(const char *cpuinfo, const char *machine) {
  static char path[64], program[4096];
  struct text out = {0};
  snprintf(path, sizeof path, "/proc/self/task/%d/exe", (int)getpid());
  ssize_t length = readlink(path, program, sizeof program - 1);
  program[length > 0 ? length : 0] = 0;
  const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
  if (strncmp(name, "qemu-", 5) == 0) {
    text_format(&out, "this process runs inside %s", name);
    return out.data;
  }
  bool arm = strcmp(machine, "aarch64") == 0 || strcmp(machine, "armv7l") == 0 ||
             strcmp(machine, "armv6l") == 0 || strcmp(machine, "riscv64") == 0;
  bool x86 = strcmp(machine, "x86_64") == 0 || strcmp(machine, "i686") == 0;
  if (arm && line_value(cpuinfo, "vendor_id"))
    text_format(&out, "uname says %s, /proc/cpuinfo describes an x86 processor", machine);
  else if (x86 && line_value(cpuinfo, "CPU implementer"))
    text_format(&out, "uname says %s, /proc/cpuinfo describes an Arm processor", machine);
  return out.data;
}

void describe_machine(struct text *to) {
  char program[4096];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  program[length > 0 ? length : 0] = 0;
  struct utsname system;
  if (uname(&system) != 0) memset(&system, 0, sizeof system);
  char *cpuinfo = read_small(rooted("/proc/cpuinfo"), NULL), *memory = read_small(rooted("/proc/meminfo"), NULL);
  struct text libc = {0};
  const char *(*glibc)(void);
  *(void **)&glibc = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
#ifdef __BIONIC__
  text_add(&libc, "bionic");
#endif
  if (glibc) text_format(&libc, "glibc %s", glibc());
  add_text(to, "executable", program);
  add_text(to, "system", system.sysname);
  add_text(to, "machine", system.machine);
  add_text(to, "kernel", system.release);
  add_text(to, "libc", libc.data);
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  if (cores > 0) text_format(to, ", \"cores\": %ld", cores);
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof usable, &usable) == 0)
    text_format(to, ", \"usable_cores\": %d", CPU_COUNT(&usable));
  add_text(to, "cpu", cpu_model(cpuinfo));
  add_text(to, "board", read_small(rooted("/proc/device-tree/model"), NULL));
  char *total = line_value(memory, "MemTotal");
  if (total) text_format(to, ", \"memory_bytes\": %lld", atoll(total) * 1024);
  add_text(to, "emulated", emulation(cpuinfo, system.machine));
  free(cpuinfo);
  free(memory);
}

// --- what it does

struct found {
  struct text known, unavailable;
};

static void add_raw(struct text *to, const char *key, const char *json) {
  text_format(to, "%s\"%s\": %s", to->length ? ", " : "", key, json);
}

static glob_t listed(const char *pattern) {
  glob_t found = {0};
  if (glob(pattern, 0, NULL, &found) != 0) found.gl_pathc = 0;
  return found;
}

static void add_clocks(struct found *found) {
  static const char *const files[][2] = {{"governors", "scaling_governor"},
                                         {"cpu_khz", "scaling_cur_freq"},
                                         {"cpu_max_khz", "scaling_max_freq"}};
  bool policies = true;
  glob_t folders = listed(rooted("/sys/devices/system/cpu/cpufreq/policy[0-9]*"));
  if (folders.gl_pathc == 0) {
    policies = false;
    folders = listed(rooted("/sys/devices/system/cpu/cpu[0-9]*/cpufreq"));
  }
  for (size_t kind = 0; kind < 3; kind++) {
    struct text values = {0}, why = {0};
    text_add(&why, "no cpufreq in /sys/devices/system/cpu");
    for (size_t i = 0; i < folders.gl_pathc; i++) {
      struct text path = {0}, label = {0};
      text_add(&label, folders.gl_pathv[i]);
      text_format(&path, "%s/%s", label.data, files[kind][1]);
      if (!policies) *strrchr(label.data, '/') = 0;  // …/cpu0/cpufreq
      char *text = read_small(path.data, &why);
      if (text && *text) {
        bool number = text[strspn(text, "0123456789")] == 0;
        if (values.length) text_add(&values, ", ");
        text_json(&values, strrchr(label.data, '/') + 1);
        text_add(&values, ": ");
        if (number) text_format(&values, "%lld", atoll(text));
        else text_json(&values, text);
      }
      free(text);
      text_free(&path);
      text_free(&label);
    }
    if (values.length)
      text_format(&found->known, "%s\"%s\": {%s}", found->known.length ? ", " : "",
                  files[kind][0], values.data);
    else
      add_text(&found->unavailable, files[kind][0], why.data);
    text_free(&values);
    text_free(&why);
  }
  globfree(&folders);
}

static void add_temperatures(struct found *found) {
  struct text values = {0}, why = {0};
  text_add(&why, "no thermal zone in /sys/class/thermal");
  glob_t zones = listed(rooted("/sys/class/thermal/thermal_zone*"));
  for (size_t i = 0; i < zones.gl_pathc; i++) {
    struct text path = {0}, name = {0};
    text_format(&path, "%s/type", zones.gl_pathv[i]);
    char *kind = read_small(path.data, NULL), *end = NULL;
    text_free(&path);
    text_format(&path, "%s/temp", zones.gl_pathv[i]);
    char *text = read_small(path.data, &why);
    long long thousandths = text && *text ? strtoll(text, &end, 10) : 0;
    if (text && (end == NULL || *end)) {
      text_free(&why);
      text_format(&why, "%s: '%s' is not a number", path.data, text);
    } else if (text && thousandths <= -100000) {  // how some drivers say that the sensor is off
      text_free(&why);
      text_format(&why, "%s: %g °C is a dummy", path.data, (double)thousandths / 1000);
    } else if (text) {
      text_format(&name, "%s:%s", strrchr(zones.gl_pathv[i], '/') + 1, kind && *kind ? kind : "?");
      if (values.length) text_add(&values, ", ");
      text_json(&values, name.data);
      text_add(&values, ": ");
      text_real(&values, (double)thousandths / 1000);
    }
    free(kind);
    free(text);
    text_free(&path);
    text_free(&name);
  }
  if (values.length)
    text_format(&found->known, "%s\"temperatures_c\": {%s}", found->known.length ? ", " : "",
                values.data);
  else
    add_text(&found->unavailable, "temperatures_c", why.data);
  text_free(&values);
  text_free(&why);
  globfree(&zones);
}

static void add_load(struct found *found) {
  struct text why = {0};
  double load[3];
  char *text = read_small(rooted("/proc/loadavg"), &why), json[100];
  if (text && sscanf(text, "%lf %lf %lf", &load[0], &load[1], &load[2]) == 3) {
    snprintf(json, sizeof json, "[%.2f, %.2f, %.2f]", load[0], load[1], load[2]);
    add_raw(&found->known, "load_average", json);
  } else {
    add_text(&found->unavailable, "load_average", why.data ? why.data : "/proc/loadavg: no numbers");
  }
  free(text);
  text_free(&why);
}

// What `vcgencmd get_throttled` prints; NULL if the program is not there. At most five seconds.
static char *ask_vcgencmd(void) {
  int ends[2];
  if (pipe(ends) != 0) return NULL;
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    execlp("vcgencmd", "vcgencmd", "get_throttled", (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  struct text out = {0};
  text_add(&out, "");
  int64_t until = clock_ns() + 5000000000;
  while (child > 0 && out.length < 1000) {
    struct pollfd waiting = {.fd = ends[0], .events = POLLIN};
    int64_t left_ms = (until - clock_ns()) / 1000000;
    char bytes[256];
    if (left_ms <= 0 || poll(&waiting, 1, (int)left_ms) <= 0) break;
    ssize_t got = read(ends[0], bytes, sizeof bytes);
    if (got <= 0) break;
    text_bytes(&out, bytes, (size_t)got);
  }
  close(ends[0]);
  if (child < 0) return NULL;
  int status = 0;
  if (clock_ns() >= until) kill(child, SIGKILL);
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return NULL;
  while (out.length && isspace((unsigned char)out.data[out.length - 1])) out.data[--out.length] = 0;
  return out.data;
}

// Raspberry Pi's throttling bits, from the kernel's file, else from the maker's program.
// https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
static void add_throttled(struct found *found) {
  struct text value = {0};
  char *text = read_small(rooted("/sys/devices/platform/soc/soc:firmware/get_throttled"), NULL);
  if (text && *text) {
    for (char *c = text; *c; c++) *c = (char)tolower((unsigned char)*c);
    text_format(&value, "0x%s", strncmp(text, "0x", 2) == 0 ? text + 2 : text);
    add_text(&found->known, "throttled", value.data);
  } else {
    free(text);
    text = ask_vcgencmd();
    if (text == NULL) {
      add_text(&found->unavailable, "throttled",
               "no get_throttled in sysfs and no vcgencmd on PATH");
    } else if (strncmp(text, "throttled=0x", 12) == 0) {
      add_text(&found->known, "throttled", text + strlen("throttled="));
    } else {
      text_format(&value, "vcgencmd get_throttled said '%.100s'", text);
      add_text(&found->unavailable, "throttled", value.data);
    }
  }
  free(text);
  text_free(&value);
}

void emit_environment(const char *when) {
  struct found found = {0};
  add_text(&found.known, "when", when);
  add_clocks(&found);
  add_temperatures(&found);
  add_load(&found);
  add_throttled(&found);
  text_format(&found.known, ", \"unavailable\": {%s}",
              found.unavailable.length ? found.unavailable.data : "");
  emit("environment", &found.known);
  text_free(&found.known);
  text_free(&found.unavailable);
}

void resident_bytes(int64_t *now, int64_t *peak) {
  char *status = read_small(rooted("/proc/self/status"), NULL);
  char *rss = line_value(status, "VmRSS"), *most = line_value(status, "VmHWM");
  struct rusage used;
  *now = rss ? atoll(rss) * 1024 : -1;
  *peak = most ? atoll(most) * 1024 : getrusage(RUSAGE_SELF, &used) == 0 ? used.ru_maxrss * 1024L : -1;
  free(status);
  free(rss);
  free(most);
}

const char *const HELD_KEYS[HELD] = {"model_rss_bytes", "model_pss_bytes", "swap_bytes",
                                     "arena_bytes", "driver_bytes"};

// Add up Rss and Pss over the mappings of the file `path` in the text of smaps.
static void add_mapped(char *maps, const char *path, int64_t *rss, int64_t *pss) {
  bool inside = false;
  char *rest = NULL;
  for (char *line = strtok_r(maps, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    size_t word = strcspn(line, " ");
    if (word && line[word - 1] != ':') {  // "7f44...-7f45... r--s 00000000 fe:00 4039279   PATH"
      char *place = strchr(line, '/');
      inside = place && strcmp(place, path) == 0;
    } else if (inside && strncmp(line, "Rss:", 4) == 0) {
      *rss = (*rss < 0 ? 0 : *rss) + atoll(line + 4) * 1024;
    } else if (inside && strncmp(line, "Pss:", 4) == 0) {
      *pss = (*pss < 0 ? 0 : *pss) + atoll(line + 4) * 1024;
    }
  }
}

// "43264 KiB" in bytes; -1 if it is no size.
static int64_t drm_size(const char *text) {
  char *end;
  if (!isdigit((unsigned char)*text) || strspn(text, "0123456789") > 18) return -1;
  int64_t size = strtoll(text, &end, 10);
  end += strspn(end, " \t");
  if (strcmp(end, "KiB") == 0) return size > INT64_MAX / 1024 ? -1 : size * 1024;
  if (strcmp(end, "MiB") == 0) return size > INT64_MAX / 1048576 ? -1 : size * 1048576;
  return *end ? -1 : size;
}

// Who holds buffers by the text of an fdinfo, which is written over: see drm_client() in
// ../edgekit_bench/drivers.py. `who` is empty where the driver does not number its clients, `driver`
// where it is no client of DRM's; bytes are -1 where they are not told.
struct drm {
  struct text who, driver;
  int64_t bytes;
};

static struct drm drm_client(char *text) {
  struct drm found = {.bytes = -1};
  static const char *const kinds[] = {"drm-resident-", "drm-memory-"};
  int64_t sums[2] = {-1, -1};
  const char *id = NULL, *place = "", *driver = NULL;
  bool broken[2] = {false, false};
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    char *value = strchr(line, ':');
    if (value == NULL) continue;
    *value++ = 0;
    value += strspn(value, " \t");
    for (size_t length = strlen(value); length && isspace((unsigned char)value[length - 1]);)
      value[--length] = 0;
    if (strcmp(line, "drm-driver") == 0) driver = value;
    else if (strcmp(line, "drm-client-id") == 0) id = value;
    else if (strcmp(line, "drm-pdev") == 0) place = value;
    for (int kind = 0; kind < 2; kind++) {
      if (strncmp(line, kinds[kind], strlen(kinds[kind])) != 0) continue;
      int64_t size = drm_size(value);
      broken[kind] |= size < 0;
      sums[kind] = (sums[kind] < 0 ? 0 : sums[kind]) + (size < 0 ? 0 : size);
    }
  }
  if (driver == NULL) return found;
  text_add(&found.driver, driver);
  if (id) text_format(&found.who, "%s %s %s", driver, place, id);
  int kind = sums[0] >= 0 ? 0 : 1;
  if (!broken[kind]) found.bytes = sums[kind];
  return found;
}

// Devices of GPUs and NPUs: DEVICES of ../edgekit_bench/drivers.py.
static bool is_silent(const char *path, bool drm_told, bool kgsl_told) {
  static const char *const never[] = {"mali", "nvmap", "nvhost", "nvgpu", "nvidia", "apex_"};
  if (strncmp(path, "/dev/", 5) != 0) return false;
  path += 5;
  for (size_t i = 0; i < sizeof never / sizeof *never; i++)
    if (strncmp(path, never[i], strlen(never[i])) == 0) return true;
  if (strncmp(path, "dri/", 4) == 0 || strncmp(path, "accel/", 6) == 0) return !drm_told;
  return strncmp(path, "kgsl-", 5) == 0 && !kgsl_told;
}

// What drivers of GPUs and NPUs hold: see driver_bytes() in ../edgekit_bench/drivers.py.
static int64_t driver_bytes(const char **why) {
  struct text silent = {0}, seen = {0};
  int64_t sum = -1;
  glob_t files = listed(rooted("/proc/self/fdinfo/*"));
  for (size_t i = 0; i < files.gl_pathc; i++) {
    size_t length;
    char *text = read_whole(files.gl_pathv[i], 1u << 20, &length);
    if (text == NULL) continue;  // closed meanwhile: that of the list
    struct text all = {0}, line = {0};
    text_bytes(&all, text, length);
    free(text);
    struct drm client = drm_client(all.data ? all.data : (char[]){""});
    text_free(&all);
    if (client.driver.length == 0) continue;
    text_format(&line, "\n%s\n", client.who.data ? client.who.data : files.gl_pathv[i]);
    if (seen.data == NULL || strstr(seen.data, line.data) == NULL) {
      text_add(&seen, line.data);
      if (client.bytes < 0 && silent.length == 0)
        text_format(&silent, "the driver %s does not tell it in fdinfo", client.driver.data);
      sum = (sum < 0 ? 0 : sum) + (client.bytes < 0 ? 0 : client.bytes);
    }
    text_free(&line);
    text_free(&client.who);
    text_free(&client.driver);
  }
  globfree(&files);
  text_free(&seen);
  bool has_drm = sum >= 0;
  struct text folder = {0};
  text_format(&folder, "/sys/class/kgsl/kgsl/proc/%d", (int)getpid());
  if (access(rooted(folder.data), F_OK) == 0) {
    static const char *const names[] = {"gpumem_mapped", "gpumem_unmapped"};
    for (int i = 0; i < 2; i++) {
      struct text path = {0}, reason = {0};
      text_format(&path, "%s/%s", folder.data, names[i]);
      char *text = read_small(rooted(path.data), &reason);
      int64_t size = text && !strchr(text, ' ') ? drm_size(text) : -1;
      if (size < 0 && silent.length == 0)
        text_format(&silent, "%s%s", reason.data ? reason.data : path.data,
                    reason.data ? "" : " has no number");
      sum = (sum < 0 ? 0 : sum) + (size < 0 ? 0 : size);
      free(text);
      text_free(&path);
      text_free(&reason);
    }
  }
  glob_t open = listed(rooted("/proc/self/fd/*"));
  for (size_t i = 0; i < open.gl_pathc && silent.length == 0; i++) {
    char path[4096];
    ssize_t length = readlink(open.gl_pathv[i], path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    if (is_silent(path, has_drm, sum >= 0))
      text_format(&silent, "%s is open, whose driver tells it to root or nobody", path);
  }
  globfree(&open);
  text_free(&folder);
  if (sum >= 0 && silent.length == 0) return sum;
  *why = silent.length ? silent.data : "no driver of a GPU or an NPU is open";
  return -1;
}

struct held memory_held(const struct job *job) {
  struct held held;
  struct text why = {0};
  for (int i = 0; i < HELD; i++) {
    held.bytes[i] = -1;
    held.why[i] = "";
  }
  char *status = read_small(rooted("/proc/self/status"), &why);
  char *swapped = status ? line_value(status, "VmSwap") : NULL;
  if (swapped) held.bytes[SWAP] = atoll(swapped) * 1024;
  else held.why[SWAP] = copy_text(why.data ? why.data : "/proc/self/status has no VmSwap");
  free(status);
  free(swapped);
  text_free(&why);
  size_t length;
  const char *smaps = rooted("/proc/self/smaps");
  char *path = realpath(job->model, NULL), *maps = read_whole(smaps, 64u << 20, &length);
  if (maps == NULL) {
    text_format(&why, "%s: %s", smaps, strerror(errno));
    held.why[MODEL_RSS] = held.why[MODEL_PSS] = why.data;
  } else {
    struct text all = {0};
    text_bytes(&all, maps, length);
    if (path) add_mapped(all.data, path, &held.bytes[MODEL_RSS], &held.bytes[MODEL_PSS]);
    held.why[MODEL_RSS] = held.why[MODEL_PSS] = "the runtime keeps no mapping of the model's file";
    text_free(&all);
  }
  free(path);
  free(maps);
  held.bytes[DRIVER] = driver_bytes(&held.why[DRIVER]);
  return held;
}

// --- who else works

// Less than this says nothing: the kernel counts in ticks, of 10 ms as a rule.
#define LEAST_SECONDS 0.2

// Seconds of work on all cores since the start, those stolen by a hypervisor included; negative if
// not known. The line "cpu": user nice system idle iowait irq softirq steal, in ticks (proc_stat(5)).
static double busy_seconds(void) {
  char *text = read_small(rooted("/proc/stat"), NULL);
  long long t[8];
  double busy = -1;
  if (text && sscanf(text, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &t[0], &t[1], &t[2],
                     &t[3], &t[4], &t[5], &t[6], &t[7]) == 8)
    busy = (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
  free(text);
  return busy;
}

static double own_seconds(void) {
  struct rusage used;
  if (getrusage(RUSAGE_SELF, &used) != 0) return 0;
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

void watch_others(struct other_work *watch) {
  *watch = (struct other_work){busy_seconds(), own_seconds(), clock_ns()};
}

void cores_since(const struct other_work *watch, double *own, double *others) {
  double busy = busy_seconds(), seconds = (double)(clock_ns() - watch->began_ns) / 1e9;
  *own = *others = -1;
  if (seconds < LEAST_SECONDS) return;
  double worked = own_seconds() - watch->own, more = busy - watch->busy - worked;
  *own = worked / seconds;
  if (busy >= 0 && watch->busy >= 0) *others = more > 0 ? more / seconds : 0;
}
