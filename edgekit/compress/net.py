"""A model as techniques see it: named weights as arrays, the same for every framework."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgekit.core.compression import Training
from edgekit.core.errors import UsageError
from edgekit.core.model import Model
from edgekit.core.protocols import LiveModel
from edgekit.core.quantize import names_near
from edgekit.core.registry import resolve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float32]

Kind = Literal["dense", "conv", "depthwise", "transposed", "recurrent", "embedding"]


@dataclass(frozen=True)
class Weight:
    """A kernel: what is multiplied with activations; biases and norms are none.

    Attributes:
        name: of the tensor ("features.0.weight", "conv2d/kernel").
        layer: the user's name of the layer.
        shape: as the framework has it.
        axis: of the output channels; integers get a scale each along it.
    """

    name: str
    layer: str
    kind: Kind
    shape: tuple[int, ...]
    axis: int


class Learner(Protocol):
    """One training of a net: an optimizer and a loss."""

    def step(self, batch: Batch, rate: float) -> float:
        """Take one step at that learning rate; the loss before it."""

    def loss(self, batch: Batch) -> float:
        """The mean loss over the batch, nothing trained."""

    def gradients(self, batch: Batch) -> dict[int, Array]:
        """Of the mean loss over the batch, by the `id` of each variable; nothing is trained."""

    def state(self) -> dict[str, Array]:
        """The optimizer's own numbers."""

    def restore(self, state: dict[str, Array]) -> None:
        """Put back what `state` gave."""


@dataclass(frozen=True)
class Batch:
    """Samples to train on.

    Attributes:
        inputs: (samples, …), in the order and types of the model's own inputs.
        targets: (samples, …) class ids or numbers.
        teacher: the teacher's outputs in the signature's order; empty without one.
    """

    inputs: tuple[Array, ...]
    targets: Array
    teacher: tuple[Array, ...] = ()


class Net(Protocol):
    """A live model of one framework. The only thing that techniques change."""

    framework: str
    live: LiveModel

    def weights(self) -> dict[str, Weight]:
        """The kernels by name, in the order of the layers."""

    def get(self, name: str) -> Floats:
        """A copy of the weight."""

    def put(self, name: str, values: Array) -> None:
        """Set the weight."""

    def predict(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs in the signature's order, nothing trained."""

    def state(self) -> dict[str, Array]:
        """Every number that a training may change, batch norms' averages too."""

    def restore(self, state: dict[str, Array]) -> None:
        """Put back what `state` gave."""

    def learner(self, training: Training, loss: Loss) -> Learner:
        """What trains it. Its randomness follows from ``training.seed``."""

    def seed(self, seed: int) -> None:
        """Where dropout and the like go on from."""


@dataclass(frozen=True)
class Loss:
    """What is made small.

    Attributes:
        kind: "classes" (class ids against scores), "yes-no" (against one score), "numbers" (mean
            squared error), or "own" (the user's function in `Training.loss`).
        output: index of the output that the targets speak of.
        axis: of the classes in that output.
        probabilities: whether that output has gone through softmax or sigmoid already.
    """

    kind: Literal["classes", "yes-no", "numbers", "own"]
    output: int
    axis: int = -1
    probabilities: bool = False


NETS = {
    "keras": "edgekit.compress.keras_net:KerasNet",
    "torch": "edgekit.compress.torch_net:TorchNet",
}


def open_net(opener: str, origin: Model, model: Model) -> Net:
    """The net of `model`.

    Args:
        opener: ``module:function``, the source's own: see `LiveModel`.
        origin: what the user named.
        model: it, or what passes have made of it.
    """
    live: LiveModel = resolve(opener)(origin, model)
    net: Net = resolve(NETS[origin.framework])(live)
    return net


def save_net(net: Net, out: Path) -> Model:
    """Write it into `out`; the handle's path is relative to that."""
    return net.live.save(out)


def matching(weights: Iterable[Weight], patterns: Sequence[str], what: str) -> list[Weight]:
    """Those whose layer or name one of the `patterns` means; every pattern has to mean one.

    Raises:
        UsageError: a pattern means none; names the nearest.
    """
    known = list(weights)
    found: dict[str, Weight] = {}
    for pattern in patterns:
        mine = [w for w in known if fnmatch.fnmatchcase(w.layer, pattern) or w.name == pattern]
        if not mine:
            near = names_near(pattern, [w.layer for w in known])
            raise UsageError(
                f"{what} = {pattern!r} matches no layer with weights",
                hint=f"its layers: {', '.join(near or dict.fromkeys(w.layer for w in known))}",
            )
        found |= {w.name: w for w in mine}
    return list(found.values())


def rows(values: Any, axis: int) -> Any:
    """The array as (channels, the rest), `axis` first; `unrows` is its inverse."""
    import numpy as np

    moved = np.moveaxis(values, axis, 0)
    return moved.reshape(len(moved), -1)


def unrows(flat: Any, shape: Sequence[int], axis: int) -> Any:
    """An array of `shape` from what `rows` gave."""
    import numpy as np

    moved = [shape[axis], *(size for index, size in enumerate(shape) if index != axis % len(shape))]
    return np.ascontiguousarray(np.moveaxis(flat.reshape(moved), 0, axis))
