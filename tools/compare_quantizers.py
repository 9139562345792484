"""ai-edge-quantizer against TFLiteConverter, variant by variant, on different architectures.

    python tools/compare_quantizers.py [--old-runtime PYTHON] [--markdown FILE] [MODEL …]

For each model and variant: does the file load and run in this LiteRT (and, with --old-runtime, in
the tflite-runtime of that interpreter), its size, the time to make it, the signal-to-noise ratio
of its outputs against the Keras model on data that calibration has not seen, and its latency. The
two files of a pair are timed alternately, and the ratio is that of the medians of such pairs.
Inputs are scikit-learn's handwritten digits; the small models are trained on them first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402

from edgekit.core.dataset import DataSet  # noqa: E402
from edgekit.core.errors import EdgekitError  # noqa: E402
from edgekit.core.recipe import BUILTIN, Recipe  # noqa: E402
from edgekit.export import tflite_calibrate, tflite_float, tflite_quantize  # noqa: E402
from edgekit.sources.keras import KerasSource  # noqa: E402
from edgekit.sources.keras_worker import load  # noqa: E402

SAMPLES = 100
VARIANTS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")

_LOADS = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
for path in sys.argv[1:]:
    try:
        run = Interpreter(model_path=path, num_threads=2)
        run.allocate_tensors()
        for detail in run.get_input_details():
            run.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        run.invoke()
        good = all(np.isfinite(run.get_tensor(o["index"])).all() for o in run.get_output_details())
        print("yes" if good else "NaN")
    except (RuntimeError, ValueError) as exc:
        print("no: " + str(exc).splitlines()[0][:90])
"""


# ------------------------------------------------------------------------------- models


def digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16.0).astype(np.float32), data.target


def _trained(model: Any, images: Any, labels: Any) -> Any:
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    model.fit(images[:1300], labels[:1300], epochs=12, batch_size=32, verbose=0)
    return model


def cnn() -> tuple[Any, Any]:
    from keras import Input, Sequential, layers

    images, labels = digits()
    images = images[..., np.newaxis]
    model = Sequential(
        [
            Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.SeparableConv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    return _trained(model, images, labels), images


def lstm() -> tuple[Any, Any]:
    from keras import Input, Sequential, layers

    images, labels = digits()
    model = Sequential(
        [Input((8, 8), name="rows"), layers.LSTM(64), layers.Dense(64, "relu"), layers.Dense(10)]
    )
    return _trained(model, images, labels), images


def transformer() -> tuple[Any, Any]:
    from keras import Input, Model, layers

    images, labels = digits()
    rows = Input((8, 8), name="rows")
    x = layers.Dense(64)(rows)
    for _ in range(2):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 16)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(64)(layers.Dense(128, "gelu")(x)))
    x = layers.Dense(10)(layers.GlobalAveragePooling1D()(x))
    return _trained(Model(rows, x), images, labels), images


def _pictures(size: int) -> Any:
    """Digits as pictures of that size with three channels, in -1 … 1."""
    images, _ = digits()
    factor = size // 8
    large = np.kron(images[: SAMPLES * 2], np.ones((1, factor, factor), np.float32))
    return np.repeat(large[..., np.newaxis], 3, axis=-1) * 2 - 1


def _settled(model: Any, images: Any) -> Any:
    """Let batch normalization see the data: untrained, its activations would die out."""
    for _ in range(40):
        model(images[:16], training=True)
    return model


def mobilenet_v2() -> tuple[Any, Any]:
    from keras.applications import MobileNetV2

    images = _pictures(224)
    return _settled(MobileNetV2(weights=None, classifier_activation=None), images), images


def mobilenet_v3() -> tuple[Any, Any]:
    from keras.applications import MobileNetV3Small

    images = _pictures(96)
    model = MobileNetV3Small(
        weights=None, input_shape=(96, 96, 3), classifier_activation=None,
        include_preprocessing=False,
    )  # fmt: skip
    return _settled(model, images), images


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "MobileNetV2": mobilenet_v2,
    "MobileNetV3Small": mobilenet_v3,
    "CNN": cnn,
    "LSTM": lstm,
    "Transformer": transformer,
}


# --------------------------------------------------------------------------- two ways


@dataclass
class Made:
    """A file, or why there is none."""

    path: Path | None
    seconds: float
    error: str = ""


def with_tensorflow(model: Any, recipe: Recipe, calibration: Any, path: Path) -> Made:
    import tensorflow as tf

    started = time.perf_counter()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if recipe.quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if recipe.needs_calibration:
        converter.representative_dataset = lambda: ([row[np.newaxis]] for row in calibration)
        integer = recipe.quantization == "int8"
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
            if integer
            else tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        if recipe.io == "integer":
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
    try:
        path.write_bytes(converter.convert())
    except Exception as exc:  # noqa: BLE001 - whatever it is goes into the table
        return Made(None, time.perf_counter() - started, str(tflite_float.explained(exc).message))
    return Made(path, time.perf_counter() - started)


class Ours:
    """edgekit's functions in this process; the float file and the ranges are made once."""

    def __init__(self, saved: Path, calibration: Any, folder: Path) -> None:
        self.folder = folder
        self.model = KerasSource().open(str(saved), trust_code=False, shapes={})
        load(self.model)
        self.shared: dict[str, tuple[Path, float]] = {}
        np.save(folder / "0.npy", calibration)
        self.data = DataSet(
            folder=str(folder), inputs=("",), count=len(calibration), digest="", origin="",
            choice="",
        )  # fmt: skip

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        if name not in self.shared:
            out = self.folder / name
            out.mkdir()
            started = time.perf_counter()
            make(out)
            self.shared[name] = (out, time.perf_counter() - started)
        return self.shared[name][0]

    def make(self, recipe: Recipe) -> Made:
        started = time.perf_counter()
        try:
            handle = self.model.to_json()
            base = self._once("float", lambda out: tflite_float.convert(out, model=handle))
            if recipe.quantization == "none":
                return Made(base / tflite_float.FILE, self.shared["float"][1])
            ranges = None
            started = time.perf_counter()
            if recipe.needs_calibration:
                samples = self.data.to_json()
                ranges = self._once(
                    "ranges",
                    lambda out: tflite_calibrate.calibrate(out, samples=samples, float=str(base)),
                )
            out = self.folder / recipe.name
            out.mkdir()
            tflite_quantize.quantize(
                out,
                recipe=recipe.to_json() | {},
                float=str(base),
                ranges=None if ranges is None else str(ranges),
            )
        except EdgekitError as exc:
            return Made(None, time.perf_counter() - started, exc.message)
        return Made(out / tflite_quantize.FILE, time.perf_counter() - started)


# -------------------------------------------------------------------------- measuring


class Runner:
    """A file in this LiteRT, with real numbers in and out whatever its types are."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.run = Interpreter(model_path=str(path), num_threads=1)
        self.run.allocate_tensors()
        self.input = self.run.get_input_details()[0]
        self.output = self.run.get_output_details()[0]

    def __call__(self, row: Any) -> Any:
        scale, zero = self.input["quantization"]
        kind = self.input["dtype"]
        if kind != np.float32:
            bounds = np.iinfo(kind)
            row = np.clip(np.round(row / scale) + zero, bounds.min, bounds.max).astype(kind)
        self.run.set_tensor(self.input["index"], row[np.newaxis])
        self.run.invoke()
        answer = self.run.get_tensor(self.output["index"])[0].astype(np.float64)
        scale, zero = self.output["quantization"]
        return answer if self.output["dtype"] == np.float32 else (answer - zero) * scale

    def seconds(self, count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            self.run.invoke()
        return (time.perf_counter() - started) / count


def snr_db(reference: Any, answer: Any) -> float:
    noise = float(np.sum((reference - answer) ** 2))
    return float("inf") if noise == 0 else 10 * np.log10(float(np.sum(reference**2)) / noise)


def latency(ours: Runner, theirs: Runner) -> tuple[float, float, float]:
    """Medians in ms and the median ratio of alternate pairs, each about 10 ms long or one run."""
    count = max(1, int(0.01 / max(theirs.seconds(3), 1e-7)))
    pairs = []
    for index in range(31):
        if index % 2:
            pairs.append((ours.seconds(count), theirs.seconds(count)))
        else:
            second = theirs.seconds(count)
            pairs.append((ours.seconds(count), second))
    mine, other = zip(*pairs, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    return statistics.median(mine) * 1e3, statistics.median(other) * 1e3, ratio


def old_loads(python: str, paths: list[Path]) -> list[str]:
    found = []
    for path in paths:  # one process each: a crash must not take the others along
        done = subprocess.run(
            [python, "-c", _LOADS, str(path)], capture_output=True, text=True, check=False
        )
        found.append(done.stdout.strip() or f"crashed ({done.returncode})")
    return found


# ------------------------------------------------------------------------------ report


def compare(name: str, old_python: str | None) -> list[list[str]]:
    import keras

    keras.utils.set_random_seed(0)
    model, data = MODELS[name]()
    calibration, held_out = data[:SAMPLES], data[-50:]
    reference = model.predict(held_out, verbose=0).astype(np.float64)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        saved = folder / "model.keras"
        model.save(saved)
        ours = Ours(saved, calibration, folder)
        for variant in VARIANTS:
            recipe = BUILTIN[variant]
            pair = {
                "edgekit": ours.make(recipe),
                "TFLiteConverter": with_tensorflow(
                    model, recipe, calibration, folder / f"{variant}.tflite"
                ),
            }
            rows += table_rows(name, variant, pair, held_out, reference, old_python)
            for row in rows[-2:]:
                print(" | ".join(row), flush=True)
    return rows


def table_rows(
    name: str,
    variant: str,
    pair: dict[str, Made],
    held_out: Any,
    reference: Any,
    old_python: str | None,
) -> list[list[str]]:
    rows, runners = [], {}
    for way, made in pair.items():
        row = [name, variant, way]
        if made.path is None:
            rows.append([*row, f"not made: {made.error[:90]}", "", "", "", "", ""])
            continue
        old = old_loads(old_python, [made.path])[0] if old_python else ""
        size = f"{made.path.stat().st_size / 1e3:.1f}"
        try:
            runners[way] = run = Runner(made.path)
            answers = np.stack([run(row_in) for row_in in held_out])
            loads, quality = "yes", f"{snr_db(reference, answers):.1f}"
        except (RuntimeError, ValueError) as exc:
            loads, quality = "no: " + str(exc).splitlines()[0][:90], ""
            runners.pop(way, None)
        rows.append([*row, loads, old, size, f"{made.seconds:.2f}", quality, ""])
    if len(runners) == 2:
        mine, other, ratio = latency(runners["edgekit"], runners["TFLiteConverter"])
        rows[0][-1] = f"{mine:.3g} (×{ratio:.2f})"
        rows[1][-1] = f"{other:.3g}"
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--old-runtime", metavar="PYTHON", help="one that has tflite-runtime")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    wanted = parser.parse_args()
    rows = []
    for name in wanted.models or MODELS:
        rows += compare(name, wanted.old_runtime)
    head = ["model", "variant", "way", "runs in LiteRT", "in tflite-runtime 2.14", "kB",
            "made in s", "SNR dB", "latency ms"]  # fmt: skip
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    if wanted.markdown:
        wanted.markdown.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
