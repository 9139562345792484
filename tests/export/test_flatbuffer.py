"""Flatbuffers read and checked, on small files written with the schema itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.core.errors import ConversionError
from edgekit.core.recipe import BUILTIN, Recipe
from edgekit.core.tensor import Quantization
from edgekit.export import flatbuffer, tflite_calibrate, tflite_checks, tflite_float
from tests.tflite_graphs import cnn


def tensor(name: str, kind: int, shape: list[int], buffer: int = 0) -> Any:
    made = schema.TensorT()
    made.name, made.type, made.buffer = name.encode(), kind, buffer
    made.shape = np.array(shape, np.int32)
    return made


def dense(*, weights: int, inside: int, name: int = schema.BuiltinOperator.FULLY_CONNECTED) -> Any:
    """A graph of one operator with weights, its types as given."""
    model = schema.ModelT()
    model.version = 3
    empty, data = schema.BufferT(), schema.BufferT()
    data.data = np.ones(12 * 4, np.uint8)
    model.buffers = [empty, data]
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = name, min(name, 127), 1
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", inside, [1, 4]),
        tensor("w", weights, [3, 4], buffer=1),
        tensor("y", inside, [1, 3]),
    ]
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([2], np.int32)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = np.array([0, 1], np.int32), np.array([2], np.int32)
    graph.operators = [operator]
    model.subgraphs = [graph]
    flatbuffer.set_signature(model, "serving_default", {"in": 0}, {"out": 2})
    return model


FLOAT, HALF, INT8, INT16 = (
    schema.TensorType.FLOAT32,
    schema.TensorType.FLOAT16,
    schema.TensorType.INT8,
    schema.TensorType.INT16,
)


def test_a_signature_survives_writing_and_reading(tmp_path: Path) -> None:
    flatbuffer.write(dense(weights=FLOAT, inside=FLOAT), tmp_path / "m.tflite")
    signature = flatbuffer.signature(flatbuffer.read(tmp_path / "m.tflite"))

    assert signature.name == "serving_default"
    assert [str(spec) for spec in signature.inputs] == ["in float32 1×4"]
    assert [str(spec) for spec in signature.outputs] == ["out float32 1×3"]


def test_quantization_is_read_from_the_tensor() -> None:
    model = dense(weights=INT8, inside=INT8)
    given = schema.QuantizationParametersT()
    given.scale, given.zeroPoint = np.array([0.5]), np.array([-3])
    model.subgraphs[0].tensors[0].quantization = given

    assert flatbuffer.signature(model).inputs[0].quantization == Quantization(
        scale=(0.5,), zero_point=(-3,)
    )


def test_something_else_is_refused() -> None:
    with pytest.raises(ConversionError, match="not give a TFLite flatbuffer"):
        flatbuffer.read(b"not a flatbuffer")


def test_a_file_without_a_signature_is_refused() -> None:
    model = dense(weights=FLOAT, inside=FLOAT)
    model.signatureDefs = []

    with pytest.raises(ConversionError, match="no signature"):
        flatbuffer.signature(model)


def test_operators_tell_their_types() -> None:
    (operator,) = flatbuffer.operators(dense(weights=INT8, inside=FLOAT))

    assert (operator.name, operator.location) == ("FULLY_CONNECTED", "y")
    assert (operator.inputs, operator.constants, operator.outputs) == (
        ("float32",),
        ("int8",),
        ("float32",),
    )


# ------------------------------------------------------------ no float model in disguise


@pytest.mark.parametrize(
    ("variant", "weights", "inside"),
    [("float16", HALF, FLOAT), ("dynamic", INT8, FLOAT), ("int8-io", INT8, INT8)],
)
def test_what_was_asked_for_passes(variant: str, weights: int, inside: int) -> None:
    tflite_checks.check(dense(weights=weights, inside=inside), BUILTIN[variant])


@pytest.mark.parametrize(
    ("variant", "weights", "inside"),
    [
        ("float16", FLOAT, FLOAT),
        ("dynamic", FLOAT, FLOAT),
        ("int8", FLOAT, FLOAT),
        ("int8", INT8, FLOAT),
        ("int8-io", INT8, INT16),
        ("int16x8", INT8, INT8),
    ],
)
def test_anything_else_is_named(variant: str, weights: int, inside: int) -> None:
    with pytest.raises(ConversionError, match=f"{variant}: FULLY_CONNECTED stayed in"):
        tflite_checks.check(dense(weights=weights, inside=inside), BUILTIN[variant])


def test_the_borders_are_checked() -> None:
    model = dense(weights=INT8, inside=INT8)

    with pytest.raises(ConversionError, match="'in' is int8"):
        tflite_checks.check(model, BUILTIN["int8"])


def test_a_model_without_weights_cannot_be_quantized() -> None:
    relu = dense(weights=FLOAT, inside=FLOAT, name=schema.BuiltinOperator.RELU)

    with pytest.raises(ConversionError, match="no operator with weights"):
        tflite_checks.check(relu, BUILTIN["dynamic"])


def test_a_model_trained_with_quantization_is_refused() -> None:
    model = dense(weights=FLOAT, inside=FLOAT, name=schema.BuiltinOperator.FAKE_QUANT)

    with pytest.raises(ConversionError, match="FAKE_QUANT"):
        tflite_checks.refuse_quantized(model)


@pytest.mark.parametrize(("recipe", "least"), [("int8", 1e-6), ("int16x8", 2e-4)])
def test_a_dead_range_is_widened_around_zero(tmp_path: Path, recipe: str, least: float) -> None:
    ranges = {"dead": (0.0, 1e-12), "alive": (-1.0, 3.0)}
    tree = flatbuffer.read(cnn(tmp_path / "model.tflite"))
    made = tflite_calibrate.as_statistics(tree, ranges, BUILTIN[recipe])

    assert float(made["dead"]["max"][0] - made["dead"]["min"][0]) == pytest.approx(least)
    assert (float(made["alive"]["min"][0]), float(made["alive"]["max"][0])) == (-1.0, 3.0)


def test_the_least_ranges_keep_relu6_inside_int32() -> None:
    for bits, least in tflite_calibrate.LEAST_RANGE.items():
        assert 6 / (least / 2**bits) < 2**31


# ------------------------------------------------------------------- the converter's words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Some ops…\nTF Select ops: Erfinv, FFT\nDetails:\n\ttf.FFT(…)", "Erfinv, FFT"),
        ("error: 'tf.Einsum' op is neither a custom op nor a flex op", "tf.Einsum"),
        ("'tf.TensorListReserve' op requires element_shape to be static", "recurrent"),
        ("first line\nsecond line", "ValueError: first line"),
        ("", "no message"),
    ],
)  # fmt: skip
def test_converter_errors_become_one_line(text: str, said: str) -> None:
    error = tflite_float.explained(ValueError(text))

    assert said in error.message
    assert "\n" not in error.message


def test_a_recipe_of_ones_own_is_told_by_its_name() -> None:
    recipe = Recipe(name="strict", quantization="int8")

    with pytest.raises(ConversionError, match=r"^strict: "):
        tflite_checks.check(dense(weights=FLOAT, inside=FLOAT), recipe)
