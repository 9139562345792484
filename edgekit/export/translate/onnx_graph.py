"""The walk over an ONNX graph: values by name, one handler an operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import onnx  # noqa: TID253 - see the package's docstring
import torch  # noqa: TID253

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.export.translate.builder import Builder, Refusal, Translated, Value, scalar
from edgekit.export.translate.onnx import OTHER_WAY, refused, title

Tensor = torch.Tensor

DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}
WHY = {
    "NonMaxSuppression": "cut the model before NonMaxSuppression and run it outside",
    "QuantizeLinear": "give the model before it was quantized",
    "DequantizeLinear": "give the model before it was quantized",
    "QLinearConv": "give the model before it was quantized",
    "QLinearMatMul": "give the model before it was quantized",
    "NonZero": "NonZero gives as many rows as the data decide; rewrite it with Where",
    "Loop": "unroll the loop before the export, or convert to the TFLite format instead",
    "Scan": "unroll the loop before the export, or convert to the TFLite format instead",
}


class Node:
    """One node as its handler sees it."""

    def __init__(self, walk: Walk, proto: Any) -> None:
        self._walk, self.proto = walk, proto
        self.operator: str = proto.op_type
        self.title = title(proto)
        self.opset = walk.opset
        self.inputs: list[Value | None] = [
            walk.values[name] if name else None for name in proto.input
        ]
        self._attributes = {given.name: given for given in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """A Python value; text as str, tensors as torch's."""
        if name not in self._attributes:
            return default
        value = onnx.helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, onnx.TensorProto):
            return tensor_of(value)
        if isinstance(value, list | tuple) and value and isinstance(value[0], bytes):
            return [item.decode() for item in value]
        return value

    def maybe(self, at: int) -> Value | None:
        return self.inputs[at] if at < len(self.inputs) else None

    def value(self, at: int) -> Value:
        found = self.maybe(at)
        if found is None:
            raise Refusal(f"lacks its input {at}")
        return found

    @property
    def x(self) -> Value:
        return self.value(0)

    def constant(self, at: int, what: str) -> Tensor:
        """The value of an input that must be known."""
        value = self.value(at)
        if not value.constant:
            raise Refusal(f"has {what} that the data decide")
        return value.tensor

    def ints(self, at: int, what: str) -> list[int]:
        return [int(item) for item in self.constant(at, what).flatten().tolist()]

    def axes(self, at: int = 1, name: str = "axes") -> list[int] | None:
        """From the attribute (older operator sets) or the input (newer); None if neither."""
        given = self.attribute(name)
        if given is not None:
            return [int(item) for item in given]
        return None if self.maybe(at) is None else self.ints(at, name)

    def wants(self, at: int) -> bool:
        """Whether anything reads the output at this place."""
        name = self.proto.output[at] if at < len(self.proto.output) else ""
        return bool(name) and self._walk.uses[name] > 0

    @property
    def outputs(self) -> int:
        return len(self.proto.output)

    def used_once(self, at: int) -> bool:
        """Whether this node alone reads its input at this place."""
        return self._walk.uses[self.proto.input[at]] == 1

    def call(self, function: Callable[..., Any], *args: Any, names: Sequence[str] = ()) -> Value:
        """One value; see `Builder.call`."""
        (made,) = self._walk.builder.call(self.title, function, *args, names=names)
        return made

    def calls(
        self, function: Callable[..., Any], *args: Any, names: Sequence[str] = ()
    ) -> list[Value]:
        """As many values as the function gives."""
        return self._walk.builder.call(self.title, function, *args, names=names)

    def inline(self, graph: Any) -> list[Value]:
        """The outputs of a subgraph (of If), walked as if it stood here."""
        return self._walk.inner(graph)


Handler = Callable[[Node], Any]


class Walk:
    """State of one walk; an inner graph sees the values of the outer."""

    def __init__(self, builder: Builder, opset: int, values: dict[str, Value]) -> None:
        self.builder, self.opset, self.values = builder, opset, values
        self.uses: Counter[str] = Counter()

    def inner(self, graph: Any) -> list[Value]:
        return Walk(self.builder, self.opset, dict(self.values)).run(graph)

    def run(self, graph: Any) -> list[Value]:
        handlers = table()
        for name, tensor in ((given.name, given) for given in graph.initializer):
            self.values[name] = Value(tensor_of(tensor), True, name)
        _count(graph, self.uses)
        for proto in graph.node:
            node = Node(self, proto)
            made = _handled(handlers[proto.op_type], node)
            results = list(made) if isinstance(made, list | tuple) else [made]
            for name, value in zip(proto.output, results, strict=False):
                if name:
                    self.values[name] = value
        return [self.values[given.name] for given in graph.output]


def translate(graph: Any, opset: int) -> Translated:
    """See `edgekit.export.translate.onnx.module`."""
    _check(graph)
    builder, values = Builder(), {}
    held = {given.name for given in graph.initializer}
    for given in graph.input:
        if given.name not in held:
            values[given.name] = builder.input(given.name, *_spec(given))
    return builder.module(Walk(builder, opset, values).run(graph))


_FAMILIES = ("elementwise", "layers", "shapes", "indexing", "reductions", "recurrent", "resize")


def table() -> dict[str, Handler]:
    """Handlers by operator."""
    found: dict[str, Handler] = {}
    for family in _FAMILIES:
        found |= import_module(f"edgekit.export.translate.onnx_operators.{family}").TABLE
    return found


def tensor_of(proto: Any) -> Tensor:
    array = onnx.numpy_helper.to_array(proto)
    if array.dtype == np.uint16:
        array = array.astype(np.int32)
    return torch.from_numpy(np.array(array, copy=True))


def binary(node: Node, function: Callable[..., Any], first: int = 0, second: int = 1) -> Value:
    """A call of two tensors; a constant of one element goes as a number, as people write it."""
    a, b = node.value(first), node.value(second)
    if not (a.constant and b.constant) and a.dtype == b.dtype:
        if scalar(b) is not None and b.rank <= a.rank and b.dtype != torch.bool:
            return node.call(_with_second(function, scalar(b)), a)
        if scalar(a) is not None and a.rank <= b.rank and a.dtype != torch.bool:
            return node.call(_with_first(function, scalar(a)), b)
    return node.call(function, a, b)


def _with_second(function: Callable[..., Any], number: Any) -> Callable[..., Any]:
    return lambda x: function(x, number)


def _with_first(function: Callable[..., Any], number: Any) -> Callable[..., Any]:
    return lambda x: function(number, x)


def _spec(given: Any) -> tuple[list[int], torch.dtype]:
    kind = given.type.tensor_type
    if kind.elem_type not in DTYPES:
        raise ConversionError(f"the input {given.name!r} has a type that torch does not have")
    shape = []
    for dim in kind.shape.dim:
        if not dim.HasField("dim_value") or dim.dim_value <= 0:
            raise ConversionError(
                f"the input {given.name!r} has an open dimension {dim.dim_param or '?'!r}",
                hint="give its size, for example --shape or --dim",
            )
        shape.append(int(dim.dim_value))
    return shape, DTYPES[kind.elem_type]


def _check(graph: Any) -> None:
    handlers = table()
    found: list[tuple[str, str, str]] = []

    def look(inside: Any) -> None:
        for node in inside.node:
            name = node.op_type
            if node.domain not in ("", "ai.onnx"):
                found.append((f"{node.domain}.{name}", title(node), ""))
            elif name not in handlers:
                found.append((name, title(node), WHY.get(name, "")))
            for given in node.attribute:
                if given.HasField("g"):
                    look(given.g)

    look(graph)
    if found:
        raise refused(found)


def _count(graph: Any, uses: Counter[str]) -> None:
    for node in graph.node:
        uses.update(node.input)
        for given in node.attribute:
            if given.HasField("g"):
                _count(given.g, uses)
    uses.update(given.name for given in graph.output)


def _handled(handler: Handler, node: Node) -> Any:
    try:
        return handler(node)
    except EdgekitError:
        raise
    except Refusal as exc:
        raise ConversionError(
            f"the ONNX operator {node.operator} of {node.title!r} {exc}", hint=OTHER_WAY
        ) from exc
    except Exception as exc:
        first = (str(exc).splitlines() or [""])[0][:200]
        raise ConversionError(
            f"the ONNX operator {node.operator} of {node.title!r} cannot be translated to torch: "
            f"{type(exc).__name__}: {first}",
            hint=OTHER_WAY,
        ) from exc
