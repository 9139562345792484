"""Artifacts meet the board's own runtime before the board does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.core.build import load_build
from edgekit.core.locate import shipped
from tests.cli.conftest import Run


def profile(desk: Path, variants: str) -> str:
    """A Raspberry Pi whose tflite-runtime is said to run `variants` only."""
    text = (shipped("device_profiles") / "raspberry-pi-4.toml").read_text()
    before, _, after = text.partition('name = "tflite-runtime"')
    after = re.sub(r"variants = .*", f"variants = [{variants}]", after, count=1)
    (desk / "own.toml").write_text(f'{before}name = "tflite-runtime"{after}')
    return "own.toml"


def test_what_a_runtime_is_known_not_to_run_stops_the_plan(edgekit: Run, desk: Path) -> None:
    own = profile(desk, '"float32"')
    answer = edgekit(
        "convert", "any.keras", "--for", own, "--runtime", "tflite-runtime",
        "--variant", "dynamic",
    )  # fmt: skip
    assert answer.code == 4
    assert "tflite-runtime 2.14.0 on raspberry-pi-4 does not run dynamic" in answer.err
    assert "--runtime ai-edge-litert does" in answer.err


@pytest.mark.slow
def test_what_it_turns_out_not_to_load_is_marked(
    edgekit: Run, desk: Path, keras3: Path, data: Path
) -> None:
    """A dense layer with a scale for each channel is too new for tflite-runtime 2.14."""
    answer = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "raspberry-pi-4", "--runtime", "tflite-runtime",
        "--variant", "dynamic", "--variant", "float32", "--calibration", data / "calibration.npz",
        "-o", "b",
    )  # fmt: skip
    assert answer.code == 6, answer.err
    verdicts = {v.recipe.name: v.verdict for v in load_build(desk / "b").variants}
    assert verdicts["float32"].status == "accepted"
    assert verdicts["float32"].loads[0].version == "2.14.0"
    assert verdicts["dynamic"].status == "unloadable"
    assert "FULLY_CONNECTED' version '12'" in verdicts["dynamic"].reasons[0]
