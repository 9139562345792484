"""Which runtimes are known, and how they are installed.

edgekit reads the tables out of this file, which therefore imports nothing of its package.
"""

import os
import platform
import shlex
import sys
import sysconfig

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
