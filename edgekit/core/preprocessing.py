"""What happens to an input before the model sees it, as a closed list of operations.

It travels with the artifact, so that calibration, verification and the product's app cannot do
different things. Every operation has one exact meaning, given by the numpy reference in
`edgekit.core.preprocess_reference`; implementations in other languages are tested against its
results, bit for bit. The text form for the command line is in `edgekit.core.preprocess_text`.

Images enter as RGB, uint8, shape (height, width, 3).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgekit.core.noun import Noun

MAX_SIDE = 2**14  # keeps a typing error from asking for a gigapixel

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
# Numbers are used as float32, so they must be one: no infinity, and no divisor that becomes zero.
Real = Annotated[float, Field(ge=-3.4e38, le=3.4e38, allow_inf_nan=False)]
Divisor = Annotated[float, Field(ge=1.2e-38, le=3.4e38, allow_inf_nan=False)]

INTEGER_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-(2**15), 2**15 - 1)}


class Resize(Noun):
    """Scale an image to `height` × `width` pixels, ignoring its aspect ratio."""

    op: Literal["resize"] = "resize"
    height: Side
    width: Side
    method: Literal["nearest", "bilinear"] = "bilinear"


class ResizeShortSide(Noun):
    """Scale an image so that its shorter side has `size` pixels, keeping its aspect ratio."""

    op: Literal["resize-short-side"] = "resize-short-side"
    size: Side
    method: Literal["nearest", "bilinear"] = "bilinear"


class CenterCrop(Noun):
    """Cut `height` × `width` pixels out of the middle."""

    op: Literal["center-crop"] = "center-crop"
    height: Side
    width: Side


class Color(Noun):
    """Reorder the channels of an RGB image, or make one grey channel of them."""

    op: Literal["color"] = "color"
    to: Literal["bgr", "gray"]


class Normalize(Noun):
    """(x − mean) / std per channel, in float32; one value stands for all channels."""

    op: Literal["normalize"] = "normalize"
    mean: tuple[Real, ...] = Field(default=(0.0,), min_length=1)
    std: tuple[Divisor, ...] = Field(default=(1.0,), min_length=1)

    @model_validator(mode="after")
    def _same_channels(self) -> Self:
        counts = {len(self.mean), len(self.std)} - {1}
        if len(counts) > 1:
            raise ValueError(f"{len(self.mean)} means but {len(self.std)} standard deviations")
        return self


class ToLayout(Noun):
    """Move the channels: images are HWC until this says otherwise."""

    op: Literal["layout"] = "layout"
    to: Literal["CHW"] = "CHW"


class Cast(Noun):
    """Change the type without changing values that fit; others are rounded and saturate."""

    op: Literal["cast"] = "cast"
    dtype: Literal["uint8", "int8", "float32"]


class Quantize(Noun):
    """round-half-even(x / scale) + zero_point, saturated to the type."""

    op: Literal["quantize"] = "quantize"
    scale: Divisor
    zero_point: int = 0
    dtype: Literal["uint8", "int8", "int16"]

    @model_validator(mode="after")
    def _zero_point_fits(self) -> Self:
        low, high = INTEGER_RANGES[self.dtype]
        if not low <= self.zero_point <= high:
            raise ValueError(f"zero point {self.zero_point} is not a {self.dtype}")
        return self


Operation = Annotated[
    Resize | ResizeShortSide | CenterCrop | Color | Normalize | ToLayout | Cast | Quantize,
    Field(discriminator="op"),
]


class Preprocessing(Noun):
    """The operations in order; none means that the input goes in as it is."""

    operations: tuple[Operation, ...] = ()
