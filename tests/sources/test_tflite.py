"""TFLite files as sources: what is checked first, signatures, answers, layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import ModelError, UsageError
from edgekit.core.model import InputForm, ModelOptions
from edgekit.sources import SOURCES
from edgekit.sources.tflite import TFLiteSource
from tests.tiny_tflite import dense_model

pytestmark = pytest.mark.slow
ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def load(path: Path, **options: Any) -> Any:
    from edgekit.sources import tflite_worker

    return tflite_worker.load(TFLiteSource().open(str(path), ModelOptions(**options)))


def refusal(path: Path, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) <= 2
    return caught.value


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    """The file with something changed in its object tree."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    change(tree)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def open_batch(tree: Any) -> None:
    for index in (0, 3):
        tensor = tree.subgraphs[0].tensors[index]
        tensor.shapeSignature = [-1, *tensor.shape[1:]]


def words(loaded: Any) -> list[str]:
    return [str(spec) for spec in (*loaded.signature.inputs, *loaded.signature.outputs)]


# ------------------------------------------------------------------------------ the file


def test_a_file_is_a_handle(tmp_path: Path) -> None:
    model = TFLiteSource().open(str(dense_model(tmp_path / "net.tflite")), ModelOptions())

    assert (model.name, model.framework, model.worker) == ("net", "tflite", "litert")
    assert SOURCES["tflite"] is TFLiteSource
    assert TFLiteSource().accepts("a.TFLITE")
    assert not TFLiteSource().accepts("a.onnx")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 64, b"\xff\xff\xff\xffTFL3" * 4])
def test_what_is_no_tflite_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)

    assert "TFLite file" in refusal(path).message


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    """Wherever it is cut, an error tells of it, and the process lives."""
    path = dense_model(tmp_path / "model.tflite")
    content = path.read_bytes()
    for end in range(0, len(content) - 8, 61):
        path.write_bytes(content[:end])
        refusal(path)


def test_bytes_that_were_changed(tmp_path: Path) -> None:
    """A damaged file is an error or still a model, never a crash."""
    path = dense_model(tmp_path / "model.tflite")
    content, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 3):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            load(path)
        except ModelError:
            refused += 1
    assert refused > 0


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "there is no model" in refusal(tmp_path / "gone.tflite").message
    (tmp_path / "folder.tflite").mkdir()
    assert "not a plain file" in refusal(tmp_path / "folder.tflite").message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "other.pt"}, "--weights"),
        ({"forms": {"": InputForm(layout="nchw")}}, "taken as they are"),
        ({"dims": {"seq": (4, 4)}}, "have no names"),
    ],
)
def test_options_that_do_not_go_with_it(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    path = dense_model(tmp_path / "model.tflite")
    with pytest.raises(UsageError, match=said) as caught:
        TFLiteSource().open(str(path), ModelOptions(**options))

    assert caught.value.hint


# ----------------------------------------------------------------------------- signature


def test_names_are_the_signatures(tmp_path: Path) -> None:
    loaded = load(dense_model(tmp_path / "model.tflite"))

    assert words(loaded) == ["x float32 1×4", "y float32 1×3"]
    assert loaded.signature.name == "serving_default"
    assert loaded.content == (tmp_path / "model.tflite").read_bytes()


def test_without_a_signature_names_are_the_tensors(tmp_path: Path) -> None:
    def change(tree: Any) -> None:
        tree.signatureDefs = None
        tree.subgraphs[0].tensors[0].name = "serving_default_image:0"

    path = changed(dense_model(tmp_path / "model.tflite"), change)

    assert words(load(path)) == ["image float32 1×4", "y float32 1×3"]


def test_a_quantized_border_is_as_in_the_file(tmp_path: Path) -> None:
    (spec,) = load(dense_model(tmp_path / "model.tflite", quantized=True)).signature.inputs

    assert spec.dtype == "int8"
    assert spec.quantization is not None
    assert spec.quantization.scale == (1 / 32,)


def test_an_open_batch_is_one(tmp_path: Path) -> None:
    loaded = load(changed(dense_model(tmp_path / "model.tflite"), open_batch))

    assert words(loaded) == ["x float32 1×4", "y float32 1×3"]


def test_the_content_has_the_sizes_that_were_given(tmp_path: Path) -> None:
    """A dense layer takes any number of rows; here the second dimension is the open one."""

    def change(tree: Any) -> None:
        for index in (0, 3):
            tensor = tree.subgraphs[0].tensors[index]
            tensor.shape = [1, 1, tensor.shape[-1]]
            tensor.shapeSignature = [-1, -1, tensor.shape[-1]]
        tree.subgraphs[0].operators[0].builtinOptions.keepNumDims = True

    path = changed(dense_model(tmp_path / "model.tflite"), change)
    error = refusal(path)
    loaded = load(path, shapes={"x": (5, 4)})
    again = tmp_path / "again.tflite"
    again.write_bytes(loaded.content)

    assert "open dimensions: ?×?×4" in error.message
    assert "--shape x=1,SIZE,4" in error.hint
    assert words(loaded) == words(load(again)) == ["x float32 1×5×4", "y float32 1×5×3"]


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    path = changed(dense_model(tmp_path / "model.tflite"), open_batch)

    assert "it cannot be 1×5" in refusal(path, shapes={"x": (1, 5)}).message
    assert "no input called 'z'" in refusal(path, shapes={"z": (1, 4)}).message
    assert "fixed batch of 2" in refusal(path, shapes={"x": (2, 4)}).message


def test_weights_behind_the_flatbuffer_are_taken_in(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "model.tflite")
    expected = load(path).run({"x": ROWS})["y"]
    places: list[tuple[int, bytes]] = []

    def change(tree: Any) -> None:
        buffer = tree.buffers[2]
        places.append((2, bytes(buffer.data)))
        buffer.data, buffer.offset, buffer.size = None, 4096, len(places[0][1])

    content = changed(path, change).read_bytes()
    path.write_bytes(content.ljust(4096, b"\0") + places[0][1])
    loaded = load(path)

    assert len(loaded.content) < 4096
    np.testing.assert_array_equal(loaded.run({"x": ROWS})["y"], expected)


# ------------------------------------------------------------------------------- answers


def test_several_samples_are_the_same_as_one_by_one(tmp_path: Path) -> None:
    loaded = load(dense_model(tmp_path / "model.tflite"))
    together = loaded.run({"x": ROWS})["y"]

    assert together.shape == (3, 3)
    for row in range(3):
        np.testing.assert_array_equal(
            together[row : row + 1], loaded.run({"x": ROWS[row : row + 1]})["y"]
        )


def test_stored_numbers_are_given_and_layers_are_real(tmp_path: Path) -> None:
    loaded = load(dense_model(tmp_path / "model.tflite", quantized=True))
    stored = {"x": np.arange(12, dtype=np.int8).reshape(3, 4)}
    answer, layers = loaded.run(stored)["y"], loaded.layers(stored)

    assert answer.dtype == np.int8
    assert list(layers) == ["y:0"]
    np.testing.assert_array_equal(layers["y:0"], answer.astype(np.float32) / 8)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    loaded = load(dense_model(tmp_path / "model.tflite"))

    with pytest.raises(ModelError, match="no data for input 'x'; given: z"):
        loaded.run({"z": ROWS})


def test_an_operator_that_the_runtime_does_not_have(tmp_path: Path) -> None:
    def change(tree: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        code = tree.operatorCodes[0]
        code.builtinCode = schema.BuiltinOperator.CUSTOM
        code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = "Magic"
        operator = tree.subgraphs[0].operators[0]
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    path = changed(dense_model(tmp_path / "model.tflite"), change)

    assert "operators that LiteRT does not have: Magic" in refusal(path).message


def test_a_version_that_the_runtime_does_not_know(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "model.tflite", version=99)

    assert "'FULLY_CONNECTED' version '99'" in refusal(path).message


def test_a_file_that_is_overwritten_meanwhile_is_refused(tmp_path: Path) -> None:
    from edgekit.sources import tflite_worker

    path = dense_model(tmp_path / "model.tflite", seed=2)
    handle = TFLiteSource().open(str(path), ModelOptions())
    dense_model(path, seed=1)

    with pytest.raises(ModelError, match="was changed while"):
        tflite_worker.load(handle)
