"""What happens to an input before the model sees it, as a closed list of operations.

It travels with the artifact, so that calibration, verification and the product's app cannot do
different things. Every operation has one exact meaning, given by the numpy reference here;
implementations in other languages are tested against its results, bit for bit.

Images enter as RGB, uint8, shape (height, width, 3).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgekit.core.noun import Noun


class Resize(Noun):
    """Scale an image to `height` × `width` pixels, ignoring its aspect ratio."""

    op: Literal["resize"] = "resize"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    method: Literal["nearest", "bilinear"] = "bilinear"


class ResizeShortSide(Noun):
    """Scale an image so that its shorter side has `size` pixels, keeping its aspect ratio."""

    op: Literal["resize-short-side"] = "resize-short-side"
    size: int = Field(ge=1)
    method: Literal["nearest", "bilinear"] = "bilinear"


class CenterCrop(Noun):
    """Cut `height` × `width` pixels out of the middle."""

    op: Literal["center-crop"] = "center-crop"
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Color(Noun):
    """Reorder the channels of an RGB image, or make one grey channel of them."""

    op: Literal["color"] = "color"
    to: Literal["bgr", "gray"]


class Normalize(Noun):
    """(x − mean) / std per channel, in float32; one value stands for all channels."""

    op: Literal["normalize"] = "normalize"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


class ToLayout(Noun):
    """Move the channels: images are HWC until this says otherwise."""

    op: Literal["layout"] = "layout"
    to: Literal["CHW"] = "CHW"


class Cast(Noun):
    """Change the type without changing values that fit; others saturate."""

    op: Literal["cast"] = "cast"
    dtype: Literal["uint8", "int8", "float32"]


class Quantize(Noun):
    """round-half-even(x / scale) + zero_point, saturated to the type."""

    op: Literal["quantize"] = "quantize"
    scale: float = Field(gt=0)
    zero_point: int = 0
    dtype: Literal["uint8", "int8", "int16"]


Operation = Annotated[
    Resize | ResizeShortSide | CenterCrop | Color | Normalize | ToLayout | Cast | Quantize,
    Field(discriminator="op"),
]


class Preprocessing(Noun):
    """The operations in order; none means that the input goes in as it is."""

    operations: tuple[Operation, ...] = ()
