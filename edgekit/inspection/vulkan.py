"""The graph inside what ExecuTorch's Vulkan delegate leaves in a file.

Format: https://github.com/pytorch/executorch/blob/main/backends/vulkan/serialization/schema.fbs,
behind a header like XNNPACK's.
"""

from __future__ import annotations

import struct
from functools import cached_property

from edgekit.core.description import Node
from edgekit.inspection import aten
from edgekit.inspection.files import Weights, count_zeros, packed_bits
from edgekit.inspection.flatbuffer import Budget, DamagedError, File, Schema, Table, pick
from edgekit.inspection.words import Numbers
from edgekit.inspection.xnnpack import Named

HEADER = struct.Struct("<4x4sHIIIQ")  # magic, size, flatbuffer from and size, constants likewise

SCHEMA = Schema("""
table Graph {
  version:string; chain:[Call]; values:[Value]; input_ids:[uint]; output_ids:[uint];
  constants:[Bytes];
}
table Call { node_id:uint; name:string; args:[int]; }
table Value { kind:ubyte; value:union; }
table Bytes { offset:ulong; length:ulong; named_key:string; }
table Tensor { datatype:byte; dims:[uint]; constant_id:int; }
table Bool { bool_val:bool; }
table List { items:[int]; }
""")
TENSOR, BOOL, LIST = 5, 4, 9  # of the union of values

_TYPES = {
    0: "bool", 1: "uint8", 2: "int8", 3: "int32", 4: "float16", 5: "float32", 6: "float64",
    7: "int64",
}  # fmt: skip
NO_NAME = 2**64 - 1  # of a constant that has a name instead of a place


class VulkanGraph:
    """One partition; see `XnnpackGraph`, which has the same methods."""

    def __init__(self, blob: memoryview, named: Named, budget: Budget) -> None:
        self._named, self._budget = named, budget
        if bytes(blob[4:8]) != b"VH00" or len(blob) < HEADER.size:
            raise DamagedError("its Vulkan delegate holds something else")
        _, _, start, size, constants, constant_size = HEADER.unpack_from(blob)
        self.file = File(SCHEMA, _cut(blob, start, size), budget)
        self._constants = _cut(blob, constants, constant_size)
        self.graph = self.file.root("Graph")
        self.missing = False
        self.uncounted: set[str] = set()

    def nodes(self, where: str, numbers: Numbers) -> list[Node]:
        found = []
        for call in self.graph.chain:
            name = aten.namespaced(call.name)
            tensors = [self._operand(index) for index in call.args]
            output = self._output(call)
            dtype = "" if output is None else _TYPES.get(output.datatype, "")
            shape = () if output is None else output.dims
            if "float" in dtype:
                numbers.activation(dtype)
            turned = self._flag(call, 6) if aten.bare(name) in _WITH_FLAG else False
            count = aten.count(name, tensors, shape, transposed=turned)
            if count is None:
                self.uncounted.add(name)
            found.append(Node(operator=name, where=where, macs=count or 0, dtype=dtype))
        return found

    def weights(self, weights: Weights, numbers: Numbers, seen: set[str]) -> None:
        used: set[int] = set()
        for value in self._values:
            if not isinstance(value, Table) or value.constant_id < 0 or value.constant_id in used:
                continue
            used.add(value.constant_id)
            dtype = _TYPES.get(value.datatype, "")
            bits = packed_bits(dtype)
            entry = pick(self.graph.constants, value.constant_id, "constant")
            content = (
                self._named(entry.named_key)
                if entry.named_key
                else _cut(self._constants, entry.offset, entry.length)
            )
            if (entry.named_key and entry.named_key in seen) or not bits:
                continue
            seen.add(entry.named_key)
            size = 1
            for length in value.dims:
                size *= length
            if content is None:
                self.missing = True
                weights.add(dtype, size, 0, 0)
                continue
            self._budget.spend(len(content))
            needed = content[: size * bits // 8]
            weights.add(dtype, size, len(content), count_zeros(needed, dtype))
            if len(value.dims) >= 2:
                numbers.weight(dtype, len(content))

    @cached_property
    def _values(self) -> list[object]:
        """Tensors as tables, lists of them as tuples of indices, flags as they are; else None."""
        found: list[object] = []
        for value in self.graph.values:
            if value.kind == TENSOR:
                found.append(value.open("value", "Tensor"))
            elif value.kind == LIST:
                items = value.open("value", "List")
                found.append(() if items is None else items.items)
            elif value.kind == BOOL:
                flag = value.open("value", "Bool")
                found.append(flag is not None and flag.bool_val)
            else:
                found.append(None)
        return found

    def _operand(self, index: int) -> aten.Shape | list[aten.Shape] | None:
        value = pick(self._values, index, "Vulkan value")
        if isinstance(value, Table):
            shape: aten.Shape = value.dims
            return shape
        if isinstance(value, tuple):
            inner = [pick(self._values, each, "Vulkan value") for each in value]
            return [each.dims for each in inner if isinstance(each, Table)]
        return None

    def _output(self, call: Table) -> Table | None:
        """The last argument, or the first of a list of outputs."""
        value = pick(self._values, call.args[-1], "Vulkan value") if call.args else None
        if isinstance(value, tuple) and value:
            value = pick(self._values, value[0], "Vulkan value")
        return value if isinstance(value, Table) else None

    def _flag(self, call: Table, place: int) -> bool:
        if place >= len(call.args):
            return False
        return pick(self._values, call.args[place], "Vulkan value") is True


_WITH_FLAG = ("convolution", "conv_with_clamp")


def _cut(data: memoryview, start: int, size: int) -> memoryview:
    if start + size > len(data):
        raise DamagedError(f"{size} bytes at {start} of its Vulkan delegate are not there")
    return data[start : start + size]
