"""Non-maximum suppression inside an ONNX graph, with outputs of fixed size.

Each box counts for its best class, and boxes of different classes never suppress each other: they
are moved apart by more than their whole span. What is found comes out best first, filled up to
`most` rows:

``boxes``    1 × most × 4, as they were; zeros where there is none
``scores``   1 × most; 0 where there is none
``classes``  1 × most, int64; −1 where there is none

Runs in a worker process of the kind "onnx".
"""

from __future__ import annotations

from typing import Any

from edgekit.sources.onnx_fix import nodes_of
from edgekit.sources.options import Suppression

# Where neither the user nor the model says it: what detectors are shown with.
IOU, SCORE, MOST = 0.5, 0.25, 100


def append(proto: Any, limits: Suppression, *, centre: bool) -> None:
    """Put it behind the first two outputs, boxes 1 × boxes × 4 and scores 1 × classes × boxes.

    `proto` is changed in place. With `centre` a box is its centre and size.
    """
    from onnx import TensorProto, helper

    graph = proto.graph
    count = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    most = min(limits.most or MOST, count)
    names = [value.name for value in graph.output[:2]]
    classes = graph.output[1].type.tensor_type.shape.dim[1].dim_value
    last = graph.output[1].type.tensor_type.shape.dim[2].dim_value
    g = _Builder(proto)
    boxes, scores = map(g.inside, names)
    if last != count and classes == count:
        scores = g.add("Transpose", scores, perm=[0, 2, 1])
    best = g.over_classes("ReduceMax", scores)
    which = g.add("ArgMax", scores, axis=1, keepdims=0)
    low, high = (g.add(each, boxes, keepdims=1) for each in ("ReduceMin", "ReduceMax"))
    # Centre ± half of a size stays within twice of what the numbers themselves span.
    span = g.add("Mul", g.add("Sub", high, low), g.number([[[2.0]]]))
    number = g.add("Cast", g.add("Reshape", which, g.whole([1, count, 1])), to=TensorProto.FLOAT)
    shift = g.add("Mul", number, span)
    if centre:
        shift = g.add("Mul", shift, g.number([[[1.0, 1.0, 0.0, 0.0]]]))
    found = g.add(
        "NonMaxSuppression",
        g.add("Add", boxes, shift),
        best,
        g.whole([most]),
        g.number([IOU if limits.iou is None else limits.iou]),
        g.number([SCORE if limits.score is None else limits.score]),
        center_point_box=int(centre),
    )
    # `count` is the row behind the last: what stands there stands where nothing is found.
    found = g.add("Concat", g.column(found, 2), g.whole([count] * most), axis=0)
    first = g.add("Slice", found, g.whole([0]), g.whole([most]), g.whole([0]))
    rows = g.add("Reshape", first, g.whole([most]))
    flat = g.add("Reshape", best, g.whole([1, count]))
    names.append(g.free("classes"))
    for name, tensor, none in (
        (names[0], boxes, g.number([[[0.0] * 4]])),
        (names[1], flat, g.number([[0.0]])),
        (names[2], which, g.whole([[-1]])),
    ):
        g.add("Gather", g.add("Concat", tensor, none, axis=1), rows, axis=1, output=name)
    rest = [type(value).FromString(value.SerializeToString()) for value in graph.output[2:]]
    del graph.output[:]
    for name, kind, shape in (
        (names[0], TensorProto.FLOAT, [1, most, 4]),
        (names[1], TensorProto.FLOAT, [1, most]),
        (names[2], TensorProto.INT64, [1, most]),
    ):
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    graph.output.extend(rest)


class _Builder:
    """Adds nodes to the end of a graph."""

    def __init__(self, proto: Any) -> None:
        self._graph = proto.graph
        self._opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
        self._made = 0

    def inside(self, output: str) -> str:
        """Another name for what is an output so far."""
        name = self.free(f"{output}_before_nms")
        for node in nodes_of(self._graph):
            node.input[:] = [name if each == output else each for each in node.input]
            node.output[:] = [name if each == output else each for each in node.output]
        return name

    def free(self, name: str) -> str:
        """`name`, or one like it that nothing in the graph has."""
        values = (*self._graph.input, *self._graph.output, *self._graph.initializer)
        taken = {value.name for value in values}
        taken |= {each for node in nodes_of(self._graph) for each in node.output}
        while name in taken:
            name += "_"
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = output or self._name(operator)
        node = helper.make_node(operator, inputs, [name], f"nms/{name}", **attributes)
        self._graph.node.append(node)
        return name

    def over_classes(self, operator: str, scores: str) -> str:
        """A reduction of axis 1, which newer operator sets take as an input."""
        if self._opset >= 18:
            return self.add(operator, scores, self.whole([1]), keepdims=1)
        return self.add(operator, scores, axes=[1], keepdims=1)

    def column(self, tensor: str, index: int) -> str:
        import numpy as np

        return self.add("Gather", tensor, self._constant(np.array(index)), axis=1)

    def whole(self, numbers: Any) -> str:
        import numpy as np

        return self._constant(np.array(numbers, dtype=np.int64))

    def number(self, numbers: Any) -> str:
        import numpy as np

        return self._constant(np.array(numbers, dtype=np.float32))

    def _constant(self, array: Any) -> str:
        from onnx import numpy_helper

        name = self._name("constant")
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _name(self, what: str) -> str:
        self._made += 1
        return self.free(f"nms_{what.lower()}_{self._made}")
