"""A training that may be killed: ``python -m tests.compress.killed KIND FOLDER [WORDS]``.

KIND is arrays, keras3, keras2 or torch. With WORDS, this process ends itself by SIGKILL when the
training tells them. Without, it goes on with what FOLDER holds, trains once more from the beginning
elsewhere, and prints whether both came to the same weights.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.compress import prune
from edgekit.compress import training as loop
from edgekit.compress.training import Samples, Trainer
from edgekit.core.compression import History, Training
from tests.compress.arrays import ArrayNet, data_set

words: list[str] = []


def listen(die: str) -> None:
    def tell(text: str) -> None:
        words.append(text)
        if die and text.startswith(die):
            os.kill(os.getpid(), signal.SIGKILL)

    loop.tell = tell


def open_net(kind: str, folder: Path) -> Any:
    if kind == "arrays":
        return ArrayNet({"a": np.random.default_rng(5).standard_normal((8, 3))})
    from tests.compress import nets

    return nets.opened(kind, "vector", folder).net


def trained(kind: str, folder: Path, name: str) -> tuple[dict[str, Any], History]:
    """The net's numbers and its history after a pruning that trains."""
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((40, 8)).astype(np.float32)
    labels = draw.integers(0, 3, 40)
    net = open_net(kind, folder)
    data = folder / f"data-{name}-{os.getpid()}"
    samples = Samples(data_set(data, inputs, labels), net.live)
    settings = Training(epochs=6, batch=4, learning_rate=0.02, seed=3)
    trainer = Trainer("prune", net, samples, settings, folder / name)
    prune.Prune(sparsity=0.5).apply(net, trainer)
    assert trainer.history is not None
    return net.state(), trainer.history.model_copy(update={"seconds": 0.0})


def main(kind: str, folder: Path, die: str = "") -> None:
    listen(die)
    prune.UPDATES = 5  # fewer than steps: between two of them the mask is one from before
    one, first = trained(kind, folder, "training")
    said = list(words)
    other, second = trained(kind, folder, "again")
    same = {name: bool((values == other[name]).all()) for name, values in one.items()}
    apart = max(float(np.abs(values - other[name]).max()) for name, values in one.items())
    answer = {
        "words": said,
        "same": all(same.values()),
        "differ": sorted(name for name in same if not same[name]),
        "apart": apart,
        "histories": [first.to_json(), second.to_json()],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
