"""What a change of one layer alone costs and gives: quantization, or a technique of a recipe's
[[passes]] at several strengths.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable

from edgekit.core.noun import Noun

MOST_SAMPLES = 128  # spread over the set: a mean over these is steady, and every layer needs a run


class LayerCost(Noun):
    """One layer, quantized while all others stay in float.

    Attributes:
        layer: the user's name of it, as far as the converter kept it.
        operators: the kinds of its operators, in the file's order.
        snr_db: of the model's outputs against the float file's, the worst output; None if equal.
        saved_bytes: how much smaller the file is than the float one; negative if larger.
        macs: multiply-adds of its operators in one run.
        accuracy: share of samples (0 to 1) whose label is the best answer; None without labels.
        failed: why it could not be quantized alone; nothing else is known then.
    """

    layer: str
    operators: tuple[str, ...]
    snr_db: float | None = None
    saved_bytes: int = 0
    macs: int = 0
    accuracy: float | None = None
    failed: str = ""


class Sensitivity(Noun):
    """All layers of a model, the costliest first.

    Attributes:
        variant: the kind of quantization that was tried.
        samples: how many samples were run.
        float_accuracy, float_bytes: of the float file.
        whole: the same with all layers quantized at once.
        measured: in words, what the numbers are.
    """

    model: str
    variant: str
    samples: int
    float_bytes: int
    float_accuracy: float | None = None
    whole: LayerCost
    layers: tuple[LayerCost, ...]
    measured: str


def by_cost(layers: list[LayerCost]) -> list[LayerCost]:
    """The costliest first: least signal-to-noise; layers without a number last."""
    return sorted(
        layers,
        key=lambda each: (
            bool(each.failed),
            each.snr_db is None,
            0.0 if each.snr_db is None else each.snr_db,
        ),
    )


EQUAL_DB = 120.0  # what equal outputs count as where signal-to-noise ratios are added up


class Trial(Noun):
    """A technique at one strength, applied to one layer alone, nothing trained.

    Attributes:
        strength: a short name of it ("80 %").
        snr_db: of the model's outputs against the source's, the worst output; None if equal.
        accuracy: share of samples (0 to 1) whose label is the best answer; None without labels.
        removed: numbers that are gone or zero now, as a share of the layer's weights.
        saved_bytes: how much smaller the model's weights are when they are zipped.
        failed: why it could not be done; nothing else is known then.
    """

    strength: str
    snr_db: float | None = None
    accuracy: float | None = None
    removed: float = 0.0
    saved_bytes: int = 0
    failed: str = ""

    @property
    def cost(self) -> float:
        """Power of the outputs' error as a part of the signal's; infinite where it failed."""
        if self.failed:
            return math.inf
        return 0.0 if self.snr_db is None else float(10 ** (-self.snr_db / 10))


class LayerTrials(Noun):
    """One layer at every strength.

    Attributes:
        layer: the user's name.
        kernels: the names of its weights.
        weights: numbers in them.
    """

    layer: str
    kernels: tuple[str, ...]
    weights: int
    trials: tuple[Trial, ...]

    def is_meant(self, patterns: Iterable[str]) -> bool:
        """Whether one of them means it, or names one of its weights."""
        return any(
            fnmatch.fnmatchcase(self.layer, pattern) or pattern in self.kernels
            for pattern in patterns
        )

    @property
    def mean_db(self) -> float:
        """Over the strengths; what failed counts as harmless, as there is nothing to lose."""
        values = [EQUAL_DB if each.snr_db is None else each.snr_db for each in self.trials]
        return sum(values) / len(values)


class TechniqueSensitivity(Noun):
    """All layers of a model under one technique, the costliest first.

    Attributes:
        technique: its name in a recipe.
        strengths: their names, the mildest first; every layer's trials are in this order.
        samples: how many samples were run.
        accuracy, zipped_bytes: of the source.
        whole: the same with all layers at once.
        left_out: layers that it does not touch unless they are named, and `because`.
        measured: in words, what the numbers are.
    """

    model: str
    technique: str
    strengths: tuple[str, ...]
    samples: int
    accuracy: float | None = None
    zipped_bytes: int
    whole: LayerTrials
    layers: tuple[LayerTrials, ...]
    left_out: tuple[str, ...] = ()
    because: str = ""
    measured: str
