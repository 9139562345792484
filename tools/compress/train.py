"""Trains the benchmark's float models, each in a process of its own, and prints their accuracy.

    python tools/compress/train.py [FOLDER] [--only PATTERN]

PATTERN is matched with names like keras/lenet/glyphs. In FOLDER (build/compress) are then

    data/…                     what data.py writes
    MODEL-SET.keras            and MODEL-SET-keras.json: accuracy on the test samples, and so on
    MODEL-SET.safetensors      and MODEL-SET-torch.json; the functions are in torch_models.py

What is there is not trained again. One thread: two that share cores with other work wait for each
other most of the time.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from tools.compress import data  # noqa: E402 - found through the line above

FRAMEWORKS = ("keras", "torch")
MODELS = ("lenet", "ds_cnn", "resnet", "resnet_wide")
KEYS = tuple(f"{f}/{m}/{s}" for s in data.SETS for m in MODELS for f in FRAMEWORKS)
SUFFIX = {"keras": ".keras", "torch": ".safetensors"}

SEED = 0
BATCH = 64
EPOCHS = {"lenet": 8, "ds_cnn": 8, "resnet": 6, "resnet_wide": 4}
TIMES = {"digits": 4, "glyphs": 1}  # more epochs where there are fewer samples
RATE = {"lenet": 1e-3, "ds_cnn": 4e-3, "resnet": 4e-3, "resnet_wide": 4e-3}  # of Adam, at its peak
WARM = 0.2  # of the steps, in which the rate grows; then it falls to zero along a cosine
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}


def place(folder: Path, framework: str, model: str, name: str) -> Path:
    """Of the trained model."""
    return folder / f"{model}-{name}{SUFFIX[framework]}"


def note(folder: Path, framework: str, model: str, name: str) -> Path:
    """Of what is known about it."""
    return folder / f"{model}-{name}-{framework}.json"


def steps(model: str, name: str) -> tuple[int, int]:
    """Epochs, and steps in each. A rest that fills no batch waits for another epoch's order."""
    return EPOCHS[model] * TIMES[name], len(data.load(name, "train")[1]) // BATCH


def rate(step: int, of: int) -> float:
    """Share of the peak rate at a step."""
    warm = WARM * of
    if step < warm:
        return (step + 1) / warm
    return (1 + math.cos(math.pi * (step - warm) / (of - warm))) / 2


def arrays(folder: Path, name: str, layout: str, split: str) -> tuple[Any, Any]:
    import numpy as np

    with np.load(data.path(folder / "data", name, layout, split)) as file:
        return file["x"], file["labels"]


def in_keras(folder: Path, model: str, name: str, out: Path) -> dict[str, Any]:
    import keras
    import numpy as np
    import tensorflow as tf

    from tools.compress import keras_models

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    net = keras_models.build(model, data.CLASSES[name])
    x, labels = arrays(folder, name, "nhwc", "train")
    epochs, each = steps(model, name)
    net.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    draw = np.random.default_rng(SEED)
    for epoch in range(epochs):
        order = draw.permutation(len(x))
        for step in range(each):
            batch = order[step * BATCH : (step + 1) * BATCH]
            net.optimizer.learning_rate = RATE[model] * rate(epoch * each + step, epochs * each)
            net.train_on_batch(x[batch], labels[batch])
    net.save(out)
    x, labels = arrays(folder, name, "nhwc", "test")
    right = int((net.predict(x, verbose=0).argmax(1) == labels).sum())
    parameters = sum(int(np.prod(each.shape)) for each in net.trainable_weights)
    return {"right": right, "samples": len(x), "parameters": parameters}


def in_torch(folder: Path, model: str, name: str, out: Path) -> dict[str, Any]:
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from tools.compress import torch_models

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    net = torch_models.build(model, data.CLASSES[name])
    net.to(memory_format=torch.channels_last)  # half the time
    x, labels = map(torch.from_numpy, arrays(folder, name, "nchw", "train"))
    epochs, each = steps(model, name)
    optimizer = torch.optim.Adam(net.parameters(), RATE[model])
    draw = np.random.default_rng(SEED)
    for epoch in range(epochs):
        order = torch.from_numpy(draw.permutation(len(x)))
        for step in range(each):
            batch = order[step * BATCH : (step + 1) * BATCH]
            for group in optimizer.param_groups:
                group["lr"] = RATE[model] * rate(epoch * each + step, epochs * each)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[batch]), labels[batch]).backward()
            optimizer.step()
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, out)
    x, labels = map(torch.from_numpy, arrays(folder, name, "nchw", "test"))
    net.eval()
    with torch.no_grad():
        right = sum(
            int((net(some).argmax(1) == them).sum())
            for some, them in zip(x.split(500), labels.split(500), strict=True)
        )
    parameters = sum(each.numel() for each in net.parameters())
    return {"right": right, "samples": len(x), "parameters": parameters}


TRAIN = {"keras": in_keras, "torch": in_torch}


def one(folder: Path, key: str) -> None:
    framework, model, name = key.split("/")
    started, used = time.perf_counter(), time.process_time()
    out = place(folder, framework, model, name)
    made = out.with_name(f"part-{out.name}")
    found = TRAIN[framework](folder, model, name, made)
    made.replace(out)
    seconds = {"wall": time.perf_counter() - started, "cpu": time.process_time() - used}
    found |= {key: round(value, 1) for key, value in seconds.items()}
    note(folder, framework, model, name).write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "compress")
    parser.add_argument("--only", default="*", metavar="PATTERN")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    if asked.one:
        one(folder, asked.one)
        return
    data.write(folder / "data")
    keys = [key for key in KEYS if fnmatch.fnmatch(key, asked.only)]
    if not keys:
        sys.exit(f"no model is called {asked.only!r}; there are {', '.join(KEYS)}")
    for key in keys:
        kept = note(folder, *key.split("/"))
        if not (kept.exists() and place(folder, *key.split("/")).exists()):
            command = [sys.executable, __file__, str(folder), "--one", key]
            env = os.environ | ONE_THREAD
            done = subprocess.run(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
            if done.returncode:  # TensorFlow has much to say when all is well, too
                sys.exit(f"{key}: the training ends with {done.returncode}\n{done.stderr}")
        found = json.loads(kept.read_text())
        print(
            f"{key}: {100 * found['right'] / found['samples']:.2f} % of {found['samples']} test "
            f"samples, {found['parameters']:,} parameters, {found['cpu']:.0f} s of CPU",
            flush=True,
        )


if __name__ == "__main__":
    main()
