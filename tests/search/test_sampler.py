"""What is tried next: all in the end, the good early, and with the same seed the same."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest

from edgekit.search.sampler import LOST, UNUSABLE, Sampler
from edgekit.search.space import Point, Space, load_spaces

LIMIT = 1.0
Landscape = Callable[[Point], tuple[float, float]]


@pytest.fixture(scope="module")
def space() -> Space:
    places = [("tflite", "xnnpack"), ("executorch", "xnnpack")]
    return load_spaces(["untrained", "faster", "smaller"], places)


def landscape(space: Space, seed: int) -> Landscape:
    """Costs and losses where each choice does about the same in every family."""
    draw = random.Random(seed)
    costs: dict[tuple[str, object], float] = {}
    losses: dict[tuple[str, object], float] = {}

    def of(point: Point) -> tuple[float, float]:
        cost, lost = 1.0, 0.0
        for choice in point.items():
            cost *= costs.setdefault(choice, draw.uniform(0.6, 1.3))
            lost += losses.setdefault(choice, draw.uniform(-0.2, 0.5))
        return cost, lost

    for point in space.points():  # drawn in one order, whatever is asked first
        of(point)
    return of


def figures(found: tuple[float, float]) -> dict[str, float]:
    cost, lost = found
    return {LOST: lost, UNUSABLE: 0.0} | ({"latency": cost} if lost <= LIMIT else {})


def best_of(tries: list[Point], of: Landscape) -> float:
    return min((of(p)[0] for p in tries if of(p)[1] <= LIMIT), default=float("inf"))


def searched(space: Space, of: Landscape, tries: int, seed: int) -> list[Point]:
    sampler = Sampler(space, "latency", {LOST: LIMIT, UNUSABLE: 0.5}, seed)
    asked = []
    for _ in range(tries):
        point = sampler.ask()
        assert point is not None
        asked.append(point)
        sampler.tell(point, figures(of(point)))
    return asked


def test_every_family_is_begun_with_before_anything_else(space: Space) -> None:
    asked = searched(space, landscape(space, 0), len(space.families), seed=0)
    assert asked == [family.first for family in space.families]


def test_all_of_a_small_space_is_tried_once(space: Space) -> None:
    small = Space(space.families[:3])
    sampler = Sampler(small, "latency", {}, seed=0)
    asked = []
    while (point := sampler.ask()) is not None:
        asked.append(point)
        sampler.tell(point, {"latency": float(len(asked))})
    assert sorted(map(str, asked)) == sorted(map(str, small.points()))


def test_it_finds_better_ones_than_drawing_at_random_does(space: Space) -> None:
    """Over 8 made-up landscapes; tools/bench_tune.py tells by how much."""
    ours, drawn = [], []
    for seed in range(8):
        of = landscape(space, seed)
        ideal = best_of(space.points(), of)
        ours.append(best_of(searched(space, of, 30, seed), of) / ideal)
        some = random.Random(seed).sample(space.points(), 30)
        drawn.append(best_of(some, of) / ideal)
    assert statistics.mean(ours) < 1.1
    assert statistics.mean(ours) < statistics.mean(drawn)


def test_the_same_seed_asks_the_same_and_what_was_told_before_is_not_asked_again(
    space: Space,
) -> None:
    of = landscape(space, 1)
    once = searched(space, of, 20, seed=5)
    assert searched(space, of, 20, seed=5) == once
    again = Sampler(space, "latency", {LOST: LIMIT}, seed=5)
    for point in once:
        again.tell(point, figures(of(point)))
    assert again.ask() not in once


def test_a_limit_of_what_is_never_told_keeps_nothing_back(space: Space) -> None:
    """Without labels nothing is known of what is lost."""
    small = Space(space.families[:3])
    told, untold = (Sampler(small, "size", limits, seed=3) for limits in ({}, {LOST: 0.0}))
    for sampler in (told, untold):
        for point in small.points()[::3]:
            sampler.tell(point, {"size": float(len(str(point)))})
    for _ in range(5):
        assert told.ask() == untold.ask()


def test_points_of_another_space_teach_nothing(space: Space) -> None:
    sampler = Sampler(Space(space.families[:1]), "latency", {}, seed=0)
    sampler.tell({"family": "gone"}, {"latency": 1.0})
    assert sampler.ask() == space.families[0].first


@pytest.mark.slow
def test_a_space_too_large_to_be_listed_is_searched_all_the_same() -> None:
    from edgekit.search.space import parse_space

    many = "".join(
        '[[family.passes]]\npass = "prune"\nsparsity = { from = 0.1, to = 0.9, step = 0.01 }\n'
        for _ in range(3)
    )
    text = f'schema = 1\n[[family]]\nname = "one"\nquantization = "int8"\n{many}'
    huge = Space(tuple(parse_space(text, [("tflite", "xnnpack")], where="x")))
    assert huge.size == 81**3
    sampler = Sampler(huge, "zipped", {}, seed=0)
    assert sampler.ask() == huge.families[0].first
    assert sampler.ask() is not None
