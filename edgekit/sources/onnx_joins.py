"""Slices of tensors that were joined before → the same from the parts, in an ONNX graph.

Runs in a worker process of the kind "onnx".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

# They give a part of what they read, in another order.
MOVES = frozenset(
    {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Split",
     "Gather"}
)  # fmt: skip


def constants(graph: Any) -> dict[str, Any]:
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


class Shapes:
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


class Parts:
    """Slices of a joined tensor → the same from the parts that were joined."""

    def __init__(self, graph: Any, shapes: Shapes) -> None:
        self._graph, self._shapes = graph, shapes
        self._made_by = {name: node for node in graph.node for name in node.output}
        self._constants = constants(graph)

    def apart(self, tensor: str) -> str:
        """The tensor with the same numbers whose slices reach past joins; itself if none does."""
        node = self._made_by.get(tensor)
        if node is None or node.op_type not in MOVES:
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
