"""What people do by hand to compress a Keras model: TF-MOT as its own guides show it.

    python tools/compress/by_hand.py [FOLDER] [--only PATTERN]

    float32    TFLiteConverter as it is
    int8       TFLiteConverter after training, with the calibration samples
    prune      pruned, then as int8
    qat        quantization-aware training
    pcqat      pruned, clustered, quantization-aware training that keeps both

FOLDER (build/compress) holds what train.py leaves there; PATTERN is matched with names like
pcqat/lenet/glyphs. The results are FOLDER/by_hand/RECIPE-MODEL-SET.tflite and .json (the figures of
measure.py, what the Keras model answered right after each stage, and seconds). What is there is not
made again. Each in a process of its own, seeded, one thread.

A recipe trains as many epochs as the float model's training took, divided between its stages.

https://www.tensorflow.org/model_optimization/guide/combine/pcqat_example,
https://www.tensorflow.org/model_optimization/guide/pruning/pruning_with_keras,
https://www.tensorflow.org/model_optimization/guide/quantization/training_example
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from tools.compress import data, measure, train  # noqa: E402 - found through the line above

RECIPES = ("float32", "int8", "prune", "qat", "pcqat")
KEYS = tuple(f"{r}/{m}/{s}" for s in data.SETS for m in train.MODELS for r in RECIPES)

SPARSITY = 0.8
MASKS = 20  # times that pruning goes further, over three quarters of its steps
CLUSTERS = 16
RATES = {"prune": 1e-3, "cluster": 1e-4, "qat": 1e-4}  # of Adam, constant as in the guides
SAME = 1e-4  # how far probabilities may be apart after weights were moved


# ------------------------------------------------------------------------- Keras 3 to tf_keras


def dump(model: str, x: str, out: str) -> None:
    """The weights of a .keras file by layer, and what it answers. Runs in a process of its own."""
    import keras
    import numpy as np

    net = keras.models.load_model(model)
    weights = {
        f"{layer.name}/{index}": value
        for layer in net.layers
        for index, value in enumerate(layer.get_weights())
    }
    with np.load(x) as file:
        answers = net.predict(file["x"], verbose=0)
    np.savez(out, answers=answers, **weights)


def moved(folder: Path, model: str, name: str) -> tuple[Any, float]:
    """The trained model in tf_keras, and how far apart the probabilities are at most.

    Raises:
        ValueError: layers or answers are not the same.
    """
    import numpy as np
    import tf_keras

    from tools.compress import keras_models

    x = data.path(folder / "data", name, "nhwc", "calibration")
    out = folder / "by_hand" / f"weights-{model}-{name}-{os.getpid()}.npz"
    source = train.place(folder, "keras", model, name)
    command = [sys.executable, __file__, "--dump", str(source), str(x), str(out)]
    env = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    subprocess.run(command, check=True, env=env)
    with np.load(out) as file:
        weights = {key: file[key] for key in file.files}
    out.unlink()
    answers = weights.pop("answers")
    net = keras_models.build(model, data.CLASSES[name], tf_keras)
    for layer in net.layers:
        count = len(layer.get_weights())
        layer.set_weights([weights.pop(f"{layer.name}/{index}") for index in range(count)])
    with np.load(x) as file:
        apart = float(np.abs(net.predict(file["x"], verbose=0) - answers).max())
    if weights or apart > SAME:
        raise ValueError(f"{model} of {name} in tf_keras: answers {apart} apart, left {[*weights]}")
    return net, apart


# ------------------------------------------------------------------------------------- stages


class Work:
    """One model, its data, and how it is trained and judged."""

    def __init__(self, folder: Path, model: str, name: str) -> None:
        self.right: dict[str, int] = {}  # of the test samples, after each stage
        self.net, self.apart = moved(folder, model, name)
        self.x, self.labels = train.arrays(folder, name, "nhwc", "train")
        self.calibration, _ = train.arrays(folder, name, "nhwc", "calibration")
        self.test = train.arrays(folder, name, "nhwc", "test")
        self.epochs, _ = train.steps(model, name)
        self.judge(self.net, "float32")

    def fit(self, net: Any, stage: str, epochs: int, *callbacks: Any) -> None:
        import tf_keras

        net.compile(tf_keras.optimizers.Adam(RATES[stage]), "sparse_categorical_crossentropy")
        net.fit(self.x, self.labels, train.BATCH, epochs, verbose=0, callbacks=[*callbacks])

    def judge(self, net: Any, stage: str) -> None:
        x, labels = self.test
        self.right[stage] = int((net.predict(x, verbose=0).argmax(1) == labels).sum())

    def pruned(self, epochs: int) -> Any:
        import tensorflow_model_optimization as tfmot

        steps = epochs * -(-len(self.x) // train.BATCH)
        # The masks must change at the last step of the schedule, or it stays short of its end.
        every = max(1, steps * 3 // 4 // MASKS)
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=0.0, final_sparsity=SPARSITY,
            begin_step=0, end_step=every * MASKS, frequency=every,
        )  # fmt: skip
        # The wrappers share the layers of what they wrap.
        net = tfmot.sparsity.keras.prune_low_magnitude(_copy(self.net), pruning_schedule=schedule)
        self.fit(net, "prune", epochs, tfmot.sparsity.keras.UpdatePruningStep())
        net = tfmot.sparsity.keras.strip_pruning(net)
        self.judge(net, "prune")
        return net

    def clustered(self, net: Any, epochs: int) -> Any:
        import tensorflow_model_optimization as tfmot
        from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

        start = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS
        net = cluster.cluster_weights(_copy(net), CLUSTERS, start, preserve_sparsity=True)
        self.fit(net, "cluster", epochs)
        net = tfmot.clustering.keras.strip_clustering(net)
        self.judge(net, "cluster")
        return net

    def quantized(self, net: Any, epochs: int, scheme: Any = None) -> Any:
        import tensorflow_model_optimization as tfmot

        annotated = tfmot.quantization.keras.quantize_annotate_model(_copy(net))
        net = tfmot.quantization.keras.quantize_apply(annotated, *([scheme] if scheme else []))
        self.fit(net, "qat", epochs)
        self.judge(net, "qat")
        return net


def _copy(net: Any) -> Any:
    import tf_keras

    copy = tf_keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    return copy


def _converted(net: Any, *, trained: bool = False, samples: Any = None) -> bytes:
    """Float, or INT8 within: `trained` so, or by the ranges of `samples`. Float outside."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    if trained or samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if samples is not None:
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


# ------------------------------------------------------------------------------------ recipes


def _float32(work: Work) -> bytes:
    return _converted(work.net)


def _int8(work: Work) -> bytes:
    return _converted(work.net, samples=work.calibration)


def _prune(work: Work) -> bytes:
    return _converted(work.pruned(work.epochs), samples=work.calibration)


def _qat(work: Work) -> bytes:
    return _converted(work.quantized(work.net, work.epochs), trained=True)


def _pcqat(work: Work) -> bytes:
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts import (
        cluster_preserve,
    )

    scheme = cluster_preserve.default_8bit_cluster_preserve_quantize_scheme
    last = max(1, work.epochs // 4)  # a quarter clusters, a quarter or what is left quantizes
    first = max(1, work.epochs // 2)
    net = work.clustered(work.pruned(first), last)
    keep = scheme.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
    return _converted(work.quantized(net, work.epochs - first - last, keep), trained=True)


MAKE = {"float32": _float32, "int8": _int8, "prune": _prune, "qat": _qat, "pcqat": _pcqat}


def place(folder: Path, recipe: str, model: str, name: str) -> Path:
    return folder / "by_hand" / f"{recipe}-{model}-{name}.tflite"


def one(folder: Path, key: str) -> None:
    import tensorflow as tf
    import tf_keras

    recipe, model, name = key.split("/")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(train.SEED)
    started, used = time.perf_counter(), time.process_time()
    work = Work(folder, model, name)
    out = place(folder, recipe, model, name)
    out.write_bytes(MAKE[recipe](work))
    seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - used}
    found = measure.measure(out, data.path(folder / "data", name, "nhwc", "test"))
    found |= {"stages": work.right, "apart": work.apart}
    found |= {key: round(value, 1) for key, value in seconds.items()}
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


def said(key: str, found: dict[str, Any]) -> str:
    stages = ", ".join(f"{stage} {right}" for stage, right in found["stages"].items())
    return (
        f"{key}: {100 * found['right'] / found['samples']:.2f} % of {found['samples']} test "
        f"samples ({stages}), {found['bytes']} B, {found['zipped']} B zipped, "
        f"{100 - 100 * found['nonzeros'] / found['weights']:.1f} % of {found['weights']} weights "
        f"zero, at most {found['distinct']} values in a kernel, {found['cpu']:.0f} s of CPU"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "compress")
    parser.add_argument("--only", default="*", metavar="PATTERN")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--dump", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.dump:
        dump(*asked.dump)
        return
    folder = asked.folder.resolve()
    if asked.one:
        one(folder, asked.one)
        return
    keys = [key for key in KEYS if fnmatch.fnmatch(key, asked.only)]
    if not keys:
        sys.exit(f"no result is called {asked.only!r}; there are {', '.join(KEYS)}")
    (folder / "by_hand").mkdir(parents=True, exist_ok=True)
    failed = 0
    for key in keys:
        _, model, name = key.split("/")
        if not train.place(folder, "keras", model, name).exists():
            sys.exit(
                f"{key} needs the trained model: "
                f"python tools/compress/train.py {folder} --only keras/{model}/{name}"
            )
        kept = place(folder, *key.split("/")).with_suffix(".json")
        if not kept.exists():
            command = [sys.executable, __file__, str(folder), "--one", key]
            env = os.environ | train.ONE_THREAD | {"TF_USE_LEGACY_KERAS": "1"}
            done = subprocess.run(
                command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"{key} ends with {done.returncode}\n{done.stderr}", file=sys.stderr)
                failed += 1
                continue
        print(said(key, json.loads(kept.read_text())), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
