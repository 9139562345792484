"""Where the next weights cost least."""

from __future__ import annotations

import math
from collections.abc import Iterable


def lower_hull(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of (0, 0) and `points`, from left to right.

    Args:
        points: what goes, rising, and what it costs; from the first infinite cost on they are none.
    """
    found: list[tuple[float, float]] = [(0.0, 0.0)]
    for x, y in points:
        if not math.isfinite(y):
            break
        if x <= found[-1][0]:  # no more goes than with the one before
            continue
        while len(found) > 1 and (found[-1][1] - found[-2][1]) * (x - found[-1][0]) >= (
            y - found[-1][1]
        ) * (found[-1][0] - found[-2][0]):
            found.pop()
        found.append((x, y))
    return found
