"""Convolution, matrix products, normalisation, pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.onnx_graph import Handler, Node
from edgekit.export.translate.padding import cropped, pairs, same, transposed

Tensor = torch.Tensor
_CONV: list[Callable[..., Any]] = [F.conv1d, F.conv2d, F.conv3d]
_TRANSPOSED: list[Callable[..., Any]] = [
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
]
_MAX: list[Callable[..., Any]] = [F.max_pool1d, F.max_pool2d, F.max_pool3d]
_AVERAGE: list[Callable[..., Any]] = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d]


def _dims(node: Node, sizes: int) -> int:
    if not 1 <= sizes <= 3:
        raise Refusal(f"has {sizes} spatial dimensions; torch has 1 to 3")
    return sizes


def _pads(
    node: Node, x: Value, kernel: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial dimension."""
    dims, how = len(kernel), node.attribute("auto_pad", "NOTSET")
    if how == "VALID":
        return [0] * dims, [0] * dims
    if how == "NOTSET":
        pads = list(node.attribute("pads") or [0] * 2 * dims)
        return pads[:dims], pads[dims:]
    begins, ends = same(x.shape[2:], kernel, strides, dilations)
    return (begins, ends) if how == "SAME_UPPER" else (ends, begins)


def conv(node: Node) -> Value:
    x, weight = node.x, node.value(1)
    dims = _dims(node, weight.rank - 2)
    function = _CONV[dims - 1]
    stride = list(node.attribute("strides") or [1] * dims)
    dilation = list(node.attribute("dilations") or [1] * dims)
    groups = node.attribute("group", 1)
    begins, ends = _pads(node, x, weight.shape[2:], stride, dilation)
    if begins == ends:
        padding, extra = begins, []
    else:
        padding, extra = [0] * dims, pairs(begins, ends)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.pad(x, extra) if extra else x
        made: Tensor = function(x, weight, bias, stride, padding, dilation, groups)
        return made

    return node.call(compute, x, weight, node.maybe(2))


def conv_transpose(node: Node) -> Value:
    x, weight = node.x, node.value(1)
    dims = _dims(node, weight.rank - 2)
    function = _TRANSPOSED[dims - 1]
    kernel = weight.shape[2:]
    stride = list(node.attribute("strides") or [1] * dims)
    dilation = list(node.attribute("dilations") or [1] * dims)
    extra = list(node.attribute("output_padding") or [0] * dims)
    groups = node.attribute("group", 1)
    how = node.attribute("auto_pad", "NOTSET")
    wanted = node.attribute("output_shape")
    full = [
        s * (n - 1) + e + (k - 1) * d + 1
        for s, n, e, k, d in zip(stride, x.shape[2:], extra, kernel, dilation, strict=True)
    ]
    if wanted or how in ("SAME_UPPER", "SAME_LOWER"):
        sizes = (
            list(wanted)[-dims:]
            if wanted
            else [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
        )
        totals = [f - n for f, n in zip(full, sizes, strict=True)]
        halves = [(t // 2, t - t // 2) for t in totals]
        begins = [a if how == "SAME_UPPER" else b for a, b in halves]
        ends = [b if how == "SAME_UPPER" else a for a, b in halves]
    else:
        pads = list(node.attribute("pads") or [0] * 2 * dims)
        begins, ends = (pads[:dims], pads[dims:]) if how == "NOTSET" else ([0] * dims, [0] * dims)
    padding, more, cut = transposed(begins, ends, extra, stride, dilation)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        made: Tensor = function(x, weight, bias, stride, padding, more, groups, dilation)
        return cropped(made, cut)

    return node.call(compute, x, weight, node.maybe(2))


def gemm(node: Node) -> Value:
    a, b, c = node.x, node.value(1), node.maybe(2)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    if node.attribute("transA", 0):
        a = node.call(lambda a: a.t(), a)
    if not node.attribute("transB", 0):
        b = node.call(lambda b: b.t(), b)
    if alpha != 1.0:
        b = node.call(lambda b: b * alpha, b)
    if c is not None and beta != 1.0:
        c = node.call(lambda c: c * beta, c)
    outputs = b.shape[0]
    if (
        c is not None
        and c.constant
        and (c.shape in ([outputs], [1, outputs]) or (c.rank <= 1 and c.tensor.numel() == 1))
    ):
        flat = c.tensor.reshape(-1)
        return node.call(F.linear, a, b, flat.expand(outputs) if len(flat) != outputs else flat)
    made = node.call(F.linear, a, b)
    return made if c is None else node.call(torch.add, made, c)


def matmul(node: Node) -> Value:
    a, b = node.x, node.value(1)
    if b.constant and b.rank == 2 and not a.constant and a.rank >= 2:
        weight = Value(b.tensor.t(), True, b.name)
        made = node.call(F.linear, a, weight)
        made.origin = ("linear", a, weight)
        return made
    return node.call(torch.matmul, a, b)


def batch_norm(node: Node) -> Value:
    if node.attribute("training_mode", 0):
        raise Refusal("is set to training; export the model in evaluation mode")
    epsilon = node.attribute("epsilon", 1e-5)
    x, scale, bias, mean, variance = (node.value(at) for at in range(5))
    return node.call(
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b, False, 0.0, epsilon),
        x,
        mean,
        variance,
        scale,
        bias,
        names=("", "running_mean", "running_var", "weight", "bias"),
    )


def instance_norm(node: Node) -> Value:
    epsilon = node.attribute("epsilon", 1e-5)
    return node.call(
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=epsilon), *node.inputs
    )


def layer_norm(node: Node) -> Value:
    if node.wants(1) or node.wants(2):
        raise Refusal("gives mean or deviation, which is of training")
    x, epsilon = node.x, node.attribute("epsilon", 1e-5)
    shape = x.shape[node.attribute("axis", -1) % x.rank :]
    affine = [
        node.call(lambda w: w.expand(shape), given) if given is not None else None
        for given in (node.value(1), node.maybe(2))
    ]
    return node.call(lambda x, w, b: F.layer_norm(x, shape, w, b, epsilon), x, *affine)


def rms_norm(node: Node) -> Value:
    x, epsilon = node.x, node.attribute("epsilon", 1e-5)
    shape = x.shape[node.attribute("axis", -1) % x.rank :]
    weight = node.call(lambda w: w.expand(shape), node.value(1))
    return node.call(lambda x, w: F.rms_norm(x, shape, w, epsilon), x, weight)


def group_norm(node: Node) -> Value:
    x, groups, epsilon = node.x, node.attribute("num_groups"), node.attribute("epsilon", 1e-5)
    scale, bias = node.value(1), node.value(2)
    if scale.shape[0] != x.shape[1]:  # before operator set 21 one for each group
        each = x.shape[1] // groups
        scale = node.call(lambda w: w.repeat_interleave(each), scale)
        bias = node.call(lambda b: b.repeat_interleave(each), bias)
    return node.call(lambda x, w, b: F.group_norm(x, groups, w, b, epsilon), x, scale, bias)


def local_response_norm(node: Node) -> Value:
    size, bias = node.attribute("size"), node.attribute("bias", 1.0)
    alpha, beta = node.attribute("alpha", 1e-4), node.attribute("beta", 0.75)
    if size % 2 == 0:
        raise Refusal(f"has the even size {size}, which torch centres otherwise")
    return node.call(lambda x: F.local_response_norm(x, size, alpha, beta, bias), node.x)


def lp_normalization(node: Node) -> Value:
    axis, order = node.attribute("axis", -1), node.attribute("p", 2)
    return node.call(lambda x: x / torch.norm(x, order, axis, keepdim=True), node.x)


def _pool(node: Node) -> tuple[int, list[int], list[int], list[int], list[int], list[int], bool]:
    kernel = list(node.attribute("kernel_shape"))
    dims = _dims(node, len(kernel))
    stride = list(node.attribute("strides") or [1] * dims)
    dilation = list(node.attribute("dilations") or [1] * dims)
    begins, ends = _pads(node, node.x, kernel, stride, dilation)
    return dims, kernel, stride, dilation, begins, ends, bool(node.attribute("ceil_mode", 0))


def max_pool(node: Node) -> Value:
    if node.wants(1):
        raise Refusal("gives indices, which other runtimes count otherwise")
    dims, kernel, stride, dilation, begins, ends, ceil = _pool(node)
    if not node.x.dtype.is_floating_point:
        raise Refusal(f"is over {node.x.dtype}; torch pools floating-point numbers")
    function = _MAX[dims - 1]
    even = begins == ends and all(b <= k // 2 for b, k in zip(begins, kernel, strict=True))
    padding, extra = (begins, []) if even else ([0] * dims, pairs(begins, ends))

    def compute(x: Tensor) -> Tensor:
        x = F.pad(x, extra, value=-math.inf) if extra else x
        made: Tensor = function(x, kernel, stride, padding, dilation, ceil_mode=ceil)
        return made

    return node.call(compute, node.x)


def average_pool(node: Node) -> Value:
    dims, kernel, stride, dilation, begins, ends, ceil = _pool(node)
    if any(size != 1 for size in dilation):
        raise Refusal("has dilations, which torch's average pooling does not have")
    function = _AVERAGE[dims - 1]
    included = bool(node.attribute("count_include_pad", 0))
    if begins == ends and all(b <= k // 2 for b, k in zip(begins, kernel, strict=True)):
        return node.call(lambda x: function(x, kernel, stride, begins, ceil, included), node.x)
    if ceil:
        raise Refusal("has unlike paddings and ceil_mode")
    extra = pairs(begins, ends)
    if included:
        return node.call(lambda x: function(F.pad(x, extra), kernel, stride), node.x)
    # What share of each window is no padding.
    ones = torch.ones(1, 1, *node.x.shape[2:], dtype=node.x.dtype)
    share = function(F.pad(ones, extra), kernel, stride)
    return node.call(
        lambda x, share: function(F.pad(x, extra), kernel, stride) / share,
        node.x,
        share,
        names=("", "share"),
    )


def _global(function: Callable[..., Any]) -> Handler:
    def handler(node: Node) -> Value:
        dims = tuple(range(-1, 1 - node.x.rank, -1))  # as torch's adaptive pooling writes it
        return node.call(lambda x: function(x, dims, True), node.x)

    return handler


def attention(node: Node) -> Value:
    """Scaled dot product of 4-D queries, keys and values, without a cache."""
    if any(node.maybe(at) is not None for at in range(4, len(node.inputs))) or node.x.rank != 4:
        raise Refusal("has a cache or packed heads")
    if node.attribute("softcap", 0.0) or node.wants(1) or node.wants(2) or node.wants(3):
        raise Refusal("has a soft cap or gives more than the result")
    causal, scale = bool(node.attribute("is_causal", 0)), node.attribute("scale")
    grouped = node.x.shape[1] != node.value(1).shape[1]
    return node.call(
        lambda q, k, v, mask: F.scaled_dot_product_attention(
            q, k, v, mask, 0.0, causal, scale=scale, enable_gqa=grouped
        ),
        node.x,
        node.value(1),
        node.value(2),
        node.maybe(3),
    )


TABLE: dict[str, Handler] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "GroupNormalization": group_norm,
    "LRN": local_response_norm,
    "LpNormalization": lp_normalization,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "Attention": attention,
}
