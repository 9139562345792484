"""A model as techniques see it: named weights as arrays, the same for every framework."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from edgekit.core.compression import Training
from edgekit.core.dataset import DataSet
from edgekit.core.errors import ModelError, UsageError
from edgekit.core.failures import named
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
        inner: axis of the input's channels where that is not the last of the others.
    """

    name: str
    layer: str
    kind: Kind
    shape: tuple[int, ...]
    axis: int
    inner: int | None = None


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
    """A live model of one framework. The only thing that techniques change.

    Attributes:
        samples: for a technique that asks for some with `Technique.probes`, else empty: one array
            (samples, …) for each of the model's own inputs.
        cores: that its training may take, beside others.
    """

    framework: str
    live: LiveModel
    samples: Sequence[Array]
    cores: int

    def weights(self) -> dict[str, Weight]:
        """The kernels by name, in the order of the layers."""

    def get(self, name: str) -> Floats:
        """A copy of the weight."""

    def put(self, name: str, values: Array) -> None:
        """Set the weight."""

    def predict(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs in the signature's order, nothing trained."""

    def predictor(self) -> Callable[[Sequence[Array]], list[Array]]:
        """The same for many calls: the net's numbers may change between them, its form may not."""

    def outputs_of(self, names: Sequence[str], inputs: Sequence[Array]) -> dict[str, Array]:
        """What these layers return for the model's own inputs, each the first time that it is
        called; nothing trained.
        """

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """What each layer returns that returns one tensor of real numbers, as (samples, …), by
        name, in the order of execution; sizes that are open are None.
        """

    def state(self) -> dict[str, Array]:
        """Every number that a training may change, batch norms' averages too."""

    def restore(self, state: dict[str, Array]) -> None:
        """Put back what `state` gave."""

    def learner(self, training: Training, loss: Loss, features: Features | None = None) -> Learner:
        """What trains it. Its randomness follows from ``training.seed``."""

    def seed(self, seed: int) -> None:
        """Where dropout and the like go on from."""

    def placed(self, training: Training) -> AbstractContextManager[str]:
        """While it lasts, the net is where ``training.device`` says. It gives `History.where`.

        Raises:
            UsageError: there is no GPU, and one is asked for, or what is there cannot do it.
        """


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


@dataclass(frozen=True)
class Features:
    """Layers that are to return what a teacher's layers of the same names do."""

    teacher: Net
    layers: tuple[str, ...]

    @classmethod
    def found(cls, net: Net, teacher: Net, patterns: Sequence[str]) -> Self:
        """Those of the teacher that `patterns` mean.

        Raises:
            UsageError: a pattern means none, or a layer is gone or has another shape in `net`.
        """
        known, own = teacher.shapes(), net.shapes()
        layers: dict[str, None] = {}
        for pattern in patterns:
            mine = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
            if not mine:
                near = names_near(pattern, known) or list(known)[:8]
                raise UsageError(
                    f"features = {pattern!r} matches no layer of the teacher that returns one "
                    "tensor of real numbers",
                    hint=f"there are, among others: {', '.join(near)}",
                )
            layers |= dict.fromkeys(mine)
        for name in layers:
            if name not in own:
                raise UsageError(
                    f"features: the teacher's layer {name!r} is no longer in the model that is "
                    "trained",
                    hint="name one that no pass takes out",
                )
            if own[name] != known[name]:
                raise UsageError(
                    f"features: {name!r} returns {_sizes(own[name])} in the model that is trained, "
                    f"{_sizes(known[name])} in the teacher",
                    hint="name a layer whose channels no pass takes out",
                )
        return cls(teacher, tuple(layers))


def _sizes(shape: Sequence[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape[1:]) or "one number"


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


def check_finite(net: Net) -> None:
    """Raise ModelError if a kernel holds numbers that are none."""
    import numpy as np

    for name in net.weights():
        bad = int(np.count_nonzero(~np.isfinite(net.get(name))))
        if bad:
            raise ModelError(
                f"{name} has {bad} weights that are NaN or infinite",
                hint="train the model again, with a lower learning rate",
            )


def save_net(net: Net, out: Path) -> Model:
    """Write it into `out`; the handle's path is relative to that."""
    return net.live.save(out)


def taken(data: DataSet, live: LiveModel, indices: Any) -> tuple[Array, ...]:
    """The samples of these indices as the model itself takes them, whatever form the artifact will
    take them in.
    """
    import numpy as np

    arrays, order = data.arrays(), data.order(live.signature)
    own = [
        np.ascontiguousarray(arrays[index][indices]).astype(spec.dtype, copy=False)
        for spec, index in zip(live.signature.inputs, order, strict=True)
    ]
    return tuple(live.take(own))


def frozen(how: str) -> UsageError:
    """What is raised where nothing of a model may be trained."""
    return UsageError(
        "no weight of the model is trainable: all are frozen",
        hint=f"{how}, or write epochs = 0 in the pass",
    )


@contextmanager
def own_loss(function: str, outputs: Sequence[Any], targets: Any) -> Iterator[None]:
    """What the user's own loss raises becomes a UsageError that says what it was given."""
    try:
        yield
    except Exception as exc:
        given = ", ".join(f"{each.dtype} {tuple(each.shape)}" for each in [*outputs, targets])
        raise UsageError(
            f"the loss {function} raised {named(exc)}",
            hint=f"it was given outputs and targets as {given}",
        ) from exc


def matching(weights: Iterable[Weight], patterns: Sequence[str], what: str) -> list[Weight]:
    """Those whose layer or name one of the `patterns` means; every pattern has to mean one.

    Where an earlier pass has made several layers of one, the name of that one means them all.

    Raises:
        UsageError: a pattern means none; names the nearest.
    """
    known = list(weights)
    found: dict[str, Weight] = {}
    for pattern in patterns:
        mine = [w for w in known if fnmatch.fnmatchcase(w.layer, pattern) or w.name == pattern]
        if not mine:
            mine = [w for w in known if any(fnmatch.fnmatchcase(n, pattern) for n in _around(w))]
        if not mine:
            near = names_near(pattern, [w.layer for w in known])
            raise UsageError(
                f"{what} = {pattern!r} matches no layer with weights",
                hint=f"its layers: {', '.join(near or dict.fromkeys(w.layer for w in known))}",
            )
        found |= {w.name: w for w in mine}
    return list(found.values())


def _around(weight: Weight) -> list[str]:
    """Names of what the weight's layer is in, in either framework's way of writing."""
    parts = re.split(r"([./])", weight.layer)
    return ["".join(parts[:end]) for end in range(1, len(parts) - 1, 2)]


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
