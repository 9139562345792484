"""What [quantize] does to TFLite files; every file is run by LiteRT."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.recipe import Recipe
from edgekit.export import flatbuffer
from edgekit.export.ranges import range_arguments
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from edgekit.work.cache import RESULT_FILE
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import FEATURES, IMAGE, Graph, cnn, sensitive

Made = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Quantize a model of `tests.tflite_graphs`: the file, and what the step said."""
    calls = itertools.count()

    def make(
        net: Callable[[Path], Path], kind: str, data: Any = None, **table: Any
    ) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / str(next(calls))
        source, ranges, out = (folder / name for name in ("float", "ranges", "out"))
        for each in (source, ranges, out):
            each.mkdir(parents=True)
        net(source / "model.tflite")
        recipe = Recipe.from_json({"name": "x", "quantization": kind, "quantize": table})
        if recipe.needs_calibration:
            how = range_arguments(recipe, levels=256 if kind == "int8" else 2**16)
            calibrate(ranges, samples=data.to_json(), float=str(source), **how)
        told = quantize(
            out,
            recipe=recipe.to_json(),
            float=str(source),
            ranges=str(ranges) if recipe.needs_calibration else None,
        )
        return out / "model.tflite", told

    return make


def images(folder: Path, outlier: float = 1.0, count: int = 20) -> Any:
    data = samples(folder, count, image=IMAGE[1:])
    values = np.load(folder / "0.npy")
    values[3, 0, 0, 0] = outlier * np.abs(values).max()
    np.save(folder / "0.npy", values)
    return data


def types(path: Path) -> dict[str, tuple[str, ...]]:
    """The types of each operator's inputs and weights, by its output's name."""
    found = flatbuffer.operators(flatbuffer.read(path))
    return {each.location: (*each.inputs, *each.constants) for each in found}


def snr(path: Path, source: Path, rows: Any, name: str) -> float:
    pairs = [[answers(p, row)[name] for p in (source, path)] for row in rows]
    noise = sum(float(np.sum((a - b) ** 2)) for a, b in pairs)
    return float(10 * np.log10(sum(float(np.sum(a**2)) for a, _ in pairs) / noise))


def rows_of(seed: int, count: int, **shapes: tuple[int, ...]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {name: rng.normal(size=(1, *shape)).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]


# ------------------------------------------------------------------------------- weights


def wide(path: Path) -> Path:
    """Two dense layers of 256 × 256, then one of 250: weights are nearly all of the file."""
    graph = Graph()
    x = features = graph.tensor("features", (1, 256))
    for name, size in (("one", 256), ("two", 250), ("three", 10)):
        before = graph.tensors[x].shape[-1]
        inputs = [x, graph.weights(f"{name}/w", size, before), graph.bias(name, size)]
        x = graph.operator(
            "FULLY_CONNECTED", inputs, (name, (1, size)), options="FullyConnectedOptions"
        )
    return graph.save(path, {"features": features}, {"three": x})


def test_four_bits_are_half_of_eight_and_run(made: Made, tmp_path: Path) -> None:
    source = wide(tmp_path / "source.tflite")
    rows = rows_of(0, 8, features=(256,))
    eight, _ = made(wide, "dynamic-int8")
    four, said = made(wide, "dynamic-int4")
    blocks, told = made(wide, "dynamic-int4", weights="block-32")
    assert four.stat().st_size < 0.55 * eight.stat().st_size
    assert set(types(four).values()) == {("float32", "int4")}
    assert "3 of 3 operators" in said["notes"][-1]
    assert "2 of 3 dense layers have a scale for each block of 32" in told["notes"][-2]
    by_channel, by_block = (snr(path, source, rows, "three") for path in (four, blocks))
    assert by_block > by_channel > 10
    assert snr(eight, source, rows, "three") > by_block + 10


def test_four_bits_with_eight_bit_activations(made: Made, tmp_path: Path) -> None:
    data = images(tmp_path / "data")
    path, said = made(cnn, "int8", data, bits=4)
    assert types(path)["point"] == ("int8", "int4")
    assert types(path)["depth"] == ("int8", "int8")
    assert "which have 8" in said["notes"][-1]
    source = cnn(tmp_path / "source.tflite")
    assert snr(path, source, rows_of(0, 8, image=IMAGE[1:]), "scores") > 10


def test_one_scale_for_all_channels(made: Made, tmp_path: Path) -> None:
    data = images(tmp_path / "data")
    for kind in ("int8", "int16x8", "dynamic-int8"):
        tree = flatbuffer.read(made(cnn, kind, data, weights="per-tensor")[0])
        names = {each.name.decode(): each for each in tree.subgraphs[0].tensors}
        assert len(names["first/w"].quantization.scale) == 1


def test_blocks_that_fit_no_layer(made: Made) -> None:
    with pytest.raises(ConversionError, match="rows are 8 long"):
        made(cnn, "dynamic-int4", weights="block-32")


# -------------------------------------------------------------------------------- ranges


@pytest.mark.slow
def test_narrower_ranges_are_better_where_one_sample_has_an_outlier(
    made: Made, tmp_path: Path
) -> None:
    data = images(tmp_path / "data", outlier=12, count=500)
    source = cnn(tmp_path / "source.tflite")
    rows = rows_of(1, 8, image=IMAGE[1:])
    found = {
        table["ranges"]: snr(made(cnn, "int8", data, **table)[0], source, rows, "scores")
        for table in (
            {"ranges": "min-max"},
            {"ranges": "percentile", "percentile": 99.9},
            {"ranges": "mse"},
            {"ranges": "entropy"},
        )
    }
    least = found.pop("min-max")
    assert all(value > least + 1 for value in found.values()), (least, found)


def test_min_max_said_is_min_max_unsaid(made: Made, tmp_path: Path) -> None:
    data = images(tmp_path / "data")
    one, other = made(cnn, "int8", data)[0], made(cnn, "int8", data, ranges="min-max")[0]
    assert one.read_bytes() == other.read_bytes()


# ------------------------------------------------------------------------ layers in float


def agreement(path: Path, source: Path, rows: Any) -> float:
    """Share of rows for which both give the same class."""
    same = [
        answers(path, row)["last"].argmax() == answers(source, row)["last"].argmax() for row in rows
    ]
    return float(np.mean(same))


def test_leaving_the_sensitive_layer_in_float_restores_the_accuracy(
    made: Made, tmp_path: Path
) -> None:
    data = samples(tmp_path / "data", features=(FEATURES,))
    source = sensitive(tmp_path / "source.tflite")
    rows = rows_of(5, 100, features=(FEATURES,))
    whole, _ = made(sensitive, "int8", data)
    spared, said = made(sensitive, "int8", data, float=["mid*"])
    other, _ = made(sensitive, "int8", data, float=["first"])
    assert agreement(whole, source, rows) < 0.5
    assert agreement(other, source, rows) < 0.5
    assert agreement(spared, source, rows) > 0.95
    assert said["notes"][-1] == "in float, as the recipe says: middle"
    assert types(spared)["middle"] == ("float32", "float32")
    assert types(spared)["first"] == ("int8", "int8")


@pytest.mark.parametrize("kind", ["float16", "dynamic-int8", "dynamic-int4", "int8", "int16x8"])
def test_an_operator_stays_in_float_in_every_kind(made: Made, tmp_path: Path, kind: str) -> None:
    path, _ = made(cnn, kind, images(tmp_path / "data"), float=["op:DEPTHWISE_CONV_2D"])
    tensors = {each.name.decode(): each for each in flatbuffer.read(path).subgraphs[0].tensors}
    stored = {name: flatbuffer.dtype(tensors[f"{name}/w"]) for name in ("depth", "point")}
    assert stored["depth"] == "float32" != stored["point"]
    assert np.isfinite(answers(path, rows_of(0, 1, image=IMAGE[1:])[0])["scores"]).all()


def test_a_layer_that_is_not_there(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no layer of this model is called 'midle'") as caught:
        made(sensitive, "dynamic-int8", float=["midle"])
    assert "middle" in caught.value.hint


def test_layers_go_by_the_names_that_the_converter_kept(tmp_path: Path) -> None:
    from edgekit.export.tflite_layers import kept_layers, labelled

    graph = Graph()
    x = image = graph.tensor("image", IMAGE)
    for name in ("net_1/conv_1/Relu;net_1/conv_1/convolution", "net_1/conv_1_2/convolution"):
        x = graph.conv(x, name, 8, 3)
    inner = "my.Net/torch.nn.modules.container.Sequential_stem/torch.nn.modules.conv.Conv2d_0;2"
    x = graph.conv(x, inner, 8, 3)
    graph.save(tmp_path / "model.tflite", {"image": image}, {"out": x})
    tree = flatbuffer.read(tmp_path / "model.tflite")
    (tmp_path / RESULT_FILE).write_text(json.dumps({"layers": ["conv", "conv_1"]}))
    # TensorFlow has numbered every scope: conv_1 there is the layer conv.
    named = [each.layer for each in labelled(tree, kept_layers(tmp_path))]
    assert named == ["conv", "conv_1", "stem.0"]
    # Here it has numbered none.
    assert [each.layer for each in labelled(tree, ["net_1", "conv_1", "conv_1_2"])][:2] == [
        "conv_1", "conv_1_2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "numbers", "becomes"),
    [
        ("int8", "float16", ("float32", "float32")),  # the weights come through a DEQUANTIZE
        ("int8", "int16x8", ("int16", "int8")),
        ("int8", "dynamic", ("float32", "int8")),
        ("int8", "float32", ("float32", "float32")),
        ("int16x8", "int8", ("int8", "int8")),
        ("float16", "int4", ("float32", "int4")),
        ("dynamic-int8", "int4", ("float32", "int4")),
    ],
)
def test_a_layer_has_numbers_of_its_own(
    made: Made, tmp_path: Path, kind: str, numbers: str, becomes: tuple[str, ...]
) -> None:
    data = samples(tmp_path / "data", features=(256,))
    layers = {"one": numbers, "three": numbers}  # the last one gives the model's output
    path, said = made(wide, kind, data, layers=layers)
    plain, _ = made(wide, kind, data)
    assert types(path)["one"] == types(path)["three"] == becomes
    assert types(path)["two"] == types(plain)["two"]
    source = wide(tmp_path / "source.tflite")
    rows = rows_of(0, 4, features=(256,))
    assert snr(path, source, rows, "three") > (10 if numbers == "int4" else 25)
    wanted = "float" if numbers == "float32" else numbers
    assert f"in {wanted}, as the recipe says: one, three" in said["notes"]
