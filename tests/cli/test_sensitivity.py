"""`edgekit sensitivity` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.compress.fragile import write_data
from tests.tiny_tflite import dense_model


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["m.tflite"], 2, "Missing option '--for'"),
        (["m.tflite", "--technique", "quantize"], 2, "Missing option '--for'"),
        (["m.tflite", "--technique", "prun"], 2, "did you mean prune"),
        (["m.tflite", "--technique", "prune"], 4, "passes cannot change 'm.tflite'"),
        (["m.tflite", "--technique", "prune", "--samples", "0"], 2, "--samples"),
    ],
)
def test_what_cannot_be_measured_is_said(
    edgekit: Run, desk: Path, arguments: list[str], code: int, says: str
) -> None:
    dense_model(desk / "m.tflite", inputs=4, outputs=3)
    answer = edgekit("sensitivity", *arguments)
    assert answer.code == code
    assert says in answer.err


@pytest.mark.slow
def test_techniques_are_told_by_name(edgekit: Run, desk: Path) -> None:
    write_data(desk / "test.npz", seed=1, count=12)
    answer = edgekit(
        "sensitivity", "torch:tests.compress.fragile:torch_net", "--technique", "cluster",
        "--technique", "prune", "--evaluate", "test.npz", "--samples", "6", "--json",
        "--html", "page.html",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert list(found) == ["cluster", "prune"]
    assert found["prune"]["samples"] == 6
    assert {layer["layer"] for layer in found["prune"]["layers"]} == {"first", "fragile", "last"}
    page = (desk / "page.html").read_text(encoding="utf-8")
    assert page.index("cluster, layer by layer") < page.index("prune, layer by layer")
