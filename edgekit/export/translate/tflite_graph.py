"""The walk over a TFLite graph: values by tensor index, one handler an operator, two layouts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253
from ai_edge_litert import schema_py_generated as schema  # noqa: TID253

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.export import flatbuffer
from edgekit.export.translate.builder import Builder, Refusal, Translated, Value, scalar

Tensor = torch.Tensor
OTHER_WAY = "use the TFLite file as it is (format tflite), or replace it in the model"
WHY = {
    "NON_MAX_SUPPRESSION_V4": "cut the model before the non-maximum suppression; run it outside",
    "NON_MAX_SUPPRESSION_V5": "cut the model before the non-maximum suppression; run it outside",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "it keeps its state between calls, which a program has not: "
    "export the recurrent layer as a loop, or with unroll=True",
    "QUANTIZE": "give the float file",
}
MOST_STEPS = 2000  # of a loop; every one becomes operators of its own
MOST_STEPS_IN_ALL = 5 * MOST_STEPS  # those of loops within loops multiply


class Node:
    """One operator as its handler sees it."""

    def __init__(self, walk: Walk, raw: Any, operator: str) -> None:
        self.walk, self.raw, self.operator = walk, raw, operator
        self.builder = walk.builder
        self.title = title(walk.file, walk.graph, raw)
        self.options = raw.builtinOptions or raw.builtinOptions2
        given = [] if raw.inputs is None else raw.inputs
        self.inputs: list[Value | None] = [walk.value(int(at)) if at >= 0 else None for at in given]

    def option(self, name: str, default: Any = None) -> Any:
        return default if self.options is None else getattr(self.options, name)

    def maybe(self, at: int) -> Value | None:
        return self.inputs[at] if at < len(self.inputs) else None

    def value(self, at: int) -> Value:
        """In whichever layout it is."""
        found = self.maybe(at)
        if found is None:
            raise Refusal(f"lacks its input {at}")
        return found

    def plain(self, at: int = 0) -> Value:
        """In the file's layout."""
        return self.to_plain(self.value(at))

    def first(self, at: int = 0) -> Value:
        """With channels in front."""
        return self.to_first(self.value(at))

    def constant(self, at: int, what: str) -> Tensor:
        """The value of an input that must be known."""
        value = self.value(at)
        if not value.constant:
            raise Refusal(f"has {what} that the data decide")
        return value.tensor

    def ints(self, at: int, what: str) -> list[int]:
        return [int(item) for item in self.constant(at, what).flatten().tolist()]

    def call(self, function: Callable[..., Any], *args: Any, names: Sequence[str] = ()) -> Value:
        """One value; see `Builder.call`."""
        (made,) = self.builder.call(self.title, function, *args, names=names)
        return made

    def calls(
        self, function: Callable[..., Any], *args: Any, names: Sequence[str] = ()
    ) -> list[Value]:
        """As many values as the function gives."""
        return self.builder.call(self.title, function, *args, names=names)

    def to_first(self, value: Value) -> Value:
        if value.channels_first:
            return value
        if value.constant:
            return _marked(Value(value.tensor.movedim(-1, 1), True, value.name))
        if value.other is None:
            order = [0, value.rank - 1, *range(1, value.rank - 1)]
            made = self._turned(value, order, moved(value.shape), value.shape)
            value.other, made.other = _marked(made), value
        return value.other

    def to_plain(self, value: Value) -> Value:
        if not value.channels_first:
            return value
        if value.other is None:
            sizes = file_shape(value)
            made = self._turned(value, [0, *range(2, value.rank), 1], sizes, sizes)
            value.other, made.other = made, value
        return value.other

    def _turned(self, value: Value, order: list[int], sizes: list[int], file: list[int]) -> Value:
        name = f"{self.title}_layout"  # leaves the name to the operator itself
        if _trivial(file):
            (made,) = self.builder.call(name, lambda x: x.reshape(sizes), value)
        else:
            (made,) = self.builder.call(name, lambda x: x.permute(order), value)
        return made

    def to_rank(self, value: Value, rank: int) -> Value:
        """With ones in front of the file's sizes, as broadcasting means it; channels in front."""
        if value.rank == rank:
            return self.to_first(value)
        sizes = [1] * (rank - value.rank) + file_shape(value)
        plain = self.to_plain(value)
        if not value.constant and _trivial(sizes):
            turned = moved(sizes)
            return _marked(self.call(lambda x: x.reshape(turned), plain))
        return self.to_first(self.call(lambda x: x.reshape(sizes), plain))

    def activation(self) -> Callable[[Tensor], Tensor]:
        """The fused one."""
        kind = self.option("fusedActivationFunction", 0)
        if kind not in _ACTIVATIONS:
            raise Refusal("has a fused activation that no kernel has")
        return _ACTIVATIONS[kind]

    def output_dtype(self, at: int = 0) -> torch.dtype:
        return dtype_of(self.walk.graph.tensors[self.raw.outputs[at]])


def elementwise(node: Node, function: Callable[..., Any], *given: Value) -> Value:
    """A call over broadcast values, in the layout that most of the work is in.

    A constant of one element goes as a number, as people write it.
    """
    live = [value for value in given if not value.constant]
    rank = max(value.rank for value in given)
    if any(value.channels_first for value in live):
        turned = [_number(value, live, node.to_rank(value, rank)) for value in given]
        return _marked(_with_numbers(node, function, turned))
    return _with_numbers(node, function, [_number(value, live, value) for value in given])


def _number(value: Value, live: Sequence[Value], otherwise: Value) -> Any:
    """The number that a constant of one element is, if it broadcasts to nothing larger."""
    number = scalar(value)
    if number is None or value.dtype == torch.bool:
        return otherwise
    fits = any(value.rank <= other.rank and value.dtype == other.dtype for other in live)
    return number if fits else otherwise


def _with_numbers(node: Node, function: Callable[..., Any], given: Sequence[Any]) -> Value:
    values = [value for value in given if isinstance(value, Value)]

    def compute(*tensors: Tensor) -> Any:
        rest = iter(tensors)
        return function(*[next(rest) if isinstance(v, Value) else v for v in pattern])

    # The function must hold no values: it lives as long as the module.
    pattern = [_HOLE if isinstance(value, Value) else value for value in given]
    return node.call(compute, *values)


_HOLE = Value(torch.empty(0), True)


def _marked(value: Value) -> Value:
    value.channels_first = True
    return value


def moved(sizes: list[int]) -> list[int]:
    """Sizes with the last at 1."""
    return [sizes[0], sizes[-1], *sizes[1:-1]]


def file_shape(value: Value) -> list[int]:
    sizes = value.shape
    return [sizes[0], *sizes[2:], sizes[1]] if value.channels_first else sizes


def axis_of(value: Value, axis: int) -> int:
    """Where the file's axis is in this value."""
    axis %= value.rank
    if not value.channels_first or axis == 0:
        return axis
    return 1 if axis == value.rank - 1 else axis + 1


def _trivial(sizes: list[int]) -> bool:
    """Whether turning moves no element."""
    inner = 1
    for size in sizes[1:-1]:
        inner *= size
    return inner == 1 or sizes[-1] == 1


_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x,
    1: F.relu,
    2: lambda x: F.hardtanh(x, -1.0, 1.0),
    3: F.relu6,
    4: torch.tanh,
}

Handler = Callable[[Node], Any]


class File:
    """The parsed file and its constants, each made once so that loops share weights."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        try:
            self.model = flatbuffer.read(content)
        except ConversionError as exc:
            raise ConversionError(f"{path.name} is not a TFLite file") from exc
        for buffer in self.model.buffers:  # ai-edge-quantizer puts weights behind the flatbuffer
            if buffer.offset > 1:
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        self.names = flatbuffer.operator_names(self.model)
        self._constants: dict[tuple[int, int], Value] = {}
        self.steps = 0  # of all loops, so far

    def constant(self, graph: int, at: int) -> Value:
        key = (graph, at)
        if key not in self._constants:
            tensor = self.model.subgraphs[graph].tensors[at]
            self._constants[key] = Value(_array(self.model, tensor), True, text(tensor.name))
        return self._constants[key]


class Walk:
    """One pass over one subgraph."""

    def __init__(self, file: File, builder: Builder, index: int) -> None:
        self.file, self.builder, self.index = file, builder, index
        self.graph = file.model.subgraphs[index]
        self.values: dict[int, Value] = {}

    def value(self, at: int) -> Value:
        if at not in self.values:
            if not flatbuffer.is_constant(self.file.model, self.graph.tensors[at]):
                tensor = self.graph.tensors[at]
                if tensor.shape is not None and 0 in tensor.shape:
                    empty = torch.empty(tuple(tensor.shape), dtype=dtype_of(tensor))
                    return Value(empty, True, text(tensor.name))
                raise Refusal(f"reads the variable {text(tensor.name)!r}")
            self.values[at] = self.file.constant(self.index, at)
        return self.values[at]

    def run(self, inputs: Sequence[Value]) -> list[Value]:
        handlers = table()
        self.values.update(zip((int(at) for at in self.graph.inputs), inputs, strict=True))
        for raw in self.graph.operators:
            operator = self.file.names[raw.opcodeIndex]
            made = _handled(handlers[operator], self, raw, operator)
            results = list(made) if isinstance(made, list | tuple) else [made]
            self.values.update(zip((int(at) for at in raw.outputs), results, strict=True))
        return [self.value(int(at)) for at in self.graph.outputs]

    def inner(self, index: int, inputs: Sequence[Value]) -> list[Value]:
        return Walk(self.file, self.builder, index).run(inputs)


def translate(path: Path) -> Translated:
    """See `edgekit.export.translate.tflite.module`."""
    file = File(path)
    _check(file, path)
    builder, graph = Builder(), file.model.subgraphs[0]
    ins, outs = [int(at) for at in graph.inputs], [int(at) for at in graph.outputs]
    if file.model.signatureDefs and file.model.signatureDefs[0].subgraphIndex in (0, None):
        signature = file.model.signatureDefs[0]
        ins = [int(one.tensorIndex) for one in signature.inputs]
        outs = [int(one.tensorIndex) for one in signature.outputs]
    walk = Walk(file, builder, 0)
    made = {
        at: builder.input(text(graph.tensors[at].name), *_spec(graph.tensors[at])) for at in ins
    }
    missing = [at for at in graph.inputs if int(at) not in made]
    if missing:
        raise ConversionError(f"{path.name}: its signature leaves out inputs of the graph")
    walk.run([made[int(at)] for at in graph.inputs])
    results = []
    for at in outs:
        value = walk.value(at)
        if value.channels_first:
            value = _Turner(builder, text(graph.tensors[at].name)).to_plain(value)
        results.append(value)
    return builder.module(results)


class _Turner(Node):
    """Turns a value that leaves the graph."""

    def __init__(self, builder: Builder, name: str) -> None:
        self.builder, self.title = builder, name


_FAMILIES = ("elementwise", "layers", "shapes", "indexing", "reductions", "control")


def table() -> dict[str, Handler]:
    """Handlers by operator."""
    found: dict[str, Handler] = {}
    for family in _FAMILIES:
        found |= import_module(f"edgekit.export.translate.tflite_operators.{family}").TABLE
    return found


_GENERIC = re.compile(r"(Identity|StatefulPartitionedCall|PartitionedCall)(_\d+)?(:\d+)?")
_WEIGHTED = re.compile(r".*/(\w*conv\w*|depthwise|\w*MatMul\w*|Tensordot)", re.IGNORECASE)


def title(file: File, graph: Any, raw: Any) -> str:
    """The location of what was joined into the operator: of its weights, else the first one.

    A convolution's output is named after all that the converter folded into it, the activation
    first; the layer that people look for is the one with the weights.
    """
    outputs = [] if raw.outputs is None else list(raw.outputs)
    held = [
        at
        for at in ([] if raw.inputs is None else raw.inputs)
        if at >= 0 and flatbuffer.is_constant(file.model, graph.tensors[at])
    ]
    parts = [
        part
        for at in (*outputs, *held)
        for part in text(graph.tensors[at].name).split(";")
        if part and not _GENERIC.fullmatch(part)
    ]
    if any(_rank(graph.tensors[at]) >= 2 for at in held):
        parts = [part for part in parts if _WEIGHTED.fullmatch(part)] or parts
    # Nothing of the user's: the weights may come out of a DEQUANTIZE, which has their name.
    others = [] if raw.inputs is None else [at for at in raw.inputs[1:] if at >= 0]
    names = [text(graph.tensors[at].name) for at in (*others, *outputs)]
    return parts[0] if parts else next((name for name in names if name), "operator")


def _rank(tensor: Any) -> int:
    return 0 if tensor.shape is None else len(tensor.shape)


def text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "float64": torch.float64,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}


def dtype_of(tensor: Any) -> torch.dtype:
    name = flatbuffer.dtype(tensor)
    if name not in _DTYPES:
        raise Refusal(f"computes with {name}, which torch has not")
    return _DTYPES[name]


def _array(model: Any, tensor: Any) -> Tensor:
    if tensor.sparsity is not None:
        raise Refusal("has sparse weights")
    data = np.asarray(model.buffers[tensor.buffer].data, dtype=np.uint8)
    dtype_of(tensor)
    shape = () if tensor.shape is None else tuple(int(size) for size in tensor.shape)
    array = np.frombuffer(data.tobytes(), dtype=flatbuffer.dtype(tensor)).reshape(shape)
    return torch.from_numpy(array.copy())


def _spec(tensor: Any) -> tuple[list[int], torch.dtype]:
    name = text(tensor.name)
    sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    sizes = [] if sizes is None else [int(size) for size in sizes]
    if sizes[:1] == [-1]:
        sizes[0] = 1  # an open batch: one sample, as LiteRT takes it too
    if any(size < 0 for size in sizes):
        raise ConversionError(
            f"the input {name!r} has open dimensions", hint="convert with fixed shapes"
        )
    try:
        return sizes, dtype_of(tensor)
    except Refusal as exc:
        raise ConversionError(f"the input {name!r} {exc}") from exc


_INTEGER = ("int8", "uint8", "int16", "int4", "int2")


def _check(file: File, path: Path) -> None:
    handlers = table()
    found: dict[str, list[str]] = {}
    for graph in file.model.subgraphs:
        for tensor in graph.tensors:
            scales = None if tensor.quantization is None else tensor.quantization.scale
            if scales is not None and len(scales) and flatbuffer.dtype(tensor) in _INTEGER:
                raise ConversionError(
                    f"{path.name} is quantized ({text(tensor.name)!r} is "
                    f"{flatbuffer.dtype(tensor)}); only float files become torch programs",
                    hint="give the model before it was quantized",
                )
        for raw in graph.operators:
            operator = file.names[raw.opcodeIndex]
            if operator not in handlers:
                found.setdefault(operator, []).append(title(file, graph, raw))
    if found:
        names = "; ".join(
            f"{operator} ({', '.join(repr(node) for node in nodes[:3])}"
            f"{f' and {len(nodes) - 3} more' if len(nodes) > 3 else ''})"
            for operator, nodes in found.items()
        )
        hints = sorted({WHY[operator] for operator in found if operator in WHY})
        raise ConversionError(
            f"no faithful translation to torch for the TFLite operators {names}",
            hint="; ".join(hints) or OTHER_WAY,
        )


def _handled(handler: Handler, walk: Walk, raw: Any, operator: str) -> Any:
    name = title(walk.file, walk.graph, raw)
    try:
        return handler(Node(walk, raw, operator))
    except EdgekitError:
        raise
    except Refusal as exc:
        raise ConversionError(
            f"the TFLite operator {operator} of {name!r} {exc}", hint=OTHER_WAY
        ) from exc
    except Exception as exc:
        first = (str(exc).splitlines() or [""])[0][:200]
        raise ConversionError(
            f"the TFLite operator {operator} of {name!r} cannot be translated to torch: "
            f"{type(exc).__name__}: {first}",
            hint=OTHER_WAY,
        ) from exc


__all__ = ["Handler", "Node", "axis_of", "elementwise", "file_shape", "moved", "schema"]
