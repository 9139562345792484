"""XNNPACK in LiteRT: Arm and x86 CPUs, the usual way of a ``.tflite``.

    # variants
    float32  float16  dynamic  int4  int8  int8-io  int16x8

Nothing is compiled: LiteRT and tflite-runtime hand XNNPACK what it takes when they load the file,
and keep the rest on kernels of their own. What it took is asked for after the conversion. float16
are weights; the arithmetic is float32. int4 is dynamic with 4-bit weights in convolutions and dense
layers; LiteRT's kernels have 4-bit weights in no other operator.
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/README.md
"""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from edgekit.core.quantize import Choices, LayerNumbers, Spread
from edgekit.export.delegates.tflite_base import CHOICES, SCALES, TFLiteDelegate

# What single layers may be in beside others: with ranges from samples, and without.
_CALIBRATED: tuple[LayerNumbers, ...] = ("float32", "float16", "dynamic", "int8", "int16x8")
_UNCALIBRATED: tuple[LayerNumbers, ...] = ("float32", "float16", "dynamic", "int4")


def _with(kind: str, **more: Any) -> Choices:
    return CHOICES[kind].model_copy(update=more)


class XnnpackDelegate(TFLiteDelegate):
    """The CPU by XNNPACK."""

    name = "xnnpack"
    title = "XNNPACK"
    quantizations = (
        "none",
        "float16",
        "dynamic-int8",
        "dynamic-int4",
        "int8",
        "int16x8",
        "original",
    )
    runs_here = True
    open_sizes = True
    choices: ClassVar[dict[str, Choices]] = {
        "none": Choices(sparse=True),
        "float16": _with("float16", mixes=_UNCALIBRATED),
        "dynamic-int8": _with("dynamic-int8", mixes=_UNCALIBRATED),
        "dynamic-int4": Choices(weights={4: get_args(Spread)}, spares=True, mixes=_UNCALIBRATED),
        "int8": _with(
            "int8",
            mixes=_CALIBRATED,
            weights=dict.fromkeys((8, 4), SCALES),
            sparse=True,
            shortens=True,
        ),
        "int16x8": _with("int16x8", mixes=_CALIBRATED, sparse=True, shortens=True),
    }
