"""Whether an artifact still answers as its source model does, and whether the board's runtime
takes it.

    reference   the source model's outputs for a data set             worker of the model
    figures     the artifact's outputs against them                   its format's runtime here
    layers      a TFLite's inner tensors against a float model's      LiteRT
    verdict     the decision, by the recipe's budget                  from the three above
    score       a changed model's outputs against its source's        no framework
    load        the artifact in the board's own runtime               an environment of its own
    check set   inputs and outputs for the comparison on the board    its format's runtime here

Every function here gives a step and does nothing itself.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.core.bench import bench_digest
from edgekit.core.dataset import DataSet
from edgekit.core.model import Model
from edgekit.core.profile import Runtime
from edgekit.core.recipe import Budget, Recipe
from edgekit.verify.folders import said
from edgekit.verify.metrics import metric_identity
from edgekit.work.environments import ready_python
from edgekit.work.steps import Step

__all__ = [
    "can_load",
    "check_set_step",
    "compare_step",
    "environment_step",
    "load_step",
    "reference_step",
    "score_step",
]

# Runtimes that pip installs here, too. TensorRT and the driver of Ethos-U are on their boards only.
LOADABLE = ("ai-edge-litert", "tflite-runtime", "executorch", "onnxruntime")
# By kind of worker, the packages that decide what is computed there.
TOOLS = {
    "tensorflow": ("tensorflow", "keras", "tf-keras", "numpy"),
    "litert": ("ai-edge-litert", "numpy"),
    "torch": ("torch", "executorch", "numpy"),
    "onnx": ("onnxruntime", "numpy"),
}


def reference_step(model: Model, data: DataSet, sizes: Mapping[str, int] | None = None) -> Step:
    """The source model's outputs for every sample of `data`, and its layers' for the first one.

    With `sizes` of open dimensions, by name, every sample is cut to them, and no layers are kept.

    The folder holds ``<index>.npy`` an output. Its result: ``signature``, ``layers`` (names).

    The step raises ModelError if the model fails or gives NaN or infinity for the data.
    """
    return Step(
        title=f"run {model.name} on {data.count} samples{said(sizes)}",
        function="edgekit.verify.reference:run",
        worker=model.worker,
        arguments={"model": model.to_json(), "data": data.to_json(), **_sized(sizes)},
        identity={"model": model.identity(), "data": data.digest, **_sized(sizes)},
        tools=TOOLS.get(model.worker, ()),
    )


def _sized(sizes: Mapping[str, int] | None) -> dict[str, object]:
    return {"sizes": dict(sizes)} if sizes else {}


def compare_step(
    artifact: Step,
    reference: Step,
    data: DataSet,
    recipe: Recipe,
    float_artifact: Step | None,
    *,
    worker: str = "litert",
    others: Sequence[tuple[Mapping[str, int], Step]] = (),
) -> Step:
    """The verdict on an artifact; its result holds ``verdict``, a `Verdict` as JSON.

    Args:
        artifact: the step that makes it (see `Exporter.step`).
        reference: from `reference_step`, on the same `data`.
        data: what both are run on.
        recipe: says the format and the budget.
        float_artifact: the step that makes the float32 artifact of the same model and format. It
            is what inner tensors are compared with; it itself is compared with the source's layers.
            None for formats whose runtime shows no inner tensors.
        worker: the kind of worker that runs the artifact, or its stand-in.
        others: sizes of open dimensions at which it is compared as well, each with the step from
            `reference_step` for them.
    """
    run_on: dict[str, object] = {"data": data.to_json(), "file_format": recipe.format}
    identity = {"data": data.digest, "file_format": recipe.format}
    metric: dict[str, str] = {}
    if data.labelled or data.target is not None:
        run_on["metric"] = recipe.budget.metric
        metric = metric_identity(recipe.budget.metric)
    figures = Step(
        title=f"{recipe.name}: compare on {data.count} samples",
        function="edgekit.verify.compare:run",
        worker=worker,
        arguments=run_on,
        identity={**identity, **metric},
        needs={"artifact": artifact, "reference": reference},
        tools=TOOLS.get(worker, ()),
    )
    needs = {"figures": figures}
    if data.target is not None:  # of the largest sizes; cut samples have others
        run_on, metric = {**run_on, "metric": ""}, {}
    for index, (sizes, answers) in enumerate(others):
        needs[f"figures_{index}"] = Step(
            title=f"{recipe.name}: compare{said(sizes)}",
            function="edgekit.verify.compare:run",
            worker=worker,
            arguments={**run_on, **_sized(sizes)},
            identity={**identity, **metric, **_sized(sizes)},
            needs={"artifact": artifact, "reference": answers},
            tools=TOOLS.get(worker, ()),
        )
    if float_artifact is not None:
        base = {} if float_artifact.key == artifact.key else {"base": float_artifact}
        needs["layers"] = Step(
            title=f"{recipe.name}: compare layers",
            function="edgekit.verify.layers:run",
            worker="litert",
            arguments={"data": data.to_json()},
            identity={"data": data.digest},
            needs={"artifact": artifact, "reference": reference, **base},
            tools=TOOLS["litert"],
        )
    told: dict[str, object] = {
        "data": f"{data.origin}: {data.choice}",
        "budget": recipe.budget.to_json(),
    }
    if others:
        told["sizes"] = [dict(sizes) for sizes, _ in others]
    return Step(
        title=f"{recipe.name}: judge",
        function="edgekit.verify.judge:run",
        worker="plain",
        arguments=told,
        needs=needs,
    )


def score_step(candidate: Step, reference: Step, data: DataSet, budget: Budget) -> Step:
    """The budget's metric of a changed model against its source's, with the interval of the drop.

    Its result holds ``score``, a `Score` as JSON; `Score.within` holds it against a budget.

    Args:
        candidate, reference: from `reference_step`, of the changed model and of its source, on the
            same `data`.
        data: with labels, or targets that fit the metric.
        budget: says the metric; another `max_drop` is the same step.

    Raises:
        UsageError: there is no such metric.

    The step raises DataError if the targets do not fit the metric and the outputs.
    """
    return Step(
        title=f"{budget.metric} on {data.count} samples",
        function="edgekit.verify.score:run",
        worker="plain",
        arguments={"data": data.to_json(), "metric": budget.metric},
        identity={"data": data.digest, **metric_identity(budget.metric)},
        needs={"candidate": candidate, "reference": reference},
        tools=("numpy",),
    )


def can_load(runtime: Runtime) -> bool:
    """Whether a board's `runtime` can be had for this computer; makers' own cannot."""
    return runtime.name in LOADABLE


def environment_step(runtime: Runtime) -> Step | None:
    """The step that installs the board's `runtime` here with pip; None if it is there already.

    The step raises PlanError if it cannot be had.
    """
    if ready_python(runtime.name, runtime.version) is not None:
        return None
    return Step(
        title=f"install {runtime.name} {runtime.version} with pip, once",
        function="edgekit.verify.load:prepare",
        worker="plain",
        arguments={"runtime": runtime.name, "version": runtime.version},
        identity={"call": uuid.uuid4().hex},  # whether it is there is looked up, not remembered
    )


def load_step(
    artifact: Step, check: Step, runtime: Runtime, recipe: Recipe, *, worker: str = ""
) -> Step:
    """Whether the board's `runtime` opens the artifact and answers `check` as this computer does.

    Done with the wheel of the same version for this computer, in an environment of its own, by the
    runner that boards use; or, where this Python has that version, by a `worker` of the kind that
    runs such artifacts, if one is named. The result holds ``load``, a `LoadCheck` as JSON.

    The step raises PlanError if there is no such environment and none can be made.
    """
    asked = {
        "runtime": runtime.name,
        "version": runtime.version,
        "quantization": recipe.quantization,
    }
    needs = {"artifact": artifact, "check": check}
    title = f"{recipe.name}: load with {runtime.name} {runtime.version}"
    if worker and ready_python(runtime.name, runtime.version) == Path(sys.executable):
        # It is the very runtime of a worker that is warm by now: starting another takes seconds.
        wanted = {**asked, "file_format": recipe.format}
        return Step(
            title=title,
            function="edgekit.verify.load:run_here",
            worker=worker,
            arguments=wanted,
            identity=wanted,
            needs=needs,
            tools=TOOLS.get(worker, ()),
        )
    return Step(
        title=title,
        function="edgekit.verify.load:run",
        worker="plain",
        arguments=asked,
        identity={**asked, "runner": bench_digest()},
        needs=needs,
    )


def check_set_step(
    artifact: Step,
    reference: Step,
    data: DataSet,
    recipe: Recipe,
    *,
    samples: int,
    worker: str = "litert",
) -> Step:
    """What a board must answer as this computer does: ``check.npz`` in the step's folder.

    It holds the artifact's own inputs (``in:<name>``) and outputs (``out:<name>``), one row a
    sample, for `samples` samples spread over `data`. Beside it lies ``inputs.npz`` with the source
    model's inputs for the same samples, by name.
    """
    wanted = {"samples": samples, "file_format": recipe.format}
    return Step(
        title=f"{recipe.name}: check set",
        function="edgekit.verify.check_set:run",
        worker=worker,
        arguments={"data": data.to_json(), **wanted},
        identity={"data": data.digest, **wanted},
        needs={"artifact": artifact, "reference": reference},
        tools=TOOLS.get(worker, ()),
    )
