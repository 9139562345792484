"""Whether a process that has left its name somewhere is still running."""

from __future__ import annotations

import os
from pathlib import Path


def whereabouts() -> str:
    """Where numbers of processes mean the same: this boot of this computer, and this container.

    Names of computers do not tell: many are called alike. "" where the system does not say.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{boot}/{space}"


def started(pid: int) -> str:
    """When a process was started, in ticks since boot: numbers are used again, but not at the same
    time. "" for one that has ended.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name, in parentheses, may hold anything; a zombie has ended and was not waited for.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def me() -> str:
    """This process as one word, for `ended`."""
    return f"{os.getpid()}@{started(os.getpid())}@{whereabouts()}"


def ended(process: str) -> bool:
    """Whether what `me` was in some process is known to have ended; False where it cannot be seen
    from here.
    """
    pid, _, rest = process.partition("@")
    when, _, where = rest.partition("@")
    return bool(where) and where == whereabouts() and pid.isdigit() and started(int(pid)) != when
