"""ExecuTorch programs: read as the flatbuffer that they are, without ExecuTorch or torch.

    edgekit inspect model.pte

Format: https://docs.pytorch.org/executorch/stable/pte-file-format.html and
https://github.com/pytorch/executorch/blob/main/schema/program.fbs
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edgekit.core.description import PORTABLE, Coverage, Description, Node
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.inspection import aten
from edgekit.inspection.files import (
    Weights,
    count_zeros,
    file_step,
    first_bytes,
    packed_bits,
    whole_file,
)
from edgekit.inspection.flatbuffer import Budget, DamagedError, File, Schema, Table, pick
from edgekit.inspection.vulkan import VulkanGraph
from edgekit.inspection.words import Numbers
from edgekit.inspection.xnnpack import XnnpackGraph
from edgekit.work.steps import Step

IDENTIFIER = b"ET12"
HEADER = struct.Struct("<4sIQQ")  # magic, its size, the program's size, where segments begin
HEADER_AT, HEADER_MAGIC = 8, b"eh00"

# ExecuTorch's names of delegates: ours, and what reads what they leave.
DELEGATES: dict[str, str] = {
    "XnnpackBackend": "xnnpack",
    "VulkanBackend": "vulkan",
    "CoreMLBackend": "coreml",
    "EthosUBackend": "ethos-u",
    "OpenvinoBackend": "openvino",
    "QnnBackend": "qnn",
}
_GRAPHS: dict[str, Any] = {"XnnpackBackend": XnnpackGraph, "VulkanBackend": VulkanGraph}

SCHEMA = Schema("""
table Program {
  version:uint; plans:[Plan]; constant_buffer:[Buffer]; delegate_data:[DelegateData];
  segments:[Segment]; constant_segment:Subsegments; mutable_segments:[Subsegments];
  named_data:[NamedData];
}
table Plan {
  name:string; container:Empty; values:[Value]; inputs:[int]; outputs:[int]; chains:[Chain];
  operators:[Operator]; delegates:[Delegate]; buffer_sizes:[long];
}
table Empty { nothing:int; }
table Value { kind:ubyte; value:union; }
table Int { value:long; }
table Bool { value:bool; }
table Double { value:double; }
table String { value:string; }
table List { items:[int]; }
table LongList { items:[long]; }
table Tensor {
  scalar_type:byte; storage_offset:int; sizes:[int]; dim_order:[ubyte]; requires_grad:bool;
  data_buffer:uint; allocation:Empty; layout:byte; dynamism:byte; extra:Extra;
}
table Extra { mutable_segment:ulong; name:string; location:byte; }
table Operator { name:string; overload:string; }
table Delegate { id:string; processed:Reference; compile_specs:[CompileSpec]; }
table Reference { location:byte; index:uint; }
table CompileSpec { key:string; value:[ubyte]; }
table Chain { inputs:[int]; outputs:[int]; instructions:[Instruction]; }
table Instruction { kind:ubyte; call:union; }
table Call { index:int; args:[int]; }
table Buffer { storage:[ubyte]; }
table DelegateData { data:[ubyte]; }
table Segment { offset:ulong; size:ulong; }
table Subsegments { segment:uint; offsets:[ulong]; }
table NamedData { key:string; segment:uint; }
""")

# Members of the unions of values and of instructions.
INT, BOOL, DOUBLE, TENSOR, STRING, TENSORS, OPTIONAL_TENSORS = 2, 3, 4, 5, 6, 10, 11
KERNEL_CALL, DELEGATE_CALL = 1, 2
DYNAMIC = 1  # the size given is the largest
EXTERNAL = 1
SEGMENT = 1

_TYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32",
    7: "float64", 11: "bool", 15: "bfloat16", 23: "float8_e5m2", 24: "float8_e4m3fn",
    27: "uint16", 28: "uint32", 29: "uint64",
}  # fmt: skip
_SCALARS = {INT: ("Int", "int64"), BOOL: ("Bool", "bool"), DOUBLE: ("Double", "float64"),
            STRING: ("String", "str")}  # fmt: skip
_CONVERSIONS = ("quantize", "dequantize", "_to_copy", "_to_dim_order_copy", "choose_qparams")


class ExecuTorchInspector:
    """Looks into ``.pte`` files; an `Inspector`."""

    def accepts(self, path: str) -> bool:
        """By its first bytes, or by its name where those are damaged."""
        return first_bytes(path)[4:8] == IDENTIFIER or Path(path).suffix.lower() == ".pte"

    def step(self, path: str, *, trust_code: bool) -> Step:
        """See `Inspector.step`. Nothing in such a file can run here."""
        return file_step(path, "edgekit.inspection.executorch:describe", "plain")


def describe(out: Path, *, path: str) -> dict[str, Any]:
    """The step: the file's `Description`.

    Raises:
        InputError: it is not a whole ExecuTorch program.
    """
    with whole_file(path, ".pte"):
        content = Path(path).read_bytes()
        if content[4:8] != IDENTIFIER:
            raise DamagedError("it does not begin as one")
        return {"description": _Program(memoryview(content)).description().to_json()}


@dataclass
class _Found:
    nodes: list[Node] = field(default_factory=list)
    numbers: Numbers = field(default_factory=Numbers)
    weights: Weights = field(default_factory=Weights)
    partitions: int = 0
    notes: list[str] = field(default_factory=list)
    uncounted: set[str] = field(default_factory=set)
    seen: set[Any] = field(default_factory=set)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _Program:
    def __init__(self, content: memoryview) -> None:
        self.content = content
        self.segments_at, size = 0, len(content)
        if bytes(content[HEADER_AT : HEADER_AT + 4]) == HEADER_MAGIC:
            if len(content) < HEADER_AT + HEADER.size:
                raise DamagedError("it ends in its header")
            _, _, size, self.segments_at = HEADER.unpack_from(content, HEADER_AT)
            if max(size, self.segments_at) > len(content):
                raise DamagedError(f"it has {len(content)} bytes; its header speaks of more")
        self.budget = Budget(len(content))
        self.file = File(SCHEMA, content[:size], self.budget)
        self.root = self.file.root("Program")

    def description(self) -> Description:
        found = _Found()
        signatures, constants, blobs = [], {}, []
        arena = 0
        for plan in self.root.plans:
            method = _Method(self, plan)
            if method.is_constant:
                constants[plan.name] = method.constants
                continue
            signatures.append(method.signature)
            method.walk(found)
            blobs += method.blobs
            arena = max(arena, sum(max(size, 0) for size in plan.buffer_sizes))
            method.count_weights(found)
        if found.uncounted:
            found.note(f"multiply-adds not counted: {', '.join(sorted(found.uncounted))}")
        metadata: dict[str, Any] = {"program_version": self.root.version}
        if arena:
            metadata["planned_memory_bytes"] = arena
        if constants:
            metadata["constants"] = constants
        if blobs:
            metadata["delegates"] = blobs
        if found.notes:
            metadata["notes"] = found.notes
        return Description(
            format="executorch",
            size_bytes=len(self.content),
            signatures=tuple(signatures),
            coverage=Coverage(nodes=tuple(found.nodes), partitions=found.partitions),
            parameters=found.weights.parameters,
            weights=found.weights.sorted(),
            zeros=found.weights.zeros,
            quantization=str(found.numbers),
            metadata=metadata,
        )

    # ------------------------------------------------------------------------------- data

    def segment(self, index: int) -> memoryview:
        segment = pick(self.root.segments, index, "segment")
        start = self.segments_at + segment.offset
        if start + segment.size > len(self.content):
            raise DamagedError(f"its segment {index} reaches beyond its end")
        return self.content[start : start + segment.size]

    @cached_property
    def _named(self) -> dict[str, int]:
        return {entry.key: entry.segment for entry in self.root.named_data}

    def named(self, key: str) -> memoryview | None:
        """Data that the program keeps under a name; None if another file holds it."""
        index = self._named.get(key)
        return None if index is None else self.segment(index)

    def blob(self, delegate: Table) -> memoryview:
        reference = delegate.processed
        if reference is None:
            return memoryview(b"")
        if reference.location == SEGMENT:
            return self.segment(reference.index)
        data: memoryview = pick(self.root.delegate_data, reference.index, "delegate's data").data
        return data

    def constant(self, index: int, size: int) -> memoryview:
        """A constant tensor of `size` bytes."""
        place = self.root.constant_segment
        if place is None or not place.offsets:
            buffer: memoryview = pick(self.root.constant_buffer, index, "constant").storage
            return buffer[:size]
        start = pick(place.offsets, index, "constant")
        segment = self.segment(place.segment)
        if start + size > len(segment):
            raise DamagedError(f"its constant {index} reaches beyond its segment")
        return segment[start : start + size]


class _Method:
    """One entry of the program."""

    def __init__(self, program: _Program, plan: Table) -> None:
        self.program, self.plan = program, plan
        self.values: tuple[Table, ...] = plan.values
        self.blobs: list[dict[str, Any]] = []
        self._graphs: dict[int, Any] = {}

    @property
    def is_constant(self) -> bool:
        """Whether it only says something, like the longest sequence that a model takes."""
        kinds = [pick(self.values, index, "value").kind for index in self.plan.outputs]
        works = any(chain.instructions for chain in self.plan.chains)
        return not works and not self.plan.inputs and TENSOR not in kinds

    @property
    def constants(self) -> Any:
        found = []
        for index in self.plan.outputs:
            value = self.values[index]
            kind = _SCALARS.get(value.kind)
            opened = value.open("value", kind[0]) if kind else None
            held = None if opened is None else opened.value
            finite = not isinstance(held, float) or math.isfinite(held)
            found.append(held if finite else str(held))
        return found[0] if len(found) == 1 else found

    @property
    def signature(self) -> Signature:
        inputs = [self._spec(index, f"input {n}") for n, index in enumerate(self.plan.inputs)]
        outputs = [self._spec(index, f"output {n}") for n, index in enumerate(self.plan.outputs)]
        return Signature(name=self.plan.name, inputs=tuple(inputs), outputs=tuple(outputs))

    def _spec(self, index: int, name: str) -> TensorSpec:
        tensor = self.tensor(index)
        if tensor is None:
            kind = pick(self.values, index, "value").kind
            return TensorSpec(name=name, shape=(), dtype=_SCALARS.get(kind, ("", "none"))[1])
        if tensor.extra is not None and tensor.extra.name:
            name = tensor.extra.name
        return TensorSpec(name=name, shape=_shape(tensor), dtype=_dtype(tensor))

    def tensor(self, index: int) -> Table | None:
        """The tensor of that index; None if it is something else."""
        value = pick(self.values, index, "value")
        return value.open("value", "Tensor") if value.kind == TENSOR else None

    # -------------------------------------------------------------------------- operators

    def walk(self, found: _Found) -> None:
        """Add the operators, in the order of the program's instructions."""
        for chain in self.plan.chains:
            for instruction in chain.instructions:
                self.program.budget.spend(16)
                call = instruction.open("call", "Call")
                if call is None:
                    raise DamagedError("one of its instructions is empty")
                if instruction.kind == KERNEL_CALL:
                    self._kernel(call, found)
                elif instruction.kind == DELEGATE_CALL:
                    self._delegate(call, found)

    def _kernel(self, call: Table, found: _Found) -> None:
        operator = pick(self.plan.operators, call.index, "operator")
        name = aten.namespaced(
            ".".join(part for part in (operator.name, operator.overload) if part)
        )
        outputs = [tensor for tensor in map(self.tensor, call.args[-1:]) if tensor is not None]
        shape = _shape(outputs[0]) if outputs else ()
        dtype = _dtype(outputs[0]) if outputs else ""
        operands = [self._operand(index) for index in call.args]
        turned = aten.bare(name) == "convolution" and self._flag(call, 6)
        count = aten.count(name, operands, shape, transposed=turned)
        if count is None:
            found.uncounted.add(name)
        if "float" in dtype and not any(word in name for word in _CONVERSIONS):
            found.numbers.activation(dtype)
        found.nodes.append(Node(operator=name, where=PORTABLE, macs=count or 0, dtype=dtype))

    def _operand(self, index: int) -> aten.Shape | list[aten.Shape] | None:
        value = pick(self.values, index, "value")
        if value.kind == TENSOR:
            tensor = self.tensor(index)
            return None if tensor is None else _shape(tensor)
        if value.kind in (TENSORS, OPTIONAL_TENSORS):
            items = value.open("value", "List")
            tensors = [self.tensor(each) for each in (items.items if items else ()) if each >= 0]
            return [_shape(tensor) for tensor in tensors if tensor is not None]
        return None

    def _flag(self, call: Table, place: int) -> bool:
        value = pick(self.values, pick(call.args, place, "argument"), "value")
        opened = value.open("value", "Bool") if value.kind == BOOL else None
        return opened is not None and bool(opened.value)

    def _delegate(self, call: Table, found: _Found) -> None:
        delegate = pick(self.plan.delegates, call.index, "delegate")
        where = DELEGATES.get(delegate.id, delegate.id)
        blob = self.program.blob(delegate)
        found.partitions += 1
        graph = self._graph(call.index, delegate)
        if graph is None:
            nodes = [Node(operator=delegate.id, where=where)]
            found.note(f"the file does not tell what is inside {delegate.id}")
        else:
            nodes = graph.nodes(where, found.numbers)
            found.uncounted |= getattr(graph, "uncounted", set())
        found.nodes += nodes
        entry = {"id": delegate.id, "size_bytes": len(blob)}
        self.blobs.append(entry if graph is None else {**entry, "operators": len(nodes)})

    def _graph(self, index: int, delegate: Table) -> Any:
        if index not in self._graphs:
            reader = _GRAPHS.get(delegate.id)
            blob = self.program.blob(delegate)
            self._graphs[index] = (
                None if reader is None else reader(blob, self.program.named, self.program.budget)
            )
        return self._graphs[index]

    # ---------------------------------------------------------------------------- weights

    def count_weights(self, found: _Found) -> None:
        """Add the constants of kernels, and those that delegates keep readable."""
        for index in range(len(self.values)):
            tensor = self.tensor(index)
            if tensor is None or not tensor.data_buffer or tensor.has("allocation"):
                continue
            dtype, shape = _dtype(tensor), tuple(max(size, 0) for size in tensor.sizes)
            bits = packed_bits(dtype)
            # Kernels' constants have no scales: 8 bits in two dimensions are weights, others not.
            if not ("float" in dtype or (bits == 8 and dtype != "bool" and len(shape) > 1)):
                continue
            size = math.prod(shape)
            if tensor.extra is not None and tensor.extra.location == EXTERNAL:
                found.weights.add(dtype, size, 0, 0)
                found.note(f"weights are in another file: {tensor.extra.name}, …")
                continue
            if tensor.data_buffer in found.seen:
                continue
            found.seen.add(tensor.data_buffer)
            content = self.program.constant(tensor.data_buffer, size * bits // 8)
            self.program.budget.spend(len(content))
            found.weights.add(dtype, size, len(content), count_zeros(content, dtype))
            if len(shape) > 1:
                found.numbers.weight(dtype, len(content))
        for graph in self._graphs.values():
            if graph is not None:
                graph.weights(found.weights, found.numbers, found.seen)
                if graph.missing:
                    found.note("weights of a delegate are in another file")


def _shape(tensor: Table) -> tuple[int, ...]:
    return tuple(max(size, 0) for size in tensor.sizes)


def _dtype(tensor: Table) -> str:
    return _TYPES.get(tensor.scalar_type, f"type {tensor.scalar_type}")
