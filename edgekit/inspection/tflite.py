"""TFLite files: read as the flatbuffer that they are, in any process, without loading a runtime.

    edgekit inspect model.tflite

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from edgekit.core import macs
from edgekit.core.description import CPU, Coverage, Description, Node
from edgekit.core.errors import WorkerError
from edgekit.core.tensor import Quantization, Signature, TensorSpec
from edgekit.inspection.files import (
    Weights,
    count_zeros,
    file_step,
    first_bytes,
    packed_bits,
    whole_file,
)
from edgekit.inspection.flatbuffer import DamagedError, File, Schema, Table, pick, picked
from edgekit.inspection.words import Numbers
from edgekit.work.steps import Step

IDENTIFIER = b"TFL3"

# Custom operators that stand for what a compiler has put into an accelerator's own program, and
# the delegate that made them.
ACCELERATED = {"ethos-u": "ethos-u", "edgetpu-custom-op": "edgetpu", "DISPATCH_OP": "npu"}
# What only turns one type into another is no sign of the type that a graph computes in.
_CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
_CALLS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    # operator: its options, their fields that name other graphs, whether in the second union
    "WHILE": ("WhileOptions", ("body",), False),
    "IF": ("IfOptions", ("then", "otherwise"), False),
    "CALL": ("CallOptions", ("subgraph",), False),
    "STABLEHLO_COMPOSITE": ("CompositeOptions", ("decomposition",), True),
    "STABLEHLO_WHILE": ("WhileOptions", ("body",), True),
}
DEEPEST_CALL = 16
MOST_NODES = 1_000_000

SCHEMA = Schema("""
table Model {
  version:uint; operator_codes:[OperatorCode]; subgraphs:[SubGraph]; description:string;
  buffers:[Buffer]; metadata_buffer:[int]; metadata:[Metadata]; signature_defs:[SignatureDef];
}
table OperatorCode { deprecated_builtin_code:byte; custom_code:string; version:int=1; builtin_code:int; }
table SubGraph {
  tensors:[Tensor]; inputs:[int]; outputs:[int]; operators:[Operator]; name:string;
}
table Tensor {
  shape:[int]; type:byte; buffer:uint; name:string; quantization:QuantizationParameters;
  is_variable:bool; sparsity:SparsityParameters; shape_signature:[int]; has_rank:bool;
}
table QuantizationParameters {
  min:[float]; max:[float]; scale:[float]; zero_point:[long]; details_type:ubyte; details:union;
  quantized_dimension:int;
}
table BlockwiseQuantization { scales:int; zero_points:int; block_size:int; }
table SparsityParameters { traversal_order:[int]; block_map:[int]; }
table Operator {
  opcode_index:uint; inputs:[int]; outputs:[int]; options_type:ubyte; options:union;
  custom_options:[ubyte]; custom_options_format:byte; mutating_variable_inputs:[bool];
  intermediates:[int]; large_custom_options_offset:ulong; large_custom_options_size:ulong;
  options2_type:ubyte; options2:union;
}
table Buffer { data:[ubyte]; offset:ulong; size:ulong; }
table Metadata { name:string; buffer:uint; }
table SignatureDef {
  inputs:[TensorMap]; outputs:[TensorMap]; signature_key:string; removed:string; subgraph_index:uint;
}
table TensorMap { name:string; tensor_index:uint; }
table WhileOptions { cond:int; body:int; }
table IfOptions { then:int; otherwise:int; }
table CallOptions { subgraph:uint; }
table CompositeOptions { name:string; decomposition:int; }
table BatchMatMulOptions { adj_x:bool; adj_y:bool; }
table SequenceOptions { activation:byte; cell_clip:float; proj_clip:float; time_major:bool; }
table BidirectionalSequenceOptions {
  activation:byte; cell_clip:float; proj_clip:float; merge_outputs:bool; time_major:bool;
}
table SequenceRnnOptions { time_major:bool; }
table ConversionMetadata { environment:Environment; options:ConversionOptions; }
table Environment {
  tensorflow_version:string; api_version:uint; model_type:int; model_hash:ulong;
}
table ConversionOptions {
  model_optimization_modes:[int]; allow_custom_ops:bool; enable_select_tf_ops:bool;
  force_select_tf_ops:bool;
}
""")  # noqa: E501 - a table a line

_TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "str", 6: "bool",
    7: "int16", 8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64",
    13: "resource", 14: "variant", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16",
    19: "int2", 20: "uint4", 21: "float8_e4m3fn", 22: "float8_e5m2",
}  # fmt: skip


class TFLiteInspector:
    """Looks into ``.tflite`` files; an `Inspector`."""

    suffixes = (".tflite",)

    def accepts(self, path: str) -> bool:
        """By its first bytes, or by its name where those are damaged."""
        return first_bytes(path)[4:8] == IDENTIFIER or Path(path).suffix.lower() == ".tflite"

    def step(self, path: str, *, trust_code: bool) -> Step:
        """See `Inspector.step`. Nothing in such a file can run here."""
        return file_step(
            path,
            "edgekit.inspection.tflite:describe",
            "plain",
            tools=("ai-edge-litert",),
        )


def describe(out: Path, *, path: str) -> dict[str, Any]:
    """The step: the file's `Description`.

    Raises:
        InputError: it is not a whole TFLite file.
    """
    with whole_file(path, ".tflite"):
        content = Path(path).read_bytes()
        if content[4:8] != IDENTIFIER:
            raise DamagedError("it does not begin as one")
        return {"description": _Model(content).description().to_json()}


@cache
def operator_names() -> dict[int, str]:
    """Numbers of the schema's operators to their names.

    Raises:
        WorkerError: LiteRT, which brings the list, is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as exc:
        raise WorkerError(
            f"ai-edge-litert, which knows the operators' names, cannot be imported: {exc}",
            hint="pip install 'edgekit[keras]'",
        ) from exc
    found = vars(schema.BuiltinOperator).items()
    return {value: name for name, value in found if isinstance(value, int)}


@dataclass
class _Found:
    nodes: list[Node] = field(default_factory=list)
    numbers: Numbers = field(default_factory=Numbers)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _Model:
    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.file = File(SCHEMA, content)
        self.root = self.file.root("Model")
        self.codes: tuple[Table, ...] = self.root.operator_codes
        self.buffers: tuple[Table, ...] = self.root.buffers
        self.graphs = [_Graph(self, graph) for graph in self.root.subgraphs]
        if not self.graphs:
            raise DamagedError("it has no graph")

    def description(self) -> Description:
        found = _Found()
        for index in self._entries():
            self._walk(index, 1, found, 0)
        weights, sparse = self._weights()
        metadata = self._metadata()
        if sparse:
            metadata["sparse_tensors"] = sparse
        if found.notes:
            metadata["notes"] = found.notes
        return Description(
            format="tflite",
            size_bytes=len(self.content),
            signatures=self._signatures(),
            coverage=Coverage(
                nodes=tuple(found.nodes),
                partitions=sum(node.where != CPU for node in found.nodes),
            ),
            parameters=weights.parameters,
            weights=weights.sorted(),
            zeros=weights.zeros,
            quantization=str(found.numbers),
            metadata=metadata,
        )

    # ------------------------------------------------------------------------- signatures

    def _entries(self) -> list[int]:
        """Graphs that are called from outside, in order."""
        named = [definition.subgraph_index for definition in self.root.signature_defs]
        return list(dict.fromkeys(named)) or [0]

    def _signatures(self) -> tuple[Signature, ...]:
        found = []
        for definition in self.root.signature_defs:
            graph = pick(self.graphs, definition.subgraph_index, "graph")
            found.append(
                Signature(
                    name=definition.signature_key,
                    inputs=tuple(_mapped(graph, entry) for entry in definition.inputs),
                    outputs=tuple(_mapped(graph, entry) for entry in definition.outputs),
                )
            )
        if found:
            return tuple(found)
        graph = self.graphs[0]
        return (
            Signature(
                name="",
                inputs=tuple(t.spec(t.name) for t in graph.picked(graph.table.inputs)),
                outputs=tuple(t.spec(t.name) for t in graph.picked(graph.table.outputs)),
            ),
        )

    # -------------------------------------------------------------------------- operators

    def name(self, operator: Table) -> str:
        code = pick(self.codes, operator.opcode_index, "operator code")
        # The older field has one byte; what is beyond it stands in the newer one alone.
        number = max(code.builtin_code, code.deprecated_builtin_code)
        name = operator_names().get(number, f"operator {number}")
        return str(code.custom_code or name) if name == "CUSTOM" else name

    def _walk(self, index: int, times: int, found: _Found, depth: int) -> None:
        """Add the operators of a graph that is run `times` times, those of its calls in place."""
        if depth > DEEPEST_CALL:
            raise DamagedError("its graphs call each other without end")
        graph = pick(self.graphs, index, "graph")
        for operator in graph.table.operators:
            if len(found.nodes) >= MOST_NODES:
                raise DamagedError(f"it has more than {MOST_NODES} operators")
            self.file.budget.spend(16)
            name = self.name(operator)
            inputs = graph.optional(operator.inputs)
            outputs = list(graph.picked(operator.outputs))
            count = _macs(name, operator, inputs, outputs) * times
            found.nodes.append(
                Node(
                    operator=name,
                    where=ACCELERATED.get(name, CPU),
                    macs=count,
                    layer=layer_name(outputs[0].name) if outputs else "",
                    dtype=outputs[0].dtype if outputs else "",
                )
            )
            _note_numbers(name, inputs, outputs, found.numbers)
            if name in ACCELERATED:
                found.note(f"the file does not tell what is inside {name}")
            for called, more in self._called(name, operator, graph, inputs, found):
                self._walk(called, times * more, found, depth + 1)

    def _called(
        self, name: str, operator: Table, graph: _Graph, inputs: list[_Tensor | None], found: _Found
    ) -> Iterator[tuple[int, int]]:
        """Graphs that an operator calls, and how often."""
        if name not in _CALLS:
            return
        kind, fields, second = _CALLS[name]
        options = operator.open("options2" if second else "options", kind)
        if options is None:
            raise DamagedError(f"its {name} does not say what it calls")
        times = 1
        if name.endswith("WHILE"):
            known = self._trips(options.cond, inputs)
            times = 1 if known is None else known
            if known is None:
                found.note("a loop whose number of passes is not in the file is counted once")
        if name == "IF":
            found.note("both branches of a condition are counted")
        for each in fields:
            yield getattr(options, each), times

    def _trips(self, cond: int, arguments: list[_Tensor | None]) -> int | None:
        """How often a loop runs, where it is counted from 0 up to a constant."""
        graph = pick(self.graphs, cond, "graph")
        passed = dict(zip(graph.table.inputs, arguments, strict=False))
        limits = []
        for operator in graph.table.operators:
            if self.name(operator) != "LESS":
                continue
            sides = [passed.get(index) or graph.tensors[index] for index in operator.inputs[:2]
                     if 0 <= index < len(graph.tensors)]  # fmt: skip
            values = [side.integer() for side in sides]
            if len(values) == 2 and values[0] == 0 and values[1] is not None:
                limits.append(values[1])
        return min(limits, default=None)

    # ---------------------------------------------------------------------------- weights

    def _weights(self) -> tuple[Weights, int]:
        """Numbers in the file that are floating-point or quantized: not shapes or indices."""
        weights, sparse = Weights(), 0
        seen: set[int] = set()
        for graph in self.graphs:
            for tensor in graph.tensors:
                if not tensor.is_weight or tensor.table.buffer in seen:
                    continue
                seen.add(tensor.table.buffer)
                content = tensor.content
                self.file.budget.spend(len(content))
                bits = packed_bits(tensor.dtype)
                stored = min(tensor.size, len(content) * 8 // bits)
                if stored < tensor.size and not tensor.is_sparse:
                    raise DamagedError(f"its tensor {tensor.name!r} is not whole")
                zeros = count_zeros(
                    content, tensor.dtype, zero_point=tensor.zero_point, count=stored
                )
                # What a sparse tensor does not hold is zero.
                weights.add(tensor.dtype, tensor.size, len(content), zeros + tensor.size - stored)
                sparse += tensor.is_sparse
        return weights, sparse

    def bytes_of(self, index: int) -> memoryview:
        """A buffer; one that does not fit into a flatbuffer lies behind it."""
        buffer = pick(self.buffers, index, "buffer")
        if buffer.offset > 1:
            end = buffer.offset + buffer.size
            if end > len(self.content):
                raise DamagedError(f"its buffer {index} reaches beyond its end")
            return self.content[buffer.offset : end]
        content: memoryview = buffer.data
        return content

    # --------------------------------------------------------------------------- metadata

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.root.description:
            found["description"] = self.root.description
        others = []
        for entry in self.root.metadata:
            content = self.bytes_of(entry.buffer)
            if entry.name == "min_runtime_version":
                text = bytes(content[:64]).split(b"\0")[0].decode("utf-8", "replace")
                found["min_runtime_version"] = text
            elif entry.name == "CONVERSION_METADATA":
                found.update(_conversion(content))
            else:
                others.append(entry.name)
        versions: dict[str, int] = {}
        for code in self.codes:
            name = code.custom_code or operator_names().get(
                max(code.builtin_code, code.deprecated_builtin_code), ""
            )
            versions[name] = max(code.version, versions.get(name, 0))
        found["operator_versions"] = dict(sorted(versions.items()))
        if others:
            found["metadata"] = others
        if len(self.graphs) > 1:
            found["graphs"] = len(self.graphs)
        return found


def _conversion(content: memoryview) -> dict[str, Any]:
    """Who made the file, as TensorFlow's converter writes it.

    https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/conversion_metadata.fbs
    """
    root = File(SCHEMA, content).root("ConversionMetadata")
    kinds = {1: "SavedModel", 2: "Keras", 3: "concrete functions", 4: "JAX", 5: "PyTorch"}
    found: dict[str, Any] = {}
    if root.environment is not None:
        found["converted_by"] = f"TensorFlow {root.environment.tensorflow_version}"
        if root.environment.model_type in kinds:
            found["converted_from"] = kinds[root.environment.model_type]
    modes = root.options.model_optimization_modes if root.options is not None else ()
    if modes:
        names = {
            1001: "float16", 1002: "dynamic range", 1003: "full integer",
            1004: "full integer", 1005: "int16 activations", 2000: "quantization-aware training",
            3001: "random sparsity", 3002: "block sparsity", 3003: "structured sparsity",
        }  # fmt: skip
        found["optimizations"] = [names.get(mode, str(mode)) for mode in modes]
    return found


class _Graph:
    def __init__(self, model: _Model, table: Table) -> None:
        self.table = table
        self.tensors = [_Tensor(model, tensor) for tensor in table.tensors]

    def picked(self, indices: tuple[int, ...]) -> Iterator[_Tensor]:
        return picked(tuple(self.tensors), indices, "tensor")

    def optional(self, indices: tuple[int, ...]) -> list[_Tensor | None]:
        """The tensors of those indices in their places, None for what is left out."""
        return [None if i < 0 else pick(self.tensors, i, "tensor") for i in indices]


class _Tensor:
    """A tensor with what an operator needs to know of it, read once."""

    def __init__(self, model: _Model, table: Table) -> None:
        self.model, self.table = model, table

    @cached_property
    def name(self) -> str:
        return str(self.table.name)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """With 1 for what is open."""
        return tuple(max(size, 0) if size != -1 else 1 for size in self.table.shape)

    @cached_property
    def dtype(self) -> str:
        return _TYPES.get(self.table.type, f"type {self.table.type}")

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def content(self) -> memoryview:
        return self.model.bytes_of(self.table.buffer)

    @property
    def is_sparse(self) -> bool:
        return bool(self.table.has("sparsity"))

    @property
    def is_weight(self) -> bool:
        if not len(self.content) or packed_bits(self.dtype) == 0:
            return False
        return "float" in self.dtype or self.scales > 0 or self.block > 0

    @cached_property
    def scales(self) -> int:
        return 0 if self.table.quantization is None else len(self.table.quantization.scale)

    @cached_property
    def block(self) -> int:
        """How many numbers share a scale; 0 where that is a whole channel."""
        given = self.table.quantization
        if given is None or given.details_type != 2:
            return 0
        details = given.open("details", "BlockwiseQuantization")
        return 0 if details is None else int(details.block_size)

    @property
    def zero_point(self) -> int:
        given = self.table.quantization
        points = () if given is None else given.zero_point
        return points[0] if points and abs(points[0]) < 2**31 else 0

    def integer(self) -> int | None:
        """The value of a constant that is one whole number."""
        sizes = {"int32": 4, "int64": 8}
        size = sizes.get(self.dtype, 0)
        if self.size != 1 or not size or len(self.content) != size:
            return None
        return int.from_bytes(self.content, "little", signed=True)

    def spec(self, name: str) -> TensorSpec:
        sizes = self.table.shape_signature or self.table.shape
        return TensorSpec(
            name=name,
            shape=tuple(None if size < 0 else size for size in sizes),
            dtype=self.dtype,
            quantization=self._quantization(),
        )

    def _quantization(self) -> Quantization | None:
        given = self.table.quantization
        if given is None or not given.scale or not all(math.isfinite(s) for s in given.scale):
            return None
        return Quantization(
            scale=given.scale,
            zero_point=given.zero_point or (0,),
            axis=given.quantized_dimension if len(given.scale) > 1 else None,
        )


def _mapped(graph: _Graph, entry: Table) -> TensorSpec:
    tensor: _Tensor = pick(graph.tensors, entry.tensor_index, "tensor")
    return tensor.spec(entry.name)


def layer_name(tensor: str) -> str:
    """The nearest to the user's layer that a tensor's name tells: the first of what was fused.

    ``functional_1/conv2d_1/Relu;functional_1/conv2d_1/BiasAdd`` → ``functional_1/conv2d_1/Relu``
    """
    return tensor.partition(";")[0].strip()[:200]


def _note_numbers(
    name: str, inputs: list[_Tensor | None], outputs: list[_Tensor], numbers: Numbers
) -> None:
    for tensor in inputs:
        if tensor is not None and tensor.is_weight and len(tensor.shape) >= 2:
            numbers.weight(tensor.dtype, len(tensor.content), tensor.scales, block=tensor.block)
    if name in _CONVERSIONS or not outputs:
        return
    first = outputs[0]
    if "float" in first.dtype or first.scales:
        numbers.activation(first.dtype)


# ------------------------------------------------------------------------- multiply-adds


def _macs(name: str, operator: Table, inputs: list[_Tensor | None], outputs: list[_Tensor]) -> int:
    """Multiply-adds of one operator; layouts as in the schema's comments and LiteRT's kernels."""
    count = _COUNTS.get(name)
    if count is None or not outputs:
        return 0
    shapes = [() if tensor is None else tensor.shape for tensor in inputs]
    try:
        return int(count(operator, shapes, outputs[0].shape))
    except IndexError as exc:
        raise DamagedError(f"its {name} has too few inputs or dimensions") from exc


Shapes = list[tuple[int, ...]]


def _conv(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Kernel: output channels, spatial sizes, input channels of a group."""
    kernel = shapes[1]
    return macs.conv(output, kernel[1:-1], kernel[-1])


def _conv_3d(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Kernel: depth, height, width, input channels, output channels."""
    kernel = shapes[1]
    return macs.conv(output, kernel[:-2], kernel[-2])


def _depthwise(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Kernel: 1, height, width, output channels."""
    return macs.depthwise_conv(output, shapes[1][1:-1])


def _transposed(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Inputs: the output's shape, kernel (output channels, sizes, input channels), input."""
    kernel = shapes[1]
    return macs.transposed_conv(shapes[2], kernel[1:-1], kernel[0])


def _transposed_3d(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Inputs: the output's shape, kernel (sizes, output channels, input channels), input."""
    kernel = shapes[1]
    return macs.transposed_conv(shapes[2], kernel[:-2], kernel[-2])


def _fully_connected(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Kernel: outputs, inputs."""
    return macs.fully_connected(output, shapes[1][-1])


def _batch_matmul(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    options = operator.open("options", "BatchMatMulOptions")
    turned = [options is not None and options.adj_x, options is not None and options.adj_y]
    sides = [
        (*shape[:-2], shape[-1], shape[-2]) if turn else shape
        for shape, turn in zip(shapes[:2], turned, strict=True)
    ]
    return macs.matmul(*sides)


def _sequence(gates: int, kind: str, state: int, weights: int) -> Any:
    """A recurrent layer over a sequence; its hidden size is the length of `weights`' rows."""

    def count(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
        options = operator.open("options", kind)
        first, second = shapes[0][0], shapes[0][1]
        major = options is not None and options.time_major
        steps, batch = (first, second) if major else (second, first)
        hidden, inputs = shapes[weights]
        return macs.recurrent(gates, steps, batch, inputs, hidden, _projection(shapes, state))

    return count


def _projection(shapes: Shapes, state: int) -> int:
    """Of an LSTM, whose projection is input 16 in all of TFLite's kinds; 0 without."""
    projection = shapes[16] if state and len(shapes) > 16 else ()
    return projection[0] if projection else 0


def _lstm_cell(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """One step; the basic form has five inputs: input, state, kernel, bias, cell."""
    batch, inputs = shapes[0][0], shapes[0][-1]
    if len(shapes) >= 20:
        return macs.lstm(1, batch, inputs, shapes[2][0], _projection(shapes, 1))
    return macs.lstm(1, batch, inputs, shapes[1][-1])


def _rnn_cell(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    return macs.rnn(1, shapes[0][0], shapes[1][1], shapes[1][0])


def _both_ways(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Weights of the forward layer at inputs 1 to 17, of the backward one after them."""
    options = operator.open("options", "BidirectionalSequenceOptions")
    first, second = shapes[0][0], shapes[0][1]
    major = options is None or options.time_major  # as the schema says
    steps, batch = (first, second) if major else (second, first)
    hidden, inputs = shapes[2]
    return 2 * macs.lstm(steps, batch, inputs, hidden, _projection(shapes, 1))


def _svdf(operator: Table, shapes: Shapes, output: tuple[int, ...]) -> int:
    """Features (filters, inputs) on each frame, then time (filters, memory) on what was kept."""
    features, time = shapes[1], shapes[2]
    return shapes[0][0] * (math.prod(features) + math.prod(time))


_COUNTS: Mapping[str, Any] = {
    "CONV_2D": _conv,
    "CONV_3D": _conv_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D_TRANSPOSE": _transposed_3d,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence(4, "SequenceOptions", 1, 2),
    "BIDIRECTIONAL_SEQUENCE_LSTM": _both_ways,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _sequence(1, "SequenceRnnOptions", 0, 1),
    "LSTM": _lstm_cell,
    "RNN": _rnn_cell,
    "SVDF": _svdf,
}
