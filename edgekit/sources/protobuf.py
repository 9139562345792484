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


def saved_model_signatures(content: bytes) -> set[str]:
    """Names of the signatures in a ``saved_model.pb``. Raises WireError like `saved_model_ops`."""
    return {_text(key) for key in children(memoryview(content), *_SIGNATURE_KEYS)}


def _text(view: memoryview) -> str:
    try:
        return bytes(view).decode()
    except UnicodeDecodeError as exc:
        raise WireError("a name that is not text") from exc
