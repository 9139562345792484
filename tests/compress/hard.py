"""A case that static INT8 cannot do: handwritten digits by a network of depthwise-separable
convolutions whose channels have widely different ranges.

The network is trained as usual, then each channel behind a ReLU is multiplied by a number of its
own and the next kernel divided by it, which changes nothing but for who rounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.compress import technique
from edgekit.compress.net import Net
from edgekit.compress.training import Samples, Trainer
from edgekit.core.compression import PassSpec, Training
from edgekit.core.dataset import DataSet
from edgekit.core.files import sha256_file
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Recipe
from edgekit.data.arrays import read
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize

SPREAD = 2.5  # of the logarithms of the channels' factors, in each direction
CHANNELS = (16, 16, 24, 24, 32, 32)  # behind each ReLU but the last
TRAINED, CALIBRATED = 1000, 1100  # where the training samples and those for calibration end
MOST_APART = 0.003  # of the share of right answers


def digits(*, first: bool = False) -> tuple[Any, Any]:
    """All images (count, 8, 8, 1), or channels first, and labels, in an order of chance."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = (found.images / 16).astype(np.float32)[order]
    return images[:, None] if first else images[..., None], found.target[order].astype(np.int64)


def factors() -> list[Any]:
    draw = np.random.default_rng(0)
    return [np.exp(draw.uniform(-SPREAD, SPREAD, n)).astype(np.float32) for n in CHANNELS]


def data_set(folder: Path, images: Any, labels: Any) -> DataSet:
    folder.mkdir()
    path = folder / "data.npz"
    np.savez(path, x=images, labels=labels)
    made = read(folder, str(path), path.name, Preprocessing().to_json(), None, sha256_file(path))
    return DataSet.from_json({**made["dataset"], "folder": str(folder)})


def passed(net: Net, data: DataSet, folder: Path, *passes: PassSpec, **training: Any) -> list[str]:
    """Do the passes one after the other; the notes of the last."""
    done: list[Any] = []
    notes: list[str] = []
    for spec in passes:
        wanted = technique(spec, "test")
        holds = [hold for each in done if (hold := each.hold(net)) is not None]
        samples, settings = Samples(data, net.live), Training(**training)
        trainer = Trainer(spec.name, net, samples, settings, folder / "training", holds)
        notes = wanted.apply(net, trainer)
        done.append(wanted)
    return notes


def integers(float_file: Path, calibration: DataSet, out: Path) -> Path:
    """The INT8 file that edgekit's exporter makes of a float one, ``model.tflite`` in a folder."""
    ranges, made = out / "ranges", out / "made"
    for each in (ranges, made):
        each.mkdir(parents=True)
    folder = str(float_file.parent)
    calibrate(ranges, samples=calibration.to_json(), float=folder)
    recipe = Recipe.from_json({"name": "int8", "quantization": "int8"})
    quantize(made, recipe=recipe.to_json(), float=folder, ranges=str(ranges))
    return made / "model.tflite"


def right(path: Path, images: Any, labels: Any) -> float:
    """The share of right answers of a file that LiteRT runs."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path), num_threads=1)
    run.allocate_tensors()
    taken, given = run.get_input_details()[0], run.get_output_details()[0]
    count = 0
    for image, label in zip(images, labels, strict=True):
        run.set_tensor(taken["index"], image[None])
        run.invoke()
        count += int(run.get_tensor(given["index"]).argmax() == label)
    return count / len(labels)


def net_right(net: Net, images: Any, labels: Any) -> float:
    """The same of a net."""
    scores = net.predict(net.live.take([images]))[0]
    return float((scores.argmax(axis=-1) == labels).mean())
