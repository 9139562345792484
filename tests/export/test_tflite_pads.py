"""Padding with −∞ in front of a maximum pooling: no obstacle to integers, no change in answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.recipe import named_recipe
from edgekit.export import flatbuffer, tflite_pads
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import IMAGE, Graph


def pooled(path: Path, number: float = -math.inf) -> Path:
    """Convolution, one more row and column on each side, maximum of 3×3 windows, convolution."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    inner = graph.conv(image, "first", 4, 3)
    sizes = graph.tensor("sizes", (4, 2), np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    by = graph.tensor("by", (1,), np.array([number], np.float32))
    padded = graph.operator(
        "PADV2", [inner, sizes, by], ("padded", (1, 18, 18, 4)), options="PadV2Options"
    )
    most = graph.operator(
        "MAX_POOL_2D", [padded], ("most", (1, 8, 8, 4)), options="Pool2DOptions",
        filterHeight=3, filterWidth=3, strideH=2, strideW=2, padding=1,
    )  # fmt: skip
    return graph.save(path, {"image": image}, {"found": graph.conv(most, "last", 2, 1)})


LEAST = float(np.finfo(np.float32).min)  # what onnx2tf writes


@pytest.mark.parametrize("number", [-math.inf, LEAST])
def test_only_padding_that_cannot_win_is_found(tmp_path: Path, number: float) -> None:
    (pad,) = tflite_pads.pads(flatbuffer.read(pooled(tmp_path / "m.tflite", number)))
    assert (pad.image, pad.padded) == ("first", "padded")
    assert tflite_pads.pads(flatbuffer.read(pooled(tmp_path / "zero.tflite", 0.0))) == []


def test_a_padded_image_has_the_range_of_the_image(tmp_path: Path) -> None:
    tree = flatbuffer.read(pooled(tmp_path / "m.tflite"))
    ranges = {"first": (-2.0, 3.0), "padded": (-math.inf, 3.0)}
    assert tflite_pads.bounded(tree, ranges) == {"first": (-2.0, 3.0), "padded": (-2.0, 3.0)}
    assert tflite_pads.fill(tree, ranges) == 1
    assert tflite_pads.pads(tree) == []  # the number is a finite one now


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "number"), [("min-max", -math.inf), ("mse", -math.inf), ("min-max", LEAST)]
)
def test_the_integer_file_answers_like_the_float_one(
    tmp_path: Path, method: str, number: float
) -> None:
    folders = {name: tmp_path / name for name in ("float", "ranges", "out")}
    for folder in folders.values():
        folder.mkdir()
    source = pooled(folders["float"] / "model.tflite", number)
    data = samples(tmp_path / "data", image=IMAGE[1:])
    calibrate(folders["ranges"], samples=data.to_json(), float=str(folders["float"]), method=method)
    ranges = json.loads((folders["ranges"] / "ranges.json").read_text())
    quantize(
        folders["out"], recipe=named_recipe("int8").to_json(), float=str(folders["float"]),
        ranges=str(folders["ranges"]),
    )  # fmt: skip
    inputs = {"image": data.arrays()[0][:1]}
    made = folders["out"] / "model.tflite"
    wanted, found = (answers(path, inputs)["found"] for path in (source, made))

    assert ranges["padded"] == ranges["first"]
    assert {op.inputs[0] for op in flatbuffer.operators(flatbuffer.read(made))} == {
        "float32", "int8"
    }  # fmt: skip
    assert 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()) > 30
