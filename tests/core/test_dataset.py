"""Samples in the types that a signature asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.core.dataset import DataSet
from edgekit.core.tensor import Quantization, Signature, TensorSpec


def rows(folder: Path, values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    np.save(folder / "0.npy", values)
    data = DataSet(
        folder=str(folder), inputs=("x",), count=len(values), digest="", origin="test", choice="all"
    )
    return data.rows(Signature(inputs=(spec,), outputs=()), 0, len(values))["x"]


def test_real_numbers_for_a_quantized_input_are_quantized(tmp_path: Path) -> None:
    scale = Quantization(scale=(0.5,), zero_point=(3,))
    spec = TensorSpec(name="x", shape=(1, 6), dtype="int8", quantization=scale)
    values = np.array([[0.0, 0.25, 0.75, -0.25, 1000.0, -1000.0]], dtype=np.float32)
    assert rows(tmp_path, values, spec).tolist() == [[3, 3, 5, 3, 127, -128]]


def test_integers_for_a_quantized_input_are_stored_numbers_already(tmp_path: Path) -> None:
    scale = Quantization(scale=(0.5,), zero_point=(3,))
    spec = TensorSpec(name="x", shape=(1, 2), dtype="int8", quantization=scale)
    assert rows(tmp_path, np.array([[1, 2]], dtype=np.int8), spec).tolist() == [[1, 2]]


def test_other_types_are_given_as_they_are(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", shape=(1, 2), dtype="float32")
    given = rows(tmp_path, np.array([[1, 2]], dtype=np.uint8), spec)
    assert given.dtype == np.float32
    assert given.tolist() == [[1.0, 2.0]]
