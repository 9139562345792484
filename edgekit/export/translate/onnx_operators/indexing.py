"""Picking and placing elements."""

from __future__ import annotations

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.onnx_graph import Handler, Node

Tensor = torch.Tensor


def slices(node: Node) -> Value:
    x = node.x
    starts, ends = node.ints(1, "a start"), node.ints(2, "an end")
    given = node.axes(3)
    axes = list(range(len(starts))) if given is None else [axis % x.rank for axis in given]
    steps = node.ints(4, "a step") if node.maybe(4) is not None else [1] * len(starts)
    made = x
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        made = sliced(node, made, axis, start, end, step)
    return made


def sliced(node: Node, x: Value, axis: int, start: int, end: int, step: int) -> Value:
    """Python's slice of one axis; no call where it takes all."""
    places = range(*slice(start, end, step).indices(x.shape[axis]))
    if step < 0 and end < -x.shape[axis]:  # past the beginning: everything down to the first
        places = range(*slice(start, None, step).indices(x.shape[axis]))
    if places == range(x.shape[axis]):
        return x
    if step > 0:
        return node.call(
            lambda x: torch.ops.aten.slice(x, axis, places.start, places.stop, step), x
        )
    if len(places) == 0:
        return node.call(lambda x: torch.ops.aten.slice(x, axis, 0, 0, 1), x)
    low, high = places[-1], places[0] + 1
    return node.call(
        lambda x: torch.flip(torch.ops.aten.slice(x, axis, low, high, -step), [axis]), x
    )


def _positive(indices: Value, size: int) -> Value:
    """Known negative indices count from the end."""
    if not indices.constant:
        return indices
    tensor = indices.tensor
    return Value(torch.where(tensor < 0, tensor + size, tensor).long(), True, indices.name)


def gather(node: Node) -> Value:
    x, axis = node.x, node.attribute("axis", 0) % max(node.x.rank, 1)
    indices = _positive(node.value(1), x.shape[axis])
    if indices.constant and indices.rank == 0:
        at = int(indices.tensor.item())
        return node.call(lambda x: x.select(axis, at), x)
    if x.rank == 2 and axis == 0 and x.constant and not indices.constant:
        return node.call(lambda weight, at: F.embedding(at, weight), x, indices, names=("weight",))
    shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    flat = indices.rank == 1
    return node.call(
        lambda x, at: (
            torch.index_select(x, axis, at)
            if flat
            else torch.index_select(x, axis, at.reshape(-1)).reshape(shape)
        ),
        x,
        indices,
        names=("data", "indices"),
    )


def gather_elements(node: Node) -> Value:
    axis = node.attribute("axis", 0)
    indices = _positive(node.value(1), node.x.shape[axis])
    return node.call(
        lambda x, at: torch.gather(x, axis, at), node.x, indices, names=("data", "indices")
    )


def gather_nd(node: Node) -> Value:
    if node.attribute("batch_dims", 0):
        raise Refusal("has batch dimensions")
    return node.call(
        lambda x, at: x[tuple(at.unbind(-1))], node.x, node.value(1), names=("data", "indices")
    )


def scatter_nd(node: Node) -> Value:
    how = node.attribute("reduction", "none")
    if how not in ("none", "add"):
        raise Refusal(f"has the reduction {how}")
    return node.call(
        lambda x, at, new: torch.index_put(x, tuple(at.unbind(-1)), new, how == "add"),
        *node.inputs,
        names=("data", "indices", "updates"),
    )


_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(node: Node) -> Value:
    axis, how = node.attribute("axis", 0), node.attribute("reduction", "none")
    indices = _positive(node.value(1), node.x.shape[axis])

    def compute(x: Tensor, at: Tensor, new: Tensor) -> Tensor:
        if how == "none":
            return torch.scatter(x, axis, at, new)
        return torch.scatter_reduce(x, axis, at, new, _REDUCTIONS[how], include_self=True)

    return node.call(compute, node.x, indices, node.value(2), names=("data", "indices", "updates"))


def one_hot(node: Node) -> Value:
    depth = int(node.constant(1, "a depth").item())
    axis, indices = node.attribute("axis", -1), node.x
    axis = axis + indices.rank + 1 if axis < 0 else axis
    places = torch.arange(depth, dtype=indices.dtype)
    shape = [depth if at == axis else 1 for at in range(indices.rank + 1)]

    def compute(at: Tensor, places: Tensor, values: Tensor) -> Tensor:
        at = torch.where(at < 0, at + depth, at).unsqueeze(axis)
        return torch.where(at == places.reshape(shape), values[1], values[0])

    return node.call(compute, indices, places, node.value(2), names=("", "places", "values"))


def trilu(node: Node) -> Value:
    k = int(node.constant(1, "a diagonal").item()) if node.maybe(1) is not None else 0
    function = torch.triu if node.attribute("upper", 1) else torch.tril
    return node.call(lambda x: function(x, k), node.x)


TABLE: dict[str, Handler] = {
    "Slice": slices,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "OneHot": one_hot,
    "Trilu": trilu,
}
