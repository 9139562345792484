"""TFLite files in, TFLite files out: as they are, with a signature, quantized but not twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import ConversionError, ModelError, PlanError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model, ModelOptions
from edgekit.core.recipe import named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_file
from edgekit.export.tflite import TFLiteExporter
from edgekit.sources.tflite import TFLiteSource
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from tests import tflite_graphs
from tests.export.test_tflite import answers, done, file_of, samples
from tests.tiny_tflite import dense_model


def opened(path: Path) -> Model:
    return TFLiteSource().open(str(path), ModelOptions())


def take(path: Path, out: Path, *, original: bool = False) -> dict[str, object]:
    out.mkdir()
    return tflite_file.take(out, model=opened(path).to_json(), original=original)


def without_signature(path: Path) -> Path:
    tree = flatbuffer.read(path)
    tree.signatureDefs = None
    flatbuffer.write(tree, path)
    return path


@pytest.mark.parametrize("quantized", [False, True])
def test_original_is_the_file_itself(tmp_path: Path, quantized: bool) -> None:
    path = dense_model(tmp_path / "dense.tflite", quantized=quantized)
    made = take(path, tmp_path / "out", original=True)

    assert (tmp_path / "out" / "model.tflite").read_bytes() == path.read_bytes()
    assert made["sha256"] == made["parent"] == sha256_file(path)
    assert made["way"] == "the file as it was given"


def test_a_file_that_is_replaced_after_it_was_loaded_is_not_taken(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "dense.tflite")
    take(path, tmp_path / "out", original=True)  # the worker keeps what it loaded
    handle = opened(path)
    path.write_bytes(path.read_bytes().replace(b"serving", b"swapped"))

    with pytest.raises(ModelError, match="was changed while it was being converted"):
        tflite_file.take(tmp_path, model=handle.to_json(), original=True)


def test_a_float_file_is_its_own_float32_variant(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "dense.tflite")
    take(path, tmp_path / "out")

    assert (tmp_path / "out" / "model.tflite").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("original", [False, True])
def test_a_signature_is_added_where_there_is_none(tmp_path: Path, original: bool) -> None:
    path = without_signature(dense_model(tmp_path / "dense.tflite"))
    made = take(path, tmp_path / "out", original=original)
    signature = Signature.from_json(made["signature"])  # type: ignore[arg-type]
    found = flatbuffer.signature(flatbuffer.read(tmp_path / "out" / "model.tflite"))

    assert made["way"] == "the file as it was given, with a signature added"
    assert [spec.name for spec in signature.inputs] == ["x"]
    assert found == signature


def test_a_quantized_file_has_no_other_variants(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "dense.tflite", quantized=True)

    with pytest.raises(ConversionError, match=r"quantized already \(int32, int8\)") as caught:
        take(path, tmp_path / "out")

    assert "--variant original" in caught.value.hint


def test_only_a_tflite_file_can_be_taken_as_it_is(tmp_path: Path) -> None:
    model = opened(dense_model(tmp_path / "m.tflite")).model_copy(update={"framework": "onnx"})

    with pytest.raises(PlanError, match="original takes a TFLite file as it is"):
        TFLiteExporter().step(model, named_recipe("original"), None)


def test_a_framework_without_a_way_is_named(tmp_path: Path) -> None:
    model = opened(dense_model(tmp_path / "m.tflite")).model_copy(update={"framework": "jax"})

    with pytest.raises(PlanError, match="no way from a jax model to TFLite; there is one from ke"):
        TFLiteExporter().step(model, named_recipe("float32"), None)


@pytest.mark.slow
def test_a_float_file_is_quantized(tmp_path: Path) -> None:
    path = tflite_graphs.cnn(tmp_path / "cnn.tflite")
    data = samples(tmp_path / "data", image=(16, 16, 3))
    image = data.arrays()[0][:1]
    expected = answers(path, {"image": image})["scores"]
    cache = Cache(tmp_path / "cache")
    with Pool() as pool:
        for variant, suffix in (("float16", "float16"), ("dynamic", "dynamic"), ("int8", "int8")):
            step = TFLiteExporter().step(opened(path), named_recipe(variant), data)
            made = done(step, pool, cache)
            error = answers(file_of(made), {"image": image})["scores"] - expected

            assert made.result["way"] == "the file as it was given, then ai-edge-quantizer", suffix
            assert np.linalg.norm(error) < 0.05 * np.linalg.norm(expected)
