#!/usr/bin/env python3
"""Loads a model on the device, checks it and times it. One file; Python 3.8 or newer.

    python3 edgekit_bench.py JOB.json        (or - to read the job from standard input)

Needs a runtime that reads the model, and nothing else but numpy, which comes with them:
ai-edge-litert, tflite-runtime or tensorflow for .tflite, executorch (with torch) for .pte,
onnxruntime for .onnx. The job is a JSON object with the keys of `DEFAULTS`; an unknown key is
refused. What happens is printed as one JSON object a line:

    hello         versions of this file, Python and runtime; what the machine is
    environment   clocks, governors, temperatures, load; "when" is "before" or "after"
    load          ns to open the model and allocate; inputs and outputs
    first         ns of the first inference, and whether its outputs are finite
    check         outputs for the given inputs were written to the file the job names
    warmup        ns of each warm-up inference
    window        the clock's ns when sampling began and when it ended
    samples       ns of each inference; may come in several lines
    interference  how many cores this program and how many other work kept busy on average while
                  samples were taken; null where that is not known
    operators     if the job asks for them: ns by operator over some more runs, with the runtime's
                  profiler on; or why there are none ("unavailable")
    memory        bytes of resident memory before the load, after it, and at the peak; when the last
                  inference was done, of the model's file that is mapped (Rss and Pss), of what is
                  swapped out, of the runtime's arena, and of what drivers of GPUs and NPUs hold;
                  "unavailable" says why which is not told
    sensors       what edgekit_sampler.py wrote down beside all of this, if the job has "sensors":
                  its lines, when the model was not loaded yet (idle), and what went wrong; may come
                  in several lines
    done          why sampling stopped: "enough", "max_runs" or "time_budget"
    error         code, message and perhaps hint; the exit status is then 2 to 6

Times are of the monotonic clock in nanoseconds, memory is in bytes, temperatures in °C. With
"streams": N in the job, N processes load the model and are timed together; warmup, window and
samples then come once for each with its number as "stream" (0 for a single one), memory is their
sum.
"""

import ctypes
import gc
import glob
import hashlib
import importlib
import importlib.util
import json
import math
import mmap
import os
import platform
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings

RUNNER_VERSION = "0.2.0"
PROTOCOL = 2

# Distribution name, as in `pip install`, the module that is its entry, and what it reads.
RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert.interpreter", "tflite"),
    ("tflite-runtime", "tflite_runtime.interpreter", "tflite"),
    ("tensorflow", "tensorflow.lite", "tflite"),
    ("executorch", "executorch.runtime", "executorch"),
    ("onnxruntime", "onnxruntime", "onnx"),
)

# What can be installed where: runtime, Python versions and the lowest glibc of its wheels on
# x86-64 and aarch64. From the wheels' own metadata on PyPI, the glibc from the symbols they need
# (ai-edge-litert 2.3.0 claims 2.27 and needs 2.34; tflite-runtime 2.14 for aarch64 the other way
# round, so that pip takes it only with 2.34: `edgekit devices prepare` does with 2.27).
WHEELS = (
    ("ai-edge-litert==2.3.0", (3, 10), (3, 14), (2, 34)),
    ("ai-edge-litert==2.0.3", (3, 9), (3, 12), (2, 30)),
    ("tflite-runtime==2.14.0 'numpy<2'", (3, 8), (3, 11), (2, 27)),
    ("executorch==1.5.1 torch==2.13.0", (3, 10), (3, 14), (2, 28)),
    ("onnxruntime==1.31.1", (3, 11), (3, 14), (2, 28)),
)

DEFAULTS = {
    "protocol": None,  # required: PROTOCOL
    "model": None,  # required: path of the model
    "sha256": None,  # if given, the file must have this digest (hex)
    "runtime": None,  # a name of RUNTIMES; the first that is there and reads the file if not given
    "names": None,  # {"inputs": […], "outputs": […]} in order, for a file that keeps none (.pte)
    "inputs": None,  # .npz with the model's inputs, one row a sample: "in:<name>" or "<name>"
    "outputs": None,  # where to write an .npz with the outputs for all of them: "out:<name>"
    "threads": 1,
    "operators": False,  # whether to tell the time of each operator, too
    "streams": 1,  # processes that run the model at the same time
    "batch": None,  # size of the first dimension of every input; as in the model if not given
    "warmup_runs": 0,  # both must be reached
    "warmup_seconds": 0.0,
    "runs": 1,  # both must be reached; with neither nothing is timed
    "min_seconds": 0.0,
    "sample_every": 1,  # only every so many-th inference is timed, for very long runs
    "max_runs": 200000,  # timed ones; sampling stops there even if min_seconds is not reached
    "time_budget_seconds": 600.0,  # from the start of the process; sampling stops then
    "sensors": None,  # {"sampler": path of edgekit_sampler.py, "spec": its spec, "idle_seconds": N}
}

# Seconds after the budget at which the kernel ends this process, whatever it hangs in: the link to
# who started it may be gone by then.
ALARM_GRACE_SECONDS = 15

SAMPLES_A_LINE = 10000

_clock = time.perf_counter_ns


class NoProfiler(Exception):
    """The runtime has no profiler that can be used from here."""


class Failure(Exception):
    """Ends the run with an error event and this exit status."""

    def __init__(self, status, code, message, hint=""):
        Exception.__init__(self, message)
        self.status, self.code, self.message, self.hint = status, code, message, hint

    def told(self):
        return {"code": self.code, "message": self.message, "hint": self.hint}


def emit(event, **values):
    """Print one event as a line of JSON, at once."""
    values = dict({"event": event}, **values)
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------------------------------------
# The job


def read_job(reference):
    """The job in the file `reference`, or on standard input if it is "-", validated."""
    try:
        if reference == "-":
            text = sys.stdin.buffer.read().decode("utf-8")
        else:
            with open(reference, encoding="utf-8") as file:
                text = file.read()
        data = json.loads(text)
    except (OSError, ValueError) as exc:
        raise Failure(2, "bad_job", "cannot read the job %r: %s" % (reference, exc))
    return validate(data)


def validate(data):
    """`data` with defaults filled in. Raises Failure, naming the key, if anything is not right."""
    if not isinstance(data, dict):
        raise Failure(2, "bad_job", "the job is not a JSON object")
    unknown = sorted(set(data) - set(DEFAULTS))
    if unknown:
        raise Failure(
            2,
            "bad_job",
            "unknown key %r in the job; allowed: %s" % (unknown[0], ", ".join(sorted(DEFAULTS))),
        )
    job = dict(DEFAULTS, **data)
    if job["protocol"] != PROTOCOL:
        raise Failure(
            2,
            "bad_job",
            "the job has protocol %r, this runner speaks %d" % (job["protocol"], PROTOCOL),
            "use the runner and the edgekit of one version",
        )
    for key in ("model", "sha256", "runtime", "inputs", "outputs"):
        value = job[key]
        if value is None and key != "model":
            continue
        if not isinstance(value, str) or not value:
            raise Failure(2, "bad_job", "%s = %r is not a text" % (key, value))
    names = [name for name, _, _ in RUNTIMES]
    if job["runtime"] is not None and job["runtime"] not in names:
        raise Failure(
            2, "bad_job", "there is no runtime %r; known: %s" % (job["runtime"], ", ".join(names))
        )
    if job["names"] is not None:
        _names(job["names"])
    if not isinstance(job["operators"], bool):
        raise Failure(2, "bad_job", "operators = %r is not true or false" % (job["operators"],))
    if job["sensors"] is not None:
        _sensors(job["sensors"])
    if job["outputs"] and not job["inputs"]:
        raise Failure(2, "bad_job", "outputs is given, but no inputs to compute them from")
    _whole_number(job, "threads", 1)
    _whole_number(job, "streams", 1)
    if job["operators"] and job["streams"] != 1:
        raise Failure(2, "bad_job", "operators are told of one stream, not of %d" % job["streams"])
    if job["outputs"] and job["streams"] != 1:
        raise Failure(2, "bad_job", "outputs are written by one stream, not by %d" % job["streams"])
    if job["batch"] is not None:
        _whole_number(job, "batch", 1)
    for key in ("warmup_runs", "runs"):
        _whole_number(job, key, 0)
    _whole_number(job, "max_runs", 1)
    _whole_number(job, "sample_every", 1)
    for key in ("warmup_seconds", "min_seconds", "time_budget_seconds"):
        value = job[key]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise Failure(
                2, "bad_job", "%s = %r is not a number of seconds, zero or more" % (key, value)
            )
    if job["time_budget_seconds"] <= 0:
        raise Failure(2, "bad_job", "time_budget_seconds must be above zero")
    if job["runs"] > job["max_runs"]:
        raise Failure(
            2, "bad_job", "runs = %d is more than max_runs = %d" % (job["runs"], job["max_runs"])
        )
    return job


def _names(value):
    good = isinstance(value, dict) and set(value) == {"inputs", "outputs"}
    for listed in value.values() if good else ():
        good = good and isinstance(listed, list) and all(isinstance(n, str) and n for n in listed)
    if not good:
        raise Failure(
            2, "bad_job", 'names = %r is not {"inputs": [texts], "outputs": [texts]}' % (value,)
        )


def _sensors(value):
    wanted = {"sampler": str, "spec": dict, "idle_seconds": (int, float)}
    good = isinstance(value, dict) and set(value) == set(wanted)
    good = good and all(isinstance(value[key], kind) for key, kind in wanted.items())
    if not good or not 0 <= value["idle_seconds"] <= 600:
        raise Failure(
            2,
            "bad_job",
            'sensors = %r is not {"sampler": text, "spec": object, "idle_seconds": 0 to 600}'
            % (value,),
        )


def _whole_number(job, key, least):
    value = job[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Failure(2, "bad_job", "%s = %r is not a whole number >= %d" % (key, value, least))


# ---------------------------------------------------------------------------------------------
# The runtime


def kind_of(path):
    """What kind of model file it is, by its first bytes; no flatbuffer is taken for ONNX."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[4:6] == b"ET":
        return "executorch"
    return "onnx"


def find_runtime(wanted, kind="tflite"):
    """Name, version and module of the runtime `wanted`, or of the first that reads `kind`."""
    broken = []
    for name, module, reads in RUNTIMES:
        if wanted not in (None, name) or (wanted is None and reads != kind):
            continue
        try:
            if importlib.util.find_spec(module.partition(".")[0]) is None:
                continue
            found = importlib.import_module(module)
        except Exception as exc:  # a wheel for another glibc or numpy fails in many ways
            broken.append("%s: %s: %s" % (name, type(exc).__name__, _one_line(exc)))
            continue
        return name, _version(name), found
    hint = install_hint(wanted, kind)
    if broken:
        raise Failure(
            3, "runtime_broken", "a runtime is there but does not start: " + "; ".join(broken), hint
        )
    what = wanted or " or ".join(name for name, _, reads in RUNTIMES if reads == kind)
    raise Failure(
        3,
        "runtime_missing",
        "%s has no %s" % (sys.executable or "this Python", what),
        hint,
    )


def install_hint(wanted=None, kind="tflite"):
    """The command that installs a runtime for this Python and C library.

    Where the distribution keeps pip out of its own Python (PEP 668), into an environment that
    edgekit looks into by itself.
    """
    executable = shlex.quote(sys.executable or "python3")
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    if sys.prefix == sys.base_prefix and os.path.exists(marker):
        executable = executable + " -m venv ~/.edgekit/venv && ~/.edgekit/venv/bin/python"
    return install_line(
        executable,
        tuple(sys.version_info[:2]),
        platform.libc_ver(),
        platform.machine(),
        wanted or {"executorch": "executorch", "onnx": "onnxruntime"}.get(kind),
    )


def install_line(executable, python, libc, machine, wanted=None):
    """The `pip install` line for a Python, (libc name, version) and machine, or why there is none.

    `python` is (major, minor), `machine` what `uname -m` says, `wanted` a name of RUNTIMES;
    `executable` is ready for a shell.
    """
    where = "Python %d.%d, %s on %s" % (python + (" ".join(libc) or "unknown libc", machine))
    if wanted == "tensorflow":
        return "%s -m pip install %s" % (executable, wanted)
    names = [wanted] if wanted else [name for name, _, reads in RUNTIMES if reads == "tflite"]
    if machine in ("x86_64", "aarch64") and libc[0] == "glibc":
        glibc = tuple(int(part) for part in libc[1].split(".")[:2])
        for package, lowest, highest, least in WHEELS:
            if (
                package.partition("==")[0] in names
                and lowest <= python <= highest
                and glibc >= least
            ):
                return "%s -m pip install %s" % (executable, package)
    return "no wheel of %s fits %s; install another Python (3.8 to 3.14, with glibc 2.27+)" % (
        wanted or "ai-edge-litert or tflite-runtime",
        where,
    )


def _version(distribution):
    import importlib.metadata as metadata

    for name in (distribution, distribution + "-cpu", distribution + "-nightly"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def _one_line(exc):
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return " ".join(lines)[:500]


# ---------------------------------------------------------------------------------------------
# The machine


def read_text(path):
    """The text of a small file, or None and why not."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n "), ""
    except OSError as exc:
        return None, "%s: %s" % (path, exc.strerror)


def describe_machine(proc="/proc"):
    """What the machine is; a key that cannot be known is absent."""
    libc = platform.libc_ver()
    found = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.system(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "libc": " ".join(libc) if libc[0] else "",
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu": cpu_model(proc),
        "board": read_text(proc + "/device-tree/model")[0],
        "memory_bytes": total_memory(proc),
        "emulated": emulation(proc),
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def cpu_model(proc="/proc"):
    """The processor's name as the kernel gives it, or None."""
    text, _ = read_text(proc + "/cpuinfo")
    values = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    for key in ("model name", "Model", "Hardware"):
        if values.get(key):
            return values[key]
    if "CPU part" in values:  # Arm kernels give numbers instead of a name
        return "implementer %s part %s" % (values.get("CPU implementer", "?"), values["CPU part"])
    return None


def total_memory(proc="/proc"):
    text, _ = read_text(proc + "/meminfo")
    for line in (text or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def emulation(proc="/proc", machine=None):
    """Why this processor is known to be emulated (text), or None if nothing says so.

    QEMU's user mode hides itself in /proc/self, but the links below /proc/self/task are the
    kernel's own and name the program that really runs. Where /proc/cpuinfo is the host's it
    describes another architecture than `uname -m` does.
    """
    try:
        program = os.readlink("%s/self/task/%d/exe" % (proc, os.getpid()))
    except OSError:
        program = ""
    if os.path.basename(program).startswith("qemu-"):
        return "this process runs inside %s" % os.path.basename(program)
    machine = machine or platform.machine()
    text, _ = read_text(proc + "/cpuinfo")
    keys = {line.partition(":")[0].strip() for line in (text or "").splitlines()}
    if machine in ("aarch64", "armv7l", "armv6l", "riscv64") and "vendor_id" in keys:
        return "uname says %s, /proc/cpuinfo describes an x86 processor" % machine
    if machine in ("x86_64", "i686") and "CPU implementer" in keys:
        return "uname says %s, /proc/cpuinfo describes an Arm processor" % machine
    return None


def environment(sysfs="/sys", proc="/proc"):
    """Clocks, temperatures and load now; "unavailable" says of each that cannot be read why."""
    found, unavailable = {}, {}
    policies = sorted(glob.glob(sysfs + "/devices/system/cpu/cpufreq/policy[0-9]*")) or sorted(
        glob.glob(sysfs + "/devices/system/cpu/cpu[0-9]*/cpufreq")
    )
    for key, name in (
        ("governors", "scaling_governor"),
        ("cpu_khz", "scaling_cur_freq"),
        ("cpu_max_khz", "scaling_max_freq"),
    ):
        values, why = {}, "no cpufreq in %s/devices/system/cpu" % sysfs
        for folder in policies:
            text, reason = read_text(folder + "/" + name)
            label = os.path.basename(folder)
            label = os.path.basename(os.path.dirname(folder)) if label == "cpufreq" else label
            if text:
                values[label] = int(text) if text.isdigit() else text
            why = reason or why
        if values:
            found[key] = values
        else:
            unavailable[key] = why

    temperatures, why = {}, "no thermal zone in %s/class/thermal" % sysfs
    for zone in sorted(glob.glob(sysfs + "/class/thermal/thermal_zone*")):
        kind, _ = read_text(zone + "/type")
        text, reason = read_text(zone + "/temp")
        try:
            celsius = int(text or "") / 1000.0
        except ValueError:
            why = reason or "%s/temp: %r is not a number" % (zone, text)
            continue
        if celsius <= -100:  # -256 °C is how some drivers say that the sensor is off
            why = "%s/temp: %g °C is a dummy" % (zone, celsius)
            continue
        temperatures["%s:%s" % (os.path.basename(zone), kind or "?")] = celsius
    if temperatures:
        found["temperatures_c"] = temperatures
    else:
        unavailable["temperatures_c"] = why

    text, why = read_text(proc + "/loadavg")
    if text:
        found["load_average"] = [float(part) for part in text.split()[:3]]
    else:
        unavailable["load_average"] = why

    throttled, why = read_throttled(sysfs)
    if throttled is None:
        unavailable["throttled"] = why
    else:
        found["throttled"] = throttled
    found["unavailable"] = unavailable
    return found


class OtherWork:
    """Watches how much the cores work for others than this process, from now on."""

    # The kernel counts in ticks, of 10 ms as a rule: less than this says nothing.
    LEAST_SECONDS = 0.2

    def __init__(self, proc="/proc"):
        self.proc = proc
        self.busy, self.own, self.began_ns = self._busy(), self._own(), _clock()

    def cores(self):
        """Cores that this process and that others kept busy on average since then; None for what
        is not known.
        """
        busy, seconds = self._busy(), (_clock() - self.began_ns) / 1e9
        if seconds < self.LEAST_SECONDS:
            return None, None
        own = self._own() - self.own
        if busy is None or self.busy is None:
            return round(own / seconds, 3), None
        return round(own / seconds, 3), round(max(0.0, busy - self.busy - own) / seconds, 3)

    def _busy(self):
        """Seconds of work on all cores since the start, those stolen by a hypervisor included.

        The line "cpu": user nice system idle iowait irq softirq steal, in ticks (proc_stat(5)).
        """
        text, _ = read_text(self.proc + "/stat")
        fields = text.split("\n", 1)[0].split() if text else []
        if len(fields) < 9 or fields[0] != "cpu":
            return None
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def _own(self):
        times = os.times()
        return times.user + times.system


def read_throttled(sysfs="/sys"):
    """Raspberry Pi's throttling bits as "0x…", or None and why not.

    From the kernel's file, else from `vcgencmd get_throttled`, which prints "throttled=0x50000".
    https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
    """
    text, why = read_text(sysfs + "/devices/platform/soc/soc:firmware/get_throttled")
    if text:
        return "0x" + text.lower().replace("0x", ""), ""
    program = shutil.which("vcgencmd")
    if program is None:
        return None, "no get_throttled in sysfs and no vcgencmd on PATH"
    try:
        done = subprocess.run(
            [program, "get_throttled"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return None, "vcgencmd get_throttled: %s" % _one_line(exc)
    answer = done.stdout.decode("utf-8", "replace").strip()
    key, _, value = answer.partition("=")
    if done.returncode != 0 or key != "throttled" or not value.startswith("0x"):
        return None, "vcgencmd get_throttled said %r" % answer[:100]
    return value, ""


def resident_bytes(proc="/proc"):
    """Resident memory now and at the peak, in bytes; None where it cannot be read."""
    text, _ = read_text(proc + "/self/status")
    values = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            values[key] = int(value.split()[0]) * 1024
    peak = values.get("VmHWM")
    if peak is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kB on Linux
    return values.get("VmRSS"), peak


def memory_use(model, arena, proc="/proc", sysfs="/sys"):
    """What is held now, in bytes, and why what is not known: {key: bytes}, {key: text}.

    `arena` is the runtime's answer: bytes, or why there are none. The pages of the model's file
    come in as they are touched. Pss counts one that n processes share as 1/n, Rss as a whole one.
    """
    found, unavailable = {}, {}
    status, why = read_text(proc + "/self/status")
    swap = re.search(r"(?m)^VmSwap:\s*(\d+) kB", status or "")
    if swap:
        found["swap_bytes"] = int(swap.group(1)) * 1024
    else:
        unavailable["swap_bytes"] = why or "%s/self/status has no VmSwap" % proc
    maps, why = read_text(proc + "/self/smaps")
    mapped = mapped_kilobytes(maps or "", os.path.realpath(model))
    for kind in ("Rss", "Pss"):
        key = "model_%s_bytes" % kind.lower()
        if kind in mapped:
            found[key] = mapped[kind] * 1024
        elif maps is None:
            unavailable[key] = why
        else:
            unavailable[key] = "the runtime keeps no mapping of the model's file"
    if isinstance(arena, int):
        found["arena_bytes"] = arena
    else:
        unavailable["arena_bytes"] = arena
    held, why = driver_bytes(proc, sysfs)
    if held is None:
        unavailable["driver_bytes"] = why
    else:
        found["driver_bytes"] = held
    return found, unavailable


# Devices of GPUs and NPUs. Drivers of the second kind tell what they hold in fdinfo, that of the
# third in sysfs, if at all; the others do in debugfs, to root alone, or nowhere.
DEVICES = re.compile(
    r"/dev/(?:mali|nvmap|nvhost|nvgpu|nvidia|apex_|(?P<drm>dri/|accel/)|(?P<kgsl>kgsl-))"
)


def driver_bytes(proc="/proc", sysfs="/sys", pid=None):
    """Bytes that drivers of GPUs and NPUs hold for this process, or None and why.

    Drivers of the kernel's DRM tell it in fdinfo, Qualcomm's KGSL in sysfs. What only one of
    several tells would be too little: it is then not known.
    https://docs.kernel.org/gpu/drm-usage-stats.html
    """
    told, silent = [], ""
    clients = {}
    try:
        names = sorted(os.listdir(proc + "/self/fdinfo"))
    except OSError as exc:
        return None, _one_line(exc)
    for name in names:
        client = drm_client(read_text("%s/self/fdinfo/%s" % (proc, name))[0] or "")
        if client is not None:
            clients[client[0] or name] = client[1:]
    for driver, size in clients.values():
        told.append(size)
        if size is None:
            silent = silent or "the driver %s does not tell it in fdinfo" % driver
    kgsl = "%s/class/kgsl/kgsl/proc/%d" % (sysfs, pid or os.getpid())
    if os.path.isdir(kgsl):
        for name in ("gpumem_mapped", "gpumem_unmapped"):
            text, why = read_text("%s/%s" % (kgsl, name))
            size = int(text) if text is not None and re.match(r"\d{1,18}$", text) else None
            told.append(size)
            if size is None:
                silent = silent or why or "%s/%s has no number" % (kgsl, name)
    for name in names:
        path = _link("%s/self/fd/%s" % (proc, name))
        device = DEVICES.match(path)
        told_of = device and (device.group("drm") and clients or device.group("kgsl") and told)
        if device and not told_of:
            silent = silent or "%s is open, whose driver tells it to root or nobody" % path
    if silent or not told:
        return None, silent or "no driver of a GPU or an NPU is open"
    return sum(told), ""


def drm_client(text):
    """Who holds buffers, its driver and their bytes, by the text of an fdinfo; None if no client.

    Who is empty where the driver does not number its clients. One client may be open several
    times, and is to be counted once. Bytes are those in memory ("drm-memory" is the older name of
    "drm-resident"), None if it does not tell; "drm-total" has those that were never used, too.
    """
    fields = dict(re.findall(r"(?m)^(drm-[^:\s]+):[ \t]*(.*?)[ \t]*$", text))
    if "drm-driver" not in fields:
        return None
    who = ()
    if "drm-client-id" in fields:
        who = (fields["drm-driver"], fields.get("drm-pdev", ""), fields["drm-client-id"])
    for kind in ("drm-resident-", "drm-memory-"):
        sizes = [_drm_size(value) for key, value in fields.items() if key.startswith(kind)]
        if sizes:
            return who, fields["drm-driver"], None if None in sizes else sum(sizes)
    return who, fields["drm-driver"], None


def _drm_size(text):
    size = re.match(r"(\d{1,18})(?:\s+(KiB|MiB))?$", text)
    return (
        int(size.group(1)) * {None: 1, "KiB": 1024, "MiB": 2**20}[size.group(2)] if size else None
    )


def _link(path):
    try:
        return os.readlink(path)
    except OSError:  # it was closed meanwhile: the one of the list itself
        return ""


def mapped_kilobytes(maps, path):
    """Sums of Rss and Pss over the mappings of the file `path` in the text of smaps; {} if it is
    mapped nowhere.
    """
    sums, inside = {}, False
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if fields and not fields[0].endswith(":"):  # "7f44…-7f45… r--s 00000000 fe:00 4039279 PATH"
            inside = len(fields) == 6 and fields[5] == path
        elif inside and len(fields) == 3 and fields[0] in ("Rss:", "Pss:"):
            kind = fields[0][:-1]
            sums[kind] = sums.get(kind, 0) + int(fields[1])
    return sums


# ---------------------------------------------------------------------------------------------
# The model


class Loaded:
    """A model in a runtime, and how long it took to load (ns).

    `inputs` and `outputs` describe the tensors in order, each as a dict with "name" (the one that
    the user gave), "tensor" (the file's own), "shape", "dtype", "scales" and "zero_points".
    """

    def __init__(self, module, job):
        self.job = job
        started = _clock()
        try:
            self.open(module)
        except Failure:
            raise
        except Exception as exc:  # ValueError, RuntimeError and others, by runtime and version
            raise Failure(
                4, "model_refused", "the runtime does not load the model: " + _one_line(exc)
            )
        self.load_ns = _clock() - started
        try:
            self.inputs, self.outputs = self.tensors()
        except Failure:
            raise
        except Exception as exc:  # sequences, maps, strings: nothing that numpy has a type for
            raise Failure(
                4, "model_refused", "its inputs or outputs are no tensors: " + _one_line(exc)
            )

    def open(self, module):
        raise NotImplementedError

    def tensors(self):
        raise NotImplementedError

    def set_inputs(self, values):
        """Put one array in each input, in order."""
        raise NotImplementedError

    def run(self):
        """One inference; the runtime's own call and as little as can be beside it."""
        raise NotImplementedError

    def read_outputs(self):
        """Copies of the outputs, in order."""
        raise NotImplementedError

    def invoke(self):
        try:
            self.run()
        except Exception as exc:
            raise Failure(5, "run_failed", "the model fails when it runs: " + _one_line(exc))

    def arena_bytes(self):
        """What the runtime has planned for the model's tensors, in bytes; a text if it does not
        tell, why.
        """
        return "edgekit reads none of this runtime"

    def profiler(self, values):
        """A call that runs the model on `values` with profiling on, and one that ends it: for a
        number of runs, the last ones, it returns what `_gathered` does.
        """
        raise NoProfiler("edgekit reads no profiler of this runtime")

    def named(self, side, tensors):
        """`tensors` with the names of the job, where it gives some."""
        names = (self.job["names"] or {}).get(side)
        if names is None:
            return tensors
        if len(names) != len(tensors):
            raise Failure(
                2, "bad_job", "%d %s are named, the model has %d" % (len(names), side, len(tensors))
            )
        return [dict(tensor, name=name) for tensor, name in zip(tensors, names)]


def _tensor(name, shape, dtype, scales=(), zero_points=(), tensor=""):
    return {
        "name": name,
        "tensor": tensor or name,
        "shape": [int(size) for size in shape],
        "dtype": _dtype_name(dtype),
        "scales": [float(value) for value in scales],
        "zero_points": [int(value) for value in zero_points],
    }


class TFLiteModel(Loaded):
    """A .tflite in an Interpreter."""

    def open(self, module):
        self.module = module
        self.interpreter = module.Interpreter(
            model_path=self.job["model"], num_threads=self.job["threads"]
        )
        batch = self.job["batch"]
        if batch is not None:
            for detail in self.interpreter.get_input_details():
                shape = [int(size) for size in detail["shape"]]
                if shape and shape[0] != batch:
                    self.interpreter.resize_tensor_input(
                        detail["index"], [batch] + shape[1:], strict=False
                    )
        self.interpreter.allocate_tensors()
        self.run = self.interpreter.invoke

    def tensors(self):
        found = []
        for side in ("inputs", "outputs"):
            names = self._signature_names(side)
            details = getattr(self.interpreter, "get_%s_details" % side[:-1])()
            setattr(self, "_%s" % side, [detail["index"] for detail in details])
            found.append(
                [
                    _tensor(
                        names.get(detail["index"], detail["name"]),
                        detail["shape"],
                        detail["dtype"],
                        detail["quantization_parameters"]["scales"],
                        detail["quantization_parameters"]["zero_points"],
                        tensor=detail["name"],
                    )
                    for detail in details
                ]
            )
        return found

    def _signature_names(self, side):
        """Tensor index to the name that the model's only signature gives it."""
        listing = getattr(self.interpreter, "_get_full_signature_list", None)
        signatures = listing() if listing else {}
        if len(signatures) != 1:
            return {}
        (only,) = signatures.values()
        return {index: name for name, index in only[side].items()}

    def set_inputs(self, values):
        for index, value in zip(self._inputs, values):
            self.interpreter.set_tensor(index, value)

    def read_outputs(self):
        return [self.interpreter.get_tensor(index) for index in self._outputs]

    def arena_bytes(self):
        return "TFLite and LiteRT tell it neither in Python nor in C"

    def profiler(self, values):
        folder = os.path.dirname(sys.modules[self.module.__name__].__file__)
        library = LiteRtLibrary(os.path.join(folder, "libLiteRt.so"))
        by_name = {each["name"]: value for each, value in zip(self.inputs, values)}
        return library.profiler(self.job["model"], self.job["threads"], by_name)


class LiteRtLibrary:
    """LiteRT's C library, which has the profiler that its Python API lacks.

    No header comes with it; what is used is declared here as version 2.3 has it.
    https://github.com/google-ai-edge/LiteRT/tree/main/litert/c
    """

    VERSIONS = ("2.3.",)
    CPU, WRITE = 1, 1

    def __init__(self, path):
        version = _version("ai-edge-litert")
        if not version.startswith(self.VERSIONS):
            raise NoProfiler(
                "its profiler is read from ai-edge-litert 2.3; this runtime is another"
                + (" (%s)" % version if version != "unknown" else "")
            )
        if not os.path.isfile(path):
            raise NoProfiler("there is no libLiteRt.so beside this runtime")
        self.library = ctypes.CDLL(path)
        self.free = ctypes.CDLL(None).free
        self.copy = ctypes.CDLL(None).strdup
        self.copy.restype, self.copy.argtypes = ctypes.c_void_p, [ctypes.c_char_p]

    def call(self, name, *arguments):
        status = getattr(self.library, "LiteRt" + name)(*arguments)
        if status:
            raise ValueError("LiteRt%s gives status %d" % (name, status))

    def made(self, name, *arguments):
        """The handle that a function writes to its last argument."""
        found = ctypes.c_void_p()
        self.call(name, *(arguments + (ctypes.byref(found),)))
        return found

    def count(self, name, *arguments):
        found = ctypes.c_size_t()
        self.call(name, *(arguments + (ctypes.byref(found),)))
        return found.value

    def profiler(self, path, threads, values):
        environment = self.made("CreateEnvironment", 0, None)
        model = self.made("CreateModelFromFile", environment, path.encode("utf-8"))
        options = self.made("CreateOptions")
        self.call("SetOptionsHardwareAccelerators", options, self.CPU)
        self.tell(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self.tell(options, b"runtime_options_string", b"enable_profiling = true\n")
        compiled = self.made("CreateCompiledModel", environment, model, options)
        if self.count("GetNumModelSignatures", model) != 1:
            raise NoProfiler("it is told of files with one signature only")
        signature = self.made("GetModelSignature", model, ctypes.c_size_t(0))
        sides = []
        for side in ("Input", "Output"):
            count = self.count("GetNumSignature%ss" % side, signature)
            made = [
                self.buffer(environment, compiled, signature, side, index, values)
                for index in range(count)
            ]
            sides += [ctypes.c_size_t(count), (ctypes.c_void_p * count)(*made)]
        profiler = self.made("CompiledModelGetProfiler", compiled)
        started = []

        def run():
            # The first call is a warm-up, before the profiler listens.
            self.call("RunCompiledModel", compiled, ctypes.c_size_t(0), *sides)
            if not started:
                self.call("StartProfiler", profiler)
                started.append(True)

        def finish(runs):
            self.call("StopProfiler", profiler)
            text = ctypes.c_char_p()
            self.call("GetProfileSummary", profiler, compiled, ctypes.byref(text))
            return litert_operators(text.value.decode("utf-8", "replace"))

        return run, finish

    def tell(self, options, kind, text):
        free = ctypes.cast(self.free, ctypes.c_void_p)
        made = self.made("CreateOpaqueOptions", kind, ctypes.c_void_p(self.copy(text)), free)
        self.call("AddOpaqueOptions", options, made)

    def buffer(self, environment, compiled, signature, side, index, values):
        """A buffer for one input or output; an input gets the value of its name."""
        number, kind = ctypes.c_size_t(index), (ctypes.c_uint8 * 256)()
        tensor = self.made("GetSignature%sTensorByIndex" % side, signature, number)
        self.call("GetRankedTensorType", tensor, kind)
        wants = self.made(
            "GetCompiledModel%sBufferRequirements" % side, compiled, ctypes.c_size_t(0), number
        )
        made = self.made("CreateManagedTensorBufferFromRequirements", environment, kind, wants)
        if side == "Input":
            name = ctypes.c_char_p()
            self.call("GetSignatureInputName", signature, number, ctypes.byref(name))
            data = values[name.value.decode("utf-8")].tobytes()
            if self.count("GetTensorBufferPackedSize", made) != len(data):
                raise NoProfiler("it is told of a batch of 1 only")
            place = ctypes.c_void_p()
            self.call("LockTensorBuffer", made, ctypes.byref(place), self.WRITE)
            ctypes.memmove(place, data, len(data))
            self.call("UnlockTensorBuffer", made)
        return made.value


def litert_operators(text):
    """What `_gathered` gives, out of the profiler's table "Run Order".

    Its columns are [node type], [start], [first], [avg ms], [%], [cdf%], [mem KB], [times called]
    and [Name]. The share is the finest of its numbers; the whole, in µs, stands behind
    "Timings (microseconds): … curr=".
    """
    row = re.compile(
        r"^\s*(?P<kind>\S.*?)\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+(?P<share>[\d.]+)%\s+[\d.]+%\s+"
        r"[\d.]+\s+(?P<calls>\d+)\s+(?P<name>\S.*)$"
    )
    whole = re.search(r"Timings \(microseconds\):.*?\bcurr=(\d+)", text)
    table = text.partition("Run Order")[2].partition("\n\n")[0]
    found = []
    for line in table.splitlines() if whole else ():
        match = row.match(line)
        if match:
            kind = match.group("kind")
            delegated = kind.startswith("Delegate/")
            found.append(
                {
                    "name": match.group("name"),
                    "kind": kind[len("Delegate/") :] if delegated else kind,
                    "where": "xnnpack" if delegated else "cpu",
                    "calls": int(match.group("calls")),
                    "ns": int(round(10 * float(match.group("share")) * int(whole.group(1)))),
                }
            )
    if not found:
        raise NoProfiler("its profiler's table is of another form")
    return found


class ExecuTorchModel(Loaded):
    """A .pte in ExecuTorch's Python runtime; its method "forward". Its batch cannot be changed."""

    def open(self, module):
        import torch

        _refuse_batch(self.job)
        self.torch = torch
        _set_executorch_threads(self.job["threads"])
        self.program = module.Runtime.get().load_program(self.job["model"])
        self.method = self.program.load_method("forward")
        if self.method is None:
            raise ValueError("it has no method called forward")

    def tensors(self):
        meta = self.method.metadata
        found = []
        for side in ("inputs", "outputs"):
            count = getattr(meta, "num_%s" % side)()
            tensors = [getattr(meta, "%s_tensor_meta" % side[:-1])(index) for index in range(count)]
            described = [
                _tensor("%s_%d" % (side[:-1], index), each.sizes(), self._dtype(each.dtype()))
                for index, each in enumerate(tensors)
            ]
            found.append(self.named(side, described))
        return found

    def _dtype(self, number):
        """numpy's name of a type that the file gives as torch's ScalarType number."""
        names = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16"}
        names.update({6: "float32", 7: "float64", 11: "bool"})
        if number not in names:
            raise ValueError("a tensor has the type %r, which numpy does not have" % number)
        return names[number]

    def set_inputs(self, values):
        self.given = [self.torch.from_numpy(value.copy()) for value in values]

    def run(self):
        self.answers = self.method.execute(self.given)

    def read_outputs(self):
        return [answer.detach().numpy().copy() for answer in self.answers]

    def arena_bytes(self):
        try:
            return planned_bytes(self.job["model"], "forward")
        except (OSError, ValueError, struct.error) as exc:
            return "the file does not tell what is planned: " + _one_line(exc)

    def profiler(self, values):
        from executorch.extension.pybindings import portable_lib

        try:
            from executorch.devtools import Inspector
        except ImportError as exc:
            raise NoProfiler("executorch.devtools does not load: " + _one_line(exc))
        model = portable_lib._load_for_executorch(self.job["model"], enable_etdump=True)
        given = [self.torch.from_numpy(value.copy()) for value in values]

        def finish(runs):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "run.etdump")
                model.write_etdump_result_to_file(path)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    blocks = Inspector(etdump_path=path).event_blocks
            return _gathered(_executorch_calls(blocks, runs))

        return lambda: model.forward(given), finish


def planned_bytes(path, method):
    """Bytes of the buffers that a .pte's `method` has planned for its tensors.

    Read from the file, since MethodMeta tells them in C++ only: of Program the second field, of
    each ExecutionPlan there the first (name) and the ninth (non_const_buffer_sizes).
    https://github.com/pytorch/executorch/blob/v1.5.1/schema/program.fbs
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def number(code, at):
            return struct.unpack_from("<" + code, data, at)[0]

        def field(table, index):
            """Where what a table's field points to begins; None if it is not there."""
            vtable = table - number("i", table)
            if number("H", vtable) < 2 * index + 6:
                return None
            offset = number("H", vtable + 4 + 2 * index)
            return table + offset + number("I", table + offset) if offset else None

        plans = field(number("I", 0), 1)
        for index in range(number("I", plans) if plans else 0):
            plan = plans + 4 + 4 * index
            plan += number("I", plan)
            name, sizes = field(plan, 0), field(plan, 8)
            if name and data[name + 4 : name + 4 + number("I", name)] == method.encode("utf-8"):
                count = number("I", sizes) if sizes else 0
                return sum(struct.unpack_from("<%dq" % count, data, sizes + 4) if count else ())
    raise ValueError("it has no method %s" % method)


def _executorch_calls(blocks, runs):
    """Calls of operators in an ETDump's block "Execute". Its times are in ms.

    A delegate tells of its own operators without saying that they are in it; kernels of ExecuTorch
    are called native_call_…; what a delegate's call took beyond its operators is told as such.
    """
    for block in blocks:
        if block.name != "Execute":
            continue
        inside = [event for event in block.events if event.is_delegated_op]
        for event in block.events:
            if event.perf_data is None:
                continue
            times = list(event.perf_data.raw)[-runs:]
            if event.is_delegated_op:
                kind = event.name.partition(" #")[0]
                for ms in times:
                    yield event.name, kind, event.delegate_backend_name or "delegate", ms * 1e6
            elif event.name.startswith("native_call_"):
                kind = event.name[len("native_call_") :]
                for ms in times:
                    yield event.name, kind, "cpu", ms * 1e6
            elif event.name == "DELEGATE_CALL" and inside:
                told = sum(sum(list(each.perf_data.raw)[-runs:]) for each in inside)
                rest = max(0.0, sum(times) - told) / len(times)
                for _ in times:
                    yield "(within the delegate)", "(not told)", "delegate", rest * 1e6


def _set_executorch_threads(count):
    """ExecuTorch takes all cores unless told otherwise; torch's own setting does not reach it."""
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(count)


def _refuse_batch(job):
    if job["batch"] not in (None, 1):
        raise Failure(
            4, "model_refused", "its shapes are fixed; a batch of %d is not in it" % job["batch"]
        )


class OnnxModel(Loaded):
    """An .onnx in ONNX Runtime on the CPU."""

    DTYPES = {"float": "float32", "float16": "float16", "double": "float64"}

    def open(self, module):
        self.module = module
        self.session = module.InferenceSession(
            self.job["model"], self._options(), providers=["CPUExecutionProvider"]
        )

    def _options(self):
        options = self.module.SessionOptions()
        options.intra_op_num_threads = self.job["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options

    def tensors(self):
        found = []
        for side in ("inputs", "outputs"):
            found.append(
                [self._described(each) for each in getattr(self.session, "get_%s" % side)()]
            )
        self.output_order = [each["name"] for each in found[1]]
        return found

    def _described(self, value):
        """Sizes that the file leaves open, the batch apart, are those of the inputs given."""
        found = _tensor(value.name, self._shape(value.shape), self._dtype(value.type))
        opened = [i for i, size in enumerate(value.shape) if i and not isinstance(size, int)]
        return dict(found, open=opened) if opened else found

    def _shape(self, sizes):
        return [
            size if isinstance(size, int) else (self.job["batch"] or 1) if index == 0 else 1
            for index, size in enumerate(sizes)
        ]

    def _dtype(self, text):
        inner = text[len("tensor(") : -1]
        return self.DTYPES.get(inner, inner)

    def set_inputs(self, values):
        self.given = {each["name"]: value for each, value in zip(self.inputs, values)}

    def run(self):
        self.answers = self.session.run(self.output_order, self.given)

    def read_outputs(self):
        return list(self.answers)

    def profiler(self, values):
        folder = tempfile.TemporaryDirectory()
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder.name, "run")
        session = self.module.InferenceSession(
            self.job["model"], options, providers=["CPUExecutionProvider"]
        )
        given = {each["name"]: value for each, value in zip(self.inputs, values)}

        def finish(runs):
            with folder, open(session.end_profiling(), encoding="utf-8") as file:
                return _gathered(_onnx_calls(json.load(file), runs))

        return lambda: session.run(self.output_order, given), finish


def _onnx_calls(events, runs):
    """Calls of nodes in a trace of ONNX Runtime, in µs; of the last `runs` runs."""
    begins = [event["ts"] for event in events if event.get("name") == "model_run"][-runs:]
    for event in events:
        kernel = str(event.get("name", "")).endswith("_kernel_time")
        if event.get("cat") == "Node" and kernel and event["ts"] >= begins[0]:
            details = event["args"]
            where = details.get("provider", "cpu").replace("ExecutionProvider", "").lower()
            name = event["name"][: -len("_kernel_time")]
            yield name, details.get("op_name", "?"), where, event["dur"] * 1000


MODELS = {"tflite": TFLiteModel, "executorch": ExecuTorchModel, "onnx": OnnxModel}


def _dtype_name(dtype):
    import numpy as np

    return np.dtype(dtype).name


def synthetic_inputs(loaded):
    """Inputs of the right shape and type where none are given.

    Floats are uniform in [0, 1): zeros would let multiplications with denormals or sparse paths
    look better than they are. Quantized integers take their whole range. Other integers are 0,
    since they are mostly indices.
    """
    import numpy as np

    rng = np.random.RandomState(0)
    values = []
    for detail in loaded.inputs:
        shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
        if dtype.kind == "f":
            value = rng.uniform(0, 1, shape).astype(dtype)
        elif dtype.kind in "iu" and detail["scales"]:
            info = np.iinfo(dtype)
            value = rng.randint(info.min, info.max + 1, shape, dtype=np.int64).astype(dtype)
        else:
            value = np.zeros(shape, dtype)
        values.append(value)
    return values


def given_inputs(loaded, path):
    """The arrays of the .npz at `path`, in the order of the model's inputs, one row a sample."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith("out:")}
    except Exception as exc:  # zipfile, ValueError, OSError
        raise Failure(2, "bad_inputs", "cannot read the inputs %r: %s" % (path, _one_line(exc)))
    values = []
    for position, detail in enumerate(loaded.inputs):
        names = (detail["name"], detail["tensor"])
        keys = [prefix + name for name in names if name for prefix in ("in:", "")]
        key = next((key for key in keys if key in arrays), None)
        if key is None and len(arrays) == len(loaded.inputs) == 1:
            key = next(iter(arrays))
        if key is None:
            raise Failure(
                2,
                "bad_inputs",
                "input %d is called %s; %s holds %s"
                % (position, " or ".join(map(repr, dict.fromkeys(names))), path, sorted(arrays)),
            )
        values.append(_rows(detail, arrays[key]))
    if len({len(rows) for rows in values}) != 1 or not len(values[0]):
        raise Failure(2, "bad_inputs", "the inputs in %r are empty or not equally many" % path)
    return values


def _rows(detail, array):
    """`array` as (samples, *shape of the input for a batch of one)."""
    import numpy as np

    for axis in detail.get("open", ()):
        # Given as (samples, ...) or (samples, 1, ...): the last axes are the input's.
        if len(detail["shape"]) <= array.ndim:
            detail["shape"][axis] = array.shape[axis - len(detail["shape"])]
    shape = tuple(int(size) for size in detail["shape"])
    row = shape[1:]
    if array.dtype != np.dtype(detail["dtype"]):
        raise Failure(
            2,
            "bad_inputs",
            "input %s takes %s, not %s" % (detail["name"], detail["dtype"], array.dtype),
        )
    if array.shape[1:] == row or array.shape[1:] == shape:
        return array
    if array.shape[1:] == (1,) + row:
        return array.reshape((len(array),) + row)
    raise Failure(
        2,
        "bad_inputs",
        "input %s takes rows of shape %s, not %s" % (detail["name"], row, array.shape[1:]),
    )


def batches(loaded, rows):
    """Lists of arrays to set, and how many of their samples are new, until all rows are used.

    The last batch is filled up with the first rows again.
    """
    import numpy as np

    count = len(rows[0])
    whole, size = batch_of(loaded, rows)
    for start in range(0, count, size):
        index = np.arange(start, start + size) % count
        yield (
            [r[start] if w else np.ascontiguousarray(r[index]) for r, w in zip(rows, whole)],
            min(size, count - start),
        )


def batch_of(loaded, rows):
    """Which inputs' rows hold the whole tensor, whose first dimension is no batch then; and how
    many samples are run at once.
    """
    whole = [r.shape[1:] == tuple(d["shape"]) for d, r in zip(loaded.inputs, rows)]
    return whole, 1 if all(whole) else int(loaded.inputs[whole.index(False)]["shape"][0])


def not_finite(loaded, values):
    """For each float output that has NaN or infinity: name and how many."""
    import numpy as np

    found = []
    for detail, value in zip(loaded.outputs, values):
        if value.dtype.kind != "f":
            continue
        bad = int(value.size - np.isfinite(value).sum())
        if bad:
            found.append({"name": detail["name"], "not_finite": bad, "of": int(value.size)})
    return found


def check(loaded, rows, path):
    """Run every sample and write all outputs, one row a sample, into the .npz at `path`."""
    import numpy as np

    collected = [[] for _ in loaded.outputs]
    bad = {}
    _, size = batch_of(loaded, rows)
    for values, new in batches(loaded, rows):
        loaded.set_inputs(values)
        loaded.invoke()
        results = loaded.read_outputs()
        for problem in not_finite(loaded, results):
            known = bad.setdefault(problem["name"], dict(problem, not_finite=0, of=0))
            known["not_finite"] += problem["not_finite"]
            known["of"] += problem["of"]
        for place, result in zip(collected, results):
            if result.shape and result.shape[0] == size and size > 1:
                place.extend(result[:new])
            elif result.shape and result.shape[0] == 1:
                place.append(result[0])
            else:
                place.append(result)
    arrays = {
        "out:" + detail["name"]: np.stack(place) for detail, place in zip(loaded.outputs, collected)
    }
    try:
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    except OSError as exc:
        raise Failure(5, "cannot_write", "cannot write the outputs: %s" % _one_line(exc))
    emit("check", samples=len(rows[0]), path=path, finite=not bad, not_finite=list(bad.values()))


# ---------------------------------------------------------------------------------------------
# The measurement


def sample(invoke, runs, seconds, max_runs, deadline_ns, every=1):
    """Time `invoke` until both `runs` and `seconds` are reached; ns of each, and why it stopped.

    Nothing but the call stands between the two clock readings, and what the loop needs is local.
    With `every` above 1 the others of so many run untimed before each timed one.
    """
    untimed = range(every - 1)
    clock = _clock
    samples = []
    append = samples.append
    if runs <= 0 and seconds <= 0:
        return samples, "enough"
    count = 0
    enough_ns = clock() + int(seconds * 1e9)
    while True:
        for _ in untimed:
            invoke()
        before = clock()
        invoke()
        after = clock()
        append(after - before)
        count += 1
        if count >= runs and after >= enough_ns:
            return samples, "enough"
        if count >= max_runs:
            return samples, "max_runs"
        if after >= deadline_ns:
            return samples, "time_budget"


def main(arguments):
    started = _clock()
    if len(arguments) != 1:
        raise Failure(2, "bad_job", "give one argument: the path of the job, or -")
    job = read_job(arguments[0])
    deadline_ns = started + int(job["time_budget_seconds"] * 1e9)
    set_alarm(job)
    if not os.path.isfile(job["model"]):
        raise Failure(2, "bad_job", "there is no model file %r" % job["model"])
    if job["sensors"] is None:
        run(job, deadline_ns)
        return
    with Sampler(job["sensors"]) as sampler:
        sampler.idle()
        run(job, deadline_ns, sampler.tell)


def run(job, deadline_ns, before_done=lambda: None):
    """The job; `before_done` is called when all is measured, before the last event."""
    if job["streams"] == 1:
        one_stream(job, deadline_ns, before_done=before_done)
    else:
        many_streams(job, deadline_ns, before_done)


def set_alarm(job):
    """The kernel ends this process some time after the budget, even if the runtime's code hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(math.ceil(job["time_budget_seconds"])) + ALARM_GRACE_SECONDS)


def one_stream(job, deadline_ns, stream=0, wait=lambda: None, before_done=lambda: None):
    """The whole job in this process; `wait` is called before samples are taken."""
    kind = kind_of(job["model"])
    name, version, module = find_runtime(job["runtime"], kind)
    emit(
        "hello",
        protocol=PROTOCOL,
        runner=RUNNER_VERSION,
        runtime=name,
        runtime_version=version,
        **describe_machine(),
    )
    if job["sha256"]:
        verify_digest(job["model"], job["sha256"])
    emit("environment", when="before", **environment())

    before_load, _ = resident_bytes()
    reads = next(reads for known, _, reads in RUNTIMES if known == name)
    loaded = MODELS[reads](module, job)
    after_load, _ = resident_bytes()
    emit(
        "load",
        ns=loaded.load_ns,
        inputs=loaded.inputs,
        outputs=loaded.outputs,
    )

    rows = given_inputs(loaded, job["inputs"]) if job["inputs"] else None
    values = next(batches(loaded, rows))[0] if rows else synthetic_inputs(loaded)
    loaded.set_inputs(values)
    began = _clock()
    loaded.invoke()
    first_ns = _clock() - began
    bad = not_finite(loaded, loaded.read_outputs())
    emit("first", ns=first_ns, finite=not bad, not_finite=bad)

    if job["outputs"]:
        check(loaded, rows, job["outputs"])
        loaded.set_inputs(values)

    stopped = measure(loaded, job, deadline_ns, stream, wait)
    _, peak = resident_bytes()
    held, unavailable = memory_use(job["model"], loaded.arena_bytes())
    if job["operators"]:
        emit("operators", **operator_times(loaded, values, deadline_ns))
    memory = {"before_load_bytes": before_load, "after_load_bytes": after_load, "peak_bytes": peak}
    memory = {key: value for key, value in memory.items() if value is not None}
    emit("memory", unavailable=unavailable, **dict(memory, **held))
    emit("environment", when="after", **environment())
    before_done()
    emit("done", stopped=stopped)


def measure(loaded, job, deadline_ns, stream, wait):
    """Warm up, take samples, print both; why sampling stopped."""
    invoke = loaded.run
    gc.collect()
    gc.disable()
    try:
        warmup, _ = sample(
            invoke, job["warmup_runs"], job["warmup_seconds"], job["max_runs"], deadline_ns
        )
        wait()
        others = OtherWork()
        began = _clock()
        samples, stopped = sample(
            invoke,
            job["runs"],
            job["min_seconds"],
            job["max_runs"],
            deadline_ns,
            job["sample_every"],
        )
        ended = _clock()
        own_cores, other_cores = others.cores()
    except Exception as exc:
        raise Failure(5, "run_failed", "the model fails when it runs: " + _one_line(exc))
    finally:
        gc.enable()
    emit("window", stream=stream, start_ns=began, end_ns=ended)
    for event, times in (("warmup", warmup), ("samples", samples)):
        for start in range(0, len(times), SAMPLES_A_LINE):
            emit(event, stream=stream, ns=times[start : start + SAMPLES_A_LINE])
    emit("interference", own_cores=own_cores, other_cores=other_cores)
    return stopped


# ---------------------------------------------------------------------------------------------
# Several streams


def many_streams(job, deadline_ns, before_done):
    """Processes that each load the model, wait for each other, and are timed at the same time.

    Processes, not threads: that is the same for every runtime, and Python's lock is none of it.
    They are forked before any runtime is imported, since runtimes start threads.
    """
    go, start = os.pipe()
    streams = [Stream(job, deadline_ns, number, go, start) for number in range(job["streams"])]
    os.close(go)
    try:
        while any(not stream.waits and not stream.ended for stream in streams):
            _read_some(streams)
            _raise_first_error(streams)
        os.close(start)  # every stream reads an end of file there, all at once
        while not all(stream.ended for stream in streams):
            _read_some(streams)
        _raise_first_error(streams)
    finally:
        for stream in streams:
            stream.kill()
    _emit_together([stream.events for stream in streams], before_done)


class Stream:
    """One forked process and the events that it has printed."""

    def __init__(self, job, deadline_ns, number, go, start):
        reader, writer = os.pipe()
        self.number, self.reader, self.text, self.events = number, reader, b"", []
        self.waits = self.ended = False
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        os.close(start)
        os.dup2(writer, 1)
        set_alarm(job)  # a fork does not inherit it

        def wait():
            emit("waits")
            os.read(go, 1)

        status = 0
        try:
            one_stream(job, deadline_ns, number, wait)
        except Failure as failure:
            status = failure.status
            emit("error", status=status, **failure.told())
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        finally:  # never back into the parent's code
            os._exit(status)

    def read(self):
        data = os.read(self.reader, 1 << 16)
        *lines, self.text = (self.text + data).split(b"\n")
        for line in lines:
            event = json.loads(line.decode("utf-8"))
            self.waits = self.waits or event["event"] == "waits"
            self.events.append(event)
        if not data:
            os.close(self.reader)
            _, self.status = os.waitpid(self.pid, 0)
            self.ended = True

    def kill(self):
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.reader)


def _read_some(streams):
    import select

    open_ones = {stream.reader: stream for stream in streams if not stream.ended}
    for reader in select.select(list(open_ones), [], [])[0]:
        open_ones[reader].read()


def _raise_first_error(streams):
    for stream in streams:
        last = stream.events[-1] if stream.events else {}
        if last.get("event") == "error":
            raise Failure(last["status"], last["code"], last["message"], last["hint"])
        if stream.ended and last.get("event") != "done":
            raise Failure(
                5,
                "run_failed",
                "stream %d of %d ended before it was done (status %d)"
                % (stream.number + 1, len(streams), stream.status),
            )


def _emit_together(events, before_done):
    """One run's events out of those of several streams (a list each)."""
    first = {event["event"]: event for event in reversed(events[0])}
    for name in ("hello", "environment", "load", "first"):
        emit_again(first[name])
    for name in ("window", "warmup", "samples"):
        for stream in events:
            for event in stream:
                if event["event"] == name:
                    emit_again(event)
    last = [{event["event"]: event for event in stream} for stream in events]
    shares = [each["interference"] for each in last]
    own = [share["own_cores"] for share in shares]
    other = [share["other_cores"] for share in shares]
    # To each stream the others are other work.
    used = None if None in own else sum(own)
    more = None if None in own + other else other[0] + own[0] - used
    emit("interference", own_cores=used, other_cores=None if more is None else max(0.0, more))
    held = [each["memory"] for each in last]
    keys = sorted(set.intersection(*map(set, held)) - {"event", "unavailable"})
    sums = {key: sum(each[key] for each in held) for key in keys}
    emit("memory", unavailable=held[0]["unavailable"], **sums)
    emit_again(last[0]["environment"])
    before_done()
    stopped = [each["done"]["stopped"] for each in last]
    emit("done", stopped=next((why for why in stopped if why != "enough"), "enough"))


def emit_again(event):
    emit(event["event"], **{key: value for key, value in event.items() if key != "event"})


PROFILED_RUNS = 50
PROFILED_SECONDS = 2.0


def operator_times(loaded, values, deadline_ns):
    """What each operator took, in a session of its own, since profiling slows all of them down.

    "runs" and "total_ns" are of the whole model then; "operators" have a name, a kind, where they
    run, how often they were called and their ns over all runs, in the order of execution.
    """
    try:
        invoke, finish = loaded.profiler(values)
        invoke()
        enough_ns = min(_clock() + int(PROFILED_SECONDS * 1e9), deadline_ns)
        began = _clock()
        runs = 0
        while runs < PROFILED_RUNS and (runs == 0 or _clock() < enough_ns):
            invoke()
            runs += 1
        total_ns = _clock() - began
        operators = finish(runs)
    except NoProfiler as exc:
        return {"unavailable": str(exc)}
    except Exception as exc:
        return {"unavailable": "the profiler fails: " + _one_line(exc)}
    return {"runs": runs, "total_ns": total_ns, "operators": operators}


def _gathered(calls):
    """One entry an operator, of calls (name, kind, where, ns) in the order of their first call."""
    found = {}
    for name, kind, where, ns in calls:
        entry = found.setdefault(
            (name, where), {"name": name, "kind": kind, "where": where, "calls": 0, "ns": 0}
        )
        entry["calls"] += 1
        entry["ns"] += int(round(ns))
    return list(found.values())


# ---------------------------------------------------------------------------------------------
# Sensors


class Sampler:
    """edgekit_sampler.py as a process of its own, from before the load to the end of the run.

    It writes into memory, so that nothing has to read from it while runs are timed. Whatever goes
    wrong with it is told in its event: times are as good without it.
    """

    READY_SECONDS = 15.0
    END_SECONDS = 10.0  # it may be waiting for a command that it runs

    def __init__(self, sensors):
        self.sensors, self.idle_ns, self.problem = sensors, None, ""
        self.lines, self.said = memory_file(), memory_file()
        try:
            self.process = subprocess.Popen(
                [sys.executable, sensors["sampler"]],
                stdin=subprocess.PIPE,
                stdout=self.lines,
                stderr=self.said,
            )
        except OSError as exc:
            raise Failure(5, "no_sampler", "cannot start the sampler: %s" % _one_line(exc))

    def __enter__(self):
        try:
            self.process.stdin.write(json.dumps(self.sensors["spec"]).encode("utf-8") + b"\n")
            self.process.stdin.flush()
        except OSError:
            return self  # it has ended already; `tell` says why
        until = _clock() + self.READY_SECONDS * 1e9
        while not os.fstat(self.lines.fileno()).st_size:
            if self.process.poll() is not None:
                break
            if _clock() > until:
                self.problem = "the sampler was not ready after %g s" % self.READY_SECONDS
                break
            time.sleep(0.01)
        return self

    def idle(self):
        """Wait, and note when that was."""
        began = _clock()
        time.sleep(self.sensors["idle_seconds"])
        self.idle_ns = (began, _clock())

    def tell(self):
        """End it and print what it wrote."""
        self._end()
        status = self.process.returncode
        if status != 0 and not self.problem:
            said = _one_line(_content(self.said)) or "it said nothing"
            self.problem = "the sampler ended with %d: %s" % (status, said)
        idle = {"idle_start_ns": self.idle_ns[0], "idle_end_ns": self.idle_ns[1]}
        emit("sensors", problem=self.problem, **idle)
        rows = []
        for line in _content(self.lines).splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # the last one, of a process that was killed in mid-line
        for start in range(0, len(rows), SAMPLES_A_LINE // 10):
            emit("sensors", rows=rows[start : start + SAMPLES_A_LINE // 10])

    def _end(self):
        try:
            self.process.stdin.close()  # the sign to stop
        except OSError:
            pass  # it has ended already
        try:
            self.process.wait(timeout=self.END_SECONDS)
        except subprocess.TimeoutExpired:
            self.problem = "the sampler did not end within %g s" % self.END_SECONDS
            self.process.kill()
            self.process.wait()

    def __exit__(self, *exc):
        if self.process.returncode is None:
            self._end()
        self.lines.close()
        self.said.close()


def memory_file():
    """A file that is in no folder, in memory where the kernel offers that."""
    try:
        return os.fdopen(os.memfd_create("edgekit"), "w+b", buffering=0)
    except (AttributeError, OSError):
        return tempfile.TemporaryFile(buffering=0)


def _content(file):
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def verify_digest(path, expected):
    """Raises Failure unless the file's SHA-256 is `expected`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise Failure(
            4,
            "model_changed",
            "%s has SHA-256 %s, not %s" % (path, digest.hexdigest()[:12], expected[:12]),
            "remove it from the device and push it again",
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failure as failure:
        emit("error", **failure.told())
        sys.exit(failure.status)
