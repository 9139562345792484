"""Which operators of an edge program the delegates took, with multiply-adds and the user's layers.

An edge program names operators as torch does ("aten.convolution.default"). Marks of quantization
(quantize and dequantize operators) inside a delegate are notation, not work: the delegate computes
in integers instead. They are left out there and counted where a kernel has to run them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from edgekit.core.description import PORTABLE, Coverage, Node
from edgekit.core.fx import modules

# These cost nothing when the program runs: they pick one of several results, or only say something.
_FREE = ("getitem", "alloc", "executorch_call_delegate")
_NOTATION = ("quantize", "choose_qparams", "dequantize")


def coverage(manager: Any, place: str, source: str) -> Coverage:
    """Of an `EdgeProgramManager` after its delegates took their part; `place` is their name."""
    program = manager.exported_program()
    nodes = tuple(_walk(program.graph_module, place))
    return Coverage(
        nodes=nodes,
        partitions=sum(1 for _ in _delegates(program.graph_module)),
        source=source,
    )


def _delegates(module: Any) -> Iterator[Any]:
    for each in module.modules():
        if hasattr(each, "graph"):
            yield from (node for node in each.graph.nodes if _name(node).endswith("call_delegate"))


def _walk(module: Any, place: str) -> Iterator[Node]:
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        name = _name(node)
        if name.endswith("call_delegate"):
            lowered = getattr(module, node.args[0].target)
            for inner in lowered.original_module.graph_module.graph.nodes:
                if inner.op == "call_function" and not _is_notation(inner):
                    yield from _described(inner, place)
            continue
        branches = [getattr(module, arg.target) for arg in node.args if _is_graph(module, arg)]
        for branch in branches:  # of torch.cond and its like
            yield from _walk(branch, place)
        if not branches:
            yield from _described(node, PORTABLE)


def _is_graph(module: Any, arg: Any) -> bool:
    return getattr(arg, "op", "") == "get_attr" and hasattr(
        getattr(module, str(arg.target), None), "graph"
    )


def _is_notation(node: Any) -> bool:
    name = _name(node)
    return "quantized_decomposed" in name and any(mark in name for mark in _NOTATION)


def _described(node: Any, where: str) -> Iterator[Node]:
    name = _name(node)
    if any(name.endswith(free) for free in _FREE) or _is_size(node):
        return
    yield Node(operator=name, where=where, macs=macs(node), layer=layer(node), dtype=_dtype(node))


def _is_size(node: Any) -> bool:
    """Whether it computes an open size, which is a number and no tensor."""
    import torch

    return isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat)


def _name(node: Any) -> str:
    """``aten.convolution.default``, of an operator of the ATen or of the edge dialect."""
    operator = getattr(node.target, "_op", node.target)
    return str(operator) if "." in str(operator) else getattr(operator, "__name__", str(operator))


def layer(node: Any) -> str:
    """The user's name of the module that the node comes from; empty if nothing is kept."""
    return next(iter(modules(node)), "")


def _dtype(node: Any) -> str:
    value = node.meta.get("val")
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return str(getattr(first, "dtype", "")).removeprefix("torch.")


def macs(node: Any) -> int:
    """Multiply-adds of one inference; 0 for operators without products of matrices."""
    kind = _name(node).split(".")[1] if "." in _name(node) else ""
    if kind not in _MACS:
        return 0
    shapes = [_shape(arg) for arg in node.args[:3]]
    out = _shape(node)
    return int(_MACS[kind](shapes, out, node.args))


def _shape(node: Any) -> tuple[int, ...]:
    value = getattr(node, "meta", {}).get("val")
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    # int() of an open size would fix it, in the program too. The hint is the largest.
    return tuple(
        size if isinstance(size, int) else size.node.hint for size in getattr(first, "shape", ())
    )


def _convolution(shapes: list[tuple[int, ...]], out: tuple[int, ...], args: Any) -> int:
    given, weight = shapes[0], shapes[1]
    transposed = len(args) > 6 and bool(args[6])
    # Weights: (out, in/groups, …), transposed (in, out/groups, …): one product for each of the
    # second and following for every number of the output, or of the input.
    return prod(given if transposed else out) * prod(weight[1:])


def _product(shapes: list[tuple[int, ...]], out: tuple[int, ...], args: Any) -> int:
    return prod(out) * shapes[0][-1]


def _added_product(shapes: list[tuple[int, ...]], out: tuple[int, ...], args: Any) -> int:
    return prod(out) * shapes[1][-1]


def _attention(shapes: list[tuple[int, ...]], out: tuple[int, ...], args: Any) -> int:
    query, key, value = shapes
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


_MACS = {
    "convolution": _convolution,
    "conv2d": _convolution,
    "conv1d": _convolution,
    "linear": _product,
    "mm": _product,
    "bmm": _product,
    "matmul": _product,
    "addmm": _added_product,
    "baddbmm": _added_product,
    "scaled_dot_product_attention": _attention,
}
