"""Reading and changing ``.tflite`` flatbuffers: signatures, tensor types, operators.

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs, as
shipped in ai-edge-litert. Runs in worker processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import Quantization, Signature, TensorSpec

IDENTIFIER = b"TFL3"  # at offset 4 of every file

# TensorType of the schema to numpy's name; what is missing here does not occur at a border.
_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "UINT16": "uint16",
    "INT32": "int32",
    "UINT32": "uint32",
    "INT64": "int64",
    "UINT64": "uint64",
    "BOOL": "bool",
    "STRING": "str",
    "COMPLEX64": "complex64",
}


@dataclass(frozen=True)
class Operator:
    """One operator: its name and the types of what it reads, holds and gives.

    Attributes:
        name: as in the schema ("CONV_2D"), or the name of a custom operator.
        inputs: numpy's names of the types of non-constant inputs.
        constants: the same for constant inputs of floating-point, 8-bit or 4-bit type with two or
            more dimensions: the weights.
        outputs: the same for outputs.
        location: the name of its first output tensor.
    """

    name: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    location: str


def read(source: Path | bytes) -> Any:
    """The flatbuffer as the schema's object tree (a ``ModelT``).

    Raises:
        ConversionError: not a TFLite flatbuffer.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    content = source if isinstance(source, bytes) else source.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ConversionError("the converter did not give a TFLite flatbuffer")
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write(model: Any, path: Path) -> None:
    """Serialise an object tree into `path`."""
    from ai_edge_litert.tools import flatbuffer_utils

    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def set_signature(
    model: Any, name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]
) -> None:
    """Give the main graph one signature; the mappings lead from names to tensor indices."""
    from ai_edge_litert import schema_py_generated as schema

    def maps(names: Mapping[str, int]) -> list[Any]:
        made = []
        for key, index in names.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = key, index
            made.append(entry)
        return made

    definition = schema.SignatureDefT()
    definition.signatureKey, definition.subgraphIndex = name, 0
    definition.inputs, definition.outputs = maps(inputs), maps(outputs)
    model.signatureDefs = [definition]


def signature(model: Any) -> Signature:
    """The file's own signature, with types, shapes and quantization of its tensors.

    Raises:
        ConversionError: it has none, or a tensor of it has a type that no array has.
    """
    if not model.signatureDefs:
        raise ConversionError("the flatbuffer has no signature")
    definition = model.signatureDefs[0]
    tensors = model.subgraphs[definition.subgraphIndex].tensors
    return Signature(
        name=text(definition.signatureKey),
        inputs=tuple(_spec(text(m.name), tensors[m.tensorIndex]) for m in definition.inputs),
        outputs=tuple(_spec(text(m.name), tensors[m.tensorIndex]) for m in definition.outputs),
    )


def settle_largest(model: Any, wanted: Signature) -> None:
    """Write the largest sizes of open dimensions into every tensor of the main graph.

    Runtimes start with them, and multiply-adds are counted by them; ``shape_signature`` keeps -1.

    Raises:
        ConversionError: LiteRT does not run the file at these sizes.
    """
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from ai_edge_litert.tools import flatbuffer_utils

    graph = model.subgraphs[model.signatureDefs[0].subgraphIndex]
    places = {text(m.name): int(m.tensorIndex) for m in model.signatureDefs[0].inputs}
    for spec in wanted.inputs:
        graph.tensors[places[spec.name]].shape = np.array(spec.shape, dtype=np.int32)
    try:
        runtime = Interpreter(
            model_content=bytes(flatbuffer_utils.convert_object_to_bytearray(model)),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        runtime.allocate_tensors()
        runtime.invoke()  # some sizes are only known then
    except (RuntimeError, ValueError) as exc:
        raise ConversionError(
            f"LiteRT does not run the file at its largest sizes: {' '.join(str(exc).split())[:200]}"
        ) from exc
    for detail in runtime.get_tensor_details():
        if detail["index"] < len(graph.tensors):
            tensor = graph.tensors[detail["index"]]
            if tensor.shape is not None and len(tensor.shape) == len(detail["shape"]):
                tensor.shape = np.array(detail["shape"], dtype=np.int32)


def operators(model: Any) -> Iterator[Operator]:
    """Every operator of every subgraph, in the file's order, which is that of execution."""
    for graph in model.subgraphs:
        yield from operators_of(model, graph)


def operators_of(model: Any, graph: Any) -> Iterator[Operator]:
    """The operators of one subgraph, in the order of its list."""
    names = operator_names(model)
    for operator in graph.operators:
        ins = [graph.tensors[index] for index in operator.inputs if index >= 0]
        outs = [graph.tensors[index] for index in operator.outputs if index >= 0]
        constant = [tensor for tensor in ins if is_constant(model, tensor)]
        yield Operator(
            name=names[operator.opcodeIndex],
            inputs=tuple(dtype(tensor) for tensor in ins if not is_constant(model, tensor)),
            constants=tuple(
                dtype(tensor)
                for tensor in constant
                if dtype(tensor) in _WEIGHT_TYPES and _rank(tensor) >= 2
            ),
            outputs=tuple(dtype(tensor) for tensor in outs),
            location=text(outs[0].name) if outs else "",
        )


def operator_names(model: Any) -> list[str]:
    """By operator code: the schema's name, or that of a custom operator."""
    from ai_edge_litert.tools import flatbuffer_utils

    return [
        text(code.customCode) if code.customCode else flatbuffer_utils.opcode_to_name(model, index)
        for index, code in enumerate(model.operatorCodes)
    ]


_WEIGHT_TYPES = ("float32", "float16", "int8", "int4")


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether the tensor's values stand in the file."""
    buffer = model.buffers[tensor.buffer]
    return (buffer.data is not None and len(buffer.data) > 0) or bool(buffer.size)


def dtype(tensor: Any) -> str:
    """numpy's name of a tensor's type; the schema's own for what numpy does not have."""
    name = _type_names()[tensor.type]
    return _DTYPES.get(name, name.lower())


@cache
def _type_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {
        value: name for name, value in vars(schema.TensorType).items() if not name.startswith("_")
    }


def _spec(name: str, tensor: Any) -> TensorSpec:
    kind = dtype(tensor)
    if kind not in _DTYPES.values():
        raise ConversionError(f"the artifact's {name!r} has the type {kind}, which no array has")
    sizes = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return TensorSpec(
        name=name,
        shape=tuple(None if size < 0 else int(size) for size in (() if sizes is None else sizes)),
        dtype=kind,
        quantization=_quantization(tensor.quantization),
    )


def _quantization(given: Any) -> Quantization | None:
    if given is None or given.scale is None or len(given.scale) == 0:
        return None
    return Quantization(
        scale=tuple(float(value) for value in given.scale),
        zero_point=tuple(int(value) for value in given.zeroPoint),
        axis=int(given.quantizedDimension) if len(given.scale) > 1 else None,
    )


def _rank(tensor: Any) -> int:
    return 0 if tensor.shape is None else len(tensor.shape)


def text(value: bytes | str) -> str:
    """A name as the schema's objects hold it, bytes once it was read from a file."""
    return value.decode() if isinstance(value, bytes) else str(value)
