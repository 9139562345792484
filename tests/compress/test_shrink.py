"""The pass "shrink" as a person writes it."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.compress import check_passes, technique
from edgekit.compress.shrink import Shrink
from edgekit.core.compression import PassSpec
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.recipe import Recipe


def spec(name: str, **parameters: Any) -> PassSpec:
    return PassSpec(name=name, parameters=parameters)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"remove": 1.0}, "remove"),
        ({"remove": 0}, "remove"),
        ({"of": "time"}, "of"),
        ({"importance": "luck"}, "importance"),
        ({"round_to": 0}, "round_to"),
        ({"importance": "taylor", "epochs": 0}, "needs training data"),
    ],
)
def test_wrong_values_are_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        technique(spec("shrink", **wrong), "mine")


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (spec("cluster"), "before cluster"),
        (spec("prune", pattern="2:4"), "before prune"),
        (spec("prune"), ""),
        (spec("shrink"), ""),
    ],
)
def test_it_refuses_to_break_what_stands_before_it(before: PassSpec, why: str) -> None:
    recipe = Recipe(name="mine", quantization="int8", passes=(before, spec("shrink")))
    if not why:
        return check_passes(recipe, "torch")
    with pytest.raises(PlanError, match=why):
        check_passes(recipe, "torch")
    return None


def test_gentler_removes_less_until_it_is_not_worth_it() -> None:
    shares = []
    found: Shrink | None = Shrink(remove=0.5, of="parameters")
    while found is not None:
        shares.append(found.remove)
        assert found.of == "parameters"
        found = found.gentler()
    assert shares == [0.5, 0.3333, 0.2222, 0.1481]
