"""Boxes beside scores: found in the graph, and kept apart in INT8 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import ConversionError
from edgekit.core.recipe import named_recipe
from edgekit.export import flatbuffer, tflite_joins
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import IMAGE, Graph


def head(path: Path, *, pixels: float = 640.0) -> Path:
    """A small detector: 64 boxes in pixels and 64 scores, joined and reshaped to 1×64×8."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    x = graph.conv(image, "stem", 8, 3, stride=2)
    parts = []
    for name, factor in (("boxes", pixels), ("scores", 1.0)):
        y = graph.operator("LOGISTIC", [graph.conv(x, name, 4, 1)], (f"{name}/s", (1, 8, 8, 4)))
        scale = graph.tensor(f"{name}/by", (1,), np.array([factor], np.float32))
        y = graph.operator("MUL", [y, scale], (f"{name}/m", (1, 8, 8, 4)), options="MulOptions")
        parts.append(
            graph.operator(
                "RESHAPE", [y, graph.constant(f"{name}/n", (1, 64, 4))], (f"{name}/r", (1, 64, 4)),
                options="ReshapeOptions", newShape=[1, 64, 4],
            )
        )  # fmt: skip
    joined = graph.operator(
        "CONCATENATION", parts, ("joined", (1, 64, 8)), options="ConcatenationOptions", axis=2
    )
    found = graph.operator(
        "RESHAPE", [joined, graph.constant("n", (1, 512))], ("found", (1, 512)),
        options="ReshapeOptions", newShape=[1, 512],
    )  # fmt: skip
    return graph.save(path, {"image": image}, {"found": found})


def int8(folder: Path, variant: str, **options: float) -> tuple[dict[str, Any], float]:
    """Quantize the head; the step's result, and the signal-to-noise of the scores in dB."""
    folder.mkdir()
    for name in ("float", "ranges", "out"):
        (folder / name).mkdir()
    source = head(folder / "float" / "model.tflite", **options)
    data = samples(folder / "data", image=IMAGE[1:])
    calibrate(folder / "ranges", samples=data.to_json(), float=str(folder / "float"))
    recipe = named_recipe(variant).to_json()
    result = quantize(
        folder / "out", recipe=recipe, float=str(folder / "float"), ranges=str(folder / "ranges")
    )
    inputs = {"image": data.arrays()[0][:1]}
    found, wanted = (
        answers(path, inputs)["found"].reshape(64, 8)[:, 4:]
        for path in (folder / "out" / "model.tflite", source)
    )
    return result, float(10 * np.log10(np.sum(wanted**2) / np.sum((found - wanted) ** 2)))


@pytest.mark.slow
def test_scores_keep_their_precision_beside_boxes(tmp_path: Path) -> None:
    apart, snr = int8(tmp_path / "apart", "int8")
    tree = flatbuffer.read(tmp_path / "apart" / "out" / "model.tflite")
    kinds = {op.name: op.inputs for op in flatbuffer.operators(tree)}

    assert snr > 30
    assert kinds["CONCATENATION"] == ("float32", "float32")
    assert kinds["CONV_2D"] == ("int8",)
    assert [note for note in apart["notes"] if "quantized apart and joined in float" in note]


@pytest.mark.slow
def test_an_integer_border_cannot_and_says_so(tmp_path: Path) -> None:
    whole, snr = int8(tmp_path / "whole", "int8-io")

    assert snr < 10
    assert [note for note in whole["notes"] if "its one integer scale takes the precision" in note]


@pytest.mark.slow
def test_even_parts_are_joined_as_integers(tmp_path: Path) -> None:
    _, snr = int8(tmp_path / "even", "int8", pixels=1.5)
    tree = flatbuffer.read(tmp_path / "even" / "out" / "model.tflite")

    assert snr > 30
    assert {op.inputs for op in flatbuffer.operators(tree) if op.name == "CONCATENATION"} == {
        ("int8", "int8")
    }


def test_parts_are_compared_by_their_calibrated_ranges(tmp_path: Path) -> None:
    tree = flatbuffer.read(head(tmp_path / "m.tflite"))
    boxes, scores = "boxes/m", "scores/m"

    (join,) = tflite_joins.uneven(tree, {boxes: (0.0, 640.0), scores: (0.0, 1.0)})
    assert (join.output, join.least, join.most) == ("found", 1.0, 640.0)
    assert join.operators == ("joined", "found")
    assert not tflite_joins.uneven(tree, {boxes: (0.0, 8.0), scores: (0.0, 1.0)})
    assert not tflite_joins.uneven(tree, {boxes: (0.0, 640.0)})


def test_a_join_that_was_quantized_after_all_is_refused(tmp_path: Path) -> None:
    tree = flatbuffer.read(head(tmp_path / "m.tflite"))
    join = tflite_joins.Join("found", ("joined", "found"), 1.0, 640.0)
    tflite_joins.check(tree, [join])
    for tensor in tree.subgraphs[0].tensors:
        tensor.type = 9  # int8

    with pytest.raises(ConversionError, match="the join 'joined' became int8"):
        tflite_joins.check(tree, [join])
