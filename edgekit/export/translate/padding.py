"""Arithmetic of paddings that both file formats need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

Tensor = torch.Tensor
Sizes = Sequence[int]


def same(
    sizes: Sizes, kernel: Sizes, strides: Sizes, dilations: Sizes
) -> tuple[list[int], list[int]]:
    """SAME: ceil(size / stride) results; the odd element of a padding comes after."""
    totals = [
        max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return [total // 2 for total in totals], [total - total // 2 for total in totals]


def pairs(begins: Sizes, ends: Sizes) -> list[int]:
    """In the order of F.pad: last dimension first."""
    both = zip(reversed(begins), reversed(ends), strict=True)
    return [size for pair in both for size in pair]


def transposed(
    begins: Sizes, ends: Sizes, extra: Sizes, strides: Sizes, dilations: Sizes
) -> tuple[list[int], list[int], list[int]]:
    """torch's padding and output_padding of a transposed convolution, and what `cropped` takes.

    Unlike paddings are an output padding as far as torch has it; else some output is cut off.
    """
    more = [e + b - f for e, b, f in zip(extra, begins, ends, strict=True)]
    limits = [max(stride, dilation) for stride, dilation in zip(strides, dilations, strict=True)]
    if all(b >= 0 for b in begins) and all(
        0 <= m < limit for m, limit in zip(more, limits, strict=True)
    ):
        return list(begins), more, []
    return [0] * len(begins), list(extra), pairs([-b for b in begins], [-e for e in ends])


def cropped(x: Tensor, extra: Sizes) -> Tensor:
    """F.pad, but what is only cut off is cut by slices, which backends know better."""
    if not extra or max(extra) > 0:
        return F.pad(x, list(extra)) if extra else x
    for at in range(len(extra) // 2):
        axis = x.ndim - 1 - at
        begin, end = -extra[2 * at], x.shape[axis] + extra[2 * at + 1]
        if (begin, end) != (0, x.shape[axis]):
            x = torch.ops.aten.slice(x, axis, begin, end, 1)
    return x


def mirrored(mode: str, size: int, begin: int, end: int) -> Tensor:
    """Which element of an axis stands where in the padded one; mode as ONNX calls it."""
    places = torch.arange(-begin, size + end)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places % size
    if mode == "symmetric":
        places = places % (2 * size)
        return torch.minimum(places, 2 * size - 1 - places)
    if size == 1:
        return places * 0
    places = places % (2 * size - 2)  # reflect
    return torch.minimum(places, 2 * size - 2 - places)


def picker(axis: int) -> Callable[..., Tensor]:
    """Picks elements along an axis."""
    return lambda x, places: torch.index_select(x, axis, places)
