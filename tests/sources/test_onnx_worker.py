"""Loaded ONNX models: signatures, sizes, forms, answers, layers; ONNX Runtime in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgekit.core.errors import EdgekitError, ModelError, UsageError
from edgekit.core.model import InputForm, ModelOptions
from edgekit.sources.onnx import ONNXSource
from tests import onnx_zoo

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)


def load(path: Path, **options: Any) -> Any:
    from edgekit.sources import onnx_worker

    return onnx_worker.load(ONNXSource().open(str(path), ModelOptions(**options)))


def saved(model: Any, folder: Path) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def words(loaded: Any) -> list[str]:
    return [str(spec) for spec in (*loaded.signature.inputs, *loaded.signature.outputs)]


def plain(path: Path, **feeds: Any) -> list[Any]:
    """What ONNX Runtime says of the file itself."""
    return onnxruntime.InferenceSession(str(path)).run(None, feeds)


# ----------------------------------------------------------------------------- signature


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mlp", {}, ["x float32 1×16", "y float32 1×4"]),
        ("open", {}, ["image float32 1×3×16×16", "scores float32 1×10"]),
        ("sequence", {"dims": {"seq": (12, 12)}}, ["rows float32 1×12×8", "out float32 1×12×4"]),
        ("sequence", {"shapes": {"rows": (5, 8)}}, ["rows float32 1×5×8", "out float32 1×5×4"]),
        ("half", {}, ["x float16 1×8", "y float16 1×4"]),
        ("two", {}, ["ids int64 1×4", "x float32 1×8", "total float32 1×8", "delta float32 1×8"]),
    ],
)
def test_every_dimension_is_fixed(
    tmp_path: Path, name: str, options: dict[str, Any], said: list[str]
) -> None:
    assert words(load(onnx_zoo.write(name, tmp_path), **options)) == said


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({}, "the dimension 'seq' of", "--dim seq=SIZE"),
        ({"dims": {"length": (5, 5)}}, "no open dimension called 'length'", ""),
        ({"dims": {"N": (2, 2), "seq": (5, 5)}}, "a fixed batch of 2", "batch of 1"),
        ({"shapes": {"rows": (1, 5, 9)}}, "it cannot be 1×5×9", ""),
        ({"shapes": {"row": (1, 5, 8)}}, "no input called 'row'; its inputs: rows", ""),
        ({"shapes": {"rows": (5, 8)}, "dims": {"seq": (6, 6)}}, "both 6 and 5", ""),
    ],
)
def test_sizes_that_do_not_fit(
    tmp_path: Path, options: dict[str, Any], said: str, hint: str
) -> None:
    with pytest.raises(ModelError) as caught:
        load(onnx_zoo.write("sequence", tmp_path), **options)

    assert said in caught.value.message
    assert hint in caught.value.hint


def test_an_open_size_without_a_name_asks_for_the_shape(tmp_path: Path) -> None:
    model = onnx_zoo.sequence()
    model.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_param")
    with pytest.raises(ModelError) as caught:
        load(saved(model, tmp_path))

    assert "--shape rows=1,SIZE,8" in caught.value.hint


@pytest.mark.parametrize("named", [True, False])
def test_a_hint_can_be_pasted_into_a_shell_whatever_the_model_calls_things(
    tmp_path: Path, named: bool
) -> None:
    model = onnx_zoo.sequence()
    value = model.graph.input[0]
    if named:
        value.type.tensor_type.shape.dim[1].dim_param = "$(id)"
    else:
        value.type.tensor_type.shape.dim[1].ClearField("dim_param")
        for node in model.graph.node:
            node.input[:] = ["x;id" if name == value.name else name for name in node.input]
        value.name = "x;id"
    with pytest.raises(ModelError) as caught:
        load(saved(model, tmp_path))

    assert caught.value.hint.endswith("--dim '$(id)=SIZE'" if named else "--shape 'x;id=1,SIZE,8'")


def test_a_fixed_batch_of_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fixed batch of 4"):
        load(saved(onnx_zoo.cnn(batch=4), tmp_path))


def test_weights_that_are_listed_as_inputs_are_none(tmp_path: Path) -> None:
    model = onnx_zoo.mlp()
    weight = model.graph.initializer[0]
    model.graph.input.append(
        helper.make_tensor_value_info(weight.name, weight.data_type, list(weight.dims))
    )

    assert words(load(saved(model, tmp_path))) == ["x float32 1×16", "y float32 1×4"]


def test_functions_are_put_in_place(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("Twice", "x", domain="local", output="y")
    info = (TensorProto.FLOAT, ["N", 4])
    model = g.model({"x": info}, {"y": info}, domains=["local"])
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", onnx_zoo.OPSET)]
    model.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, opsets))
    loaded = load(saved(model, tmp_path))

    assert [node.op_type for node in loaded.proto.graph.node] == ["Add"]
    assert loaded.run({"x": np.ones((2, 4))})["y"].tolist() == [[2] * 4] * 2


def test_an_output_whose_size_depends_on_the_data(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("NonZero", "x", output="places")
    model = g.model(
        {"x": (TensorProto.FLOAT, [1, 4])}, {"places": (TensorProto.INT64, [2, "found"])}
    )
    with pytest.raises(ModelError, match=r"depends on the data \(NonZero\)"):
        load(saved(model, tmp_path))


def test_an_output_that_is_an_input(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("Relu", "x", output="y")
    info = (TensorProto.FLOAT, [1, 4])

    with pytest.raises(ModelError, match="its output 'x' is an input or a constant"):
        load(saved(g.model({"x": info}, {"x": info, "y": info}), tmp_path))


# ------------------------------------------------------------------------------- answers


def test_several_samples_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    path = onnx_zoo.write("two", tmp_path)
    ids, x = RNG.integers(0, 6, (3, 4)), RNG.normal(size=(3, 8)).astype(np.float32)
    answers = load(path).run({"x": x, "ids": ids})

    assert list(answers) == ["total", "delta"]
    for row in range(3):
        total, delta = plain(path, ids=ids[row : row + 1], x=x[row : row + 1])
        np.testing.assert_allclose(answers["total"][row : row + 1], total, rtol=1e-5)
        np.testing.assert_allclose(answers["delta"][row : row + 1], delta, rtol=1e-5)


def test_booleans_and_float16(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("Where", "mask", "x", g.constant(np.float16(0)), output="y")
    info = (TensorProto.FLOAT16, [1, 4])
    model = g.model({"mask": (TensorProto.BOOL, [1, 4]), "x": info}, {"y": info})
    loaded = load(saved(model, tmp_path))
    answer = loaded.run({"mask": np.array([[1, 0, 1, 0]]), "x": np.arange(1, 5).reshape(1, 4)})

    assert loaded.signature.inputs[0].dtype == "bool"
    assert answer["y"].dtype == np.float16
    assert answer["y"].tolist() == [[1, 0, 3, 0]]


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no data for input 'ids'"):
        load(onnx_zoo.write("two", tmp_path)).run({"x": np.zeros((1, 8))})


def test_layers_are_the_nodes_outputs_in_order(tmp_path: Path) -> None:
    loaded = load(onnx_zoo.write("mlp", tmp_path))
    x = RNG.normal(size=(2, 16))
    layers = loaded.layers({"x": x})

    assert list(layers) == ["gemm_0", "relu_1", "gemm_2", "relu_3", "y"]
    np.testing.assert_allclose(layers["relu_1"], np.maximum(layers["gemm_0"], 0))
    np.testing.assert_allclose(layers["y"], loaded.run({"x": x})["y"], rtol=1e-5)


def test_external_weights_are_read(tmp_path: Path) -> None:
    model = onnx_zoo.mlp()
    x = RNG.normal(size=(1, 16)).astype(np.float32)
    (expected,) = plain(saved(model, tmp_path), x=x)
    path = tmp_path / "apart.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)

    np.testing.assert_allclose(load(path).run({"x": x})["y"], expected, rtol=1e-6)


# --------------------------------------------------------------------------------- forms

MEAN, STD = (123.0, 116.0, 103.0), (58.0, 57.0, 57.5)


def test_raw_pixels_in_a_cameras_layout(tmp_path: Path) -> None:
    path = onnx_zoo.write("cnn", tmp_path)
    form = InputForm(layout="nhwc", dtype="uint8", mean=MEAN, std=STD)
    loaded = load(path, forms={"": form})
    pixels = RNG.integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    image = ((pixels - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    (expected,) = plain(path, image=image.astype(np.float32))

    assert str(loaded.signature.inputs[0]) == "image uint8 1×16×16×3"
    np.testing.assert_allclose(loaded.run({"image": pixels})["scores"], expected, atol=1e-4)
    onnx.checker.check_model(loaded.proto, full_check=True)


def test_a_layout_that_the_model_has_already_changes_nothing(tmp_path: Path) -> None:
    path = onnx_zoo.write("cnn", tmp_path)

    assert len(load(path, forms={"": InputForm(layout="nchw")}).proto.graph.node) == len(
        onnx_zoo.cnn().graph.node
    )


def test_float16_takes_pixels_too(tmp_path: Path) -> None:
    loaded = load(
        onnx_zoo.write("half", tmp_path), forms={"x": InputForm(dtype="uint8", std=(255.0,))}
    )

    assert str(loaded.signature.inputs[0]) == "x uint8 1×8"
    assert loaded.run({"x": np.full((1, 8), 255)})["y"].dtype == np.float16


@pytest.mark.parametrize(
    ("name", "forms", "said"),
    [
        ("mlp", {"x": InputForm(layout="nhwc")}, "has 2 dimensions; a layout goes with images"),
        ("cnn", {"": InputForm(mean=(1.0, 2.0))}, "has 3 channels; 2 numbers are given"),
        ("cnn", {"": InputForm(std=(0.0,))}, "0 cannot be divided by"),
        ("two", {"ids": InputForm(mean=(1.0,))}, "takes int64, not real numbers"),
        ("cnn", {"picture": InputForm(dtype="uint8")}, "no input called 'picture'"),
    ],
)
def test_forms_that_an_input_cannot_take(
    tmp_path: Path, name: str, forms: dict[str, InputForm], said: str
) -> None:
    with pytest.raises(EdgekitError) as caught:
        load(onnx_zoo.write(name, tmp_path), forms=forms)

    assert isinstance(caught.value, UsageError | ModelError)
    assert said in caught.value.message


# ---------------------------------------------------------------------- what goes wrong


def test_an_operator_that_onnx_does_not_have(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("Levitate", "x", output="y")
    info = (TensorProto.FLOAT, [1, 4])

    with pytest.raises(ModelError, match="an operator that ONNX does not have: Levitate"):
        load(saved(g.model({"x": info}, {"y": info}), tmp_path))


def test_shapes_that_contradict_each_other(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("MatMul", "x", g.normal(5, 3), output="y")
    model = g.model({"x": (TensorProto.FLOAT, ["N", 4])}, {"y": (TensorProto.FLOAT, ["N", 3])})

    with pytest.raises(ModelError, match="is not valid ONNX"):
        load(saved(model, tmp_path))


def test_a_file_that_is_overwritten_meanwhile_is_refused(tmp_path: Path) -> None:
    from edgekit.sources import onnx_worker

    path = saved(onnx_zoo.mlp(), tmp_path)
    handle = ONNXSource().open(str(path), ModelOptions())
    saved(onnx_zoo.cnn(), tmp_path)

    with pytest.raises(ModelError, match="was changed while"):
        onnx_worker.load(handle)
