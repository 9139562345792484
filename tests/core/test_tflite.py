"""Counts worked out by hand for each operator that has any."""

from __future__ import annotations

import pytest

from edgekit.core.tflite import layer_name, multiply_adds


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (16, 3, 3, 3), (16,)], [(1, 8, 8, 16)], 64 * 16 * 27),
        ("CONV_2D", [(1, 8, 8, 8), (16, 1, 1, 2)], [(1, 8, 8, 16)], 64 * 16 * 2),  # four groups
        ("CONV_3D", [(1, 4, 8, 8, 3), (3, 3, 3, 3, 5)], [(1, 4, 8, 8, 5)], 256 * 5 * 81),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 6), (1, 3, 3, 6)], [(1, 8, 8, 6)], 64 * 6 * 9),
        ("TRANSPOSE_CONV", [(4,), (5, 2, 2, 3), (1, 4, 4, 3)], [(1, 8, 8, 5)], 16 * 3 * 4 * 5),
        ("CONV_3D_TRANSPOSE", [(5,), (2, 2, 2, 6, 3), (1, 4, 4, 4, 3)], [(1, 8, 8, 8, 6)],
         64 * 3 * 8 * 6),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", [(1, 10, 8), (16, 8), (16, 16)], [(1, 10, 16)],
         10 * 16 * 24),
        ("RNN", [(1, 8), (16, 8), (16, 16)], [(1, 16)], 16 * 24),
        ("LSTM", [(1, 8), (1, 16), (64, 24), (64,), (1, 16)], [(1, 16)], 4 * 16 * 24),
        ("SVDF", [(1, 8), (6, 8), (6, 10)], [(1, 6)], 6 * 8 + 6 * 10),
        ("FULLY_CONNECTED", [(2, 7), (5, 7), None], [(2, 5)], 70),
        ("BATCH_MATMUL", [(2, 4, 6), (2, 6, 5)], [(2, 4, 5)], 2 * 4 * 6 * 5),
        ("BATCH_MATMUL", [(2, 6, 4), (2, 5, 6)], [(2, 4, 5)], 2 * 4 * 6 * 5),  # both transposed
        ("ADD", [(1, 8), (1, 8)], [(1, 8)], 0),
        ("MEAN", [(1, 8, 8, 3), (2,)], [(1, 3)], 0),
        ("RELU", [(1, 8)], [(1, 8)], 0),
    ],
)  # fmt: skip
def test_counts(name, inputs, outputs, expected) -> None:  # type: ignore[no-untyped-def]
    assert multiply_adds(name, inputs, outputs) == expected


def test_an_lstm_counts_its_four_gates() -> None:
    inputs = [(1, 5, 8), *[(16, 8)] * 4, *[(16, 16)] * 4]
    assert multiply_adds("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [(1, 5, 16)]) == 5 * 4 * 16 * 24


def test_an_lstm_with_its_projection() -> None:
    """16 units, projected to 4, which is what is fed back."""
    weights = [(16, 8)] * 4 + [(16, 4)] * 4 + [None] * 3 + [(16,)] * 4
    inputs = [(1, 10, 8), *weights, (4, 16)]
    one_way = 10 * (4 * 16 * (8 + 4) + 16 * 4)
    assert multiply_adds("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [(1, 10, 4)]) == one_way
    assert multiply_adds("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, [(1, 10, 8)]) == 2 * one_way
    cell = [(1, 8), *weights, (4, 16), None, (1, 4), (1, 16)]
    assert multiply_adds("LSTM", cell, [(1, 4)]) == one_way // 10


@pytest.mark.parametrize("inputs", [[], [(1, 8, 8, 3)], [(1, 8, 8, 3), ()]])
def test_too_few_inputs_or_dimensions(inputs: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="CONV_2D has too few inputs or dimensions"):
        multiply_adds("CONV_2D", inputs, [(1, 8, 8, 16)])


def test_of_fused_layers_the_first_is_named() -> None:
    assert layer_name("net/conv/Relu;net/conv/BiasAdd;net/conv/w") == "net/conv/Relu"
    assert layer_name("scores") == "scores"
    assert len(layer_name("x" * 5000)) == 200
