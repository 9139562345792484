"""Writes small `.tflite` files (one fully connected layer) without TensorFlow: milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def dense_model(
    path: Path,
    *,
    inputs: int = 4,
    outputs: int = 3,
    quantized: bool = False,
    version: int = 1,
    weight: float | None = None,
    seed: int = 0,
    shape: tuple[int, ...] = (),
) -> Path:
    """y = W x + b, x with shape (1, `inputs`) called "x", y with shape (1, `outputs`) called "y".

    Args:
        quantized: int8 in and out, scales 1/32 for x, 1/64 for W, 1/8 for y, zero points 0.
        version: of the operator; one that no runtime knows gives a file that does not load.
        shape: of x without the batch, of `inputs` numbers in all, where it is another.
        weight: value of every weight, instead of random ones in [-1, 1).
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    rng = np.random.default_rng(seed)
    weights = rng.uniform(-1, 1, (outputs, inputs)).astype(np.float32)
    if weight is not None:
        weights[:] = weight
    bias = np.linspace(0, 1, outputs, dtype=np.float32)
    kind = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
    bias_kind = schema.TensorType.INT32 if quantized else schema.TensorType.FLOAT32
    if quantized:
        weights = np.clip(np.round(weights * 64), -127, 127).astype(np.int8)
        bias = np.round(bias * 32 * 64).astype(np.int32)

    def buffer(data: Any = None) -> Any:
        made = schema.BufferT()
        if data is not None:
            made.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
        return made

    def tensor(name: str, shape: list[int], kind: int, index: int, scale: float) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, index
        if quantized:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [0]
        return made

    options = schema.FullyConnectedOptionsT()
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = options
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = version

    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x:0", [1, *(shape or [inputs])], kind, 1, 1 / 32),
        tensor("w", [outputs, inputs], kind, 2, 1 / 64),
        tensor("b", [outputs], bias_kind, 3, 1 / 32 / 64),
        tensor("y:0", [1, outputs], kind, 4, 1 / 8),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [_named("x", 0)], [_named("y", 3)]

    model = schema.ModelT()
    model.version, model.description = 3, "edgekit test model"
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [buffer(), buffer(), buffer(weights), buffer(bias), buffer()]
    model.signatureDefs = [signature]

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _named(name: str, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made
