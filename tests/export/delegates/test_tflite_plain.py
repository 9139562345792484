"""XNNPACK and the GPU: nothing is compiled, the artifact is the CPU's file."""

from __future__ import annotations

import pytest

from edgekit.core.errors import PlanError
from edgekit.core.recipe import named_recipe
from edgekit.export.delegates import DELEGATES
from edgekit.work.steps import Step

STEP = Step(title="export", function="tests.verify.networks:export", worker="plain")


@pytest.mark.parametrize(
    ("delegate", "variants"),
    [
        (
            "xnnpack",
            ["float32", "float16", "dynamic", "int4", "int8", "int8-io", "int16x8", "original"],
        ),
        ("gpu", ["gpu-float32", "gpu-float16", "gpu-int8", "gpu-int8-io", "gpu-original"]),
    ],
)
def test_the_same_step(delegate: str, variants: list[str]) -> None:
    plugin = DELEGATES[f"tflite/{delegate}"]()
    for variant in variants:
        assert plugin.step(STEP, named_recipe(variant)) is STEP
    assert plugin.requirements == ()
    assert plugin.runs_here


def test_the_gpu_computes_no_dynamic_files() -> None:
    with pytest.raises(PlanError, match="has no dynamic-int8; it has float32, float16, int8"):
        DELEGATES["tflite/gpu"]().step(STEP, named_recipe("gpu-dynamic"))


def test_they_have_no_options() -> None:
    recipe = named_recipe("gpu-float16").model_copy(update={"options": {"precision": "high"}})
    with pytest.raises(PlanError, match="has no option 'precision'; known: none"):
        DELEGATES["tflite/gpu"]().step(STEP, recipe)
