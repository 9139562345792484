"""The graph inside what ExecuTorch's XNNPACK delegate leaves in a file.

Format: https://github.com/pytorch/executorch/blob/main/backends/xnnpack/serialization/schema.fbs,
behind a header that backends/xnnpack/serialization/xnnpack_graph_serialize.py describes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cached_property
from typing import Any

from edgekit.core import macs
from edgekit.core.description import Node
from edgekit.inspection.files import Weights, count_zeros, packed_bits
from edgekit.inspection.flatbuffer import Budget, DamagedError, File, Schema, Table, pick
from edgekit.inspection.words import Numbers

HEADER = struct.Struct("<4x4sHIIIQ")  # magic, size, flatbuffer from and size, constants likewise

_ONE = "input_id:uint; output_id:uint; flags:uint;"
_PADDING = "padding_top:uint; padding_right:uint; padding_bottom:uint; padding_left:uint;"
SCHEMA = Schema(f"""
table Graph {{
  version:string; nodes:[Node]; values:[Value]; num_externs:uint; input_ids:[uint];
  output_ids:[uint]; constant_buffer:[Buffer]; mem_buffer_sizes:[uint];
  constant_data:[ConstantData];
}}
table Node {{ kind:ubyte; node:union; debug_handle:uint; }}
table Value {{ kind:ubyte; value:union; }}
table Buffer {{ storage:[ubyte]; }}
table ConstantData {{ offset:ulong; size:ulong; named_key:string; }}
table Tensor {{
  datatype:short; num_dims:uint; dims:[uint]; constant:uint; external_id:uint; flags:uint;
  id_out:uint; dq_datatype:short;
}}
table QuantizedTensor {{ tensor:Tensor; params_kind:ubyte; params:union; }}
table PerChannelGroup {{ scale:[float]; channel_dim:int; group_size:int; }}
table One {{ {_ONE} }}
table Two {{ input_id:uint; second_id:uint; output_id:uint; flags:uint; }}
table Concatenate {{
  axis:uint; input_id:uint; second_id:uint; third_id:uint; fourth_id:uint; output_id:uint;
}}
table FullyConnected {{ input_id:uint; filter_id:uint; bias_id:uint; output_id:uint; flags:uint; }}
table Conv {{
  {_PADDING} kernel_height:uint; kernel_width:uint; subsampling_height:uint; subsampling_width:uint;
  dilation_height:uint; dilation_width:uint; group_input_channels:uint; group_output_channels:uint;
  groups:uint; adjustment_height:uint; adjustment_width:uint; input_id:uint; filter_id:uint;
  bias_id:uint; output_id:uint; flags:uint;
}}
table Pooling {{
  {_PADDING} pooling_height:uint; pooling_width:uint; stride_height:uint; stride_width:uint;
  dilation_height:uint; dilation_width:uint; {_ONE}
}}
table ArgMaxPooling {{ {_PADDING} pooling_height:uint; pooling_width:uint; {_ONE} }}
table Shape {{ num_dims:uint; new_shape:[uint]; {_ONE} }}
table Slice {{ num_dims:uint; offsets:[uint]; sizes:[uint]; {_ONE} }}
table Resize {{ new_height:uint; new_width:uint; {_ONE} }}
table Pad {{ pre_paddings:[uint]; post_paddings:[uint]; padding_value:float; {_ONE} }}
table Parameter {{ alpha:float; {_ONE} }}
table Attention {{
  input_id:uint; key_id:uint; value_id:uint; scale_id:uint; mask_id:uint; output_id:uint;
}}
""")

# The union's members in order, from 1: XNNPACK's name and the table it is kept in.
KINDS = (
    ("Add", "Two"), ("FullyConnected", "FullyConnected"), ("Softmax", "One"), ("Sigmoid", "One"),
    ("StaticTranspose", "Shape"), ("Clamp", "One"), ("Conv2d", "Conv"), ("Div", "Two"),
    ("StaticResizeBilinear2D", "Resize"), ("StaticConstantPad", "Pad"), ("AvgPooling2d", "Pooling"),
    ("Minimum", "Two"), ("DepthwiseConv2d", "Conv"), ("MaxPooling2d", "Pooling"),
    ("Multiply", "Two"), ("Subtract", "Two"), ("Floor", "One"), ("Convert", "One"),
    ("GlobalAvgPooling2d", "One"), ("StaticReshape", "Shape"), ("ArgMaxPooling2d", "ArgMaxPooling"),
    ("SquareRoot", "One"), ("Ceiling", "One"), ("Hardswish", "One"), ("LeakyReLU", "Parameter"),
    ("Maximum", "Two"), ("Negate", "One"), ("Square", "One"), ("ELU", "Parameter"), ("Abs", "One"),
    ("PReLU", "Two"), ("Concatenate2", "Concatenate"), ("Concatenate3", "Concatenate"),
    ("Concatenate4", "Concatenate"), ("StaticSlice", "Slice"),
    ("ScaledDotProductAttention", "Attention"), ("BatchMatrixMultiply", "Two"),
    ("Concatenate5", "Concatenate"), ("ConvTranspose2d", "Conv"), ("ReciprocalSquareRoot", "One"),
    ("Log", "One"), ("Gelu", "One"), ("Tanh", "One"), ("Exp", "One"), ("Sin", "One"),
    ("Copy", "One"), ("Cos", "One"),
)  # fmt: skip

# Type: what is stored, and how its scales are spread.
_TYPES = {
    1: ("float32", ""), 2: ("float16", ""), 3: ("int8", "tensor"), 4: ("uint8", "tensor"),
    5: ("int32", "tensor"), 6: ("int8", "channel"), 7: ("int32", "channel"),
    8: ("int4", "channel"), 9: ("int8", "dynamic"), 10: ("int4", "block"),
    11: ("int8", "dynamic"), 12: ("int32", ""), 13: ("float32", ""), 14: ("bfloat16", ""),
}  # fmt: skip

Named = Callable[[str], memoryview | None]


class XnnpackGraph:
    """One partition, as the delegate's compiler wrote it.

    Args:
        blob: the delegate's own data.
        named: finds what the program keeps under a name; None if that is not in the file.
        budget: how much may still be read of the whole file.
    """

    def __init__(self, blob: memoryview, named: Named, budget: Budget) -> None:
        self._named, self._budget = named, budget
        self._constants = memoryview(b"")
        flat = blob
        if bytes(blob[4:8]) == b"XH00" and len(blob) >= HEADER.size:
            _, _, start, size, constants, constant_size = HEADER.unpack_from(blob)
            flat = _cut(blob, start, size)
            self._constants = _cut(blob, constants, constant_size)
        if bytes(flat[4:6]) != b"XN":
            raise DamagedError("its XNNPACK delegate holds something else")
        self.file = File(SCHEMA, flat, budget)
        self.graph = self.file.root("Graph")
        self.missing = False  # whether weights are in another file

    def nodes(self, where: str, numbers: Numbers) -> list[Node]:
        """The operators in order; their types are noted in `numbers`."""
        found = []
        for entry in self.graph.nodes:
            name, kind = KINDS[entry.kind - 1] if 0 < entry.kind <= len(KINDS) else ("", "")
            if not name:
                found.append(Node(operator=f"XNNPACK operator {entry.kind}", where=where))
                continue
            table = entry.open("node", kind)
            if table is None:
                raise DamagedError(f"its {name} is empty")
            output = self._values.get(table.output_id)
            if output is not None:
                if output.spread == "dynamic":
                    numbers.dynamic = True
                elif name not in ("Convert", "Copy") and ("float" in output.dtype or output.spread):
                    numbers.activation(output.dtype)
            found.append(
                Node(
                    operator=name,
                    where=where,
                    macs=self._macs(name, table),
                    dtype=output.dtype if output else "",
                )
            )
        return found

    def weights(self, weights: Weights, numbers: Numbers, seen: set[str]) -> None:
        """Add the constants; `seen` holds the names of those that were counted before."""
        for tensor in self._values.values():
            if not tensor.constant:
                continue
            key, content = self._content(tensor.constant)
            if key and key in seen:
                continue
            seen.add(key)
            bits = packed_bits(tensor.dtype)
            if not bits:
                raise DamagedError(f"its XNNPACK delegate holds weights of {tensor.dtype}")
            size = tensor.size
            if content is None:
                self.missing = True
                weights.add(tensor.dtype, size, 0, 0)
                continue
            self._budget.spend(len(content))
            used = content[: (size * bits + 7) // 8]
            zero_point = 8 if tensor.dtype == "int4" else 0  # XNNPACK keeps them as 0 to 15
            weights.add(
                tensor.dtype,
                size,
                len(content),
                count_zeros(used, tensor.dtype, zero_point=zero_point, count=size),
            )
            if len(tensor.shape) >= 2:
                scales = {"tensor": 1, "channel": 2}.get(tensor.spread, 0)
                numbers.weight(tensor.dtype, len(content), scales, block=tensor.block)

    def _content(self, index: int) -> tuple[str, memoryview | None]:
        entries = self.graph.constant_data
        if not entries:
            buffer = pick(self.graph.constant_buffer, index, "constant")
            return "", buffer.storage
        entry = pick(entries, index, "constant")
        if entry.named_key:
            return entry.named_key, self._named(entry.named_key)
        return "", _cut(self._constants, entry.offset, entry.size)

    @cached_property
    def _values(self) -> dict[int, _Tensor]:
        found = {}
        for value in self.graph.values:
            if value.kind == 1:
                tensor, block = value.open("value", "Tensor"), 0
            else:
                quantized = value.open("value", "QuantizedTensor")
                tensor, block = (None, 0) if quantized is None else _unpacked(quantized)
            if tensor is None:
                raise DamagedError("one of its XNNPACK values is empty")
            found[tensor.id_out] = _Tensor(tensor, block)
        return found

    def _macs(self, name: str, table: Table) -> int:
        count = _COUNTS.get(name)
        return 0 if count is None else count(self, table)

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self._values.get(index)
        if tensor is None:
            raise DamagedError(f"there is no XNNPACK value {index}")
        return tensor.shape


class _Tensor:
    def __init__(self, table: Table, block: int) -> None:
        self.shape: tuple[int, ...] = table.dims
        self.constant: int = table.constant
        self.dtype, self.spread = _TYPES.get(table.datatype, (f"type {table.datatype}", ""))
        self.block = block

    @property
    def size(self) -> int:
        total = 1
        for size in self.shape:
            total *= size
        return total


def _unpacked(quantized: Table) -> tuple[Table | None, int]:
    block = 0
    if quantized.params_kind == 4:
        params = quantized.open("params", "PerChannelGroup")
        block = params.group_size if params is not None else 0
    return quantized.tensor, block


def _cut(data: memoryview, start: int, size: int) -> memoryview:
    if start + size > len(data):
        raise DamagedError(f"{size} bytes at {start} of its XNNPACK delegate are not there")
    return data[start : start + size]


def _conv(graph: XnnpackGraph, node: Any) -> int:
    kernel = (node.kernel_height, node.kernel_width)
    channels = node.group_input_channels * node.groups
    return macs.conv(graph.shape(node.output_id), kernel, channels, node.groups)


def _depthwise(graph: XnnpackGraph, node: Any) -> int:
    return macs.depthwise_conv(graph.shape(node.output_id), (node.kernel_height, node.kernel_width))


def _transposed(graph: XnnpackGraph, node: Any) -> int:
    kernel = (node.kernel_height, node.kernel_width)
    channels = node.group_output_channels * node.groups
    return macs.transposed_conv(graph.shape(node.input_id), kernel, channels, node.groups)


def _fully_connected(graph: XnnpackGraph, node: Any) -> int:
    given = graph.shape(node.input_id)
    return macs.fully_connected(graph.shape(node.output_id), given[-1] if given else 1)


def _product(graph: XnnpackGraph, node: Any) -> int:
    """Out of (…, m, k) and (…, k, n), whose right side a flag may have turned."""
    left = graph.shape(node.input_id)
    return macs.fully_connected(graph.shape(node.output_id), left[-1] if left else 1)


def _attention(graph: XnnpackGraph, node: Any) -> int:
    shapes = [graph.shape(index) for index in (node.input_id, node.key_id, node.value_id)]
    if any(len(shape) < 2 for shape in shapes):
        raise DamagedError("its attention has too few dimensions")
    return macs.attention(*shapes)


_COUNTS: dict[str, Callable[[XnnpackGraph, Any], int]] = {
    "Conv2d": _conv,
    "DepthwiseConv2d": _depthwise,
    "ConvTranspose2d": _transposed,
    "FullyConnected": _fully_connected,
    "BatchMatrixMultiply": _product,
    "ScaledDotProductAttention": _attention,
}
