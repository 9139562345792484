"""Over axes: sums, extremes, order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.tflite_graph import Handler, Node, axis_of

Tensor = torch.Tensor


def _product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for dim in sorted((dim % x.ndim for dim in dims), reverse=True):
        x = torch.prod(x, dim, keepdim=keep).to(x.dtype)
    return x


_REDUCE: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "SUM": lambda x, dims, keep: torch.sum(x, dims, keep).to(x.dtype),
    "MEAN": torch.mean,
    "REDUCE_MAX": torch.amax,
    "REDUCE_MIN": torch.amin,
    "REDUCE_PROD": _product,
    "REDUCE_ANY": torch.any,
    "REDUCE_ALL": torch.all,
}


def flat_mean(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    """Over space; in two steps as torch's global pooling has it, which backends know."""
    return torch.mean(x, dims, True).reshape(x.shape[:2])


def reduction(node: Node) -> Value:
    x, axes, keep = node.value(0), node.ints(1, "axes"), bool(node.option("keepDims"))
    if node.operator == "MEAN" and not x.dtype.is_floating_point:
        raise Refusal("is a mean of whole numbers")
    rank = x.rank
    if not axes:
        return x
    gone = sorted({axis_of(x, axis) for axis in axes})
    stays = x.channels_first
    if x.channels_first and not keep:
        left = [at for at in range(rank) if at not in gone]
        # What is left may lie in the file's order now, or with channels still in front.
        if 0 in gone:
            x, stays = node.to_plain(x), False
            gone = sorted({axis % rank for axis in axes})
        elif 1 in gone or len(left) == 2:
            stays = False
    dims = [at - rank for at in reversed(gone)] if rank == 4 else gone
    function = _REDUCE[node.operator]
    if node.operator == "MEAN" and x.channels_first and not keep and gone == [2, 3]:
        function = flat_mean
    made = node.call(lambda x: function(x, dims, keep), x)
    made.channels_first = stays
    return made


def extreme(node: Node) -> Value:
    x, axis, dtype = node.plain(), node.ints(1, "an axis")[0], node.output_dtype()
    function = torch.argmax if node.operator == "ARG_MAX" else torch.argmin
    return node.call(lambda x: function(x, axis).to(dtype), x)


def top_k(node: Node) -> Any:
    k, dtype = node.ints(1, "a count")[0], node.output_dtype(1)

    def compute(x: Tensor) -> tuple[Tensor, Tensor]:
        values, places = torch.topk(x, k)
        return values, places.to(dtype)

    return node.calls(compute, node.plain())


def cumulative_sum(node: Node) -> Value:
    axis = node.ints(1, "an axis")[0]
    backward = bool(node.option("reverse"))
    if node.option("exclusive"):
        raise Refusal("is exclusive")

    def compute(x: Tensor) -> Tensor:
        made = torch.cumsum(torch.flip(x, [axis]) if backward else x, axis).to(x.dtype)
        return torch.flip(made, [axis]) if backward else made

    return node.call(compute, node.plain())


TABLE: dict[str, Handler] = {
    **dict.fromkeys(_REDUCE, reduction),
    "ARG_MAX": extreme,
    "ARG_MIN": extreme,
    "TOPK_V2": top_k,
    "CUMSUM": cumulative_sum,
}
