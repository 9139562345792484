"""Tiny ONNX models, built with onnx.helper alone: no framework, milliseconds each.

Weights are random but fixed by a seed. Inputs are NCHW, as in files that PyTorch exports.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save

OPSET = 18
IR_VERSION = 10
Dims = Sequence[int | str | None]


class Graph:
    """A graph under construction: weights and nodes get names by their order."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def constant(self, value: Any, name: str = "") -> str:
        """An initializer; its name."""
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, *shape: int, scale: float = 1.0, dtype: str = "float32") -> str:
        """An initializer of normal numbers; its name."""
        return self.constant((self.rng.normal(size=shape) * scale).astype(dtype))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node with one output; the output's name."""
        index = len(self.nodes)
        output = output or f"{operator.lower()}_{index}"
        domain = attributes.pop("domain", "")
        self.nodes.append(
            helper.make_node(
                operator, inputs, [output], f"node_{output}", domain=domain, **attributes
            )
        )
        return output

    def conv(self, x: str, ins: int, outs: int, kernel: int = 3, **attributes: Any) -> str:
        """A convolution with bias that keeps the size, unless strides say otherwise."""
        per_group = ins // attributes.get("group", 1)
        scale = (2 / (per_group * kernel**2)) ** 0.5
        weight = self.normal(outs, per_group, kernel, kernel, scale=scale)
        bias = self.normal(outs, scale=0.1)
        return self.add("Conv", x, weight, bias, pads=[kernel // 2] * 4, **attributes)

    def batch_norm(self, x: str, channels: int) -> str:
        """Batch normalization with statistics near those of normal numbers."""
        rng = self.rng
        scale, bias, mean = (
            self.constant((base + 0.1 * rng.normal(size=channels)).astype(np.float32))
            for base in (1, 0, 0)
        )
        variance = self.constant(rng.uniform(0.5, 1.5, channels).astype(np.float32))
        return self.add("BatchNormalization", x, scale, bias, mean, variance)

    def dense(self, x: str, ins: int, outs: int, output: str = "") -> str:
        weight = self.normal(ins, outs, scale=(2 / ins) ** 0.5)
        return self.add("Gemm", x, weight, self.normal(outs, scale=0.1), output=output)

    def model(
        self,
        inputs: dict[str, tuple[int, Dims]],
        outputs: dict[str, tuple[int, Dims]],
        opset: int = OPSET,
        domains: Sequence[str] = (),
    ) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info(n, kind, dims) for n, (kind, dims) in inputs.items()],
            [helper.make_tensor_value_info(n, kind, dims) for n, (kind, dims) in outputs.items()],
            self.weights,
        )
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def mlp() -> ModelProto:
    """x 1×16 → y 1×4: three dense layers."""
    g = Graph()
    x = g.add("Relu", g.dense("x", 16, 32))
    x = g.add("Relu", g.dense(x, 32, 32))
    g.dense(x, 32, 4, output="y")
    return g.model({"x": (FLOAT, [1, 16])}, {"y": (FLOAT, [1, 4])})


def cnn(*, opset: int = OPSET, batch: int | str = 1, final_softmax: bool = False) -> ModelProto:
    """image B×3×16×16 → scores B×10: batch norm, a residual, a depthwise layer, pooling."""
    g = Graph(1)
    x = g.add("Relu", g.batch_norm(g.conv("image", 3, 8), 8))
    x = g.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    inner = g.batch_norm(g.conv(g.add("Relu", g.conv(x, 8, 8, group=8)), 8, 8), 8)
    x = g.add("Relu", g.add("Add", x, inner))
    x = g.add("Flatten", g.add("GlobalAveragePool", x))
    if final_softmax:
        g.add("Softmax", g.dense(x, 8, 10, output="logits"), axis=-1, output="scores")
    else:
        g.dense(x, 8, 10, output="scores")
    return g.model({"image": (FLOAT, [batch, 3, 16, 16])}, {"scores": (FLOAT, [batch, 10])}, opset)


def two_by_two() -> ModelProto:
    """ids 1×4 (int64, below 6) and x 1×8 → total and delta, both 1×8."""
    g = Graph(2)
    rows = g.add("Gather", g.normal(6, 8), "ids")
    token = g.add("ReduceMean", rows, g.constant(np.array([1])), keepdims=0)
    token = g.add("Relu", g.dense(token, 8, 8))
    other = g.dense("x", 8, 8)
    g.add("Add", token, other, output="total")
    g.add("Sub", token, other, output="delta")
    return g.model(
        {"ids": (INT64, [1, 4]), "x": (FLOAT, [1, 8])},
        {"total": (FLOAT, [1, 8]), "delta": (FLOAT, [1, 8])},
    )


def open_batch() -> ModelProto:
    """The CNN with the batch called N, as PyTorch exports it."""
    return cnn(batch="N")


def sequence() -> ModelProto:
    """rows N×seq×8 → out N×seq×4: two open dimensions."""
    g = Graph(3)
    x = g.add("Relu", g.add("MatMul", "rows", g.normal(8, 16, scale=0.5)))
    x = g.add("MatMul", x, g.normal(16, 4, scale=0.3))
    g.add("Add", x, g.normal(4, scale=0.1), output="out")
    return g.model({"rows": (FLOAT, ["N", "seq", 8])}, {"out": (FLOAT, ["N", "seq", 4])})


def detector() -> ModelProto:
    """image 1×3×16×16 → found 1×6×64: boxes from 0 to 640 and scores from 0 to 1 in one tensor."""
    g = Graph(4)
    x = g.add("Relu", g.conv("image", 3, 8, strides=[2, 2]))
    boxes = g.add("Sigmoid", g.conv(x, 8, 4, 1))
    boxes = g.add("Mul", boxes, g.constant(np.float32(640)), output="boxes")
    scores = g.add("Sigmoid", g.conv(x, 8, 2, 1), output="probabilities")
    boxes = g.add("Reshape", boxes, g.constant(np.array([1, 4, 64])))
    scores = g.add("Reshape", scores, g.constant(np.array([1, 2, 64])))
    g.add("Concat", boxes, scores, axis=1, output="found")
    return g.model({"image": (FLOAT, [1, 3, 16, 16])}, {"found": (FLOAT, [1, 6, 64])})


def softmax() -> ModelProto:
    """The CNN with a final softmax."""
    return cnn(final_softmax=True)


def recurrent() -> ModelProto:
    """rows 1×6×8 → out 1×4: an LSTM."""
    g = Graph(5)
    x = g.add("Transpose", "rows", perm=[1, 0, 2])
    weights = (g.normal(1, 64, 8, scale=0.3), g.normal(1, 64, 16, scale=0.3))
    g.nodes.append(
        helper.make_node("LSTM", [x, *weights], ["", "last"], "node_lstm", hidden_size=16)
    )
    x = g.add("Squeeze", "last", g.constant(np.array([0])))
    g.dense(x, 16, 4, output="out")
    return g.model({"rows": (FLOAT, [1, 6, 8])}, {"out": (FLOAT, [1, 4])})


def half() -> ModelProto:
    """x 1×8 → y 1×4, all in float16."""
    g = Graph(6)
    kind = TensorProto.FLOAT16
    hidden = g.add("Relu", g.add("MatMul", "x", g.normal(8, 16, scale=0.3, dtype="float16")))
    g.add("MatMul", hidden, g.normal(16, 4, scale=0.3, dtype="float16"), output="y")
    return g.model({"x": (kind, [1, 8])}, {"y": (kind, [1, 4])})


MODELS = {
    "mlp": mlp,
    "cnn": cnn,
    "two": two_by_two,
    "open": open_batch,
    "sequence": sequence,
    "detector": detector,
    "softmax": softmax,
    "recurrent": recurrent,
    "half": half,
}


def write(name: str, folder: Path) -> Path:
    """Save the model of that name (a key of MODELS) as ``folder/name.onnx``."""
    path = folder / f"{name}.onnx"
    save(MODELS[name](), path)
    return path
