"""What quantizing one layer alone costs and gives."""

from __future__ import annotations

from edgekit.core.noun import Noun


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
