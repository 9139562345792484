"""ONNX models: read with the onnx package, whose shape inference fills in what the file leaves out.

    edgekit inspect model.onnx

Weights in other files are read where they lie beside the model, never elsewhere. Format:
https://github.com/onnx/onnx/blob/main/docs/IR.md, operators: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core import macs
from edgekit.core.calls import unfolded
from edgekit.core.description import Coverage, Description, Node
from edgekit.core.errors import InputError, WorkerError
from edgekit.core.files import is_safe_relative, readable_bytes, sha256_file
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.inspection.files import (
    Weights,
    count_zeros,
    file_step,
    first_bytes,
    packed_bits,
    whole_file,
)
from edgekit.inspection.flatbuffer import DamagedError
from edgekit.inspection.words import Numbers
from edgekit.work.steps import Step

# A model begins with its version (field 1, a small number), followed by one of its other fields.
_LATER_FIELDS = (0x10, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
# How a tensor says in which file it is: the key "location", then the value of under 128 bytes.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
KEPT_BYTES = 1024  # constants of up to this size take part in shape inference
DEEPEST_GRAPH = 16
MOST_NODES = 1_000_000
UNFOLDED_BYTES = 2**31 - 1  # what one protobuf message can hold

_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "str",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64",
    15: "complex128", 16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz",
    19: "float8_e5m2", 20: "float8_e5m2fnuz", 21: "uint4", 22: "int4",
}  # fmt: skip


class OnnxInspector:
    """Looks into ``.onnx`` files; an `Inspector`."""

    def accepts(self, path: str) -> bool:
        """By its name, or by how such a file begins."""
        head = first_bytes(path, 3)
        begins = len(head) == 3 and head[0] == 8 and 1 <= head[1] < 64 and head[2] in _LATER_FIELDS
        return begins or Path(path).suffix.lower() == ".onnx"

    def step(self, path: str, *, trust_code: bool) -> Step:
        """See `Inspector.step`. Nothing in such a file can run here."""
        return file_step(
            path,
            "edgekit.inspection.onnx:describe",
            "plain",
            tools=("onnx",),
            identity={"beside": _files_beside(Path(path))},
        )


def _files_beside(path: Path) -> dict[str, str]:
    """Digests of the files that the model names as holding weights, found without onnx."""
    if not path.is_file() or path.stat().st_size == 0:
        return {}
    found = {}
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for match in _LOCATION.finditer(content):
            raw = content[match.end() : match.end() + match[1][0]]
            name = raw.decode("utf-8", "replace")
            other = path.parent / name
            if name not in found and is_safe_relative(name) and other.is_file():
                found[name] = sha256_file(other)
    return found


def describe(out: Path, *, path: str) -> dict[str, Any]:
    """The step: the file's `Description`.

    Raises:
        InputError: it is not a whole ONNX model, or a file with its weights is not there.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as exc:
        raise WorkerError(
            f"onnx cannot be imported: {exc}", hint="pip install 'edgekit[onnx]'"
        ) from exc
    with whole_file(path, ".onnx"):
        try:
            model = onnx.load(path, load_external_data=False)
        except (DecodeError, ValueError) as exc:
            raise DamagedError(str(exc)) from exc
        if not model.HasField("graph") or not model.graph.node:
            raise DamagedError("it holds no graph")
        try:
            return {"description": _Model(model, Path(path)).description().to_json()}
        except (TypeError, ValueError, OverflowError) as exc:
            # protobuf hands out bytes where a name is no text, wherever that is first met
            why = str(exc).splitlines()[0]
            raise DamagedError(f"a name or a number in it is none ({why})") from exc


@dataclass
class _Found:
    nodes: list[Node] = field(default_factory=list)
    numbers: Numbers = field(default_factory=Numbers)
    uncounted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


class _Model:
    def __init__(self, model: Any, path: Path) -> None:
        self.model, self.path = model, path
        self.size_bytes = path.stat().st_size
        self._files: dict[str, memoryview] = {}

    def description(self) -> Description:
        found = _Found()
        signature = self._signature()
        metadata = self._metadata()
        weights = self._weights(found)  # before what is large is taken out
        inferred = self._inferred(found)
        _walk(inferred.graph, {}, found, 0)
        if found.unknown:
            found.notes.append(f"shapes unknown, so not counted: {_some(found.unknown)}")
        if found.uncounted:
            found.notes.append(f"multiply-adds not counted: {_some(found.uncounted)}")
        if found.notes:
            metadata["notes"] = found.notes
        return Description(
            format="onnx",
            size_bytes=self.size_bytes,
            signatures=(signature,),
            coverage=Coverage(nodes=tuple(found.nodes)),
            parameters=weights.parameters,
            weights=weights.sorted(),
            zeros=weights.zeros,
            quantization=str(found.numbers),
            metadata=metadata,
        )

    def _signature(self) -> Signature:
        held = {tensor.name for tensor in self.model.graph.initializer}
        inputs = [value for value in self.model.graph.input if value.name not in held]
        return Signature(
            name=self.model.graph.name or "graph",
            inputs=tuple(_spec(value) for value in inputs),
            outputs=tuple(_spec(value) for value in self.model.graph.output),
        )

    def _metadata(self) -> dict[str, Any]:
        model = self.model
        found: dict[str, Any] = {}
        producer = f"{model.producer_name} {model.producer_version}".strip()
        if producer:
            found["producer"] = producer
        found["ir_version"] = int(model.ir_version)
        found["opsets"] = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
        if model.domain:
            found["domain"] = model.domain
        if model.model_version:
            found["model_version"] = int(model.model_version)
        text = model.doc_string or model.graph.doc_string
        if text:
            found["description"] = text[:1000]
        properties = {e.key[:100]: e.value[:1000] for e in model.metadata_props[:100] if e.value}
        if properties:
            found["properties"] = properties
        return found

    # ---------------------------------------------------------------------------- weights

    def _weights(self, found: _Found) -> Weights:
        weights = Weights()
        held = {tensor.name: tensor for tensor in self.model.graph.initializer}
        scales = _scales(self.model.graph)
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        held[node.output[0]] = attribute.t
        for name, tensor in held.items():
            dtype = _TYPES.get(tensor.data_type, "")
            bits = packed_bits(dtype)
            wanted = "float" in dtype or bits <= 8 or name in scales
            if not bits or dtype == "bool" or not wanted or name in scales.parts:
                continue
            size = math.prod(max(0, int(length)) for length in tensor.dims)
            zero_point = self._zero_point(scales.zero_points.get(name), held)
            zeros, stored = self._zeros(tensor, dtype, size, zero_point)
            weights.add(dtype, size, stored, zeros)
            if len(tensor.dims) >= 2:
                scale = held.get(scales.of.get(name, ""))
                count = 0 if scale is None else max(1, math.prod(scale.dims))
                found.numbers.weight(dtype, stored, count)
        if self._files:
            self.size_bytes += sum(len(content) for content in self._files.values())
        return weights

    def _zero_point(self, name: str | None, held: Mapping[str, Any]) -> int:
        tensor = held.get(name or "")
        if tensor is None:
            return 0
        if tensor.raw_data:
            signed = tensor.data_type in (3, 5, 6, 22)
            size = max(1, packed_bits(_TYPES.get(tensor.data_type, "")) // 8)
            return int.from_bytes(tensor.raw_data[:size], "little", signed=signed)
        return int(tensor.int32_data[0]) if tensor.int32_data else 0

    def _zeros(self, tensor: Any, dtype: str, size: int, zero_point: int) -> tuple[int, int]:
        """How many numbers stand for zero, and the bytes that all take."""
        bits = packed_bits(dtype)
        stored = (size * bits + 7) // 8
        if tensor.data_location == 1:
            content = self._external(tensor, stored)
        elif tensor.raw_data:
            content = memoryview(tensor.raw_data)
        else:
            return self._typed_zeros(tensor, dtype, size, zero_point), stored
        if len(content) < stored:
            raise DamagedError(f"its tensor {tensor.name!r} is not whole")
        if bits < 8:
            zeros = count_zeros(content[:stored], dtype, zero_point=zero_point, count=size)
        else:
            zeros = count_zeros(content[:stored], dtype, zero_point=zero_point)
        return zeros, stored

    def _typed_zeros(self, tensor: Any, dtype: str, size: int, zero_point: int) -> int:
        """Of numbers that stand in a list of their own type, each 16-bit one in its bits."""
        import numpy as np

        lists = {"float32": tensor.float_data, "float64": tensor.double_data}
        numbers = np.asarray(lists.get(dtype, tensor.int32_data))
        if packed_bits(dtype) < 8:  # packed as they are in bytes
            packed = numbers.astype(np.uint8).tobytes()
            return count_zeros(packed, dtype, zero_point=zero_point, count=size)
        if len(numbers) < size:
            raise DamagedError(f"its tensor {tensor.name!r} is not whole")
        if dtype in ("float16", "bfloat16"):
            return int(np.count_nonzero((numbers & 0x7FFF) == 0))
        return int(np.count_nonzero(numbers == zero_point))

    def _external(self, tensor: Any, stored: int) -> memoryview:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if name not in self._files:
            self._files[name] = self._open(name)
        try:
            start, size = int(entries.get("offset", 0)), int(entries.get("length", stored))
        except ValueError as exc:
            raise DamagedError(f"its tensor {tensor.name!r} is at no number") from exc
        if start < 0 or size < 0 or start + size > len(self._files[name]):
            raise DamagedError(f"its tensor {tensor.name!r} is not whole in {name!r}")
        return self._files[name][start : start + size]

    def _open(self, name: str) -> memoryview:
        file = self.path.parent / name
        inside = is_safe_relative(name) and file.resolve().is_relative_to(
            self.path.parent.resolve()
        )
        if not inside:
            raise InputError(
                f"{str(self.path)!r} has its weights in {name!r}, outside its own folder, which is "
                "never read"
            )
        if not file.is_file():
            raise InputError(
                f"{str(self.path)!r} has its weights in {name!r}, which is not beside it",
                hint="copy that file, too: both belong together",
            )
        if file.stat().st_size == 0:
            return memoryview(b"")
        with open(file, "rb") as opened:
            return memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))

    # ------------------------------------------------------------------------------ shapes

    def _inferred(self, found: _Found) -> Any:
        """The model with all shapes that can be known, open dimensions being 1."""
        import onnx
        import onnx.inliner
        import onnx.shape_inference

        model, graph = self.model, self.model.graph
        opened = [d.dim_param or "?" for value in graph.input for d in _dims(value) if _is_open(d)]
        for value in graph.input:
            for dimension in _dims(value):
                if _is_open(dimension):
                    dimension.dim_value = 1
        if opened:
            # What was computed with open dimensions says less than what is now.
            del graph.value_info[:]
            for value in graph.output:
                for dimension in _dims(value):
                    dimension.Clear()
            names = ", ".join(dict.fromkeys(opened))
            found.notes.append(f"open sizes are counted as 1: {names[:200]}")
        for tensor in graph.initializer:
            if tensor.ByteSize() > KEPT_BYTES or tensor.data_location == 1:
                for part in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                    tensor.ClearField(part)
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
        if model.functions:
            _refuse_unfolding(model)
        try:
            if model.functions:
                model = onnx.inliner.inline_local_functions(model)
            return onnx.shape_inference.infer_shapes(model, data_prop=True)
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as exc:
            found.notes.append(f"shapes cannot be inferred: {str(exc).splitlines()[0][:200]}")
            return model


def _refuse_unfolding(model: Any) -> None:
    """Raises DamagedError: its functions call each other without end, or again and again."""
    calls: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {}
    sizes: Counter[tuple[str, ...]] = Counter()
    for own, nodes in [((), model.graph.node), *((_called(f, f.name), f.node)
                       for f in model.functions)]:  # fmt: skip
        inner = calls.setdefault(own, Counter())
        sizes[own] += sum(node.ByteSize() for node in nodes)
        inner.update(_called(node, node.op_type) for node in _all(nodes, 0))
    try:
        count = unfolded({own: inner.total() for own, inner in calls.items()}, calls, ())
        size = unfolded(sizes, calls, ())
    except ValueError as exc:
        raise DamagedError(str(exc)) from exc
    if count > MOST_NODES or size > UNFOLDED_BYTES:
        raise DamagedError(
            f"its functions call each other again and again: {count} operators, "
            f"{readable_bytes(size)}"
        )


def _called(named: Any, name: str) -> tuple[str, ...]:
    """What a node calls, or a function is called by."""
    return ("" if named.domain == "ai.onnx" else named.domain, name, named.overload)


def _all(nodes: Any, depth: int) -> Iterator[Any]:
    """Those of inner graphs, too."""
    if depth > DEEPEST_GRAPH:
        raise DamagedError("its graphs hold each other without end")
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _all(inner.node, depth + 1)


@dataclass
class _Scales:
    """Which constants are scales and zero points, and of what."""

    of: dict[str, str] = field(default_factory=dict)
    zero_points: dict[str, str] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.of


# Where a quantized operator has tensors with their scale and zero point: (tensor, scale, zero).
_QUANTIZED = {
    "DequantizeLinear": ((0, 1, 2),),
    "QuantizeLinear": ((0, 1, 2),),
    "QLinearConv": ((0, 1, 2), (3, 4, 5), (8, 6, 7)),
    "QLinearMatMul": ((0, 1, 2), (3, 4, 5), (8, 6, 7)),
    "QGemm": ((0, 1, 2), (3, 4, 5), (6, 7, 8)),
}


def _scales(graph: Any) -> _Scales:
    found = _Scales()
    for node in graph.node:
        names = dict(enumerate(node.input))
        for tensor, scale, zero in _QUANTIZED.get(node.op_type, ()):
            found.parts |= {names.get(scale, ""), names.get(zero, "")} - {""}
            if names.get(tensor) and node.op_type != "QuantizeLinear":
                found.of[names[tensor]] = names.get(scale, "")
                found.zero_points[names[tensor]] = names.get(zero, "")
    return found


# ------------------------------------------------------------------------------- graph


def _walk(graph: Any, outer: Mapping[str, tuple[str, Any]], found: _Found, depth: int) -> None:
    if depth > DEEPEST_GRAPH:
        raise DamagedError("its graphs hold each other without end")
    known = {**outer, **_known(graph)}
    quantized = any("Quantize" in node.op_type for node in graph.node)
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                note = "every branch is counted, and what is inside a loop once"
                found.notes += [note] if note not in found.notes else []
                _walk(inner, known, found, depth + 1)
        name = node.op_type if not node.domain else f"{node.domain}.{node.op_type}"
        output = known.get(node.output[0]) if node.output else None
        dtype = output[0] if output else ""
        found.nodes.append(
            Node(
                operator=name,
                macs=_macs(node, known, found),
                layer=_layer(node),
                dtype=dtype,
                name="" if node.name == _layer(node) else str(node.name)[:200],
            )
        )
        _note_numbers(node, dtype, quantized, found.numbers)


def _known(graph: Any) -> dict[str, tuple[str, Any]]:
    """Type and shape of each tensor; None for a shape that is not all known."""
    found: dict[str, tuple[str, Any]] = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        spec = _spec(value)
        has_shape = value.type.tensor_type.HasField("shape")
        shape = spec.shape if has_shape and None not in spec.shape else None
        found[value.name] = (spec.dtype, shape)
    for tensor in graph.initializer:
        shape = tuple(max(0, int(size)) for size in tensor.dims)
        found[tensor.name] = (_TYPES.get(tensor.data_type, ""), shape)
    return found


def _macs(node: Any, known: Mapping[str, tuple[str, Any]], found: _Found) -> int:
    count = _COUNTS.get(node.op_type)
    if count is None:
        if _looks_like_products(node.op_type):
            found.uncounted.add(node.op_type)
        return 0
    shapes = [known.get(name, ("", None))[1] for name in node.input]
    output = known.get(node.output[0], ("", None))[1] if node.output else None
    try:
        return int(count(node, shapes, output))
    except (TypeError, IndexError, ValueError):  # a shape is None, or of too few dimensions
        found.unknown.add(node.name or node.op_type)
        return 0


def _looks_like_products(name: str) -> bool:
    return any(word in name for word in ("Conv", "MatMul", "Gemm", "Attention", "LSTM", "GRU"))


def _note_numbers(node: Any, dtype: str, quantized: bool, numbers: Numbers) -> None:
    if node.op_type == "DynamicQuantizeLinear":
        numbers.dynamic = True
    elif node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
        numbers.activation(dtype or "int8")
    elif "float" in dtype and not quantized and node.op_type not in ("Cast", "DequantizeLinear"):
        numbers.activation(dtype)


_SCOPE = re.compile(r"'([^']*)'")


def _layer(node: Any) -> str:
    """The user's module where the exporter notes it, the node's own name otherwise."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = _SCOPE.findall(entry.value)
            if len(scopes) > 1 and scopes[-2]:
                return str(scopes[-2])[:200]
    return str(node.name)[:200]


def _spec(value: Any) -> TensorSpec:
    shape = tuple(None if _is_open(each) else max(0, each.dim_value) for each in _dims(value))
    dtype = _TYPES.get(value.type.tensor_type.elem_type, "none")
    return TensorSpec(name=value.name, shape=shape, dtype=dtype)


def _dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def _is_open(dimension: Any) -> bool:
    return not dimension.HasField("dim_value")


def _some(names: set[str]) -> str:
    shown = sorted(names)[:5]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(shown) + more


# ----------------------------------------------------------------------- multiply-adds


def _conv(place: int) -> Callable[[Any, Any, Any], int]:
    """Weights, at `place`: output channels, input channels of a group, kernel."""

    def count(node: Any, shapes: Any, output: Any) -> int:
        weight = shapes[place]
        return macs.conv(output, weight[2:], weight[1])

    return count


def _transposed(node: Any, shapes: Any, output: Any) -> int:
    """Weights: input channels, output channels of a group, kernel."""
    weight = shapes[1]
    return macs.transposed_conv(shapes[0], weight[2:], weight[1])


def _product(place: int) -> Callable[[Any, Any, Any], int]:
    def count(node: Any, shapes: Any, output: Any) -> int:
        return macs.matmul(shapes[0], shapes[place])

    return count


def _gemm(place: int) -> Callable[[Any, Any, Any], int]:
    """The output times what is summed over: a dimension of the right side that may be turned."""

    def count(node: Any, shapes: Any, output: Any) -> int:
        turned = any(each.name == "transB" and each.i for each in node.attribute)
        return macs.fully_connected(output, shapes[place][1 if turned else 0])

    return count


def _recurrent(gates: int) -> Callable[[Any, Any, Any], int]:
    """Input: steps, batch, features. Weights: directions, gates · hidden, features."""

    def count(node: Any, shapes: Any, output: Any) -> int:
        first, second, features = shapes[0]
        directions, hidden = shapes[2][0], shapes[2][2]
        # Whichever of the two is steps, each sequence takes every step.
        return int(directions * macs.recurrent(gates, first, second, features, hidden))

    return count


def _einsum(node: Any, shapes: Any, output: Any) -> int:
    equation = next(each.s for each in node.attribute if each.name == "equation").decode()
    return macs.einsum(equation, shapes)


_COUNTS: dict[str, Callable[[Any, Any, Any], int]] = {
    "Conv": _conv(1),
    "FusedConv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _transposed,
    "MatMul": _product(1),
    "MatMulInteger": _product(1),
    "QLinearMatMul": _product(3),
    "Gemm": _gemm(1),
    "FusedGemm": _gemm(1),
    "QGemm": _gemm(3),
    "Einsum": _einsum,
    "LSTM": _recurrent(4),
    "GRU": _recurrent(3),
    "RNN": _recurrent(1),
}
