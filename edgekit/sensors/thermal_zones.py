"""Temperatures that the kernel has as thermal zones, on nearly every board and phone.

    (read without being asked for)

``temp`` is in m°C; −256 °C is how some drivers say that a sensor is off.
https://docs.kernel.org/driver-api/thermal/sysfs-api.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from edgekit.core.measurement import Trace
from edgekit.sensors.sensor import (
    Channel,
    Found,
    Gives,
    Reading,
    Unavailable,
    celsius,
    shown,
    traces,
)

MOST = 16  # phones have many more, some behind slow buses
_TELLING = re.compile(r"cpu|gpu|npu|tpu|soc|tj|skin|pkg|big|little|mid", re.IGNORECASE)


class ThermalZones:
    """Implements `Sensor`."""

    name: ClassVar[str] = "thermal_zones"
    gives: ClassVar[Gives] = "heat"
    rank: ClassVar[int] = 0
    probe: ClassVar[str] = """
    for d in "$S"/class/thermal/thermal_zone*; do show "$d/type" "$d/temp"; done
    """

    def find(self, said: str) -> Found:
        files = shown(said)
        zones = {}
        for path, text in files.items():
            place = PurePosixPath(path)
            if place.name == "temp" and text and celsius(text, 1e-3) is not None:
                kind = files.get(str(place.with_name("type"))) or "?"
                zones[f"{place.parent.name}:{kind}"] = path
        if not zones:
            raise Unavailable("no thermal zone that tells a temperature", there=bool(files))
        chosen = sorted(zones, key=lambda zone: not _TELLING.search(zone))[:MOST]
        return Found(
            channels=tuple(Channel(zone, files=(zones[zone],)) for zone in zones if zone in chosen),
            rails=tuple(chosen),
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name,
            "°C",
            "measured",
            readings,
            lambda reading: [(channel.key, celsius(reading.texts[0], 1e-3))],
        )
