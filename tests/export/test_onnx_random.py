"""Random small graphs: the float32 file answers like the model, the INT8 file nearly so."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.dataset import DataSet
from edgekit.core.model import ModelOptions
from edgekit.core.recipe import named_recipe
from edgekit.core.registry import resolve
from edgekit.export.onnx import ONNXExporter
from edgekit.sources.onnx import ONNXSource
from tests import onnx_zoo

pytestmark = pytest.mark.slow
CHANNELS, SIDE, SAMPLES = 4, 8, 24
LEAST_SNR = {"onnx-float32": 90, "onnx-int8": 12, "onnx-tensorrt-int8": 12}


def _pad(g: onnx_zoo.Graph, x: str) -> str:
    """One row and column more on each side, which an average without padding takes off again."""
    return g.add("Pad", x, g.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])))


BLOCKS: dict[str, Callable[[onnx_zoo.Graph, str], str]] = {
    "conv": lambda g, x: g.conv(x, CHANNELS, CHANNELS),
    "pointwise": lambda g, x: g.conv(x, CHANNELS, CHANNELS, 1),
    "depthwise": lambda g, x: g.conv(x, CHANNELS, CHANNELS, group=CHANNELS),
    "norm": lambda g, x: g.batch_norm(x, CHANNELS),
    "relu": lambda g, x: g.add("Relu", x),
    "relu6": lambda g, x: g.add("Clip", x, *(g.constant(np.float32(v)) for v in (0, 6))),
    "leaky": lambda g, x: g.add("LeakyRelu", x, alpha=0.1),
    "sigmoid": lambda g, x: g.add("Sigmoid", x),
    "silu": lambda g, x: g.add("Mul", x, g.add("Sigmoid", x)),
    "residual": lambda g, x: g.add("Add", x, g.conv(x, CHANNELS, CHANNELS)),
    "concat": lambda g, x: g.conv(
        g.add("Concat", x, g.add("Relu", x), axis=1), 2 * CHANNELS, CHANNELS, 1
    ),
    "average": lambda g, x: g.add("AveragePool", _pad(g, x), kernel_shape=[3, 3]),
    "maximum": lambda g, x: g.add("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "turn": lambda g, x: g.add("Transpose", x, perm=[0, 1, 3, 2]),
    "scale": lambda g, x: g.add("Mul", x, g.normal(1, CHANNELS, 1, 1)),
}


def network(blocks: list[str], seed: int) -> Any:
    """image 1×3×8×8 → out 1×5, a convolution, the blocks, and a dense layer."""
    g = onnx_zoo.Graph(seed)
    x = g.conv("image", 3, CHANNELS)
    for block in blocks:
        x = BLOCKS[block](g, x)
    x = g.add("Reshape", x, g.constant(np.array([1, -1])))
    g.dense(x, CHANNELS * SIDE * SIDE, 5, output="out")
    return g.model(
        {"image": (onnx_zoo.FLOAT, ["N", 3, SIDE, SIDE])}, {"out": (onnx_zoo.FLOAT, ["N", 5])}
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_random_graphs(blocks: list[str], seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(network(blocks, seed), folder / "model.onnx")
        images = np.random.default_rng(seed).normal(size=(SAMPLES, 3, SIDE, SIDE))
        np.save(folder / "0.npy", images.astype(np.float32))
        data = DataSet(folder=name, inputs=("image",), count=SAMPLES, digest="", origin="test",
                       choice="all")  # fmt: skip
        model = ONNXSource().open(str(folder / "model.onnx"), ModelOptions())
        expected = _answers(folder / "model.onnx", images)
        done: dict[str, Path] = {}
        for variant, least in LEAST_SNR.items():
            step = ONNXExporter().step(model, named_recipe(variant), data)
            answers = _answers(_made(step, folder, done) / "model.onnx", images)
            assert _snr(expected, answers) > least, variant


def _made(step: Any, folder: Path, done: dict[str, Path]) -> Path:
    if step.key not in done:
        needs = {name: str(_made(need, folder, done)) for name, need in step.needs.items()}
        done[step.key] = folder / step.key
        done[step.key].mkdir()
        resolve(step.function)(done[step.key], **step.arguments, **needs)
    return done[step.key]


def _answers(path: Path, images: Any) -> Any:
    session = onnxruntime.InferenceSession(str(path))
    rows = images.astype(np.float32)[:, np.newaxis]
    return np.concatenate([session.run(None, {"image": row})[0] for row in rows])


def _snr(expected: Any, given_: Any) -> float:
    noise = float(((expected.astype(np.float64) - given_) ** 2).sum())
    return 10 * np.log10(float((expected.astype(np.float64) ** 2).sum()) / max(noise, 1e-30))
