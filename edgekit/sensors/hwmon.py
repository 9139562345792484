"""Any power or energy meter that the kernel has a driver for.

    edgekit profile build --on ssh://board --power hwmon
    edgekit profile build --on ssh://board --power 'hwmon:ina226 power1'

``power*_input`` is in µW, ``energy*_input`` in µJ, counted up. Where one meter is there it is taken
for the board's; of several none is, since nothing tells which is behind which: name one.
https://docs.kernel.org/hwmon/sysfs-interface.html
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
    number,
    shown,
    traces,
)


class Hwmon:
    """Implements `Sensor`."""

    name: ClassVar[str] = "hwmon"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 4
    probe: ClassVar[str] = """
    for d in "$S"/class/hwmon/hwmon*; do
      show "$d"/name "$d"/power*_label "$d"/energy*_label "$d"/power*_input "$d"/energy*_input
    done
    """

    def find(self, said: str) -> Found:
        files = shown(said)
        channels: dict[str, Channel] = {}
        for path, text in files.items():
            place = PurePosixPath(path)
            meter = re.fullmatch(r"((power|energy)\d+)_input", place.name)
            if not meter or not text:
                continue
            chip = files.get(str(place.with_name("name"))) or place.parent.name
            label = files.get(str(place.with_name(f"{meter[1]}_label"))) or meter[1]
            rail = f"{chip} {label}"
            if rail in channels:
                rail = f"{place.parent.name} {rail}"
            channels[rail] = Channel(rail, files=(path,), facts={"what": meter[2]})
        if not channels:
            raise Unavailable("no meter of power or energy in hwmon", there=False)
        if len(channels) > 1:
            names = ", ".join(channels)
            return Found(
                channels=tuple(channels.values()),
                rails=tuple(channels),
                no_total=f"it has {names}, and nothing tells which is the board's: "
                f"name one with --power 'hwmon:{next(iter(channels))}'",
            )
        ((rail, only),) = channels.items()
        return Found(
            channels=(Channel(rail, only.files, in_total=True, facts=only.facts),),
            rails=(rail,),
            covers=f"what the meter {rail} is behind",
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        def value(reading: Reading) -> list[tuple[str, float | None]]:
            micro = number(reading.texts[0])
            return [(channel.key, None if micro is None else micro / 1e6)]

        return traces(
            self.name,
            "J" if channel.facts["what"] == "energy" else "W",
            "measured",
            readings,
            value,
            in_total=lambda _: channel.in_total,
        )
