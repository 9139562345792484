"""The sensitivity job: which layers of a model cost the most when they alone are changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.compress import PASSES, measurable
from edgekit.compress import sensitivity_step as technique_step
from edgekit.core.errors import EdgekitError, PlanError, UnknownNameError
from edgekit.core.sensitivity import MOST_SAMPLES, Sensitivity, TechniqueSensitivity
from edgekit.export.tflite import sensitivity_step
from edgekit.jobs.convert import open_inputs
from edgekit.jobs.plan import Wish, make_plan, plan_for_model
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Outcome, Progress, run_steps

KINDS = ("float16", "dynamic-int8", "dynamic-int4", "int8", "int16x8")


def sensitivity(
    wish: Wish, *, most: int = MOST_SAMPLES, progress: Progress = lambda *_: None
) -> Sensitivity:
    """Measure every layer of `wish.model` alone, for its one variant (int8 if none is named).

    Args:
        most: samples, spread over the data.

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
        step = sensitivity_step(
            opened.model, recipe, opened.calibration, opened.evaluation, most=most
        )
        outcome = run_steps([step], pool=pool, cache=cache, progress=progress)[step]
    cache.trim()
    return Sensitivity.from_json(_done(outcome).result["sensitivity"])


def technique_sensitivity(
    wish: Wish,
    techniques: Sequence[str],
    *,
    most: int = MOST_SAMPLES,
    progress: Progress = lambda *_: None,
) -> list[TechniqueSensitivity]:
    """Measure every layer of `wish.model` alone under each of these techniques of ``[[passes]]``.

    The board and the variants of `wish` do not count: it is the model itself that is changed.

    Raises:
        UnknownNameError: there is no such technique, or it has nothing to measure without training.
        PlanError: the model cannot be changed.
        EdgekitError: whatever opening the model and the data raises.
    """
    known = measurable()
    for name in techniques:
        if name not in known:
            raise UnknownNameError("technique that can be measured", name, ["quantize", *known])
    plan = plan_for_model(wish, f"sensitivity to {' and '.join(techniques)}")
    cache = Cache()
    with Pool() as pool:
        opened = open_inputs(plan, pool, cache, progress)
        steps = [
            technique_step(
                PASSES[name](),
                name,
                opener=plan.opener,
                origin=plan.model,
                model=opened.model,
                data=opened.evaluation,
                most=most,
            )
            for name in techniques
        ]
        outcomes = run_steps(steps, pool=pool, cache=cache, progress=progress)
    cache.trim()
    return [
        TechniqueSensitivity.from_json(_done(outcomes[step]).result["sensitivity"])
        for step in steps
    ]


def _done(outcome: Outcome) -> Done:
    if isinstance(outcome, EdgekitError):
        raise outcome
    return outcome
