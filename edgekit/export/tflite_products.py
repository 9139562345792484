"""Products of two activations, as in attention: what XNNPACK asks of their second factor.

In 8 bits XNNPACK (seen in LiteRT 2.3) multiplies two tensors only where the zero of the second one
is stored as 0, as the zero of weights is; any other such product falls to LiteRT's own kernel and
cuts the graph in two. So the calibrated range of that tensor, and of what it was only moved from,
becomes symmetric: [−128/127·m, m] with m the larger end, which stores 0 as 0. It costs at most one
bit of that tensor, where its range lies on one side of zero. A factor that comes from an operator
with a range of its own (LOGISTIC, SOFTMAX) stays as it is. README.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.export import flatbuffer

PRODUCT = "BATCH_MATMUL"
# Operators that only move numbers about; ai-edge-quantizer gives both sides one scale.
MOVES = frozenset(
    {"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT", "GATHER"}
)


def symmetric(tree: Any, ranges: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """`ranges` with those of second factors, and of what they were moved from, made symmetric."""
    made = dict(ranges)
    for graph in tree.subgraphs:
        kinds = [each.name for each in flatbuffer.operators_of(tree, graph)]
        made_by = {int(out): at for at, op in enumerate(graph.operators) for out in op.outputs}
        for kind, operator in zip(kinds, graph.operators, strict=True):
            if kind != PRODUCT:
                continue
            tensor = int(operator.inputs[1])
            while tensor in made_by:
                name = flatbuffer.text(graph.tensors[tensor].name)
                if name in made:
                    made[name] = _around_zero(*made[name])
                maker = made_by[tensor]
                if kinds[maker] not in MOVES:
                    break
                # SPLIT has its axis first.
                at = 1 if kinds[maker] == "SPLIT" else 0
                tensor = int(graph.operators[maker].inputs[at])
    return made


def _around_zero(low: float, high: float) -> tuple[float, float]:
    most = max(abs(low) * 127 / 128, abs(high))
    return -most * 128 / 127, most
