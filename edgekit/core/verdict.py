"""What verification found about one artifact."""

from __future__ import annotations

from typing import Literal

from edgekit.core.noun import Noun


class OutputParity(Noun):
    """One output of the artifact against the source model's, over all samples.

    Attributes:
        max_abs_error: in the unit of the output.
        cosine: of the two flattened outputs; 1.0 is the same direction.
        snr_db: 10·log10(Σ reference² / Σ (reference − artifact)²); None if they are equal.
        top1_agreement: share of samples whose largest element is the same; None where the output
            is not a vector of scores.
        before_softmax: whether `snr_db` was taken on the values that enter a final softmax.
    """

    name: str
    max_abs_error: float
    cosine: float
    snr_db: float | None
    top1_agreement: float | None = None
    before_softmax: bool = False


class Accuracy(Noun):
    """Share of samples (0 to 1) whose label is the best, or among the five best, answers."""

    top1: float
    top5: float | None = None


class Score(Noun):
    """A metric of an artifact, or of a changed model, against its source's on the same samples.

    Attributes:
        metric: as `edgekit.core.recipe.Budget` names it.
        title: the same for people ("top-1", "RMSE").
        value, source_value: of shares from 0 to 1, of errors in their own unit.
        drop: what is lost, negative where something is gained: percentage ``points`` of a share,
            or ``percent`` of the source's value; `unit` tells.
        low, high: the 95 % interval of the drop, from a paired bootstrap over the samples.
    """

    metric: str
    title: str
    value: float
    source_value: float
    drop: float
    low: float
    high: float
    samples: int
    larger_is_better: bool
    unit: Literal["points", "percent"]

    def within(self, max_drop: float) -> bool:
        """Whether no more than `max_drop` is lost, as far as these samples tell.

        A drop whose interval includes 0 is smaller than the noise, and none.
        """
        return self.kept(max_drop) or self.low <= 0

    def kept(self, max_drop: float) -> bool:
        """Whether the drop itself, noise or not, is no more than `max_drop`."""
        # Not `drop <= max_drop`: 1 of 100 samples is 1.0000000000000009 points in floating point.
        return self.drop <= max_drop * (1 + 1e-9)

    def blind(self, max_drop: float) -> str:
        """A note in words where the samples are too few to see drops of the size of `max_drop`.

        A drop beyond the budget that is large enough to be seen all the same needs none.
        """
        half = (self.high - self.low) / 2
        if half <= max_drop or self.drop > max(half, max_drop):
            return ""
        return (
            f"the evaluation set is too small to see drops below {self.amount(half)}: "
            "give more samples"
        )

    def said(self, value: float) -> str:
        """A value of the metric in words."""
        return f"{100 * value:.2f} %" if self.unit == "points" else f"{value:.4g}"

    def amount(self, drop: float) -> str:
        """A drop in words, with its unit."""
        return f"{drop:.2f} {'points' if self.unit == 'points' else '%'}"


class Divergence(Noun):
    """The first layer, in the order of execution, whose signal-to-noise is below the threshold."""

    layer: str
    tensor: str
    snr_db: float
    threshold_db: float


class LoadCheck(Noun):
    """The artifact opened and run by a board's own runtime, in an environment of its own.

    Attributes:
        loads: it opens, allocates, and gives finite outputs.
        ok: it also answers the check set as it should. Old runtimes were seen to open a newer file
            and compute nonsense from it without a word.
        error: what is wrong, if it is not ok.
    """

    runtime: str
    version: str
    loads: bool
    ok: bool
    error: str = ""


class Verdict(Noun):
    """Whether an artifact may be used, and on what grounds.

    `rejected`: it runs but is over its budget, or the board's runtime computes something else.
    `unloadable`: the board's runtime refuses it.
    `failed`: it could not be made or checked at all.

    `score` holds the budget's metric and the interval of its drop, where there are targets.

    `stand_in` says in words what was run for an artifact that cannot run on this computer; such a
    verdict says nothing of the accelerator's own arithmetic.
    """

    status: Literal["accepted", "rejected", "unloadable", "failed"]
    reasons: tuple[str, ...] = ()
    data: str = ""
    samples: int = 0
    parity: tuple[OutputParity, ...] = ()
    accuracy: Accuracy | None = None
    source_accuracy: Accuracy | None = None
    score: Score | None = None
    divergence: Divergence | None = None
    loads: tuple[LoadCheck, ...] = ()
    stand_in: str = ""

    @property
    def worst_snr_db(self) -> float | None:
        """The lowest signal-to-noise of all outputs; None where all are equal to the source's."""
        return min((p.snr_db for p in self.parity if p.snr_db is not None), default=None)

    @property
    def drop_points(self) -> float | None:
        """Percentage points of top-1 accuracy lost; None without labels."""
        if self.accuracy is None or self.source_accuracy is None:
            return None
        return 100 * (self.source_accuracy.top1 - self.accuracy.top1)
