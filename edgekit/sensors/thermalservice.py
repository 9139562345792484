"""Android's thermal service, where the kernel's zones may not be read.

    (read without being asked for)

``dumpsys thermalservice`` prints what it remembers and, below "Current temperatures from HAL:",
what is now; numbers of types differ between makers, names do not. 0.0 and −99.9 are dummies.
https://source.android.com/docs/core/power/thermal-mitigation
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edgekit.core.measurement import Trace
from edgekit.sensors.sensor import (
    Channel,
    Found,
    Gives,
    Reading,
    Unavailable,
    celsius,
    program,
    traces,
)

_NOW = "Current temperatures from HAL:"
_REMEMBERED = "Cached temperatures:"
_VALUE = re.compile(r"Temperature\{mValue=(-?[\d.]+),[^}]*?mName=([^,}]+)")
_DUMMIES = (0.0, -99.9)


class Thermalservice:
    """Implements `Sensor`."""

    name: ClassVar[str] = "thermalservice"
    gives: ClassVar[Gives] = "heat"
    rank: ClassVar[int] = 2
    probe: ClassVar[str] = "command -v dumpsys && limited dumpsys thermalservice"

    def find(self, said: str) -> Found:
        path, answer = program(said, "dumpsys")
        if "HAL Ready: false" in answer:
            raise Unavailable("its HAL is not ready")
        rails = [name for name, value in _temperatures(answer) if value is not None]
        if not rails:
            raise Unavailable("it tells no temperature")
        return Found(channels=(Channel(run=(path, "thermalservice")),), rails=tuple(rails))

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name, "°C", "measured", readings, lambda reading: _temperatures(reading.texts[0])
        )


def _temperatures(answer: str) -> list[tuple[str, float | None]]:
    """Those of now; what it remembers only where there is no such section."""
    for head in (_NOW, _REMEMBERED):
        _, found, rest = answer.partition(head)
        # A section goes on as long as its lines are temperatures.
        section = re.match(r"(?:\s*Temperature\{[^}]*\}\s*)*", rest)
        if found and section and section[0].strip():
            return [
                (name.strip(), None if float(value) in _DUMMIES else celsius(value))
                for value, name in _VALUE.findall(section[0])
            ]
    return []
