"""PyTorch modules that round while they train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress.net import open_net, save_net
from edgekit.compress.qat import QuantizeAware
from edgekit.core.compression import PassSpec
from edgekit.core.errors import ConversionError
from edgekit.core.model import Model, ModelOptions
from edgekit.core.registry import resolve
from edgekit.export import flatbuffer
from edgekit.sources import SOURCES
from tests.compress import hard

pytestmark = pytest.mark.slow

INT8 = 9  # tflite.TensorType
QAT = PassSpec(name="qat")


def opened(name: str, folder: Path) -> Any:
    return opener(name, folder)()


def opener(name: str, folder: Path) -> Callable[[], Any]:
    """What opens the net, a fresh one each time."""
    source = SOURCES["torch"]()
    origin = source.open(f"torch:tests.compress.qat_torch_models:{name}", ModelOptions())
    step = source.materialise(origin)
    assert step is not None
    out = folder / name
    out.mkdir()
    made = Model.from_json(resolve(step.function)(out, **step.arguments)["model"])
    made = made.model_copy(update={"path": str(out / made.path)})
    return lambda: open_net(source.opener(origin), origin, made)


def rounding(net: Any, example: Any, **how: Any) -> Any:
    from edgekit.compress.torch_qat import RoundingTorchNet

    return RoundingTorchNet(net, QuantizeAware(**how), [example])


def images(count: int) -> Any:
    return np.random.default_rng(0).normal(size=(count, 4, 8, 8)).astype(np.float32)


def readers(found: Any) -> list[tuple[str, str]]:
    """What is rounded as an activation, and who reads it: bare names of operators."""
    graph = found.live.graph.module.graph
    kinds = {id(each) for each in found.live.graph.ranges}
    modules = dict(found.live.graph.module.named_modules())

    def name(node: Any) -> str:
        return str(node.target).split(".")[1] if "aten." in str(node.target) else node.op

    return [
        (name(node.args[0]), " ".join(sorted({name(user) for user in node.users})))
        for node in graph.nodes
        if node.op == "call_module" and id(modules[node.target]) in kinds
    ]


def test_activations_are_rounded_where_integers_are(tmp_path: Path) -> None:
    found = rounding(opened("kinds", tmp_path), images(2))
    seen = readers(found)
    assert seen[:7] == [
        ("placeholder", "conv2d"),
        ("relu6", "add conv2d"),
        ("relu", "dropout"),
        ("conv2d", "add"),
        ("add", "avg_pool2d"),
        ("avg_pool2d", "conv_transpose2d"),
        ("conv_transpose2d", "sigmoid"),
    ]
    assert not [pair for pair in seen if pair[0] in ("batch_norm", "dropout", "softmax", "flatten")]
    assert seen[-1] == ("linear", "softmax")


def test_kernels_are_rounded_per_output(tmp_path: Path) -> None:
    net = opened("kinds", tmp_path)
    rounded = rounding(net, images(2), activations=0).predict([images(4)])[0]
    assert np.abs(rounded - net.predict([images(4)])[0]).max() > 1e-5
    for name, weight in net.weights().items():
        values = net.get(name)
        axes = tuple(axis for axis in range(values.ndim) if axis != weight.axis)
        step = np.abs(values).max(axis=axes, keepdims=True) / 127
        net.put(name, np.rint(values / step) * step)
    np.testing.assert_allclose(net.predict([images(4)])[0], rounded, atol=1e-6)


def test_it_shares_numbers_with_the_module_and_trains_them(tmp_path: Path) -> None:
    net = opened("kinds", tmp_path)
    found = rounding(net, images(2))
    found.calibrate([images(8)])
    before = net.state()
    found.live.call([_tensor(images(8))], training=True)
    assert not np.array_equal(net.state()["norm.running_mean"], before["norm.running_mean"])
    kept = found.state()
    found.freeze()
    found.live.call([_tensor(3 * images(8))], training=True)
    assert all(np.array_equal(array, found.state()[name]) for name, array in kept.items())
    net.put("scores.weight", np.zeros((5, 6), dtype=np.float32))
    assert np.ptp(found.predict([images(4)])[0], axis=0).max() < 1e-6


def test_what_is_excluded_is_left_alone(tmp_path: Path) -> None:
    net = opened("kinds", tmp_path)
    whole = rounding(net, images(2))
    less = rounding(net, images(2), exclude=["point"], in_float=["up"])
    assert less.weights_rounded == whole.weights_rounded - 2
    assert ("conv_transpose2d", "sigmoid") in readers(whole)
    assert ("relu", "dropout") in readers(less)


def test_a_module_of_one_sample_is_named(tmp_path: Path) -> None:
    net = opened("fixed", tmp_path)
    with pytest.raises(ConversionError, match="cannot trace Fixed with the number of samples open"):
        rounding(net, np.zeros((2, 4), dtype=np.float32))


def exported(net: Any, folder: Path, calibration: Any) -> Path:
    """INT8, by the exporter's own steps."""
    from edgekit.export.tflite_torch import convert

    folder.mkdir()
    made = save_net(net, folder)
    made = made.model_copy(update={"path": str(folder / made.path)})
    convert(folder, model=made.to_json())
    return hard.integers(folder / "model.tflite", calibration, folder)


def test_most_of_what_static_int8_loses_is_won_back(tmp_path: Path) -> None:
    x, labels = hard.digits(first=True)
    data = hard.data_set(tmp_path / "train", x[: hard.TRAINED], labels[: hard.TRAINED])
    middle = slice(hard.TRAINED, hard.CALIBRATED)
    calibration = hard.data_set(tmp_path / "calibration", x[middle], labels[middle])
    x, labels = x[hard.CALIBRATED :], labels[hard.CALIBRATED :]
    net = opened("hard_model", tmp_path)
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


def test_zeros_and_clusters_reach_the_file(tmp_path: Path) -> None:
    """Pruned, clustered, then trained for INT8: PCQAT."""
    x, labels = hard.digits(first=True)
    data = hard.data_set(tmp_path / "train", x[: hard.TRAINED], labels[: hard.TRAINED])
    net = opened("small", tmp_path)
    passes = [
        PassSpec(name="prune", parameters={"sparsity": 0.5}),
        PassSpec(name="cluster", parameters={"clusters": 16, "scope": "scaled"}),
        QAT,
    ]
    hard.passed(net, data, tmp_path, *passes, epochs=2)
    tree = flatbuffer.read(exported(net, tmp_path / "made", data).read_bytes())
    operators = list(flatbuffer.operators(tree))
    # A convolution of one channel is a depthwise one, too.
    assert {"DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= {each.name for each in operators}
    for each in operators:
        if each.name not in ("QUANTIZE", "DEQUANTIZE"):
            assert (each.inputs[0], each.outputs[0]) == ("int8", "int8")
    kernels = [
        np.frombuffer(bytes(tree.buffers[tensor.buffer].data), np.int8)
        for tensor in tree.subgraphs[0].tensors
        if tensor.type == INT8 and flatbuffer.is_constant(tree, tensor) and len(tensor.shape) > 1
    ]
    assert sorted(kernel.size for kernel in kernels) == [72, 2880]
    for kernel in kernels:
        assert (kernel == 0).mean() >= 0.5
        assert len(np.unique(kernel)) <= 16


def _tensor(array: Any) -> Any:
    import torch

    return torch.from_numpy(array)
