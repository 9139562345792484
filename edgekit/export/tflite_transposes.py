"""Transposes that a converter from a channels-first framework leaves in a graph of TFLite.

`count` tells how many there are; `fold` takes out those whose effect another operator can have for
nothing. Each rule changes no number: only the order in which the same elements are read.

    TRANSPOSE → TRANSPOSE    one, or none where the second undoes the first
    TRANSPOSE → MEAN, SUM …  the reduction of other axes, where the kept ones stay in their order
    TRANSPOSE → RESHAPE      the reshape alone, where only dimensions of one element move

MobileNetV2 comes out of litert-torch with a transpose of 7×7×1280 numbers before its mean.
"""

from __future__ import annotations

from typing import Any

from edgekit.export import flatbuffer

_REDUCTIONS = frozenset(
    {"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"}
)


def count(tree: Any) -> int:
    """TRANSPOSE operators in all subgraphs."""
    return sum(operator.name == "TRANSPOSE" for operator in flatbuffer.operators(tree))


def note(tree: Any) -> str:
    """How many there are, as a sentence for the report."""
    left = count(tree)
    if left == 0:
        return "no TRANSPOSE operator is in the graph"
    return f"{left} TRANSPOSE operator{' is' if left == 1 else 's are'} in the graph"


def fold(tree: Any) -> int:
    """Take out what can be; changes the tree in place and gives the number of those taken."""
    before = count(tree)
    for graph in tree.subgraphs:
        while _fold_one(tree, graph):
            _remove_unread(tree, graph)
    return before - count(tree)


def _fold_one(tree: Any, graph: Any) -> bool:
    names = [each.name for each in flatbuffer.operators_of(tree, graph)]
    outputs = {int(index) for index in graph.outputs}
    made_by = {int(out): at for at, op in enumerate(graph.operators) for out in op.outputs}
    for at, operator in enumerate(graph.operators):
        if names[at] != "TRANSPOSE" or int(operator.outputs[0]) in outputs:
            continue
        source, order = int(operator.inputs[0]), _constant(tree, graph, operator.inputs[1])
        if order is None:
            continue
        target = int(operator.outputs[0])
        readers = [at for at, op in enumerate(graph.operators) if target in map(int, op.inputs)]
        if not readers:
            continue
        if order == sorted(order):
            _read_instead(graph, readers, target, source)
            return True
        maker = made_by.get(source)
        if maker is not None and names[maker] == "TRANSPOSE":
            first = graph.operators[maker]
            inner = _constant(tree, graph, first.inputs[1])
            if inner is not None and [inner[axis] for axis in order] == sorted(order):
                _read_instead(graph, readers, target, int(first.inputs[0]))
                return True
            if inner is not None and _readers(graph, source) == 1 and source not in outputs:
                both = [inner[axis] for axis in order]
                operator.inputs[0] = int(first.inputs[0])
                operator.inputs[1] = _add_constant(tree, graph, operator.inputs[1], both)
                return True
        kinds = {names[reader] for reader in readers}
        shape = [int(size) for size in graph.tensors[source].shape]
        if kinds == {"RESHAPE"} and _moves_only_ones(shape, order):
            _read_instead(graph, readers, target, source)
            return True
        if kinds <= _REDUCTIONS and all(
            _can_reduce(tree, graph, graph.operators[reader], order) for reader in readers
        ):
            for reader in readers:
                reduction = graph.operators[reader]
                axes = _constant(tree, graph, reduction.inputs[1]) or []
                moved = [order[axis] for axis in axes]
                reduction.inputs[1] = _add_constant(tree, graph, reduction.inputs[1], moved)
            _read_instead(graph, readers, target, source)
            return True
    return False


def _moves_only_ones(shape: list[int], order: list[int]) -> bool:
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _can_reduce(tree: Any, graph: Any, operator: Any, order: list[int]) -> bool:
    """Whether the same numbers come out in the same order if the reduction reads the source."""
    axes = _constant(tree, graph, operator.inputs[1])
    options = operator.builtinOptions
    if axes is None or options is None or options.keepDims:
        return False
    reduced = {axis % len(order) for axis in axes}
    kept = [order[axis] for axis in range(len(order)) if axis not in reduced]
    return kept == sorted(kept)


def _read_instead(graph: Any, readers: list[int], old: int, new: int) -> None:
    for reader in readers:
        operator = graph.operators[reader]
        for at, index in enumerate(operator.inputs):
            if int(index) == old:
                operator.inputs[at] = new


def _readers(graph: Any, index: int) -> int:
    return sum(int(each) == index for operator in graph.operators for each in operator.inputs)


def _remove_unread(tree: Any, graph: Any) -> None:
    """Those that nobody reads any more, and those that only they have read."""
    outputs = {int(index) for index in graph.outputs}
    before = None
    while before != len(graph.operators):
        before = len(graph.operators)
        names = [each.name for each in flatbuffer.operators_of(tree, graph)]
        graph.operators = [
            operator
            for name, operator in zip(names, graph.operators, strict=True)
            if name != "TRANSPOSE"
            or int(operator.outputs[0]) in outputs
            or _readers(graph, int(operator.outputs[0]))
        ]


def _constant(tree: Any, graph: Any, index: int) -> list[int] | None:
    """The numbers of a constant int32 tensor; None if it is something else."""
    import numpy as np

    tensor = graph.tensors[index]
    data = tree.buffers[tensor.buffer].data
    if data is None or flatbuffer.dtype(tensor) != "int32":
        return None
    return [int(value) for value in np.frombuffer(bytes(data), dtype=np.int32)]


def _add_constant(tree: Any, graph: Any, like: int, values: list[int]) -> int:
    """A new int32 tensor beside the one at `like`, which others may read; its index."""
    import copy

    import numpy as np

    buffer = copy.copy(tree.buffers[0])
    buffer.data = np.frombuffer(np.asarray(values, dtype=np.int32).tobytes(), dtype=np.uint8)
    tree.buffers.append(buffer)
    tensor = copy.deepcopy(graph.tensors[like])
    tensor.buffer = len(tree.buffers) - 1
    tensor.name = tensor.name + (b"/folded" if isinstance(tensor.name, bytes) else "/folded")
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
