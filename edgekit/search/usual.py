"""Which of the spaces that come with edgekit are searched where none is named."""

from __future__ import annotations

from edgekit.core.tuning import Limits, Objective


def usual_spaces(objective: Objective, limits: Limits, *, trains: bool) -> tuple[str, ...]:
    """Names of spaces.

    Args:
        trains: whether there is something to train on.

    Zeros and few values in the weights help the zipped size alone.
    """
    if not trains:
        return ("untrained",)
    zipped = objective == "zipped" or limits.zipped is not None
    return ("untrained", "faster", *(("smaller",) if zipped else ()))
