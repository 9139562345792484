"""What the machine is: the event "hello"."""

import os
import platform
import sys

from .files import read_text


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
