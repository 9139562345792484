"""Biases that need more than their bits, on a dense operator written with the schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekit.core.errors import ConversionError
from edgekit.export.tflite_bias import MOST_STEPS, fit

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
}
WEIGHTS = np.array([[0.5, -1.0], [0.25, 0.125], [1.0, 1.0]])


def dense(weights: Any, bias: Any, scales: Any = None, step: float = 0.0, users: int = 1) -> Any:
    """FULLY_CONNECTED of two inputs and three outputs; quantized where scales are given."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers, graph.tensors = [schema.BufferT()], []
    inside = np.float32 if scales is None else np.int8
    for values, scale in (
        (np.zeros((1, 2), inside), None if scales is None else [step]),
        (weights, scales),
        (bias, None if scales is None else np.asarray(scales) * step),
        (np.zeros((1, 3), inside), None if scales is None else [1.0]),
    ):
        made = schema.TensorT()
        made.name, made.type = b"t", TYPES[values.dtype]
        made.shape, made.buffer = np.array(values.shape, np.int32), 0
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.asarray(scale, np.float32)
            made.quantization.zeroPoint = np.zeros(len(scale), np.int64)
            made.quantization.quantizedDimension = 0
        if values is weights or values is bias:
            data = schema.BufferT()
            data.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(data)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    model.operatorCodes = [code]
    graph.operators = []
    for _ in range(users):
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = np.array([0, 1, 2]), np.array([3])
        graph.operators.append(operator)
    model.subgraphs = [graph]
    return model


def pair(bias: Any, step: float, users: int = 1) -> tuple[Any, Any]:
    """A float model and what a quantizer makes of it that lets biases wrap around."""
    scales = np.abs(WEIGHTS).max(axis=1) / 127
    wrapped = np.round(bias / (scales * step)).astype(np.int64).astype(np.int32)
    stored = np.round(WEIGHTS / scales[:, np.newaxis]).astype(np.int8)
    source = dense(WEIGHTS.astype(np.float32), np.asarray(bias, np.float32), users=users)
    return source, dense(stored, wrapped, scales, step, users)


def real(model: Any, operator: int, at: int) -> Any:
    """A constant's real values: stored × scale."""
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.operators[operator].inputs[at]]
    kind = np.int8 if tensor.type == schema.TensorType.INT8 else np.int32
    data = np.frombuffer(bytes(model.buffers[tensor.buffer].data), kind).reshape(tensor.shape)
    scale = tensor.quantization.scale.astype(np.float64)
    return data * scale.reshape([-1] + [1] * (data.ndim - 1))


def test_a_bias_that_fits_is_left_alone() -> None:
    source, made = pair([3.0, 0.0, -1.0], step=0.01)

    assert fit(source, made) == 0


def test_a_bias_that_wraps_is_stored_in_coarser_steps() -> None:
    source, made = pair([3.0, 0.0, -1.0], step=1e-8)
    assert not np.allclose(real(made, 0, 2), [3, 0, -1], rtol=0.01)

    assert fit(source, made) == 1
    np.testing.assert_allclose(real(made, 0, 2), [3, 0, -1], rtol=1e-6)


def test_a_channel_that_fits_keeps_its_weights() -> None:
    source, made = pair([3.0, 0.0, 0.0], step=1e-8)
    before = real(made, 0, 1)
    fit(source, made)

    np.testing.assert_array_equal(real(made, 0, 1)[1:], before[1:])


@given(
    arrays(np.float64, 3, elements=st.floats(-100, 100)),
    st.floats(1e-12, 1),
)
def test_any_bias_comes_out_right(bias: Any, step: float) -> None:
    source, made = pair(bias, step)
    fit(source, made)
    graph = made.subgraphs[0]
    scale = graph.tensors[2].quantization.scale.astype(np.float64)

    np.testing.assert_allclose(real(made, 0, 2), bias, rtol=1e-6, atol=scale.max())
    assert np.abs(real(made, 0, 2) / scale).max() <= MOST_STEPS["int8", "int8", "int32"] * 1.01
    weight_scale = graph.tensors[1].quantization.scale.astype(np.float64)
    np.testing.assert_allclose(scale, weight_scale * np.float32(step), rtol=1e-6)


def test_constants_with_two_readers_come_out_right_for_both() -> None:
    source, made = pair([3.0, 0.0, -1.0], step=1e-8, users=2)

    assert fit(source, made) == 2
    for operator in (0, 1):
        np.testing.assert_allclose(real(made, operator, 2), [3, 0, -1], rtol=1e-6)


def test_another_order_of_operators_is_refused() -> None:
    source, made = pair([0.0, 0.0, 0.0], step=1.0)
    made.subgraphs[0].operators = []

    with pytest.raises(ConversionError, match="order"):
        fit(source, made)
