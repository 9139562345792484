"""In which power mode a Jetson is, and which clocks it may use. Read once, never set.

    (read without being asked for)

``nvpmodel -q`` prints ``NV Power Mode: 15W`` and the mode's number on the next line.
``jetson_clocks --show`` needs root, and prints a line a unit: ``GPU MinFreq=306000000 MaxFreq=…``.
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from edgekit.core.measurement import Trace
from edgekit.sensors.sensor import Channel, Found, Gives, Reading, Unavailable

_CLOCKS = re.compile(r"^[ \t]*([A-Za-z]\w*):?[ \t]+(\S.*Freq=.*|\w*Freq=.*)$", re.MULTILINE)


class JetsonModes:
    """Implements `Sensor`; has no channels."""

    name: ClassVar[str] = "jetson_modes"
    gives: ClassVar[Gives] = "modes"
    rank: ClassVar[int] = 0
    probe: ClassVar[str] = """
    command -v nvpmodel >/dev/null && limited nvpmodel -q
    command -v jetson_clocks >/dev/null && limited jetson_clocks --show
    true
    """

    def find(self, said: str) -> Found:
        facts = {}
        mode = re.search(r"^NV Power Mode:\s*(\S.*?)\s*$(?:\n^(\d+)\s*$)?", said, re.MULTILINE)
        if mode:
            facts["power mode"] = mode[1] + (f" ({mode[2]})" if mode[2] else "")
        for name, rest in _CLOCKS.findall(said):
            facts[f"clocks of {name}"] = " ".join(rest.split())
        if not facts:
            raise Unavailable("no nvpmodel and no jetson_clocks that tell", there=False)
        return Found(facts=facts)

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        raise AssertionError("it has no channels")
