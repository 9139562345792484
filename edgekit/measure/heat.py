"""Waits until a board is as cool as it was at the start, and asks a phone whether it holds back.

Temperatures are those of the kernel's zones; of Android's thermal service where the shell may not
read these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from edgekit.core import thermalservice
from edgekit.core.protocols import Device

# Sensors jitter by a degree; a board under load rises by ten.
TOLERANCE_C = 2.0
POLL_SECONDS = 2.0
_DUMMY_C = -100.0  # -256 °C is how some drivers say that the sensor is off

_MARK = "edgekit:thermalservice\n"

# $1: folder of the zones. One line each: name, type, temperature in thousandths of a degree. Then
# what a phone's thermal service says.
_ZONES = """
for zone in "$1"/thermal_zone*; do
  [ -r "$zone/temp" ] || continue
  printf '%s:%s %s\\n' "${zone##*/}" "$(cat "$zone/type")" "$(cat "$zone/temp" 2>/dev/null)"
done
if command -v dumpsys >/dev/null; then
  echo edgekit:thermalservice
  dumpsys thermalservice 2>/dev/null
fi
:"""


@dataclass(frozen=True)
class Waited:
    """`seconds` spent cooling down; `too_warm` names the zone that had not cooled by then."""

    seconds: float
    too_warm: str = ""


class Cooling:
    """The temperatures of a board at the start of a measurement.

    Args:
        device: open.
        limit_seconds: how long to wait at most, each time.
        pause_seconds: how long at least, each time but the first.
        types: of the zones that count; all do if there are none of these.
        zones: folder of the zones, for tests.

    Attributes:
        status: what a phone's thermal service said last (0: it does not hold back); None if there
            is none.
    """

    status: int | None = None

    def __init__(
        self,
        device: Device,
        limit_seconds: float,
        *,
        pause_seconds: float = 0.0,
        types: Collection[str] = (),
        zones: str = "/sys/class/thermal",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause, self._paused = pause_seconds, False
        self._device, self._limit, self._zones, self._sleep = device, limit_seconds, zones, sleep
        self._start = _of_types(self._read(), types)

    def wait(self, progress: Callable[[float], None] = lambda _: None) -> Waited:
        """Return when every zone is within 2 °C of its start again, or the time is over.

        Args:
            progress: called with the degrees that are still too many.
        """
        began = time.monotonic()
        if self._paused:
            self._sleep(self._pause)
        self._paused = self._pause > 0
        while True:
            excess = _excess(self._start, self._read()) if self._start and self._limit > 0 else {}
            seconds = time.monotonic() - began
            if not excess:
                return Waited(seconds if seconds > POLL_SECONDS else 0.0)
            zone = max(excess, key=lambda name: excess[name])
            if seconds >= self._limit:
                return Waited(seconds, f"{zone} +{excess[zone]:.0f} °C")
            progress(excess[zone])
            self._sleep(min(POLL_SECONDS, self._limit - seconds))

    def _read(self) -> dict[str, float]:
        command = ["sh", "-c", _ZONES, "edgekit", self._zones]
        said = self._device.run(command, timeout_seconds=60).stdout
        zones, _, service = said.partition(_MARK)
        self.status = thermalservice.status(service)
        read = thermalservice.temperatures(service)
        return parse_zones(zones) or {name: float(value) for name, value in read.items()}

    def look(self) -> int | None:
        """`status` as it is now, if there is one to ask for."""
        if self.status is not None:
            self._read()
        return self.status


def _of_types(zones: dict[str, float], types: Collection[str]) -> dict[str, float]:
    """Those whose name ends in one of `types`; all if none does."""
    found = {name: value for name, value in zones.items() if name.partition(":")[2] in types}
    return found or zones


def _excess(start: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Degrees above the start, of the zones that are too warm."""
    return {
        zone: now[zone] - start[zone]
        for zone in start
        if zone in now and now[zone] - start[zone] > TOLERANCE_C
    }


def parse_zones(text: str) -> dict[str, float]:
    """°C by ``thermal_zone0:cpu-thermal``; lines that are no reading are left out."""
    found = {}
    for line in text.splitlines():
        name, _, number = line.rpartition(" ")
        try:
            celsius = int(number) / 1000
        except ValueError:
            continue
        if name and celsius > _DUMMY_C:
            found[name] = celsius
    return found
