"""The clock of each cluster of cores.

    (read without being asked for)

``scaling_cur_freq`` is in kHz; of a policy all cores share it.
https://docs.kernel.org/admin-guide/pm/cpufreq.html
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
    number,
    shown,
    traces,
)


class Cpufreq:
    """Implements `Sensor`."""

    name: ClassVar[str] = "cpufreq"
    gives: ClassVar[Gives] = "clocks"
    rank: ClassVar[int] = 0
    probe: ClassVar[str] = """
    show "$S"/devices/system/cpu/cpufreq/policy*/scaling_cur_freq
    show "$S"/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq
    """

    def find(self, said: str) -> Found:
        files = {path: text for path, text in shown(said).items() if text}
        shared = {p: t for p, t in files.items() if "/cpufreq/policy" in p} or files
        if not shared:
            raise Unavailable("no cpufreq in sysfs", there=False)
        names = {path: _name(path) for path in shared}
        return Found(
            channels=tuple(Channel(name, files=(path,)) for path, name in names.items()),
            rails=tuple(names.values()),
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name,
            "kHz",
            "measured",
            readings,
            lambda reading: [(channel.key, number(reading.texts[0]))],
        )


def _name(path: str) -> str:
    found = re.search(r"/(policy\d+|cpu\d+)/", path)
    return found[1] if found else path
