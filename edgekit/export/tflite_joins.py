"""Outputs that join parts of very different ranges: boxes in pixels beside scores from 0 to 1.

One INT8 tensor has one scale, so a join of both leaves the scores nothing: 640 pixels in 255 steps
are 2.5 a step. Such a join, with the reshapes and transposes around it up to the output, stays in
float, and each part is dequantized with a scale of its own before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.recipe import Recipe
from edgekit.export import flatbuffer

MOST_UNEVEN = 8  # how many times wider one part may be than another: three of eight bits
_MOVES = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS"})


@dataclass(frozen=True)
class Join:
    """An output that is put together from uneven parts.

    Attributes:
        output: the output's name in the signature.
        operators: the names of the outputs of the joining operators, and of those around them.
        least, most: the width of the narrowest and of the widest part.
    """

    output: str
    operators: tuple[str, ...]
    least: float
    most: float


def uneven(tree: Any, ranges: Mapping[str, Sequence[float]]) -> list[Join]:
    """The outputs of the main graph that join uneven parts; `ranges` are calibrated, by tensor."""
    graph = tree.subgraphs[0]
    names = {int(entry.tensorIndex): _text(entry.name) for entry in tree.signatureDefs[0].outputs}
    walk = _Walk(tree, graph)
    found = []
    for output in map(int, graph.outputs):
        operators, parts = walk.back_from(output)
        spans = [ranges[part] for part in parts if part in ranges]
        widths = [max(high, 0.0) - min(low, 0.0) for low, high in spans if high > low]
        if operators and widths and max(widths) > MOST_UNEVEN * min(widths):
            found.append(Join(names[output], tuple(operators), min(widths), max(widths)))
    return found


class _Walk:
    """From an output back to the parts that it is joined from."""

    def __init__(self, tree: Any, graph: Any) -> None:
        self._graph = graph
        self._kinds = [each.name for each in flatbuffer.operators_of(tree, graph)]
        self._made_by = {
            int(out): at for at, op in enumerate(graph.operators) for out in op.outputs
        }

    def back_from(self, index: int) -> tuple[list[str], list[str]]:
        """Names of what the joining operators and those after them give, and of the parts."""
        at = self._made_by.get(index)
        kind = "" if at is None else self._kinds[at]
        name = _text(self._graph.tensors[index].name)
        if at is None or (kind not in _MOVES and kind != "CONCATENATION"):
            return [], [name]
        sources = [int(each) for each in self._graph.operators[at].inputs]
        if kind in _MOVES:
            operators, parts = self.back_from(sources[0])
            return ([*operators, name] if operators else []), parts
        before = [self.back_from(source) for source in sources]
        operators = [each for pair in before for each in pair[0]]
        return [*operators, name], [each for pair in before for each in pair[1]]


def check(tree: Any, joins: Sequence[Join]) -> None:
    """Raise ConversionError where a join was quantized after all."""
    outputs = {name for join in joins for name in join.operators}
    graph = tree.subgraphs[0]
    for described in flatbuffer.operators_of(tree, graph):
        if described.name == "CONCATENATION" and described.location in outputs:
            wrong = {kind for kind in (*described.inputs, *described.outputs) if kind != "float32"}
            if wrong:
                raise ConversionError(
                    f"the join {described.location!r} became {', '.join(sorted(wrong))}, though "
                    "its parts have very different ranges"
                )


def notes(joins: Sequence[Join], recipe: Recipe) -> list[str]:
    """What was done about each, as sentences for the report."""
    return [
        f"{join.output} joins parts of very different ranges (up to {join.most:.3g} wide beside "
        f"{join.least:.3g}): "
        + (
            "they are quantized apart and joined in float"
            if recipe.io == "float"
            else "its one integer scale takes the precision of the narrow ones; int8 keeps it"
        )
        for join in joins
    ]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
