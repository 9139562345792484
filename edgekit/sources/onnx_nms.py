"""An ONNX detector without its non-maximum suppression: boxes and scores come out as they go in.

What `NonMaxSuppression` finds has a size that depends on the data, which no artifact can have, so
the graph is cut before it and the device does it with the code that comes with its camera. What
goes into it (https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html) are the new outputs:

``boxes``   1 × boxes × 4; two opposite corners, or centre and size where the node says so
``scores``  1 × classes × boxes

with ``boxes_0``, ``boxes_1``, … where there are several of them. Beside these come outputs that do
not depend on it, and what is read after it by the indices that it finds: masks, say, or classes.

Exporters join boxes and scores in one tensor and take them apart again before it. INT8 gives one
tensor one scale, which ruins the scores, so they are taken from before the join.

Runs in a worker process of the kind "onnx".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from edgekit.core.errors import ModelError
from edgekit.sources.onnx_fix import nodes_of

OPERATOR = "NonMaxSuppression"
# They give a part of what they read, in another order.
_MOVES = frozenset(
    {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split",
     "Gather"}
)  # fmt: skip
_LARGEST = 2**24  # elements whose places are followed


def cut(reference: str, proto: Any) -> None:
    """Make what goes into every `NonMaxSuppression` an output and drop what comes after it.

    `proto` is changed in place; its shapes are fixed and inferred, as far as they can be.

    Raises:
        ModelError: there is none, or it is inside a loop or a branch.
    """
    graph = proto.graph
    found = [node for node in graph.node if node.op_type == OPERATOR and not node.domain]
    if not found:
        inner = any(node.op_type == OPERATOR for node in nodes_of(graph))
        raise ModelError(
            f"{reference!r} has "
            + (
                f"its {OPERATOR} inside a Loop or an If, where it cannot be cut off"
                if inner
                else f"no {OPERATOR} to leave out"
            ),
            hint="export the model without it, and do it on the device"
            if inner
            else "convert it without --nms",
        )
    outputs = _outputs(proto, found)
    shapes = _Shapes(proto)
    values = [shapes.described(name, tensor) for name, tensor in outputs.items()]
    _keep(graph, outputs.values())
    parts = _Parts(graph, shapes)
    for name, tensor in outputs.items():
        outputs[name] = parts.apart(tensor)
    _keep(graph, outputs.values())
    _rename(graph, outputs)
    del graph.output[:]
    graph.output.extend(values)
    del graph.value_info[:]  # some tensors have other names now: found anew by the caller


def _outputs(proto: Any, found: Sequence[Any]) -> dict[str, str]:
    """The new outputs in order: name to tensor, each tensor once."""
    graph = proto.graph
    names: dict[str, str] = {}  # by tensor
    for place, what in enumerate(("boxes", "scores")):
        tensors = list(dict.fromkeys(node.input[place] for node in found))
        for at, tensor in enumerate(tensors):
            names.setdefault(tensor, what if len(tensors) == 1 else f"{what}_{at}")
    own = list(names)
    after = {name for node in found for name in node.output if name}
    read: list[str] = []
    for node in graph.node:
        inputs = _reads(node)
        if after.intersection(inputs):
            after.update(node.output)
            read += [name for name in inputs if name not in after]
    varying = _varying(graph)
    kept = [value.name for value in graph.output if value.name not in after]
    for name in kept:
        names.setdefault(name, name)
    known = [*own, *kept]
    for name in dict.fromkeys(read):
        if name in varying and name not in names and not _contained(proto, name, known):
            names[name] = name
    return _distinct(names, {value.name for value in graph.input})


def _distinct(names: dict[str, str], inputs: set[str]) -> dict[str, str]:
    outputs: dict[str, str] = {}
    for tensor, name in names.items():
        while name in outputs or name in inputs:
            name += "_"
        outputs[name] = tensor
    return outputs


def _reads(node: Any) -> list[str]:
    """The tensors a node reads, those of graphs inside it too."""
    inner = [
        name
        for attribute in node.attribute
        for graph in (attribute.g, *attribute.graphs)
        for each in nodes_of(graph)
        for name in each.input
    ]
    return [name for name in (*node.input, *inner) if name]


def _varying(graph: Any) -> set[str]:
    """Tensors that depend on the inputs' values; their shapes do not."""
    found = {value.name for value in graph.input}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and found.intersection(_reads(node)):
            found.update(node.output)
    return found


def _contained(proto: Any, name: str, outputs: Sequence[str]) -> bool:
    """Whether every number of a tensor is in one of the outputs, only moved.

    Its elements are numbered and the moves run on those numbers.
    """
    import numpy as np
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    shape = _Shapes(proto).of(name)
    if shape is None or math.prod(shape) > _LARGEST:
        return False
    moved, chain = {name}, []
    for node in proto.graph.node:
        if node.op_type in _MOVES and node.input[0] in moved:
            moved.update(node.output)
            chain.append(node)
    reached = [each for each in outputs if each in moved]
    wanted, used = set(reached), []
    for node in reversed(chain):
        if wanted.intersection(node.output):
            wanted.add(node.input[0])
            used.append(node)
    needed = {each for node in used for each in node.input[1:] if each}
    constants = _constants(proto.graph)
    if not reached or not needed <= set(constants):
        return False
    graph = helper.make_graph(
        used[::-1],
        "moves",
        [helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in (name, *needed)],
        [helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in reached],
    )
    model = helper.make_model(graph, opset_imports=list(proto.opset_import))
    feeds = {each: constants[each] for each in needed}
    feeds[name] = np.arange(math.prod(shape)).reshape(shape)
    answers = ReferenceEvaluator(model).run(None, feeds)
    seen = np.concatenate([np.ravel(answer) for answer in answers])
    return bool(len(np.unique(seen)) == math.prod(shape))


def _constants(graph: Any) -> dict[str, Any]:
    """Values of Constant nodes and of initializers, of those that may be shapes or indices."""
    import numpy as np
    from onnx import helper, numpy_helper

    found = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if len(tensor.dims) <= 1
    }
    for node in graph.node:
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
            if node.attribute[0].name == "value":
                found[node.output[0]] = numpy_helper.to_array(value)
            elif node.attribute[0].name in ("value_int", "value_ints"):
                found[node.output[0]] = np.asarray(value, dtype=np.int64)
    return found


class _Shapes:
    """What shape inference knows."""

    def __init__(self, proto: Any) -> None:
        graph = proto.graph
        self.values = {v.name: v for v in (*graph.input, *graph.value_info, *graph.output)}

    def of(self, name: str) -> list[int] | None:
        """A tensor's shape; None where it is not known or open."""
        value = self.values.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            return None
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        return sizes if all(sizes) else None

    def described(self, name: str, tensor: str) -> Any:
        """What a graph says of an output, for a tensor under another name."""
        from onnx import helper

        kind = self.values[tensor].type.tensor_type.elem_type
        return helper.make_tensor_value_info(name, kind, self.of(tensor))


# -------------------------------------------------------------------- taking joins apart


class _Parts:
    """Slices of a joined tensor → the same from the parts that were joined."""

    def __init__(self, graph: Any, shapes: _Shapes) -> None:
        self._graph, self._shapes = graph, shapes
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._constants = _constants(graph)

    def apart(self, tensor: str) -> str:
        """The tensor with the same numbers whose slices reach past joins; itself if none does."""
        node = self._made_by.get(tensor)
        if node is None or node.op_type not in _MOVES:
            return tensor
        sliced = self._range(node, tensor)
        if sliced is not None:
            found = self._sliced(node.input[0], *sliced)
            return tensor if found is None else found
        source = self.apart(node.input[0])
        if source == node.input[0] or node.op_type in ("Slice", "Split", "Gather"):
            return tensor
        return self._again(node, [source, *node.input[1:]], tensor)

    def _range(self, node: Any, tensor: str) -> tuple[int, int, int] | None:
        """(axis, first, end) of a Slice's or Split's output; None for any other."""
        shape = self._shapes.of(node.input[0])
        if shape is None:
            return None
        if node.op_type == "Split":
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0) % len(shape)
            sizes = [self._shapes.of(each) for each in node.output]
            if any(size is None for size in sizes):
                return None
            at = list(node.output).index(tensor)
            first = sum(size[axis] for size in sizes[:at] if size)
            return axis, first, first + (sizes[at] or shape)[axis]
        if node.op_type != "Slice" or len(node.input) < 3:
            return None
        known = [self._constants.get(name) for name in node.input[1:]]
        given = [int(each.item()) for each in known if each is not None and each.size == 1]
        if len(given) != len(known):
            return None
        first, end, axis, step = given + [0, 1][len(given) - 2 :]
        axis %= len(shape)
        first, end, step = slice(first, end, step).indices(shape[axis])
        return (axis, first, end) if step == 1 and first < end else None

    def _sliced(self, tensor: str, axis: int, first: int, end: int) -> str | None:
        """``tensor[first:end]`` along `axis`, from before a join; None where there is no join."""
        node, shape = self._made_by.get(tensor), self._shapes.of(tensor)
        if node is None or shape is None:
            return None
        if node.op_type == "Transpose":
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
            perm = perm or list(range(len(shape)))[::-1]
            source = self._sliced(node.input[0], perm[axis], first, end)
            return source and self._again(node, [source], tensor)
        if node.op_type == "Reshape":
            before = self._shapes.of(node.input[0])
            last = axis == len(shape) - 1
            if not last or before is None or before[-1] != shape[-1]:
                return None
            source = self._sliced(node.input[0], len(before) - 1, first, end)
            sizes = self._constant([*shape[:-1], end - first], tensor)
            return source and self._again(node, [source, sizes], tensor)
        if node.op_type != "Concat":
            return None
        joined = next(a.i for a in node.attribute if a.name == "axis") % len(shape)
        if joined != axis:
            parts = [self._sliced(each, axis, first, end) for each in node.input]
            if all(part is None for part in parts):
                return None
            rest = [
                part or self._slice(each, axis, first, end)
                for part, each in zip(parts, node.input, strict=True)
            ]
            return self._again(node, rest, tensor)
        return self._of_parts(node, tensor, axis, first, end)

    def _of_parts(self, node: Any, tensor: str, axis: int, first: int, end: int) -> str | None:
        """Of a Concat along the axis that is sliced: those of its inputs that lie in the range."""
        found, at = [], 0
        for each in node.input:
            shape = self._shapes.of(each)
            if shape is None:
                return None
            low, high = max(first - at, 0), min(end - at, shape[axis])
            at += shape[axis]
            if low < high:
                whole = (low, high) == (0, shape[axis])
                inner = each if whole else self._sliced(each, axis, low, high)
                found.append(inner or self._slice(each, axis, low, high))
        return found[0] if len(found) == 1 else self._again(node, found, tensor)

    def _slice(self, tensor: str, axis: int, first: int, end: int) -> str:
        from onnx import helper

        numbers = [self._constant([each], tensor) for each in (first, end, axis)]
        return self._add(helper.make_node("Slice", [tensor, *numbers], [""]), tensor)

    def _again(self, node: Any, inputs: Iterable[str], tensor: str) -> str:
        copy = type(node).FromString(node.SerializeToString())
        copy.input[:] = inputs
        return self._add(copy, tensor)

    def _add(self, node: Any, tensor: str) -> str:
        name = self._free(f"{tensor}_part")
        node.output[:] = [name]
        node.name = name
        self._graph.node.append(node)
        self._made_by[name] = self._graph.node[-1]
        return name

    def _constant(self, numbers: Sequence[int], tensor: str) -> str:
        import numpy as np
        from onnx import numpy_helper

        name = self._free(f"{tensor}_sizes")
        array = np.array(numbers, dtype=np.int64)
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        self._constants[name] = array
        return name

    def _free(self, name: str) -> str:
        while name in self._made_by or name in self._constants:
            name += "_"
        return name


# -------------------------------------------------------------------------- the new graph


def _keep(graph: Any, outputs: Iterable[str]) -> None:
    """Drop the nodes and constants that the outputs do not need."""
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_reads(node))
            kept.append(type(node).FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in weights]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _rename(graph: Any, outputs: dict[str, str]) -> None:
    """Give the outputs their names; another tensor that is called so inside gets another name."""
    from onnx import helper

    fixed = {value.name for value in graph.input} | {each.name for each in graph.initializer}
    taken = {name for node in nodes_of(graph) for name in (*node.input, *node.output)} | fixed
    new: dict[str, str] = {}
    for name, tensor in outputs.items():
        if name != tensor and name in taken:
            other = f"{name}_inside"
            while other in taken or other in outputs:
                other += "_"
            new[name] = other
    copies = []
    given: dict[str, str] = {}
    for name, tensor in outputs.items():
        if tensor in fixed or tensor in given:
            source = given.get(tensor, new.get(tensor, tensor))
            copies.append(helper.make_node("Identity", [source], [name], name))
        else:
            new[tensor] = given[tensor] = name
    for each in graph.initializer:
        each.name = new.get(each.name, each.name)
    for node in nodes_of(graph):
        node.input[:] = [new.get(each, each) for each in node.input]
        node.output[:] = [new.get(each, each) for each in node.output]
    graph.node.extend(copies)
