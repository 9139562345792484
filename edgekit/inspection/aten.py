"""Multiply-adds of PyTorch's operators (ATen), from shapes.

Operators and the order of their arguments:
https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/native_functions.yaml
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from edgekit.core import macs

Shape = tuple[int, ...]
# The tensors among an operator's arguments, in order: a shape, or a list of shapes for a list of
# tensors; None for an optional one that is left out.
Operands = Sequence[Shape | list[Shape] | None]


def bare(operator: str) -> str:
    """``aten.conv2d.default`` or ``aten::conv2d.out`` → ``conv2d``."""
    parts = operator.replace("::", ".").split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def namespaced(operator: str) -> str:
    """``torch.ops.aten.add.Tensor`` or ``aten::add.Tensor`` → ``aten.add.Tensor``."""
    return operator.replace("::", ".").removeprefix("torch.ops.")


def count(
    operator: str,
    operands: Operands,
    output: Shape,
    *,
    transposed: bool = False,
    equation: str = "",
) -> int | None:
    """Multiply-adds of one call; 0 for what sums no products, None where that cannot be told.

    Args:
        output: the shape of the first output.
        transposed: what the argument of that name of ``convolution`` says.
        equation: of ``einsum``.
    """
    name = bare(operator)
    if name == "einsum":
        return _einsum(equation, operands)
    counted = _COUNTS.get(name)
    if counted is None:
        unsure = any(word in name for word in ("conv", "linear", "matmul", "attention", "sdpa"))
        return None if unsure and not name.startswith("_conj") else 0
    shapes = [shape if isinstance(shape, tuple) else () for shape in operands]
    try:
        if name in _RECURRENT:
            return _recurrent(operands)
        if transposed or "transpose" in name:
            return _transposed(shapes, output)
        return counted(shapes, output)
    except IndexError:  # arguments that the operator does not have
        return None


def _conv(shapes: list[Shape], output: Shape) -> int:
    """Weights: output channels, input channels of a group, kernel."""
    weight = shapes[1]
    return macs.conv(output, weight[2:], weight[1])


def _transposed(shapes: list[Shape], output: Shape) -> int:
    """Weights: input channels, output channels of a group, kernel."""
    weight = shapes[1]
    return macs.transposed_conv(shapes[0], weight[2:], weight[1])


def _linear(shapes: list[Shape], output: Shape) -> int:
    return macs.fully_connected(output, shapes[1][-1])


def _product(first: int) -> Callable[[list[Shape], Shape], int]:
    def counted(shapes: list[Shape], output: Shape) -> int:
        return macs.matmul(shapes[first], shapes[first + 1])

    return counted


def _attention(shapes: list[Shape], output: Shape) -> int:
    return macs.attention(*shapes[:3])


def _bilinear(shapes: list[Shape], output: Shape) -> int:
    """Weights: outputs, inputs of the one side, inputs of the other."""
    weight = shapes[2]
    return macs.fully_connected(output, weight[1] * (weight[2] + 1))


def _einsum(equation: str, operands: Operands) -> int | None:
    shapes = operands[0] if operands else None
    if not isinstance(shapes, list):
        return None
    try:
        return macs.einsum(equation, shapes)
    except ValueError:
        return None


def _recurrent(operands: Operands) -> int | None:
    """Every matrix among the weights is applied once at each step to each sequence.

    Input: steps, batch, features in either order; then states; then weights of all layers.
    """
    given, weights = operands[0], operands[2]
    if not isinstance(given, tuple) or not isinstance(weights, list):
        return None
    applied = math.prod(given[:-1])
    return sum(applied * math.prod(shape) for shape in weights if len(shape) == 2)


_RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_COUNTS: dict[str, Callable[[list[Shape], Shape], int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), _conv),
    **dict.fromkeys(("conv_depthwise3d", "_conv_depthwise2d", "conv_with_clamp"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    **dict.fromkeys(_RECURRENT, _conv),  # counted apart
    **dict.fromkeys(("mm", "bmm", "matmul", "mv", "dot", "vdot"), _product(0)),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addbmm"), _product(1)),
    "linear": _linear,
    "bilinear": _bilinear,
    "scaled_dot_product_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
    "_scaled_dot_product_attention_math": _attention,
    "custom_sdpa": _attention,
}
