"""The convert job: model + profile + data → a build with verified artifacts.

The whole plan is checked before any work: names, types that the board's runtime cannot run,
missing data, an output folder that cannot be written. Then the model and the data are opened, and
what they say of each other is checked. Only then are artifacts made.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edgekit import __version__
from edgekit.compress.checkpoints import forget_old_checkpoints
from edgekit.core.artifact import Artifact, File
from edgekit.core.build import (
    BUILD_FILE,
    Build,
    CheckSet,
    DataNote,
    Variant,
    rows_file,
    save_build,
)
from edgekit.core.dataset import DataSet
from edgekit.core.description import Coverage
from edgekit.core.errors import (
    ConversionError,
    DataError,
    EdgekitError,
    OutputError,
    RejectedError,
    WorkerError,
)
from edgekit.core.files import replaced_folder, sha256_file, unwritable
from edgekit.core.model import Model
from edgekit.core.recipe import Budget, Recipe, float_recipe
from edgekit.core.tensor import Signature
from edgekit.core.verdict import LoadCheck, Verdict
from edgekit.data import (
    check_data,
    check_labels,
    overlap,
    random_data,
    read_data,
    sample_notes,
)
from edgekit.export import EXPORTERS
from edgekit.export.delegates import DELEGATES
from edgekit.export.zipped import zipped_step
from edgekit.jobs.compress import Compressed, Start, compress
from edgekit.jobs.plan import Plan
from edgekit.jobs.results import write_page
from edgekit.verify import (
    can_load,
    check_set_step,
    compare_step,
    environment_step,
    load_step,
    reference_step,
)
from edgekit.verify.accelerate import gpu_step, xnnpack_step
from edgekit.verify.demand import shortfall
from edgekit.verify.metrics import make_metric
from edgekit.verify.score import ROWS_FILE
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.protocols import Delegate, Exporter
from edgekit.work.steps import Done, Outcome, Progress, Step, run_steps, tool_versions

OPTIONS = {"calibration": "--calibration", "evaluation": "--evaluate", "training": "--train"}
CHECK_SAMPLES = 4  # enough to tell a wrong answer; a board's link may be slow
RANDOM_SAMPLES = 16


@dataclass(frozen=True)
class Opened:
    """The model's signature and the data, after they were checked against each other."""

    model: Model
    signature: Signature
    calibration: DataSet | None
    evaluation: DataSet
    note: DataNote
    training: DataSet | None = None


@dataclass(frozen=True)
class _Made:
    """A variant, and where its files, its check set and what it scored lie in the cache."""

    variant: Variant
    export: Done | None = None
    check: Done | None = None
    rows: Path | None = None


def convert(
    plan: Plan,
    output: Path,
    *,
    replace: bool = False,
    progress: Progress = lambda *_: None,
    pool: Pool | None = None,
) -> Build:
    """Carry out `plan` and leave a build in `output`; an older build of the model is replaced.

    Whoever converts many models hands over a `pool`, whose workers stay warm from one to the next.
    A variant that is rejected, does not load or cannot be made is part of the build and says why;
    `require_usable` makes an error of that.

    Args:
        replace: a build of another model, too.

    Raises:
        EdgekitError: the model and the data do not go together, or a place cannot be written;
            nothing is written then.
    """
    check_output(output, plan.model, replace=replace)
    wish = plan.wish
    cache = Cache()
    try:
        with Pool() if pool is None else nullcontext(pool) as workers:
            opened = open_inputs(plan, workers, cache, progress)
            made = _make_variants(plan, opened, workers, cache, progress)
    except FileNotFoundError as exc:
        if not str(exc.filename).startswith(str(cache.root)):
            raise
        raise WorkerError(
            "cached work was removed while it was in use, by edgekit clean or for its limit",
            hint="run the command again; EDGEKIT_CACHE_LIMIT_MB allows more",
        ) from exc
    build = Build(
        schema=1,
        name=plan.model.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        edgekit_version=__version__,
        model=opened.model,
        signature=opened.signature,
        profile=plan.profile,
        preprocessing=plan.preprocessing,
        labels=wish.labels or _class_names(opened),
        data=opened.note,
        check=CheckSet(samples=min(CHECK_SAMPLES, opened.evaluation.count)),
        variants=tuple(each.variant for each in made),
        folder=output,
    )
    _write(build, made, output)
    cache.trim()
    forget_old_checkpoints()
    return build


def _class_names(opened: Opened) -> tuple[str, ...]:
    """What the folders of images are called, where there is one for every class of the model."""
    names = opened.evaluation.classes
    return names if len(names) == opened.signature.class_count() else ()


@dataclass(frozen=True)
class Older:
    """What is known of a build that is replaced: its model's name, its board, and from when it is;
    empty where it cannot be read.
    """

    model: str = ""
    board: str = ""
    created: str = ""


def check_output(output: Path, model: Model, *, replace: bool = False) -> Older | None:
    """The build of `model` that a new one would replace there; None if there is none.

    A model that was trained again is the same one; another is one with another name.

    Raises:
        OutputError: a build cannot be written there, or something else is there: also a build of
            another model, unless `replace`.
    """
    if (
        output.exists()
        and not (output / BUILD_FILE).is_file()
        and (not output.is_dir() or any(output.iterdir()))
    ):
        raise OutputError(
            f"{str(output)!r} exists and is not a build; it is left alone",
            hint="choose another folder with -o",
        )
    older = _older(output / BUILD_FILE) if (output / BUILD_FILE).is_file() else None
    if older is not None and older.model != model.name and not replace:
        what = (
            f"a build of another model, {older.model!r}"
            if older.model
            else "a build that cannot be read"
        )
        raise OutputError(
            f"{str(output)!r} holds {what}; this one is {model.name!r}",
            hint="choose another folder with -o, or replace it all the same: --replace",
        )
    parent = output.resolve().parent
    while not parent.exists():
        parent = parent.parent
    try:
        handle, name = tempfile.mkstemp(dir=parent, prefix=".edgekit.")
    except OSError as exc:
        raise unwritable(output, exc) from exc
    os.close(handle)
    Path(name).unlink()
    return older


def _older(file: Path) -> Older:
    """Of ``build.json`` alone: what was changed or is missing beside it is replaced with it."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return Older(
            str(data["model"]["name"]), str(data["profile"]["title"]), str(data["created"])
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Older()


def open_inputs(plan: Plan, pool: Pool, cache: Cache, progress: Progress) -> Opened:
    """Open the model and the data side by side, then check one against the other."""
    model = plan.model
    made = plan.source.materialise(model)
    said: list[str] = []
    if made is not None:
        saved = _done(run_steps([made], pool=pool, cache=cache, progress=progress)[made])
        model = Model.from_json(saved.result["model"])
        model = model.model_copy(update={"path": str(saved.folder / model.path)})
        said = saved.result.get("notes", [])
    steps: dict[str, Step] = {"inspect": plan.source.inspect(model)}
    wanted = {runtime.name: runtime for runtime in plan.runtimes if can_load(runtime)}
    environments = [
        step for runtime in wanted.values() if (step := environment_step(runtime)) is not None
    ]
    if plan.calibration is not None:
        steps["calibration"] = plan.calibration
    if plan.evaluation is not None:
        steps["evaluation"] = plan.evaluation
    if plan.training is not None:
        steps["training"] = plan.training
    outcomes = run_steps(
        [*steps.values(), *environments], pool=pool, cache=cache, progress=progress
    )
    for environment in environments:
        _done(outcomes[environment])
    signature = Signature.from_json(_done(outcomes[steps["inspect"]]).result["signature"])
    sets = {
        name: read_data(_done(outcomes[steps[name]]))
        for name in ("calibration", "evaluation", "training")
        if name in steps
    }
    notes = [
        *said,
        *(f"--labels: {note}" for note in check_labels(plan.wish.labels, signature)),
    ]
    for name, data in sets.items():
        option = OPTIONS[name]
        judged = name != "calibration" or "evaluation" not in sets
        fit = _fit(plan) if judged or data.labelled or data.target is not None else None
        notes += [f"{option}: {note}" for note in check_data(data, signature, what=option, fit=fit)]
        ranges = name == "calibration" and any(r.needs_calibration for r in plan.recipes)
        notes += [f"{name}: {note}" for note in sample_notes(data, ranges=ranges)]
    calibration, evaluation = sets.get("calibration"), sets.get("evaluation")
    training = sets.get("training")
    if training is not None and evaluation is not None:
        notes += _trained_on(training, evaluation)
    if evaluation is None:
        evaluation = calibration or _random(signature, pool, cache, progress)
    shared = overlap(calibration, evaluation) if calibration and "evaluation" in sets else 0
    note = DataNote(
        calibration=f"{calibration.origin}: {calibration.choice}" if calibration else "",
        calibration_digest=calibration.digest if calibration else "",
        calibration_samples=calibration.count if calibration else 0,
        evaluation=f"{evaluation.origin}: {evaluation.choice}",
        evaluation_digest=evaluation.digest,
        evaluation_samples=evaluation.count,
        judged_on="evaluation" if "evaluation" in sets else "calibration" if sets else "random",
        overlap=shared,
        notes=tuple(notes),
    )
    return Opened(model, signature, calibration, evaluation, note, training)


def _trained_on(training: DataSet, evaluation: DataSet) -> list[str]:
    """What has to be told of the two; both have to have labels.

    Raises:
        DataError: one has none.
    """
    for option, data in (("--train", training), ("--evaluate", evaluation)):
        if not data.labelled and data.target is None:
            raise DataError(
                f"{option} {data.origin} has no labels; passes train by them and are judged by "
                "them",
                hint="numpy.savez('data.npz', x=…, labels=…), or a folder of images a class",
            )
    shared = overlap(training, evaluation)
    if not shared:
        return []
    return [
        f"{shared} of {evaluation.count} evaluation samples are in the training data, too: "
        "accuracy on them says nothing"
    ]


def _fit(plan: Plan) -> Callable[[Signature, DataSet], None]:
    """What raises DataError where data is not what a metric of the plan takes.

    The usual metric takes any: without class labels, or scores, it says nothing. But not where
    passes are held against it.
    """
    usual = Budget().metric
    metrics = {r.budget.metric for r in plan.recipes if r.passes or r.budget.metric != usual}

    def fit(signature: Signature, data: DataSet) -> None:
        for metric in sorted(metrics):
            make_metric(metric, signature, data)

    return fit


def _random(signature: Signature, pool: Pool, cache: Cache, progress: Progress) -> DataSet:
    step = random_data(signature, samples=RANDOM_SAMPLES, seed=0)
    return read_data(_done(run_steps([step], pool=pool, cache=cache, progress=progress)[step]))


def _make_variants(
    plan: Plan, opened: Opened, pool: Pool, cache: Cache, progress: Progress
) -> list[_Made]:
    """Export every variant, verify it, and load it with the board's own runtime."""
    changed = [recipe for recipe in plan.recipes if recipe.passes]
    start = Start(
        plan.opener,
        plan.model,
        opened.model,
        opened.training,
        opened.evaluation,
        opened.calibration,
    )
    models = compress(changed, start, pool, cache, progress)
    reference = reference_step(opened.model, opened.evaluation)
    others = [
        (sizes, reference_step(opened.model, opened.evaluation, sizes))
        for sizes in opened.signature.between()
    ]
    steps: dict[str, dict[str, Step]] = {}
    refused: dict[str, EdgekitError] = {}
    for recipe in plan.recipes:
        try:
            model = _model_of(recipe, opened, models)
            steps[recipe.name] = _steps_of(recipe, plan, model, opened, reference, others)
        except EdgekitError as exc:  # this one cannot be made; the others can
            refused[recipe.name] = exc
    wanted = [step for each in steps.values() for step in each.values()]
    outcomes = run_steps(wanted, pool=pool, cache=cache, progress=progress)
    made = []
    for recipe in plan.recipes:
        if recipe.name in refused:
            made.append(_Made(_failed(recipe, plan, refused[recipe.name])))
        else:
            mine = {what: outcomes[step] for what, step in steps[recipe.name].items()}
            variant = _made(recipe, plan, steps[recipe.name]["export"].worker, mine)
            variant = _with_advice(variant, opened.signature)
            passed = models.get(recipe.name)
            if isinstance(passed, Compressed):
                told = variant.variant.model_copy(update={"passes": passed.reports})
                variant = replace(variant, variant=told)
            made.append(variant)
    return made


def _model_of(
    recipe: Recipe, opened: Opened, models: Mapping[str, Compressed | EdgekitError]
) -> Model:
    """What the recipe's passes have made of the model. Raises what has stopped them."""
    passed = models.get(recipe.name)
    if isinstance(passed, EdgekitError):
        raise passed
    return passed.model if passed else opened.model


def _with_advice(made: _Made, signature: Signature) -> _Made:
    """Where nothing could be made of a model with an open dimension: that one size may go."""
    ranges = signature.dimensions()
    if made.variant.artifact is not None or not ranges:
        return made
    name, (_, largest) = min(ranges.items())
    verdict = made.variant.verdict
    advice = (
        f"not every way keeps a dimension open: give one size (--dim {name}={largest}), or take "
        "another format (float32, pte-float32, onnx-float32)"
    )
    verdict = verdict.model_copy(update={"reasons": (*verdict.reasons, advice)})
    return _Made(made.variant.model_copy(update={"verdict": verdict}))


def _steps_of(
    recipe: Recipe,
    plan: Plan,
    model: Model,
    opened: Opened,
    reference: Step,
    others: Sequence[tuple[Mapping[str, int], Step]],
) -> dict[str, Step]:
    """What is done for one variant: export, and whatever can be checked of it here."""
    data = opened.evaluation
    delegate: Delegate = DELEGATES[f"{recipe.format}/{recipe.delegate}"]()
    export = _exporter(recipe.format).step(model, recipe, opened.calibration)
    worker = _worker(recipe, export, delegate)
    floating = None
    # The layers of a model that was changed are not the source's any more.
    inner = recipe.quantization != "original" and not recipe.passes
    if recipe.format == "tflite" and delegate.runs_here and inner:
        floating = _exporter("tflite").step(model, float_recipe(recipe), None)
    check = check_set_step(export, reference, data, recipe, samples=CHECK_SAMPLES, worker=worker)
    steps = {
        "export": export,
        "compare": compare_step(
            export, reference, data, recipe, floating, worker=worker, others=others
        ),
        "check": check,
        "zipped": zipped_step(export, recipe.name),
    }
    runtime = plan.runtime(recipe)
    if delegate.runs_here and can_load(runtime):
        warm = "" if recipe.format == "tflite" else worker
        steps["load"] = load_step(export, check, runtime, recipe, worker=warm)
    if recipe.format == "tflite" and delegate.runs_here:
        gpu = recipe.delegate == "gpu"
        steps["coverage"] = gpu_step(export, check, recipe) if gpu else xnnpack_step(export, recipe)
    return steps


def _worker(recipe: Recipe, export: Step, delegate: Delegate) -> str:
    """The kind of worker that can run the artifact, or its stand-in."""
    if recipe.format == "executorch":
        return export.worker if delegate.runs_here else "torch"
    return {"tflite": "litert", "onnx": "onnx"}[recipe.format]


def _exporter(file_format: str) -> Exporter:
    made: Exporter = EXPORTERS[file_format]()
    return made


def _made(recipe: Recipe, plan: Plan, worker: str, outcomes: dict[str, Outcome]) -> _Made:
    """What became of a variant whose export was done by that kind of `worker`."""
    export, check, zipped = outcomes["export"], outcomes["check"], outcomes["zipped"]
    if isinstance(export, EdgekitError):
        return _Made(_failed(recipe, plan, export))
    if isinstance(zipped, EdgekitError):
        return _Made(_failed(recipe, plan, zipped))
    asked = outcomes.get("coverage")
    coverage, wanting = _coverage(recipe, plan, export, asked)
    verdict = _verdict(outcomes["compare"], outcomes.get("load"))
    if wanting and verdict.status in ("accepted", "rejected"):
        more = () if verdict.status == "accepted" else verdict.reasons
        verdict = verdict.model_copy(update={"status": "rejected", "reasons": (*wanting, *more)})
    stand_in = export.result.get("stand_in")
    if stand_in:
        verdict = verdict.model_copy(update={"stand_in": stand_in["what"]})
    variant = Variant(
        recipe=recipe,
        named=bool(plan.wish.variants),
        artifact=_artifact(export, zipped, recipe, plan, worker, asked),
        verdict=verdict,
        coverage=coverage,
        convert_seconds=export.made_seconds,
        convert_peak_bytes=export.made_peak_bytes,
    )
    compared = outcomes["compare"]
    rows = compared.folder / ROWS_FILE if isinstance(compared, Done) else None
    return _Made(variant, export, check if isinstance(check, Done) else None, rows)


def _coverage(
    recipe: Recipe, plan: Plan, export: Done, loaded: Outcome | None
) -> tuple[Coverage | None, tuple[str, ...]]:
    """Which operators run where, and what the board demands beyond that.

    What a runtime said when it loaded the file comes before what the compiler said.
    """
    found = export.result.get("coverage")
    said: tuple[str, ...] = ()
    if isinstance(loaded, EdgekitError):
        said = (_reason(loaded),)
    elif loaded is not None:
        found = loaded.result.get("coverage") or found
        said = tuple(loaded.result.get("problems", ()))
    accelerator = plan.profile.accelerator(recipe)
    if found is None:
        return None, said
    coverage = Coverage.from_json(found)
    if accelerator is None:
        return coverage, said
    return coverage, (*said, *shortfall(coverage, accelerator, plan.profile.name, recipe.io))


def _failed(recipe: Recipe, plan: Plan, error: EdgekitError) -> Variant:
    # Passes that are over the budget have left nothing to export.
    status: Literal["rejected", "failed"] = (
        "rejected" if isinstance(error, RejectedError) else "failed"
    )
    verdict = Verdict(status=status, reasons=(_reason(error),))
    return Variant(recipe=recipe, named=bool(plan.wish.variants), artifact=None, verdict=verdict)


def _verdict(compared: Outcome, loaded: Outcome | None) -> Verdict:
    """One verdict of the comparison on this computer and the board's runtime's word."""
    for outcome in (compared, loaded):
        if isinstance(outcome, EdgekitError):
            return Verdict(status="failed", reasons=(_reason(outcome),))
    verdict = Verdict.from_json(_done(compared).result["verdict"])
    if loaded is None:
        return verdict
    load = LoadCheck.from_json(_done(loaded).result["load"])
    verdict = verdict.model_copy(update={"loads": (load,)})
    if load.ok:
        return verdict
    reason = load.error if load.loads else f"{load.runtime} {load.version}: {load.error}"
    status = "rejected" if load.loads else "unloadable"
    more = () if verdict.status == "accepted" else verdict.reasons
    return verdict.model_copy(update={"status": status, "reasons": (reason, *more)})


def _artifact(
    export: Done, zipped: Done, recipe: Recipe, plan: Plan, worker: str, asked: Outcome | None
) -> Artifact:
    names: list[str] = export.result["files"]
    if sha256_file(export.folder / names[0]) != export.result["sha256"]:
        raise OutputError(
            f"{recipe.name}: the cached file {str(export.folder / names[0])!r} is not the one that "
            "was verified",
            hint="the disk may be damaged; run edgekit clean, then convert again",
        )
    files = []
    for index, name in enumerate(names):
        path = export.folder / name
        suffix = path.suffix if index == 0 else f"-{name}"
        files.append(
            File(
                path=f"artifacts/{plan.model.name}-{recipe.name}{suffix}",
                size_bytes=path.stat().st_size,
                sha256=sha256_file(path),
            )
        )
    return Artifact(
        variant=recipe.name,
        format=recipe.format,
        files=tuple(files),
        signature=Signature.from_json(export.result["signature"]),
        preprocessing=plan.preprocessing,
        recipe_digest=recipe.fingerprint(),
        parent=export.result["parent"],
        way=export.result["way"],
        tools=tool_versions(export.result.get("tools", ()), worker),
        zipped_bytes=zipped.result["zipped_bytes"],
        notes=(
            *_tried(export),
            *export.result.get("notes", ()),
            *(asked.result.get("notes", ()) if isinstance(asked, Done) else ()),
        ),
    )


def _tried(export: Done) -> tuple[str, ...]:
    """The ways that failed before this one: a fallback is never silent."""
    return tuple(f"another way was tried first: {_reason(error)}" for error in export.instead_of)


def _write(build: Build, made: list[_Made], output: Path) -> None:
    with replaced_folder(output) as scratch:
        try:
            (scratch / "artifacts").mkdir()
            (scratch / "check").mkdir()
            for each in made:
                if each.export is None or each.variant.artifact is None:
                    continue
                names = each.export.result["files"]
                for name, file in zip(names, each.variant.artifact.files, strict=True):
                    shutil.copyfile(each.export.folder / name, scratch / file.path)
                if each.check is not None:
                    checks = scratch / "check"
                    name = f"{each.variant.recipe.name}.npz"
                    shutil.copyfile(each.check.folder / "check.npz", checks / name)
                    shutil.copyfile(each.check.folder / "inputs.npz", checks / "inputs.npz")
                if each.rows is not None and each.rows.is_file():
                    shutil.copyfile(each.rows, rows_file(scratch, each.variant.recipe.name))
        except OSError as exc:
            raise unwritable(output, exc) from exc
        save_build(build, scratch)
        write_page(build, scratch)


def require_usable(build: Build) -> None:
    """Check that every variant that was named, or one of the plan, can be used.

    Raises:
        RejectedError: one is over its budget, or the board's runtime refuses it.
        ConversionError: one could not be made or checked at all.
    """
    bad = [v for v in build.variants if v.verdict.status != "accepted"]
    named = [v for v in bad if v.named]
    if not named and len(bad) < len(build.variants):
        return
    worst, *others = named or bad
    name = worst.recipe.name
    also = ", ".join(v.recipe.name for v in others)
    failed = worst.verdict.status == "failed"
    what = "failed" if failed else f"is {worst.verdict.status}"
    why = "; ".join(reason.removeprefix(f"{name}: ") for reason in worst.verdict.reasons)
    hint = f"the build is kept: edgekit report {build.folder}"
    if worst.verdict.divergence is not None:
        hint += "; edgekit sensitivity tells what each layer costs"
    raise (ConversionError if failed else RejectedError)(
        f"{name} {what}: {why}" + (f" (nor can these be used: {also})" if also else ""), hint=hint
    )


def _done(outcome: Outcome) -> Done:
    if isinstance(outcome, EdgekitError):
        raise outcome
    return outcome


def _reason(error: EdgekitError) -> str:
    return "; ".join(part for part in (error.message, error.hint) if part)
