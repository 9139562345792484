"""Transposes that can be taken out: the graph gets smaller, the numbers stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.export import flatbuffer, tflite_transposes
from tests.export.test_tflite import answers
from tests.tflite_graphs import Graph

SHAPE = (1, 4, 3, 2)


class Chain(Graph):
    """A graph of operators that each read what the one before gives."""

    def __init__(self, shape: Sequence[int] = SHAPE) -> None:
        super().__init__()
        self.at, self.shape = self.tensor("x", shape), tuple(shape)

    def then(self, code: str, shape: Sequence[int], *more: int, **options: Any) -> Chain:
        name = f"{code.lower()}_{len(self.operators)}"
        self.at = self.operator(code, [self.at, *more], (name, tuple(shape)), **options)
        self.shape = tuple(shape)
        return self

    def transpose(self, *order: int) -> Chain:
        constant = self.constant(f"order_{len(self.operators)}", order)
        shape = [self.shape[axis] for axis in order]
        return self.then("TRANSPOSE", shape, constant, options="TransposeOptions")

    def mean(self, *axes: int, keep: bool = False) -> Chain:
        constant = self.constant(f"axes_{len(self.operators)}", axes)
        shape = [1 if at in axes else size for at, size in enumerate(self.shape)]
        if not keep:
            shape = [size for at, size in enumerate(self.shape) if at not in axes]
        return self.then("MEAN", shape, constant, options="ReducerOptions", keepDims=keep)

    def reshape(self, *shape: int) -> Chain:
        constant = self.constant(f"shape_{len(self.operators)}", shape)
        return self.then("RESHAPE", shape, constant, options="ReshapeOptions", newShape=list(shape))

    def relu(self) -> Chain:
        return self.then("RELU", self.shape)

    def file(self, path: Path) -> Path:
        return self.save(path, {"x": 0}, {"y": self.at})


def left(chain: Chain, folder: Path) -> list[str]:
    """Fold, check that the numbers are the same, and list the operators that are left."""
    before, after = chain.file(folder / "before.tflite"), folder / "after.tflite"
    tree = flatbuffer.read(before)
    names = [operator.name for operator in flatbuffer.operators(tree)]
    taken = tflite_transposes.fold(tree)
    flatbuffer.write(tree, after)
    shape = flatbuffer.signature(tree).inputs[0].shape
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)  # type: ignore[arg-type]
    found = [operator.name for operator in flatbuffer.operators(flatbuffer.read(after))]

    # The interpreter sums in another order, so that a mean may differ in its last bit.
    np.testing.assert_allclose(
        answers(after, {"x": x})["y"], answers(before, {"x": x})["y"], rtol=1e-6, atol=1e-7
    )
    assert taken == names.count("TRANSPOSE") - found.count("TRANSPOSE")
    return found


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (Chain().relu().transpose(0, 2, 3, 1).transpose(0, 3, 1, 2).relu(), ["RELU", "RELU"]),
        (Chain().relu().transpose(0, 1, 2, 3).relu(), ["RELU", "RELU"]),
        (
            Chain().relu().transpose(0, 2, 3, 1).transpose(0, 2, 3, 1).relu(),
            ["RELU", "TRANSPOSE", "RELU"],
        ),
        (Chain().relu().transpose(0, 3, 1, 2).mean(2, 3), ["RELU", "MEAN"]),
        (Chain().relu().transpose(0, 3, 1, 2).mean(-1, 2), ["RELU", "MEAN"]),
        (Chain().relu().transpose(0, 3, 1, 2).mean(1), ["RELU", "MEAN"]),
        (Chain((1, 1, 1, 6)).relu().transpose(0, 3, 1, 2).reshape(1, 6), ["RELU", "RESHAPE"]),
    ],
    ids=[
        "undone",
        "nothing",
        "two in one",
        "mean",
        "mean of the last",
        "mean of channels",
        "of one element",
    ],
)
def test_what_changes_no_number_is_taken_out(
    chain: Chain, expected: list[str], tmp_path: Path
) -> None:
    assert left(chain, tmp_path) == expected


@pytest.mark.parametrize(
    "chain",
    [
        Chain().relu().transpose(0, 3, 2, 1).mean(1),  # the kept ones change their order
        Chain().relu().transpose(0, 3, 1, 2).mean(2, 3, keep=True),
        Chain().relu().transpose(0, 3, 1, 2).reshape(1, 24),
        Chain().relu().transpose(0, 3, 1, 2),
    ],
    ids=["another order", "kept dimensions", "reshape", "an output"],
)
def test_what_would_change_something_stays(chain: Chain, tmp_path: Path) -> None:
    assert left(chain, tmp_path).count("TRANSPOSE") == 1


def test_the_note_counts_them(tmp_path: Path) -> None:
    chains = (Chain().relu(), Chain().transpose(0, 2, 3, 1), Chain().transpose(0, 2, 3, 1))
    chains[2].relu().transpose(0, 3, 1, 2)
    trees = [flatbuffer.read(chain.file(tmp_path / "m.tflite")) for chain in chains]

    assert [tflite_transposes.note(tree) for tree in trees] == [
        "no TRANSPOSE operator is in the graph",
        "1 TRANSPOSE operator is in the graph",
        "2 TRANSPOSE operators are in the graph",
    ]
