"""How numbers are quantized beyond the kind of numbers: a recipe's table ``[quantize]``.

    [quantize]
    weights = "per-channel"            # or "per-tensor", "block-32"
    bits = 8                           # or 4, of weights
    ranges = "percentile"              # or "min-max", "moving-average", "mse", "entropy"
    percentile = 99.99
    float = ["features.3*", "op:SOFTMAX"]
    scales = "short"                   # numbers beside the weights that zip well
    layers = "auto"                    # or numbers of single layers: { "head" = "float16" }
    wider = ["int16x8", "float16"]     # what "auto" may give a layer, the first that helps it

Not every format and delegate can do all of it; each says what it can as `Choices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from pydantic import Field, model_validator

from edgekit.core.noun import Noun

Spread = Literal["per-channel", "per-tensor", "block-32", "block-64", "block-128", "block-256"]
RangeMethod = Literal["min-max", "moving-average", "percentile", "mse", "entropy"]
Bits = Literal[8, 4]
# What a layer may be in beside the others, by the last part of a variant's name.
LayerNumbers = Literal["float32", "float16", "dynamic", "int4", "int8", "int16x8"]
# What a layer that 8 bits hurt may have instead, and what is tried in this order unless said.
WiderNumbers = Literal["int16x8", "float16", "float32"]
USUAL_WIDER: tuple[WiderNumbers, ...] = ("int16x8", "float16")
AUTO = "auto"

USUAL_PERCENTILE = 99.99
# How much a new sample counts in a moving average of ranges. PyTorch's MovingAverageMinMaxObserver
# has 0.01 and so, after 100 samples, still a third of the first one; ai-edge-quantizer has this.
AVERAGING = 0.05


class Quantize(Noun):
    """The table ``[quantize]`` of a recipe. What is left out is the format's usual way.

    Attributes:
        weights: what weights share a scale: an output channel, the whole tensor, or so many
            weights in a row of a dense layer.
        bits: of weights.
        ranges: how calibration samples set the range of an activation; the formulas stand in
            `edgekit.export.ranges`. None is min-max in TFLite and ONNX, and the quantizer's own way
            in ExecuTorch.
        percentile: per cent of an activation's values that stay inside its range, for
            ``percentile``; half of the rest is cut off at each end.
        layers: numbers of single layers, by the same patterns as `in_float`; the last one that
            means a layer counts; or ``auto``, which gives the costliest wider numbers until the
            artifact is within its budget.
        wider: those numbers, for ``auto``; a layer gets the first that help it.
        in_float: layers that stay in float, as patterns (``*``, ``?``) of the user's own names, or
            operators as ``op:NAME``; or ``auto``, which leaves the costliest in float until the
            artifact is within its budget. Written ``float``.
        sparse: whether weights are kept as their nonzeros, where that is smaller; for models that
            were pruned. It is the last thing done to the file.
        scales: ``short`` rounds scales and biases so that they zip well; for small models.
    """

    weights: Spread = "per-channel"
    bits: Bits | None = None
    ranges: RangeMethod | None = None
    percentile: float = Field(default=USUAL_PERCENTILE, gt=50, le=100, allow_inf_nan=False)
    layers: dict[str, LayerNumbers] | Literal["auto"] = Field(default_factory=dict)
    wider: tuple[WiderNumbers, ...] = Field(default=USUAL_WIDER, min_length=1)
    in_float: tuple[str, ...] | Literal["auto"] = Field(default=(), alias="float")
    sparse: bool = False
    scales: Literal["exact", "short"] = "exact"

    @property
    def patterns(self) -> tuple[str, ...]:
        """What stays in float by name."""
        return () if self.in_float == AUTO else tuple(self.in_float)

    @property
    def numbers(self) -> dict[str, LayerNumbers]:
        """What layers are in by name."""
        return self.layers if isinstance(self.layers, dict) else {}

    @property
    def candidates(self) -> tuple[LayerNumbers, ...]:
        """What layers that are to be found may be in; nothing where none are to be found."""
        if self.in_float == AUTO:
            return ("float32",)
        return self.wider if self.layers == AUTO else ()

    def settled(self) -> Quantize:
        """The same without layers that are to be found."""
        in_float = () if self.in_float == AUTO else self.in_float
        layers = {} if self.layers == AUTO else self.layers
        return self.model_copy(
            update={"in_float": in_float, "layers": layers, "wider": USUAL_WIDER}
        )

    @model_validator(mode="after")
    def _fits(self) -> Quantize:
        if self.percentile != USUAL_PERCENTILE and self.ranges != "percentile":
            raise ValueError('percentile goes with ranges = "percentile"')
        if not all(pattern.removeprefix("op:") for pattern in (*self.patterns, *self.numbers)):
            raise ValueError("an empty pattern in float or layers matches nothing")
        if self.layers and self.in_float == AUTO:
            raise ValueError('float = "auto" chooses among all layers, so layers cannot be given')
        if self.wider != USUAL_WIDER and self.layers != AUTO:
            raise ValueError('wider goes with layers = "auto"')
        return self


class Choices(Noun):
    """What a delegate can do of ``[quantize]`` for one kind of numbers.

    Attributes:
        weights: by bits, what weights may share a scale.
        ranges: the ways to set ranges; none where nothing is calibrated.
        spares: whether layers and operators may stay in float.
        mixes: what numbers single layers may be in.
        selects: whether it can be found out which layers need wider numbers.
        sparse: whether weights may be kept as their nonzeros.
        shortens: whether scales and biases may be rounded to zip well.
    """

    weights: dict[int, tuple[Spread, ...]] = Field(default_factory=dict)
    ranges: tuple[RangeMethod, ...] = ()
    spares: bool = False
    mixes: tuple[LayerNumbers, ...] = ()
    selects: bool = False
    sparse: bool = False
    shortens: bool = False


EVERY_RANGE: tuple[RangeMethod, ...] = get_args(RangeMethod)


def refusal(asked: Quantize, usual_bits: int, known: Choices) -> str:
    """What of `asked` is not in `known`, and what is, in one line; empty if all of it is.

    Args:
        usual_bits: of weights, where `asked` says none.
    """
    bits = asked.bits or usual_bits
    if (asked.bits or asked.weights != "per-channel") and asked.weights not in known.weights.get(
        bits, ()
    ):
        possible = " or ".join(
            f"{', '.join(spreads)} in {number} bits" for number, spreads in known.weights.items()
        )
        return (
            f"has no {asked.weights} weights in {bits} bits; "
            f"it has {possible or 'no other weights than its own'}"
        )
    if asked.ranges is not None and asked.ranges not in known.ranges:
        return f"does not set ranges by {asked.ranges}; " + (
            f"it does by {', '.join(known.ranges)}"
            if known.ranges
            else "it takes none from calibration, or sets them in its own way only"
        )
    if asked.candidates and not known.selects:
        what = "to leave in float" if asked.in_float == AUTO else "need wider numbers"
        return f"cannot find out which layers {what}; int8 and int16x8 in TFLite can"
    for numbers in (*asked.numbers.values(), *(asked.wider if asked.layers == AUTO else ())):
        if numbers not in known.mixes:
            return f"has no layers in {numbers} beside the others; " + (
                f"it has them in {', '.join(known.mixes)}" if known.mixes else "TFLite has"
            )
    if asked.in_float and not known.spares:
        return "cannot leave chosen layers in float"
    if asked.sparse and not known.sparse:
        return "does not load sparse weights; float32, int8 and int16x8 in TFLite for the CPU do"
    if asked.scales == "short" and not known.shortens:
        return "has no short scales; int8 and int16x8 in TFLite for the CPU have"
    return ""


def choices_for(table: Mapping[str, Choices], quantization: str) -> Choices:
    """What `table` says of that kind of numbers; only the usual way where it says nothing."""
    return table.get(quantization, Choices())


def names_near(pattern: str, names: Iterable[str]) -> list[str]:
    """Up to five of `names` that are like `pattern`, the nearest first."""
    import difflib

    known = list(dict.fromkeys(names))
    bare = pattern.strip("*?")
    by_lower = {name.lower(): name for name in reversed(known)}
    near = difflib.get_close_matches(bare.lower(), by_lower, n=5, cutoff=0.5)
    found = [by_lower[name] for name in near]
    return found or [name for name in known if bare and bare.lower() in name.lower()][:5]
