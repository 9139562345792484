"""Convolution, matrix products, pooling, resizing, normalisation: in torch's own layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.interpolation import linear, nearest
from edgekit.export.translate.padding import cropped, pairs, same, transposed
from edgekit.export.translate.tflite_graph import Handler, Node, file_shape, schema
from edgekit.export.translate.tflite_operators.shapes import reshaped

Tensor = torch.Tensor
SAME = schema.Padding.SAME


def marked(value: Any) -> Value:
    """A result with channels in front."""
    assert isinstance(value, Value)
    value.channels_first = True
    return value


def _pads(
    node: Node, sizes: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> tuple[list[int], list[int]]:
    if node.option("padding") == SAME:
        return same(sizes, kernel, stride, dilation)
    return [0] * len(kernel), [0] * len(kernel)


def _strides(node: Node) -> list[int]:
    return [int(node.option("strideH")), int(node.option("strideW"))]


def _convolution(
    node: Node, function: Callable[..., Any], weight: Value, stride: list[int], dilation: list[int]
) -> Value:
    """`weight` as torch has it: outputs, inputs of a group, sizes."""
    activation, x = node.activation(), node.first(0)
    begins, ends = _pads(node, x.shape[2:], weight.shape[2:], stride, dilation)
    if x.origin[:1] == ("zeros",) and begins == ends == [0] * len(begins):
        inner, before, after = x.origin[1:]  # a padding in front that the convolution can do
        if before == after and inner.channels_first:
            x, begins, ends = inner, before, after
    groups = x.shape[1] // weight.shape[1]
    even = begins == ends
    padding, extra = (begins, []) if even else ([0] * len(begins), pairs(begins, ends))

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.pad(x, extra) if extra else x
        return activation(function(x, weight, bias, stride, padding, dilation, groups))

    return marked(node.call(compute, x, weight, node.maybe(2)))


def _turned(node: Node, at: int, *order: int) -> Value:
    value: Value = node.call(lambda w: w.permute(order), node.value(at))
    return value


def _dilations(node: Node) -> list[int]:
    return [int(node.option("dilationHFactor")), int(node.option("dilationWFactor"))]


def conv_2d(node: Node) -> Value:
    weight = _turned(node, 1, 0, 3, 1, 2)
    return _convolution(node, F.conv2d, weight, _strides(node), _dilations(node))


def depthwise_conv_2d(node: Node) -> Value:
    weight = _turned(node, 1, 3, 0, 1, 2)
    return _convolution(node, F.conv2d, weight, _strides(node), _dilations(node))


def conv_3d(node: Node) -> Value:
    stride = [int(node.option("strideD")), *_strides(node)]
    dilation = [int(node.option("dilationDFactor")), *_dilations(node)]
    return _convolution(node, F.conv3d, _turned(node, 1, 4, 3, 0, 1, 2), stride, dilation)


def transpose_conv(node: Node) -> Value:
    activation = node.activation()
    sizes, x, stride = node.ints(0, "a shape")[1:3], node.first(2), _strides(node)
    weight = _turned(node, 1, 3, 0, 1, 2)
    kernel, ones = weight.shape[2:], [1, 1]
    begins, _ = _pads(node, sizes, kernel, stride, ones)
    ends = [
        s * (n - 1) + k - begin - size
        for s, n, k, begin, size in zip(stride, x.shape[2:], kernel, begins, sizes, strict=True)
    ]
    padding, more, cut = transposed(begins, ends, [0, 0], stride, ones)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made = F.conv_transpose2d(x, weight, bias, stride, padding, more)
        return activation(cropped(made, cut))

    return marked(node.call(compute, x, weight, node.maybe(3)))


def fully_connected(node: Node) -> Value:
    activation, weight = node.activation(), node.value(1)
    if node.option("weightsFormat", 0):
        raise Refusal("has shuffled weights")
    x = node.plain(0)
    if not node.option("keepNumDims", False):
        x = reshaped(node, x, [x.tensor.numel() // weight.shape[1], weight.shape[1]])
    return node.call(lambda x, w, b: activation(F.linear(x, w, b)), x, weight, node.maybe(2))


def batch_matmul(node: Node) -> Value:
    a, b = node.plain(0), node.plain(1)
    if node.option("adjX", False):
        a = node.call(lambda a: a.transpose(-1, -2), a)
    if b.constant and b.rank == 2 and not a.constant:
        weight = b.tensor if node.option("adjY", False) else b.tensor.t()
        return node.call(F.linear, a, weight)
    if node.option("adjY", False):
        b = node.call(lambda b: b.transpose(-1, -2), b)
    return node.call(torch.matmul, a, b)


def _pool(node: Node) -> tuple[Value, list[int], list[int], list[int], list[int], bool]:
    x, stride = node.first(0), _strides(node)
    kernel = [int(node.option("filterHeight")), int(node.option("filterWidth"))]
    begins, ends = _pads(node, x.shape[2:], kernel, stride, [1, 1])
    even = begins == ends and all(b <= k // 2 for b, k in zip(begins, kernel, strict=True))
    return x, kernel, stride, begins, ends, even


def max_pool_2d(node: Node) -> Value:
    activation = node.activation()
    x, kernel, stride, begins, ends, even = _pool(node)
    padding, extra = (begins, []) if even else ([0, 0], pairs(begins, ends))

    def compute(x: Tensor) -> Tensor:
        x = F.pad(x, extra, value=-math.inf) if extra else x
        return activation(F.max_pool2d(x, kernel, stride, padding))

    return marked(node.call(compute, x))


def average_pool_2d(node: Node) -> Value:
    """What lies outside does not count."""
    activation = node.activation()
    x, kernel, stride, begins, ends, even = _pool(node)
    if kernel == x.shape[2:] and begins == ends == [0, 0]:
        return marked(node.call(lambda x: activation(torch.mean(x, (-1, -2), True)), x))
    if even:
        return marked(
            node.call(
                lambda x: activation(
                    F.avg_pool2d(x, kernel, stride, begins, count_include_pad=False)
                ),
                x,
            )
        )
    extra = pairs(begins, ends)
    share = F.avg_pool2d(F.pad(torch.ones(1, 1, *x.shape[2:]), extra), kernel, stride)
    return marked(
        node.call(
            lambda x, share: activation(F.avg_pool2d(F.pad(x, extra), kernel, stride) / share),
            x,
            share,
            names=("", "share"),
        )
    )


def _resized(node: Node) -> tuple[Value, list[int], dict[int, Tensor], bool, bool]:
    x, wanted = node.first(0), node.ints(1, "a size")
    corners, halves = bool(node.option("alignCorners")), bool(node.option("halfPixelCenters"))
    places = {}
    for axis, size in zip((2, 3), wanted, strict=True):
        at = torch.arange(size, dtype=torch.float64)
        n = x.shape[axis]
        scale = (n - 1) / (size - 1) if corners and size > 1 else n / size
        places[axis] = (at + 0.5) * scale if halves else at * scale
    return x, [*x.shape[:2], *wanted], places, corners, halves


def resize_bilinear(node: Node) -> Value:
    x, sizes, places, corners, halves = _resized(node)
    if halves:
        places = {axis: at - 0.5 for axis, at in places.items()}
    return marked(linear(node, x, sizes, places, corners=corners))


def resize_nearest(node: Node) -> Value:
    x, sizes, places, corners, _ = _resized(node)
    rounding = 0.5 if corners else 0.0
    indices = {axis: torch.floor(at + rounding + 1e-6) for axis, at in places.items()}
    return marked(nearest(node, x, sizes, indices))


def l2_normalization(node: Node) -> Value:
    x = node.plain()
    return node.call(lambda x: x / torch.sqrt((x * x).sum(-1, True).clamp(min=1e-6**2)), x)


def depth_to_space(node: Node) -> Value:
    x, b = node.first(), int(node.option("blockSize"))
    n, c, h, w = x.shape
    return marked(
        node.call(
            lambda x: (
                x.reshape(n, b, b, c // b**2, h, w)
                .permute(0, 3, 4, 1, 5, 2)
                .reshape(n, c // b**2, h * b, w * b)
            ),
            x,
        )
    )


def space_to_depth(node: Node) -> Value:
    x, b = node.first(), int(node.option("blockSize"))
    n, c, h, w = x.shape
    return marked(
        node.call(
            lambda x: (
                x.reshape(n, c, h // b, b, w // b, b)
                .permute(0, 3, 5, 1, 2, 4)
                .reshape(n, c * b**2, h // b, w // b)
            ),
            x,
        )
    )


def space_to_batch(node: Node) -> Value:
    x, blocks = node.plain(), node.ints(1, "a block")
    pads = node.ints(2, "paddings")
    count = len(blocks)
    begins, ends = pads[0::2], pads[1::2]
    extra = pairs(
        [0, *begins, *[0] * (x.rank - 1 - count)], [0, *ends, *[0] * (x.rank - 1 - count)]
    )
    n, rest = x.shape[0], x.shape[1 + count :]
    inner = [
        (size + begin + end) // block
        for size, begin, end, block in zip(
            x.shape[1 : 1 + count], begins, ends, blocks, strict=True
        )
    ]
    split = [n, *[part for pair in zip(inner, blocks, strict=True) for part in pair], *rest]
    order = [
        *range(2, 2 * count + 1, 2),
        0,
        *range(1, 2 * count, 2),
        *range(2 * count + 1, len(split)),
    ]
    sizes = [n * math.prod(blocks), *inner, *rest]
    return node.call(lambda x: F.pad(x, extra).reshape(split).permute(order).reshape(sizes), x)


def batch_to_space(node: Node) -> Value:
    x, blocks = node.plain(), node.ints(1, "a block")
    crops = node.ints(2, "crops")
    count = len(blocks)
    n, inner, rest = x.shape[0], x.shape[1 : 1 + count], x.shape[1 + count :]
    split = [*blocks, n // math.prod(blocks), *inner, *rest]
    order = [count]
    for at in range(count):
        order += [count + 1 + at, at]
    order += range(2 * count + 1, len(split))
    joined = [size * block for size, block in zip(inner, blocks, strict=True)]
    sizes = [n // math.prod(blocks), *joined, *rest]
    cut = pairs(
        [0, *[-c for c in crops[0::2]], *[0] * len(rest)],
        [0, *[-c for c in crops[1::2]], *[0] * len(rest)],
    )
    return node.call(lambda x: F.pad(x.reshape(split).permute(order).reshape(sizes), cut), x)


TABLE: dict[str, Handler] = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "CONV_3D": conv_3d,
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "MAX_POOL_2D": max_pool_2d,
    "AVERAGE_POOL_2D": average_pool_2d,
    "RESIZE_BILINEAR": resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "L2_NORMALIZATION": l2_normalization,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
}

__all__ = ["TABLE", "file_shape"]
