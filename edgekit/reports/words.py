"""Numbers as words for people. What is not known is said, never shown as zero."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from edgekit.core.files import readable_bytes
from edgekit.core.measurement import Memory
from edgekit.core.result import Estimate, Summary

NOT_MEASURED = "not measured"
UNAVAILABLE = "unavailable"
NOT_COMPARED = "not compared"
NO_LABELS = "no labels"

_TIME_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def time_unit(ns: float) -> tuple[float, str]:
    """Nanoseconds in the unit that suits `ns`, and that unit's name."""
    for size, name in _TIME_UNITS:
        if abs(ns) >= size:
            return size, name
    return _TIME_UNITS[-1]


def digits(value: float, count: int = 3) -> str:
    """`value` with `count` significant digits, never in scientific notation between 1e-4 and 1e7.

    >>> digits(0.99951), digits(1234.5), digits(18.06)
    ('1.00', '1234', '18.1')
    """
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{count - 1}e}".replace("-", "−")
    # Rounding first: 0.99951 has the exponent of 1.00.
    exponent = math.floor(math.log10(abs(float(f"{value:.{count - 1}e}"))))
    return f"{value:.{max(0, count - 1 - exponent)}f}".replace("-", "−")


def duration(ns: float | None) -> str:
    """18.1 µs."""
    if ns is None:
        return NOT_MEASURED
    size, name = time_unit(ns)
    return f"{digits(ns / size)} {name}"


def told(estimate: Estimate | None) -> str:
    """The value as a duration, or that there is none."""
    return NOT_MEASURED if estimate is None else duration(estimate.value)


_TOLD_NAMES = {
    "p90_ns": "p90",
    "p99_ns": "p99",
    "load_ns": "load",
    "first_ns": "first inference",
    "peak_rss_bytes": "peak memory",
}


def untold(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Which figures there are none of, and why: one pair for each reason."""
    names: dict[str, list[str]] = {}
    for key, name in _TOLD_NAMES.items():
        if why := summary.unavailable.get(key):
            names.setdefault(why, []).append(name)
    return tuple((", ".join(each), why) for why, each in names.items())


# What runners say where only the CPU computes: not worth a line for each variant.
NO_DRIVER = "no driver of a GPU or an NPU is open"
MEMORY_NAMES = {
    "model_rss_bytes": "model's pages",
    "model_pss_bytes": "of these its share (Pss)",
    "swap_bytes": "swapped out",
    "arena_bytes": "arena",
    "driver_bytes": "held by drivers of GPUs and NPUs",
}


def memory_facts(memory: Memory | None) -> tuple[tuple[str, str], ...]:
    """What was held beside the peak: name and size, or why that is not known."""
    if memory is None:
        return ()
    facts = []
    for key, name in MEMORY_NAMES.items():
        size = getattr(memory, key)
        why = memory.unavailable.get(key, "")
        if size is None and why in ("", NO_DRIVER):  # nobody looked, or nothing is held
            continue
        facts.append((name, f"{UNAVAILABLE}: {why}" if size is None else readable_bytes(size)))
    return tuple(facts)


def interval(estimate: Estimate | None) -> str:
    """17.9–18.4 µs, in the unit of the value; in words if there is none."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    size, name = time_unit(estimate.value)
    return f"{digits(estimate.low / size)}–{digits(estimate.high / size)} {name}"


def percent(share: float | None, missing: str, places: int = 2) -> str:
    """98.06 % for 0.9806."""
    return missing if share is None else f"{100 * share:.{places}f} %"


def points(change: float | None) -> str:
    """A signed change in percentage points or percent; empty where there is none to tell."""
    if change is None:
        return ""
    return "±0" if abs(change) < 0.005 else f"{change:+.2f}".replace("-", "−")


def decibel(snr_db: float | None, *, compared: bool) -> str:
    """A ratio in dB; None with `compared` means that there is no difference at all."""
    if snr_db is not None:
        return f"{snr_db:.1f} dB".replace("-", "−")
    return "equal" if compared else NOT_COMPARED


def rate(estimate: Estimate) -> str:
    return f"{digits(estimate.value)} /s"


def moment(created: str) -> str:
    """An ISO 8601 time in UTC, to the second; what is no time as it is."""
    try:
        when = datetime.fromisoformat(created)
        utc = when.astimezone(UTC) if when.tzinfo else when
    except (ValueError, OverflowError):  # anybody may have written it: shown, not trusted
        return plain(created)
    return utc.strftime("%Y-%m-%d %H:%M:%S")


def plain(text: str) -> str:
    """`text` on one line without anything that a terminal would obey or cannot show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
