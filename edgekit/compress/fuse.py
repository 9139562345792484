"""Batch norms become part of the layers before them, and dropout goes.

    [[passes]]
    pass = "fuse"

A batch norm that follows a convolution (depthwise, transposed and separable ones too) or a dense
layer is a factor and a term for each channel once training is over, and they are folded into kernel
and bias:

    kernel' = kernel · γ / √(σ² + ε)        bias' = β + (bias − μ) · γ / √(σ² + ε)

TFLite, ExecuTorch and ONNX Runtime do that by themselves: files get no smaller and nothing runs
faster by it. It is for what comes after it in a recipe. Low-rank factors, clusters and zeros are
then chosen by what the net really computes, and passes that train see and change the folded
weights, without averages of batches that drift where there is little data. Where much training
follows, a net with its batch norms learns more easily.

That outputs stay as they are is shown on samples of the evaluation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.registry import resolve

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe

PARTS = {"keras": "edgekit.compress.fuse_keras", "torch": "edgekit.compress.fuse_torch"}
TOLERANCE = 1e-4  # of outputs, as a share of the largest
NAMED = 8  # layers in a note
# Passes whose results a factor a channel spoils.
SPOILED = {
    "cluster": "the few values of a kernel would become many",
    "qat": "it was trained for the ranges of the weights as they are",
}


class Fuse(Technique):
    """See above.

    Attributes:
        dropout: whether layers of dropout are taken out as well; passes that train have none then.
    """

    dropout: bool = True

    never_trains: ClassVar[bool] = True
    probes: ClassVar[int] = 8

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`.

        Raises:
            ConversionError: outputs are not what they were.
            UsageError: there is nothing to fold.
        """
        part = PARTS[net.framework]
        pairs, left = resolve(f"{part}:pairs")(net)
        dropouts = resolve(f"{part}:dropouts")(net) if self.dropout else []
        if not pairs and not dropouts:
            raise UsageError(
                "fuse: there is no batch norm to fold and no dropout to take out"
                + (f": {_listed(left)}" if left else ""),
                hint="leave the pass out of the recipe",
            )
        norms = [pair.norm for pair in pairs]
        wanted, inside = net.predict(net.samples), net.outputs_of(norms, net.samples)
        resolve(f"{part}:fold")(net, pairs, dropouts)
        worst = max(_errors(net.predict(net.samples), wanted))
        if not worst <= TOLERANCE:
            folded = net.outputs_of([pair.seen for pair in pairs], net.samples)
            layers = [
                f"{pair.layer} with {pair.norm}"
                for pair in pairs
                if not _errors([folded[pair.seen]], [inside[pair.norm]])[0] <= TOLERANCE
            ]
            raise ConversionError(
                f"fuse: outputs are {worst:.1g} of the largest away from what they were, "
                f"{TOLERANCE:g} are allowed; {layers[0] if layers else 'no layer'} is the first "
                "that differs",
                hint="leave the pass out of the recipe: what makes the file folds by itself",
            )
        return _notes(pairs, dropouts, left, worst, len(net.samples[0]))

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """See `Technique.refusal`."""
        for each in before:
            if each.name == "fuse":
                return "batch norms are folded already"
            if each.name in SPOILED:
                return f"after {each.name} {SPOILED[each.name]}; put it first"
        return ""


@dataclass(frozen=True)
class Pair:
    """A layer, and the batch norm that takes what it returns and nothing else does.

    Attributes:
        seen: the layer that returns what `norm` did, when they are one.
        kernel: of the layer, or the last of two.
        bias: (channels,) or None.
        view: a shape in which the kernel is multiplied with factors of the channels that are in the
            shape `channels`.
        scale, shift, mean, variance: (channels,).
    """

    layer: str
    norm: str
    seen: str
    kernel: Any
    bias: Any
    view: tuple[int, ...]
    channels: tuple[int, ...]
    scale: Any
    shift: Any
    mean: Any
    variance: Any
    epsilon: float

    def folded(self) -> tuple[Any, Any]:
        """Kernel and bias of both as one layer, float32."""
        import numpy as np

        exact = np.float64
        factor = self.scale.astype(exact) / np.sqrt(self.variance.astype(exact) + self.epsilon)
        kernel = self.kernel.astype(exact).reshape(self.view) * factor.reshape(self.channels)
        bias = 0 if self.bias is None else self.bias.astype(exact)
        shift = self.shift + (bias - self.mean) * factor
        return kernel.reshape(self.kernel.shape).astype(np.float32), shift.astype(np.float32)


def _errors(got: Sequence[Any], wanted: Sequence[Any]) -> list[float]:
    """The largest difference of each, as a share of the largest number that is wanted."""
    import numpy as np

    found = []
    for one, other in zip(got, wanted, strict=True):
        away = np.abs(one.astype(np.float64) - other).max(initial=0)
        found.append(float(away / (np.abs(other).max(initial=0) or 1)))
    return found


def _notes(
    pairs: Sequence[Pair],
    dropouts: Sequence[str],
    left: Mapping[str, str],
    worst: float,
    samples: int,
) -> list[str]:
    said = [
        f"folded {_count(pairs, 'batch norm')} and took {_count(dropouts, 'dropout')} out; on "
        f"{samples} samples outputs differ by {worst:.1g} of the largest"
    ]
    if left:
        said.append(f"left as they are: {_listed(left)}")
    return said


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things) or 'no'} {name}{'' if len(things) == 1 else 's'}"


def _listed(left: Mapping[str, str]) -> str:
    more = f"; and {len(left) - NAMED} more" if len(left) > NAMED else ""
    return "; ".join(f"{norm} {why}" for norm, why in list(left.items())[:NAMED]) + more
