"""TFLite, for LiteRT (ai-edge-litert) and tflite-runtime: https://ai.google.dev/edge/litert

    # in a recipe file
    quantization = "none" | "float16" | "dynamic-int8" | "dynamic-int4" | "int8" | "int16x8"
                 | "original"
    io = "float" | "integer"

The float flatbuffer is made once, by the converter of the model's framework, or by another one
where that cannot; the quantized variants come from it, by ai-edge-quantizer, in a process without
TensorFlow. Why this way, with figures: README.md here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.model import Model
from edgekit.core.recipe import USUAL_DELEGATE, Recipe
from edgekit.core.sensitivity import MOST_SAMPLES
from edgekit.export import nms
from edgekit.export.ranges import quantizer_arguments, range_arguments
from edgekit.work.steps import Step

QUANTIZER_TOOLS = ("ai-edge-quantizer", "ai-edge-litert")
LITERT_TORCH_TOOLS = ("litert-torch", "torch", "ai-edge-litert")
ONNX2TF_TOOLS = ("onnx2tf", "onnx", "onnxsim", "onnxruntime", "tensorflow", "tf-keras")


class TFLiteExporter:
    """Makes ``.tflite`` files; an `Exporter`."""

    def step(self, model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
        """See `Exporter.step`. Variants that differ in the delegate share the CPU's steps."""
        nms.check(model, recipe)
        if recipe.delegate == USUAL_DELEGATE["tflite"]:
            return _for_cpu(model, recipe, calibration)
        from edgekit.export.delegates import DELEGATES

        delegate = DELEGATES[f"tflite/{recipe.delegate}"]()
        cpu = recipe.model_copy(update={"delegate": USUAL_DELEGATE["tflite"], "options": {}})
        step: Step = delegate.step(_for_cpu(model, cpu, calibration), recipe)
        return step


def _for_cpu(model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
    dense = _dense(model, recipe, calibration)
    if not recipe.quantize.sparse:
        return dense
    return Step(
        title=f"{recipe.name}: make weights sparse",
        function="edgekit.export.tflite_sparse:encode",
        worker="litert",
        arguments={"name": recipe.name},
        identity={},
        needs={"dense": dense},
        tools=("ai-edge-litert",),
    )


def _dense(model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
    if recipe.quantization == "original":
        return _original(model)
    made = float_step(model)
    if recipe.quantization == "none":
        return made
    needs = {"float": made}
    if recipe.needs_calibration:
        if calibration is None:
            raise PlanError(
                f"{recipe.name} needs calibration data",
                hint="give typical inputs with --calibration",
            )
        needs["ranges"] = _ranges(model, made, calibration, recipe)
        if recipe.quantize.candidates:
            needs["selected"] = _selected(model, recipe, calibration, needs)
    asked = {"quantization": recipe.quantization, "io": recipe.io, "name": recipe.variant}
    asked |= quantizer_arguments(recipe)
    return Step(
        title=f"{recipe.name}: quantize",
        function="edgekit.export.tflite_quantize:quantize",
        worker="litert",
        arguments={"recipe": asked},
        needs=needs,
        tools=QUANTIZER_TOOLS,
    )


def _selected(
    model: Model, recipe: Recipe, calibration: DataSet, needs: Mapping[str, Step]
) -> Step:
    """Which layers get wider numbers where the recipe leaves that open."""
    whole = recipe.model_copy(update={"quantize": recipe.quantize.settled(), "io": "float"})
    said = {
        "recipe": {"quantization": recipe.quantization, "name": recipe.name}
        | quantizer_arguments(whole),
        "budget": recipe.budget.to_json(),
        "wider": list(recipe.quantize.candidates),
    }
    return Step(
        title=f"{recipe.name}: find the layers that need wider numbers",
        function="edgekit.export.tflite_sensitivity:select",
        worker="litert",
        arguments={**said, "samples": calibration.to_json()},
        identity={**said, "samples": calibration.digest},
        needs={**needs, "sensitivity": sensitivity_step(model, whole, calibration, calibration)},
        tools=QUANTIZER_TOOLS,
    )


def sensitivity_step(
    model: Model,
    recipe: Recipe,
    calibration: DataSet | None,
    evaluation: DataSet,
    *,
    most: int = MOST_SAMPLES,
) -> Step:
    """What each layer costs when it alone is quantized as `recipe` says, over at most so many
    samples.

    Raises:
        PlanError: there is no way from this framework.
    """
    made = float_step(model)
    needs = {"float": made}
    recipe = recipe.model_copy(update={"quantize": recipe.quantize.settled()})
    if recipe.needs_calibration and calibration is not None:
        needs["ranges"] = _ranges(model, made, calibration, recipe)
    asked = {
        "quantization": recipe.quantization,
        "name": recipe.variant,
        **quantizer_arguments(recipe),
    }
    said = {"recipe": asked, "name": model.name, "most": most}
    return Step(
        title=f"{recipe.name}: quantize layer by layer",
        function="edgekit.export.tflite_sensitivity:measure",
        worker="litert",
        arguments={**said, "samples": evaluation.to_json()},
        identity={**said, "samples": evaluation.digest},
        needs=needs,
        tools=QUANTIZER_TOOLS,
    )


def _ranges(model: Model, made: Step, calibration: DataSet, recipe: Recipe) -> Step:
    """Variants whose ranges are set in the same way share it."""
    how = range_arguments(recipe, levels={"int8": 2**8, "int16x8": 2**16}[recipe.quantization])
    by = f" by {how['method']}" if how else ""
    return Step(
        title=f"{model.name}: calibrate on {calibration.count} samples{by}",
        function="edgekit.export.tflite_calibrate:calibrate",
        worker="litert",
        arguments={"samples": calibration.to_json(), **how},
        identity={"samples": calibration.digest, **how},
        needs={"float": made},
        tools=QUANTIZER_TOOLS,
    )


# --------------------------------------------------------------------------- float32


def float_step(model: Model) -> Step:
    """The step that makes the float32 file, which the other variants are made from.

    Raises:
        PlanError: there is no way from this framework.
    """
    way = _FLOAT.get(model.framework)
    if way is None:
        raise PlanError(
            f"there is no way from a {model.framework} model to TFLite; "
            f"there is one from {', '.join(sorted(_FLOAT))}"
        )
    return way(model)


def _from_keras(model: Model) -> Step:
    return Step(
        title="float32: convert",
        function="edgekit.export.tflite_float:convert",
        worker=model.worker,
        arguments={"model": model.to_json()},
        identity=model.identity(),
        tools=("tensorflow", "keras", "tf-keras", "ai-edge-litert"),
    )


def _from_torch(model: Model) -> Step:
    return Step(
        title="float32: convert",
        function="edgekit.export.tflite_torch:convert",
        worker="torch",
        arguments={"model": model.to_json()},
        identity=model.identity(),
        tools=LITERT_TORCH_TOOLS,
        otherwise=_through_onnx2tf(model),
    )


def _from_onnx(model: Model) -> Step:
    from edgekit.export.program import program_step

    through_torch = Step(
        title="float32: convert through torch",
        function="edgekit.export.tflite_torch:convert_program",
        worker="torch",
        arguments={"parent": model.digest},
        needs={"program": program_step(model)},
        tools=LITERT_TORCH_TOOLS,
    )
    return _through_onnx2tf(model, otherwise=through_torch)


def _through_onnx2tf(model: Model, otherwise: Step | None = None) -> Step:
    from edgekit.export.onnx import onnx_step

    return Step(
        title="float32: convert" if model.framework == "onnx" else "float32: convert through ONNX",
        function="edgekit.export.tflite_onnx:convert",
        worker="tensorflow",
        arguments={"parent": model.digest, "framework": model.framework},
        needs={"onnx": onnx_step(model)},
        tools=ONNX2TF_TOOLS,
        otherwise=otherwise,
    )


def _from_tflite(model: Model) -> Step:
    return _take(model, "float32: read", original=False)


_FLOAT: dict[str, Callable[[Model], Step]] = {
    "keras": _from_keras,
    "torch": _from_torch,
    "onnx": _from_onnx,
    "tflite": _from_tflite,
}


# -------------------------------------------------------------------------- original


def _original(model: Model) -> Step:
    if model.framework != "tflite":
        raise PlanError(
            f"original takes a TFLite file as it is; {model.reference!r} is a {model.framework} "
            "model",
            hint="take float32 instead",
        )
    return _take(model, "original: take", original=True)


def _take(model: Model, title: str, *, original: bool) -> Step:
    return Step(
        title=title,
        function="edgekit.export.tflite_file:take",
        worker="litert",
        arguments={"model": model.to_json(), "original": original},
        identity={**model.identity(), "original": original},
        tools=("ai-edge-litert",),
    )
