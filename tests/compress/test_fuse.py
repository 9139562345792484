"""Folding itself, what the pass refuses, and what its step is given; no framework."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress import check_passes, pass_step
from edgekit.compress.fuse import Fuse, Pair
from edgekit.core.compression import PassSpec
from edgekit.core.errors import PlanError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.work.steps import Step


@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_one_layer_computes_what_two_did(
    inputs: int, outputs: int, biased: bool, seed: int
) -> None:
    draws = np.random.default_rng(seed)
    kernel = draws.normal(size=(inputs, outputs)).astype(np.float32)
    bias, scale, shift, mean = draws.normal(size=(4, outputs)).astype(np.float32)
    variance = draws.uniform(0.01, 4, outputs).astype(np.float32)
    pair = Pair(
        layer="dense", norm="norm", seen="dense",
        kernel=kernel, bias=bias if biased else None, view=kernel.shape, channels=(1, -1),
        scale=scale, shift=shift, mean=mean, variance=variance, epsilon=1e-3,
    )  # fmt: skip
    x = draws.normal(size=(5, inputs))
    between = x @ kernel + (bias if biased else 0)
    wanted = scale * (between - mean) / np.sqrt(variance + 1e-3) + shift
    new_kernel, new_bias = pair.folded()
    np.testing.assert_allclose(x @ new_kernel + new_bias, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("earlier", "said"),
    [
        ("cluster", "the few values of a kernel would become many; put it first"),
        ("fuse", "batch norms are folded already"),
    ],
)
def test_it_does_not_follow_what_it_would_undo(earlier: str, said: str) -> None:
    recipe = _recipe(earlier, "fuse")
    with pytest.raises(PlanError, match=said):
        check_passes(recipe, "torch")
    check_passes(_recipe("fuse", "low-rank"), "torch")


def _recipe(*names: str) -> Recipe:
    passes = tuple(PassSpec(name=name) for name in names)
    return Recipe(name="both", quantization="none", passes=passes)


def test_it_needs_no_training_data() -> None:
    assert not Fuse(epochs=3).trains
    assert Fuse.probes > 0


def test_the_teacher_goes_into_the_step_only_where_it_is_asked_for(fresh_cache: Path) -> None:
    model = Model(
        name="m", reference="m", path="m.keras", framework="keras", kind="keras3", digest="d",
        loader="edgekit.sources.keras_worker:load", worker="tensorflow",
    )  # fmt: skip
    spec, recipe = PassSpec(name="low-rank"), _recipe("low-rank")

    def step(teacher: Model | None) -> Step:
        return pass_step(
            spec, recipe, opener="edgekit.sources.keras_live:live", origin=model, model=model,
            before=(), data=None, teacher=None, teacher_model=teacher,
        )  # fmt: skip

    with_it, without = step(model), step(None)
    assert with_it.arguments["teacher_model"] == model.to_json()
    assert "teacher_model" not in without.arguments
    assert with_it.key != without.key
