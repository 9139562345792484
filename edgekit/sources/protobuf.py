"""Just enough of protobuf's wire format to look into a SavedModel without TensorFlow.

Source of the format: https://protobuf.dev/programming-guides/encoding/
Field numbers: tensorflow/core/protobuf/{saved_model,meta_graph}.proto and
tensorflow/core/framework/{graph,function,node_def,op_def}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are not a protobuf message."""


def fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Field number, wire type and value of each field; bytes are views, nothing is copied.

    Raises:
        WireError: the message is cut off or malformed.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise WireError("field number 0")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = _varint(message, at)
        elif wire in (FIXED64, FIXED32):
            size = 8 if wire == FIXED64 else 4
        else:
            raise WireError(f"wire type {wire}")
        if at + size > end:
            raise WireError("cut off")
        yield number, wire, message[at : at + size]
        at += size


def children(message: memoryview, *path: int) -> Iterator[memoryview]:
    """Every message (or bytes) reached by following the field numbers of `path`."""
    if not path:
        yield message
        return
    for number, wire, value in fields(message):
        if number == path[0] and wire == BYTES:
            assert isinstance(value, memoryview)
            yield from children(value, *path[1:])


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    result = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(message):
            raise WireError("cut off")
        byte = message[at + index]
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return result, at + index + 1
    raise WireError("number too long")


# SavedModel.meta_graphs=2; MetaGraphDef.graph_def=2, .signature_def=5;
# GraphDef.node=1, .library=2; FunctionDefLibrary.function=1; FunctionDef.node_def=3; NodeDef.op=2
_NODES = ((2, 2, 1, 2), (2, 2, 2, 1, 3, 2))
_SIGNATURE_KEYS = (2, 5, 1)


def saved_model_ops(content: bytes) -> set[str]:
    """Names of all operations in a ``saved_model.pb``, those inside functions included.

    Raises:
        WireError: not such a file.
    """
    view = memoryview(content)
    found = {_text(op) for path in _NODES for op in children(view, *path)}
    if not found:
        raise WireError("no graph in it")
    return found


# SavedModel.meta_graphs=2; MetaGraphDef.saver_def=3, .collection_def=4, .signature_def=5,
# .object_graph_def=7; the values of a map=2. Names of what a loader may run in a graph without
# objects: SaverDef.restore_op_name=3; CollectionDef.node_list=1.value=1; SignatureDef.outputs=2
# with TensorInfo.name=1, .coo_sparse=4 and .composite_tensor=5.
_STARTS = (
    (3, 3),
    (4, 2, 1, 1),
    *((5, 2, 2, 2, *rest) for rest in ((1,), (4, 1), (4, 2), (4, 3), (5, 2, 1))),
)


def saved_model_called(content: bytes) -> set[str]:
    """Names of the operations that loading and calling a SavedModel can reach.

    Those that save its variables are in the file as well, but nothing calls them. A loader runs
    the functions that the object graph names or, in a file of TensorFlow 1, which has none, the
    nodes that signatures and initialization need.

    Raises:
        WireError: not such a file.
    """
    found: set[str] = set()
    for meta in children(memoryview(content), 2):
        bodies: dict[str, list[memoryview]] = {}
        for function in children(meta, 2, 2, 1):
            for name in children(function, 1, 1):
                bodies.setdefault(_text(name), []).extend(children(function, 3))
        objects = [bytes(part) for part in children(meta, 7)]
        if objects:
            start = [body for body in bodies if any(body.encode() in part for part in objects)]
            nodes = [node for body in start for node in bodies.pop(body)]
        else:
            nodes = _needed(meta)
        while nodes:
            node = nodes.pop()
            ops = {_text(op) for op in children(node, 2)}
            found |= ops
            for called in ops | set(_named_functions(node)):
                nodes += bodies.pop(called, [])
    return found


def _needed(meta: memoryview) -> list[memoryview]:
    """The nodes of a graph without objects that what a loader runs depends on."""
    graph: dict[str, list[memoryview]] = {}
    for node in children(meta, 2, 1):
        for name in children(node, 1):
            graph.setdefault(_text(name), []).append(node)
    names = [_text(name) for path in _STARTS for name in children(meta, *path)]
    nodes: list[memoryview] = []
    while names:
        for node in graph.pop(names.pop().removeprefix("^").partition(":")[0], []):
            nodes.append(node)
            names += [_text(name) for name in children(node, 3)]
    return nodes


def _named_functions(node: memoryview) -> Iterator[str]:
    """Functions in the attributes of a NodeDef (attr=5): AttrValue.func=10, .list=1.func=9;
    NameAttrList.name=1, .attr=2 hold more of them."""
    values = list(children(node, 5, 2))
    while values:
        value = values.pop()
        for path in ((10,), (1, 9)):
            for function in children(value, *path):
                yield from (_text(name) for name in children(function, 1))
                values += children(function, 2, 2)


def saved_model_signatures(content: bytes) -> set[str]:
    """Names of the signatures in a ``saved_model.pb``. Raises WireError like `saved_model_ops`."""
    return {_text(key) for key in children(memoryview(content), *_SIGNATURE_KEYS)}


def _text(view: memoryview) -> str:
    try:
        return bytes(view).decode()
    except UnicodeDecodeError as exc:
        raise WireError("a name that is not text") from exc
