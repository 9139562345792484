"""Jetson's tegrastats, for boards whose rails cannot be read in sysfs.

    edgekit profile build --on ssh://jetson --power tegrastats --rate 10

A line each interval, in three dialects: ``POM_5V_IN 900/943`` (JetPack 4: mW, now and on average),
``VDD_IN 2957mW/2957mW`` (5 and 6), ``VDD_IN 9761mW/9761mW/9761mW`` (7); the first value is that of
now. Temperatures are ``tj@44.5C`` or ``cpu@50C/50C``; −256C is a sensor that is off, PMIC@100C a
constant. The GPU's clock is ``GR3D_FREQ 0%@[305]``, in MHz. Its lines come at even moments.
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edgekit.core.measurement import Trace
from edgekit.sensors.ina3221 import INPUTS
from edgekit.sensors.sensor import (
    INTERVAL_MS,
    Channel,
    Found,
    Gives,
    Reading,
    Unavailable,
    celsius,
    program,
    traces,
)

# RAM 2448/3964MB and SWAP 0/1982MB are no rails: nothing but mW may follow.
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (\d+)(?:mW)?((?:/\d+(?:mW)?){1,2})(?!\S)")
_HEAT = re.compile(r"(?<!\S)([A-Za-z][\w-]*)@(-?[\d.]+)C(?:/-?[\d.]+C)*(?!\S)")
_GPU = re.compile(r"GR3D_FREQ \d+%@\[?(\d+)")
_BOARD_INPUTS = (*INPUTS, "VIN")


class Tegrastats:
    """Implements `Sensor`."""

    name: ClassVar[str] = "tegrastats"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 2
    probe: ClassVar[str] = "command -v tegrastats && limited tegrastats --interval 100 | head -n 1"

    def find(self, said: str) -> Found:
        path, line = program(said, "tegrastats")
        rails = [rail for rail, _ in _rails(line)]
        if not rails:
            raise Unavailable(f"it tells of no rail: {line[:60]!r}")
        total = _total(rails)
        covers = f"the module's input ({total[0]})"
        if total[0] not in _BOARD_INPUTS:
            covers = f"{' + '.join(total)}, added up; the carrier board is not in it"
        return Found(
            channels=(Channel(",".join(total), stream=(path, "--interval", INTERVAL_MS)),),
            rails=tuple(rails),
            covers=covers,
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        total = channel.key.split(",")
        found = traces(
            self.name,
            "W",
            "measured",
            readings,
            lambda r: [(rail, milliwatts / 1e3) for rail, milliwatts in _rails(r.texts[0])],
            in_total=total.__contains__,
            resolution=0.001,
        )
        if any(_HEAT.search(reading.texts[0]) for reading in readings):
            found += traces(self.name, "°C", "measured", readings, lambda r: _heat(r.texts[0]))
        if any(_GPU.search(reading.texts[0]) for reading in readings):
            found += traces(self.name, "kHz", "measured", readings, lambda r: _gpu(r.texts[0]))
        return found


def _rails(line: str) -> list[tuple[str, int]]:
    """Rail and mW of now."""
    return [(found[1], int(found[2])) for found in _RAIL.finditer(line) if found[1] != "NC"]


def _total(rails: list[str]) -> list[str]:
    return next(([name] for name in _BOARD_INPUTS if name in rails), rails)


def _heat(line: str) -> list[tuple[str, float | None]]:
    found = [(match[1], celsius(match[2])) for match in _HEAT.finditer(line)]
    return [(name, value) for name, value in found if (name, value) != ("PMIC", 100.0)]


def _gpu(line: str) -> list[tuple[str, float | None]]:
    found = _GPU.search(line)
    return [("GPU", float(found[1]) * 1e3)] if found else []
