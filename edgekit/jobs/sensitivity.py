"""The sensitivity job: which layers of a model quantization costs the most."""

from __future__ import annotations

from dataclasses import replace

from edgekit.core.errors import EdgekitError, PlanError
from edgekit.core.sensitivity import Sensitivity
from edgekit.export.tflite import sensitivity_step
from edgekit.jobs.convert import open_inputs
from edgekit.jobs.plan import Wish, make_plan
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Progress, run_steps

KINDS = ("float16", "dynamic-int8", "dynamic-int4", "int8", "int16x8")


def sensitivity(wish: Wish, *, progress: Progress = lambda *_: None) -> Sensitivity:
    """Measure every layer of `wish.model` alone, for its one variant (int8 if none is named).

    Raises:
        PlanError: more than one variant, or one that is not a quantized TFLite file for the CPU.
        EdgekitError: whatever `make_plan` and the conversion to float TFLite raise.
    """
    plan = make_plan(replace(wish, variants=tuple(wish.variants) or ("int8",)))
    if len(plan.recipes) != 1:
        raise PlanError("sensitivity measures one variant at a time", hint="give one --variant")
    recipe = plan.recipes[0]
    possible = recipe.quantization in KINDS and recipe.io == "float"
    if recipe.format != "tflite" or recipe.delegate != "xnnpack" or not possible:
        raise PlanError(
            f"{recipe.name}: layers are measured in TFLite for the CPU, in float16, dynamic, int4, "
            "int8 or int16x8",
            hint="what is sensitive there is sensitive in other formats, too",
        )
    cache = Cache()
    with Pool() as pool:
        opened = open_inputs(plan, pool, cache, progress)
        step = sensitivity_step(opened.model, recipe, opened.calibration, opened.evaluation)
        outcome = run_steps([step], pool=pool, cache=cache, progress=progress)[step]
    cache.trim()
    if isinstance(outcome, EdgekitError):
        raise outcome
    return Sensitivity.from_json(outcome.result["sensitivity"])
