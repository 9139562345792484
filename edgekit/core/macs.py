"""Multiply-adds of an operator, from the shapes of what it reads and gives.

One multiply-add (MAC) is a multiplication whose product is added to a sum. Counted is what sums
products: convolutions, matrix products, attention, recurrent layers. Biases, activations,
normalization, pooling and elementwise arithmetic count nothing, as in the tables of the MobileNet
papers: https://arxiv.org/abs/1704.04861 equation 2, https://arxiv.org/abs/1801.04381 table 4
(MobileNetV2: 300 million).

Shapes are sequences of whole numbers, the batch included. A dimension without a size is for the
caller to fill in: 1 for a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Shape = Sequence[int]


def conv(output_shape: Shape, kernel_shape: Shape, in_channels: int, groups: int = 1) -> int:
    """A convolution: each output sums one product per place of the kernel and channel.

    ``Π output · Π kernel · in_channels / groups``; a depthwise one has ``groups == in_channels``.

    Args:
        output_shape: with batch and channels, in any layout.
        kernel_shape: the kernel's spatial sizes alone.
        in_channels: of the whole input, not of a group.
    """
    return math.prod(output_shape) * math.prod(kernel_shape) * in_channels // max(groups, 1)


def depthwise_conv(output_shape: Shape, kernel_shape: Shape) -> int:
    """A convolution that keeps channels apart: ``Π output · Π kernel``.

    Args:
        output_shape: with batch and all channels, those of a depth multiplier included.
        kernel_shape: the kernel's spatial sizes alone.
    """
    return math.prod(output_shape) * math.prod(kernel_shape)


def transposed_conv(
    input_shape: Shape, kernel_shape: Shape, out_channels: int, groups: int = 1
) -> int:
    """Each number of the input is multiplied once per place of the kernel and output channel.

    ``Π input · Π kernel · out_channels / groups``: the gradient of `conv`, so the same count with
    input and output exchanged. Edges that the padding cuts off are counted.
    """
    return conv(input_shape, kernel_shape, out_channels, groups)


def fully_connected(output_shape: Shape, in_features: int) -> int:
    """A dense layer: ``Π output · in_features``; `output_shape` with batch and units."""
    return math.prod(output_shape) * in_features


def matmul(a_shape: Shape, b_shape: Shape) -> int:
    """A matrix product by numpy's rules: ``… m k`` times ``… k n``, leading dimensions broadcast.

    ``Π broadcast(…) · m · k · n``. A vector on the left has m = 1, one on the right n = 1.
    """
    a, b = list(a_shape), list(b_shape)
    if not a or not b:  # by a single number: elementwise
        return 0
    if len(a) == 1:
        a = [1, *a]
    if len(b) == 1:
        b = [*b, 1]
    return math.prod(_broadcast(a[:-2], b[:-2])) * a[-2] * a[-1] * b[-1]


def einsum(equation: str, shapes: Sequence[Shape]) -> int:
    """A sum of products in Einstein's notation: one multiply-add per combination of all indices.

    ``Π size of every letter``, for two operands; 0 for one, which multiplies nothing, and 0 where
    no index is summed, which adds nothing. Further operands are counted as if they were multiplied
    one after the other, from the left.

    Raises:
        ValueError: the letters do not fit the shapes.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"{equation!r} does not have {len(shapes)} operands")
    sizes: dict[str, int] = {}
    spelled = [_letters(term, shape, sizes) for term, shape in zip(terms, shapes, strict=True)]
    dots = [letter for letter in sizes if letter.startswith("·")]
    if arrow:
        bare = right.replace("...", "")
        kept = {*bare, *(dots if "..." in right else ())}
    else:
        kept = {letter for letter in sizes if left.count(letter) == 1} | set(dots)
    total, now = 0, set(spelled[0])
    for index, term in enumerate(spelled[1:], start=1):
        later = kept.union(*spelled[index + 1 :])
        letters = now | set(term)
        if letters - later:
            total += math.prod(sizes[letter] for letter in letters)
        now = letters & later
    return total


def attention(query_shape: Shape, key_shape: Shape, value_shape: Shape) -> int:
    """Scaled dot-product attention: the products of queries with keys, then of those with values.

    Shapes ``… length width``; ``Π leading · L · S · (E + V)`` for L queries, S keys of width E and
    values of width V (https://arxiv.org/abs/1706.03762 equation 1). Heads of keys and values that
    are shared by several queries are broadcast, and a causal mask saves nothing.
    """
    leading = math.prod(query_shape[:-2])
    length, width = query_shape[-2], query_shape[-1]
    return leading * length * key_shape[-2] * (width + value_shape[-1])


def recurrent(
    gates: int, steps: int, batch: int, inputs: int, hidden: int, projection: int = 0
) -> int:
    """One direction of one recurrent layer.

    ``steps · batch · (gates · hidden · (inputs + state) + hidden · projection)``; the state that is
    fed back is as wide as `hidden`, or as `projection` where there is one.
    """
    state = projection or hidden
    return steps * batch * (gates * hidden * (inputs + state) + hidden * projection)


def lstm(steps: int, batch: int, inputs: int, hidden: int, projection: int = 0) -> int:
    """A long short-term memory, four gates; products of gates with the cell are not sums.

    https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html
    """
    return recurrent(4, steps, batch, inputs, hidden, projection)


def gru(steps: int, batch: int, inputs: int, hidden: int) -> int:
    """A gated recurrent unit, three gates.

    https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html
    """
    return recurrent(3, steps, batch, inputs, hidden)


def rnn(steps: int, batch: int, inputs: int, hidden: int) -> int:
    """A simple recurrent layer: one gate, so to speak."""
    return recurrent(1, steps, batch, inputs, hidden)


def _broadcast(a: Sequence[int], b: Sequence[int]) -> list[int]:
    longer = max(len(a), len(b))
    padded = [[1] * (longer - len(shape)) + list(shape) for shape in (a, b)]
    return [y if x == 1 else x for x, y in zip(*padded, strict=True)]


def _letters(term: str, shape: Shape, sizes: dict[str, int]) -> list[str]:
    """The indices of one operand, those of an ellipsis as ``·1``, ``·2``, … from the right."""
    before, dots, after = term.partition("...")
    hidden = len(shape) - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise ValueError(f"{term!r} does not fit the shape {tuple(shape)}")
    names = [*before, *(f"·{hidden - place}" for place in range(hidden)), *after]
    for name, size in zip(names, shape, strict=True):
        sizes[name] = max(size, sizes.get(name, 1))
    return names
