"""What memory is held, by the process and for its model."""

import os
import re
import resource

from .drivers import driver_bytes
from .files import read_text


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
