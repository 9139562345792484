"""What every technique is: parameters that a person wrote, checked, and what they do to a net."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from edgekit.core.compression import PassSpec, Training
from edgekit.core.noun import Noun

if TYPE_CHECKING:
    from edgekit.compress.latency import TimeTarget
    from edgekit.compress.net import Net
    from edgekit.compress.training import Trainer
    from edgekit.core.recipe import Recipe
    from edgekit.core.sensitivity import TechniqueSensitivity


class Technique(Noun):
    """One pass of a recipe. A new one is a class like this in a file of its own, and a line in
    `edgekit.compress.PASSES`.

    Attributes:
        epochs: of its training, instead of the recipe's; 0 does without.
        learning_rate: that its training begins with, instead of the recipe's and whatever share of
            it `calm` would leave.
        frameworks: that it knows.
        probes: samples of the evaluation data that a technique which does not train looks at; they
            are in `Net.samples`.
        calm: share of the learning rate that its training, and later ones that keep what it made,
            are done with.
        gated: whether the model that it makes is held against the budget; if not, only the artifact
            is.
        goes, eased_by: of one that can be `timed`: what it takes away, and how more can be, in
            words.
    """

    epochs: int | None = Field(default=None, ge=0)
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    frameworks: ClassVar[tuple[str, ...]] = ("keras", "torch")
    never_trains: ClassVar[bool] = False
    probes: ClassVar[int] = 0
    calm: ClassVar[float] = 1.0
    gated: ClassVar[bool] = True
    goes: ClassVar[str] = ""
    eased_by: ClassVar[str] = ""

    @property
    def trains(self) -> bool:
        """Whether it needs training data."""
        return not self.never_trains and self.epochs != 0

    def settled(self, recipe: Recipe) -> Self:
        """With what was left open and the recipe decides; said in its fields, to be passed on."""
        return self

    def refusal(self, before: Sequence[PassSpec], recipe: Recipe) -> str:
        """Why it cannot follow those passes, or come before what the recipe makes; else empty."""
        return ""

    def trained_by(self, training: Training, earlier: Sequence[Technique]) -> Training:
        """How it is trained: the recipe's `training` with what this pass says itself.

        Args:
            earlier: the passes before it, whose work is kept: the calmest gives the learning rate.
        """
        calm = min(each.calm for each in (self, *earlier))
        said = {"learning_rate": self.learning_rate or training.learning_rate * calm}
        return training.model_copy(update={**said, "epochs": self.epochs or training.epochs})

    def apply(self, net: Net, trainer: Trainer | None) -> list[str]:
        """Change `net`; sentences for the report.

        Args:
            trainer: None if it does not train.

        Raises:
            UsageError: a layer that it names is not in the net.
        """
        raise NotImplementedError

    def hold(self, net: Net) -> Callable[[], None] | None:
        """What puts back, after a step of a later training, what this pass made of `net`.

        Layers may have other names by then: what it made is found by what it looks like.
        """
        return None

    def strengths(self) -> tuple[tuple[str, Self], ...]:
        """It at several strengths, the mildest first, each with a short name ("80 %").

        What a layer costs is told by them: `edgekit.compress.sensitivity` applies each to a net
        that shows one layer alone, without a trainer. A UsageError says that the layer is none for
        it. Empty if nothing can be told without training.
        """
        return ()

    @property
    def selects(self) -> bool:
        """Whether it finds out from what the strengths cost what each layer gets: `selected`."""
        return False

    def selected(self, found: TechniqueSensitivity) -> tuple[Self, str]:
        """With what each layer gets in its fields, and a sentence of it for the report.

        Args:
            found: measured with this technique's own `strengths`.

        Raises:
            EdgekitError: nothing can be chosen that is as asked.
        """
        raise NotImplementedError

    @property
    def timed(self) -> TimeTarget | None:
        """The time that it has to reach, by removing as much as that takes: `most`, `candidate` and
        `removing` are for the search."""
        return None

    def most(self, net: Net) -> float:
        """The largest share that it can remove of `net`."""
        raise NotImplementedError

    def candidate(self, share: float) -> Self:
        """It without training, as fast as `removing` it."""
        raise NotImplementedError

    def removing(self, share: float) -> Self:
        """It with that share in the time's place."""
        raise NotImplementedError

    def gentler(self) -> Self | None:
        """The same with less to lose, for when it was over the budget; None if there is none."""
        return None
