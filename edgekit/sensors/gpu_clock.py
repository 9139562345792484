"""The clock of the GPU, where the kernel tells it.

    (read without being asked for)

``devfreq`` (Mali, V3D, Tegra) and Qualcomm's ``kgsl`` are in Hz, Intel's ``gt_cur_freq_mhz`` in
MHz. Exynos' ``/sys/kernel/gpu/gpu_clock`` is in MHz or kHz, depending on the phone, and not read.
https://docs.kernel.org/driver-api/devfreq.html
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

_GPU = re.compile(r"gpu|mali|v3d|kgsl|adreno|pvr", re.IGNORECASE)


class GpuClock:
    """Implements `Sensor`."""

    name: ClassVar[str] = "gpu_clock"
    gives: ClassVar[Gives] = "clocks"
    rank: ClassVar[int] = 1
    probe: ClassVar[str] = """
    show "$S"/class/devfreq/*/cur_freq "$S"/class/kgsl/kgsl-3d0/gpuclk
    show "$S"/class/drm/card*/gt_cur_freq_mhz
    """

    def find(self, said: str) -> Found:
        clocks = {}
        for path, text in shown(said).items():
            place = PurePosixPath(path)
            if text and (place.name != "cur_freq" or _GPU.search(place.parent.name)):
                clocks[place.parent.name] = path
        if not clocks:
            raise Unavailable("no clock of a GPU in sysfs", there=False)
        return Found(
            channels=tuple(Channel(name, files=(path,)) for name, path in clocks.items()),
            rails=tuple(clocks),
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        scale = 1e3 if channel.files[0].endswith("_mhz") else 1e-3

        def kilohertz(reading: Reading) -> list[tuple[str, float | None]]:
            value = number(reading.texts[0])
            return [(channel.key, None if value is None else value * scale)]

        return traces(self.name, "kHz", "measured", readings, kilohertz)
