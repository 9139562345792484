"""Raspberry Pi's temperature by its firmware, where there is no thermal zone.

    (read without being asked for)

``vcgencmd measure_temp`` prints ``temp=48.3'C``.
https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
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


class PiTemperature:
    """Implements `Sensor`."""

    name: ClassVar[str] = "pi_temperature"
    gives: ClassVar[Gives] = "heat"
    rank: ClassVar[int] = 1
    probe: ClassVar[str] = "command -v vcgencmd && limited vcgencmd measure_temp"

    def find(self, said: str) -> Found:
        path, answer = program(said, "vcgencmd")
        if _degrees(answer) is None:
            raise Unavailable(f"vcgencmd says {answer[:60]!r}")
        return Found(channels=(Channel("soc", run=(path, "measure_temp")),), rails=("soc",))

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name,
            "°C",
            "measured",
            readings,
            lambda reading: [("soc", _degrees(reading.texts[0]))],
            resolution=0.1,
        )


def _degrees(answer: str) -> float | None:
    found = re.search(r"temp=(-?[\d.]+)'C", answer)
    return celsius(found[1]) if found else None
