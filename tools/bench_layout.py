"""A step of PyTorch's training with images channels last in memory, by one in the usual order.

    python tools/bench_layout.py

The benchmark's models (tools/compress/torch_models.py) as edgekit trains them, plainly and with
rounding; 64 images a step, one core. Both orders take turns in one process; the ratio is the median
over the turns, of the thread's CPU time, with its quartiles. The first order is what training takes
on a CPU; `TorchNet._fast_order` tells when not.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before edgekit counts the cores

import numpy as np  # noqa: E402 - after the two lines above

from edgekit.compress.net import Batch, Loss  # noqa: E402
from edgekit.compress.qat import QuantizeAware  # noqa: E402
from edgekit.compress.torch_net import TorchNet  # noqa: E402
from edgekit.compress.torch_qat import RoundingTorchNet  # noqa: E402
from edgekit.core.compression import Training  # noqa: E402
from tools.compress import data, torch_models  # noqa: E402

MODELS = ("lenet", "ds_cnn", "resnet", "resnet_wide")
TURNS = 15
IMAGES = data.glyphs(64, 0)


def net(name: str, *, rounds: bool) -> Any:
    module = torch_models.build(name, data.CLASSES["glyphs"])
    # With the strides of that order, too, which one channel leaves open and operators go by.
    x = np.array(IMAGES[0].tolist(), np.float32).reshape(-1, 1, data.SIDE, data.SIDE)
    import torch

    live = SimpleNamespace(module=module, example=((torch.from_numpy(x[:2]),), {}), edits=[])
    live.signature = live.take = live.save = None
    live.call = lambda inputs, training: [live.module.train(training)(*inputs)]
    plain = TorchNet(live)
    if not rounds:
        return plain, x
    found = RoundingTorchNet(plain, QuantizeAware(), [x[:2]])
    found.calibrate([x])
    return found, x


def compare(name: str, *, rounds: bool) -> str:
    (last, x), (usual, _) = net(name, rounds=rounds), net(name, rounds=rounds)
    batch = Batch((x,), IMAGES[1])

    def step(learner: Any) -> float:
        started = time.thread_time()
        learner.step(batch, 0.001)
        return time.thread_time() - started

    with last.placed(Training(device="cpu")):
        learners = [each.learner(Training(), Loss("classes", 0, 1)) for each in (last, usual)]
        for learner in learners:
            step(learner)
        pairs = [[step(learner) for learner in learners] for _ in range(TURNS)]
        kept = last._channels_last
    low, middle, high = statistics.quantiles([mine / other for mine, other in pairs])
    other = 1000 * statistics.median(other for _, other in pairs)
    how = "with rounding" if rounds else "plain"
    said = "" if kept else "; it counts on the usual order, so both are that"
    return f"{name}, {how}: x{middle:.2f} ({low:.2f} to {high:.2f}) of {other:.0f} ms{said}"


def main() -> None:
    for rounds in (False, True):
        for name in MODELS:
            print(compare(name, rounds=rounds), flush=True)


if __name__ == "__main__":
    main()
