"""Where the operators of an ONNX file run.

ONNX Runtime computes all of them on the CPU, or does not load the file. TensorRT builds the whole
graph into an engine or refuses it; nothing is left to the CPU. NVIDIA's list, of TensorRT 10.15:
https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md
"""

from __future__ import annotations

from typing import Any

from edgekit.core import macs
from edgekit.core.description import CPU, Coverage, Node
from edgekit.core.errors import ConversionError
from edgekit.export import onnx_graph

TENSORRT = "tensorrt"
SOURCE = "NVIDIA's list of operators; the build on the device decides"
# What the list says no to. Operators of other domains are not in it.
REFUSED = frozenset(
    {
        "AffineGrid", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
        "BitwiseXor", "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger",
        "DFT", "Det", "DynamicQuantizeLinear", "ImageDecoder", "MatMulInteger", "MaxRoiPool",
        "MaxUnpool", "MelWeightMatrix", "Multinomial", "NegativeLogLikelihoodLoss", "Optional",
        "OptionalGetElement", "OptionalHasElement", "QLinearConv", "QLinearMatMul",
        "RegexFullMatch", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
        "SequenceInsert", "SequenceLength", "SequenceMap", "SoftmaxCrossEntropyLoss",
        "SplitToSequence", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer",
        "Unique",
    }
)  # fmt: skip


def tensorrt(proto: Any) -> Coverage:
    """All of the graph, with the multiply-adds of each operator.

    Raises:
        ConversionError: TensorRT's parser does not take an operator; names it and its layer.
    """
    refused: dict[str, str] = {}
    for node in onnx_graph.all_nodes(proto.graph):
        if node.domain not in ("", "ai.onnx"):
            refused.setdefault(f"{node.domain}.{node.op_type}", node.name)
        elif node.op_type in REFUSED:
            refused.setdefault(node.op_type, node.name)
    if refused:
        names = ", ".join(f"{kind} ({where})" for kind, where in sorted(refused.items()))
        raise ConversionError(
            f"TensorRT does not have {names}",
            hint="take it for ONNX Runtime (onnx-float32), or export the model without these",
        )
    return _coverage(proto, TENSORRT, SOURCE)


def cpu(proto: Any) -> dict[str, Any]:
    """``coverage``: all of the graph on ONNX Runtime's own kernels; ``uncounted``, sentences, where
    a shape is not known, so that nothing can be counted.
    """
    try:
        found = _coverage(proto, CPU, "ONNX Runtime, which takes all of a file or none")
    except ConversionError as exc:
        return {"uncounted": [f"its multiply-adds are not counted: {exc.message}"]}
    return {"coverage": found.to_json()}


def _coverage(proto: Any, where: str, source: str) -> Coverage:
    import onnx

    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.dim_value > 0 for dim in dims):
            shapes[value.name] = [dim.dim_value for dim in dims]
    return Coverage(
        nodes=tuple(
            Node(
                operator=node.op_type,
                where=where,
                macs=_macs(node, shapes),
                layer=node.name.rpartition("/")[0] or node.name,
            )
            for node in graph.node
            if node.op_type != "Constant"
        ),
        partitions=1,
        source=source,
    )


_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger", "LSTM", "GRU", "RNN")


def _macs(node: Any, shapes: dict[str, list[int]]) -> int:
    """Multiply-adds of one inference; raises ConversionError where shapes are not known."""
    kind = node.op_type
    if kind not in _PRODUCTS:
        return 0
    output = next((name for name in node.output if name), "")
    try:
        first, second = (shapes[name] for name in node.input[:2])
        given = shapes[output]
    except KeyError as exc:
        raise ConversionError(f"the shape of {exc.args[0]!r} is not known") from exc
    attributes = {attribute.name: attribute for attribute in node.attribute}
    groups = attributes["group"].i if "group" in attributes else 1
    if kind == "Conv":
        return macs.conv(given, second[2:], first[1], groups)
    if kind == "ConvTranspose":
        return macs.transposed_conv(first, second[2:], given[1], groups)
    if kind == "Gemm":
        turned = "transA" in attributes and attributes["transA"].i
        return macs.fully_connected(given, first[0 if turned else 1])
    if kind in ("MatMul", "MatMulInteger"):
        return macs.matmul(first, second)
    steps, batch, inputs = first  # weights are directions × gates·hidden × inputs
    hidden = attributes["hidden_size"].i
    gates = second[1] // hidden
    return second[0] * macs.recurrent(gates, steps, batch, inputs, hidden)
