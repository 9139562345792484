"""The pass "shrink" as a person writes it."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.compress import check_passes, spec_of, technique
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
        ({"target": "size"}, "target"),
        ({"target": "latency"}, r"needs share = 0\.5 \(of the time before\) or milliseconds"),
        ({"target": "latency", "share": 0.5, "milliseconds": 1}, "not both"),
        ({"target": "latency", "share": 1.5}, "share"),
        ({"target": "latency", "share": 0.5, "remove": 0.5}, "leave remove out"),
        ({"share": 0.5}, 'go with target = "latency"'),
        ({"on": "ssh://pi@there"}, 'go with target = "latency"'),
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


def test_for_a_time_candidates_are_not_trained_and_the_share_takes_its_place() -> None:
    asked = {"target": "latency", "share": 0.5, "importance": "taylor", "floor": 0.1, "epochs": 9}
    found = technique(spec("shrink", **asked), "mine")
    assert found.timed is not None
    assert (found.timed.share, found.timed.milliseconds, found.timed.on) == (0.5, None, "local")
    kept = {"importance": "taylor", "floor": 0.1, "epochs": 9}
    assert spec_of("shrink", found.removing(0.4)).parameters == {**kept, "remove": 0.4}
    untrained = {**kept, "importance": "magnitude", "epochs": 0}
    assert spec_of("shrink", found.candidate(0.4)).parameters == {**untrained, "remove": 0.4}


def test_gentler_removes_less_until_it_is_not_worth_it() -> None:
    shares = []
    found: Shrink | None = Shrink(remove=0.5, of="parameters")
    while found is not None:
        shares.append(found.remove)
        assert found.of == "parameters"
        found = found.gentler()
    assert shares == [0.5, 0.3333, 0.2222, 0.1481]
