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

or as much as it takes for a time, or where it costs least,

    [[passes]]
    pass = "low-rank"
    target = "latency"            # of one inference: see `edgekit.compress.latency`
    share = 0.7                   # of the time before; or milliseconds = 3.0; on = "ssh://pi"

    [[passes]]
    pass = "low-rank"
    energies = "auto"             # each layer's own
    remove = 0.4                  # share of all the layers' numbers that is gone, at least

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

``energies = "auto"`` tries each layer alone at the energies `TRIED`, on at most 128 of the training
samples, nothing trained (`edgekit sensitivity --technique low-rank` shows the same). A layer's cost
is the power of the error that this makes in the outputs, as a part of the signal's. Along the lower
convex hull of what was measured of each layer, energies are lowered greedily where the next numbers
cost least each, until enough are gone; layers that are dear stay whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from edgekit.compress.hull import lower_hull
from edgekit.compress.net import matching
from edgekit.compress.timed import TimedTechnique
from edgekit.core.compression import PassSpec
from edgekit.core.errors import ConversionError, UsageError
from edgekit.core.registry import resolve

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe
    from edgekit.core.sensitivity import LayerTrials, TechniqueSensitivity

PARTS = {
    "keras": "edgekit.compress.low_rank_keras",
    "torch": "edgekit.compress.low_rank_torch",
}
SPOILED = ("prune", "cluster", "qat")  # passes whose zeros, values or ranges products do not keep
LEAST_LOSS = 0.005  # of energy, below which there is nothing gentler
GENTLER = 1.5  # times the rank: see `LowRank.gentler`
NAMED = 8  # layers in a note

AUTO = "auto"
TRIED = (0.98, 0.95, 0.9, 0.8, 0.6)  # energies that layers are tried at
MOST = 0.95  # of the energy can go for a time: what is left of it is one rank, as a rule

Split = Literal["auto", "spatial", "channels"]


class LowRank(TimedTechnique):
    """See above.

    Attributes:
        energy: share of the squared singular values that is kept, at least; it sets the rank.
        rank: of all layers, instead of `energy`.
        ranks: of single layers, by patterns of the user's names; others get `rank`, or what
            `energy` says.
        energies: of single layers in the same way. "auto" finds them, for `remove`.
        remove: share of the numbers in the layers that may be replaced, which is gone at least.
        split: how convolutions with a kernel larger than 1 are parted.
        layers: those that may be replaced, by such patterns; all of them if empty.
        exclude: layers that are left as they are.
        required: whether it is an error if no layer gets cheaper.
    """

    energy: float = Field(default=0.9, gt=0, le=1)
    rank: int | None = Field(default=None, ge=1)
    ranks: dict[str, int] = Field(default_factory=dict)
    energies: dict[str, float] | Literal["auto"] = Field(default_factory=dict)
    remove: float | None = Field(default=None, gt=0, lt=1)
    split: Split = "auto"
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    required: bool = True

    amounts: ClassVar[tuple[str, ...]] = ("energy", "rank", "ranks", "energies", "remove")
    goes: ClassVar[str] = "of the kernels' energy"
    eased_by: ClassVar[str] = "or exclude fewer layers"

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
        if (self.energies == AUTO) != (self.remove is not None):
            raise ValueError('energies = "auto" and remove = 0.4, say, go together')
        others = [n for n in ("energy", "rank", "ranks") if n in self.model_fields_set]
        if self.energies == AUTO and others:
            raise ValueError(f'energies = "auto" and {others[0]} both decide what each layer keeps')
        return self

    @field_validator("energies")
    @classmethod
    def _shares(cls, energies: dict[str, float] | str) -> dict[str, float] | str:
        for name, energy in energies.items() if isinstance(energies, dict) else ():
            if not 0 < energy <= 1:
                raise ValueError(f"{name} = {energy}: an energy is above 0 and at most 1")
        return energies

    def strengths(self) -> tuple[tuple[str, Self], ...]:
        """See `Technique.strengths`: shares of the energy that are kept."""
        dropped: dict[str, Any] = {
            "ranks": {}, "rank": None, "energies": {}, "remove": None, "required": False,
            "layers": (), "exclude": (),
        }  # fmt: skip
        return tuple(
            (f"{100 * energy:.0f} %", self.untimed(**dropped, energy=energy)) for energy in TRIED
        )

    @property
    def selects(self) -> bool:
        """See `Technique.selects`."""
        return self.energies == AUTO

    def selected(self, found: TechniqueSensitivity) -> tuple[Self, str]:
        """See `Technique.selected`: how stands above.

        Raises:
            ConversionError: so much cannot be removed.
        """
        assert self.remove is not None
        meant = [
            layer
            for layer in found.layers
            if (not self.layers or layer.is_meant(self.layers)) and not layer.is_meant(self.exclude)
        ]
        energies, gone = least_costly(meant, self.remove)
        if gone < self.remove:
            raise ConversionError(
                f"low-rank: remove = {self.remove:g} is not possible: without {1 - TRIED[-1]:.0%} "
                f"of each kernel's energy {gone:.2g} of the numbers are gone",
                hint=f"ask for remove = {math.floor(100 * gone) / 100:g} or less",
            )
        told = _some(f"{layer} {100 * energy:.0f} %" for layer, energy in energies.items())
        chosen = self.model_copy(
            update={"energies": energies, "layers": tuple(energies), "remove": None}
        )
        return chosen, (
            f"energy that each layer keeps, the costliest first, found on {found.samples} training "
            f"samples: {told}; others stay as they are"
        )

    def most(self, net: Net) -> float:
        """See `Technique.most`.

        Raises:
            UsageError: no layer gets cheaper however little is kept.
        """
        self.removing(MOST).replaced(net)
        return MOST

    def candidate(self, share: float) -> Self:
        """See `Technique.candidate`: little may be too little for any layer."""
        return self.untimed(energy=round(1 - share, 4), epochs=0, required=False)

    def removing(self, share: float) -> Self:
        """See `Technique.removing`: the share is of the energy."""
        return self.untimed(energy=round(1 - share, 4))

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`.

        Raises:
            ConversionError: the model's code needs a layer to be as it was.
            UsageError: no layer gets cheaper.
        """
        found, left = self.replaced(net)
        if found:
            resolve(f"{PARTS[net.framework]}:replace")(net, found)
        if trainer is not None:
            trainer.run()
        return _notes(found, left)

    def replaced(self, net: Net) -> tuple[dict[str, Factors], dict[str, str]]:
        """What layers become, and why others stay, by their names.

        Raises:
            UsageError: no layer can be replaced, or none gets cheaper and that is `required`.
        """
        sites: list[Site] = resolve(f"{PARTS[net.framework]}:sites")(net)
        chosen, left = self.chosen(net, sites)
        found: dict[str, Factors] = {}
        for site, rank, energy in chosen:
            factors = self.factors(site, rank, energy)
            if isinstance(factors, str):
                left[site.layer] = factors
            else:
                found[site.layer] = factors
        if not chosen or (self.required and not found):
            raise UsageError(
                f"low-rank: no layer gets cheaper: {_listed(left) or 'none is left to replace'}",
                hint="lower energy or rank, and train ([training] epochs) to win back what is lost",
            )
        return found, left

    def chosen(
        self, net: Net, sites: Sequence[Site]
    ) -> tuple[list[tuple[Site, int | None, float]], dict[str, str]]:
        """What may be replaced, each with the rank that it was given and the energy that it keeps
        otherwise; and what not, with reasons.

        Raises:
            UsageError: a pattern matches nothing.
        """
        weights = net.weights().values()
        shown = {weight.layer for weight in weights}
        known = {site.layer: site for site in sites if site.layer in shown}

        def named(patterns: Sequence[str], what: str) -> list[str]:
            return list(dict.fromkeys(w.layer for w in matching(weights, patterns, what)))

        ranks = {
            layer: rank
            for pattern, rank in self.ranks.items()
            for layer in named([pattern], "ranks")
        }
        own = self.energies if isinstance(self.energies, dict) else {}
        energies = {
            layer: energy
            for pattern, energy in own.items()
            for layer in named([pattern], "energies")
        }
        spared = set(named(self.exclude, "exclude"))
        asked = named(self.layers, "layers") if self.layers else list(known)
        meant = dict.fromkeys([*asked, *ranks, *energies])
        wanted = [layer for layer in meant if layer not in spared]
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
                given = None if layer in energies else self.rank
                rank = ranks.get(layer, given)
                found.append((site, rank, energies.get(layer, self.energy)))
        return found, left

    def factors(self, site: Site, rank: int | None, energy: float) -> Factors | str:
        """The best of what `split` allows; why it is not worth it, where none is.

        Args:
            rank: given; None finds it from `energy`.
        """
        tried = [Factors.of(site, at, rank, energy) for at in site.ways(self.split)]
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
        milder: dict[str, Any] = {}
        if isinstance(self.energies, dict) and self.energies:
            milder["energies"] = {n: round((1 + e) / 2, 6) for n, e in self.energies.items()}
            if 1 - min(milder["energies"].values()) < LEAST_LOSS:
                return None
        elif self.rank is None and not self.ranks:
            lost = (1 - self.energy) / 2
            if lost < LEAST_LOSS:
                return None
            return self.model_copy(update={"energy": round(1 - lost, 6)})
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


def least_costly(layers: Sequence[LayerTrials], remove: float) -> tuple[dict[str, float], float]:
    """The energy that each layer keeps, of those that lose some, and the share of all the layers'
    numbers that is gone then; see above.

    Args:
        layers: each at the energies `TRIED`.
    """
    energies: dict[str, float] = {}
    total = sum(layer.weights for layer in layers)
    steps = []
    for index, layer in enumerate(layers):
        kept: dict[float, float] = {}  # the most energy with which so much is gone
        for trial, energy in zip(layer.trials, TRIED, strict=True):
            kept.setdefault(trial.removed * layer.weights, energy)
        points = [(trial.removed * layer.weights, trial.cost) for trial in layer.trials]
        for (before, before_cost), (after, cost) in itertools.pairwise(lower_hull(points)):
            slope = (cost - before_cost) / (after - before)
            steps.append((slope, index, after - before, kept[after]))
    gone = 0.0
    for _, index, numbers, energy in sorted(steps):
        if gone >= remove * total:
            break
        energies[layers[index].layer] = energy
        gone += numbers
    ordered = {each.layer: energies[each.layer] for each in layers if each.layer in energies}
    return ordered, gone / total if total else 0.0


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
    if not found:
        return [f"no layer gets cheaper: {_listed(left)}"]
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
