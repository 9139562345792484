"""From ONNX files to TFLite: through onnx2tf, offline, and through torch where that cannot."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.core.errors import ConversionError
from edgekit.core.model import InputForm, Model, ModelOptions
from edgekit.core.recipe import named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_onnx
from edgekit.export.onnx import onnx_step
from edgekit.export.tflite import TFLiteExporter, float_step
from edgekit.sources import onnx_worker
from edgekit.sources.onnx import ONNXSource
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Step
from tests import onnx_zoo
from tests.export.test_tflite import answers, file_of, samples
from tests.export.test_tflite_torch import done
from tests.sources.test_onnx_nms import detector


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One set of warm workers for all tests of this file."""
    with Pool() as workers:
        yield workers


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def opened(path: Path, **options: Any) -> Model:
    return ONNXSource().open(str(path), ModelOptions(**options))


def example(model: Any, **shapes: tuple[int, ...]) -> dict[str, Any]:
    """Numbers for each input of an ONNX model: normal ones, and indices below 6."""
    rng = np.random.default_rng(1)
    made = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = shapes.get(value.name) or tuple(dim.dim_value or 1 for dim in tensor.shape.dim)
        numbers = rng.normal(size=shape) if tensor.elem_type != 7 else rng.integers(0, 6, shape)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        made[value.name] = numbers.astype(dtype)
    return made


def onnx_says(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in model.graph.output]
    return dict(zip(names, session.run(names, inputs), strict=True))


def counted(path: Path) -> Counter[str]:
    return Counter(operator.name for operator in flatbuffer.operators(flatbuffer.read(path)))


# ------------------------------------------------------------------------------- parity


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn", "two", "detector", "recurrent", "half"])
def test_names_order_layout_and_numbers_are_the_source_s(
    name: str, tmp_path: Path, pool: Pool, cache: Cache
) -> None:
    path = onnx_zoo.write(name, tmp_path)
    proto = onnx.load(str(path))
    made = done(float_step(opened(path)), pool, cache)
    signature = Signature.from_json(made.result["signature"])
    inputs = example(proto)

    assert [spec.name for spec in signature.inputs] == [each.name for each in proto.graph.input]
    assert [spec.name for spec in signature.outputs] == [each.name for each in proto.graph.output]
    assert made.result["way"] == "onnx2tf → TFLiteConverter"
    typed = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in signature.inputs}
    found = answers(file_of(made), typed)
    for label, wanted in onnx_says(proto, inputs).items():
        scale = max(1.0, float(np.abs(wanted).max()))
        atol = (1e-2 if wanted.dtype == np.float16 else 1e-5) * scale
        np.testing.assert_allclose(found[label], wanted, atol=atol, rtol=0)


@pytest.mark.slow
def test_another_layout_leaves_no_transpose(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    path = onnx_zoo.write("cnn", tmp_path)
    made = done(float_step(opened(path, forms={"": InputForm(layout="nhwc")})), pool, cache)
    proto = onnx.load(str(path))
    inputs = example(proto)
    turned = {"image": inputs["image"].transpose(0, 2, 3, 1)}

    assert counted(file_of(made))["TRANSPOSE"] == 0
    np.testing.assert_allclose(
        answers(file_of(made), turned)["scores"], onnx_says(proto, inputs)["scores"], atol=1e-5
    )


@pytest.mark.slow
def test_a_detector_s_scores_survive_int8(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    model = opened(onnx_zoo.write("detector", tmp_path))
    data = samples(tmp_path / "data", image=(3, 16, 16))
    made = done(TFLiteExporter().step(model, named_recipe("int8"), data), pool, cache)
    inputs = {"image": data.arrays()[0][:1]}
    scores = onnx_says(onnx_zoo.detector(), inputs)["found"][:, 4:]
    error = answers(file_of(made), inputs)["found"][:, 4:] - scores

    assert made.result["way"] == "onnx2tf → TFLiteConverter, then ai-edge-quantizer"
    assert 10 * np.log10(np.sum(scores**2) / np.sum(error**2)) > 30


# ------------------------------------------------------------------------------- offline


@pytest.mark.slow
def test_non_maximum_suppression_inside(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    """It finds the same boxes in LiteRT, and the rows that stay empty are empty there, too."""
    path = tmp_path / "detector.onnx"
    onnx.save(detector(), path)
    model = opened(path, nms="inside:score=0.7,most=40")
    file = file_of(done(float_step(model), pool, cache))
    assert counted(file)["NON_MAX_SUPPRESSION_V4"] == 1
    feeds = example(onnx.load(path))
    source = onnx_worker.load(model).run(feeds)
    assert 0 < int((source["scores"] > 0).sum()) < 40
    for name, found in answers(file, feeds).items():
        np.testing.assert_allclose(found, source[name], rtol=1e-4, atol=1e-4)


def convert_here(model: Model, file: str) -> Step:
    return Step(
        title="convert",
        function="tests.export.tflite_nets:convert_without_file",
        worker="tensorflow",
        arguments={"file": file},
        needs={"onnx": onnx_step(model)},
    )


@pytest.mark.slow
def test_nothing_is_downloaded(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    """The model's only input is an image of three channels: what onnx2tf downloads samples for."""
    path = onnx_zoo.write("cnn", tmp_path)
    step = convert_here(opened(path, forms={"": InputForm(layout="nhwc")}), tflite_onnx.SAMPLES)

    assert done(step, pool, cache).result["files"] == ["model.tflite"]


@pytest.mark.slow
def test_an_attempt_to_download_fails_loudly(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    path = onnx_zoo.write("cnn", tmp_path)

    with pytest.raises(ConversionError, match="tried to reach the network"):
        done(
            convert_here(opened(path, forms={"": InputForm(layout="nhwc")}), "other.npy"),
            pool,
            cache,
        )


def test_no_connection_can_be_made_while_it_runs() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with tflite_onnx.offline():
            with pytest.raises(ConversionError, match="network"):
                socket.create_connection(server.getsockname(), timeout=1)
            with pytest.raises(ConversionError, match="network"):
                socket.getaddrinfo("localhost", 80)
            with socket.socket() as other, pytest.raises(ConversionError, match="network"):
                other.connect(server.getsockname())

        socket.create_connection(server.getsockname(), timeout=1).close()  # and after it again


# ----------------------------------------------------------------------- what goes wrong


def grouped(path: Path) -> Path:
    """An operator that onnx2tf does not have."""
    g = onnx_zoo.Graph()
    scale, bias = g.constant(np.ones(8, np.float32)), g.constant(np.zeros(8, np.float32))
    g.add("GroupNormalization", g.conv("image", 3, 8), scale, bias, num_groups=2, output="y")
    inputs = {"image": (TensorProto.FLOAT, [1, 3, 8, 8])}
    onnx.save(g.model(inputs, {"y": (TensorProto.FLOAT, [1, 8, 8, 8])}, 21), path)
    return path


@pytest.mark.slow
def test_the_other_way_is_taken_and_told_of(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    path = grouped(tmp_path / "grouped.onnx")
    made = done(float_step(opened(path)), pool, cache)
    proto = onnx.load(str(path))
    inputs = example(proto)

    (failure,) = made.instead_of
    assert failure.message.startswith("onnx2tf has no operator GroupNormalization")
    assert made.result["way"].endswith("litert-torch")
    np.testing.assert_allclose(
        answers(file_of(made), inputs)["y"], onnx_says(proto, inputs)["y"], atol=1e-4
    )


def test_an_output_that_came_out_turned_is_turned_back() -> None:
    expected = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)

    assert tflite_onnx._order("y", expected, expected) is None
    assert tflite_onnx._order("y", expected.transpose(0, 2, 3, 1), expected) == [0, 3, 1, 2]


def test_sizes_alone_do_not_decide() -> None:
    """A cube looks the same either way; only the numbers tell."""
    expected = np.random.default_rng(0).normal(size=(1, 3, 3, 3)).astype(np.float32)

    assert tflite_onnx._order("y", expected.transpose(0, 2, 3, 1), expected) == [0, 3, 1, 2]


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_other_numbers_than_the_source_s_are_refused(dtype: str) -> None:
    expected = np.ones((1, 4), dtype=dtype)

    with pytest.raises(ConversionError, match="something else than ONNX Runtime in 'y'"):
        tflite_onnx._order("y", np.zeros_like(expected), expected)


def test_the_operator_that_ended_the_process_is_named() -> None:
    graph = onnx_zoo.mlp()
    graph.graph.node[0].name = "first"
    said = "\x1b[31mERROR:\x1b[0m Only this much.\n\x1b[31mERROR:\x1b[0m onnx_op_name: first\n"
    error = tflite_onnx.refused(SystemExit(1), graph, said)

    kind = graph.graph.node[0].op_type
    assert error.message == f"onnx2tf failed at {kind} 'first': Only this much."


def test_zeros_are_given_where_a_recurrence_has_no_state() -> None:
    model = onnx_zoo.recurrent()
    before = onnx_says(model, example(model))
    tflite_onnx._complete_recurrent(model)
    node = next(each for each in model.graph.node if each.op_type == "LSTM")

    assert len(node.input) == 7
    assert all(node.input[at] for at in (5, 6))
    np.testing.assert_array_equal(onnx_says(model, example(model))["out"], before["out"])
