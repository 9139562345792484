"""Which channels of a net belong together, what each costs, and which of them to do without.

Framework-free. Every channel of every tensor in the graph has the number of a unit; channels with
the same number live and die together, since they are added to each other, say. Layers whose units
were ever tied are a family: it is ranked and rounded as one.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from edgekit.core.errors import UsageError
from edgekit.core.quantize import names_near

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]
    Mask = NDArray[np.bool_]
    Scores = NDArray[np.float64]

Kind = Literal["kernel", "norm", "rest"]

PINNED = -1  # the label of a channel that stays
EPSILON = 1e-12


class Channels:
    """Units under way: made by layers, tied by the graph."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._family: list[int] = []  # of each unit, as a union of its own
        self._families: list[int] = []
        self._pinned: set[int] = set()
        self._single: set[int] = set()  # families whose units are large: heads

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int, *, single: bool = False) -> Labels:
        """Labels of as many new units, one family.

        Args:
            single: its units are large and few, as heads are: they go one by one.
        """
        import numpy as np

        family = len(self._families)
        self._families.append(family)
        if single:
            self._single.add(family)
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        self._family.extend([family] * count)
        return np.arange(first, first + count)

    def tie(self, one: Labels, other: Labels) -> None:
        """These channels are the same units, pair by pair."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            if a == PINNED and b == PINNED:
                continue
            if PINNED in (a, b):
                self._pinned.add(_root(self._parent, max(a, b)))
                continue
            a, b = _root(self._parent, a), _root(self._parent, b)
            if a == b:
                continue
            low, high = min(a, b), max(a, b)
            self._parent[high] = low
            if high in self._pinned:
                self._pinned.add(low)
            first = _root(self._families, self._family[low])
            second = _root(self._families, self._family[high])
            self._families[max(first, second)] = min(first, second)

    def pin(self, labels: Labels) -> None:
        """These channels stay."""
        for label in set(labels.tolist()) - {PINNED}:
            self._pinned.add(_root(self._parent, label))

    def join(self, blocks: Labels) -> None:
        """Make one unit of each row of units that are one family: a head."""
        for row in blocks.tolist():
            for unit in row[1:]:
                self._parent[_root(self._parent, unit)] = _root(self._parent, row[0])
            self._single.add(_root(self._families, self._family[_root(self._parent, row[0])]))

    def roots(self, labels: Labels) -> Labels:
        """The labels with one number for each unit."""
        import numpy as np

        found = [PINNED if i == PINNED else _root(self._parent, i) for i in labels.tolist()]
        return np.asarray(found, dtype=np.int64)

    def families(self) -> list[tuple[Labels, Mask, bool]]:
        """The units of each family, which of them may go, and whether they go one by one; in the
        order they were made.
        """
        import numpy as np

        members: dict[int, list[int]] = {}
        for unit, parent in enumerate(self._parent):
            if unit == parent:
                members.setdefault(_root(self._families, self._family[unit]), []).append(unit)
        return [
            (
                np.asarray(units),
                np.asarray([unit not in self._pinned for unit in units]),
                family in self._single,
            )
            for family, units in sorted(members.items())
        ]


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


@dataclass
class Site:
    """A tensor of weights, and whose channels its axes are.

    Attributes:
        name: of the tensor, the framework's own.
        layer: the user's name.
        axes: labels along those axes that have channels; a label may stand there more than once.
        reads: the axis of what the layer reads; None if it makes nothing of it (a bias, a norm).
        macs: multiply-adds of one inference that each of its numbers takes part in.
    """

    name: str
    layer: str
    kind: Kind
    shape: tuple[int, ...]
    axes: dict[int, Labels] = field(default_factory=dict)
    reads: int | None = None
    macs: float = 0.0

    @property
    def makes(self) -> list[Labels]:
        """Labels of the channels that it gives or keeps up, not of those it reads."""
        return [labels for axis, labels in self.axes.items() if axis != self.reads]


@dataclass
class Family:
    """Layers that have as many channels as each other.

    Attributes:
        layers: their names.
        units: that they have.
        free: which of these may go.
        single: whether they go one by one.
        floor: how many stay.
        step: what counts are a multiple of.
    """

    layers: tuple[str, ...]
    units: Labels
    free: Mask
    single: bool = False
    floor: int = 1
    step: int = 1

    @property
    def name(self) -> str:
        """For people."""
        more = len(self.layers) - 1
        return self.layers[0] + (f" (+{more})" if more else "")

    def widths(self) -> list[int]:
        """All counts that it may have, from what it has down."""
        have = len(self.units)
        least = max(self.floor, int((~self.free).sum()), 1)
        below = (have - 1) // self.step * self.step
        return [have, *range(below, least - 1, -self.step)] if self.step else [have]


def find_families(channels: Channels, sites: Sequence[Site]) -> list[Family]:
    """What may shrink, with the names of its layers; families that nothing may leave, too."""
    import numpy as np

    names: dict[int, dict[str, None]] = {}
    for site in sites:
        if site.kind == "kernel":
            for labels in site.makes:
                for unit in np.unique(labels[labels != PINNED]).tolist():
                    names.setdefault(unit, {})[site.layer] = None
    found = []
    for units, free, single in channels.families():
        layers = dict.fromkeys(name for unit in units.tolist() for name in names.get(unit, ()))
        if layers:
            found.append(Family(tuple(layers), units, free, single))
    return found


def named(families: Iterable[Family], patterns: Sequence[str], what: str) -> list[Family]:
    """Those with a layer that one of the `patterns` means; every pattern has to mean one.

    Raises:
        UsageError: a pattern means none; names the nearest.
    """
    known = list(families)
    layers = list(dict.fromkeys(layer for family in known for layer in family.layers))
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(layer, pattern) for layer in layers):
            raise UsageError(
                f"{what} = {pattern!r} matches no layer with channels",
                hint=f"its layers: {', '.join(names_near(pattern, layers) or layers)}",
            )
    return [
        family
        for family in known
        if any(fnmatch.fnmatchcase(layer, p) for layer in family.layers for p in patterns)
    ]


# ------------------------------------------------------------------------------- scores


def unit_scores(parts: Iterable[tuple[Labels, Any]], count: int) -> Scores:
    """The mean of what the tensors say of each unit; 0 where none says anything.

    Args:
        parts: labels, and a number for each of them; numbers of the same unit in one part are
            added up.
        count: of all units.
    """
    import numpy as np

    total, said = np.zeros(count), np.zeros(count)
    for labels, values in parts:
        inside = labels != PINNED
        own = np.bincount(labels[inside], np.asarray(values, float)[inside], minlength=count)
        total += own
        said[np.unique(labels[inside])] += 1
    return total / np.maximum(said, 1)


def levelled(scores: Scores, families: Sequence[Family]) -> Scores:
    """Scores with a mean of 1 in each family, so that layers of any size can be ranked together."""
    import numpy as np

    found = np.array(scores, dtype=np.float64)
    for family in families:
        own = found[family.units]
        found[family.units] = own / max(float(own.mean()), EPSILON)
    return found


# --------------------------------------------------------------------------------- plan


class Costs:
    """What the net costs, kept up to date as units go.

    A tensor costs the product of its axes' sizes, times what each number costs: 1 for parameters.
    """

    def __init__(self, sites: Sequence[Site], families: Sequence[Family], of: str) -> None:
        import numpy as np

        self._sizes = [list(map(float, site.shape)) for site in sites]
        self._each = [site.macs if of == "macs" else 1.0 for site in sites]
        place = {
            int(u): (f, i) for f, each in enumerate(families) for i, u in enumerate(each.units)
        }
        # For each family: a tensor, its axis, and how often each unit of the family stands there.
        self._uses: list[list[tuple[int, int, Any]]] = [[] for _ in families]
        for index, site in enumerate(sites):
            if not self._each[index]:
                continue
            for axis, labels in site.axes.items():
                counts: dict[int, Any] = {}
                for unit in labels[labels != PINNED].tolist():
                    if unit in place:
                        family, position = place[unit]
                        if family not in counts:
                            counts[family] = np.zeros(len(families[family].units))
                        counts[family][position] += 1
                for family, times in counts.items():
                    self._uses[family].append((index, axis, times))
        self.total = sum(map(self._cost, range(len(sites))))

    def _cost(self, index: int) -> float:
        return self._each[index] * math.prod(self._sizes[index])

    def remove(self, family: int, positions: Any, sign: int = 1) -> None:
        """Take these units of the family away; with `sign` −1 put them back."""
        touched = {index for index, _, _ in self._uses[family]}
        self.total -= sum(map(self._cost, touched))
        for index, axis, times in self._uses[family]:
            self._sizes[index][axis] -= sign * float(times[positions].sum())
        self.total += sum(map(self._cost, touched))


@dataclass(frozen=True)
class Plan:
    """What goes.

    Attributes:
        kept: of all units.
        cost: of what is left, in the same measure as `whole`.
    """

    kept: Mask
    cost: float
    whole: float


def plan(
    sites: Sequence[Site],
    families: Sequence[Family],
    scores: Scores,
    *,
    of: str,
    target: float,
) -> Plan:
    """Do without the units of the lowest scores until the cost is `target` or less.

    Units go in blocks that leave each family a multiple of its step, those of the lowest mean
    first, whatever family they are of. As the last block may be a large one, blocks are then put
    back, best first, where the cost still allows it.

    Returns:
        The plan; its cost is above `target` if even all floors do not allow it.
    """
    import numpy as np

    costs = Costs(sites, families, of)
    whole = costs.total
    blocks: list[list[Any]] = []  # of each family: positions that go together, the first first
    for family in families:
        order = np.argsort(np.where(family.free, scores[family.units], np.inf), kind="stable")
        widths = family.widths()
        cuts = [len(family.units) - width for width in widths]
        blocks.append([order[a:b] for a, b in pairwise(cuts)])
    means = [
        [float(scores[family.units[block]].mean()) for block in own]
        for family, own in zip(families, blocks, strict=True)
    ]
    done = [0] * len(families)
    while costs.total > target:
        waiting = [f for f, own in enumerate(blocks) if done[f] < len(own)]
        if not waiting:
            break
        lowest = min(waiting, key=lambda f: means[f][done[f]])
        costs.remove(lowest, blocks[lowest][done[lowest]])
        done[lowest] += 1
    gone = {f for f in range(len(families)) if done[f]}
    while gone:
        best = max(gone, key=lambda f: means[f][done[f] - 1])
        costs.remove(best, blocks[best][done[best] - 1], -1)
        if costs.total <= target:
            done[best] -= 1
        else:  # nor will it fit later
            costs.remove(best, blocks[best][done[best] - 1])
            gone.discard(best)
        if not done[best]:
            gone.discard(best)
    kept = np.ones(len(scores), dtype=bool)
    for family, own, count in zip(families, blocks, done, strict=True):
        for block in own[:count]:
            kept[family.units[block]] = False
    return Plan(kept, costs.total, whole)


def keep_along(labels: Labels, kept: Mask) -> Labels:
    """Indices along an axis that stay."""
    import numpy as np

    return np.flatnonzero((labels == PINNED) | kept[np.maximum(labels, 0)])


def sliced(values: Any, axes: Mapping[int, Labels], kept: Mask) -> Any:
    """The array without the channels that go."""
    import numpy as np

    for axis, labels in axes.items():
        values = np.take(values, keep_along(labels, kept), axis=axis)
    return np.ascontiguousarray(values)
