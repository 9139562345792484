"""Model → model: what makes it smaller or faster before it is exported. One file a technique.

    prune      the smallest weights become zero
    cluster    weights share few values
    qat        weights learn to live with the rounding of the export

A technique is framework-free where it can be: it works on named arrays of a `Net` and has it
trained by a `Trainer`. One is registered with one line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.locate import cache_dir
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.core.registry import Registry
from edgekit.work.steps import Step

__all__ = ["PASSES", "check_passes", "pass_step", "settled", "size_step", "spec_of", "technique"]

PASSES = Registry(
    "pass",
    {
        "prune": "edgekit.compress.prune:Prune",
        "cluster": "edgekit.compress.cluster:Cluster",
        "qat": "edgekit.compress.qat:QuantizeAware",
    },
)

TOOLS = {
    "keras": ("tensorflow", "keras", "tf-keras", "numpy"),
    "torch": ("torch", "torch-pruning", "torchao", "numpy"),
}


def technique(spec: PassSpec, where: str) -> Technique:
    """The technique with its parameters.

    Raises:
        UnknownNameError: there is no such technique.
        UsageError: it has no such parameter, or not such a value.
    """
    found: Technique = PASSES[spec.name].from_json(spec.parameters, where=where)
    return found


def settled(recipe: Recipe) -> tuple[PassSpec, ...]:
    """The recipe's passes with what they leave open and the recipe decides."""
    return tuple(
        spec_of(spec.name, technique(spec, recipe.name).settled(recipe)) for spec in recipe.passes
    )


def spec_of(name: str, found: Technique) -> PassSpec:
    """The technique called `name` as a recipe says it."""
    return PassSpec(name=name, parameters=found.model_dump(mode="json", exclude_unset=True))


def check_passes(recipe: Recipe, framework: str) -> None:
    """What can be known of a recipe's passes before any work.

    Raises:
        UsageError: a name or a parameter is not right as written.
        PlanError: a pass is not for that framework, or cannot follow the one before it.
    """
    for index, spec in enumerate(recipe.passes):
        where = f"{recipe.name}: pass {index + 1}, {spec.name}"
        found = technique(spec, where)
        if framework not in found.frameworks:
            raise PlanError(
                f"{where}: is for {' and '.join(found.frameworks) or 'no'} models; this is a "
                f"{framework} model",
                hint="leave it out of the recipe, or give the model that the file was made from",
            )
        if reason := found.refusal(recipe.passes[:index], recipe):
            raise PlanError(f"{where}: {reason}", hint="change [[passes]] in the recipe")


def pass_step(
    spec: PassSpec,
    recipe: Recipe,
    *,
    opener: str,
    origin: Model,
    model: Model,
    before: Sequence[PassSpec],
    data: DataSet | None,
    teacher: Step | None,
) -> Step:
    """One pass over `model`. The step's result holds

    ``model``    the new `Model` as JSON, its path relative to the step's folder
    ``notes``    sentences for the report
    ``history``  a `History` as JSON, or None if nothing was trained

    Args:
        opener: the source's own way to a model that can be changed: see `LiveModel`.
        origin: what the user named.
        before: the passes that made `model`, whose zeros and clusters stay.
        data: with labels, to train on.
        teacher: the step of the teacher's outputs for `data`, for distillation.
    """
    training = recipe.training
    said: dict[str, Any] = {
        "spec": spec.to_json(),
        "before": [each.to_json() for each in before],
        "training": training.to_json(),
    }
    step = Step(
        title=f"{recipe.name}: {spec.text}",
        function="edgekit.compress.run:run",
        worker=model.worker,
        arguments={
            **said,
            "opener": opener,
            "origin": origin.to_json(),
            "model": model.to_json(),
            "data": data.to_json() if data else None,
        },
        identity={
            **said,
            "opener": opener,
            "origin": _named(origin),
            "model": model.identity(),
            "data": data.digest if data else "",
        },
        needs={"teacher": teacher} if teacher else {},
        tools=TOOLS[origin.framework],
    )
    # Under the step's own key, so that it is only gone on with by the very same training.
    checkpoint = cache_dir() / "training" / step.key
    return replace(step, arguments={**step.arguments, "checkpoint": str(checkpoint)})


def size_step(model: Model, *, opener: str, origin: Model) -> Step:
    """The step that weighs the model; its result holds ``size``, a `ModelSize` without ``macs``."""
    return Step(
        title=f"{model.name}: weigh",
        function="edgekit.compress.run:size",
        worker=model.worker,
        arguments={"opener": opener, "origin": origin.to_json(), "model": model.to_json()},
        identity={"opener": opener, "origin": _named(origin), "model": model.identity()},
        tools=TOOLS[origin.framework],
    )


def _named(origin: Model) -> Mapping[str, Any]:
    """Of a function only its name: what it made is in the model's digest."""
    return {"reference": origin.reference, **origin.identity()}
