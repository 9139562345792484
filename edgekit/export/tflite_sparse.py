"""Weights of a ``.tflite`` as their nonzeros alone. Runs in a LiteRT worker.

    [quantize]
    sparse = true

The format is TFLite's own (``SparsityParameters`` in the schema): all axes but the longest are
walked through in order, and along that one the nonzeros stand with their places, as in compressed
sparse rows. An operator DENSIFY, which every runtime has, makes them dense again when the model is
loaded, so answers are the same to the bit. Weights that would not become smaller stay as they are.

What was found with LiteRT 2.3 on x86-64: XNNPACK takes the DENSIFY and computes with dense
weights. It refuses to load a file where INT8 weights of a dense layer come out of one, or INT8
weights of any operator with float inputs (``dynamic``); float16 weights have a DEQUANTIZE of their
own. Those stay dense. TFLiteConverter's own encoder (``Optimize.EXPERIMENTAL_SPARSITY``) writes the
same, for these too, so that INT8 files of ai-edge-quantizer do not load, and needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.files import readable_bytes, sha256_file, zipped_bytes
from edgekit.export import flatbuffer
from edgekit.export.tflite_checks import check_loads
from edgekit.export.tflite_layers import kept_result

FILE = "model.tflite"
# Where the weights and the data of an operator stand among its inputs.
PLACES = {
    "CONV_2D": (1, 0),
    "DEPTHWISE_CONV_2D": (1, 0),
    "FULLY_CONNECTED": (1, 0),
    "TRANSPOSE_CONV": (1, 2),
}
# Types of weights and data that LiteRT loads; of INT8 with INT8 not in dense layers.
LOADS = {("float32", "float32"), ("int8", "int8"), ("int8", "int16")}
OVERHEAD = 512  # bytes that an operator and a tensor more take in the file, at most


def encode(out: Path, *, dense: str, name: str) -> dict[str, Any]:
    """Write ``model.tflite``, the `dense` step's file with sparse weights; what comes back is that
    step's with what was done.

    Raises:
        ConversionError: no weights would become smaller, or LiteRT refuses the file.
    """
    source = Path(dense) / FILE
    tree = flatbuffer.read(source)
    graph = tree.subgraphs[0]
    kernels = list(_kernels(tree, graph))
    done = [index for index in kernels if _make_sparse(tree, graph, index)]
    wide = any("int8" in op.inputs for op in flatbuffer.operators(tree))
    if not done:
        raise ConversionError(
            f"{name}: none of the {len(kernels)} weight tensors that LiteRT takes sparse in it has "
            "zeros enough to be smaller so",
            hint="prune more in [[passes]] (sparsity), or leave out [quantize] sparse = true"
            + ("; dense layers stay dense in int8" if wide else ""),
        )
    path = out / FILE
    flatbuffer.write(tree, path)
    check_loads(path, name, "the file with sparse weights")
    result = kept_result(Path(dense))
    return {
        **{key: result[key] for key in ("files", "signature", "parent", "tools")},
        "way": f"{result['way']}, then sparse weights",
        "notes": [*result["notes"], _said(source, path, len(done), len(kernels))],
        "sha256": sha256_file(path),
    }


def _kernels(tree: Any, graph: Any) -> Iterable[int]:
    """Tensors of weights that can be made sparse, each once."""
    names = flatbuffer.operator_names(tree)
    wrong, found = set(), []
    for operator in graph.operators:
        name = names[operator.opcodeIndex]
        places = PLACES.get(name, ())
        for place, index in enumerate(map(int, operator.inputs)):
            if index < 0:
                continue
            if not places or place != places[0] or not _loads(graph, operator, name):
                wrong.add(index)  # somebody else reads it
            else:
                found.append(index)
    return (i for i in dict.fromkeys(found) if i not in wrong and _is_plain(tree, graph, i))


def _loads(graph: Any, operator: Any, name: str) -> bool:
    weights, data = (flatbuffer.dtype(graph.tensors[operator.inputs[p]]) for p in PLACES[name])
    if name == "FULLY_CONNECTED" and (weights, data) == ("int8", "int8"):
        return False
    return (weights, data) in LOADS


def _is_plain(tree: Any, graph: Any, index: int) -> bool:
    """Whether it stands in the file, dense, and its zeros are zeros."""
    tensor = graph.tensors[index]
    data = tree.buffers[tensor.buffer].data
    points = None if tensor.quantization is None else tensor.quantization.zeroPoint
    symmetric = points is None or not any(points)
    return tensor.sparsity is None and data is not None and len(data) > 0 and symmetric


@dataclass(frozen=True)
class _Rows:
    """Nonzeros of a tensor, walked through with the longest axis last.

    Attributes:
        order: of its axes.
        ends: how many nonzeros stand before each row, and all of them.
        places: of each nonzero along its row.
    """

    order: tuple[int, ...]
    values: Any
    ends: Any
    places: Any

    @property
    def size_bytes(self) -> int:
        return int(self.values.nbytes + self.ends.nbytes + self.places.nbytes)


def _rows(values: Any) -> _Rows:
    import numpy as np

    longest = int(np.argmax(values.shape))
    order = (*(axis for axis in range(values.ndim) if axis != longest), longest)
    flat = values.transpose(order).reshape(-1, values.shape[longest])
    counts = np.count_nonzero(flat, axis=1)
    ends = np.concatenate([[0], np.cumsum(counts)])
    _, places = np.nonzero(flat)
    return _Rows(order, flat[flat != 0], _narrow(ends), _narrow(places))


def _narrow(numbers: Any) -> Any:
    """In the smallest of the types that the schema has."""
    import numpy as np

    largest = int(numbers.max(initial=0))
    kind = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.int32
    return numbers.astype(kind)


def _make_sparse(tree: Any, graph: Any, index: int) -> bool:
    """Put nonzeros and a DENSIFY in the place of a constant; False if that would be no smaller."""
    import copy

    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[index]
    content = np.asarray(tree.buffers[tensor.buffer].data, dtype=np.uint8)
    values = content.view(flatbuffer.dtype(tensor)).reshape(tensor.shape)
    found = _rows(values)
    if found.size_bytes + OVERHEAD >= content.nbytes:
        return False
    packed = copy.copy(tensor)
    packed.name = f"{flatbuffer.text(tensor.name)}/sparse"
    packed.quantization = None  # the dense one's counts; scales are not kept twice
    packed.sparsity = _parameters(found, values.shape)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(found.values.tobytes(), np.uint8)
    tree.buffers.append(buffer)
    before, packed.buffer, tensor.buffer = tensor.buffer, len(tree.buffers) - 1, 0
    if not any(each.buffer == before for part in tree.subgraphs for each in part.tensors):
        tree.buffers[before] = schema.BufferT()
    graph.tensors.append(packed)
    made = schema.OperatorT()
    made.opcodeIndex = _densify(tree)
    made.inputs, made.outputs = [len(graph.tensors) - 1], [index]
    made.builtinOptionsType = schema.BuiltinOptions.DensifyOptions
    made.builtinOptions = schema.DensifyOptionsT()
    graph.operators.insert(0, made)
    return True


def _parameters(rows: _Rows, shape: tuple[int, ...]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.SparsityParametersT()
    made.traversalOrder = list(rows.order)
    made.dimMetadata = []
    for axis in rows.order[:-1]:
        walked = schema.DimensionMetadataT()
        walked.format, walked.denseSize = schema.DimensionType.DENSE, shape[axis]
        made.dimMetadata.append(walked)
    last = schema.DimensionMetadataT()
    last.format = schema.DimensionType.SPARSE_CSR
    last.arraySegmentsType, last.arraySegments = _vector(rows.ends)
    last.arrayIndicesType, last.arrayIndices = _vector(rows.places)
    made.dimMetadata.append(last)
    return made


def _vector(numbers: Any) -> tuple[int, Any]:
    from ai_edge_litert import schema_py_generated as schema

    kind = {"uint8": "Uint8Vector", "uint16": "Uint16Vector", "int32": "Int32Vector"}[
        numbers.dtype.name
    ]
    made = getattr(schema, kind + "T")()
    made.values = numbers
    return getattr(schema.SparseIndexVector, kind), made


def _densify(tree: Any) -> int:
    """Index of the operator code, added where it is not there."""
    from ai_edge_litert import schema_py_generated as schema

    code = schema.BuiltinOperator.DENSIFY
    for index, known in enumerate(tree.operatorCodes):
        if known.builtinCode == code:
            return index
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = code
    made.version = 1
    tree.operatorCodes.append(made)
    return len(tree.operatorCodes) - 1


def _said(dense: Path, sparse: Path, done: int, kernels: int) -> str:
    """The measured effect."""
    before, after = dense.stat().st_size, sparse.stat().st_size
    zipped = [zipped_bytes(path) for path in (dense, sparse)]
    return (
        f"{done} of {kernels} weight tensors are kept as their nonzeros: "
        f"{readable_bytes(after)}, dense {readable_bytes(before)}; zipped "
        f"{readable_bytes(zipped[1])}, dense {readable_bytes(zipped[0])}; LiteRT makes them dense "
        "when it loads the file and computes no faster by it"
    )
