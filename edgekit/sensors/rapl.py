"""The energy counters of x86 processors (RAPL), Intel's and AMD's.

    edgekit profile build --on local --power rapl
    sudo chmod a+r /sys/class/powercap/*/energy_uj     # only root may read them, as a rule

They count µJ and start again at ``max_energy_range_uj``. ``package-N`` is a whole processor with
its ``core`` and ``uncore``; ``dram`` is apart from it; ``psys``, if there, is the platform.
https://docs.kernel.org/power/powercap/powercap.html
"""

from __future__ import annotations

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


class Rapl:
    """Implements `Sensor`."""

    name: ClassVar[str] = "rapl"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 5
    probe: ClassVar[str] = """
    for d in "$S"/class/powercap/*; do
      show "$d/name" "$d/max_energy_range_uj" "$d/energy_uj"
    done
    """

    def find(self, said: str) -> Found:
        files = shown(said)
        counters = {p: t for p, t in files.items() if p.endswith("/energy_uj")}
        if not counters:
            raise Unavailable("no powercap counter in sysfs", there=False)
        readable = [path for path, text in counters.items() if text]
        if not readable:
            path = next(iter(counters))
            raise Unavailable(f"only root may read {path}: on the device: sudo chmod a+r {path}")
        places: dict[str, PurePosixPath] = {}
        for path in readable:
            zone = PurePosixPath(path).parent
            name = files.get(f"{zone}/name") or zone.name
            if zone.name.count(":") == 2 and not name.startswith("package"):
                name = f"{_parent(files, zone)} {name}"
            # The same processor is there twice where it can also be reached through memory (mmio).
            if name not in places or "mmio" in places[name].name:
                places[name] = zone
        total = [n for n in places if n.startswith("psys")] or [
            n for n in places if (n.startswith("package-") and " " not in n) or n.endswith(" dram")
        ]
        return Found(
            channels=tuple(
                Channel(
                    name,
                    files=(f"{zone}/energy_uj",),
                    in_total=name in total,
                    facts={"range_uj": files.get(f"{zone}/max_energy_range_uj") or ""},
                )
                for name, zone in places.items()
            ),
            rails=tuple(places),
            covers=f"{' + '.join(total)}: the processor's own counters" if total else "",
            no_total="" if total else f"none of {', '.join(places)} is a whole processor",
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        def joules(reading: Reading) -> list[tuple[str, float | None]]:
            micro = number(reading.texts[0])
            return [(channel.key, None if micro is None else micro / 1e6)]

        return traces(
            self.name,
            "J",
            "measured",
            readings,
            joules,
            in_total=lambda _: channel.in_total,
            wraps_at=(number(channel.facts["range_uj"]) or 0.0) / 1e6,
        )


def _parent(files: dict[str, str | None], zone: PurePosixPath) -> str:
    """The name of the zone that ``intel-rapl:0:1`` is a part of."""
    whole = zone.name.rpartition(":")[0]
    return files.get(f"{zone.parent}/{whole}/name") or whole
