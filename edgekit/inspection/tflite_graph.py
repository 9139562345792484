"""What a TFLite file is made of: its tables, graphs and tensors, read when they are asked for.

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

from edgekit.core.tensor import Quantization, TensorSpec
from edgekit.inspection.files import packed_bits
from edgekit.inspection.flatbuffer import Schema, Table, pick, picked

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
table ConversionMetadata { environment:Environment; options:ConversionOptions; }
table Environment {
  tensorflow_version:string; api_version:uint; model_type:int; model_hash:ulong;
}
table ConversionOptions {
  model_optimization_modes:[int]; allow_custom_ops:bool; enable_select_tf_ops:bool;
  force_select_tf_ops:bool;
}
""")  # noqa: E501 - a table a line

TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "str", 6: "bool",
    7: "int16", 8: "complex64", 9: "int8", 10: "float64", 11: "complex128", 12: "uint64",
    13: "resource", 14: "variant", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16",
    19: "int2", 20: "uint4", 21: "float8_e4m3fn", 22: "float8_e5m2",
}  # fmt: skip


class Buffers(Protocol):
    """The file's buffers, which tensors name by number."""

    def bytes_of(self, index: int) -> memoryview:
        """What is in a buffer.

        Raises:
            DamagedError: there is no such buffer, or it is not whole.
        """


class Graph:
    def __init__(self, model: Buffers, table: Table) -> None:
        self.table = table
        self.tensors = [Tensor(model, tensor) for tensor in table.tensors]

    def picked(self, indices: tuple[int, ...]) -> Iterator[Tensor]:
        return picked(tuple(self.tensors), indices, "tensor")

    def optional(self, indices: tuple[int, ...]) -> list[Tensor | None]:
        """The tensors of those indices in their places, None for what is left out."""
        return [None if i < 0 else pick(self.tensors, i, "tensor") for i in indices]


class Tensor:
    """A tensor with what an operator needs to know of it, read once."""

    def __init__(self, model: Buffers, table: Table) -> None:
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
        return TYPES.get(self.table.type, f"type {self.table.type}")

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
        return "float" in self.dtype or self.scales > 0 or self.block > 0 or self.is_sparse

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
