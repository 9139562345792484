"""Raspberry Pi 5: the rails behind its power chip.

    edgekit profile build --on ssh://pi@raspberrypi.local --power pi5_pmic --min-seconds 5

``vcgencmd pmic_read_adc`` prints amperes and volts, which pair up to 12 rails; EXT5V and BATT have
no current. One call takes about 0.1 s, so there are fewer than ten readings a second. The rails
added up are less than what the board draws: what its regulators lose and its 5 V devices take is
in none. A fit that people made with meters at the plug (× 1.1451 + 0.5879 W) is kept as an estimate
and never used for the energy. A Raspberry Pi 4 and older ones measure no current at all.
https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edgekit.core.measurement import Trace
from edgekit.sensors.sensor import Channel, Found, Gives, Reading, Unavailable, program, traces

_LINE = re.compile(r"^\s*(\w+)_[AV] (current|volt)\(\d+\)=(-?[\d.]+)[AV]\s*$", re.MULTILINE)
FIT_SLOPE, FIT_OFFSET_W = 1.1451, 0.5879


class Pi5Pmic:
    """Implements `Sensor`."""

    name: ClassVar[str] = "pi5_pmic"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 3
    probe: ClassVar[str] = "command -v vcgencmd && limited vcgencmd pmic_read_adc"

    def find(self, said: str) -> Found:
        path, answer = program(said, "vcgencmd")
        rails = _watts(answer)
        if not rails:
            told = " ".join(answer.split())[:60]
            raise Unavailable(f"vcgencmd says {told!r}: only a Raspberry Pi 5 measures its rails")
        return Found(
            channels=(Channel(run=(path, "pmic_read_adc"), in_total=True),),
            rails=tuple(rails),
            covers=f"the {len(rails)} rails behind the power chip, added up; less than at the plug",
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        found = traces(
            self.name,
            "W",
            "measured",
            readings,
            lambda reading: _watts(reading.texts[0]).items(),
            in_total=lambda _: True,
        )
        return found + traces(
            self.name,
            "W",
            "estimated",
            readings,
            lambda reading: _fit(reading.texts[0]),
            note="a fit that people made, not of this board",
        )


def _watts(answer: str) -> dict[str, float]:
    """Rails that have both a current and a voltage."""
    parts: dict[str, dict[str, float]] = {}
    for rail, what, value in _LINE.findall(answer):
        parts.setdefault(rail, {})[what] = float(value)
    return {rail: p["current"] * p["volt"] for rail, p in parts.items() if len(p) == 2}


def _fit(answer: str) -> list[tuple[str, float | None]]:
    rails = _watts(answer)
    whole = FIT_SLOPE * sum(rails.values()) + FIT_OFFSET_W if rails else None
    return [("input, by a fit", whole)]
