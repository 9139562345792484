"""Quantization-aware training as a recipe says it, and on a net of arrays."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.compress import check_passes, settled
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.recipe import Recipe

QAT = {"pass": "qat"}


def recipe(*passes: dict[str, Any], quantization: str = "int8", **table: Any) -> Recipe:
    data = {"name": "x", "quantization": quantization, "quantize": table, "passes": list(passes)}
    return Recipe.from_json(data)


def test_it_takes_the_recipes_numbers() -> None:
    def asked(**more: Any) -> dict[str, Any]:
        return settled(recipe(QAT, **more))[0].parameters

    assert asked() == {}
    assert asked(quantization="int16x8") == {"activations": 16}
    assert asked(quantization="dynamic-int4", weights="block-32") == {
        "activations": 0, "bits": 4, "weights": "block-32",
    }  # fmt: skip
    assert asked(float=["head*"], layers={"stem": "int16x8"}) == {"in_float": ["head*", "stem"]}


@pytest.mark.parametrize("kind", ["none", "float16"])
def test_it_needs_integers(kind: str) -> None:
    with pytest.raises(PlanError, match=f"quantization = '{kind}' rounds no weights"):
        check_passes(recipe(QAT, quantization=kind), "keras")


def test_it_comes_last() -> None:
    check_passes(recipe({"pass": "prune"}, {"pass": "cluster"}, QAT), "torch")
    with pytest.raises(PlanError, match="last pass: prune after it would undo"):
        check_passes(recipe(QAT, {"pass": "prune"}), "torch")


def test_it_cannot_do_without_training() -> None:
    with pytest.raises(PlanError, match="cannot have epochs = 0"):
        check_passes(recipe({**QAT, "epochs": 0}), "keras")


def test_a_freeze_at_the_very_end_is_none() -> None:
    with pytest.raises(UsageError, match="freeze"):
        check_passes(recipe({**QAT, "freeze": 1}), "keras")
