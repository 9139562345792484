"""Shapes, layouts, joining and dividing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Value
from edgekit.export.translate.padding import mirrored, pairs, picker
from edgekit.export.translate.tflite_graph import Handler, Node, axis_of, file_shape, moved

Tensor = torch.Tensor


def reshaped(node: Node, x: Value, sizes: list[int]) -> Value:
    """`sizes` in the file's order. Channels stay in front where batch and channels stay."""
    now = file_shape(x)
    if now == sizes:
        return x
    if x.channels_first and len(sizes) >= 3 and (now[0], now[-1]) == (sizes[0], sizes[-1]):
        turned = moved(sizes)  # only what lies between is cut otherwise
        made = node.call(lambda x: x.reshape(turned), x)
        made.channels_first = True
        return made
    if x.channels_first and (now[-1] == 1 or all(n == 1 for n in now[1:-1])):
        return node.call(lambda x: x.reshape(sizes), x)  # in either layout the same order
    plain = node.to_plain(x)
    return node.call(lambda x: x.reshape(sizes), plain)


def reshape(node: Node) -> Value:
    if node.maybe(1) is not None:
        sizes = node.ints(1, "a shape")
    else:
        sizes = [int(size) for size in node.option("newShape")]
    x = node.value(0)
    if -1 in sizes:
        rest = 1
        for size in sizes:
            rest *= size if size != -1 else 1
        sizes = [x.tensor.numel() // rest if size == -1 else size for size in sizes]
    return reshaped(node, x, sizes)


def squeeze(node: Node) -> Value:
    x = node.value(0)
    now, given = file_shape(x), node.option("squeezeDims")
    dropped = {int(axis) % len(now) for axis in ([] if given is None else given)}
    dropped = dropped or {at for at, size in enumerate(now) if size == 1}
    return reshaped(node, x, [size for at, size in enumerate(now) if at not in dropped])


def expand_dims(node: Node) -> Value:
    x = node.value(0)
    sizes = file_shape(x)
    axis = node.ints(1, "an axis")[0]
    sizes.insert(axis if axis >= 0 else axis + len(sizes) + 1, 1)
    return reshaped(node, x, sizes)


def transpose(node: Node) -> Value:
    """Where the file only turns to the layout that the value has here already, nothing moves."""
    order, x = [axis % node.value(0).rank for axis in node.ints(1, "an order")], node.value(0)
    here = [axis_of(x, axis) for axis in order]  # of the file's order, from how x lies
    if here == sorted(here):
        return _relabelled(x, False)
    if len(here) >= 3:
        front = moved(here)
        if front == sorted(front):
            return _relabelled(x, True)
    return node.call(lambda x: x.permute(here), x)


def _relabelled(x: Value, channels_first: bool) -> Value:
    """The same elements, called another layout."""
    made = Value(x.tensor, x.constant, x.name, channels_first=channels_first)
    made.alias = x.alias or x
    return made


def concatenation(node: Node) -> Value:
    activation = node.activation()
    given = [node.value(at) for at in range(len(node.inputs))]
    given = [value for value in given if value.tensor.numel()] or given[:1]
    first = any(value.channels_first for value in given if not value.constant)
    parts = [node.to_first(v) if first else node.to_plain(v) for v in given]
    axis = axis_of(parts[0], int(node.option("axis")))
    # Rows of a list that a loop fills, one at a time, are joined once at the end.
    flat: list[Value] = []
    for part in parts:
        flat += part.origin[2] if part.origin[:2] == ("rows", axis) else [part]
    made = joined(node, flat, axis, activation)
    made.origin = ("joined", axis, flat) if node.option("fusedActivationFunction") == 0 else ()
    if first:
        made.channels_first = True
    return made


def joined(node: Node, parts: list[Value], axis: int, activation: Any = None) -> Value:
    if len(parts) == 1 and activation is None:
        return parts[0]
    return node.call(
        lambda *parts: (
            torch.cat(parts, axis) if activation is None else activation(torch.cat(parts, axis))
        ),
        *parts,
        names=[f"part{at}" for at in range(len(parts))],
    )


def split(node: Node) -> Any:
    if node.operator == "SPLIT":
        x, axis = node.value(1), node.ints(0, "an axis")[0]
        count = int(node.option("numSplits"))
        axis = axis_of(x, axis)
        sizes = [x.shape[axis] // count] * count
    else:
        x = node.value(0)
        axis = axis_of(x, node.ints(2, "an axis")[0])
        sizes = node.ints(1, "sizes")
        if -1 in sizes:
            rest = x.shape[axis] - sum(size for size in sizes if size != -1)
            sizes = [rest if size == -1 else size for size in sizes]
    made = node.calls(lambda x: torch.split(x, sizes, axis), x)
    for part in made:
        part.channels_first = x.channels_first
    return made


def pack(node: Node) -> Value:
    axis = int(node.option("axis"))
    given = [node.plain(at) for at in range(len(node.inputs))]
    return node.call(
        lambda *parts: torch.stack(parts, axis),
        *given,
        names=[f"part{at}" for at in range(len(given))],
    )


def unpack(node: Node) -> Any:
    axis = int(node.option("axis"))
    return node.calls(lambda x: torch.unbind(x, axis), node.plain())


def pad(node: Node) -> Value:
    x, given = node.value(0), node.constant(1, "paddings").tolist()
    begins, ends = [0] * x.rank, [0] * x.rank
    for axis, (begin, end) in enumerate(given):
        begins[axis_of(x, axis)], ends[axis_of(x, axis)] = int(begin), int(end)
    if not any(begins + ends):
        return x
    if node.operator == "MIRROR_PAD":
        return _mirrored(node, x, begins, ends)
    value = node.constant(2, "a value").item() if node.maybe(2) is not None else 0
    least = next(at for at in range(x.rank) if begins[at] or ends[at])
    extra = pairs(begins[least:], ends[least:])
    outer = (begins[0], ends[0], begins[-1], ends[-1])
    if x.rank == 4 and not x.channels_first and not any(outer):
        # An image that a convolution reads next; in its layout the padding may join it.
        x = node.to_first(x)
        extra = pairs(begins[1:3], ends[1:3])
        begins, ends = moved(begins), moved(ends)
    made = node.call(lambda x: F.pad(x, extra, value=value), x)
    made.channels_first = x.channels_first
    if x.channels_first and value == 0 and not any(begins[:2] + ends[:2]):
        made.origin = ("zeros", x, begins[2:], ends[2:])
    return made


def _mirrored(node: Node, x: Value, begins: list[int], ends: list[int]) -> Value:
    symmetric = bool(node.option("mode"))
    made = x
    if x.channels_first and not symmetric and not any(begins[:2] + ends[:2]) and x.rank <= 5:
        extra = pairs(begins[2:], ends[2:])
        made = node.call(lambda x: F.pad(x, extra, mode="reflect"), x)
    else:
        mode = "symmetric" if symmetric else "reflect"
        for axis in range(x.rank):
            if begins[axis] or ends[axis]:
                places = mirrored(mode, x.shape[axis], begins[axis], ends[axis])
                made = node.call(picker(axis), made, places, names=("", f"places{axis}"))
    made.channels_first = x.channels_first
    return made


def tile(node: Node) -> Value:
    repeats, x = node.ints(1, "repeats"), node.value(0)
    repeats = moved(repeats) if x.channels_first else repeats
    made = node.call(lambda x: x.repeat(repeats), x)
    made.channels_first = x.channels_first
    return made


def broadcast_to(node: Node) -> Value:
    sizes = node.ints(1, "a shape")
    x = node.plain()
    return x if x.shape == sizes else node.call(lambda x: x.expand(sizes), x)


def shape(node: Node) -> Value:
    sizes = torch.tensor(file_shape(node.value(0)), dtype=node.output_dtype())
    return Value(sizes, True, node.title)


def rank(node: Node) -> Value:
    return Value(torch.tensor(node.value(0).rank, dtype=torch.int32), True, node.title)


def fill(node: Node) -> Value:
    sizes = node.ints(0, "a shape")
    return node.call(lambda x: x.expand(sizes), node.value(1))


def value_range(node: Node) -> Value:
    start, limit, delta = (node.constant(at, "a range") for at in range(3))
    made = torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)
    return Value(made, True, node.title)


def broadcast_arguments(node: Node) -> Value:
    sizes = np.broadcast_shapes(tuple(node.ints(0, "a shape")), tuple(node.ints(1, "a shape")))
    return Value(torch.tensor(sizes, dtype=node.output_dtype()), True, node.title)


TABLE: dict[str, Handler] = {
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenation,
    "SPLIT": split,
    "SPLIT_V": split,
    "PACK": pack,
    "UNPACK": unpack,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": pad,
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "BROADCAST_ARGS": broadcast_arguments,
    "SHAPE": shape,
    "RANK": rank,
    "FILL": fill,
    "RANGE": value_range,
}
