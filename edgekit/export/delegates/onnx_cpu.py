"""ONNX Runtime on the CPU: x86 and Arm, the usual way of an ``.onnx``.

    # variants
    onnx-float32  onnx-float16  onnx-dynamic  onnx-int8  onnx-int8-io

int8 has signed 8-bit activations with a zero point and signed weights with a scale for each
channel, as ONNX Runtime recommends first; its kernels for Arm take signed numbers.
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from typing import Any, ClassVar

from edgekit.core.errors import PlanError
from edgekit.core.quantize import EVERY_RANGE, Choices
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.requirement import Requirement

INSTALL = "pip install 'edgekit[onnx]'"


class ONNXDelegate:
    """A `Delegate` of ONNX files; what it says is all plain data, for the worker.

    Attributes:
        open_sizes: whether its artifacts can take any size in a range.
        integer_io: whether its artifacts can take and give 8-bit numbers.
        quantizer: how ONNX Runtime's quantizer is told to quantize: ``options``, its
            ``extra_options``; ``operators``, the only ones to quantize, all that it knows if empty;
            ``symmetric``, whether zero points have to be 0.
    """

    title = ""
    quantizations: tuple[QuantizationKind, ...] = ()
    requirements: tuple[Requirement, ...] = tuple(
        Requirement(kind="package", name=name, how=INSTALL)
        for name in ("onnx", "onnxruntime", "onnxslim", "onnxsim")
    )
    runs_here = False
    open_sizes = False
    integer_io = False
    quantizer: ClassVar[dict[str, Any]] = {}
    choices: ClassVar[dict[str, Choices]] = {
        "float16": Choices(spares=True),
        "dynamic-int8": Choices(spares=True),
        "int8": Choices(
            weights={8: ("per-channel", "per-tensor")}, ranges=EVERY_RANGE, spares=True
        ),
    }

    def check(self, recipe: Recipe) -> None:
        """Raise PlanError if `recipe` cannot be made with this delegate."""
        if recipe.quantization not in self.quantizations:
            raise PlanError(
                f"{recipe.name}: {self.title} has no {recipe.quantization}; it has "
                f"{', '.join('float32' if kind == 'none' else kind for kind in self.quantizations)}"
            )
        if recipe.io == "integer" and not self.integer_io:
            raise PlanError(
                f"{recipe.name}: with {self.title} the inputs and outputs stay float",
                hint=f"take {recipe.name.removesuffix('-io')}",
            )
        if recipe.options:
            raise PlanError(
                f"{recipe.name}: {self.title} has no option {sorted(recipe.options)[0]!r}; "
                "known: none"
            )

    def notes(self, recipe: Recipe, name: str) -> list[str]:
        """Sentences for the report; the file is called `name` there, without its suffix."""
        return []


class CpuDelegate(ONNXDelegate):
    """ONNX Runtime's own kernels."""

    title = "ONNX Runtime"
    quantizations = ("none", "float16", "dynamic-int8", "int8", "original")
    runs_here = True
    open_sizes = True
    integer_io = True
    quantizer: ClassVar[dict[str, Any]] = {"options": {}, "operators": [], "symmetric": False}
