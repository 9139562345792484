"""Products of two activations stay with XNNPACK in INT8 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.recipe import named_recipe
from edgekit.export import flatbuffer, tflite_products
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from edgekit.verify.accelerate_xnnpack import coverage
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import IMAGE, Graph


def attention(path: Path) -> Path:
    """Scores of 64 places with one another: queries times turned keys."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    stem = graph.conv(image, "stem", 4, 3, stride=2)
    queries = graph.operator(
        "RESHAPE", [graph.conv(stem, "q", 4, 1), graph.constant("q/n", (1, 64, 4))],
        ("queries", (1, 64, 4)), options="ReshapeOptions", newShape=[1, 64, 4],
    )  # fmt: skip
    rows = graph.operator(
        "RESHAPE", [graph.conv(stem, "keys", 4, 1), graph.constant("k/n", (1, 64, 4))],
        ("key rows", (1, 64, 4)),
        options="ReshapeOptions", newShape=[1, 64, 4],
    )  # fmt: skip
    turned = graph.operator(
        "TRANSPOSE", [rows, graph.constant("k/p", (0, 2, 1))], ("turned", (1, 4, 64)),
        options="TransposeOptions",
    )  # fmt: skip
    found = graph.operator(
        "BATCH_MATMUL", [queries, turned], ("scores", (1, 64, 64)), options="BatchMatMulOptions"
    )
    return graph.save(path, {"image": image}, {"scores": found})


def test_ranges_of_second_factors_are_symmetric_back_to_where_they_come_from(
    tmp_path: Path,
) -> None:
    tree = flatbuffer.read(attention(tmp_path / "model.tflite"))
    before = dict.fromkeys(("queries", "keys", "key rows", "turned", "stem"), (0.2, 0.5))
    after = tflite_products.symmetric(tree, before)
    for name in ("keys", "key rows", "turned"):
        low, high = after[name]
        assert high == 0.5
        assert low / high == pytest.approx(-128 / 127)
    # Neither the first factor nor what the convolution reads.
    assert [after[name] for name in ("queries", "stem")] == [(0.2, 0.5)] * 2


def test_a_range_below_zero_keeps_its_lower_end() -> None:
    low, high = tflite_products._around_zero(-2.0, 0.1)
    assert (low, high) == (-2.0, pytest.approx(2 * 127 / 128))


@pytest.mark.slow
def test_a_product_runs_in_xnnpack(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("float", "ranges", "out")}
    for folder in folders.values():
        folder.mkdir()
    source = attention(folders["float"] / "model.tflite")
    data = samples(tmp_path / "data", image=IMAGE[1:])
    calibrate(folders["ranges"], samples=data.to_json(), float=str(folders["float"]))
    quantize(
        folders["out"], recipe=named_recipe("int8").to_json(), float=str(folders["float"]),
        ranges=str(folders["ranges"]),
    )  # fmt: skip
    made = folders["out"] / "model.tflite"
    places = {node.operator: node.where for node in coverage(made).nodes}
    assert places["BATCH_MATMUL"] == "xnnpack"
    inputs = {"image": data.arrays()[0][:1]}
    wanted, found = (answers(path, inputs)["scores"] for path in (source, made))
    assert 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()) > 25


@pytest.mark.slow
def test_a_constant_that_is_joined_with_activations_is_quantized_with_them(tmp_path: Path) -> None:
    """As the class token of a vision Transformer is."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    rows = graph.operator(
        "RESHAPE", [graph.conv(image, "stem", 4, 3, stride=2), graph.constant("n", (1, 64, 4))],
        ("rows", (1, 64, 4)), options="ReshapeOptions", newShape=[1, 64, 4],
    )  # fmt: skip
    token = graph.tensor("token", (1, 1, 4), np.array([[[0.1, -0.2, 0.3, 0.0]]], np.float32))
    joined = graph.operator(
        "CONCATENATION", [token, rows], ("joined", (1, 65, 4)),
        options="ConcatenationOptions", axis=1,
    )  # fmt: skip
    for name in ("float", "ranges", "out"):
        (tmp_path / name).mkdir()
    source = graph.save(tmp_path / "float" / "model.tflite", {"image": image}, {"joined": joined})
    data = samples(tmp_path / "data", image=IMAGE[1:])
    float_folder, ranges = str(tmp_path / "float"), str(tmp_path / "ranges")
    calibrate(tmp_path / "ranges", samples=data.to_json(), float=float_folder)
    recipe = named_recipe("int8").to_json()
    quantize(tmp_path / "out", recipe=recipe, float=float_folder, ranges=ranges)

    inputs = {"image": data.arrays()[0][:1]}
    made = tmp_path / "out" / "model.tflite"
    wanted, found = (answers(path, inputs)["joined"] for path in (source, made))
    assert 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()) > 30
