"""TFLite, for LiteRT (ai-edge-litert) and tflite-runtime: https://ai.google.dev/edge/litert

    # in a recipe file
    quantization = "none" | "float16" | "dynamic-int8" | "int8" | "int16x8"
    io = "float" | "integer"

The float flatbuffer is made once, by TensorFlow; the quantized variants come from it, by
ai-edge-quantizer, in a process without TensorFlow. Why this way, with figures: README.md here.
"""

from __future__ import annotations

from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.work.steps import Step

QUANTIZER_TOOLS = ("ai-edge-quantizer", "ai-edge-litert")


class TFLiteExporter:
    """Makes ``.tflite`` files; an `Exporter`."""

    def step(self, model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
        """See `Exporter.step`."""
        made = _float(model)
        if recipe.quantization == "none":
            return made
        needs = {"float": made}
        if recipe.needs_calibration:
            if calibration is None:
                raise PlanError(
                    f"{recipe.name} needs calibration data",
                    hint="give typical inputs with --calibration",
                )
            needs["ranges"] = _ranges(model, made, calibration)
        asked = {"quantization": recipe.quantization, "io": recipe.io, "name": recipe.variant}
        return Step(
            title=f"{recipe.name}: quantize",
            function="edgekit.export.tflite_quantize:quantize",
            worker="litert",
            arguments={"recipe": asked},
            needs=needs,
            tools=QUANTIZER_TOOLS,
        )


def _float(model: Model) -> Step:
    return Step(
        title="float32: convert",
        function="edgekit.export.tflite_float:convert",
        worker=model.worker,
        arguments={"model": model.to_json()},
        identity=model.identity(),
        tools=("tensorflow", "keras", "tf-keras", "ai-edge-litert"),
    )


def _ranges(model: Model, made: Step, calibration: DataSet) -> Step:
    return Step(
        title=f"{model.name}: calibrate on {calibration.count} samples",
        function="edgekit.export.tflite_quantize:calibrate",
        worker="litert",
        arguments={"samples": calibration.to_json()},
        identity={"samples": calibration.digest},
        needs={"float": made},
        tools=QUANTIZER_TOOLS,
    )
