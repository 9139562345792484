"""Jetson AGX Thor's INA238, at the input of the board.

    edgekit profile build --on ssh://thor --power ina238

The kernel's driver tells the power in µW; the chip averages it by itself.
https://docs.kernel.org/hwmon/ina238.html
"""

from __future__ import annotations

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
    number,
    shown,
    traces,
)

INPUT = "VIN"


class Ina238:
    """Implements `Sensor`."""

    name: ClassVar[str] = "ina238"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 0
    probe: ClassVar[str] = """
    for d in "$S"/bus/i2c/drivers/ina238/*/hwmon/hwmon*; do show "$d/label" "$d/power1_input"; done
    """

    def find(self, said: str) -> Found:
        files = shown(said)
        powers = [path for path, text in files.items() if path.endswith("/power1_input") and text]
        if not powers:
            raise Unavailable("no INA238 in sysfs", there=bool(files))
        rails = {}
        for path in powers:
            label = files.get(str(PurePosixPath(path).with_name("label")))
            rails[label or (INPUT if len(powers) == 1 else path)] = path
        known = INPUT in rails
        return Found(
            channels=tuple(
                Channel(rail, files=(path,), in_total=rail == INPUT) for rail, path in rails.items()
            ),
            rails=tuple(rails),
            covers=f"the board's input ({INPUT})" if known else "",
            no_total="" if known else f"which of {', '.join(rails)} is the input is not known",
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        def watts(reading: Reading) -> list[tuple[str, float | None]]:
            value = number(reading.texts[0])
            return [(channel.key, None if value is None else value / 1e6)]

        return traces(
            self.name, "W", "measured", readings, watts, in_total=lambda _: channel.in_total
        )
