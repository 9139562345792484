"""What all techniques have in common."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.compress import check_passes
from edgekit.compress.cluster import Cluster
from edgekit.compress.prune import Prune
from edgekit.compress.qat import QuantizeAware
from edgekit.compress.technique import Technique
from edgekit.core.compression import Training
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.recipe import Recipe

RECIPES = Training(epochs=5, learning_rate=0.01)


@pytest.mark.parametrize(
    ("found", "earlier", "epochs", "rate"),
    [
        (Prune(), [], 5, 0.01),
        (Prune(epochs=9, learning_rate=0.3), [], 9, 0.3),
        (Cluster(), [Prune(epochs=9, learning_rate=0.3)], 5, 0.001),
        (QuantizeAware(), [Prune(), Cluster()], 5, 0.001),
        (QuantizeAware(learning_rate=0.004), [Prune(), Cluster()], 5, 0.004),
    ],
)
def test_a_pass_trains_as_it_says_or_as_the_recipe_does(
    found: Technique, earlier: list[Technique], epochs: int, rate: float
) -> None:
    training = found.trained_by(RECIPES, earlier)
    assert training.learning_rate == pytest.approx(rate)
    assert (training.epochs, training.batch) == (epochs, RECIPES.batch)


def recipe(**spec: Any) -> Recipe:
    return Recipe.from_json({"name": "x", "quantization": "int8", "passes": [spec]})


@pytest.mark.parametrize("spec", [{"pass": "fuse"}, {"pass": "prune", "epochs": 0}])
def test_a_learning_rate_without_training_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=r"does not train, so learning_rate = 0\.01 says nothing"):
        check_passes(recipe(**spec, learning_rate=0.01), "keras")


@pytest.mark.parametrize("rate", [0, -1, "fast"])
def test_a_learning_rate_is_a_positive_number(rate: Any) -> None:
    with pytest.raises(UsageError, match="learning_rate"):
        check_passes(recipe(**{"pass": "prune"}, learning_rate=rate), "keras")
