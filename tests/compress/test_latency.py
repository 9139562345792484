"""How much has to go for a time: the search, on devices whose times are formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekit.compress.latency import NEAR, TRIES, TimeTarget, Words, search
from edgekit.core.errors import UsageError
from edgekit.core.latency import Timing

BEFORE = 8.0
WORDS = Words("shrink", "of the multiply-adds", "lower floor")


class Board:
    """A device that takes `cost(share)` times as long without a share as before."""

    def __init__(self, cost: Callable[[float], float]) -> None:
        self.cost, self.asked = cost, list[float]()

    def __call__(self, share: float) -> Timing:
        self.asked.append(share)
        part = self.cost(share)
        return Timing(
            before_milliseconds=BEFORE, milliseconds=BEFORE * part, share=part, where="there"
        )


def line(share: float) -> float:
    return 1 - share


def with_overhead(share: float) -> float:
    """A part of the time that no channel has to do with."""
    return 0.3 + 0.7 * (1 - share)


def in_steps(share: float) -> float:
    """Vectors of 16 channels: nothing is gained between their multiples."""
    return 1 - int(share * 8) / 8


def late(share: float) -> float:
    """Bound by memory until nearly all is gone."""
    return 1 - share**6


@pytest.mark.parametrize("cost", [line, with_overhead, in_steps, late])
@pytest.mark.parametrize("target", [TimeTarget(share=0.6), TimeTarget(milliseconds=4.8)])
def test_the_time_is_kept_and_little_more_than_needed_goes(
    cost: Callable[[float], float], target: TimeTarget
) -> None:
    board = Board(cost)
    found = search(target, 0.95, board, WORDS)
    assert found.tries == len(board.asked) <= TRIES
    assert found.timing.share == cost(found.remove) <= 0.6
    # By a bisection of so many steps the range is 0.95 / 2^5.
    assert cost(found.remove - 0.04) > 0.6 * (1 - NEAR)


def test_what_is_near_enough_is_not_improved() -> None:
    board = Board(line)
    found = search(TimeTarget(share=0.5), 0.52, board, WORDS)
    assert (board.asked, found.remove) == ([0.52], 0.52)


@pytest.mark.parametrize(
    ("target", "says", "hint"),
    [
        (TimeTarget(share=0.2), "share = 0.2 cannot be reached there", "ask for share = 0.37 or"),
        (TimeTarget(milliseconds=2), "milliseconds = 2 cannot", "ask for milliseconds = 2.96 or"),
    ],
)
def test_a_time_out_of_reach_names_the_least_that_is(
    target: TimeTarget, says: str, hint: str
) -> None:
    board = Board(with_overhead)
    with pytest.raises(UsageError) as caught:
        search(target, 0.9, board, WORDS)
    assert says in caught.value.message
    assert "the 90 % of the multiply-adds" in caught.value.message
    assert "takes 2.96 ms, 0.37 of the 8 ms before" in caught.value.message
    assert hint in caught.value.hint
    assert board.asked == [0.9]


def test_a_time_that_is_kept_already_needs_no_pass() -> None:
    with pytest.raises(UsageError, match="the model takes 8 ms there as it is"):
        search(TimeTarget(milliseconds=9), 0.9, Board(line), WORDS)
