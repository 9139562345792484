"""How good what a search finds is, after so many tries, against candidates drawn at random.

    python tools/bench_tune.py [--landscapes 100]

The spaces are edgekit's own; costs and losses are made up, each landscape anew: every choice
multiplies the cost and adds to the loss, a choice of one family differently from the same in
another by a part of that (--own), and a measurement is off by 1 %. What is told, over
landscapes, is the cost of the best that fits, by that of the best there is (1 is ideal). It says
nothing of a network: whether choices act alike everywhere is what --own is for.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgekit.search.sampler import LOST, UNUSABLE, Sampler
from edgekit.search.space import Point, Space, load_spaces

PLACES = [("tflite", "xnnpack"), ("executorch", "xnnpack")]
LIMIT = 1.0
NOISE = 0.01
AFTER = (10, 20, 30, 40)
Landscape = Callable[[Point], tuple[float, float]]


def landscape(space: Space, seed: int, own: float) -> Landscape:
    """The cost and the loss of a point."""
    draw = random.Random(seed)
    effects: dict[tuple[object, ...], tuple[float, float]] = {}

    def effect(*key: object) -> tuple[float, float]:
        return effects.setdefault(key, (draw.uniform(0.6, 1.3), draw.uniform(-0.2, 0.5)))

    def of(point: Point) -> tuple[float, float]:
        cost, lost = 1.0, 0.0
        for choice in point.items():
            (c, l_all), (c_own, l_own) = effect(*choice), effect(point["family"], *choice)
            cost *= c ** (1 - own) * c_own**own
            lost += (1 - own) * l_all + own * l_own
        return cost, lost

    for point in space.points():
        of(point)
    return of


def found(space: Space, of: Landscape, seed: int, *, learns: bool) -> list[float]:
    """The best that fits after `AFTER` tries, by the best there is."""
    ideal = min(cost for cost, lost in map(of, space.points()) if lost <= LIMIT)
    noise = random.Random(seed)
    sampler = Sampler(space, "latency", {LOST: LIMIT, UNUSABLE: 0.5}, seed)
    drawn = noise.sample(space.points(), max(AFTER))
    best, told = float("inf"), []
    for number in range(1, max(AFTER) + 1):
        point = sampler.ask() if learns else drawn.pop()
        assert point is not None
        cost, lost = of(point)
        figures = {LOST: lost, UNUSABLE: 0.0}
        if lost <= LIMIT:
            best = min(best, cost)
            figures["latency"] = cost * noise.gauss(1, NOISE)
        if learns:
            sampler.tell(point, figures)
        if number in AFTER:
            told.append(best / ideal)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--landscapes", type=int, default=100)
    asked = parser.parse_args()
    space = load_spaces(["untrained", "faster", "smaller"], PLACES)
    print(f"{space.size} candidates, {asked.landscapes} landscapes, median (90th percentile)")
    for own in (0.0, 0.5, 1.0):
        for learns in (True, False):
            rows = [
                found(space, landscape(space, seed, own), seed, learns=learns)
                for seed in range(asked.landscapes)
            ]
            columns = zip(*rows, strict=True)
            texts = [
                f"{n}: {statistics.median(c):.2f} ({statistics.quantiles(c, n=10)[-1]:.2f})"
                for n, c in zip(AFTER, columns, strict=True)
            ]
            what = "search" if learns else "random"
            print(f"own {own:.1f}  {what}  {'  '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
