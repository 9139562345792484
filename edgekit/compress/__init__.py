"""Model → model: what makes it smaller or faster before it is exported. One file a technique.

    shrink     channels go: structured pruning
    prune      the smallest weights become zero
    cluster    weights share few values
    fuse       batch norms become part of the layers before them
    low-rank   a large layer becomes two small ones
    qat        weights learn to live with the rounding of the export

A technique is framework-free where it can be: it works on named arrays of a `Net` and has it
trained by a `Trainer`. One is registered with one line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgekit.compress.checkpoints import checkpoint_folder
from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.core.registry import Registry, code_beside, find_module, refuse_file
from edgekit.work.pool import CORES
from edgekit.work.steps import Step

__all__ = [
    "PASSES",
    "check_passes",
    "measurable",
    "most_step",
    "pass_step",
    "sensitivity_step",
    "settled",
    "size_step",
    "spec_of",
    "technique",
]

PASSES = Registry(
    "pass",
    {
        "shrink": "edgekit.compress.shrink:Shrink",
        "prune": "edgekit.compress.prune:Prune",
        "cluster": "edgekit.compress.cluster:Cluster",
        "fuse": "edgekit.compress.fuse:Fuse",
        "low-rank": "edgekit.compress.low_rank:LowRank",
        "qat": "edgekit.compress.qat:QuantizeAware",
    },
    group="edgekit.passes",
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
        UsageError: a name or a parameter is not right as written, or there is no such loss.
        PlanError: a pass is not for that framework, or cannot follow the one before it.
    """
    if recipe.passes and recipe.training.loss:
        refuse_file(recipe.training.loss)
        find_module(recipe.training.loss)
    if recipe.passes and recipe.training.precision == "mixed" and framework != "torch":
        raise PlanError(
            f'{recipe.name}: precision = "mixed" is for PyTorch; this is a {framework} model',
            hint='write precision = "float32" in [training]',
        )
    for index, spec in enumerate(recipe.passes):
        where = f"{recipe.name}: pass {index + 1}, {spec.name}"
        found = technique(spec, where)
        if framework not in found.frameworks:
            raise PlanError(
                f"{where}: is for {' and '.join(found.frameworks) or 'no'} models; this is a "
                f"{framework} model",
                hint="leave it out of the recipe, or give the model that the file was made from",
            )
        if found.learning_rate is not None and not found.trains:
            raise PlanError(
                f"{where}: does not train, so learning_rate = {found.learning_rate:g} says nothing",
                hint="leave learning_rate out of the pass",
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
    sensitivity: Step | None = None,
    teacher_model: Model | None = None,
) -> Step:
    """One pass over `model`. The step's result holds

    ``model``    the new `Model` as JSON, its path relative to the step's folder
    ``notes``    sentences for the report
    ``history``  a `History` as JSON, or None if nothing was trained

    Args:
        opener: the source's own way to a model that can be changed: see `LiveModel`.
        origin: what the user named.
        before: the passes that made `model`, whose zeros and clusters stay.
        data: with labels, to train on; or for a pass that does not, samples to look at.
        teacher: the step of the teacher's outputs for `data`, for distillation.
        sensitivity: what layers cost, for a technique that selects by it.
        teacher_model: the teacher itself, where its layers' outputs are asked for.
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
            "cores": CORES,
            **({"teacher_model": teacher_model.to_json()} if teacher_model else {}),
        },
        identity={
            **said,
            "opener": opener,
            "origin": _named(origin),
            "model": model.identity(),
            "data": data.digest if data else "",
            "loss": code_beside(training.loss) if training.loss else [],
            **({"teacher_model": teacher_model.identity()} if teacher_model else {}),
        },
        needs={
            name: need
            for name, need in (("teacher", teacher), ("sensitivity", sensitivity))
            if need is not None
        },
        tools=TOOLS[origin.framework],
    )
    checkpoint = str(checkpoint_folder(step.key))
    return replace(step, arguments={**step.arguments, "checkpoint": checkpoint})


def measurable() -> tuple[str, ...]:
    """The techniques whose cost a layer can be told without training."""
    return tuple(name for name in PASSES if PASSES[name]().strengths())


def sensitivity_step(
    found: Technique,
    name: str,
    *,
    opener: str,
    origin: Model,
    model: Model,
    data: DataSet,
    most: int,
) -> Step:
    """What each layer costs under the technique called `name` at each of its strengths. The step's
    result holds ``sensitivity``, a `TechniqueSensitivity` as JSON.

    Args:
        opener, origin, model: see `pass_step`.
        data: what outputs are compared on; its labels, if any, give the accuracy.
        most: samples, spread evenly over `data`.
    """
    strengths = [[label, spec_of(name, each).to_json()] for label, each in found.strengths()]
    said: dict[str, Any] = {"name": model.name, "strengths": strengths, "most": most}
    return Step(
        title=f"{model.name}: {name} layer by layer",
        function="edgekit.compress.sensitivity:measure",
        worker=model.worker,
        arguments={
            **said,
            "opener": opener,
            "origin": origin.to_json(),
            "model": model.to_json(),
            "samples": data.to_json(),
        },
        identity={
            **said,
            "opener": opener,
            "origin": _named(origin),
            "model": model.identity(),
            "samples": data.digest,
        },
        tools=TOOLS[origin.framework],
    )


def most_step(found: Technique, name: str, *, model: Model, opener: str, origin: Model) -> Step:
    """The step that tells how much the technique called `name` can remove; its result holds
    ``most``, a share.

    Args:
        opener, origin, model: see `pass_step`.
    """
    said: dict[str, Any] = {"spec": spec_of(name, found).to_json(), "opener": opener}
    return Step(
        title=f"{model.name}: how much {name} can remove",
        function="edgekit.compress.run:most",
        worker=model.worker,
        arguments={**said, "origin": origin.to_json(), "model": model.to_json()},
        identity={**said, "origin": _named(origin), "model": model.identity()},
        tools=TOOLS[origin.framework],
    )


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
