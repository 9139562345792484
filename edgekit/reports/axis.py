"""Axes of the plots: from values to pixels, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

# A linear axis hides the small values of a range wider than this.
LOG_FROM_RATIO = 20.0


@dataclass(frozen=True)
class Axis:
    """A range of values on a range of pixels; `ticks` lie within it, in rising order."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of `value`; what lies outside is put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def axis(
    values: Iterable[float],
    start: float,
    end: float,
    *,
    ticks: int = 5,
    from_zero: bool = False,
    log: bool | None = None,
    limit: float | None = None,
) -> Axis:
    """An axis with room around `values`; what is not finite, or beyond 1e100, is left out.

    Args:
        start, end: pixels; `start` is larger for an axis that points up.
        ticks: about how many.
        from_zero: begin at zero where it is linear.
        log: logarithmic or not; decided by the range of the values if not given.
        limit: no tick and no room above this (100 %).
    """
    known = [0.0 if abs(v) < 1e-100 else v for v in values if abs(v) < 1e100] or [0.0, 1.0]
    low, high = min(known), max(known)
    if log is None:
        log = low > 0 and high / low > LOG_FROM_RATIO
    if log and low > 0:
        return _log_axis(low, high, start, end)
    if from_zero and low >= 0:
        low = 0.0
    if high - low < 1e-9 * max(abs(high), abs(low), 1e-9):
        room = abs(high) * 0.02 or 1.0
        low, high = (0.0 if from_zero and low == 0.0 else low - room), high + room
    step = _round_step((high - low) / max(1, ticks))
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if limit is not None:
        high = min(high, max(limit, max(known)))
    count = round((high - low) / step)
    # Multiplied and not summed up, so that 0.3 is not 0.30000000000000004.
    positions = [_tidy(low + index * step, step) for index in range(count + 1)]
    return Axis(low, high, start, end, False, tuple(p for p in positions if p <= high * (1 + 1e-9)))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def _tidy(value: float, step: float) -> float:
    return round(value, max(0, 2 - math.floor(math.log10(step))))


def _log_axis(low: float, high: float, start: float, end: float) -> Axis:
    low, high = low / 1.1, high * 1.1
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 3 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil(decades / 8))
    positions = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
    return Axis(low, high, start, end, True, tuple(p for p in positions if low <= p <= high))


def tick_text(value: float, ticks: tuple[float, ...]) -> str:
    """`value` with just the decimals that tell neighbouring ticks apart."""
    if abs(value) >= 1e7 or 0 < abs(value) < 1e-4:
        return f"{value:.0e}".replace("-", "−")
    for places in range(7):
        if all(math.isclose(round(tick, places), tick, rel_tol=1e-9) for tick in ticks):
            break
    text = f"{value:.{places}f}"
    return text.replace("-", "−")
