"""Quantization-aware training: weights learn to live with the rounding that the export will do.

    [[passes]]
    pass = "qat"
    freeze = 0.5               # share of the training after which ranges and batch norms stay
    exclude = ["logits"]       # layers that are not rounded while training

While it trains, weights and activations are rounded as the recipe's numbers will round them, and
gradients go through the rounding as if it was not there (Jacob et al., 2018,
https://arxiv.org/abs/1712.05877). What comes out is the same float model with other weights: no
rounding stays in it, and the export quantizes it as it quantizes any other.

Weights are rounded with a symmetric scale, one for each output channel or what ``[quantize]
weights`` says; activations over a range of their own. It follows the batches' least and greatest
values as a moving average first. At `freeze` it is set to what the export's calibration will find,
least and greatest values of the network that does not round, and stays: the export knows nothing of
averages, and a network that has learned to live on their steps loses again on others.
``dynamic-int8`` and ``dynamic-int4`` set ranges of activations anew for each input, so there only
weights are rounded; rounding of activations by 1/255 of an input's own range costs next to nothing.

The float model's own accuracy may be lower than before, where its weights count on being rounded;
so it is the artifact that is held against the budget.

It comes last: what another pass does to the weights afterwards would undo what they have learned.
What passes before it made (zeros, clusters) stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from pydantic import Field

from edgekit.compress.net import Net
from edgekit.compress.technique import Technique
from edgekit.compress.training import find_loss, held_back
from edgekit.core.errors import UsageError
from edgekit.core.quantize import Bits, Spread
from edgekit.core.registry import resolve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.compress.training import Trainer
    from edgekit.core.compression import PassSpec
    from edgekit.core.recipe import Recipe

    Array = NDArray[np.generic]

KINDS = ("int8", "int16x8", "dynamic-int8", "dynamic-int4")
NETS = {
    "keras": "edgekit.compress.keras_qat:RoundingKerasNet",
    "torch": "edgekit.compress.torch_qat:RoundingTorchNet",
}
PREDICTED = 1024  # samples at a time
EXAMPLES = 2  # samples that a network is traced with
CALIBRATED = 256  # samples, at most, that tell the first ranges


class QuantizeAware(Technique):
    """See above.

    Attributes:
        freeze: share of the steps after which ranges of activations and the statistics of batch
            norms stay, so that weights settle on what is exported. Epochs before that are never
            the best one.
        exclude: layers that are not rounded, by patterns of the user's names.
        weights, bits, activations: how is rounded; the recipe's ``quantization`` and ``[quantize]``
            decide. `activations` are bits, 0 leaves them as they are.
        in_float: patterns of layers that the recipe leaves in float or in other numbers.
    """

    freeze: float = Field(default=0.5, ge=0, lt=1)
    exclude: tuple[str, ...] = ()
    weights: Spread = "per-channel"
    bits: Bits = 8
    activations: int = Field(default=8, ge=0, le=16)
    in_float: tuple[str, ...] = ()

    gated: ClassVar[bool] = False

    def settled(self, recipe: Recipe) -> Self:
        """With the numbers that the recipe makes."""
        bits = {"int8": 8, "int16x8": 16}.get(recipe.quantization, 0)
        wanted = {
            "weights": recipe.quantize.weights,
            "bits": recipe.weight_bits,
            "activations": bits,
            "in_float": (*recipe.quantize.patterns, *recipe.quantize.numbers),
        }
        other = {key: value for key, value in wanted.items() if value != getattr(self, key)}
        return self.model_copy(update=other)

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """See `Technique.refusal`."""
        if recipe.quantization not in KINDS:
            return (
                f"prepares for rounding, and quantization = {recipe.quantization!r} rounds no "
                f"weights to integers; it goes with {', '.join(KINDS)}"
            )
        if self.epochs == 0:
            return "is a training, so it cannot have epochs = 0"
        if len(recipe.passes) > len(before) + 1:
            after = recipe.passes[len(before) + 1].name
            return f"has to be the last pass: {after} after it would undo what it has learned"
        return ""

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`."""
        if trainer is None:
            raise UsageError("qat is a training, and there is nothing to train on")
        held, train = held_back(trainer.samples, trainer.training)
        first = train[:: max(1, len(train) // CALIBRATED)][:CALIBRATED]
        inputs = trainer.samples.inputs(first)
        example = [array[:EXAMPLES] for array in inputs]
        rounding: Rounding = resolve(NETS[net.framework])(net, self, example)
        rounding.calibrate(inputs)
        before, untrained = quality(rounding, trainer, held), net.state()

        def freeze(step: int, steps: int) -> None:
            at = math.ceil(self.freeze * steps)
            if step >= at:
                rounding.freeze()
            if step == at:
                rounding.calibrate(inputs)

        trainer.run(net=rounding, before=freeze, settled=self.freeze)
        after = quality(rounding, trainer, held)
        plain = quality(net, trainer, held)
        kept = []
        if not after.loss <= before.loss:
            net.restore(untrained)
            if trainer.history is not None:
                trainer.history = trainer.history.model_copy(update={"best": 0})
            kept = ["training made it no better: the weights are what they were before"]
        return [
            *kept,
            f"{rounding.weights_rounded} kernels and {rounding.activations_rounded} activations "
            "were rounded while it trained",
            f"on the {len(held)} samples held back, rounded: {before} before, {after} after; "
            f"not rounded: {plain}",
        ]


class Rounding(Net, Protocol):
    """A net that rounds as the export will. It shares its weights with the one it is made of.

    Attributes:
        weights_rounded, activations_rounded: how many tensors.
    """

    weights_rounded: int
    activations_rounded: int

    def calibrate(self, inputs: Sequence[object]) -> None:
        """Set ranges anew to hold what these samples give where nothing is rounded, as the export's
        calibration does.
        """

    def freeze(self) -> None:
        """Ranges and statistics of batch norms stay as they are from here on."""


@dataclass(frozen=True)
class Quality:
    """How good a net is on some samples.

    Attributes:
        right: share of right answers; None where targets are no classes.
    """

    loss: float
    right: float | None

    def __str__(self) -> str:
        share = "" if self.right is None else f" ({100 * self.right:.2f} % right)"
        return f"loss {self.loss:.4g}{share}"


def quality(net: Net, trainer: Trainer, indices: Array) -> Quality:
    """How good `net` is on these samples of the training data."""
    samples, training = trainer.samples, trainer.training
    loss = find_loss(net, samples, training)
    learner = net.learner(training, loss)
    total = 0.0
    for at in range(0, len(indices), training.batch):
        batch = samples.batch(indices[at : at + training.batch])
        total += learner.loss(batch) * len(batch.targets)
    mean = total / len(indices)
    if loss.kind != "classes":
        return Quality(mean, None)
    right = 0
    for at in range(0, len(indices), PREDICTED):
        batch = samples.batch(indices[at : at + PREDICTED])
        scores = net.predict(batch.inputs)[loss.output]
        right += int((scores.argmax(axis=loss.axis) == batch.targets).sum())
    return Quality(mean, right / samples.targets[indices].size)
