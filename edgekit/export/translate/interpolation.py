"""Resizing with given places: torch's own interpolation where it takes the same ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Value
from edgekit.export.translate.padding import picker

Tensor = torch.Tensor


class Node(Protocol):
    def call(self, function: Callable[..., Any], *args: Any, names: Any = ()) -> Value: ...


def nearest(node: Node, x: Value, sizes: list[int], indices: dict[int, Tensor]) -> Value:
    """Element ``indices[axis]`` along each axis."""
    indices = {axis: at.clamp(0, x.shape[axis] - 1).to(torch.int64) for axis, at in indices.items()}
    if 3 <= x.rank <= 5 and all(axis >= 2 for axis in indices) and x.dtype.is_floating_point:
        wanted = sizes[2:]
        for mode in ("nearest", "nearest-exact"):
            if all(torch.equal(_own(mode, x.shape[a], sizes[a]), indices[a]) for a in indices):
                return node.call(_torchs(wanted, mode), x)
    made = x
    for axis, at in indices.items():
        made = node.call(picker(axis), made, at, names=("", f"rows{axis}"))
    return made


def _torchs(sizes: list[int], mode: str, aligned: bool | None = None) -> Callable[..., Tensor]:
    return lambda x: F.interpolate(x, sizes, mode=mode, align_corners=aligned)


def _own(mode: str, size: int, wanted: int) -> Tensor:
    ramp = torch.arange(size, dtype=torch.float32).reshape(1, 1, size)
    return F.interpolate(ramp, wanted, mode=mode).reshape(-1).to(torch.int64)


_MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}


def linear(
    node: Node, x: Value, sizes: list[int], places: dict[int, Tensor], *, corners: bool
) -> Value:
    """Between the two neighbours of ``places[axis]`` along each axis."""
    places = {axis: at.clamp(0, x.shape[axis] - 1) for axis, at in places.items()}
    if 3 <= x.rank <= 5 and all(axis >= 2 for axis in places):
        wanted = sizes[2:]
        for aligned in (corners, not corners):
            if all(_same(aligned, x.shape[a], sizes[a], places[a]) for a in places):
                return node.call(_torchs(wanted, _MODES[x.rank], aligned), x)
    made = x
    for axis, at in places.items():
        low = at.floor()
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        share = (at - low).to(x.dtype).reshape([-1] + [1] * (x.rank - 1 - axis))
        made = node.call(
            _mixed(axis),
            made,
            low.to(torch.int64),
            high.to(torch.int64),
            share,
            names=("", f"low{axis}", f"high{axis}", f"share{axis}"),
        )
    return made


def _same(aligned: bool, size: int, wanted: int, places: Tensor) -> bool:
    ramp = torch.arange(size, dtype=torch.float64).reshape(1, 1, size)
    own = F.interpolate(ramp, wanted, mode="linear", align_corners=aligned).reshape(-1)
    return bool((own - places).abs().max() < 1e-5)


def _mixed(axis: int) -> Callable[..., Tensor]:
    def compute(x: Tensor, low: Tensor, high: Tensor, share: Tensor) -> Tensor:
        a, b = torch.index_select(x, axis, low), torch.index_select(x, axis, high)
        return a + (b - a) * share

    return compute
