"""A device's sensors, found once and read in every launch of a runner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from edgekit.core.errors import DeviceError, UnknownNameError, UsageError
from edgekit.core.files import sha256_file
from edgekit.core.locate import shipped
from edgekit.core.measurement import Sensed, Trace, Window
from edgekit.core.protocols import Device
from edgekit.core.result import NO_POWER
from edgekit.sensors import SENSORS
from edgekit.sensors.sensor import (
    INTERVAL_MS,
    PRELUDE,
    Channel,
    Found,
    Reading,
    Sensor,
    Unavailable,
)

SAMPLER = shipped("runtime_bench") / "edgekit_sampler.py"
AUTO, OFF = "auto", "off"
MAX_RATE_HZ = 1000.0
PROBE_SECONDS = 120.0
IDLE_SECONDS = 1.0
SLOW_HZ = 1.0  # temperatures and clocks
# Readings in a window that are enough for its energy, with room for those that come late.
ENOUGH_READINGS = 20
_MARK = "#edgekit sensor "


@dataclass(frozen=True)
class Watch:
    """What is read on one device; implements `edgekit.core.protocols.Sensing`.

    Make one with `open`.
    """

    sampler: str
    rate_hz: float
    chosen: tuple[tuple[Sensor, Found], ...]
    unavailable: Mapping[str, str]
    facts: Mapping[str, str]
    no_power: str
    rails: frozenset[str]

    @classmethod
    def open(
        cls,
        device: Device,
        *,
        power: str = AUTO,
        rate_hz: float = 10.0,
        prefer: Sequence[str] = (),
    ) -> Self:
        """Ask `device` (open) what it has, in one command, and put the sampler there.

        Args:
            power: ``auto`` for the best there is, the name of a sensor, or ``NAME:RAIL+RAIL`` for
                some of its rails.
            rate_hz: how often power is read; temperatures and clocks once a second.
            prefer: sensors of power that ``auto`` takes before others, the best first.

        Raises:
            UnknownNameError: no sensor of power, or none of its rails, is called that.
            DeviceError: the device does not have what was named; says why.
        """
        name, rails = asked_for(power, rate_hz)
        done = device.run(["sh", "-c", _script()], timeout_seconds=PROBE_SECONDS)
        said = _sections(done.stdout)
        there: dict[str, tuple[Sensor, Found]] = {}
        unavailable: dict[str, str] = {}
        broken: list[str] = []
        for each in SENSORS:
            sensor: Sensor = SENSORS[each]()
            try:
                there[each] = (sensor, sensor.find(said.get(each, "")))
            except Unavailable as why:
                unavailable[each] = str(why)
                if why.there and sensor.gives == "power":
                    broken.append(f"{each}: {why}")
        if name and name not in there:
            raise DeviceError(
                f"{device.address} has no power by {name}: {unavailable[name]}",
                hint="--power auto takes what there is, --power off nothing",
            )
        chosen = _chosen(there, name, prefer, unavailable)
        source = next((found for sensor, found in chosen if sensor.gives == "power"), None)
        if source is not None:
            for rail in rails:
                if rail not in source.rails:
                    raise UnknownNameError(f"rail of {name}", rail, list(source.rails))
        if source is None:
            no_power = "; ".join(broken) or NO_POWER
        else:
            no_power = "" if rails else source.no_total
        watched = tuple((sensor, found) for sensor, found in chosen if found.channels)
        return cls(
            sampler=device.push(SAMPLER, sha256_file(SAMPLER)) if watched else "",
            rate_hz=rate_hz if source is not None else SLOW_HZ,
            chosen=watched,
            unavailable=unavailable,
            facts={key: text for _, found in there.values() for key, text in found.facts.items()},
            no_power=no_power,
            rails=frozenset(rails),
        )

    @property
    def has_power(self) -> bool:
        """Whether any trace will count for the energy."""
        return bool(self.chosen) and not self.no_power

    @property
    def enough_seconds(self) -> float:
        """How long runs must be timed so that their energy can be told."""
        return ENOUGH_READINGS / self.rate_hz

    @property
    def _channels(self) -> list[tuple[Sensor, Found, Channel]]:
        return [(sensor, found, c) for sensor, found in self.chosen for c in found.channels]

    def add(self, job: Mapping[str, Any]) -> dict[str, Any]:
        if not self.chosen:
            return dict(job)
        idle = IDLE_SECONDS if self.has_power else 0.0
        budget = float(job.get("time_budget_seconds", 600)) + idle
        spec = {
            "channels": [self._asked(sensor, channel) for sensor, _, channel in self._channels],
            "rate": self.rate_hz,
            "seconds": budget + 60,
        }
        sensors = {"sampler": self.sampler, "spec": spec, "idle_seconds": idle}
        return {**job, "time_budget_seconds": budget, "sensors": sensors}

    def _asked(self, sensor: Sensor, channel: Channel) -> dict[str, Any]:
        """The channel as the sampler takes it."""
        every = 1 if sensor.gives == "power" else max(1, round(self.rate_hz / SLOW_HZ))
        if channel.files:
            return {"files": list(channel.files), "every": every}
        if channel.run:
            return {"run": list(channel.run), "every": every}
        interval = str(max(1, round(1000 / self.rate_hz)))
        return {"stream": [word.replace(INTERVAL_MS, interval) for word in channel.stream]}

    def sensed(self, events: Sequence[Mapping[str, Any]]) -> Sensed:
        told = [event for event in events if event["event"] == "sensors"]
        rows = [row for event in told for row in event.get("rows", ())]
        first = told[0] if told else {}
        unavailable = dict(self.unavailable)
        no_power, covers = self.no_power, ""
        traces: list[Trace] = []
        for sensor, found, readings in self._read(rows):
            try:
                understood = [t for c, r in readings for t in sensor.parse(c, r)]
            except Unavailable as why:
                unavailable[sensor.name] = str(why)
                if sensor.gives == "power":
                    no_power = f"{sensor.name}: {why}"
                continue
            traces += [self._counted(sensor, trace) for trace in understood]
            if sensor.gives == "power" and not no_power:
                covers = " + ".join(sorted(self.rails)) or found.covers
        if first.get("problem"):
            unavailable["sampler"] = str(first["problem"])
        no_power = no_power or self._nothing_counts(traces, first, rows)
        return Sensed(
            rate_hz=self.rate_hz,
            traces=tuple(traces),
            idle=_idle(first),
            covers="" if no_power else covers,
            no_power=no_power,
            unavailable=unavailable,
            facts=dict(self.facts),
            cost=next((r for r in reversed(rows) if isinstance(r, dict) and "ended" in r), {}),
        )

    def _read(
        self, rows: Iterable[Any]
    ) -> Iterable[tuple[Sensor, Found, list[tuple[Channel, list[Reading]]]]]:
        """Each sensor with what its channels said."""
        said: dict[int, list[Reading]] = {}
        for row in rows:
            if isinstance(row, list) and row[3] is not None:
                channel, before, took, texts = row
                said.setdefault(channel, []).append(Reading(before + took // 2, tuple(texts)))
        number = 0
        for sensor, found in self.chosen:
            numbers = range(number, number + len(found.channels))
            number += len(found.channels)
            yield (
                sensor,
                found,
                [
                    (channel, said[index])
                    for index, channel in zip(numbers, found.channels, strict=True)
                    if index in said
                ],
            )

    def _counted(self, sensor: Sensor, trace: Trace) -> Trace:
        """With rails that were named, those count and no others."""
        if not self.rails or sensor.gives != "power":
            return trace
        return trace.model_copy(update={"in_total": trace.rail in self.rails})

    def _nothing_counts(
        self, traces: Sequence[Trace], first: Mapping[str, Any], rows: Sequence[Any]
    ) -> str:
        if any(trace.in_total for trace in traces):
            return ""
        failed = next((row[4] for row in rows if isinstance(row, list) and row[3] is None), "")
        return str(first.get("problem") or failed or "its sensor of power said nothing")


def asked_for(power: str, rate_hz: float) -> tuple[str, list[str]]:
    """The sensor and the rails that were named; empty where none was. It needs no board.

    Raises:
        UnknownNameError, UsageError: no sensor of power is called so, or nothing reads so often.
    """
    if not 0 < rate_hz <= MAX_RATE_HZ:
        raise UsageError(f"--rate {rate_hz:g} is not above 0 and at most {MAX_RATE_HZ:g} a second")
    name, _, rails = power.partition(":")
    if name == AUTO and not rails:
        return "", []
    known = [each for each in SENSORS if SENSORS[each].gives == "power"]
    if name not in known:
        raise UnknownNameError("sensor of power", name, [AUTO, OFF, *known])
    return name, [rail.strip() for rail in rails.split("+") if rail.strip()]


def _chosen(
    there: Mapping[str, tuple[Sensor, Found]],
    name: str,
    prefer: Sequence[str],
    unavailable: dict[str, str],
) -> list[tuple[Sensor, Found]]:
    """All clocks, and the best of each other kind; why not the others goes into `unavailable`."""
    chosen = []
    places = {each: place for place, each in enumerate(prefer)}
    for gives in ("power", "heat", "clocks"):
        of_kind = [pair for pair in there.values() if pair[0].gives == gives]
        of_kind.sort(
            key=lambda pair: (
                bool(name) and gives == "power" and pair[0].name != name,
                bool(pair[1].no_total),  # one that gives a total before one that does not
                places.get(pair[0].name, len(places)),
                pair[0].rank,
            )
        )
        kept = of_kind if gives == "clocks" else of_kind[:1]
        for sensor, _ in of_kind[len(kept) :]:
            unavailable[sensor.name] = f"not read beside {kept[0][0].name}"
        chosen += kept
    return chosen


def _script() -> str:
    """One command for all sensors; what one of them does cannot harm the next."""
    parts = [PRELUDE]
    for name in SENSORS:
        probe = SENSORS[name].probe
        parts.append(f"echo; echo '{_MARK}{name}'\n(\n{probe}\n) </dev/null 2>/dev/null")
    return "\n".join([*parts, "exit 0"])


def _sections(said: str) -> dict[str, str]:
    """What each sensor's probe printed; a login script's words stand before the first mark."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in said.splitlines():
        if line.startswith(_MARK):
            lines = found.setdefault(line.removeprefix(_MARK), [])
        else:
            lines.append(line)
    return {name: "\n".join(part) for name, part in found.items()}


def _idle(first: Mapping[str, Any]) -> Window | None:
    start, end = first.get("idle_start_ns"), first.get("idle_end_ns")
    if start is None or end is None or end - start < 1e6:
        return None
    return Window(start_ns=start, end_ns=end)
