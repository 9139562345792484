"""Keras models of both generations and SavedModels, through the job: loaded by their source."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.description import Description
from edgekit.core.errors import ModelError, UntrustedModelError, UsageError
from edgekit.core.model import ModelOptions
from edgekit.inspection.keras import KerasInspector
from edgekit.jobs.inspect import inspect

# Of the zoo's cnn on 8×8×1: convolution 3×3×1 to 6×6×16, depthwise 3×3 to 4×4×16, dense 256 to 10.
CNN = {"Conv2D": 6 * 6 * 16 * 9, "DepthwiseConv2D": 4 * 4 * 16 * 9, "Dense": 2560}


def by_operator(found: Description) -> dict[str, int]:
    return {line.operator: line.macs for line in found.coverage.table if line.macs}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_as_the_user_named_them(zoo: Path, suffix: str) -> None:
    found = inspect(str(zoo / f"cnn{suffix}"))
    assert by_operator(found) == CNN
    layers = {node.operator: node.layer for node in found.coverage.nodes}
    assert (layers["Conv2D"], layers["DepthwiseConv2D"], layers["Dense"]) == (
        "first",
        "second",
        "scores",
    )
    assert found.parameters == 16 * 9 + 16 + 16 * 9 + 16 + 2560 + 10
    assert found.weights == {"float32": 4 * found.parameters}
    assert found.quantization == ""
    assert found.metadata["keras_version"]
    nested = inspect(str(zoo / f"nested{suffix}"))
    assert [n.layer for n in nested.coverage.nodes if n.macs] == ["base/conv", "head"]


@pytest.mark.slow
def test_a_loop_is_counted_as_often_as_it_runs(keras3: Path) -> None:
    steps, features, units = 8, 8, 8
    expected = {"LSTM": steps * 4 * units * (features + units), "Dense": units * 4}
    assert by_operator(inspect(str(keras3 / "lstm.keras"))) == expected
    saved = inspect(str(keras3 / "lstm"))
    assert by_operator(saved) == {"MatMul": sum(expected.values())}
    assert saved.metadata["tensorflow_version"].startswith("2.")


@pytest.mark.slow
def test_open_sizes_are_asked_for(keras3: Path) -> None:
    path = str(keras3 / "open.keras")
    with pytest.raises(ModelError, match="open dimensions") as caught:
        inspect(path)
    assert "--shape image=" in caught.value.hint
    found = inspect(path, ModelOptions(shapes={"image": (1, 10, 10, 3)}))
    assert by_operator(found) == {"Conv2D": 8 * 8 * 4 * 27, "Dense": 12}


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5", "registered.keras", "python"])
def test_code_in_a_model_is_not_run(keras3: Path, name: str) -> None:
    with pytest.raises(UntrustedModelError, match="would run"):
        inspect(str(keras3 / name))


def test_a_file_without_loaded_parts_takes_no_shapes(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"something")
    with pytest.raises(UsageError, match="--shape has no use"):
        inspect(str(tmp_path / "m.tflite"), ModelOptions(shapes={"x": (1,)}))


def test_what_looks_like_one(tmp_path: Path) -> None:
    inspector = KerasInspector()
    (tmp_path / "weights").write_bytes(b"\x89HDF\r\n\x1a\n and more")
    assert inspector.accepts(str(tmp_path / "weights"))
    assert inspector.accepts("somewhere/model.keras")
    assert not inspector.accepts(str(tmp_path))
    (tmp_path / "saved_model.pb").touch()
    assert inspector.accepts(str(tmp_path))
