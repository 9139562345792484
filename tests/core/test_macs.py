"""Multiply-adds against numbers counted by hand and figures that papers print."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core import macs


def test_convolution() -> None:
    # A 3×3 kernel over 3 channels gives 27 products for each of 112·112·32 outputs.
    assert macs.conv((1, 112, 112, 32), (3, 3), 3) == 10_838_016
    assert macs.conv((1, 32, 112, 112), (3, 3), 3) == 10_838_016  # the layout does not matter
    assert macs.conv((1, 8, 10), (5,), 4, groups=2) == 8 * 10 * 5 * 2
    assert macs.conv((2, 4, 4, 8), (1, 1), 16) == 2 * macs.conv((1, 4, 4, 8), (1, 1), 16)


def test_depthwise_is_a_convolution_in_as_many_groups() -> None:
    shape = (1, 56, 56, 24)
    assert macs.depthwise_conv(shape, (3, 3)) == macs.conv(shape, (3, 3), 24, groups=24)


def test_transposed_convolution_is_its_gradient() -> None:
    # Stride 2 from 4×4×16 to 8×8×6: every input is spread over 2·2 places and 6 channels.
    assert macs.transposed_conv((1, 4, 4, 16), (2, 2), 6) == 4 * 4 * 16 * 2 * 2 * 6
    assert macs.transposed_conv((1, 4, 4, 16), (2, 2), 6) == macs.conv((1, 4, 4, 16), (2, 2), 6)


def test_resnet50_last_layer_and_mobilenet_v1_first_block() -> None:
    assert macs.fully_connected((1, 1000), 2048) == 2_048_000
    # arXiv:1704.04861, table 4: a layer of 14×14×512 with a 3×3 kernel, 462 million as a
    # convolution, 52.3 million as a depthwise and a pointwise one.
    assert macs.conv((14, 14, 512), (3, 3), 512) == pytest.approx(462e6, rel=0.001)
    separable = macs.depthwise_conv((14, 14, 512), (3, 3)) + macs.conv((14, 14, 512), (1, 1), 512)
    assert separable == pytest.approx(52.3e6, rel=0.001)


@pytest.mark.parametrize(
    ("a", "b", "count"),
    [
        ((3, 4), (4, 5), 60),
        ((2, 3, 4), (2, 4, 5), 120),
        ((7, 1, 3, 4), (2, 4, 5), 7 * 2 * 60),
        ((4,), (4, 5), 20),
        ((3, 4), (4,), 12),
        ((4,), (4,), 4),
        ((), (4, 5), 0),
        ((0, 4), (4, 5), 0),
    ],
)
def test_matrix_product(a: tuple[int, ...], b: tuple[int, ...], count: int) -> None:
    assert macs.matmul(a, b) == count
    if a:  # numpy agrees on the shape: every number of the output is a sum of k products
        product = np.zeros(a) @ np.zeros(b)
        assert macs.matmul(a, b) == product.size * a[-1]


@pytest.mark.parametrize(
    ("equation", "shapes", "count"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)], 60),
        ("ij,jk", [(3, 4), (4, 5)], 60),
        ("bqhd,bkhd->bhqk", [(2, 6, 4, 8), (2, 7, 4, 8)], 2 * 4 * 6 * 7 * 8),
        ("...ij,jk->...ik", [(9, 2, 3, 4), (4, 5)], 18 * 60),
        ("...ij,...jk", [(9, 3, 4), (9, 4, 5)], 9 * 60),
        ("i,j->ij", [(3,), (4,)], 0),
        ("ij->ji", [(3, 4)], 0),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], count: int) -> None:
    assert macs.einsum(equation, shapes) == count


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ij,jk->ik", [(3, 4)]), ("ij,jk->ik", [(3, 4, 5), (4, 5)]), ("ij,jk->ik", [(3,), (4, 5)])],
)
def test_einsum_that_does_not_fit(equation: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"operands|does not fit"):
        macs.einsum(equation, shapes)


def test_attention_is_two_matrix_products() -> None:
    # ViT-Tiny: 3 heads of 64 over 197 tokens.
    query = key = value = (1, 3, 197, 64)
    scores, weighted = (1, 3, 64, 197), (1, 3, 197, 197)
    expected = macs.matmul(query, scores) + macs.matmul(weighted, value)
    assert macs.attention(query, key, value) == expected == 14_902_656


def test_recurrent_layers() -> None:
    # Four gates, each a matrix of hidden × (inputs + hidden), at every step.
    assert macs.lstm(steps=10, batch=1, inputs=8, hidden=16) == 10 * 4 * 16 * 24
    assert macs.gru(steps=10, batch=2, inputs=8, hidden=16) == 2 * 10 * 3 * 16 * 24
    assert macs.rnn(steps=1, batch=1, inputs=8, hidden=16) == 16 * 24
    # A projection narrows what is fed back and is a matrix of its own.
    assert macs.lstm(1, 1, 8, 16, projection=4) == 4 * 16 * (8 + 4) + 16 * 4


def test_mobilenet_v2_as_its_paper_counts_it() -> None:
    """arXiv:1801.04381, table 2 for the blocks and table 4 for the figure: 300 million."""
    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
              (6, 160, 3, 2), (6, 320, 1, 1)]  # fmt: skip
    size, channels = 112, 32
    total = macs.conv((1, size, size, channels), (3, 3), 3)
    for expansion, wider, repeats, first_stride in blocks:
        for stride in [first_stride] + [1] * (repeats - 1):
            inner = channels * expansion
            if expansion > 1:
                total += macs.conv((1, size, size, inner), (1, 1), channels)
            size //= stride
            total += macs.depthwise_conv((1, size, size, inner), (3, 3))
            total += macs.conv((1, size, size, wider), (1, 1), inner)
            channels = wider
    total += macs.conv((1, size, size, 1280), (1, 1), channels)
    total += macs.fully_connected((1, 1000), 1280)
    assert total == 300_774_272
