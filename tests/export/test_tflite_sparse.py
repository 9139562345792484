"""Weights kept as their nonzeros; every file is run by LiteRT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import Recipe
from edgekit.export import flatbuffer
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from edgekit.export.tflite_sparse import _rows, encode
from edgekit.jobs.plan import Wish, make_plan
from edgekit.work.cache import RESULT_FILE
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import IMAGE, Graph


def pruned(path: Path, share: float = 0.9) -> Path:
    """An image through four kinds of operators, the dense one twice with the same weights."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    x = graph.conv(image, "conv", 32, 3)
    x = graph.conv(graph.depthwise(x, "depth"), "point", 64, 1)
    x = graph.operator(
        "MEAN", [x, graph.constant("axes", [1, 2])], ("mean", (1, 64)),
        options="ReducerOptions", keepDims=False,
    )  # fmt: skip
    shared, bias = graph.weights("dense/w", 64, 64), graph.bias("dense", 64)
    for name in ("dense", "scores"):
        x = graph.operator(
            "FULLY_CONNECTED", [x, shared, bias], (name, (1, 64)), options="FullyConnectedOptions"
        )
    for tensor, buffer in zip(graph.tensors, graph.buffers, strict=True):
        if tensor.name.endswith("/w"):
            values = buffer.data.view(np.float32)
            cut = np.quantile(np.abs(values), share)
            buffer.data = np.where(np.abs(values) < cut, 0, values).view(np.uint8)
    return graph.save(path, {"image": image}, {"scores": x})


def sparse(folder: Path, kind: str, share: float = 0.9) -> tuple[Path, Path, dict[str, Any]]:
    """The dense file, the sparse one, and what the step said."""
    for name in ("float", "ranges", "dense", "out"):
        (folder / name).mkdir()
    source = pruned(folder / "float" / "model.tflite", share)
    result = {"files": ["model.tflite"], "signature": {}, "parent": "p", "tools": [], "way": "so"}
    result["notes"] = ["before"]
    if kind == "none":
        (folder / "dense" / "model.tflite").write_bytes(source.read_bytes())
    else:
        data = samples(folder / "data", 20, image=IMAGE[1:])
        calibrate(folder / "ranges", samples=data.to_json(), float=str(folder / "float"))
        recipe = Recipe.from_json({"name": "x", "quantization": kind})
        places = {"float": str(folder / "float"), "ranges": str(folder / "ranges")}
        if not recipe.needs_calibration:
            del places["ranges"]
        quantize(folder / "dense", recipe=recipe.to_json(), **places)
    (folder / "dense" / RESULT_FILE).write_text(json.dumps(result))
    told = encode(folder / "out", dense=str(folder / "dense"), name="x")
    return folder / "dense" / "model.tflite", folder / "out" / "model.tflite", told


@pytest.mark.parametrize(
    ("kind", "dense_layers"), [("none", True), ("int8", False), ("int16x8", True)]
)
def test_answers_are_the_same_and_the_file_is_smaller(
    tmp_path: Path, kind: str, dense_layers: bool
) -> None:
    dense, path, told = sparse(tmp_path, kind)
    image = {"image": np.random.default_rng(5).normal(size=IMAGE).astype(np.float32)}
    (wanted,), (given,) = answers(dense, image).values(), answers(path, image).values()
    assert np.array_equal(wanted, given)
    assert np.abs(wanted).max() > 0.1
    tree = flatbuffer.read(path)
    packed = [t for t in tree.subgraphs[0].tensors if t.sparsity is not None]
    found = {flatbuffer.text(t.name).removesuffix("/sparse").removesuffix("/w") for t in packed}
    assert found <= {"conv", "depth", "point", "dense"}
    assert "point" in found
    assert ("dense" in found) == dense_layers
    names = [op.name for op in flatbuffer.operators(tree)]
    assert names.count("DENSIFY") == len(packed)
    assert path.stat().st_size < dense.stat().st_size
    before, note = told["notes"]
    assert before == "before"
    assert f"{len(packed)} of " in note
    assert told["way"] == "so, then sparse weights"


def test_what_was_not_pruned_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="has zeros enough to be smaller so"):
        sparse(tmp_path, "none", share=0.0)


def test_what_litert_would_refuse_stays_dense(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="none of the 0 weight tensors that LiteRT takes"):
        sparse(tmp_path, "dynamic-int8")


@pytest.mark.parametrize("shape", [(5, 300), (70_000, 2), (8, 3, 3, 40), (300, 1, 2, 6)])
def test_rows_hold_every_number(shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    values = np.where(draw.random(shape) < 0.2, draw.normal(size=shape), 0).astype(np.float32)
    found = _rows(values)
    made = np.zeros([shape[axis] for axis in found.order], np.float32).reshape(
        -1, shape[found.order[-1]]
    )
    for row, (start, stop) in enumerate(zip(found.ends, found.ends[1:], strict=False)):
        made[row, found.places[start:stop]] = found.values[start:stop]
    turned = made.reshape([shape[axis] for axis in found.order])
    assert np.array_equal(turned.transpose(np.argsort(found.order)), values)


def test_the_inspector_counts_what_is_not_there(tmp_path: Path) -> None:
    from edgekit.inspection.tflite import describe

    dense, path, _ = sparse(tmp_path, "int8")
    one, other = (describe(tmp_path, path=str(each))["description"] for each in (dense, path))
    assert other["parameters"] == one["parameters"]
    assert other["zeros"] == one["zeros"]


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("float16", ""),
        ("dynamic-int8", ""),
        ("dynamic-int4", ""),
        ("none", 'format = "onnx"'),
        ("none", 'format = "executorch"'),
        ("int8", 'delegate = "gpu"'),
    ],
)
def test_what_does_not_load_is_refused_in_the_plan(tmp_path: Path, kind: str, more: str) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 2), np.float32))
    path = tmp_path / "r.toml"
    head = f'schema = 1\nname = "r"\nquantization = "{kind}"\n{more}\n'
    path.write_text(f"{head}[quantize]\nsparse = true\n")
    board = "pixel-9" if "gpu" in more else "host"
    with pytest.raises(PlanError, match="does not load sparse weights"):
        make_plan(
            Wish(
                model="k:m.f",
                profile=board,
                variants=(str(path),),
                calibration=str(tmp_path / "x.npz"),
            )
        )
