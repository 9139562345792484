"""Scales of few digits: the file zips better, is exact in itself, and answers as well."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.dataset import DataSet
from edgekit.core.recipe import Recipe
from edgekit.export import flatbuffer
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from edgekit.export.tflite_short import ACTIVATION_BITS, PARTS, WEIGHT_BITS, rounded
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import IMAGE, Graph, cnn


def digits(number: float) -> int:
    """Binary digits after the leading one."""
    mantissa = np.frexp(number)[0]
    return next(bits for bits in range(60) if (mantissa * 2.0 ** (bits + 1)).is_integer())


@given(st.floats(1e-30, 1e30), st.integers(0, 8))
def test_a_rounded_number_has_few_digits_and_is_near(number: float, bits: int) -> None:
    up, near = (float(rounded(number, bits, up=how)) for how in (True, False))
    assert max(digits(up), digits(near)) <= bits
    assert number * (1 - 2e-6) <= up <= number * (1 + 2.0**-bits)
    assert abs(near - number) <= number * 2.0 ** -(bits + 1)
    assert float(rounded(up, bits, up=True)) == up


def clustered(path: Path) -> Path:
    """Two convolutions whose kernels have five values in units of each channel's largest."""
    graph = Graph()
    x = image = graph.tensor("image", IMAGE)
    draw = np.random.default_rng(0)
    for name, channels in (("one", 32), ("two", 32)):
        x = graph.conv(x, name, channels, 3)
        weights = next(each for each in graph.tensors if each.name == f"{name}/w")
        steps = draw.choice([-127, -40, 0, 40, 127], weights.shape)
        steps[:, 0, 0, 0] = 127
        values = steps / 127 * draw.uniform(0.05, 0.5, (channels, 1, 1, 1))
        data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        graph.buffers[weights.buffer - 1].data = data
    x = graph.operator(
        "MEAN", [x, graph.constant("axes", [1, 2])], ("mean", (1, 32)),
        options="ReducerOptions", keepDims=False,
    )  # fmt: skip
    return graph.save(path, {"image": image}, {"mean": x})


def made(folder: Path, net: Any, kind: str, data: DataSet, scales: str) -> tuple[Path, Any]:
    out = folder / scales
    for each in ("float", "ranges"):
        (folder / each).mkdir(exist_ok=True)
    out.mkdir()
    net(folder / "float" / "model.tflite")
    needs = {name: str(folder / name) for name in ("float", "ranges")}
    levels = {"int8": 256, "int16x8": 2**16}[kind]
    calibrate(folder / "ranges", samples=data.to_json(), float=needs["float"], levels=levels)
    facts = {"name": "x", "quantization": kind, "quantize": {"scales": scales}}
    said = quantize(out, recipe=Recipe.from_json(facts).to_json(), **needs)
    return out / "model.tflite", said["notes"]


def operators(path: Path) -> Iterator[tuple[Any, Any, Any, Any, Any]]:
    """Input, weights with their integers, bias and output of each operator with weights."""
    tree = flatbuffer.read(path)
    graph = tree.subgraphs[0]
    for operator, about in zip(graph.operators, flatbuffer.operators_of(tree, graph), strict=True):
        if about.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            entry, weights, bias = (graph.tensors[at] for at in operator.inputs)
            integers = np.frombuffer(bytes(tree.buffers[weights.buffer].data), np.int8)
            yield entry, weights, integers, bias, graph.tensors[operator.outputs[0]]


def snr(path: Path, source: Path, data: DataSet) -> float:
    rows = [{"image": row[None]} for row in np.load(Path(data.folder) / "0.npy")]
    wanted, given = (
        np.concatenate([next(iter(answers(file, row).values())) for row in rows])
        for file in (source, path)
    )
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - given).sum()))


@pytest.mark.parametrize("kind", ["int8", "int16x8"])
@pytest.mark.parametrize("net", [cnn, clustered])
def test_the_file_is_as_good_and_zips_better(tmp_path: Path, net: Any, kind: str) -> None:
    data = samples(tmp_path / "data", 20, image=IMAGE[1:])
    exact, _ = made(tmp_path, net, kind, data, "exact")
    short, notes = made(tmp_path, net, kind, data, "short")
    sizes = [len(zlib.compress(path.read_bytes(), 9)) for path in (exact, short)]
    assert sizes[1] < sizes[0] - 150
    source = tmp_path / "float" / "model.tflite"
    assert snr(short, source, data) > min(30, snr(exact, source, data) - 3)
    for entry, weights, _, bias, output in operators(short):
        step = float(entry.quantization.scale[0])
        assert digits(step) <= ACTIVATION_BITS
        assert digits(float(output.quantization.scale[0])) <= ACTIVATION_BITS
        assert max(map(digits, map(float, weights.quantization.scale))) <= WEIGHT_BITS
        # What the format demands, exactly.
        wanted = step * np.asarray(weights.quantization.scale, np.float64)
        assert np.array_equal(np.asarray(bias.quantization.scale, np.float64), wanted)
    said = f"{len(list(operators(short)))} operators have scales and biases of few digits"
    assert any(note.startswith(said) for note in notes)


def test_clusters_keep_their_integers(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 20, image=IMAGE[1:])
    (exact, _), (short, notes) = (
        made(tmp_path, clustered, "int8", data, scales) for scales in ("exact", "short")
    )
    for (_, _, before, _, _), (_, _, after, _, _) in zip(
        operators(exact), operators(short), strict=True
    ):
        assert len(np.unique(before)) == 5
        assert np.array_equal(before, after)
    assert any(note.endswith("2 of them with the same integers") for note in notes)


def test_biases_are_exact_to_a_part_of_a_step_of_the_output(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 20, image=IMAGE[1:])
    short, _ = made(tmp_path, cnn, "int8", data, "short")
    tree, source = (flatbuffer.read(p) for p in (short, tmp_path / "float" / "model.tflite"))
    sources = [
        np.frombuffer(bytes(source.buffers[bias.buffer].data), np.float32)
        for _, _, _, bias, _ in operators(tmp_path / "float" / "model.tflite")
    ]
    for wanted, (_, _, _, bias, output) in zip(sources, operators(short), strict=True):
        integers = np.frombuffer(bytes(tree.buffers[bias.buffer].data), np.int32)
        given = integers * np.asarray(bias.quantization.scale, np.float64)
        step = float(output.quantization.scale[0])
        assert np.abs(given - wanted).max() <= 0.51 * step / PARTS


def test_constants_have_numbers_and_operators_their_names(tmp_path: Path) -> None:
    data = samples(tmp_path / "data", 20, image=IMAGE[1:])
    paths = [made(tmp_path, cnn, "int8", data, scales)[0] for scales in ("exact", "short")]
    trees = [flatbuffer.read(path) for path in paths]
    names = [[each.location for each in flatbuffer.operators(tree)] for tree in trees]
    assert names[0] == names[1]
    short = trees[1]
    for index, tensor in enumerate(short.subgraphs[0].tensors):
        if flatbuffer.is_constant(short, tensor):
            assert tensor.name == str(index).encode()
