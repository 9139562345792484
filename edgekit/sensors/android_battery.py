"""A phone's battery gauge.

    edgekit profile build --on ssh://phone --power android_battery --min-seconds 60

The kernel's rule is µA and µV, negative while it discharges; makers break the unit (mA) and the
sign. The unit is told by the size: a phone that is awake draws 10 mA to 10 A. The sign does not
matter while the gauge says that it discharges; while it is charged, or fed over USB at all, its
current is not the phone's, and nothing is told. From 10,000 to 20,000 it may be either: nothing is
told. Gauges are updated seldom, once in some seconds.
https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-class-power
"""

from __future__ import annotations

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

MILLIAMPERES = (10, 10_000)
MICROAMPERES = (20_000, 10_000_000)
MILLIVOLTS = (2_500, 20_000)
MICROVOLTS = (2_500_000, 20_000_000)


class AndroidBattery:
    """Implements `Sensor`."""

    name: ClassVar[str] = "android_battery"
    gives: ClassVar[Gives] = "power"
    rank: ClassVar[int] = 7
    probe: ClassVar[str] = """
    d=$S/class/power_supply/battery; show "$d/status" "$d/current_now" "$d/voltage_now"
    """

    def find(self, said: str) -> Found:
        files = shown(said)
        if not files:
            raise Unavailable("no battery in sysfs", there=False)
        closed = [path for path, text in files.items() if not text]
        if closed or len(files) < 3:
            raise Unavailable(f"{', '.join(closed) or 'status, current or voltage'} cannot be read")
        status, current, voltage = (text or "" for text in files.values())
        scale = _amperes(status, current, voltage)[1]
        return Found(
            channels=(
                Channel("battery", files=tuple(files), in_total=True, facts={"scale": scale}),
            ),
            rails=("battery",),
            covers="the whole phone, its screen too",
        )

    def parse(self, channel: Channel, readings: Sequence[Reading]) -> list[Trace]:
        scale = channel.facts["scale"]
        signs = set()

        def watts(reading: Reading) -> list[tuple[str, float | None]]:
            status, current, voltage = reading.texts
            value, found = _amperes(status, current, voltage)
            if found != scale:
                raise Unavailable(f"a current of {current} may be in mA or in µA")
            signs.add(value > 0)
            if len(signs) > 1:
                raise Unavailable("its current changed its sign: it was charged meanwhile")
            return [("battery", abs(value) * _volts(voltage))]

        return traces(
            self.name,
            "W",
            "measured" if scale == "µA" else "derived",
            readings,
            watts,
            in_total=lambda _: True,
            note=""
            if scale == "µA"
            else "by its size the current is in mA, against the kernel's rule",
        )


def _amperes(status: str, current: str, voltage: str) -> tuple[float, str]:
    """The current and the unit it was told in. Raises Unavailable where that cannot be told."""
    if status != "Discharging":
        raise Unavailable(
            f"the battery is {status.lower() or 'in no state'}, not discharging: its current is "
            "not the phone's; unplug it and connect over Wi-Fi"
        )
    value = number(current)
    if value is None or number(voltage) is None:
        raise Unavailable(f"current {current!r}, voltage {voltage!r} are no numbers")
    micro = MICROAMPERES[0] <= abs(value) <= MICROAMPERES[1]
    milli = MILLIAMPERES[0] <= abs(value) <= MILLIAMPERES[1]
    if micro == milli:
        raise Unavailable(f"a current of {current} may be in mA or in µA, or nothing at all")
    return (value / 1e6, "µA") if micro else (value / 1e3, "mA")


def _volts(text: str) -> float:
    value = float(text)
    if MICROVOLTS[0] <= value <= MICROVOLTS[1]:
        return value / 1e6
    if MILLIVOLTS[0] <= value <= MILLIVOLTS[1]:
        return value / 1e3
    raise Unavailable(f"a voltage of {text} is none of a battery, in mV or in µV")
