"""Magnitude pruning: the smallest weights become zero, more of them as training goes on.

    [[passes]]
    pass = "prune"
    sparsity = 0.8                # share of each layer's weights that become zero
    schedule = "polynomial"       # or "constant": all of it from the first step on
    scope = "layer"               # or "global": one threshold for all layers
    pattern = "unstructured"      # or "2:4", or blocks such as "4x1" (outputs × inputs)
    exclude = ["logits"]          # layers that stay as they are; * and ? are understood
    [passes.layers]               # other shares for some; or layers = "auto", see below
    "features.*" = 0.5

Sparsity rises as s(t) = s − (s − s₀)·(1 − t)³, where t goes from 0 to 1 over the first `ramp` of
the steps: Zhu and Gupta, https://arxiv.org/abs/1710.01878. The threshold is found anew while it
rises, so a weight that was zero may come back; afterwards zeros stay.

``layers = "auto"`` gives each layer its own share, so that `sparsity` is their mean over all
weights that are pruned and as little as possible is lost. Each layer alone is pruned at the shares
`TRIED` and the model run on at most 128 of the training samples, nothing trained (`edgekit
sensitivity --technique prune` shows the same). A layer's cost at a share is the power of the error
that this makes in the outputs, as a part of the signal's: 10^(−SNR/10). Errors of several layers
add up as if independent, so the sum of the costs is made small: each layer's cost is drawn as
straight lines along the lower convex hull of (0, 0) and what was measured, and shares are raised
greedily where the next weights cost least each, until the mean is reached. With costs of this form
greedy is optimal.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgekit.compress.hull import lower_hull
from edgekit.compress.net import Weight, matching, rows, unrows
from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.errors import ConversionError, UsageError

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe
    from edgekit.core.sensitivity import TechniqueSensitivity

UPDATES = 100  # times that thresholds are found anew while sparsity rises
# Kernels of few weights that much depends on, and tables that are looked up.
SPARED = ("depthwise", "embedding")
GENTLER = 2 / 3  # of the share of zeros: see `Prune.gentler`
WORTH = 0.02  # share of zeros above which they are no chance
TWO_OF_FOUR = 0.5  # the share of zeros then
MOST_TOLD = 20  # layers in one sentence
AUTO = "auto"
TRIED = (0.5, 0.7, 0.8, 0.9, 0.95)  # shares that layers are tried at


class Prune(Technique):
    """See above.

    Attributes:
        sparsity: share of the weights that become zero, 0 to 1.
        initial: that share at the first step, at most `sparsity`.
        ramp: share of the training over which it rises.
        power: of the polynomial.
        layers: shares for single layers, by patterns of the user's names; depthwise kernels and
            embeddings are only pruned where a pattern means them. "auto" finds them.
        exclude: layers that are not pruned, by such patterns.
    """

    sparsity: float = Field(default=0.5, ge=0, lt=1)
    initial: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["polynomial", "constant"] = "polynomial"
    ramp: float = Field(default=0.5, gt=0, le=1)
    power: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    scope: Literal["layer", "global"] = "layer"
    pattern: str = "unstructured"
    layers: dict[str, float] | Literal["auto"] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    @field_validator("pattern")
    @classmethod
    def _known(cls, pattern: str) -> str:
        if pattern not in ("unstructured", "2:4") and _block(pattern) is None:
            raise ValueError('it is "unstructured", "2:4", or a block such as "4x1"')
        return pattern

    @field_validator("layers")
    @classmethod
    def _shares(cls, layers: dict[str, float] | str) -> dict[str, float] | str:
        for name, share in layers.items() if isinstance(layers, dict) else ():
            if not 0 <= share < 1:
                raise ValueError(f"{name} = {share}: a share is from 0 to below 1")
        return layers

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.initial > self.sparsity:
            raise ValueError(f"initial = {self.initial} is above sparsity = {self.sparsity}")
        shares = self.layers.values() if isinstance(self.layers, dict) else ()
        if self.pattern == "2:4" and {self.sparsity, *shares} != {TWO_OF_FOUR}:
            raise ValueError('pattern = "2:4" makes half of the weights zero; leave shares out')
        return self

    @model_validator(mode="after")
    def _can_find(self) -> Self:
        if self.layers != AUTO:
            return self
        if self.scope == "global" or self.pattern == "2:4":
            what = 'scope = "global"' if self.scope == "global" else 'pattern = "2:4"'
            raise ValueError(f'layers = "auto" and {what} both decide how much each layer loses')
        if self.sparsity > TRIED[-1]:
            raise ValueError(
                f'layers = "auto" goes up to sparsity = {TRIED[-1]}, the most that is tried'
            )
        return self

    @property
    def selects(self) -> bool:
        """See `Technique.selects`."""
        return self.layers == AUTO

    def selected(self, found: TechniqueSensitivity) -> tuple[Self, str]:
        """See `Technique.selected`: the formulas stand above."""
        kept = [layer for layer in found.layers if not layer.is_meant(self.exclude)]
        if not kept:
            raise UsageError("prune: no layer is left to prune", hint="exclude fewer")
        shares = least_costly(
            [layer.weights for layer in kept],
            [[trial.cost for trial in layer.trials] for layer in kept],
            self.sparsity,
        )
        pairs = list(zip(kept, shares, strict=True))
        chosen = {name: share for layer, share in pairs for name in layer.kernels}
        told = [f"{each.layer} {100 * share:.0f} %" for each, share in pairs[:MOST_TOLD]]
        more = f", and {len(pairs) - MOST_TOLD} more" if len(pairs) > MOST_TOLD else ""
        return self.model_copy(update={"layers": chosen}), (
            f"share of zeros of each layer, the costliest first, found on {found.samples} training "
            f"samples: {', '.join(told)}{more}"
        )

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`."""
        wanted = self.shares(net.weights())
        kernels = {name: net.weights()[name] for name in wanted}
        masks: dict[str, Any] = {}

        def update(progress: float) -> None:
            part = self._part(progress)
            masks.clear()
            masks.update(self.masks(net, kernels, {n: s * part for n, s in wanted.items()}))

        def project() -> None:
            for name, mask in masks.items():
                net.put(name, net.get(name) * mask)

        if trainer is None:
            update(1.0)
            project()
        else:

            def before(step: int, steps: int) -> None:
                ramp = min(round(self.ramp * steps), steps - 1)  # the last step has it all
                every = max(1, ramp // UPDATES)
                if step <= ramp and (step % every == 0 or step == ramp):
                    update(step / ramp if ramp else 1.0)
                    project()
                elif not masks:  # training goes on after it was interrupted: zeros are there
                    masks.update({name: net.get(name) != 0 for name in kernels})

            trainer.run(before=before, after=lambda *_: project(), settled=self.ramp)
        return self._notes(net, kernels)

    def _part(self, progress: float) -> float:
        """Of the final share, at that part of the ramp."""
        if self.schedule == "constant":
            return 1.0
        first = self.initial / self.sparsity if self.sparsity else 0.0
        return float(1 - (1 - first) * (1 - progress) ** self.power)

    def shares(self, weights: Mapping[str, Weight]) -> dict[str, float]:
        """The share of zeros of each weight that is pruned.

        Raises:
            UsageError: a pattern matches nothing, or there is nothing to prune.
        """
        spared = {w.name for w in matching(weights.values(), self.exclude, "exclude")}
        found = {
            name: self.sparsity for name, weight in weights.items() if weight.kind not in SPARED
        }
        own = self.layers if isinstance(self.layers, dict) else {}
        for pattern, share in own.items():
            found |= {w.name: share for w in matching(weights.values(), [pattern], "layers")}
        found = {name: share for name, share in found.items() if name not in spared}
        if self.pattern == "2:4":
            found = dict.fromkeys(found, TWO_OF_FOUR)
        if not found:
            raise UsageError(
                "prune: no layer is left to prune; depthwise kernels and embeddings are only "
                "pruned by name",
                hint='name them: [passes.layers] "LAYER" = 0.5',
            )
        return found

    def masks(
        self, net: Net, kernels: Mapping[str, Weight], shares: Mapping[str, float]
    ) -> dict[str, Any]:
        """Ones where a weight stays, by name, in its shape.

        Args:
            shares: of zeros, by name.
        """
        import numpy as np

        scores = {
            name: _scores(_flat(net.get(name), weight), self.pattern)
            for name, weight in kernels.items()
        }
        if self.scope == "global" and self.pattern != "2:4":
            share = np.average(list(shares.values()), weights=[s.size for s in scores.values()])
            large = _larger(np.concatenate([s.ravel() for s in scores.values()]), share)
            ends = np.cumsum([s.size for s in scores.values()])
            parts = np.split(large, ends[:-1])
            kept = {n: part.reshape(scores[n].shape) for n, part in zip(scores, parts, strict=True)}
        elif self.pattern == "2:4":
            kept = {name: _two_of_four(score) for name, score in scores.items()}
        else:
            kept = {
                name: _larger(score.ravel(), shares[name]).reshape(score.shape)
                for name, score in scores.items()
            }
        return {
            name: _unflat(_spread(kept[name], weight, self.pattern), weight)
            for name, weight in kernels.items()
        }

    def _notes(self, net: Net, kernels: Mapping[str, Weight]) -> list[str]:
        arrays = [net.get(name) for name in kernels]
        zeros, size = sum(int((a == 0).sum()) for a in arrays), sum(a.size for a in arrays)
        what = "2:4" if self.pattern == "2:4" else self.pattern
        return [
            f"{100 * zeros / size:.1f} % of the weights of {len(kernels)} kernels are zero "
            f"({what}); that makes the file smaller when it is zipped, no runtime here computes "
            "faster by it"
        ]

    def hold(self, net: Net) -> Callable[[], None]:
        """See `Technique.hold`: zeros stay zero."""
        found = {name: net.get(name) != 0 for name in net.weights()}
        masks = {name: mask for name, mask in found.items() if mask.mean() < 1 - WORTH}

        def project() -> None:
            for name, mask in masks.items():
                net.put(name, net.get(name) * mask)

        return project

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """See `Technique.refusal`."""
        if any(each.name == "cluster" for each in before):
            return "comes before cluster, whose values every weight has to keep"
        return ""

    def strengths(self) -> tuple[tuple[str, Self], ...]:
        """See `Technique.strengths`."""
        if self.pattern == "2:4":
            return (("2:4", self),)
        plain = {"layers": {}, "exclude": (), "scope": "layer"}
        return tuple(
            (f"{100 * share:g} %", self.model_copy(update={**plain, "sparsity": share}))
            for share in TRIED
        )

    def gentler(self) -> Self | None:
        """See `Technique.gentler`: two thirds of the zeros; below a tenth it is not worth it."""
        if self.pattern == "2:4" or self.sparsity * GENTLER < 0.1:
            return None
        share = round(self.sparsity * GENTLER, 4)
        milder: dict[str, Any] = {"sparsity": share}
        if self.initial > share:
            milder["initial"] = share
        if isinstance(self.layers, dict) and self.layers:
            milder["layers"] = {n: round(share * GENTLER, 4) for n, share in self.layers.items()}
        return self.model_copy(update=milder)


def _flat(values: Any, weight: Weight) -> Any:
    """(channels, inputs): the channels of the input are last, where runtimes have them."""
    import numpy as np

    if weight.inner is None:
        return rows(values, weight.axis)
    return rows(np.moveaxis(values, weight.inner, -1), _moved(weight))


def _unflat(flat: Any, weight: Weight) -> Any:
    """An array of the weight's shape from what `_flat` gave."""
    import numpy as np

    if weight.inner is None:
        return unrows(flat, weight.shape, weight.axis)
    shape = [size for axis, size in enumerate(weight.shape) if axis != weight.inner]
    moved = unrows(flat, [*shape, weight.shape[weight.inner]], _moved(weight))
    return np.ascontiguousarray(np.moveaxis(moved, -1, weight.inner))


def _moved(weight: Weight) -> int:
    """The axis of the output channels once the input's are last."""
    assert weight.inner is not None
    return weight.axis - (weight.inner < weight.axis)


def least_costly(
    weights: Sequence[int], costs: Sequence[Sequence[float]], sparsity: float
) -> list[float]:
    """The share of zeros of each layer, with `sparsity` as their mean over all weights and the
    least sum of costs; see above.

    Args:
        weights: in each layer.
        costs: of each layer at each of the shares `TRIED`.

    Raises:
        ConversionError: so many cannot be zero without layers that could not be tried.
    """
    shares = [0.0] * len(weights)
    steps = [
        ((cost - before_cost) / (size * (share - before)), index, share)
        for index, (size, measured) in enumerate(zip(weights, costs, strict=True))
        for (before, before_cost), (share, cost) in itertools.pairwise(
            lower_hull(zip(TRIED, measured, strict=True))
        )
    ]
    left = sparsity * sum(weights)
    for _, index, share in sorted(steps):
        if left <= 0:
            break
        taken = min(left / weights[index], share - shares[index])
        shares[index] += taken
        left -= taken * weights[index]
    if left > 1e-6 * sum(weights):
        raise ConversionError(
            f"prune: layers that cannot be tried at every share leave no mean of {sparsity:g}",
            hint="edgekit sensitivity MODEL --technique prune shows which; exclude them",
        )
    return [round(share, 4) for share in shares]


def _block(pattern: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", pattern)
    return (int(found[1]), int(found[2])) if found else None


def _scores(flat: Any, pattern: str) -> Any:
    """Magnitudes of (channels, inputs), or their means over blocks; incomplete ones count too."""
    import numpy as np

    size = _block(pattern)
    magnitudes = np.abs(flat)
    if size is None:
        return magnitudes
    padded, ones = _padded(magnitudes, size), _padded(np.ones_like(magnitudes), size)
    return _block_sums(padded, size) / _block_sums(ones, size)


def _padded(flat: Any, size: tuple[int, int]) -> Any:
    import numpy as np

    return np.pad(
        flat, [(0, -length % part) for length, part in zip(flat.shape, size, strict=True)]
    )


def _block_sums(flat: Any, size: tuple[int, int]) -> Any:
    high, wide = size
    return flat.reshape(flat.shape[0] // high, high, flat.shape[1] // wide, wide).sum(axis=(1, 3))


def _spread(kept: Any, weight: Weight, pattern: str) -> Any:
    """What holds for blocks, for every weight of (channels, inputs)."""
    import numpy as np

    size = _block(pattern)
    if size is None:
        return kept
    high = weight.shape[weight.axis]
    wide = math.prod(weight.shape) // high
    return np.kron(kept, np.ones(size, dtype=bool))[:high, :wide]


def _larger(scores: Any, share: float) -> Any:
    """False for that share of the scores, the smallest; of equal ones the first go."""
    import numpy as np

    count = round(share * scores.size)
    if count == 0:
        return np.ones(scores.size, dtype=bool)
    limit = np.partition(scores, count - 1)[count - 1]
    kept = scores > limit
    below = int((scores < limit).sum())
    kept[np.flatnonzero(scores == limit)[count - below :]] = True
    return kept


def _two_of_four(magnitudes: Any) -> Any:
    """The two largest of every four along the inputs; of a rest at the end as many as half."""
    import numpy as np

    channels, length = magnitudes.shape
    padded = np.pad(magnitudes, [(0, 0), (0, -length % 4)], constant_values=-1)
    groups = padded.reshape(channels, -1, 4)
    ranks = np.argsort(np.argsort(-groups, axis=-1, kind="stable"), axis=-1, kind="stable")
    return (ranks < 2).reshape(channels, -1)[:, :length]
