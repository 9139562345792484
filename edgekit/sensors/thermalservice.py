"""Android's thermal service, where the kernel's zones may not be read.

    (read without being asked for)

See `edgekit.core.thermalservice`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekit.core import thermalservice
from edgekit.core.measurement import Trace
from edgekit.sensors.sensor import (
    Channel,
    Found,
    Gives,
    Reading,
    Unavailable,
    celsius,
    program,
    traces,
)


class Thermalservice:
    """Implements `Sensor`."""

    name: ClassVar[str] = "thermalservice"
    gives: ClassVar[Gives] = "heat"
    rank: ClassVar[int] = 2
    probe: ClassVar[str] = "command -v dumpsys && limited dumpsys thermalservice"

    def find(self, said: str) -> Found:
        path, answer = program(said, "dumpsys")
        if "HAL Ready: false" in answer:
            raise Unavailable("its HAL is not ready")
        rails = [name for name, value in _temperatures(answer) if value is not None]
        if not rails:
            raise Unavailable("it tells no temperature")
        return Found(channels=(Channel(run=(path, "thermalservice")),), rails=tuple(rails))

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        return traces(
            self.name, "°C", "measured", readings, lambda reading: _temperatures(reading.texts[0])
        )


def _temperatures(answer: str) -> list[tuple[str, float | None]]:
    return [(name, celsius(value)) for name, value in thermalservice.temperatures(answer).items()]
