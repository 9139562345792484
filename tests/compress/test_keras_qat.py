"""Keras models that round while they train."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress.net import Net, open_net, save_net
from edgekit.compress.qat import QuantizeAware
from edgekit.core.compression import PassSpec
from edgekit.core.model import ModelOptions
from edgekit.export import flatbuffer
from edgekit.sources import SOURCES
from tests.compress import hard

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("package", ["keras", "tf_keras"])]

INT8 = 9  # tflite.TensorType
QAT = PassSpec(name="qat")


def opened(model: Any, folder: Path) -> Net:
    path = folder / "model.keras"
    model.save(path)
    source = SOURCES["keras"]()
    origin = source.open(str(path), ModelOptions())
    return open_net(source.opener(origin), origin, origin)


def rounding(net: Any, example: Any, **how: Any) -> Any:
    from edgekit.compress.keras_qat import RoundingKerasNet

    return RoundingKerasNet(net, QuantizeAware(**how), [example])


def all_kinds(package: str) -> Any:
    """A model with every kind of kernel, and with a block inside another model."""
    keras = importlib.import_module(package)
    layers = keras.layers
    keras.utils.set_random_seed(0)
    image = layers.Input((8, 8, 4))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    y = layers.ReLU(6.0, name="six")(layers.BatchNormalization(name="norm")(y))
    inner = layers.Input((8, 8, 8))
    z = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depth")(inner)
    z = layers.Activation("relu", name="act")(layers.Dropout(0.2)(z))
    z = layers.Conv2D(8, 1, name="point")(z)
    block = keras.Model(inner, z, name="block")
    y = layers.Add(name="sum")([y, block(y)])
    y = layers.AveragePooling2D(2, name="mean")(y)
    y = layers.Conv2DTranspose(6, 2, activation="sigmoid", name="up")(y)
    y = layers.Reshape((25, 6))(y)
    y = layers.MultiHeadAttention(2, 3, name="heads")(y, y)
    y = layers.Flatten()(y)
    return keras.Model(image, layers.Dense(5, activation="softmax", name="scores")(y))


def images(count: int) -> Any:
    return np.random.default_rng(0).normal(size=(count, 8, 8, 4)).astype(np.float32)


def test_activations_are_rounded_where_tflite_rounds_them(package: str, tmp_path: Path) -> None:
    net = opened(all_kinds(package), tmp_path)
    found = rounding(net, images(2))
    places = {f"{path}: {which}" for (path, _), which in found.live.ranges}
    heads = {place for place in places if place.startswith("heads/")}
    assert places - heads == {
        ": in 0", "six: out 0", "block/act: out 0", "block/point: out 0", "sum: out 0",
        "up: before", "up: out 0", "scores: before",
    }  # fmt: skip
    # What is computed between the attention's layers is rounded where these read it.
    assert "heads/attention_output: in 0" in heads
    net.live.call([images(2)], training=False)
    assert not any("call" in vars(layer) for _, layer in net.layers())  # type: ignore[attr-defined]


def test_kernels_are_rounded_per_output(package: str, tmp_path: Path) -> None:
    net = opened(all_kinds(package), tmp_path)
    rounded = rounding(net, images(2), activations=0).predict([images(4)])[0]
    assert np.abs(rounded - net.predict([images(4)])[0]).max() > 1e-5
    shared = {"depth/": (0, 1), "up/kernel": (0, 1, 3), "attention_output": (0, 1)}
    for name in net.weights():
        # One that has no name here has its outputs last, the queries' and the like over two axes.
        usual = (0,) if "heads" in name else None
        axes = next((axes for part, axes in shared.items() if part in name), usual)
        variable = net.variable(name)  # type: ignore[attr-defined]
        values = variable.numpy()
        axes = tuple(range(values.ndim - 1)) if axes is None else axes
        step = np.abs(values).max(axis=axes, keepdims=True) / 127
        variable.assign(np.rint(values / step) * step)
    np.testing.assert_allclose(net.predict([images(4)])[0], rounded, atol=1e-6)


def test_what_is_excluded_is_left_alone(package: str, tmp_path: Path) -> None:
    net = opened(all_kinds(package), tmp_path)
    whole = rounding(net, images(2))
    less = rounding(net, images(2), exclude=["block/point"], in_float=["conv"])
    assert less.weights_rounded == whole.weights_rounded - 2
    places = {f"{path}: {which}" for (path, _), which in less.live.ranges}
    assert "block/point: out 0" not in places
    assert {"norm: in 0", "sum: in 1"} <= places  # what they give is rounded where it is read


def test_a_range_is_averaged_then_what_calibration_finds(package: str, tmp_path: Path) -> None:
    net = opened(all_kinds(package), tmp_path)
    found = rounding(net, images(2))

    def ends() -> Any:
        return next(iter(found.live.ranges.values())).ends.numpy()

    found.calibrate([images(8)])
    np.testing.assert_allclose(ends(), [images(8).min(), images(8).max()])
    found.live.call([images(8) * 2], training=True)
    np.testing.assert_allclose(ends(), np.array([images(8).min(), images(8).max()]) * 1.05)
    found.freeze()
    found.live.call([images(8) * 9], training=True)
    found.predict([images(8) * 9])
    np.testing.assert_allclose(ends(), np.array([images(8).min(), images(8).max()]) * 1.05)
    found.calibrate([images(4)])
    np.testing.assert_allclose(ends(), [images(4).min(), images(4).max()])


def test_batch_norms_stay_once_frozen(package: str, tmp_path: Path) -> None:
    net = opened(all_kinds(package), tmp_path)
    found = rounding(net, images(2))
    norm = dict(net.layers())["norm"]  # type: ignore[attr-defined]
    found.calibrate([images(8)])
    found.live.call([images(8)], training=True)
    before = norm.moving_mean.numpy()
    assert before.any()
    found.freeze()
    found.live.call([images(8)], training=True)
    assert (norm.moving_mean.numpy() == before).all()


def hard_model(package: str) -> Any:
    """See `hard`."""
    keras = importlib.import_module(package)
    layers = keras.layers
    keras.utils.set_random_seed(1)

    def ended(y: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))

    image = layers.Input((8, 8, 1))
    y = ended(layers.Conv2D(16, 3, padding="same", use_bias=False)(image))
    for channels in (24, 32, 32):
        y = ended(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
        y = ended(layers.Conv2D(channels, 1, use_bias=False)(y))
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(image, layers.Dense(10, activation="softmax")(y))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    x, labels = hard.digits()
    trained = slice(hard.TRAINED)
    model.fit(x[trained], labels[trained], epochs=15, verbose=0, batch_size=32)
    norms = [layer for layer in model.layers if "batch" in layer.name]
    kernels = [layer for layer in model.layers if "conv" in layer.name]
    for norm, after, factor in zip(norms, kernels[1:], hard.factors(), strict=False):
        scale, offset, *rest = norm.get_weights()
        norm.set_weights([scale * factor, offset * factor, *rest])
        after.set_weights([after.get_weights()[0] / factor[:, None]])
    return model


def exported(net: Net, folder: Path, calibration: Any) -> Path:
    """INT8, by the exporter's own steps."""
    from edgekit.export.tflite_float import convert

    folder.mkdir()
    made = save_net(net, folder)
    made = made.model_copy(update={"path": str(folder / made.path)})
    convert(folder, model=made.to_json())
    return hard.integers(folder / "model.tflite", calibration, folder)


def test_most_of_what_static_int8_loses_is_won_back(package: str, tmp_path: Path) -> None:
    x, labels = hard.digits()
    data = hard.data_set(tmp_path / "train", x[: hard.TRAINED], labels[: hard.TRAINED])
    middle = slice(hard.TRAINED, hard.CALIBRATED)
    calibration = hard.data_set(tmp_path / "calibration", x[middle], labels[middle])
    x, labels = x[hard.CALIBRATED :], labels[hard.CALIBRATED :]
    net = opened(hard_model(package), tmp_path)
    source = hard.net_right(net, x, labels)
    static = hard.right(exported(net, tmp_path / "static", calibration), x, labels)
    assert source - static > 0.01
    notes = hard.passed(net, data, tmp_path, QAT, epochs=8)
    aware = hard.right(exported(net, tmp_path / "aware", calibration), x, labels)
    print(f"source {source:.4f} static {static:.4f} aware {aware:.4f}; {notes}")
    assert aware - static > (source - static) / 2
    found = rounding(net, x[:2])
    found.calibrate([calibration.arrays()[0]])
    assert abs(hard.net_right(found, x, labels) - aware) <= hard.MOST_APART


def test_zeros_and_clusters_reach_the_file(package: str, tmp_path: Path) -> None:
    """Pruned, clustered, then trained for INT8: PCQAT."""
    x, labels = hard.digits()
    data = hard.data_set(tmp_path / "train", x[: hard.TRAINED], labels[: hard.TRAINED])
    keras = importlib.import_module(package)
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(8, 3, use_bias=False, name="conv"),
        keras.layers.BatchNormalization(momentum=0.9),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="scores"),
    ]
    net = opened(keras.Sequential(layers), tmp_path)
    passes = [
        PassSpec(name="prune", parameters={"sparsity": 0.5}),
        PassSpec(name="cluster", parameters={"clusters": 16, "scope": "scaled"}),
        QAT,
    ]
    hard.passed(net, data, tmp_path, *passes, epochs=2)
    tree = flatbuffer.read(exported(net, tmp_path / "made", data).read_bytes())
    kinds = [(each.name, each.inputs[0], each.outputs[0]) for each in flatbuffer.operators(tree)]
    assert kinds == [
        ("QUANTIZE", "float32", "int8"),
        ("CONV_2D", "int8", "int8"),
        ("RESHAPE", "int8", "int8"),
        ("FULLY_CONNECTED", "int8", "int8"),
        ("DEQUANTIZE", "int8", "float32"),
    ]
    kernels = [
        np.frombuffer(bytes(tree.buffers[tensor.buffer].data), np.int8)
        for tensor in tree.subgraphs[0].tensors
        if tensor.type == INT8 and flatbuffer.is_constant(tree, tensor) and len(tensor.shape) > 1
    ]
    assert sorted(kernel.size for kernel in kernels) == [72, 2880]
    for kernel in kernels:
        assert (kernel == 0).mean() >= 0.5
        assert len(np.unique(kernel)) <= 16
