"""Jetson's INA3221, three rails a chip; Nano, TX, Xavier and Orin.

    edgekit profile build --on ssh://jetson --power ina3221
    edgekit profile build --on ssh://jetson --power ina3221:VDD_CPU_CV

JetPack 4 has NVIDIA's own driver below ``ina3221x``, with the power in mW; from JetPack 5 on it is
the kernel's, in mV and mA. Rails called ``NC`` are not connected, channel 7 is the sum of the
shunts' voltages. Where the module's input is measured (VDD_IN, POM_5V_IN) that is the total, and
the other rails are parts of it; elsewhere all rails are added up, and the carrier board is in none.
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
https://docs.kernel.org/hwmon/ina3221.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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

INPUTS = ("VDD_IN", "POM_5V_IN")


class Ina3221:
    """Implements `Sensor`."""

    name: ClassVar[str] = "ina3221"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 1
    probe: ClassVar[str] = """
    old=$S/bus/i2c/drivers/ina3221x new=$S/bus/i2c/drivers/ina3221
    show "$old"/*/iio:device*/rail_name_* "$old"/*/iio:device*/in_power*_input
    for d in "$new"/*/hwmon/hwmon*; do
      show "$d"/in*_label "$d"/in[1-3]_input "$d"/curr[1-3]_input
    done
    """

    def find(self, said: str) -> Found:
        files = shown(said)
        rails = dict(_rails(files))
        if not rails:
            raise Unavailable("no rail of an INA3221 in sysfs", there=bool(files))
        total = next(([name] for name in INPUTS if name in rails), list(rails))
        covers = f"the module's input ({total[0]})"
        if total[0] not in INPUTS:
            covers = f"{' + '.join(total)}, added up; the carrier board is not in it"
        return Found(
            channels=tuple(
                Channel(name, files=rails[name], in_total=name in total) for name in rails
            ),
            rails=tuple(rails),
            covers=covers,
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name,
            "W",
            "measured",
            readings,
            lambda reading: [(channel.key, _watts(reading.texts))],
            in_total=lambda _: channel.in_total,
            resolution=None if len(channel.files) == 2 else 0.001,
        )


def _watts(texts: Sequence[str]) -> float | None:
    """Of one text, mW; of two, mV and mA."""
    parts = [number(text) for text in texts]
    if len(parts) == 1:
        return None if parts[0] is None else parts[0] / 1e3
    volts, amperes = parts
    return None if volts is None or amperes is None else volts * amperes / 1e6


def _rails(files: dict[str, str | None]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each rail and the files that tell its power."""
    taken: set[str] = set()
    for path, label in files.items():
        old = re.search(r"/rail_name_(\d+)$", path)
        new = re.search(r"/in([1-3])_label$", path)
        if not label or not (old or new) or label.upper() == "NC":
            continue
        folder = PurePosixPath(path).parent
        if old:
            names: tuple[str, ...] = (f"{folder}/in_power{old[1]}_input",)
        else:
            assert new is not None
            names = (f"{folder}/in{new[1]}_input", f"{folder}/curr{new[1]}_input")
        if all(files.get(name) for name in names):  # one that is switched off says nothing
            # Two chips may call two rails alike.
            yield (label if label not in taken else f"{label} {names[0]}"), names
            taken.add(label)
