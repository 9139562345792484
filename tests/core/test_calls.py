"""How large a graph becomes with its functions put in place."""

from __future__ import annotations

import pytest

from edgekit.core.calls import MOST, unfolded


def test_what_is_called_counts_as_often_as_it_is() -> None:
    own = {"graph": 3, "a": 10, "b": 100, "unused": 7}
    calls = {"graph": {"a": 2, "b": 1, "Relu": 5}, "a": {"b": 3}, "unused": {"a": 9}}

    assert unfolded(own, calls, "graph") == 3 + 2 * (10 + 3 * 100) + 100


def test_functions_that_grow_with_each_other_are_counted_and_not_made() -> None:
    own = dict.fromkeys(range(5001), 1)
    calls = {depth: {depth + 1: 10} for depth in range(5000)}

    assert unfolded(own, calls, 4995) == 111_111
    assert unfolded(own, calls, 0) == MOST


@pytest.mark.parametrize("calls", [{0: {0: 1}}, {0: {1: 1}, 1: {2: 1}, 2: {1: 1}}])
def test_a_circle_has_no_size(calls: dict[int, dict[int, int]]) -> None:
    with pytest.raises(ValueError, match="without end"):
        unfolded({0: 1, 1: 1, 2: 1}, calls, 0)


def test_the_same_function_on_two_ways_is_no_circle() -> None:
    calls = {0: {1: 1, 2: 1}, 1: {3: 1}, 2: {3: 1, 1: 1}}

    assert unfolded(dict.fromkeys(range(4), 1), calls, 0) == 1 + 2 + 1 + 1 + 2
