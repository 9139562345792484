"""Energy, power and heat for people: words, and what is plotted of them over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgekit.core.measurement import Launch, Measurement, Trace
from edgekit.core.result import NO_POWER, Energy, Estimate, Result
from edgekit.reports import plot
from edgekit.reports.words import NOT_MEASURED, UNAVAILABLE, digits

_UNITS = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def quantity(value: float, unit: str) -> str:
    """12.3 mJ for 0.0123 J."""
    size, prefix = _scale(value)
    return f"{digits(value / size)} {prefix}{unit}"


def quantity_interval(estimate: Estimate | None, unit: str) -> str:
    """12.1–12.6 mJ, in the unit of the value; empty without a value."""
    if estimate is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    size, prefix = _scale(estimate.value)
    return f"{digits(estimate.low / size)}–{digits(estimate.high / size)} {prefix}{unit}"


def _scale(value: float) -> tuple[float, str]:
    return next((unit for unit in _UNITS if abs(value) >= unit[0]), _UNITS[-1])


@dataclass(frozen=True)
class EnergyWords:
    """What is known of one measurement's energy; cells say so where it is not known.

    `lines` explain: what it is of, what a reader must know, or why there is none.
    """

    known: bool
    energy: str
    energy_interval: str
    power: str
    power_interval: str
    idle: str
    idle_interval: str
    lines: tuple[str, ...]


def energy_words(result: Result) -> EnergyWords:
    found = result.summary.energy
    if found is None:
        return EnergyWords(False, NOT_MEASURED, "", NOT_MEASURED, "", NOT_MEASURED, "", ())
    known = found.per_inference_j is not None
    lines = (
        (f"energy: of {found.covers}; {found.kind}", *found.notes)
        if known
        else (f"energy {UNAVAILABLE}: {found.unavailable}",)
    )
    return EnergyWords(
        known,
        _cell(found.per_inference_j, "J"),
        quantity_interval(found.per_inference_j, "J"),
        _cell(found.mean_power_w, "W"),
        quantity_interval(found.mean_power_w, "W"),
        _cell(found.idle_power_w, "W"),
        quantity_interval(found.idle_power_w, "W"),
        lines,
    )


def _cell(estimate: Estimate | None, unit: str) -> str:
    return UNAVAILABLE if estimate is None else quantity(estimate.value, unit)


def worth_telling(energy: Energy | None) -> bool:
    """Not where nobody asked, or the board just has no sensor of power."""
    return energy is not None and energy.unavailable != NO_POWER


def power_plot(taken: Measurement) -> str | None:
    """Power over the launches, of what counts for the energy; None without any."""
    lines = _lines(taken, lambda trace: trace.in_total)
    return _plotted(taken, lines, "Power", "power, W")


def heat_plot(taken: Measurement) -> str | None:
    """The warmest places over the launches; None without any."""
    lines = _lines(taken, lambda trace: trace.unit == "°C")
    return _plotted(taken, lines, "Temperature", "temperature, °C")


def _plotted(taken: Measurement, lines: list[plot.Line], what: str, y_name: str) -> str | None:
    if not lines:
        return None
    start = _start_ns(taken)
    windows = [
        ((w.start_ns - start) / 1e9, (w.end_ns - start) / 1e9)
        for launch in taken.launches
        for w in launch.windows[:1]
    ]
    highest = {line.label: max(y for _, y in line.points) for line in lines}
    told = "; ".join(f"{label}: at most {digits(value)}" for label, value in highest.items())
    return plot.over_time(
        lines,
        windows,
        title=f"{what} of {taken.variant} on {taken.device_name}",
        description=f"Over all launches; shaded while runs were timed. {told}.",
        y_name=y_name,
    )


def _start_ns(taken: Measurement) -> int:
    return min(trace.start_ns for _, trace in _traces(taken))


def _traces(taken: Measurement) -> Iterator[tuple[Launch, Trace]]:
    for launch in taken.launches:
        for trace in launch.sensed.traces if launch.sensed else ():
            if trace.values:
                yield launch, trace


def _lines(taken: Measurement, wanted: Callable[[Trace], bool]) -> list[plot.Line]:
    """A line a launch and rail, of the rails with the highest means."""
    found = [trace for _, trace in _traces(taken) if wanted(trace)]
    if not found:
        return []
    means: dict[str, float] = {}
    for trace in found:
        shown = _shown(trace)
        if shown:
            mean = math.fsum(y for _, y in shown) / len(shown)
            means[trace.rail] = max(means.get(trace.rail, -math.inf), mean)
    rails = sorted(means, key=lambda rail: -means[rail])[: plot.HUES]
    start = _start_ns(taken)
    return [
        plot.Line(
            trace.rail,
            rails.index(trace.rail),
            tuple(((trace.start_ns - start) / 1e9 + t, y) for t, y in _shown(trace)),
        )
        for trace in found
        if trace.rail in rails and _shown(trace)
    ]


def _shown(trace: Trace) -> Sequence[tuple[float, float]]:
    """Seconds after its start, and value; of a counter the power between two readings."""
    points = [(t / 1e6, y) for t, y in zip(trace.offsets_us, trace.values, strict=True)]
    if trace.unit != "J":
        return points
    return [
        ((t1 + t2) / 2, (y2 - y1) / (t2 - t1))
        for (t1, y1), (t2, y2) in itertools.pairwise(points)
        if t2 > t1 and y2 >= y1  # not where it wraps
    ]
