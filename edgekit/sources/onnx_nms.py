"""An ONNX detector's non-maximum suppression, left out or put inside in a form of fixed size.

    edgekit convert detector.onnx --for raspberry-pi-5 --nms outside
    edgekit convert detector.onnx --for raspberry-pi-5 --nms inside:iou=0.5,score=0.25,most=100

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
from dataclasses import replace
from typing import Any

from edgekit.core.errors import ModelError
from edgekit.sources.onnx_fix import nodes_of
from edgekit.sources.onnx_joins import MOVES, Parts, Shapes, constants
from edgekit.sources.onnx_nms_inside import append
from edgekit.sources.options import Suppression

OPERATOR = "NonMaxSuppression"
_LARGEST = 2**24  # elements whose places are followed


def apply(reference: str, proto: Any, limits: Suppression | None) -> None:
    """Leave non-maximum suppression to the device; with `limits`, put one inside of fixed size.

    `proto` is changed in place; its shapes are fixed and inferred, as far as they can be.

    Raises:
        ModelError: there is none, it is inside a loop or a branch, or it cannot be put inside.
    """
    graph = proto.graph
    found = [node for node in graph.node if node.op_type == OPERATOR and not node.domain]
    if not found and (limits is None or any(n.op_type == OPERATOR for n in nodes_of(graph))):
        raise _none(reference, proto)
    if limits is None:
        _expose(proto, _outputs(proto, found))
        return
    if found:
        outputs = _outputs(proto, found)
        _check_one(reference, proto, found, outputs)
        limits = _complete(reference, limits, found[0], constants(graph))
        centre = any(a.name == "center_point_box" and a.i for a in found[0].attribute)
    else:
        outputs, centre = _by_shape(reference, proto), False
    _expose(proto, outputs)
    append(proto, limits, centre=centre)


def _none(reference: str, proto: Any) -> ModelError:
    if any(node.op_type == OPERATOR for node in nodes_of(proto.graph)):
        return ModelError(
            f"{reference!r} has its {OPERATOR} inside a Loop or an If, where it cannot be cut off",
            hint="export the model without it, and do it on the device",
        )
    return ModelError(
        f"{reference!r} has no {OPERATOR} to leave out", hint="convert it without --nms"
    )


def _check_one(reference: str, proto: Any, found: Sequence[Any], outputs: dict[str, str]) -> None:
    """Only a single suppression that chooses nothing but boxes and scores can be put inside."""
    own = {name for node in found for name in node.input[:2]}
    given = {value.name for value in proto.graph.output}
    more = [tensor for tensor in outputs.values() if tensor not in own | given]
    if len(found) > 1 or more:
        raise ModelError(
            f"{reference!r} cannot have its non-maximum suppression inside: it "
            + (
                f"has {len(found)} of them"
                if len(found) > 1
                else f"chooses more than boxes and scores: {', '.join(more)}"
            ),
            hint="leave it to the device: --nms outside",
        )


def _complete(reference: str, limits: Suppression, node: Any, known: dict[str, Any]) -> Suppression:
    """With what the model's own node says where the user does not.

    Its number of boxes is for each class, `most` for all of them.
    """
    own: dict[str, float] = {}
    for place, what in ((3, "iou"), (4, "score")):
        name = node.input[place] if place < len(node.input) else ""
        if name and name not in known and getattr(limits, what) is None:
            raise ModelError(
                f"{reference!r}: its non-maximum suppression takes its limits from the data",
                hint="give them: --nms inside:iou=0.5,score=0.25,most=100",
            )
        own[what] = float(known[name].item()) if name in known else 0.0  # as ONNX says
    return replace(
        limits,
        iou=own["iou"] if limits.iou is None else limits.iou,
        score=own["score"] if limits.score is None else limits.score,
    )


def _by_shape(reference: str, proto: Any) -> dict[str, str]:
    """Boxes 1 × boxes × 4 and scores 1 × classes × boxes, or turned, among the outputs."""
    shapes = Shapes(proto)
    sizes = {value.name: shapes.of(value.name) or [] for value in proto.graph.output}
    for boxes, size in sizes.items():
        for scores, other in sizes.items():
            if len(size) == len(other) == 3 and scores != boxes and size[2] == 4 \
                    and size[1] in other[1:]:  # fmt: skip
                rest = {name: name for name in sizes if name not in (boxes, scores)}
                return {"boxes": boxes, "scores": scores, **rest}
    said = ", ".join(f"{name} {'×'.join(map(str, size))}" for name, size in sizes.items())
    raise ModelError(
        f"{reference!r} has no {OPERATOR}, and its outputs are not boxes 1 × boxes × 4 and scores "
        f"1 × classes × boxes: {said}",
        hint="export it with boxes (two corners) and scores as outputs of their own",
    )


def _expose(proto: Any, outputs: dict[str, str]) -> None:
    """Make these the outputs, from before joins, and drop what they do not need."""
    graph = proto.graph
    shapes = Shapes(proto)
    values = [shapes.described(name, tensor) for name, tensor in outputs.items()]
    _keep(graph, outputs.values())
    parts = Parts(graph, shapes)
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

    shape = Shapes(proto).of(name)
    if shape is None or math.prod(shape) > _LARGEST:
        return False
    moved, chain = {name}, []
    for node in proto.graph.node:
        if node.op_type in MOVES and node.input[0] in moved:
            moved.update(node.output)
            chain.append(node)
    reached = [each for each in outputs if each in moved]
    wanted, used = set(reached), []
    for node in reversed(chain):
        if wanted.intersection(node.output):
            wanted.add(node.input[0])
            used.append(node)
    needed = {each for node in used for each in node.input[1:] if each}
    known = constants(proto.graph)
    if not reached or not needed <= set(known):
        return False
    graph = helper.make_graph(
        used[::-1],
        "moves",
        [helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in (name, *needed)],
        [helper.make_tensor_value_info(each, TensorProto.INT64, None) for each in reached],
    )
    model = helper.make_model(graph, opset_imports=list(proto.opset_import))
    feeds = {each: known[each] for each in needed}
    feeds[name] = np.arange(math.prod(shape)).reshape(shape)
    answers = ReferenceEvaluator(model).run(None, feeds)
    seen = np.concatenate([np.ravel(answer) for answer in answers])
    return bool(len(np.unique(seen)) == math.prod(shape))


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
