"""Energy and power in a window of time, out of what sensors said. Pure functions; no device.

Energy is the integral of power over the window, by the trapezoidal rule with interpolation at both
ends, or the difference of a counter, interpolated at both ends; nothing is subtracted. A window
that was not covered gives no number but the reason.

Sensors are read at random moments, one in each turn, so a load that swings faster than they are
read becomes noise and no bias. How much noise shows in how far neighbouring readings lie apart
(J. von Neumann 1941: half the mean square successive difference estimates the variance, and a slow
drift hardly touches it), and with it the window's uncertainty is known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.measurement import Launch, Measurement, Sensed, Trace, Window
from edgekit.core.result import NO_POWER, Energy, Estimate
from edgekit.measure.stats import estimate, student_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Fewer readings in a window, or steps of a counter, say nothing: one at an end may be off by half.
LEAST_READINGS = 10
LEAST_IDLE_READINGS = 4
# Readings further apart than so many intervals have one missing between them: a random moment in
# each of two turns leaves at most two intervals.
GAP_INTERVALS = 3.0
TOLERATED_MISSING = 0.1
# Half the 95 % interval of a window's energy, as a share of it: said above the one, refused above
# the other.
TOLERATED_NOISE = 0.01
LARGEST_NOISE = 0.25
OFFSET_W = 0.1  # a rail that carries nothing may read a little less than that


@dataclass(frozen=True)
class Used:
    """Energy that was used in a window, and half its 95 % interval."""

    joules: float
    seconds: float
    unsure_joules: float

    @property
    def noise(self) -> float:
        """Half the interval as a share of the energy."""
        return self.unsure_joules / self.joules if self.joules > 0 else math.inf

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


class UnknownEnergy(Exception):
    """It cannot be told; the text says why and what to do."""


def used(trace: Trace, window: Window, interval_s: float, least: int = LEAST_READINGS) -> Used:
    """The energy that `trace`, in W or J, saw in `window`.

    Args:
        interval_s: how far apart the readings were to be.
        least: so many of them must lie in the window.

    Raises:
        UnknownEnergy: the readings do not cover the window, or cannot be right.
    """
    times, values = _arrays(trace)
    start, end = window.start_ns / 1e9, window.end_ns / 1e9
    name = f"{trace.source} ({trace.rail})"
    if end <= start:
        raise UnknownEnergy("the window of the runs is empty")
    if not len(times):
        raise UnknownEnergy(f"{name} said nothing")
    if (times[1:] < times[:-1]).any():
        raise UnknownEnergy(f"{name}: the clock of the device jumped back")
    if trace.unit == "J":
        times, values = _steps(name, times, _unwrapped(name, values, trace.wraps_at))
    usual = max(interval_s, _usual_distance(times, start, end))
    _check_covered(name, times, start, end, usual, least)
    if trace.unit == "J":
        return _counted(times, values, start, end, interval_s)
    found = _integrated(times, values, start, end)
    if found.watts < -OFFSET_W:
        raise UnknownEnergy(f"{name} said less than nothing: {found.watts:.3g} W on average")
    return found


def _arrays(trace: Trace) -> tuple[Array, Array]:
    """Seconds of the device's clock, and values; of those with one time only the last."""
    import numpy as np

    times = trace.start_ns / 1e9 + np.asarray(trace.offsets_us, dtype=np.float64) / 1e6
    values = np.asarray(trace.values, dtype=np.float64)
    if len(times) < 2:
        return times, values
    kept = np.append(times[1:] != times[:-1], True)
    return times[kept], values[kept]


def _unwrapped(name: str, values: Array, wraps_at: float) -> Array:
    """A counter that only goes up. It is read far more often than it wraps."""
    import numpy as np

    back = np.diff(values) < 0
    if not back.any():
        return values
    if not wraps_at:
        raise UnknownEnergy(f"{name}: the counter went back, and where it wraps is not known")
    laps = np.concatenate([[0.0], np.cumsum(back) * wraps_at])
    counted: Array = values + laps
    return counted


def _steps(name: str, times: Array, values: Array) -> tuple[Array, Array]:
    """The readings that show a new value. A counter that is updated seldom stands still between
    them, and a window's end must not fall on that.
    """
    import numpy as np

    new = np.concatenate([[True], np.diff(values) > 0])
    if new.sum() < 2:
        raise UnknownEnergy(f"{name}: the counter stood still")
    # The first one has stood there for an unknown time.
    return times[new][1:], values[new][1:]


def _usual_distance(times: Array, start: float, end: float) -> float:
    """Median distance in s of the readings in the window; 0 if there are not two."""
    import numpy as np

    inside = times[(times >= start) & (times <= end)]
    return float(np.median(np.diff(inside))) if len(inside) > 1 else 0.0


def _check_covered(
    name: str, times: Array, start: float, end: float, usual: float, least: int
) -> None:
    import numpy as np

    seconds = end - start
    inside = int(((times >= start) & (times <= end)).sum())
    longest = GAP_INTERVALS * usual
    if not len(times) or end - times[-1] > longest:
        when = times[-1] - start if len(times) else 0.0
        raise UnknownEnergy(
            f"{name} said nothing more after {max(0.0, when):.1f} of the {seconds:.1f} s"
        )
    if times[0] - start > longest:
        raise UnknownEnergy(f"{name} said nothing in the first {times[0] - start:.1f} s")
    edges = np.concatenate([[start], times[(times > start) & (times < end)], [end]])
    gaps = np.diff(edges)
    missing = float(gaps[gaps > longest].sum()) / seconds
    if missing > TOLERATED_MISSING:
        raise UnknownEnergy(
            f"{name}: readings are missing over {missing:.0%} of the {seconds:.1f} s"
        )
    if inside < least:
        raise UnknownEnergy(
            f"{inside} readings of {name} in {seconds:.2g} s are too few, {least} are needed: "
            f"use --min-seconds {max(1, math.ceil(1.5 * least * usual))}, or a higher --rate"
        )


def _counted(times: Array, values: Array, start: float, end: float, interval_s: float) -> Used:
    """What happens between two steps of the counter is not known, so neither are the ends."""
    import numpy as np

    apart, steps = np.diff(times), np.diff(values)
    before, after = np.interp([start, end], times, values)
    mean = float((values[-1] - values[0]) / (times[-1] - times[0]))
    before -= max(0.0, times[0] - start) * mean
    after += max(0.0, end - times[-1]) * mean
    joules = float(after - before)
    usual = float(np.median(apart))
    unknown = float((steps / apart).std()) * usual
    if (
        usual > 1.5 * interval_s
    ):  # updated less often than it is read: a step is seen that much late
        unknown += interval_s * mean
    return Used(joules, end - start, unknown)


def _integrated(times: Array, values: Array, start: float, end: float) -> Used:
    import numpy as np

    between = (times > start) & (times < end)
    at = np.concatenate([[start], times[between], [end]])
    power = np.interp(at, times, values)
    joules = float(((power[1:] + power[:-1]) / 2 * np.diff(at)).sum())
    inside = values[between]
    if len(inside) < 2:
        return Used(joules, end - start, math.inf)
    spread = math.sqrt(float((np.diff(inside) ** 2).mean()) / 2)
    half = student_quantile(len(inside) - 1) * spread / math.sqrt(len(inside))
    return Used(joules, end - start, half * (end - start))


# ---------------------------------------------------------------------------------------------
# Of a whole measurement


def launch_energy(launch: Launch, *, idle: bool = False) -> Used:
    """What all traces that count saw while the runs of `launch` were timed, or while it was idle.

    Raises:
        UnknownEnergy: none counts, or one of them does not cover the window.
    """
    sensed = launch.sensed
    traces = [trace for trace in sensed.traces if trace.in_total] if sensed else []
    if sensed is None or not traces:
        raise UnknownEnergy(_why_none(sensed))
    if idle:
        window, least = sensed.idle, LEAST_IDLE_READINGS
    else:
        window, least = _whole(launch.windows), LEAST_READINGS
    if window is None:
        raise UnknownEnergy("when it was idle was not noted" if idle else "when it ran is unknown")
    parts = [used(trace, window, 1 / sensed.rate_hz, least) for trace in traces]
    # Rails swing together: what is uncertain about them adds up.
    whole = Used(
        math.fsum(part.joules for part in parts),
        parts[0].seconds,
        math.fsum(part.unsure_joules for part in parts),
    )
    name = ", ".join(f"{trace.source} ({trace.rail})" for trace in traces)
    if whole.joules <= 0:
        raise UnknownEnergy(f"{name} said 0 W all the time")
    if whole.noise > LARGEST_NOISE and not idle:
        raise UnknownEnergy(
            f"{name} jumps so much between readings that its mean is known to ±{whole.noise:.0%} "
            "only: use a longer --min-seconds, or a higher --rate"
        )
    return whole


def _whole(windows: Sequence[Window]) -> Window | None:
    """From when the first stream began until the last one ended."""
    if not windows:
        return None
    return Window(
        start_ns=min(window.start_ns for window in windows),
        end_ns=max(window.end_ns for window in windows),
    )


def _why_none(sensed: Sensed | None) -> str:
    if sensed is None:
        return "it was not asked for"
    return sensed.no_power or NO_POWER


def energy(measurement: Measurement) -> Energy | None:
    """What the measurement says of energy; None where no sensor was asked."""
    launches = [launch for launch in measurement.launches if launch.sensed is not None]
    if not launches:
        return None
    found: list[tuple[Launch, Used]] = []
    reasons: list[str] = []
    for launch in launches:
        try:
            found.append((launch, launch_energy(launch)))
        except UnknownEnergy as why:
            sensed = launch.sensed
            read = sensed is not None and not sensed.no_power
            most = f"; {len(launch.samples_ns)} runs are the most there may be in a launch"
            reasons.append(f"{why}{most if read and launch.stopped == 'max_runs' else ''}")
    first = launches[0].sensed
    assert first is not None
    counted = [trace for trace in first.traces if trace.in_total]
    if 2 * len(found) <= len(launches):
        return Energy(covers=first.covers, unavailable=reasons[0])
    notes = list(dict.fromkeys(trace.note for trace in counted if trace.note))
    if reasons:
        notes.append(f"{len(reasons)} of {len(launches)} launches left out: {reasons[0]}")
    noise = statistics.median(each.noise for _, each in found)
    if noise > TOLERATED_NOISE:
        notes.append(
            f"power swings between readings: each launch's energy is known to ±{noise:.1%}; "
            "a longer --min-seconds or a higher --rate tells more"
        )
    idle, why_not = _idle(launches)
    if idle is None and why_not:
        notes.append(f"idle power is not known: {why_not}")
    return Energy(
        per_inference_j=estimate([each.joules / len(one.samples_ns) for one, each in found]),
        mean_power_w=estimate([each.watts for _, each in found]),
        idle_power_w=idle,
        covers=first.covers,
        kind=counted[0].kind if len(counted) == 1 else "derived",
        notes=tuple(notes),
    )


def _idle(launches: Sequence[Launch]) -> tuple[Estimate | None, str]:
    known: list[float] = []
    why = ""
    for launch in launches:
        if launch.sensed is None or launch.sensed.idle is None:
            continue
        try:
            known.append(launch_energy(launch, idle=True).watts)
        except UnknownEnergy as problem:
            why = str(problem)
    return (estimate(known), "") if known else (None, why)
