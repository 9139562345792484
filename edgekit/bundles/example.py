#!/usr/bin/env python3
"""Run a model of this bundle, with the preprocessing that its manifest states.

    python3 example.py INPUT [--variant NAME] [--threads N]

INPUT is a picture (needs Pillow) or a .npy file with one sample, without the batch dimension.
Needs Python 3.8, numpy, and one of: ai-edge-litert, tflite-runtime, tensorflow. In a program:

    from example import Model
    model = Model("path/of/the/bundle")
    scores = model.predict(sample)      # one array an output, by name, as real numbers
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
Array = Any  # a numpy.ndarray

RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow.lite")
RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
FRACTION_BITS = 11


class Model:
    """One artifact of the bundle, loaded.

    `variant` is its name in the manifest; the manifest's default if not given.
    """

    def __init__(self, folder: Any = HERE, variant: str = "", threads: int = 1) -> None:
        folder = Path(folder)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        variant = variant or manifest["default"]
        known = {artifact["variant"]: artifact for artifact in manifest["artifacts"]}
        if variant not in known:
            raise SystemExit(f"there is no variant {variant!r} here; known: {', '.join(known)}")
        self.artifact = known[variant]
        path = folder / self.artifact["files"][0]
        check_digest(path, self.artifact["files"][0], manifest)
        self.inputs = self.artifact["signature"]["inputs"]
        self.outputs = self.artifact["signature"]["outputs"]
        self.labels = []
        if self.artifact["labels"]:
            lines = (folder / self.artifact["labels"]).read_text(encoding="utf-8")
            self.labels = lines.split("\n")[:-1]
        interpreter = find_runtime()(model_path=str(path), num_threads=threads)
        name = self.artifact["signature"]["name"]
        self.run = (
            interpreter.get_signature_runner(name)
            if name in interpreter.get_signature_list()
            else ByTensorName(interpreter)
        )

    def predict(self, *samples: Any) -> dict[str, Array]:
        """What the model answers: real numbers by output name, the batch dimension included.

        `samples` has one array an input, in the manifest's order, without the batch dimension and
        before any preprocessing. The preprocessing is the first input's.
        """
        if len(samples) != len(self.inputs):
            raise ValueError(f"the model has {len(self.inputs)} inputs, not {len(samples)}")
        operations = self.artifact["preprocessing"]["operations"]
        fed = {}
        for index, (spec, sample) in enumerate(zip(self.inputs, samples)):  # noqa: B905 - 3.8
            array = np.asarray(sample)
            if index == 0:
                array = preprocess(operations, array)
            fed[spec["name"]] = to_input(spec, array)
        answers = self.run(**fed)
        return {spec["name"]: to_real(spec, answers[spec["name"]]) for spec in self.outputs}


class ByTensorName:
    """Called like a signature runner, for a file without signatures."""

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        interpreter.allocate_tensors()

    def __call__(self, **fed: Array) -> dict[str, Array]:
        for detail in self.interpreter.get_input_details():
            self.interpreter.set_tensor(detail["index"], fed[detail["name"]])
        self.interpreter.invoke()
        details = self.interpreter.get_output_details()
        return {d["name"]: self.interpreter.get_tensor(d["index"]) for d in details}


def find_runtime() -> Any:
    """The Interpreter class of the first runtime that is installed."""
    for name in RUNTIMES:
        try:
            return importlib.import_module(name).Interpreter
        except ModuleNotFoundError as exc:
            # Only its absence: a runtime that is there and broken is to say so.
            if exc.name is None or not name.startswith(exc.name.partition(".")[0]):
                raise
    raise SystemExit("no runtime is installed here; run: python3 -m pip install ai-edge-litert")


def check_digest(path: Path, listed_as: str, manifest: dict[str, Any]) -> None:
    """Refuse a model file that is not the one the manifest was written for."""
    wanted = {file["path"]: file["sha256"] for file in manifest["files"]}
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            total.update(piece)
    if total.hexdigest() != wanted.get(listed_as):
        raise SystemExit(f"{path} is not the file that the manifest lists")


def to_input(spec: dict[str, Any], array: Array) -> Array:
    """The batch dimension in front, and quantized where the model takes integers for reals."""
    quantization = spec["quantization"]
    if quantization and array.dtype != spec["dtype"]:
        scale, zero_point = quantization["scale"][0], quantization["zero_point"][0]
        array = quantize(array, scale, zero_point, spec["dtype"])
    if array.dtype == np.float64 and spec["dtype"] == "float32":  # Python's floats
        array = array.astype(np.float32)
    if array.dtype != spec["dtype"] or [1, *array.shape] != spec["shape"]:
        raise ValueError(
            f"input {spec['name']!r} takes {spec['dtype']} {spec['shape'][1:]}, "
            f"not {array.dtype} {list(array.shape)}"
        )
    return np.ascontiguousarray(array[None])


def to_real(spec: dict[str, Any], stored: Array) -> Array:
    """scale × (stored − zero_point) in float32 where the output is quantized."""
    quantization = spec["quantization"]
    if not quantization or stored.dtype.kind == "f":
        return stored
    shape = [1] * stored.ndim
    if quantization["axis"] is not None:
        shape[quantization["axis"]] = -1
    zero_point = np.array(quantization["zero_point"], np.int64).reshape(shape)
    scale = np.array(quantization["scale"], np.float32).reshape(shape)
    return (stored.astype(np.int64) - zero_point).astype(np.float32) * scale


def preprocess(operations: list[dict[str, Any]], array: Array) -> Array:
    """The manifest's operations, in order; pictures are RGB, uint8, (height, width, 3)."""
    if operations and array.dtype == np.float64:
        array = array.astype(np.float32)
    first = False  # whether the channels come first
    for operation in operations:
        name = operation["op"]
        is_picture = array.ndim == 3 and array.dtype == np.uint8 and not first
        if name in ("resize", "resize-short-side", "center-crop", "color") and not is_picture:
            raise ValueError(f"{name} needs a picture, uint8, (height, width, channels)")
        if name == "resize":
            array = resize(array, operation["height"], operation["width"], operation["method"])
        elif name == "resize-short-side":
            height, width = short_side(array.shape[0], array.shape[1], operation["size"])
            array = resize(array, height, width, operation["method"])
        elif name == "center-crop":
            array = crop(array, operation["height"], operation["width"])
        elif name == "color":
            array = array[:, :, ::-1] if operation["to"] == "bgr" else gray(array)
        elif name == "normalize":
            array = normalize(array, operation["mean"], operation["std"], first)
        elif name == "layout":
            array, first = array.transpose(2, 0, 1), True
        elif name == "cast":
            array = cast(array, operation["dtype"])
        elif name == "quantize":
            zero_point, dtype = operation["zero_point"], operation["dtype"]
            array = quantize(array, operation["scale"], zero_point, dtype)
        else:
            raise ValueError(f"this file does not know the operation {name!r}")
    return array


def resize(image: Array, height: int, width: int, method: str) -> Array:
    """To height × width pixels; half-pixel centres, 11 fractional bits, all in integers."""
    if method == "nearest":
        rows, columns = nearest(image.shape[0], height), nearest(image.shape[1], width)
        return image[rows][:, columns]
    one = np.int32(1 << FRACTION_BITS)
    y, y_next, g = neighbours(image.shape[0], height)
    x, x_next, f = neighbours(image.shape[1], width)
    f, g = f[None, :, None], g[:, None, None]
    row, next_row = image[y].astype(np.int32), image[y_next].astype(np.int32)
    above = row[:, x] * (one - f) + row[:, x_next] * f
    below = next_row[:, x] * (one - f) + next_row[:, x_next] * f
    half = np.int32(1 << (2 * FRACTION_BITS - 1))
    blended = above * (one - g) + below * g + half
    return (blended >> np.int32(2 * FRACTION_BITS)).astype(np.uint8)


def nearest(size: int, wanted: int) -> Array:
    o = np.arange(wanted, dtype=np.int64)
    return np.minimum((2 * o + 1) * size // (2 * wanted), size - 1)


def neighbours(size: int, wanted: int) -> tuple[Array, Array, Array]:
    """For each of `wanted` positions: the pixel before, the one after, the weight of the latter."""
    o = np.arange(wanted, dtype=np.int64)
    p = ((((2 * o + 1) * size - wanted) << FRACTION_BITS) // (2 * wanted)).clip(0)
    low = p >> FRACTION_BITS
    return low, np.minimum(low + 1, size - 1), (p & ((1 << FRACTION_BITS) - 1)).astype(np.int32)


def short_side(height: int, width: int, size: int) -> tuple[int, int]:
    short, long = min(height, width), max(height, width)
    other = max(1, (2 * long * size + short) // (2 * short))
    return (size, other) if height <= width else (other, size)


def crop(image: Array, height: int, width: int) -> Array:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise ValueError(f"the picture is smaller than {height} × {width}")
    return image[top : top + height, left : left + width]


def gray(image: Array) -> Array:
    weights = np.array([19595, 38470, 7471], np.int32)
    luma = (image.astype(np.int32) * weights).sum(axis=2, keepdims=True)
    return ((luma + (1 << 15)) >> 16).astype(np.uint8)


def normalize(array: Array, mean: Any, std: Any, first: bool) -> Array:
    shape = (-1, 1, 1) if first else (-1,)
    mean = np.array(mean, np.float32).reshape(shape)
    std = np.array(std, np.float32).reshape(shape)
    return ((array.astype(np.float32) - mean) / std).reshape(array.shape)


def cast(array: Array, dtype: str) -> Array:
    if dtype == "float32":
        return array.astype(np.float32)
    low, high = RANGES[dtype]
    wide = np.rint(array) if array.dtype.kind == "f" else array.astype(np.int64)
    return np.clip(wide, low, high).astype(dtype)


def quantize(array: Array, scale: float, zero_point: int, dtype: str) -> Array:
    """round-half-even(x / scale) + zero_point, saturated."""
    low, high = RANGES[dtype]
    steps = np.rint(array.astype(np.float32) / np.float32(scale)).clip(-(2.0**30), 2.0**30)
    return (steps.astype(np.int64) + zero_point).clip(low, high).astype(dtype)


def read_sample(path: str) -> Array:
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False)
    try:
        image = importlib.import_module("PIL.Image")
    except ModuleNotFoundError:
        raise SystemExit("pictures need Pillow; run: python3 -m pip install pillow") from None
    return np.asarray(image.open(path).convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a model of this bundle on one sample.")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="a picture or a .npy file")
    parser.add_argument("--variant", default="", help="the manifest's default if not given")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = Model(variant=options.variant, threads=options.threads)
    for name, values in model.predict(*map(read_sample, options.inputs)).items():
        scores = values.reshape(-1)
        sys.stdout.write(f"{name} {values.dtype} {list(values.shape)}\n")
        for index in np.argsort(-scores, kind="stable")[:5]:
            known = len(model.labels) == scores.size
            label = f"  {model.labels[index]}" if known else ""
            sys.stdout.write(f"  [{index}] {scores[index]:.6g}{label}\n")


if __name__ == "__main__":
    main()
