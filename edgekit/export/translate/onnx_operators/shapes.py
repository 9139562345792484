"""Shapes: what is known now becomes a constant, so that shape arithmetic leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.onnx_graph import Handler, Node
from edgekit.export.translate.padding import mirrored, picker

Tensor = torch.Tensor


def known(node: Node, tensor: Tensor) -> Value:
    """A constant made at translation."""
    return Value(tensor, True, node.title)


def shape(node: Node) -> Value:
    sizes = node.x.shape[slice(node.attribute("start", 0), node.attribute("end"))]
    return known(node, torch.tensor(sizes, dtype=torch.int64))


def size(node: Node) -> Value:
    return known(node, torch.tensor(node.x.tensor.numel(), dtype=torch.int64))


def constant(node: Node) -> Value:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        given = node.attribute(name)
        if isinstance(given, Tensor):
            return known(node, given)
        if given is not None:
            dtype = torch.float32 if "float" in name else torch.int64
            return known(node, torch.tensor(given, dtype=dtype))
    raise Refusal("is text or sparse")


def constant_of_shape(node: Node) -> Value:
    given = node.attribute("value")
    filled = torch.zeros(1) if given is None else given
    return known(node, filled.reshape(()).expand(node.ints(0, "a shape")).clone())


def value_range(node: Node) -> Value:
    start, limit, delta = (node.constant(at, "a range") for at in range(3))
    return known(node, torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype))


def reshaped(node: Node, x: Value, sizes: list[int]) -> Value:
    """No call where nothing changes."""
    if x.shape == sizes:
        return x
    return node.call(lambda x: x.reshape(sizes), x)


def reshape(node: Node) -> Value:
    sizes, x = node.ints(1, "a shape"), node.x
    if not node.attribute("allowzero", 0):
        sizes = [x.shape[at] if n == 0 else n for at, n in enumerate(sizes)]
    return reshaped(node, x, list(x.tensor.reshape(sizes).shape))


def flatten(node: Node) -> Value:
    x, axis = node.x, node.attribute("axis", 1)
    axis = axis + x.rank if axis < 0 else axis
    rows = int(torch.tensor(x.shape[:axis]).prod())
    return reshaped(node, x, [rows, x.tensor.numel() // max(rows, 1)])


def transpose(node: Node) -> Value:
    order = list(node.attribute("perm") or reversed(range(node.x.rank)))
    if order == sorted(order):
        return node.x
    return node.call(lambda x: x.permute(order), node.x)


def squeeze(node: Node) -> Value:
    x, axes = node.x, node.axes()
    if axes is None:
        axes = [at for at, n in enumerate(x.shape) if n == 1]
    dropped = {axis % x.rank for axis in axes}
    if any(x.shape[axis] != 1 for axis in dropped):
        raise Refusal(f"drops axes {sorted(dropped)} of the shape {x.shape}")
    return reshaped(node, x, [n for at, n in enumerate(x.shape) if at not in dropped])


def unsqueeze(node: Node) -> Value:
    x, axes = node.x, node.axes() or []
    rank = x.rank + len(axes)
    added, sizes = {axis % rank for axis in axes}, iter(x.shape)
    return reshaped(node, x, [1 if at in added else next(sizes) for at in range(rank)])


def expand(node: Node) -> Value:
    x = node.x
    sizes = list(np.broadcast_shapes(tuple(x.shape), tuple(node.ints(1, "a shape"))))
    if sizes == x.shape:
        return x
    return node.call(lambda x: x.expand(sizes), x)


def tile(node: Node) -> Value:
    repeats = node.ints(1, "repeats")
    return node.call(lambda x: x.repeat(repeats), node.x)


def concat(node: Node) -> Value:
    axis = node.attribute("axis")
    given = [value for value in node.inputs if value is not None and value.tensor.numel()]
    if len(given) == 1:
        return given[0]
    if not given:
        return node.x
    return node.call(lambda *parts: torch.cat(parts, axis), *given)


def split(node: Node) -> Any:
    x, axis = node.x, node.attribute("axis", 0)
    given = node.attribute("split")  # before operator set 13
    sizes = list(given) if given else node.ints(1, "sizes") if node.maybe(1) is not None else None
    if sizes is None:
        count = node.attribute("num_outputs") or node.outputs
        each = -(-x.shape[axis] // count)
        sizes = [min(each, x.shape[axis] - each * at) for at in range(count)]
    return node.calls(lambda x: torch.split(x, sizes, axis), x)


_MODES = {"reflect": "reflect", "edge": "replicate", "constant": "constant"}


def pad(node: Node) -> Value:
    x, mode = node.x, node.attribute("mode", "constant")
    pads, axes = node.ints(1, "paddings"), node.axes(3)
    axes = list(range(x.rank)) if axes is None else [axis % x.rank for axis in axes]
    begins, ends = [0] * x.rank, [0] * x.rank
    for at, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[at], pads[at + len(axes)]
    if not any(begins + ends):
        return x
    value = node.constant(2, "a padding value").item() if node.maybe(2) is not None else 0
    padded = [at for at in range(x.rank) if begins[at] or ends[at]]
    first, least = padded[0], min(begins + ends)
    pairs = [n for at in reversed(range(first, x.rank)) for n in (begins[at], ends[at])]
    if mode == "constant":
        return node.call(lambda x: F.pad(x, pairs, value=value), x)
    if mode in _MODES and first >= 2 and x.rank <= 5 and least >= 0 and x.dtype.is_floating_point:
        pairs = [n for at in reversed(range(2, x.rank)) for n in (begins[at], ends[at])]
        return node.call(lambda x: F.pad(x, pairs, mode=_MODES[mode]), x)
    if mode not in ("reflect", "edge", "wrap"):
        raise Refusal(f"has the mode {mode}")
    made = x
    for axis in padded:
        places = mirrored(mode, x.shape[axis], begins[axis], ends[axis])
        made = node.call(picker(axis), made, places, names=("", f"places{axis}"))
    return made


def depth_to_space(node: Node) -> Value:
    b, x = node.attribute("blocksize"), node.x
    n, c, h, w = x.shape
    if node.attribute("mode", "DCR") == "CRD":
        return node.call(lambda x: F.pixel_shuffle(x, b), x)
    return node.call(
        lambda x: (
            x.reshape(n, b, b, c // b**2, h, w)
            .permute(0, 3, 4, 1, 5, 2)
            .reshape(n, c // b**2, h * b, w * b)
        ),
        x,
    )


def space_to_depth(node: Node) -> Value:
    b, x = node.attribute("blocksize"), node.x
    n, c, h, w = x.shape
    return node.call(
        lambda x: (
            x.reshape(n, c, h // b, b, w // b, b)
            .permute(0, 3, 5, 1, 2, 4)
            .reshape(n, c * b**2, h // b, w // b)
        ),
        x,
    )


def eye_like(node: Node) -> Value:
    rows, columns = node.x.shape
    made = torch.zeros(rows, columns).fill_diagonal_(0)
    places = torch.arange(rows)
    columns_of = places + node.attribute("k", 0)
    inside = (columns_of >= 0) & (columns_of < columns)
    made[places[inside], columns_of[inside]] = 1
    return known(node, made.to(node.x.dtype))


def condition(node: Node) -> Any:
    """If: only with a condition that is known now; then the branch stands in its place."""
    chosen = bool(node.constant(0, "a condition").item())
    return node.inline(node.attribute("then_branch" if chosen else "else_branch"))


TABLE: dict[str, Handler] = {
    "Shape": shape,
    "Size": size,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": value_range,
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Concat": concat,
    "Split": split,
    "Pad": pad,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "EyeLike": eye_like,
    "If": condition,
}
