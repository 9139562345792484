"""How much has to go for a time: a search over candidates that are exported and timed.

The share that goes decides the multiply-adds, and the device what these cost: half of them is
rarely half of the time. So the most that can go is timed first, which tells whether the time can be
reached at all; then the share is narrowed down by false position, kept off the ends so that it
shrinks as bisection does where times do not follow a line. Each candidate is timed in turns with
the model before, and counts by its ratio to it: what else the computer does slows both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.core.errors import UsageError
from edgekit.core.latency import Timing

TRIES = 6
NEAR = 0.05  # of the time asked for: a candidate that is so little below it is good enough
NARROW = 0.02  # shares that are nearer to each other are not told apart
OFF_ENDS = 0.15  # of the range that is left: how far a guess stays off its ends


@dataclass(frozen=True)
class TimeTarget:
    """What is asked for: a share of the time before, or a time.

    Attributes:
        on: the device, as `edgekit.devices.open_device` takes it.
    """

    share: float | None = None
    milliseconds: float | None = None
    on: str = "local"

    @property
    def text(self) -> str:
        """As it stands in the recipe."""
        if self.milliseconds is not None:
            return f"milliseconds = {self.milliseconds:g}"
        return f"share = {self.share:g}"

    def part(self, timing: Timing) -> float:
        """The time as a part of what is asked for: met from 1 down."""
        if self.milliseconds is not None:
            return timing.milliseconds / self.milliseconds
        assert self.share is not None
        return timing.share / self.share

    def part_before(self, timing: Timing) -> float:
        """The same of the model before."""
        if self.milliseconds is not None:
            return timing.before_milliseconds / self.milliseconds
        assert self.share is not None
        return 1 / self.share


@dataclass(frozen=True)
class Found:
    """The least share that was seen to be enough, its time, and how many candidates were timed."""

    remove: float
    timing: Timing
    tries: int


@dataclass(frozen=True)
class Words:
    """For errors: the pass, what it takes away ("of the multiply-adds"), how more can be."""

    name: str
    goes: str
    eased_by: str


def search(
    wanted: TimeTarget, most: float, timed: Callable[[float], Timing], words: Words
) -> Found:
    """The least share that brings the time down to what is wanted, in at most `TRIES` candidates.

    Args:
        most: the share that can go at most.
        timed: makes the candidate without such a share and times it beside the model before.

    Raises:
        UsageError: it cannot be reached, with the least time that can; or the model takes no
            longer as it is.
    """
    least = timed(most)
    if wanted.part_before(least) <= 1:
        raise UsageError(
            f"{words.name}: {wanted.text}: the model takes {least.before_milliseconds:.3g} ms "
            f"{least.where} as it is",
            hint=f"leave {words.name} out, or ask for less than that",
        )
    if wanted.part(least) > 1:
        raise _unreachable(wanted, most, least, words)
    low, low_part = 0.0, wanted.part_before(least)
    high, best, tries = most, least, 1
    while tries < TRIES and wanted.part(best) < 1 - NEAR and high - low > NARROW:
        line = (low_part - 1 + NEAR / 2) / (low_part - wanted.part(best))
        guess = low + (high - low) * min(max(line, OFF_ENDS), 1 - OFF_ENDS)
        share = round(guess, 3)
        timing, tries = timed(share), tries + 1
        if wanted.part(timing) <= 1:
            high, best = share, timing
        else:
            low, low_part = share, wanted.part(timing)
    return Found(high, best, tries)


def _unreachable(wanted: TimeTarget, most: float, least: Timing, words: Words) -> UsageError:
    share = math.ceil(100 * least.share) / 100
    time = f"{least.milliseconds:.3g}"
    ask = f"milliseconds = {time}" if wanted.milliseconds is not None else f"share = {share:g}"
    return UsageError(
        f"{words.name}: {wanted.text} cannot be reached {least.where}: without the "
        f"{100 * most:.0f} % {words.goes} that can go at most it takes {time} ms, {share:g} of the "
        f"{least.before_milliseconds:.3g} ms before",
        hint=f"ask for {ask} or more, {words.eased_by}",
    )
