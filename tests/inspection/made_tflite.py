"""Writes `.tflite` files of one operator, for what inspection counts: no converter, no kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def one_operator(
    path: Path,
    operator: str,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    *,
    constants: dict[int, np.ndarray[Any, Any]] | None = None,
    custom: str = "",
    options: str = "",
    **fields: Any,
) -> Path:
    """A graph of `operator` alone.

    Args:
        inputs: shapes; () is an input that is left out.
        constants: values of inputs, by their place.
        options: name of the schema's class of options, filled with `fields`.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    held = constants or {}
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []

    def tensor(name: str, shape: tuple[int, ...], values: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, list(shape), 0
        if values is not None:
            kinds = {"float32": 0, "float16": 1, "int32": 2, "int8": 9}
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer, made.type = len(model.buffers) - 1, kinds[values.dtype.name]
            if values.dtype == np.int8:
                made.quantization = schema.QuantizationParametersT()
                made.quantization.scale = [0.5] * shape[0]
                made.quantization.zeroPoint = [0] * shape[0]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.customCode, code.version = custom or None, 1
    made = schema.OperatorT()
    made.inputs = [
        tensor(f"input_{place}", shape, held.get(place)) if shape or place in held else -1
        for place, shape in enumerate(inputs)
    ]
    made.outputs = [tensor("block/conv/Relu;block/conv/BiasAdd", output)]
    if options:
        made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        made.builtinOptions = getattr(schema, f"{options}T")()
        for name, value in fields.items():
            setattr(made.builtinOptions, name, value)
    graph.operators = [made]
    graph.inputs = [i for place, i in enumerate(made.inputs) if i >= 0 and place not in held]
    graph.outputs = list(made.outputs)
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
