"""ONNX models made by hand: multiply-adds, weights in the file and beside it, and damage."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.description import Description
from edgekit.core.errors import InputError
from edgekit.inspection.onnx import OnnxInspector, describe

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def described(path: Path) -> Description:
    return Description.from_json(describe(path.parent, path=str(path))["description"])


def model_of(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, tuple[Any, ...]],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(values, name) for name, values in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    opsets += [helper.make_opsetid(node.domain, 1) for node in nodes if node.domain]
    model = helper.make_model(graph, producer_name="by hand", opset_imports=opsets)
    path.write_bytes(model.SerializeToString())
    return path


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("operator", "inputs", "constants", "attributes", "count"),
    [
        ("Conv", {"x": (1, 4, 8, 8)}, {"w": zeros(6, 4, 3, 3)}, {"pads": [1] * 4}, 64 * 6 * 9 * 4),
        (
            "Conv",
            {"x": (1, 4, 8, 8)},
            {"w": zeros(4, 1, 3, 3)},
            {"group": 4, "pads": [1] * 4},
            64 * 4 * 9,
        ),
        (
            "ConvTranspose",
            {"x": (1, 3, 4, 4)},
            {"w": zeros(3, 6, 2, 2)},
            {"strides": [2, 2]},
            16 * 3 * 4 * 6,
        ),
        ("Gemm", {"x": (2, 16)}, {"w": zeros(5, 16)}, {"transB": 1}, 160),
        ("Gemm", {"x": (16, 2)}, {"w": zeros(16, 5)}, {"transA": 1}, 160),
        ("MatMul", {"x": (7, 3, 4), "w": (7, 4, 5)}, {}, {}, 7 * 60),
        ("Einsum", {"x": (3, 4), "w": (4, 5)}, {}, {"equation": "ij,jk->ik"}, 60),
        ("Relu", {"x": (3, 4)}, {}, {}, 0),
    ],
)
def test_multiply_adds(
    tmp_path: Path,
    operator: str,
    inputs: dict[str, tuple[int, ...]],
    constants: dict[str, np.ndarray[Any, Any]],
    attributes: dict[str, Any],
    count: int,
) -> None:
    node = helper.make_node(operator, [*inputs, *constants], ["y"], name="block", **attributes)
    found = described(model_of(tmp_path / "m.onnx", [node], inputs, constants))
    assert found.macs == count
    assert [(n.operator, n.layer, n.dtype) for n in found.coverage.nodes] == [
        (operator, "block", "float32")
    ]
    assert found.parameters == found.zeros == sum(values.size for values in constants.values())


def test_recurrent_layers_in_both_directions(tmp_path: Path) -> None:
    constants = {"w": zeros(2, 4 * 16, 8), "r": zeros(2, 4 * 16, 16)}
    node = helper.make_node(
        "LSTM", ["x", "w", "r"], ["y"], hidden_size=16, direction="bidirectional"
    )
    found = described(model_of(tmp_path / "m.onnx", [node], {"x": (10, 1, 8)}, constants))
    assert found.macs == 2 * 10 * 4 * 16 * 24


def test_open_sizes_are_counted_as_one_and_shown_as_open(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = model_of(tmp_path / "m.onnx", [node], {"x": ("batch", 4)}, {"w": zeros(4, 5)})
    found = described(path)
    assert found.macs == 20
    assert found.signatures[0].inputs[0].shape == (None, 4)
    assert found.metadata["notes"] == ["open sizes are counted as 1: batch"]
    assert found.metadata["producer"] == "by hand"
    assert found.metadata["opsets"] == {"ai.onnx": 20}


def test_quantized_with_marks(tmp_path: Path) -> None:
    """QDQ: int8 weights with a scale for each channel; scales are no parameters."""
    constants: dict[str, np.ndarray[Any, Any]] = {
        "s": np.float32(0.5),
        "z": np.uint8(128),
        "w": np.array([[1, 0], [0, 3]], np.int8),
        "ws": np.array([0.1, 0.2], np.float32),
        "wz": np.zeros(2, np.int8),
    }
    constants = {name: np.asarray(values) for name, values in constants.items()}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"], axis=1),
        helper.make_node("MatMul", ["d", "v"], ["y"]),
    ]
    found = described(model_of(tmp_path / "m.onnx", nodes, {"x": (1, 2)}, constants))
    assert found.quantization == "int8 weights per channel, uint8 activations"
    assert (found.parameters, found.zeros, found.weights) == (4, 2, {"int8": 4})
    assert found.macs == 4


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    node = helper.make_node("MatMulNBits", ["x", "w"], ["y"], domain="com.microsoft")
    path = model_of(tmp_path / "m.onnx", [node], {"x": (1, 4), "w": (4, 4)})
    found = described(path)
    assert found.coverage.nodes[0].operator == "com.microsoft.MatMulNBits"
    assert found.metadata["notes"] == ["multiply-adds not counted: MatMulNBits"]


def beside(path: Path, location: str, **entries: str) -> Path:
    """A model with a weight of 4×5 that is in another file."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model_of(path, [node], {"x": (1, 4)}, {"w": zeros(4, 5)})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_another_file(tmp_path: Path) -> None:
    path = beside(tmp_path / "m.onnx", "m.data", offset="8", length="80")
    values = np.ones(20, np.float32)
    values[:3] = 0
    (tmp_path / "m.data").write_bytes(bytes(8) + values.tobytes())
    found = described(path)
    assert (found.parameters, found.zeros, found.macs) == (20, 3, 20)
    assert found.size_bytes == path.stat().st_size + 88
    before = OnnxInspector().step(str(path), trust_code=False).key
    (tmp_path / "m.data").write_bytes(bytes(88))
    assert OnnxInspector().step(str(path), trust_code=False).key != before


@pytest.mark.parametrize(
    ("location", "entries", "words"),
    [
        ("gone.data", {}, "which is not beside it"),
        ("../m.data", {}, "outside its own folder"),
        ("/etc/passwd", {}, "outside its own folder"),
        ("", {}, "outside its own folder"),
        ("link.data", {}, "outside its own folder"),
        ("m.data", {"offset": "70"}, "is not whole in 'm.data'"),
        ("m.data", {"length": "-1"}, "is not whole in 'm.data'"),
        ("m.data", {"offset": "x"}, "is at no number"),
    ],
)
def test_weights_that_are_elsewhere_or_cut(
    tmp_path: Path, location: str, entries: dict[str, str], words: str
) -> None:
    (tmp_path / "m.data").write_bytes(bytes(80))
    (tmp_path / "link.data").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=words):
        described(beside(tmp_path / "m.onnx", location, **entries))


@pytest.mark.slow
def test_damage(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    whole = model_of(tmp_path / "m.onnx", [node], {"x": (1, 4)}, {"w": zeros(4, 5)}).read_bytes()
    cut, refused = tmp_path / "cut.onnx", 0
    for length in range(1, len(whole) - 1, 5):
        cut.write_bytes(whole[:length])
        refused += not usable(cut)  # what ends between two fields is only a shorter message
    assert refused > 20
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(0, len(whole))] = rng.integers(0, 256)
        cut.write_bytes(changed)
        usable(cut)


def usable(path: Path) -> bool:
    """Whether there is a description; anything but that or an error of ours fails the test."""
    try:
        described(path)
    except InputError:
        return False
    return True


def test_it_is_known_by_how_it_begins(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = model_of(tmp_path / "plain", [node], {"x": (1,)})
    assert OnnxInspector().accepts(str(path))
    (tmp_path / "other").write_bytes(b"\x08text")
    assert not OnnxInspector().accepts(str(tmp_path / "other"))


@pytest.mark.parametrize(("first", "says"), [("Relu", "again and again"), ("f9", "without end")])
def test_functions_that_unfold_without_measure_are_refused(
    tmp_path: Path, first: str, says: str
) -> None:
    """Ten calls of what makes ten calls, ten deep: 1.6 kB for ten thousand million operators."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("local", 1)]
    path = model_of(tmp_path / "m.onnx", [helper.make_node("f9", ["x"], ["y"], domain="local")],
                    {"x": (1, 4)})  # fmt: skip
    model = onnx.load(path)
    for level in range(10):
        kind = f"f{level - 1}" if level else first
        domain = "local" if kind.startswith("f") else ""
        names = ["a", *(f"t{place}" for place in range(9)), "b"]
        body = [helper.make_node(kind, [x], [y], domain=domain) for x, y in pairwise(names)]
        model.functions.append(
            helper.make_function("local", f"f{level}", ["a"], ["b"], body, opsets)
        )
    path.write_bytes(model.SerializeToString())

    with pytest.raises(InputError, match=says):
        described(path)
