"""Resize and Upsample: where torch's own interpolation takes other places, exact ones by hand."""

from __future__ import annotations

import math

import torch  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.interpolation import linear, nearest
from edgekit.export.translate.onnx_graph import Handler, Node


def resize(node: Node) -> Value:
    x, mode = node.x, node.attribute("mode", "nearest")
    how = node.attribute("coordinate_transformation_mode", "half_pixel")
    if node.attribute("antialias", 0):
        raise Refusal("is antialiased")
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refusal("keeps the aspect ratio")
    axes = [axis % x.rank for axis in node.attribute("axes") or range(x.rank)]
    sizes, scales = list(x.shape), [1.0] * x.rank
    if node.maybe(3) is not None:
        for axis, size in zip(axes, node.ints(3, "sizes"), strict=True):
            sizes[axis], scales[axis] = size, size / x.shape[axis]
    else:
        given = node.constant(2, "scales").tolist()
        for axis, scale in zip(axes, given, strict=True):
            sizes[axis], scales[axis] = math.floor(x.shape[axis] * scale), scale
    places = {
        axis: _places(how, x.shape[axis], sizes[axis], scales[axis])
        for axis in range(x.rank)
        if sizes[axis] != x.shape[axis] or scales[axis] != 1.0
    }
    if not places:
        return x
    if mode == "nearest":
        rounding = _ROUNDING.get(node.attribute("nearest_mode", "round_prefer_floor"))
        if rounding is None:
            raise Refusal("has an unknown nearest_mode")
        indices = {axis: rounding(at) for axis, at in places.items()}
        return nearest(node, x, sizes, indices)
    if mode == "linear":
        return linear(node, x, sizes, places, corners=how == "align_corners")
    raise Refusal(f"has the mode {mode}")


# Coordinates are computed in double precision; the epsilon hides the rounding of scales that are
# float32 in the file (as ONNX Runtime does, it takes half-way cases as such).
_ROUNDING = {
    "round_prefer_floor": lambda at: torch.ceil(at - 0.5 - 1e-6),
    "round_prefer_ceil": lambda at: torch.floor(at + 0.5 + 1e-6),
    "floor": lambda at: torch.floor(at + 1e-6),
    "ceil": lambda at: torch.ceil(at - 1e-6),
}


def _places(how: str, size: int, wanted: int, scale: float) -> torch.Tensor:
    """Where each element of the result lies in the input."""
    at = torch.arange(wanted, dtype=torch.float64)
    if how == "asymmetric":
        return at / scale
    if how == "align_corners":
        return at * (size - 1) / (wanted - 1) if wanted > 1 else at * 0
    if how == "half_pixel" or (how == "pytorch_half_pixel" and wanted > 1):
        return (at + 0.5) / scale - 0.5
    if how == "pytorch_half_pixel":
        return at * 0
    if how == "half_pixel_symmetric":
        exact = scale * size
        offset = size / 2 * (1 - wanted / exact)
        return offset + (at + 0.5) / scale - 0.5
    raise Refusal(f"has the coordinates {how}")


TABLE: dict[str, Handler] = {"Resize": resize}
