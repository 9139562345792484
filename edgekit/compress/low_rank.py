"""Low-rank factors: one large layer becomes two small ones with a narrow place between them.

    [[passes]]
    pass = "low-rank"
    energy = 0.9                  # share of each kernel's squared singular values that is kept
    exclude = ["logits"]          # layers that stay as they are; * and ? are understood

or, with the width of the narrow place instead,

    [[passes]]
    pass = "low-rank"
    rank = 16                     # of every layer; or of some only:
    [passes.ranks]
    "features.*" = 24

A kernel is written as a matrix and cut by its singular values, M ≈ (U√S)·(√S V); by Eckart and
Young (1936) nothing of that rank is nearer to it. Of a dense layer and of a 1×1 convolution the
matrix is inputs × outputs. A larger convolution can be parted in more than one way:

    spatial    k×1, then 1×k: rows are (height, inputs), columns (width, outputs), Jaderberg et al.,
               https://arxiv.org/abs/1405.3866
    channels   k×k to few channels and 1×1 to all of them, or 1×1 to few and k×k to all

``auto`` takes what needs the fewest multiply-adds. Bias and activation are the second layer's. A
layer is only replaced where multiply-adds fall and numbers do not rise; the report says which are
left. It works without training (``epochs = 0``); with a few epochs much less energy will do. After
`fuse` kernels hold what batch norms scale them by, and singular values weigh what the net sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgekit.compress.net import matching
from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.errors import UsageError
from edgekit.core.registry import resolve

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe

PARTS = {
    "keras": "edgekit.compress.low_rank_keras",
    "torch": "edgekit.compress.low_rank_torch",
}
SPOILED = ("prune", "cluster", "qat")  # passes whose zeros, values or ranges products do not keep
LEAST_LOSS = 0.005  # of energy, below which there is nothing gentler
GENTLER = 1.5  # times the rank: see `LowRank.gentler`
NAMED = 8  # layers in a note

Split = Literal["auto", "spatial", "channels"]


class LowRank(Technique):
    """See above.

    Attributes:
        energy: share of the squared singular values that is kept, at least; it sets the rank.
        rank: of all layers, instead of `energy`.
        ranks: of single layers, by patterns of the user's names; others get `rank`, or what
            `energy` says.
        split: how convolutions with a kernel larger than 1 are parted.
        layers: those that may be replaced, by such patterns; all of them if empty.
        exclude: layers that are left as they are.
    """

    energy: float = Field(default=0.9, gt=0, le=1)
    rank: int | None = Field(default=None, ge=1)
    ranks: dict[str, int] = Field(default_factory=dict)
    split: Split = "auto"
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @field_validator("ranks")
    @classmethod
    def _positive(cls, ranks: dict[str, int]) -> dict[str, int]:
        for name, rank in ranks.items():
            if rank < 1:
                raise ValueError(f"{name} = {rank}: a rank is 1 or more")
        return ranks

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.rank is not None and "energy" in self.model_fields_set:
            raise ValueError("energy sets the rank itself: give one of energy and rank")
        return self

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`.

        Raises:
            ConversionError: the model's code needs a layer to be as it was.
            UsageError: no layer gets cheaper.
        """
        part = PARTS[net.framework]
        sites: list[Site] = resolve(f"{part}:sites")(net)
        chosen, left = self.chosen(net, sites)
        found: dict[str, Factors] = {}
        for site, rank in chosen:
            factors = self.factors(site, rank)
            if isinstance(factors, str):
                left[site.layer] = factors
            else:
                found[site.layer] = factors
        if not found:
            raise UsageError(
                f"low-rank: no layer gets cheaper: {_listed(left) or 'none is left to replace'}",
                hint="lower energy or rank, and train ([training] epochs) to win back what is lost",
            )
        resolve(f"{part}:replace")(net, found)
        if trainer is not None:
            trainer.run()
        return _notes(found, left)

    def chosen(
        self, net: Net, sites: Sequence[Site]
    ) -> tuple[list[tuple[Site, int | None]], dict[str, str]]:
        """What may be replaced, each with the rank that it was given; and what not, with reasons.

        Raises:
            UsageError: a pattern matches nothing.
        """
        weights = net.weights().values()
        known = {site.layer: site for site in sites}

        def named(patterns: Sequence[str], what: str) -> list[str]:
            return list(dict.fromkeys(w.layer for w in matching(weights, patterns, what)))

        ranks = {
            layer: rank
            for pattern, rank in self.ranks.items()
            for layer in named([pattern], "ranks")
        }
        spared = set(named(self.exclude, "exclude"))
        asked = named(self.layers, "layers") if self.layers else list(known)
        wanted = [layer for layer in dict.fromkeys([*asked, *ranks]) if layer not in spared]
        left = {
            layer: "is no dense layer and no convolution of the model's own graph"
            for layer in wanted
            if layer not in known
        }
        found = []
        for layer in wanted:
            if (site := known.get(layer)) is None:
                continue
            if site.why_not:
                left[layer] = site.why_not
            else:
                found.append((site, ranks.get(layer, self.rank)))
        return found, left

    def factors(self, site: Site, rank: int | None) -> Factors | str:
        """The best of what `split` allows; why it is not worth it, where none is.

        Args:
            rank: given; None finds it from `energy`.
        """
        tried = [Factors.of(site, at, rank, self.energy) for at in site.ways(self.split)]
        if not tried:
            return f"has no way to be split as {self.split}"
        cheaper = [each for each in tried if each.saves]
        if cheaper and rank is None:
            return min(cheaper, key=lambda each: each.macs)
        if cheaper:
            return max(cheaper, key=lambda each: each.kept)
        least = min(tried, key=lambda each: each.macs)
        return (
            f"would need rank {least.rank} of {least.full}: {least.macs / site.macs:.2f} of its "
            "multiply-adds"
        )

    def gentler(self) -> Self | None:
        """See `Technique.gentler`: half of the energy that is lost, or one and a half the rank."""
        if self.rank is None and not self.ranks:
            lost = (1 - self.energy) / 2
            if lost < LEAST_LOSS:
                return None
            return self.model_copy(update={"energy": round(1 - lost, 6)})
        milder: dict[str, Any] = {}
        if self.rank is not None:
            milder["rank"] = math.ceil(self.rank * GENTLER)
        if self.ranks:
            milder["ranks"] = {n: math.ceil(rank * GENTLER) for n, rank in self.ranks.items()}
        return self.model_copy(update=milder)

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """See `Technique.refusal`."""
        for each in before:
            if each.name in SPOILED:
                return f"products of factors do not keep what {each.name} has made; put it first"
        return ""


@dataclass(frozen=True)
class Site:
    """A dense layer or a convolution.

    Attributes:
        kernel: (*spatial, inputs, outputs); a dense layer has no spatial axes.
        strides: of the spatial axes.
        inside, outside: spatial sizes before and after it; None where they are not fixed.
        why_not: what keeps it from being replaced; empty if nothing does.
    """

    layer: str
    kernel: Any
    strides: tuple[int, ...] = ()
    inside: tuple[int, ...] | None = None
    outside: tuple[int, ...] | None = None
    why_not: str = ""

    @property
    def space(self) -> tuple[int, ...]:
        """Sizes of the kernel."""
        return tuple(self.kernel.shape[:-2])

    @property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """`inside` and `outside`; of one output where they are not fixed."""
        if self.inside is None or self.outside is None:
            return self.strides, (1,) * len(self.strides)
        return self.inside, self.outside

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return int(self.kernel.size) * math.prod(self.sizes[1])

    def ways(self, split: Split) -> list[int]:
        """How many of the spatial axes the first of two layers may have: see `Factors.at`."""
        rank = len(self.space)
        if all(size == 1 for size in self.space):
            return [rank]  # strides in the first layer: fewest multiply-adds
        ends = [at for at in (0, rank) if split != "spatial" or rank == 1]
        inner = [at for at in range(1, rank) if split != "channels"]
        return sorted({*ends, *inner})


@dataclass(frozen=True)
class Factors:
    """Two kernels whose layers, one after the other, are nearly a layer of one.

    Attributes:
        at: so many of the spatial axes are the first layer's, the others the second's; an axis that
            is not its own has size 1 in a kernel.
        full: the rank at which nothing is lost.
        kept: share of the squared singular values.
        first: (*spatial, inputs, rank).
        second: (*spatial, rank, outputs).
        macs: multiply-adds of both.
    """

    site: Site
    at: int
    full: int
    kept: float
    first: Any
    second: Any
    macs: int

    @property
    def rank(self) -> int:
        """Channels between the two."""
        return int(self.first.shape[-1])

    @property
    def saves(self) -> bool:
        """Whether multiply-adds fall and numbers do not rise."""
        numbers = self.first.size + self.second.size
        return bool(self.macs < self.site.macs and numbers <= self.site.kernel.size)

    @classmethod
    def of(cls, site: Site, at: int, rank: int | None, energy: float) -> Factors:
        """Parted at `at`, with that rank or the least that keeps `energy`."""
        import numpy as np

        space, (inputs, outputs) = site.space, site.kernel.shape[-2:]
        before, after = space[:at], space[at:]
        axes = len(space)
        order = [*range(at), axes, *range(at, axes), axes + 1]
        rows = math.prod(before) * inputs
        matrix = np.asarray(site.kernel, dtype=np.float64).transpose(order).reshape(rows, -1)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        shares = np.cumsum(values**2)
        total = float(shares[-1])
        full = len(values)
        if rank is None:
            # Of a kernel of zeros any rank keeps all.
            enough = shares >= energy * total * (1 - 1e-12)
            rank = int(np.argmax(enough)) + 1
        rank = min(rank, full)
        root = np.sqrt(values[:rank])
        first = (left[:, :rank] * root).reshape(*before, *(1 for _ in after), inputs, rank)
        second = (root[:, None] * right[:rank]).reshape(rank, *after, outputs)
        second = np.moveaxis(second, 0, -2).reshape(*(1 for _ in before), *after, rank, outputs)
        inside, outside = site.sizes
        between = math.prod([*outside[:at], *inside[at:]])
        return cls(
            site=site,
            at=at,
            full=full,
            kept=float(shares[rank - 1] / total) if total else 1.0,
            first=first.astype(np.float32),
            second=second.astype(np.float32),
            macs=first.size * between + second.size * math.prod(outside),
        )

    @property
    def text(self) -> str:
        """As people read it: ``conv2 3×1 and 1×3, rank 12 of 96``."""
        if not self.site.space:
            return f"{self.site.layer} rank {self.rank} of {self.full}"
        kernels = ["×".join(map(str, kernel.shape[:-2])) for kernel in (self.first, self.second)]
        return f"{self.site.layer} {kernels[0]} and {kernels[1]}, rank {self.rank} of {self.full}"


def first_part(values: Sequence[Any], at: int, rest: Any) -> tuple[Any, ...]:
    """Of a number per spatial axis the first layer's: its own, and `rest` for the other axes."""
    return (*values[:at], *(rest for _ in values[at:]))


def second_part(values: Sequence[Any], at: int, rest: Any) -> tuple[Any, ...]:
    """The second layer's: see `first_part`."""
    return (*(rest for _ in values[:at]), *values[at:])


def _notes(found: Mapping[str, Factors], left: Mapping[str, str]) -> list[str]:
    before = sum(each.site.macs for each in found.values())
    after = sum(each.macs for each in found.values())
    kept = min(each.kept for each in found.values())
    one = len(found) == 1
    said = [
        f"{len(found)} layer{' is' if one else 's are'} two now, with {after / before:.2f} of "
        f"{'its' if one else 'their'} multiply-adds and at least {100 * kept:.1f} % of each "
        f"kernel's energy: {_some(each.text for each in found.values())}"
    ]
    if left:
        said.append(f"left as they are: {_listed(left)}")
    return said


def _listed(left: Mapping[str, str]) -> str:
    return _some(f"{layer} {why}" for layer, why in left.items())


def _some(parts: Iterable[str]) -> str:
    known = list(parts)
    more = f"; and {len(known) - NAMED} more" if len(known) > NAMED else ""
    return "; ".join(known[:NAMED]) + more
