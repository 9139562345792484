"""Which of the user's layers an operator is, as far as runtimes keep the link."""

from __future__ import annotations

from edgekit.core.description import Node
from edgekit.core.measurement import OperatorTime, OperatorTimes
from edgekit.measure.operator_layers import with_layers


def layers(nodes: list[Node], file_format: str, *operators: tuple[str, str, str]) -> list[str]:
    """Of operators that are (name, kind, where)."""
    told = tuple(
        OperatorTime(name=name, kind=kind, where=where, calls=1, ns=1)
        for name, kind, where in operators
    )
    times = OperatorTimes(runs=1, total_ns=1, operators=told)
    found = with_layers(times, nodes, file_format)  # type: ignore[arg-type]
    return [each.layer for each in found.operators]


def test_litert_numbers_what_it_runs_itself() -> None:
    nodes = [Node(operator="CONV_2D", layer="stem"), Node(operator="SOFTMAX", layer="head")]
    assert layers(
        nodes,
        "tflite",
        ("[Delegate]:0", "Convolution (NHWC, F32) IGEMM", "xnnpack"),
        ("[top of it]:1", "SOFTMAX", "cpu"),
        ("[another kind]:0", "SOFTMAX", "cpu"),
        ("[delegate's own]:2", "TfLiteXNNPackDelegate", "cpu"),
        ("no number", "SOFTMAX", "cpu"),
    ) == ["", "head", "", "", ""]


def test_onnx_runtime_keeps_names() -> None:
    nodes = [
        Node(operator="MatMul", layer="dense"),
        Node(operator="Softmax", layer="head.top", name="node_softmax_1"),
        Node(operator="Add"),
    ]
    assert layers(
        nodes,
        "onnx",
        ("dense", "MatMul", "cpu"),
        ("node_softmax_1", "Softmax", "cpu"),
        ("head.top", "Softmax", "cpu"),
        ("ReorderInput", "ReorderInput", "cpu"),
    ) == ["dense", "head.top", "", ""]


def test_executorch_keeps_no_link() -> None:
    nodes = [Node(operator="aten.linear.default", layer="dense")]
    assert layers(nodes, "executorch", ("native_call_linear.out", "native_call", "cpu")) == [""]
