"""Weight clustering: the weights of a layer share few values, so that the file zips well.

    [[passes]]
    pass = "cluster"
    clusters = 16
    init = "k-means++"         # or "linear", "density"
    scope = "scaled"           # or "layer", "channel"
    exclude = ["logits"]

``layer`` has one set of values for a layer, ``channel`` one for each output channel. ``scaled`` has
one for a layer in units of each channel's largest weight, in whole steps of 1/127 of it: INT8
weights with a scale a channel are then exactly these steps, so that quantization loses nothing of
the weights, and a layer's file holds that many different bytes, whatever its channels' scales are.
It is the default where the recipe quantizes to INT8 with a scale a channel.

Values start as `init` says (k-means++: Arthur and Vassilvitskii, 2007; linear: evenly between the
smallest and the largest; density: evenly in the distribution), then are Lloyd's means. While
training goes on each weight keeps its cluster, and a value is the mean of its weights. All weights
of a cluster then move together, so this and later passes train with a tenth of the learning rate.
Zeros that an earlier pass made stay zeros: one of the values is 0 then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from edgekit.compress.net import Weight, matching, rows, unrows
from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.errors import UsageError

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe

STEPS = 127  # of INT8 weights in each direction
ROUNDING = 1e-3  # of a step: what float32 may be off
ROUNDS = 50  # of Lloyd's, at most
SAMPLED = 200_000  # weights that k-means++ looks at
SPARED = ("depthwise", "embedding")
TRIED = (64, 32, 16, 8)  # numbers of values that layers are tried at
WORTH = 0.02  # share of zeros above which 0 is one of the values


class Cluster(Technique):
    """See above.

    Attributes:
        clusters: different values, 0 among them where a kernel has zeros, and -1 and 1 where they
            are in units of the largest.
        exclude: layers that are left as they are, by patterns of the user's names; depthwise
            kernels and embeddings are only clustered where `include` means them.
    """

    clusters: int = Field(default=16, ge=3, le=256)
    init: Literal["k-means++", "linear", "density"] = "k-means++"
    scope: Literal["layer", "channel", "scaled"] | None = None
    include: tuple[str, ...] = ()

    calm: ClassVar[float] = 0.1
    exclude: tuple[str, ...] = ()

    def settled(self, recipe: Recipe) -> Self:
        """With the scope that goes with what the recipe makes."""
        if self.scope is not None:
            return self
        integers = recipe.quantization in ("int8", "dynamic-int8", "int16x8")
        fits = integers and recipe.quantize.weights == "per-channel" and recipe.weight_bits == 8
        return self.model_copy(update={"scope": "scaled" if fits else "layer"})

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`."""
        books = self.books(net)

        def project(*_: int) -> None:
            for book in books:
                book.project(net)

        project()
        if trainer is not None:
            trainer.run(after=project)
        return [
            f"{len(books)} kernels have at most {self.clusters} values "
            f"{'a channel' if self.scope == 'channel' else 'each'}"
            + (", in steps of 1/127 of each channel's largest" if self.scope == "scaled" else "")
        ]

    def books(self, net: Net) -> list[Book]:
        """Each kernel's clusters, found from its weights as they are."""
        return [
            Book.found(net.get(name), weight, self, seed=index)
            for index, (name, weight) in enumerate(self.chosen(net.weights()).items())
        ]

    def chosen(self, weights: Mapping[str, Weight]) -> dict[str, Weight]:
        """What is clustered.

        Raises:
            UsageError: a pattern matches nothing, or nothing is left.
        """
        spared = {w.name for w in matching(weights.values(), self.exclude, "exclude")}
        named = {w.name for w in matching(weights.values(), self.include, "include")}
        found = {
            name: weight
            for name, weight in weights.items()
            if name not in spared and (weight.kind not in SPARED or name in named)
        }
        if not found:
            raise UsageError(
                "cluster: no layer is left to cluster; depthwise kernels and embeddings are only "
                "clustered by name",
                hint='name them: include = ["LAYER"]',
            )
        return found

    def hold(self, net: Net) -> Callable[[], None]:
        """See `Technique.hold`: each weight keeps its cluster."""
        found = (Book.of(net.get(name), weight, self) for name, weight in net.weights().items())
        books = [book for book in found if book is not None]

        def project() -> None:
            for book in books:
                book.project(net)

        return project

    def strengths(self) -> tuple[tuple[str, Self], ...]:
        """See `Technique.strengths`."""
        plain = {"include": (), "exclude": ()}
        return tuple(
            (f"{count} values", self.model_copy(update={**plain, "clusters": count}))
            for count in TRIED
        )

    def gentler(self) -> Self | None:
        """See `Technique.gentler`: twice as many values, up to 256."""
        if self.clusters >= 256:
            return None
        return self.model_copy(update={"clusters": min(256, 2 * self.clusters)})

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """See `Technique.refusal`."""
        if any(each.name == "cluster" for each in before):
            return "the model is clustered already"
        return ""


@dataclass
class Book:
    """The clusters of one kernel.

    Attributes:
        codes: of each weight, as (channels, inputs): the number of its cluster. Clusters of
            different channels have different numbers where they are apart.
        fixed: values that stay, by their clusters' numbers: 0, and in a scaled book 1 and -1, which
            are what the other values of a channel are measured in.
        count: of clusters.
    """

    weight: Weight
    scaled: bool
    codes: Any
    fixed: dict[int, float]
    count: int

    @classmethod
    def found(cls, values: Any, weight: Weight, how: Cluster, *, seed: int) -> Book:
        """New clusters for these weights."""
        import numpy as np

        flat = rows(values, weight.axis)
        scaled = how.scope == "scaled"
        units = flat / _largest(flat) if scaled else flat
        zeros = flat == 0
        sparse = bool(zeros.mean() > WORTH or zeros.all(axis=1).any())
        parts = list(units) if how.scope == "channel" else [units.ravel()]
        keep = [*([0.0] if sparse else []), *([-1.0, 1.0] if scaled else [])]
        known = [
            _clustered(part, how, sparse, scaled, np.random.default_rng(seed)) for part in parts
        ]
        return cls._joined(weight, scaled, flat.shape, known, keep)

    @classmethod
    def of(cls, values: Any, weight: Weight, how: Cluster) -> Book | None:
        """The clusters that are there already: equal values are one.

        None if it has none: too many values, none that two weights share, or in a scaled book
        values that are no whole steps.
        """
        import numpy as np

        flat = rows(values, weight.axis)
        scaled = how.scope == "scaled"
        units = flat
        if scaled:
            steps = flat / _largest(flat) * STEPS
            units = np.rint(steps)
            if np.abs(steps - units).max() > ROUNDING:
                return None
        parts = list(units) if how.scope == "channel" else [units.ravel()]
        known = []
        for part in parts:
            found, codes = np.unique(part, return_inverse=True)
            if len(found) > how.clusters or len(found) == part.size:
                return None
            known.append((codes, found / STEPS if scaled else found))
        return cls._joined(
            weight, scaled, flat.shape, known, [0.0, *((-1.0, 1.0) if scaled else ())]
        )

    @classmethod
    def _joined(
        cls,
        weight: Weight,
        scaled: bool,
        shape: Sequence[int],
        parts: Sequence[tuple[Any, Any]],
        keep: Sequence[float],
    ) -> Book:
        """One book of the codes and values of each part: of the kernel, or of each channel."""
        import numpy as np

        fixed: dict[int, float] = {}
        codes, count = [], 0
        for own, values in parts:
            codes.append(own + count)
            fixed |= {count + i: float(v) for i, v in enumerate(values) if float(v) in keep}
            count += len(values)
        return cls(weight, scaled, np.stack(codes).reshape(shape), fixed, count)

    def project(self, net: Net) -> None:
        """Set every weight to its cluster's value: the mean of the cluster's weights."""
        import numpy as np

        flat = rows(net.get(self.weight.name), self.weight.axis).astype(np.float64)
        unit = self._unit(flat) if self.scaled else 1.0
        codes = self.codes.ravel()
        sums = np.bincount(codes, (flat / unit).ravel(), minlength=self.count)
        values = sums / np.maximum(1, np.bincount(codes, minlength=self.count))
        if self.scaled:
            steps = np.clip(np.rint(values * STEPS), -STEPS, STEPS)
            if 0.0 in self.fixed.values():  # nothing else becomes zero
                steps = np.where(steps == 0, np.where(values < 0, -1, 1), steps)
            values = steps / STEPS
        values[list(self.fixed)] = list(self.fixed.values())
        made = values[self.codes] * unit
        net.put(
            self.weight.name, unrows(made.astype(np.float32), self.weight.shape, self.weight.axis)
        )

    def _unit(self, flat: Any) -> Any:
        """What 1 is in each channel, as (channels, 1): the mean of its largest weights.

        Not the largest of all as they are after a step of training: it would grow with every step,
        as the largest of many that move at random does.
        """
        import numpy as np

        signs = np.zeros(flat.shape)
        for code, value in self.fixed.items():
            signs[self.codes == code] = value
        count = np.abs(signs).sum(axis=1, keepdims=True)
        means = (flat * signs).sum(axis=1, keepdims=True) / np.maximum(1, count)
        return np.where(means > 0, means, _largest(flat))


def _largest(flat: Any) -> Any:
    """Of each channel, as (channels, 1); 1 where all is zero."""
    import numpy as np

    found = np.abs(flat).max(axis=1, keepdims=True)
    return np.where(found > 0, found, 1).astype(flat.dtype)


def _clustered(part: Any, how: Cluster, sparse: bool, scaled: bool, draw: Any) -> tuple[Any, Any]:
    """The cluster of each number, and the values of the clusters."""
    import numpy as np

    fixed = [0.0] if sparse else []
    if scaled:
        fixed += [-1.0, 1.0]
    free = np.asarray(part[part != 0] if sparse else part, dtype=np.float64)
    number = how.clusters - len(fixed)
    centres = np.zeros(0)
    if free.size and number:
        centres = _lloyd(free, _first(free, number, how.init, draw))
    if scaled:
        centres = np.unique(np.rint(centres * STEPS)) / STEPS
    values = np.unique(np.concatenate([centres, fixed]))
    codes = np.searchsorted((values[1:] + values[:-1]) / 2, part)
    if sparse:  # what is zero stays, and nothing else becomes it
        zero = int(np.searchsorted(values, 0.0))
        above = zero + 1 if zero + 1 < len(values) else zero - 1
        below = zero - 1 if zero else zero + 1
        near = (part != 0) & (codes == zero)
        codes = np.where(near, np.where(part > 0, above, below), codes)
        codes = np.where(part == 0, zero, codes)
    return codes, values


def _first(numbers: Any, count: int, init: str, draw: Any) -> Any:
    """Where `count` clusters of the numbers start."""
    import numpy as np

    if init == "linear":
        return np.linspace(numbers.min(), numbers.max(), count)
    if init == "density":
        return np.quantile(numbers, (np.arange(count) + 0.5) / count)
    known = numbers if numbers.size <= SAMPLED else draw.choice(numbers, SAMPLED, replace=False)
    centres = [float(draw.choice(known))]
    nearest = np.square(known - centres[0])
    while len(centres) < count and nearest.sum() > 0:
        centres.append(float(draw.choice(known, p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, np.square(known - centres[-1]))
    return np.sort(np.asarray(centres))


def _lloyd(numbers: Any, centres: Any) -> Any:
    """Means of clusters of numbers, until they stay: Lloyd, 1957, in one dimension."""
    import numpy as np

    ordered = np.sort(numbers)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(ROUNDS):
        ends = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate([[0], ends, [len(ordered)]])
        sizes = np.diff(bounds)
        means = np.where(sizes > 0, np.diff(sums[bounds]) / np.maximum(sizes, 1), centres)
        if np.allclose(means, centres, rtol=0, atol=1e-9):
            break
        centres = np.sort(means)
    return centres
