"""Padding in front of a maximum pooling: inside it where that is the same, left where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.export import onnx_graph
from edgekit.export.onnx_pool import pad_inside

LOWEST = -np.inf


def network(
    sizes: list[int], value: float = LOWEST, kernel: int = 3, padded_out: bool = False, **pool: Any
) -> Any:
    """Pad → MaxPool over an image of 1×2×7×6; `padded_out` gives out the padded image, too."""
    nodes = [
        helper.make_node("Pad", ["image", "sizes", "value"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[kernel, kernel], **pool),
    ]
    constants = [
        numpy_helper.from_array(np.array(sizes, np.int64), "sizes"),
        numpy_helper.from_array(np.array(value, np.float32), "value"),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y",)}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 7, 6])
    outputs = [values["y"]]
    if padded_out:
        outputs.append(helper.make_tensor_value_info("padded", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "pooling", [image], outputs, constants)
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def answers(proto: Any) -> list[Any]:
    image = np.random.default_rng(0).normal(size=(1, 2, 7, 6)).astype(np.float32)
    return list(onnx_graph.session(proto).run(None, {"image": image}))


@pytest.mark.parametrize(
    ("sizes", "value", "pool"),
    [
        ([0, 0, 0, 0, 0, 0, 1, 1], LOWEST, {"strides": [2, 2]}),
        ([0, 0, 0, 1, 0, 0, 1, 0], float(np.finfo(np.float32).min), {}),
        ([0, 0, 1, 0, 0, 0, 0, 1], LOWEST, {"pads": [0, 1, 1, 0], "strides": [2, 1]}),
    ],
)
def test_the_pooling_pads_itself(sizes: list[int], value: float, pool: dict[str, Any]) -> None:
    proto = network(sizes, value, **pool)
    before = answers(proto)
    assert pad_inside(proto) == 1
    assert [node.op_type for node in proto.graph.node] == ["MaxPool"]
    np.testing.assert_array_equal(answers(proto), before)


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(network([0, 0, 1, 1, 0, 0, 1, 1], 0.0), id="zeros can win"),
        pytest.param(network([0, 1, 0, 0, 0, 0, 1, 1]), id="pads the channels"),
        pytest.param(network([0, 0, 3, 0, 0, 0, 0, 0]), id="a window of padding alone"),
        pytest.param(network([0, 0, 1, 0, 0, 0, -1, 0]), id="takes away"),
        pytest.param(network([0, 0, 1, 1, 0, 0, 1, 1], padded_out=True), id="given out"),
        pytest.param(network([0, 0, 1, 1, 0, 0, 1, 1], auto_pad="SAME_UPPER"), id="pads already"),
    ],
)
def test_other_padding_stays(proto: Any) -> None:
    before = proto.SerializeToString()
    assert pad_inside(proto) == 0
    assert proto.SerializeToString() == before
