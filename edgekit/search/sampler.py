"""Which candidate is tried next: Thompson sampling over linear models of the figures.

What a choice does to a figure is much the same whatever the other choices are: INT8 halves the
time of a whole network and of one without half of its channels. So each figure (its logarithm where
it is a time or a size) is modelled as a sum of what the choices add, with the same weight for a
choice in every family and a smaller one for what it does in this family alone; numbers add a
parabola. The weights have the posterior of Bayesian linear regression (Bishop, Pattern Recognition
and Machine Learning, 3.3). For each candidate that is asked for, weights are drawn from it, and the
candidate that would be the cheapest within the limits is taken (Thompson, 1933; Russo et al., 2018,
https://arxiv.org/abs/1707.02038): what is not known well is drawn far off now and then, and so
tried. `tools/bench_tune.py` compares it with drawing at random.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.search.space import Family, Point, Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LOST, UNUSABLE = "lost", "unusable"  # figures that are no times or sizes, and so no logarithms
OWN = 0.7  # of a choice in its family alone, against 1 for the same choice in all
NOISE = 0.1  # standard deviations, where the figures' own is 1: of what the model does not explain,
PRIOR = 0.4  # and of weights
LEAST_SPREAD = 0.1  # figures that differ by less are not told apart
MOST_POINTS = 20_000  # of a larger space so many are drawn, and the others never tried


class Sampler:
    """Proposes points of a space, and learns from what came of them.

    Args:
        objective: the name of the figure that is to be small.
        limits: of figures, by name; the objective may be one of them.
        seed: of all that is drawn: the same tells give the same asks.
    """

    def __init__(
        self, space: Space, objective: str, limits: Mapping[str, float], seed: int = 0
    ) -> None:
        import numpy as np

        self._random = np.random.default_rng(seed)
        self._objective, self._limits = objective, dict(limits)
        self._points = _points(space, seed)
        self._features = _features(space, self._points)
        self._known: set[int] = set()
        self._figures: dict[str, dict[int, float]] = {}  # by name and point
        self._first = [self._points.index(family.first) for family in space.families]

    def ask(self) -> Point | None:
        """A point that was not tried before: first those that families begin with; None where none
        is left.
        """
        for index in self._first:
            if index not in self._known:
                return self._taken(index)
        for index in self._order():
            if index not in self._known:
                return self._taken(int(index))
        return None

    def tell(self, point: Point, figures: Mapping[str, float]) -> None:
        """What came of a point, asked for or not; figures that are not known are left out."""
        if point not in self._points:
            return  # of another space, or not among those that were drawn
        index = self._points.index(point)
        self._known.add(index)
        for name, figure in figures.items():
            self._figures.setdefault(name, {})[index] = figure

    def _taken(self, index: int) -> Point:
        self._known.add(index)
        return self._points[index]

    def _order(self) -> NDArray[np.intp]:
        """All points, the most promising by one draw of the weights first."""
        import numpy as np

        over = np.zeros(len(self._points))
        for name, limit in self._limits.items():
            if name not in self._figures:
                continue
            figures, spread = self._draw(name)
            over += np.maximum(0, figures - _scaled(name, limit)) / spread
        cost, _ = self._draw(self._objective)
        return np.lexsort((cost, over))

    def _draw(self, name: str) -> tuple[Array, float]:
        """A figure of every point as one draw of the weights has it, and how far known ones lie
        apart.
        """
        import numpy as np

        known = self._figures.get(name, {})
        if not known:
            return self._random.standard_normal(len(self._points)), 1.0
        values = np.array([_scaled(name, figure) for figure in known.values()])
        spread = max(float(values.std()), LEAST_SPREAD)
        rows = self._features[list(known)]
        precision = rows.T @ rows / NOISE**2 + np.eye(rows.shape[1]) / PRIOR**2
        target = rows.T @ ((values - values.mean()) / spread) / NOISE**2
        mean = np.linalg.solve(precision, target)
        root = np.linalg.cholesky(precision)
        draw = np.linalg.solve(root.T, self._random.standard_normal(len(mean)))
        return (self._features @ (mean + draw)) * spread + values.mean(), spread


def _scaled(name: str, figure: float) -> float:
    """As it is modelled."""
    return figure if name in (LOST, UNUSABLE) else math.log(max(figure, 1e-12))


def _points(space: Space, seed: int) -> list[Point]:
    """All of a space; of a large one those that families begin with and a draw of others."""
    if space.size <= MOST_POINTS:
        return space.points()
    draw = random.Random(seed)  # noqa: S311 - to be drawn again, not to be secret
    found = {repr(family.first): family.first for family in space.families}
    for _ in range(MOST_POINTS):
        family = draw.choice(space.families)
        choices = {name: draw.choice(each.names) for name, each in family.opens.items()}
        point: Point = {"family": family.name, **choices}
        found[repr(point)] = point
    return list(found.values())


def _features(space: Space, points: list[Point]) -> Array:
    """A row a point: what of each choice it has."""
    import numpy as np

    rows = [_row(space.family(point), point) for point in points]
    columns = {name: index for index, name in enumerate(dict.fromkeys(n for r in rows for n in r))}
    found = np.zeros((len(rows), len(columns)))
    for row, values in zip(found, rows, strict=True):
        for name, value in values.items():
            row[columns[name]] = value
    return found


def _row(family: Family, point: Point) -> dict[tuple[object, ...], float]:
    row: dict[tuple[object, ...], float] = {("family", family.name): 1.0}
    for name, each in family.opens.items():
        if each.ordered:
            at = 2 * each.scale.index(point[name]) / max(1, len(each.scale) - 1) - 1
            parts: dict[Any, float] = {"linear": at, "square": at * at}
        else:
            parts = {point[name]: 1.0}
        for part, value in parts.items():
            row[name, part] = value
            row[family.name, name, part] = OWN * value
    return row
