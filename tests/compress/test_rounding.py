"""Where numbers are rounded: operators by words, tensors by numbers."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.compress.rounding import GIVEN, Op, block, levels, places, plan


def op(name: str, word: str, inputs: list[int], output: int, **more: Any) -> Op:
    return Op((name, 0), word, inputs, [output], **more)


def product(name: str, inputs: list[int], output: int, last: str = "linear", **more: Any) -> Op:
    return op(name, "conv", inputs, output, last=last, **more)


def decided(ops: list[Op], *left: int) -> dict[str, str]:
    return {key[0]: how for key, how in plan(ops, left).items()}


def test_an_operator_ends_behind_its_batch_norm_and_relu() -> None:
    ops = [
        product("conv", [0], 1),
        op("drop", "dropout", [1], 2),
        op("norm", "batchnormalization", [2], 3),
        op("relu", "relu6", [3], 4),
        product("last", [4], 5),
    ]
    assert decided(ops, 5) == {"relu": "own", "last": "own"}


def test_what_two_read_is_rounded_before_either() -> None:
    ops = [
        product("conv", [0], 1),
        op("relu", "relu", [1], 2),
        op("sum", "add", [1, 2], 3),
        op("after", "relu", [3], 4),
    ]
    assert decided(ops, 4) == {"conv": "own", "relu": "own", "after": "own"}


def test_a_norm_that_nothing_can_be_folded_into_is_an_operator() -> None:
    ops = [op("sum", "add", [0, 0], 1), op("norm", "batchnormalization", [1], 2)]
    assert decided(ops, 2) == {"sum": "own", "norm": "own"}


def test_other_activation_functions_are_operators_of_their_own() -> None:
    ops = [product("conv", [0], 1), op("act", "silu", [1], 2)]
    assert decided(ops, 2) == {"conv": "own", "act": "own"}
    inside = [product("conv", [0], 1, last="silu"), product("after", [1], 2, last="relu")]
    assert (("conv", 0), "before") in places(inside, [0], plan(inside, [2]))
    assert (("after", 0), "before") not in places(inside, [0], plan(inside, [2]))


def test_a_softmax_has_its_own_scale_but_for_the_last() -> None:
    ops = [op("inner", "softmax", [0], 1), op("last", "softmax", [1], 2)]
    ops += [op("flat", "reshape", [2], 3)]
    assert decided(ops, 3) == {"inner": "softmax"}
    assert places(ops, [0], plan(ops, [3])) == {
        (GIVEN, "in 0"): None,
        (("inner", 0), "out 0"): (0.0, 1.0),
    }


def test_moves_and_poolings_keep_the_scale() -> None:
    ops = [
        op("pool", "maxpooling", [0], 1),
        op("mean", "averagepooling", [1], 2),
        op("flat", "flatten", [2], 3),
    ]
    assert decided(ops, 3) == {"mean": "same"}
    assert list(places(ops, [0], plan(ops, [3]))) == [(GIVEN, "in 0")]


def test_what_comes_from_elsewhere_is_rounded_where_it_is_read() -> None:
    ops = [
        product("float", [0], 1, spared=True),
        product("next", [1], 2),
        product("unseen", [9], 3),
    ]
    found = places(ops, [0], plan(ops, [2, 3]))
    assert [(key[0], where) for key, where in found] == [
        ("", "in 0"), ("next", "in 0"), ("next", "out 0"), ("unseen", "in 0"), ("unseen", "out 0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "bits", "steps"),
    [("conv", 8, 127), ("dense", 4, 7), ("conv", 4, 7), ("depthwise", 4, 127)],
)
def test_four_bits_are_for_kernels_that_runtimes_have(kind: str, bits: int, steps: int) -> None:
    assert levels(kind, bits) == steps


def test_blocks_are_for_dense_kernels_of_whole_ones() -> None:
    assert block("block-32", "dense", (64, 10), 0) == 32
    assert block("block-32", "dense", (64, 10), 1) == 0
    assert block("block-32", "conv", (64, 10), 0) == block("per-channel", "dense", (64, 10), 0) == 0
