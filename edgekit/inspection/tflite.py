"""TFLite files: read as the flatbuffer that they are, in any process, without loading a runtime.

    edgekit inspect model.tflite

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.core.description import CPU, Coverage, Description, Node
from edgekit.core.errors import WorkerError
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.core.tflite import layer_name, multiply_adds
from edgekit.inspection.files import (
    Weights,
    count_zeros,
    file_step,
    first_bytes,
    packed_bits,
    whole_file,
)
from edgekit.inspection.flatbuffer import DamagedError, File, Table, pick
from edgekit.inspection.tflite_graph import SCHEMA, Graph, Tensor
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
        self.graphs = [Graph(self, graph) for graph in self.root.subgraphs]
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
            count = self._macs(name, inputs, outputs) * times
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

    def _macs(self, name: str, inputs: list[Tensor | None], outputs: list[Tensor]) -> int:
        given = [None if tensor is None else tensor.shape for tensor in inputs]
        try:
            return multiply_adds(name, given, [tensor.shape for tensor in outputs])
        except ValueError as exc:
            raise DamagedError(f"its {exc}") from exc

    def _called(
        self, name: str, operator: Table, graph: Graph, inputs: list[Tensor | None], found: _Found
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

    def _trips(self, cond: int, arguments: list[Tensor | None]) -> int | None:
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


def _mapped(graph: Graph, entry: Table) -> TensorSpec:
    tensor: Tensor = pick(graph.tensors, entry.tensor_index, "tensor")
    return tensor.spec(entry.name)


def _note_numbers(
    name: str, inputs: list[Tensor | None], outputs: list[Tensor], numbers: Numbers
) -> None:
    for tensor in inputs:
        if tensor is not None and tensor.is_weight and len(tensor.shape) >= 2:
            numbers.weight(tensor.dtype, len(tensor.content), tensor.scales, block=tensor.block)
    if name in _CONVERSIONS or not outputs:
        return
    first = outputs[0]
    if "float" in first.dtype or first.scales:
        numbers.activation(first.dtype)
