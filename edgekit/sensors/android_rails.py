"""The rails of phones with Google's Tensor (Pixel 6 and later), counted by their power chips.

    edgekit profile build --on ssh://pixel --power android_rails:S2M_VDD_CPUCL2+S3M_VDD_CPUCL1

Each of two chips prints ``t=…`` and a line a rail: ``CH3(T=16086645)[S2M_VDD_CPUCL2], 124265856``,
counted up in µW·s. Some rails feed others, so they are not added up by themselves: name those that
matter.
https://source.android.com/docs/core/power/values
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edgekit.core.measurement import Trace
from edgekit.sensors.sensor import Channel, Found, Gives, Reading, Unavailable, traces

_RAIL = re.compile(r"^CH\d+\(T=\d+\)\[([^\]]+)\],\s*(\d+)\s*$", re.MULTILINE)


class AndroidRails:
    """Implements `Sensor`."""

    name: ClassVar[str] = "android_rails"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 8
    probe: ClassVar[str] = """
    for f in "$S"/bus/iio/devices/iio:device*/energy_value; do
      [ -e "$f" ] && printf 'file %s\\n' "$f" && cat "$f"
    done
    """

    def find(self, said: str) -> Found:
        parts = re.split(r"^file (/.*)$", said, flags=re.MULTILINE)[1:]
        chips = {path: _rails(text) for path, text in zip(parts[::2], parts[1::2], strict=True)}
        rails = [rail for chip in chips.values() for rail in chip]
        if not rails:
            raise Unavailable("no energy_value below iio", there=bool(chips))
        return Found(
            channels=tuple(Channel(path, files=(path,)) for path, chip in chips.items() if chip),
            rails=tuple(rails),
            no_total="some of its rails feed others, so they are not added up: name those that "
            f"matter with --power {self.name}:{rails[0]}+…",
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name, "J", "measured", readings, lambda reading: _rails(reading.texts[0]).items()
        )


def _rails(text: str) -> dict[str, float]:
    return {rail: int(micro) / 1e6 for rail, micro in _RAIL.findall(text)}
