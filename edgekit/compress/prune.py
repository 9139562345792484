"""Magnitude pruning: the smallest weights become zero, more of them as training goes on.

    [[passes]]
    pass = "prune"
    sparsity = 0.8                # share of each layer's weights that become zero
    schedule = "polynomial"       # or "constant": all of it from the first step on
    scope = "layer"               # or "global": one threshold for all layers
    pattern = "unstructured"      # or "2:4", or blocks such as "4x1" (outputs × inputs)
    exclude = ["logits"]          # layers that stay as they are; * and ? are understood
    [passes.layers]               # other shares for some
    "features.*" = 0.5

Sparsity rises as s(t) = s − (s − s₀)·(1 − t)³, where t goes from 0 to 1 over the first `ramp` of
the steps: Zhu and Gupta, https://arxiv.org/abs/1710.01878. The threshold is found anew while it
rises, so a weight that was zero may come back; afterwards zeros stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator

from edgekit.compress.net import Weight, matching, rows, unrows
from edgekit.compress.technique import Technique
from edgekit.core.errors import UsageError

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer

UPDATES = 100  # times that thresholds are found anew while sparsity rises
# Kernels of few weights that much depends on, and tables that are looked up.
SPARED = ("depthwise", "embedding")
GENTLER = 2 / 3  # of the share of zeros: see `Prune.gentler`
WORTH = 0.02  # share of zeros above which they are no chance
TRIED = (0.5, 0.7, 0.8, 0.9, 0.95)  # shares that layers are tried at


class Prune(Technique):
    """See above.

    Attributes:
        sparsity: share of the weights that become zero, 0 to 1.
        initial: that share at the first step.
        ramp: share of the training over which it rises.
        power: of the polynomial.
        layers: shares for single layers, by patterns of the user's names; depthwise kernels and
            embeddings are only pruned where a pattern means them.
        exclude: layers that are not pruned, by such patterns.
    """

    sparsity: float = Field(default=0.5, ge=0, lt=1)
    initial: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["polynomial", "constant"] = "polynomial"
    ramp: float = Field(default=0.5, gt=0, le=1)
    power: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    scope: Literal["layer", "global"] = "layer"
    pattern: str = "unstructured"
    layers: dict[str, float] = Field(default_factory=dict)
    exclude: tuple[str, ...] = ()

    @field_validator("pattern")
    @classmethod
    def _known(cls, pattern: str) -> str:
        if pattern not in ("unstructured", "2:4") and _block(pattern) is None:
            raise ValueError('it is "unstructured", "2:4", or a block such as "4x1"')
        return pattern

    @field_validator("layers")
    @classmethod
    def _shares(cls, layers: dict[str, float]) -> dict[str, float]:
        for name, share in layers.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} = {share}: a share is from 0 to below 1")
        return layers

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
                ramp = max(1, round(self.ramp * steps))
                every = max(1, ramp // UPDATES)
                if step <= ramp and (step % every == 0 or step == ramp or not masks):
                    update(min(1.0, step / ramp))
                    project()
                elif not masks:  # training goes on after it was interrupted: zeros are there
                    masks.update({name: net.get(name) != 0 for name in kernels})

            trainer.run(before=before, after=lambda *_: project(), settled=self.ramp)
        return self._notes(net, kernels)

    def _part(self, progress: float) -> float:
        """Of the final share, at that part of the ramp."""
        if self.schedule == "constant" or self.sparsity == 0:
            return 1.0
        first = min(1.0, self.initial / self.sparsity)
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
        for pattern, share in self.layers.items():
            found |= {w.name: share for w in matching(weights.values(), [pattern], "layers")}
        found = {name: share for name, share in found.items() if name not in spared}
        if self.pattern == "2:4":
            found = dict.fromkeys(found, 0.5)
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
            name: _scores(rows(net.get(name), weight.axis), self.pattern)
            for name, weight in kernels.items()
        }
        if self.scope == "global" and self.pattern != "2:4":
            share = np.average(list(shares.values()), weights=[s.size for s in scores.values()])
            threshold = _threshold(np.concatenate([s.ravel() for s in scores.values()]), share)
            kept = {name: score > threshold for name, score in scores.items()}
        elif self.pattern == "2:4":
            kept = {name: _two_of_four(score) for name, score in scores.items()}
        else:
            kept = {
                name: score > _threshold(score.ravel(), shares[name])
                for name, score in scores.items()
            }
        found = {}
        for name, weight in kernels.items():
            whole = _spread(kept[name], rows(net.get(name), weight.axis).shape, self.pattern)
            found[name] = unrows(whole, weight.shape, weight.axis)
        return found

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
        milder: dict[str, Any] = {"sparsity": round(self.sparsity * GENTLER, 4)}
        if self.layers:
            milder["layers"] = {n: round(share * GENTLER, 4) for n, share in self.layers.items()}
        return self.model_copy(update=milder)


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


def _spread(kept: Any, shape: Sequence[int], pattern: str) -> Any:
    """What holds for blocks, for every weight of (channels, inputs)."""
    import numpy as np

    size = _block(pattern)
    if size is None:
        return kept
    return np.kron(kept, np.ones(size, dtype=bool))[: shape[0], : shape[1]]


def _threshold(scores: Any, share: float) -> float:
    """What that share of the scores is not above."""
    import numpy as np

    count = round(share * scores.size)
    if count == 0:
        return -1.0
    return float(np.partition(scores, count - 1)[count - 1])


def _two_of_four(magnitudes: Any) -> Any:
    """The two largest of every four along the inputs; of a rest at the end as many as half."""
    import numpy as np

    channels, length = magnitudes.shape
    padded = np.pad(magnitudes, [(0, 0), (0, -length % 4)], constant_values=-1)
    groups = padded.reshape(channels, -1, 4)
    ranks = np.argsort(np.argsort(-groups, axis=-1, kind="stable"), axis=-1, kind="stable")
    return (ranks < 2).reshape(channels, -1)[:, :length]
