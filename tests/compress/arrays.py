"""A double of a net: named numpy arrays and a tiny training by numpy, so that no framework starts.

`ArrayNet` keeps to `edgekit.compress.net.Net`; tests/contracts/net.py holds the real ones to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.compress.net import Batch, Kind, Loss, Weight
from edgekit.core.compression import Training
from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.tensor import Signature, TensorSpec


class ArrayLive:
    """Of a `LiveModel` what a training asks for."""

    edits: list[dict[str, Any]] = []  # noqa: RUF012  (the protocol's)

    def __init__(self, inputs: int, outputs: int) -> None:
        self.module = None
        self.signature = Signature(
            inputs=(TensorSpec(name="x", shape=(1, inputs), dtype="float32"),),
            outputs=(TensorSpec(name="y", shape=(1, outputs), dtype="float32"),),
        )

    def take(self, inputs: Sequence[Any]) -> list[Any]:
        return list(inputs)


class ArrayNet:
    """Double: kernels by name. Trained, its first is that of a linear model, by plain gradients."""

    framework = "numpy"
    cores = 1

    def __init__(
        self, kernels: Mapping[str, Any], axis: int = -1, kind: Kind = "dense", inner: Any = None
    ) -> None:
        self.arrays = {name: np.array(values, np.float32) for name, values in kernels.items()}
        self._axis, self._kind, self._inner = axis, kind, inner
        first = next(iter(self.arrays.values()))
        self.live: Any = ArrayLive(first.shape[0], first.shape[-1])
        self.noise = np.random.default_rng(0)

    def weights(self) -> dict[str, Weight]:
        return {
            name: Weight(
                name,
                name.rpartition("/")[0] or name,
                self._kind,
                values.shape,
                self._axis % values.ndim,
                self._inner,
            )
            for name, values in self.arrays.items()
        }

    def get(self, name: str) -> Any:
        return self.arrays[name].copy()

    def put(self, name: str, values: Any) -> None:
        assert values.shape == self.arrays[name].shape
        self.arrays[name] = np.array(values, np.float32)

    @property
    def kernel(self) -> Any:
        return next(iter(self.arrays.values()))

    def predict(self, inputs: Sequence[Any]) -> list[Any]:
        return [inputs[0] @ self.kernel]

    def state(self) -> dict[str, Any]:
        return {name: values.copy() for name, values in self.arrays.items()}

    def restore(self, state: dict[str, Any]) -> None:
        self.arrays = {name: np.array(state[name], np.float32) for name in self.arrays}

    def seed(self, seed: int) -> None:
        self.noise = np.random.default_rng(seed)

    def placed(self, training: Training) -> AbstractContextManager[str]:
        return nullcontext("")

    def learner(self, training: Training, loss: Loss) -> ArrayLearner:
        return ArrayLearner(self, loss)


class ArrayLearner:
    """Momentum on the mean squared error, class ids as one-hot numbers, with noise as of dropout.

    `losses`, where given, are what it says of what was held back, one an epoch.
    """

    losses: list[float] = []  # noqa: RUF012

    def __init__(self, net: ArrayNet, loss: Loss) -> None:
        self.net, self.kind = net, loss.kind
        self.speed = np.zeros_like(net.kernel)
        self.said = list(self.losses)

    def _apart(self, batch: Batch) -> Any:
        mine = self.net.predict(batch.inputs)[0]
        wanted = batch.targets
        if self.kind == "classes":
            wanted = np.eye(mine.shape[1], dtype=np.float32)[wanted]
        return mine - wanted.reshape(mine.shape)

    def step(self, batch: Batch, rate: float) -> float:
        apart = self._apart(batch)
        gradient = batch.inputs[0].T @ apart / len(apart)
        gradient += 0.01 * self.net.noise.standard_normal(gradient.shape, dtype=np.float32)
        self.speed = np.float32(0.9) * self.speed + gradient
        name = next(iter(self.net.arrays))
        self.net.put(name, self.net.kernel - np.float32(rate) * self.speed)
        return float(np.square(apart).mean())

    def loss(self, batch: Batch) -> float:
        return self.said.pop(0) if self.said else float(np.square(self._apart(batch)).mean())

    def state(self) -> dict[str, Any]:
        return {"speed": self.speed}

    def restore(self, state: dict[str, Any]) -> None:
        self.speed = state["speed"]


def data_set(folder: Path, inputs: Any, targets: Any = None) -> DataSet:
    """A set on disk of one nameless input; whole numbers as targets are labels."""
    folder.mkdir(parents=True)
    np.save(folder / "0.npy", inputs)
    more: dict[str, Any] = {}
    if targets is not None and targets.dtype.kind in "iu":
        np.save(folder / "labels.npy", targets)
        more["labelled"] = True
    elif targets is not None:
        np.save(folder / "targets.npy", targets)
        more["target"] = ArrayFacts(
            dtype=str(targets.dtype),
            shape=targets.shape[1:],
            minimum=float(targets.min()),
            maximum=float(targets.max()),
        )
    return DataSet(
        folder=str(folder),
        inputs=("",),
        count=len(inputs),
        digest="0" * 64,
        origin="train.npz",
        choice="all",
        **more,
    )
