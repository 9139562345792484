"""Over axes: sums, extremes, order, products of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.onnx_graph import Handler, Node

Tensor = torch.Tensor


def product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for dim in sorted(dims, reverse=True):
        x = torch.prod(x, dim, keepdim=keep)
    return x


_REDUCE: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceSum": lambda x, dims, keep: torch.sum(x, dims, keep).to(x.dtype),
    "ReduceMean": torch.mean,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceProd": product,
    "ReduceL1": lambda x, dims, keep: torch.sum(x.abs(), dims, keep),
    "ReduceL2": lambda x, dims, keep: torch.sqrt(torch.sum(x * x, dims, keep)),
    "ReduceLogSum": lambda x, dims, keep: torch.log(torch.sum(x, dims, keep)),
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceSumSquare": lambda x, dims, keep: torch.sum(x * x, dims, keep),
}


def reduction(node: Node) -> Value:
    x, axes = node.x, node.axes()
    keep = bool(node.attribute("keepdims", 1))
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return x
    dims = [axis % x.rank for axis in axes] if axes else list(range(x.rank))
    # Negative, as people write global averages and as backends look for them.
    dims = [dim - x.rank for dim in sorted(dims, reverse=True)] if x.rank == 4 else sorted(dims)
    function = _REDUCE[node.operator]
    if node.operator == "ReduceMean" and dims == [-1, -2] and x.rank == 4 and not keep:
        # In two steps as torch's global pooling has it, which backends know.
        return node.call(lambda x: torch.mean(x, dims, True).reshape(x.shape[:2]), x)
    return node.call(lambda x: function(x, dims, keep), x)


def extreme(node: Node) -> Value:
    x, axis = node.x, node.attribute("axis", 0)
    keep, last = bool(node.attribute("keepdims", 1)), node.attribute("select_last_index", 0)
    function = torch.argmax if node.operator == "ArgMax" else torch.argmin
    size = x.shape[axis]

    def compute(x: Tensor) -> Any:
        if last:
            return size - 1 - function(torch.flip(x, [axis]), axis, keep)
        return function(x, axis, keep)

    return node.call(compute, x)


def top_k(node: Node) -> Any:
    k = int(node.constant(1, "a count").item())
    axis, largest = node.attribute("axis", -1), bool(node.attribute("largest", 1))
    ordered = bool(node.attribute("sorted", 1))
    return node.calls(lambda x: tuple(torch.topk(x, k, axis, largest, ordered)), node.x)


def cumulative_sum(node: Node) -> Value:
    axis = int(node.constant(1, "an axis").item())
    backward, without = node.attribute("reverse", 0), node.attribute("exclusive", 0)

    def compute(x: Tensor) -> Tensor:
        given = torch.flip(x, [axis]) if backward else x
        made = torch.cumsum(given, axis).to(x.dtype)
        made = made - given if without else made
        return torch.flip(made, [axis]) if backward else made

    if without and node.x.dtype.is_floating_point:
        raise Refusal("is exclusive, which torch does not have for floating-point numbers")
    return node.call(compute, node.x)


def einsum(node: Node) -> Value:
    equation = node.attribute("equation")
    return node.call(lambda *given: torch.einsum(equation, *given), *node.inputs)


TABLE: dict[str, Handler] = {
    **dict.fromkeys(_REDUCE, reduction),
    "ArgMax": extreme,
    "ArgMin": extreme,
    "TopK": top_k,
    "CumSum": cumulative_sum,
    "Einsum": einsum,
}
