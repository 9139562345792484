"""Which samples of a set are used, and how that is said."""

from __future__ import annotations

import random

from edgekit.core.recipe import Calibration


def choose(count: int, choice: Calibration | None) -> tuple[list[int], str]:
    """The indices of the samples to use, ascending, and the choice in words.

    `random` is Python's ``random.Random(seed).sample``.
    """
    if choice is None or choice.samples >= count:
        asked = f" ({choice.samples} were asked for)" if choice and choice.samples > count else ""
        return list(range(count)), f"all {count}{asked}"
    wanted = choice.samples
    if choice.choice == "first":
        return list(range(wanted)), f"the first {wanted} of {count}"
    if choice.choice == "spread":
        spread = [index * count // wanted for index in range(wanted)]
        return spread, f"{wanted} of {count}, evenly spread"
    drawn = random.Random(choice.seed).sample(range(count), wanted)  # noqa: S311 - not a secret
    return sorted(drawn), f"{wanted} of {count} at random, seed {choice.seed}"
