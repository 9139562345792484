"""Where a network's numbers are rounded when it computes in integers: the same for every framework.

A framework's part gives the operators of its graph as `Op`; `plan` says what is done to what each
of them gives. It follows TFLite, where the output of each operator is rounded and an operator
includes the batch norm and the ReLU after it, so that nothing is rounded between these.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Operators that only move numbers about. What they give is rounded if what they took is.
MOVES = frozenset(
    {"flatten", "reshape", "permute", "transpose", "maxpooling", "globalmaxpooling", "padding",
     "cropping", "repeatvector", "getitem", "squeeze", "unsqueeze", "input", "masking", "slice"}
)  # fmt: skip
# Those that do nothing outside of training.
IDENTITIES = frozenset({"dropout", "noise", "identity", "linear"})
PASSING = MOVES | IDENTITIES
# What gives numbers on the scale of those it takes, rounded to it.
SAME_SCALE = frozenset({"averagepooling", "upsampling"})
# The scale is always the same: 256 steps over [0, 1), or [-1, 1).
FIXED = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
NORM = "batchnormalization"
FUSED = frozenset({"relu", "relu6"})  # are a part of the operator before them
SUMS = frozenset({"add", "subtract", "multiply"})  # operators that a ReLU can be a part of
LEAST_RANGE = 1e-6
Key = tuple[str, int]  # a layer's path, and the number of its call
Place = tuple[Key, str]  # which of its tensors: "in 0", "before" its activation, "out 0"
GIVEN: Key = ("", 0)  # what the model is given
Ends = tuple[float, float]


@dataclass
class Op:
    """One operator; tensors are told apart by numbers. Only floating-point ones count.

    Attributes:
        word: what it does: one of the words above, or any other.
        last: the activation function at the end of an operator with kernels, "linear" for none;
            empty for another operator.
        spared: it stays in float.
    """

    key: Key
    word: str
    inputs: list[int]
    outputs: list[int]
    last: str = ""
    spared: bool = False


def plan(ops: Sequence[Op], left: Iterable[int]) -> dict[Key, str]:
    """What is done to the outputs of each operator: "own" range, "same" range as its input, a
    function of `FIXED`, or nothing, if it is not in here.

    Args:
        ops: in the order of computation.
        left: the model's outputs.
    """
    readers: dict[int, list[Op]] = {}
    for op in ops:
        for tensor in op.inputs:
            readers.setdefault(tensor, []).append(op)
    graph = _Graph(readers, frozenset(left))
    found: dict[Key, str] = {}
    for op in ops:
        if op.word in PASSING or op.spared or graph.goes_on(op):
            continue
        name = op.last or op.word
        if name not in FIXED:
            found[op.key] = "same" if op.word in SAME_SCALE else "own"
        elif not graph.leaves(op):
            # The loss takes the logarithm of the model's last softmax: that must not become zero.
            found[op.key] = name
    return found


def places(
    ops: Sequence[Op], given: Sequence[int], decided: dict[Key, str]
) -> dict[Place, Ends | None]:
    """Every tensor that has a range; the range, where it is fixed.

    Args:
        given: the model's inputs.
        decided: by `plan`.
    """
    found: dict[Place, Ends | None] = {(GIVEN, f"in {index}"): None for index in range(len(given))}
    known = set(given)
    for op in ops:
        if op.spared:
            continue
        # From a layer in float, or from a function that was not seen.
        found |= {
            (op.key, f"in {index}"): None
            for index, tensor in enumerate(op.inputs)
            if tensor not in known
        }
        if op.last and op.last not in FUSED and op.last != "linear":
            found[op.key, "before"] = None
        how = decided.get(op.key, "same")
        if how != "same":
            found |= {(op.key, f"out {i}"): FIXED.get(how) for i in range(len(op.outputs))}
        known.update(op.outputs)
    return found


@dataclass
class _Graph:
    readers: dict[int, list[Op]]
    left: frozenset[int]

    def goes_on(self, op: Op) -> bool:
        """Whether its operator has not ended: what reads it is a part of it."""
        reader = self._only_reader(op)
        if reader is None or reader.spared:
            return False
        if reader.word == NORM:
            return op.last == "linear"
        return reader.word in FUSED and (op.last == "linear" or op.word in SUMS | {NORM})

    def _only_reader(self, op: Op) -> Op | None:
        """The one that reads what it gives, behind those that do nothing."""
        while True:
            if len(op.outputs) != 1 or op.outputs[0] in self.left:
                return None
            found = self.readers.get(op.outputs[0], [])
            if len(found) != 1:
                return None
            op = found[0]
            if op.word not in IDENTITIES:
                return op

    def leaves(self, op: Op) -> bool:
        """Whether the model gives it out, perhaps in another shape."""
        return any(
            tensor in self.left
            or any(
                reader.word in PASSING and self.leaves(reader)
                for reader in self.readers.get(tensor, [])
            )
            for tensor in op.outputs
        )


def levels(kind: str, bits: int) -> int:
    """Steps that a kernel's weights have in each direction. LiteRT has 4-bit kernels for two kinds
    only; others have 8 bits.
    """
    return 7 if bits == 4 and kind in ("conv", "dense") else 127


def block(weights: str, kind: str, shape: Sequence[int], inputs: int) -> int:
    """How many weights in a row share a scale; 0 where that is no block.

    Args:
        weights: as in `Quantize`.
        inputs: axis of a kernel.
    """
    if not weights.startswith("block-") or kind != "dense" or len(shape) != 2:
        return 0
    size = int(weights.removeprefix("block-"))
    return size if shape[inputs] % size == 0 else 0


def means(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Whether one of the patterns means one of these names of a layer."""
    known = list(names)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in known)
