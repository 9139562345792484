"""What can be measured where, and how near a board's answers must be; the rest of the job is in
tests/cli/test_profile.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.core.build import Build
from edgekit.core.errors import PlanError
from edgekit.core.measurement import MeasureSettings
from edgekit.core.recipe import named_recipe
from edgekit.jobs.profile import _computed_in, _long_enough, check_runs, profile
from tests.samples import write_build


@pytest.mark.parametrize(
    ("variant", "computed"),
    [
        ("float32", "none"),
        ("pte-float32", "none"),
        ("pte-openvino-float32", "int8"),  # perhaps in bfloat16, of 8 significant bits
        ("pte-openvino-int8", "int8"),
        ("onnx-elsewhere-float16", "float16"),  # of a package that is not here
    ],
)
def test_what_may_differ_is_what_the_board_computes_in(variant: str, computed: str) -> None:
    assert _computed_in(named_recipe(variant)) == computed


class Powered:
    has_power, enough_seconds = True, 2.0


class Unpowered:
    has_power, enough_seconds = False, 2.0


@pytest.mark.parametrize(
    ("given", "watch", "seconds", "most"),
    [
        ({}, Powered(), 2.0, 1_000_000),
        ({"max_runs": 7}, Powered(), 2.0, 7),
        ({"min_seconds": 0.1}, Powered(), 0.1, 1_000_000),
        ({}, Unpowered(), 0.5, 200_000),
        ({}, None, 0.5, 200_000),
    ],
)
def test_runs_are_timed_for_as_long_as_energy_needs_unless_it_was_said(
    given: dict[str, float], watch: Any, seconds: float, most: int
) -> None:
    settings = _long_enough(MeasureSettings(runs=5, **given), watch)
    assert (settings.min_seconds, settings.max_runs) == (seconds, most)


def aimed(build: Build, variant: str, transport: str) -> Build:
    """`build` with the recipe of `variant` for its int8, for a board with that `transport`."""
    recipe = named_recipe(variant)
    return build.model_copy(
        update={
            "profile": build.profile.model_copy(update={"transport": transport, "title": "Board"}),
            "variants": tuple(
                v.model_copy(update={"recipe": recipe}) if v.recipe.name == "int8" else v
                for v in build.variants
            ),
        }
    )


@pytest.mark.parametrize(
    ("variant", "transport", "on", "said"),
    [
        ("pte-coreml-float16", "none", "local", "pte-coreml-float16 cannot run on this computer"),
        ("pte-vulkan-float16", "adb", "local", "pte-vulkan-float16 cannot run on this computer"),
        ("pte-qnn-int8", "adb", "ssh://pi", "on ssh://pi: it is for a Board"),
        ("pte-qnn-int8", "adb", "adb:0123", "on adb:0123: no runner of edgekit's runs"),
        ("npu-int8", "adb", "adb:", "npu-int8 cannot run on adb:: no runner"),
        ("pte-vulkan-float16", "none", "adb:0123", "on adb:0123: it is for a Board"),
        ("ethos-u-int8", "ssh", "local", "ethos-u-int8 cannot run on this computer"),
        ("onnx-tensorrt-int8", "ssh", "local", "onnx-tensorrt-int8 cannot run on this computer"),
    ],
)
def test_what_cannot_run_there_is_refused_before_it_is_sent(
    tmp_path: Path, variant: str, transport: str, on: str, said: str
) -> None:
    build = aimed(write_build(tmp_path), variant, transport)

    with pytest.raises(PlanError, match="cannot run") as caught:
        profile(build, on=on, variants=[variant, "float32"])

    assert said in str(caught.value)
    assert "measure what can: --variant float32 --variant float16" in caught.value.hint
    assert "bundle" in caught.value.hint


@pytest.mark.parametrize(
    "variant", ["int8", "pte-int8", "pte-portable-float32", "onnx-int8", "pte-vulkan-float16"]
)
def test_what_some_runner_runs_on_a_phone_is_not_refused(tmp_path: Path, variant: str) -> None:
    build = aimed(write_build(tmp_path), variant, "adb")
    check_runs(build, [build.variant(variant)], "adb:0123")
