"""What a source of readings is, and what all of them share.

What runs on the board knows nothing (``runtime_bench/edgekit_sampler.py``): a sensor says here
which files or commands to read there, and understands here what they said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

from edgekit.core.measurement import Trace

Gives = Literal["power", "heat", "clocks", "modes"]
Unit = Literal["W", "J", "°C", "kHz"]
Kind = Literal["measured", "derived", "estimated"]

# In a stream's words, what the sampler's interval is put in place of.
INTERVAL_MS = "{interval_ms}"
COLDEST_C, HOTTEST_C = -60.0, 200.0  # beyond that it is no temperature of a board


class Unavailable(Exception):
    """There is nothing to read, or what is there cannot be used; the text says why.

    Args:
        there: whether the board has such a thing at all.
    """

    def __init__(self, why: str, *, there: bool = True) -> None:
        super().__init__(why)
        self.there = there


@dataclass(frozen=True)
class Channel:
    """What is read together on the board: one of `files`, `run` and `stream`.

    `key` and `facts` are the sensor's own, for when it understands what was said.
    """

    key: str = ""
    files: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()
    in_total: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What one channel said at one time, in ns of the board's monotonic clock."""

    at_ns: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What a board has for one sensor.

    Attributes:
        rails: what the traces will be called, as far as that can be known before.
        covers: what of the board the traces that are in the total cover; empty where none is.
        no_total: why none is.
        facts: what is known once and for all.
    """

    channels: tuple[Channel, ...] = ()
    rails: tuple[str, ...] = ()
    covers: str = ""
    no_total: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


class Sensor(Protocol):
    """A source of readings.

    Attributes:
        name: as in `edgekit.sensors.SENSORS`.
        gives: of sensors that give power, or heat, only the one of the lowest `rank` is read.
        probe: POSIX shell; what it prints on the board goes to `find`. `PRELUDE` stands before it.
    """

    name: ClassVar[str]
    gives: ClassVar[Gives]
    rank: ClassVar[int]
    probe: ClassVar[str]

    def find(self, said: str) -> Found:
        """What the board has. Raises Unavailable."""

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        """What the channel said, understood. Raises Unavailable where it cannot be trusted."""


# EDGEKIT_SYSFS is where sysfs is, should it be mounted elsewhere, as in a container.
PRELUDE = r"""
S=${EDGEKIT_SYSFS:-/sys}
PATH=$PATH:/usr/bin:/usr/sbin:/sbin
show() {
  for file in "$@"; do
    if [ -r "$file" ]; then printf '%s\t%s\n' "$file" "$(head -n 1 "$file" 2>/dev/null)"
    elif [ -e "$file" ]; then printf '%s\n' "$file"
    fi
  done
}
limited() { if command -v timeout >/dev/null; then timeout 10 "$@"; else "$@"; fi; }
"""


def shown(said: str) -> dict[str, str | None]:
    """Path to first line of what ``show`` printed; None for a file that may not be read."""
    found: dict[str, str | None] = {}
    for line in said.splitlines():
        path, tab, text = line.partition("\t")
        if path.startswith("/"):
            found[path] = text.strip() if tab else None
    return found


def program(said: str, name: str) -> tuple[str, str]:
    """Path and output of a command, from ``command -v NAME && NAME …``. Raises Unavailable."""
    path, _, rest = said.lstrip().partition("\n")
    if not path.strip().startswith("/"):
        raise Unavailable(f"no {name} on PATH", there=False)
    return path.strip(), rest.strip()


def number(text: str) -> float | None:
    """A number as sysfs prints it; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def celsius(text: str, scale: float = 1.0) -> float | None:
    """A temperature; None for what is none, dummies such as −256 °C among it."""
    value = number(text)
    if value is None or not COLDEST_C < value * scale < HOTTEST_C:
        return None
    return value * scale


def traces(
    source: str,
    unit: Unit,
    kind: Kind,
    readings: Sequence[Reading],
    values: Callable[[Reading], Iterable[tuple[str, float | None]]],
    *,
    in_total: Callable[[str], bool] = lambda _: False,
    wraps_at: float = 0.0,
    resolution: float | None = None,
    note: str = "",
) -> list[Trace]:
    """A trace for each rail that `values` names in the readings; None is no value.

    Raises:
        Unavailable: no reading has a value.
    """
    rails: dict[str, list[tuple[int, float]]] = {}
    for reading in readings:
        for rail, value in values(reading):
            if value is not None:
                rails.setdefault(rail, []).append((reading.at_ns, value))
    if readings and not rails:
        first = " ".join(readings[0].texts)[:60]
        raise Unavailable(f"it said {first!r}, in which there is nothing of use")
    return [
        Trace(
            source=source,
            rail=rail,
            unit=unit,
            kind=kind,
            start_ns=points[0][0],
            offsets_us=tuple((at - points[0][0]) // 1000 for at, _ in points),
            values=tuple(
                float(f"{value:.9g}" if unit == "J" else f"{value:.6g}") for _, value in points
            ),
            in_total=in_total(rail),
            wraps_at=wraps_at,
            resolution=resolution,
            note=note,
        )
        for rail, points in rails.items()
    ]
