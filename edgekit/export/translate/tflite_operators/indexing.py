"""Picking elements."""

from __future__ import annotations

from typing import Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.tflite_graph import Handler, Node, axis_of, file_shape
from edgekit.export.translate.tflite_operators.shapes import joined

Tensor = torch.Tensor


def _sliced(node: Node, x: Value, axis: int, places: range) -> Value:
    """Some of one axis of a value, as it lies here."""
    if places == range(x.shape[axis]):
        return x
    step, flag = places.step, x.channels_first
    if step == 1 and x.origin[:2] == ("joined", axis):
        return _rows(node, x, axis, places)
    if step > 0 or len(places) == 0:
        start, stop = (places.start, places.stop) if len(places) else (0, 0)
        made = node.call(lambda x: torch.ops.aten.slice(x, axis, start, stop, abs(step)), x)
    else:
        low, high = places[-1], places[0] + 1
        made = node.call(
            lambda x: torch.flip(torch.ops.aten.slice(x, axis, low, high, -step), [axis]), x
        )
    made.channels_first = flag
    return made


def _rows(node: Node, x: Value, axis: int, places: range) -> Value:
    """A part of what was joined: its own parts, where it ends between two of them.

    Loops that fill a list write every row as before + row + after; so none of these stays.
    """
    kept: list[Value] = []
    at = 0
    for part in x.origin[2]:
        size = part.shape[axis]
        low, high = max(places.start - at, 0), min(places.stop - at, size)
        at += size
        if low >= high:
            continue
        if (low, high) == (0, size):
            kept.append(part)
            continue
        cut = node.call(_slicer(axis, low, high), part)
        cut.channels_first = x.channels_first
        kept.append(cut)
    if not kept:
        return _plain_slice(node, x, axis, places)
    made = joined(node, kept, axis)
    if len(kept) > 1:
        made.channels_first = x.channels_first
        made.origin = ("rows", axis, kept)
    return made


def _plain_slice(node: Node, x: Value, axis: int, places: range) -> Value:
    made = node.call(_slicer(axis, places.start, places.stop), x)
    made.channels_first = x.channels_first
    return made


def _slicer(axis: int, low: int, high: int) -> Any:
    return lambda x: torch.ops.aten.slice(x, axis, low, high, 1)


def slices(node: Node) -> Value:
    begins, sizes, made = node.ints(1, "a start"), node.ints(2, "a size"), node.value(0)
    for axis, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        here = axis_of(made, axis)
        stop = made.shape[here] if size == -1 else begin + size
        made = _sliced(node, made, here, range(begin, stop))
    return made


def strided_slice(node: Node) -> Value:
    x = node.value(0)
    begins, ends, steps = (node.ints(at, "places") for at in (1, 2, 3))
    masks = {
        name: int(node.option(f"{name}Mask"))
        for name in ("begin", "end", "ellipsis", "newAxis", "shrinkAxis")
    }
    if node.option("offset", False):
        ends = [begin + end for begin, end in zip(begins, ends, strict=True)]
    if masks["ellipsis"] and masks["newAxis"]:
        raise Refusal("has an ellipsis and a new axis")
    new = [at for at in range(len(begins)) if masks["newAxis"] >> at & 1]
    if new or masks["shrinkAxis"]:
        x = node.to_plain(x)
    sizes = file_shape(x)
    ranges: list[range] = []
    dropped: list[int] = []
    spread = x.rank - (len(begins) - len(new)) + (1 if masks["ellipsis"] else 0)
    for at, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        if at in new:
            continue
        if masks["ellipsis"] >> at & 1:
            ranges += [range(sizes[len(ranges) + more]) for more in range(spread)]
            continue
        size = sizes[len(ranges)]
        if masks["shrinkAxis"] >> at & 1:
            begin = begin + size if begin < 0 else begin
            dropped.append(len(ranges))
            ranges.append(range(begin, begin + 1))
            continue
        start = None if masks["begin"] >> at & 1 else begin
        stop = None if masks["end"] >> at & 1 else end
        ranges.append(range(*slice(start, stop, step).indices(size)))
    made = x
    for axis, places in enumerate(ranges):
        if axis not in dropped:
            made = _sliced(node, made, axis_of(made, axis), places)
    for axis in reversed(dropped):
        made = _selected(node, made, axis, ranges[axis].start)
    for at in new:
        sizes = made.shape
        sizes.insert(at - sum(1 for axis in dropped if axis < at), 1)
        made = node.call(_reshaper(sizes), made)
    return made


def _reshaper(sizes: list[int]) -> Any:
    return lambda x: x.reshape(sizes)


def _selected(node: Node, x: Value, axis: int, at: int) -> Value:
    """One row; the part itself, where it was joined from rows."""
    if x.origin[:2] in (("joined", axis), ("rows", axis)):
        start = 0
        for part in x.origin[2]:
            size = part.shape[axis]
            if start <= at < start + size:
                return node.call(_selector(axis, at - start), part)
            start += size
    return node.call(_selector(axis, at), x)


def _selector(axis: int, at: int) -> Any:
    return lambda x: x.select(axis, at)


def gather(node: Node) -> Value:
    x, indices = node.plain(0), node.plain(1)
    if int(node.option("batchDims", 0) or 0):
        raise Refusal("has batch dimensions")
    axis = int(node.option("axis", 0) or 0) % x.rank
    return _gathered(node, x, indices, axis)


def _gathered(node: Node, x: Value, indices: Value, axis: int) -> Value:
    if indices.constant and indices.rank == 0:
        return _selected(node, x, axis, int(indices.tensor.item()))
    if x.constant and x.rank == 2 and axis == 0 and not indices.constant:
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


def embedding_lookup(node: Node) -> Value:
    return _gathered(node, node.plain(1), node.plain(0), 0)


def gather_nd(node: Node) -> Value:
    return node.call(
        lambda x, at: x[tuple(at.long().unbind(-1))],
        node.plain(0),
        node.plain(1),
        names=("data", "indices"),
    )


def reverse(node: Node) -> Value:
    x = node.value(0)
    axes = [axis_of(x, axis) for axis in node.ints(1, "axes")]
    made = node.call(lambda x: torch.flip(x, axes), x)
    made.channels_first = x.channels_first
    return made


def one_hot(node: Node) -> Value:
    indices, depth = node.plain(0), node.ints(1, "a depth")[0]
    axis = int(node.option("axis"))
    axis = axis + indices.rank + 1 if axis < 0 else axis
    shape = [depth if at == axis else 1 for at in range(indices.rank + 1)]
    places = torch.arange(depth, dtype=indices.dtype)
    return node.call(
        lambda at, places, on, off: torch.where(
            at.unsqueeze(axis) == places.reshape(shape), on, off
        ),
        indices,
        places,
        node.value(2),
        node.value(3),
        names=("", "places", "on", "off"),
    )


def update_slice(node: Node) -> Value:
    """Only at a place that is known; joined from what is before, new and after."""
    x, new, starts = node.plain(0), node.plain(1), node.ints(2, "a place")
    changed = [at for at in range(x.rank) if new.shape[at] != x.shape[at]]
    if len(changed) > 1:
        raise Refusal("changes several axes at once")
    if not changed:
        return new
    (axis,) = changed
    start = max(0, min(starts[axis], x.shape[axis] - new.shape[axis]))
    stop = start + new.shape[axis]
    parts: list[Value] = []
    for low, high in ((0, start), (stop, x.shape[axis])):
        if low < high:
            part = _sliced(node, x, axis, range(low, high))
            parts += part.origin[2] if part.origin[:2] == ("rows", axis) else [part]
        if low == 0 and high == start:
            parts.append(new)
    made = joined(node, parts, axis)
    if len(parts) > 1:
        made.origin = ("joined", axis, parts)
    return made


TABLE: dict[str, Handler] = {
    "SLICE": slices,
    "STRIDED_SLICE": strided_slice,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "EMBEDDING_LOOKUP": embedding_lookup,
    "REVERSE_V2": reverse,
    "ONE_HOT": one_hot,
    "DYNAMIC_UPDATE_SLICE": update_slice,
}
