"""`edgekit run` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.build import Build
from tests.boards import answers, rows, running_build
from tests.cli.conftest import Run


@pytest.fixture
def build(desk: Path) -> Build:
    return running_build(desk / "build")


@pytest.mark.slow
def test_the_best_classes_are_shown_and_outputs_kept(
    edgekit: Run, build: Build, desk: Path
) -> None:
    np.save(desk / "one.npy", rows(1, seed=1)[0])
    answer = edgekit(
        "run", "build", "--on", "local", "--input", "one.npy", "--variant", "float32",
        "--save", "out.npz",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    scores = answers(desk / "build" / "artifacts" / "tiny-float32.tflite", rows(1, seed=1))
    lines = answer.out.splitlines()
    assert lines[0].startswith("float32 on ")
    assert "ai-edge-litert" in lines[0]
    assert lines[2] == "one.npy"
    assert [line.split()[1] for line in lines[3:6]] == [
        ("cat", "dog", "fox")[at] for at in np.argsort(-scores[0])
    ]
    assert lines[-1] == "outputs: out.npz"
    with np.load(desk / "out.npz") as kept:
        np.testing.assert_allclose(kept["y"], scores, atol=1e-6)


@pytest.mark.slow
def test_many_inputs_are_a_line_each_and_json_has_all(
    edgekit: Run, build: Build, desk: Path
) -> None:
    np.save(desk / "many.npy", rows(12))
    shown = edgekit("run", "build", "--on", "local", "--input", "many.npy", "--variant", "int8-io")
    assert shown.code == 0, shown.err
    assert sum(line.strip().startswith("many.npy[") for line in shown.out.splitlines()) == 12
    told = edgekit(
        "run", "build", "--on", "local", "--input", "many.npy", "--variant", "int8-io", "--json"
    )
    document = json.loads(told.out)
    assert len(document["inputs"]) == 12
    first = document["inputs"][0]
    assert first["input"] == "many.npy[0]"
    assert first["outputs"]["y"]["shape"] == [3]
    assert max(first["outputs"]["y"]["values"]) == first["best"][0]["score"]


def test_a_wrong_shape_is_told_with_the_right_one(edgekit: Run, build: Build, desk: Path) -> None:
    np.save(desk / "bad.npy", np.zeros((2, 2), np.float32))
    answer = edgekit("run", "build", "--on", "local", "--input", "bad.npy")
    assert answer.code == 3
    assert "bad.npy is float32 2×2; the model's input x takes float32 4" in answer.err
    assert "x.reshape(4)" in answer.err
