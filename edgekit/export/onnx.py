"""ONNX, for ONNX Runtime and TensorRT: https://onnxruntime.ai, https://developer.nvidia.com/tensorrt

    # in a recipe file
    format = "onnx"
    delegate = "cpu" | "tensorrt"
    quantization = "none" | "float16" | "dynamic-int8" | "int8" | "original"
    io = "float" | "integer"

The float32 file is made once: an ONNX model's own graph, any other model's by
torch.onnx.export; both simplified and compared with what they were made from. The quantized files
come from it, by ONNX Runtime's quantizer (QuantizeLinear and DequantizeLinear around operators).
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.export import nms
from edgekit.export.delegates import DELEGATES
from edgekit.export.delegates.onnx_cpu import ONNXDelegate
from edgekit.export.ranges import quantizer_arguments, range_arguments
from edgekit.work.steps import Step

TOOLS = ("onnx", "onnxruntime", "onnxslim", "onnxsim")
QUANTIZER_TOOLS = ("onnx", "onnxruntime")


class ONNXExporter:
    """Makes ``.onnx`` files; an `Exporter`."""

    def step(self, model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
        """See `Exporter.step`."""
        nms.check(model, recipe)
        delegate: ONNXDelegate = DELEGATES[f"onnx/{recipe.delegate}"]()
        delegate.check(recipe)
        notes = delegate.notes(recipe, f"{model.name}-{recipe.name}")
        if recipe.quantization == "original":
            return _original(model, recipe)
        made = onnx_step(model)
        if recipe.quantization == "none":
            return made if delegate.runs_here else _noted(made, recipe, notes)
        needs = {"float": made}
        if recipe.needs_calibration:
            if calibration is None:
                raise PlanError(
                    f"{recipe.name} needs calibration data",
                    hint="give typical inputs with --calibration",
                )
            how = range_arguments(recipe, levels=2**8)
            if how and delegate.quantizer["symmetric"]:
                how["symmetric"] = True
            needs["ranges"] = _ranges(model, made, calibration, how)
        return Step(
            title=f"{recipe.name}: quantize",
            function="edgekit.export.onnx_quantize:quantize",
            worker="onnx",
            arguments={
                "recipe": _asked(recipe),
                "quantizer": delegate.quantizer,
                "notes": notes,
                "runs_here": delegate.runs_here,
            },
            needs=needs,
            tools=QUANTIZER_TOOLS,
        )


def onnx_step(model: Model) -> Step:
    """The step that makes the float32 ``model.onnx`` of any model.

    Raises:
        PlanError: there is no way from this framework.
    """
    if model.framework == "onnx":
        return Step(
            title="float32 ONNX: simplify",
            function="edgekit.export.onnx_float:convert",
            worker=model.worker,
            arguments={"model": model.to_json()},
            identity=model.identity(),
            tools=TOOLS,
        )
    from edgekit.export.program import program_step  # which needs this module for an ONNX model

    exported = Step(
        title="float32 ONNX: export",
        function="edgekit.export.onnx_torch:export",
        worker="torch",
        needs={"program": program_step(model)},
        tools=("torch", "onnxscript", "onnx"),
    )
    return Step(
        title="float32 ONNX: simplify",
        function="edgekit.export.onnx_float:simplify",
        worker="onnx",
        needs={"exported": exported},
        tools=TOOLS,
    )


def _original(model: Model, recipe: Recipe) -> Step:
    if model.framework != "onnx":
        raise PlanError(
            f"{recipe.name}: {model.reference!r} is not an ONNX file",
            hint="onnx-float32 makes one from it",
        )
    if model.forms or model.nms:
        raise PlanError(
            f"{recipe.name}: a file that stays as it is cannot "
            + ("take its inputs in another form" if model.forms else "leave a part of it out"),
            hint="take onnx-float32",
        )
    return Step(
        title=f"{recipe.name}: copy",
        function="edgekit.export.onnx_float:original",
        worker=model.worker,
        arguments={"model": model.to_json()},
        identity=model.identity(),
        tools=("onnx", "onnxruntime"),
    )


def _noted(made: Step, recipe: Recipe, notes: list[str]) -> Step:
    """The same file with what the delegate has to say of it."""
    return Step(
        title=f"{recipe.name}: note",
        function="edgekit.export.onnx_float:noted",
        worker="onnx",
        arguments={"notes": notes},
        needs={"made": made},
        tools=("onnx",),
    )


def _ranges(model: Model, made: Step, calibration: DataSet, how: dict[str, Any]) -> Step:
    by = f" by {how['method']}" if how else ""
    return Step(
        title=f"{model.name}: calibrate ONNX on {calibration.count} samples{by}",
        function="edgekit.export.onnx_quantize:calibrate",
        worker="onnx",
        arguments={"samples": calibration.to_json(), **how},
        identity={"samples": calibration.digest, **how},
        needs={"float": made},
        tools=QUANTIZER_TOOLS,
    )


def _asked(recipe: Recipe) -> dict[str, object]:
    """What of the recipe the quantizer goes by; the budget and the calibration are not in it."""
    return {
        "format": recipe.format,
        "delegate": recipe.delegate,
        "quantization": recipe.quantization,
        "io": recipe.io,
        "name": recipe.variant,
        **quantizer_arguments(recipe),
    }
