"""The operators of a ``.tflite`` with their multiply-adds, for what compilers say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgekit.core.description import CPU, Node
from edgekit.core.tflite import layer_name, multiply_adds
from edgekit.export import flatbuffer


def nodes(model: Any) -> list[Node]:
    """Every operator of a ``ModelT`` in the file's order, on the CPU; layers are tensor names."""
    found = []
    for graph in model.subgraphs:
        described = flatbuffer.operators_of(model, graph)
        for operator, known in zip(graph.operators, described, strict=True):
            macs = multiply_adds(
                known.name,
                [_shape(graph, index) for index in operator.inputs],
                [_shape(graph, index) or () for index in operator.outputs],
            )
            kind = known.outputs[0] if known.outputs else ""
            found.append(Node(operator=known.name, macs=macs, layer=known.location, dtype=kind))
    return found


def placed(before: Iterable[Node], after: Iterable[Node], delegate: str) -> list[Node] | None:
    """The operators `before` compiling, each on the CPU if it is there `after`, too.

    An operator is known by its name and that of its output. None if there is one afterwards that
    was not there before.
    """
    left: dict[tuple[str, str], int] = {}
    for node in after:
        left[(node.operator, node.layer)] = left.get((node.operator, node.layer), 0) + 1
    found = []
    for node in before:
        key = (node.operator, node.layer)
        stays = left.get(key, 0) > 0
        if stays:
            left[key] -= 1
        changed = {"layer": layer_name(node.layer), "where": CPU if stays else delegate}
        found.append(node.model_copy(update=changed))
    return None if any(left.values()) else found


def _shape(graph: Any, index: int) -> tuple[int, ...] | None:
    if index < 0:
        return None
    shape = graph.tensors[index].shape
    # A dimension that has no size yet is the batch.
    return tuple(max(1, int(side)) for side in (() if shape is None else shape))
