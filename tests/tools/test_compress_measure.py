"""The judge of compressed files, on a file of one layer whose weights are known."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from tests.tiny_tflite import dense_model
from tools.compress import measure


def test_a_file_is_judged_by_what_it_holds_and_answers(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "net.tflite")
    (weights,) = measure.kernels(path).values()
    assert weights.shape == (3, 4)
    x = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    answers = x @ weights.T + np.linspace(0, 1, 3, dtype=np.float32)
    labels = answers.argmax(1)
    labels[:10] = (labels[:10] + 1) % 3  # these it must have wrong
    np.savez(tmp_path / "test.npz", x=x, labels=labels)

    found = measure.measure(path, tmp_path / "test.npz")
    assert (found["right"], found["samples"]) == (40, 50)
    assert (found["weights"], found["nonzeros"], found["distinct"]) == (12, 12, 12)
    assert found["bytes"] == path.stat().st_size


def test_zeros_and_distinct_values_are_counted_as_stored(tmp_path: Path) -> None:
    nothing = dense_model(tmp_path / "zero.tflite", weight=0.0, quantized=True)
    (weights,) = measure.kernels(nothing).values()
    assert weights.dtype == np.int8
    assert not weights.any()
    half = dense_model(tmp_path / "half.tflite", weight=0.5, quantized=True)
    (weights,) = measure.kernels(half).values()
    assert np.unique(weights).tolist() == [32]


def test_zipped_is_the_size_of_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "zeros.tflite"
    path.write_bytes(bytes(100_000))
    assert 100 < measure.zipped(path) < 400
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.write(path, "model")
    assert measure.zipped(path) == len(archive.getvalue())
