"""Structured pruning: channels, filters, neurons and attention heads go, and all that hung on them.

    [[passes]]
    pass = "shrink"
    remove = 0.5               # this share of …
    of = "macs"                # … the multiply-adds; or "parameters"
    importance = "magnitude"   # or "batch-norm", "taylor", "activation"
    exclude = ["stem*"]        # layers that keep their channels; * and ? are understood

    target = "latency"         # as much as it takes for a time, in place of `remove`:
    share = 0.5                # this share of the time before; or milliseconds = 3.0
    on = "local"               # measured there; or on a board, "ssh://pi@raspberrypi.local"

What is left is an ordinary, narrower model: every runtime computes faster by it, and its file is
smaller. Inputs and outputs keep their shapes.

Which channels have to go together follows from the graph: what is added to each other, multiplied
or normalized. A group's importance is the mean, over the tensors that belong to it, of

    magnitude    Σ w², as torch-pruning's GroupMagnitudeImportance: https://arxiv.org/abs/2301.12900
    batch-norm   |γ| of the batch norm behind it, magnitude where there is none: https://arxiv.org/abs/1708.06519
    taylor       Σ |w · ∂loss/∂w| on training data: https://arxiv.org/abs/1906.10771
    activation   the mean |x| that the next layers read, on training data

over the mean of its own layer, so that layers of any size are ranked together. Those of the lowest
rank go first, but no layer falls below `floor` of its channels.

For a time, up to six candidates without training are exported as the recipe says and timed with one
thread, in turns with the model before: `edgekit.compress.latency`. Over the accuracy budget such a
pass is not tried gentler: that would miss the time.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from edgekit.compress.channels import (
    Channels,
    Costs,
    Family,
    Plan,
    Site,
    find_families,
    levelled,
    named,
    plan,
    unit_scores,
)
from edgekit.compress.timed import TimedTechnique
from edgekit.compress.training import find_loss
from edgekit.core.compression import History, PassSpec
from edgekit.core.errors import UsageError
from edgekit.core.registry import resolve

if TYPE_CHECKING:
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe

CUTTERS = {
    "keras": "edgekit.compress.shrink_keras:KerasCutter",
    "torch": "edgekit.compress.shrink_torch:TorchCutter",
}
LOCAL = "local"
ON_DATA = ("taylor", "activation")
LOOKED_AT = 256  # training samples that tell what is important
GENTLER = 2 / 3  # of the share: see `Shrink.gentler`
LEAST = 0.1  # share below which it is not worth it
NAMED = 8  # layers in a note
# XNNPACK computes 8 channels at once, 16 on x86 and in INT8 on Arm; what is no multiple of that
# costs as much as the next one. In narrow layers such steps would be too coarse to choose from.
STEPS = (16, 8, 4)


class Shrink(TimedTechnique):
    """See above.

    Attributes:
        remove: share that goes, 0 to 1.
        round_to: layers' channels become a multiple of it. If left out: 16, or 8 or 4 where that is
            more than half of a layer. A layer that loses none keeps the number it has.
        floor: share of a layer's channels that stays in any case.
        steps: rounds of removing and training; each of them removes the same share of what is
            left, and the recipe's epochs are divided between them.
        only: layers that lose channels, by patterns of the user's names; all if empty.
        exclude: layers that lose none, by such patterns. Layers that are added to one of them lose
            none either.
    """

    remove: float = Field(default=0.5, gt=0, lt=1)
    of: Literal["macs", "parameters"] = "macs"
    importance: Literal["magnitude", "batch-norm", "taylor", "activation"] = "magnitude"
    round_to: int | None = Field(default=None, ge=1, le=1024)
    floor: float = Field(default=0.2, ge=0, lt=1)
    steps: int = Field(default=1, ge=1, le=20)
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    amounts: ClassVar[tuple[str, ...]] = ("remove", "of")
    goes: ClassVar[str] = "of the multiply-adds"
    eased_by: ClassVar[str] = "lower floor or round_to, or exclude fewer layers"

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if self.epochs == 0 and self.importance in ON_DATA:
            raise ValueError(
                f"importance = {self.importance!r} needs training data: leave epochs = 0 out, or "
                'take "magnitude" or "batch-norm"'
            )
        return self

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """See `Technique.apply`."""
        steps = self.steps if trainer is not None else 1
        cutter = _cutter(net)
        first = find_families(cutter.channels, cutter.sites)
        whole = Costs(cutter.sites, first, self.of).total
        notes = list(cutter.notes)
        rounds = _Rounds(trainer, steps)
        for index in range(steps):
            if index:
                cutter = _cutter(net)
            target = whole * (1 - self.remove) ** ((index + 1) / steps)
            planned = functools.partial(self.planned, cutter, first, target, trainer)
            made = rounds.planned(index, planned)
            cutter.cut(made.kept)
            rounds.train(index, net)
        rounds.finish()
        last = find_families((after := _cutter(net)).channels, after.sites)
        left = Costs(after.sites, last, self.of).total
        return [*_notes(self, first, last, whole, left), *notes]

    def planned(
        self, cutter: Cutter, before: Sequence[Family], target: float, trainer: Trainer | None
    ) -> Plan:
        """What goes for the cost to be `target` or less.

        Args:
            before: the families as they were at the start, whose widths the floors are shares of.

        Raises:
            UsageError: a pattern matches nothing, or so much cannot go.
        """
        families, made = self._planned(cutter, before, target, trainer)
        if made.cost > target:
            raise self._too_much(made, Costs(cutter.sites, families, self.of).total)
        return made

    def _planned(
        self, cutter: Cutter, before: Sequence[Family], target: float, trainer: Trainer | None
    ) -> tuple[Sequence[Family], Plan]:
        """What goes for that, or all that can."""
        families = find_families(cutter.channels, cutter.sites)
        spared = {id(each) for each in named(families, self.exclude, "exclude")}
        if self.only:
            meant = {id(each) for each in named(families, self.only, "only")}
            spared |= {id(each) for each in families if id(each) not in meant}
        widths = {family.layers: len(family.units) for family in before}
        for family in families:
            width = widths.get(family.layers, len(family.units))
            family.floor = max(1, math.ceil(self.floor * width))
            family.step = 1 if family.single else self.round_to or _step(width)
            if id(family) in spared:
                family.free[:] = False
        scores = levelled(self._scores(cutter, families, trainer), families)
        return families, plan(cutter.sites, families, scores, of=self.of, target=target)

    def most(self, net: Net) -> float:
        """See `Technique.most`."""
        cutter = _cutter(net)
        first = find_families(cutter.channels, cutter.sites)
        plain = self.candidate(0.5)
        families, made = plain._planned(cutter, first, 0.0, None)
        whole = Costs(cutter.sites, families, self.of).total
        possible = math.floor(1000 * (1 - made.cost / whole)) / 1000
        if not possible:
            raise self._too_much(made, whole)
        return possible

    def candidate(self, share: float) -> Self:
        """See `Technique.candidate`. What is important does not change what a width costs."""
        found = self.removing(share).model_dump(exclude_unset=True)
        if self.importance in ON_DATA:
            found["importance"] = "magnitude"
        return self.from_json({**found, "epochs": 0})

    def removing(self, share: float) -> Self:
        """See `Technique.removing`."""
        return self.untimed(remove=share)

    def _too_much(self, made: Plan, whole: float) -> UsageError:
        possible = math.floor(100 * (1 - made.cost / whole)) / 100
        what = "multiply-adds" if self.of == "macs" else "parameters"
        if not possible:
            return UsageError(
                f"shrink: no layer can lose channels while it keeps {100 * self.floor:g} % of them "
                "(floor) and a multiple of round_to",
                hint="set round_to = 1 or a lower floor, exclude fewer layers, or leave shrink out",
            )
        return UsageError(
            f"shrink: remove = {self.remove:g} is not possible: no more than {possible:g} of the "
            f"{what} can go while every layer keeps {100 * self.floor:g} % of its channels (floor)",
            hint=f"ask for remove = {possible:g} or less, lower floor, or leave out fewer layers",
        )

    def _scores(self, cutter: Cutter, families: Sequence[Family], trainer: Trainer | None) -> Any:
        """What `importance` says of each unit."""
        import numpy as np

        count = len(cutter.channels)
        if self.importance == "activation":
            assert trainer is not None
            return unit_scores(cutter.activations(trainer.samples.inputs(_some(trainer))), count)
        if self.importance == "taylor":
            assert trainer is not None
            return self._taylor(cutter, trainer)
        squares = (
            (labels, _along(np.square(cutter.array(site).astype(np.float64)), axis))
            for site in cutter.sites
            if site.kind != "rest"
            for axis, labels in site.axes.items()
        )
        magnitudes = unit_scores(squares, count)
        if self.importance == "batch-norm":
            return self._batch_norm(cutter, families, magnitudes)
        return magnitudes

    def _batch_norm(self, cutter: Cutter, families: Sequence[Family], otherwise: Any) -> Any:
        """|γ|, or what is said `otherwise` in families without a batch norm."""
        import numpy as np

        norms = [site for site in cutter.sites if site.kind == "norm"]
        parts = [
            (labels, _along(np.abs(cutter.array(site)), axis))
            for site in norms
            for axis, labels in site.axes.items()
        ]
        found = unit_scores(parts, len(cutter.channels))
        bare = [each for each in families if not found[each.units].any()]
        if len(bare) == len(families):
            raise UsageError(
                'shrink: importance = "batch-norm": no layer that can shrink has a batch norm',
                hint='take importance = "magnitude"',
            )
        for family in bare:
            found[family.units] = otherwise[family.units]
        return found

    def _taylor(self, cutter: Cutter, trainer: Trainer) -> Any:
        import numpy as np

        training = trainer.training
        net, samples = trainer.net, trainer.samples
        learner = net.learner(training, find_loss(net, samples, training))
        chosen = _some(trainer)
        total: dict[int, Any] = {}
        for at in range(0, len(chosen), training.batch):
            found = learner.gradients(samples.batch(chosen[at : at + training.batch]))
            for key, gradient in found.items():
                total[key] = total.get(key, 0) + gradient
        parts = [
            (labels, _along(np.abs(cutter.array(site) * total[cutter.key(site)]), axis))
            for site in cutter.sites
            if cutter.key(site) in total
            for axis, labels in site.axes.items()
        ]
        return unit_scores(parts, len(cutter.channels))

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """See `Technique.refusal`: clusters and patterns stand on what is cut away."""
        for each in before:
            if each.name == "cluster":
                return "it has to stand before cluster, whose values it would change"
            if each.name == "prune" and each.parameters.get("pattern", "unstructured") != (
                "unstructured"
            ):
                return "it has to stand before prune, whose pattern it would break"
        return ""

    def gentler(self) -> Self | None:
        """See `Technique.gentler`: two thirds of the share; below a tenth it is not worth it."""
        if self.remove * GENTLER < LEAST:
            return None
        return self.model_copy(update={"remove": round(self.remove * GENTLER, 4)})


class Cutter(Protocol):
    """A net of one framework, looked at: its channels, and how to do without some.

    Attributes:
        sites: every tensor of weights.
        notes: what cannot shrink and why, for the report.
    """

    channels: Channels
    sites: list[Site]
    notes: list[str]

    def array(self, site: Site) -> Any:
        """The weights of the site."""

    def key(self, site: Site) -> int:
        """What `Learner.gradients` knows the site's variable by."""

    def activations(self, inputs: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Labels of what each layer reads, and the mean magnitude of each over these samples."""

    def cut(self, kept: Any) -> None:
        """Make the net one without the units that are not kept; the cutter is of no use then.

        Raises:
            ConversionError: the graph does not allow it after all.
        """


def _step(width: int) -> int:
    return next((step for step in STEPS if 2 * step <= width), STEPS[-1])


def _cutter(net: Net) -> Cutter:
    found: Cutter = resolve(CUTTERS[net.framework])(net)
    return found


def _along(values: Any, axis: int) -> Any:
    """Sums over all other axes."""
    return values.sum(axis=tuple(a for a in range(values.ndim) if a != axis))


def _some(trainer: Trainer) -> Any:
    """Indices of training samples to look at, spread over all."""
    import numpy as np

    count = trainer.samples.data.count
    return np.unique(np.linspace(0, count - 1, min(LOOKED_AT, count)).astype(int))


def _notes(
    said: Shrink, before: Sequence[Family], after: Sequence[Family], whole: float, left: float
) -> list[str]:
    now = {family.layers: len(family.units) for family in after}
    changed = [
        (family, len(family.units), now[family.layers])
        for family in before
        if now.get(family.layers, len(family.units)) != len(family.units)
    ]
    what = "multiply-adds" if said.of == "macs" else "parameters"
    listed = [f"{family.name} {was} → {has}" for family, was, has in changed[:NAMED]]
    more = len(changed) - len(listed)
    return [
        f"{100 * (1 - left / whole):.0f} % of the {what} went with channels: "
        + ", ".join(listed)
        + (f", and {more} more" if more else "")
    ]


class _Rounds:
    """Training between the rounds, and what a run that was killed goes on with.

    What was planned and, after each round, the whole state lie in the trainer's own folder: a plan
    that was made anew could be another one, as training is not the same to the last bit.
    """

    def __init__(self, trainer: Trainer | None, steps: int) -> None:
        self._trainer, self._steps = trainer, steps
        self._folder: Path | None = trainer.checkpoint if trainer else None
        self._epochs = trainer.training.epochs if trainer else 0
        self._histories: list[History] = []

    def planned(self, index: int, make: Callable[[], Plan]) -> Plan:
        import numpy as np

        if self._folder is None:
            return make()
        path = self._folder / f"plan-{index}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                return Plan(kept["kept"], float(kept["cost"]), float(kept["whole"]))
        made = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        _save(path, kept=made.kept, cost=np.float64(made.cost), whole=np.float64(made.whole))
        return made

    def train(self, index: int, net: Net) -> None:
        import numpy as np

        trainer, folder = self._trainer, self._folder
        if trainer is None or folder is None:
            return
        trainer.look_again()
        done = folder / f"trained-{index}.npz"
        if done.exists():
            with np.load(done, allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
            self._histories.append(History.from_json(json.loads(arrays.pop("history").tobytes())))
            net.restore(arrays)
            return
        share = max(1, self._epochs // self._steps)
        last = index == self._steps - 1
        epochs = max(1, self._epochs - share * index) if last else share
        settings = trainer.training
        trainer.training = settings.model_copy(update={"epochs": epochs})
        trainer.checkpoint = folder / f"training-{index}"
        history = trainer.run()
        trainer.training = settings
        self._histories.append(history)
        text = np.frombuffer(json.dumps(history.to_json()).encode(), dtype=np.uint8)
        if not last:
            _save(done, history=text, **net.state())

    def finish(self) -> None:
        """Forget what was kept for going on; the trainer's history is that of all rounds."""
        if self._trainer is None or self._folder is None:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._trainer.checkpoint = self._folder
        found = self._histories
        before = sum(each.epochs for each in found[:-1])
        self._trainer.history = found[-1].model_copy(
            update={
                "epochs": sum(each.epochs for each in found),
                "best": before + found[-1].best,
                "steps": sum(each.steps for each in found),
                "loss": tuple(loss for each in found for loss in each.loss),
                "seconds": sum(each.seconds for each in found),
            }
        )


def _save(path: Path, **arrays: Any) -> None:
    """Whole or not at all."""
    import numpy as np

    half = path.with_name(f"half-{path.name}")
    np.savez(half, allow_pickle=False, **arrays)
    half.replace(path)
