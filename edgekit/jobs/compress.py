"""Passes, one after the other, each behind the accuracy gate: source model → compressed model.

After every pass the model is run on the evaluation data and scored against the source model. Over
the budget, the pass is tried again, gentler, up to `RETRIES` times, each time from the model before
it; then the recipe stops and says which pass broke it. How much gentler is the technique's own rule
(`Technique.gentler`), told in its documentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgekit.compress import (
    pass_step,
    sensitivity_step,
    settled,
    size_step,
    spec_of,
    technique,
)
from edgekit.compress.latency import TimeTarget
from edgekit.core.compression import ModelSize, PassReport, PassSpec
from edgekit.core.dataset import DataSet
from edgekit.core.errors import EdgekitError, RejectedError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.core.sensitivity import MOST_SAMPLES
from edgekit.core.verdict import Score
from edgekit.inspection import INSPECTORS
from edgekit.jobs.latency import Stopwatch, model_of, reached
from edgekit.verify import reference_step, score_step
from edgekit.work.cache import Cache
from edgekit.work.pool import CORES, KINDS, Pool
from edgekit.work.steps import Done, Progress, Step, run_steps

RETRIES = 2


@dataclass(frozen=True)
class Start:
    """What the passes start from.

    Attributes:
        opener: the source's own way to a model that can be changed.
        origin: what the user named.
        model: it, saved.
        training: with labels; None where no pass trains or selects by it.
        evaluation: what models are scored on.
        calibration: for what is exported to be timed.
    """

    opener: str
    origin: Model
    model: Model
    training: DataSet | None
    evaluation: DataSet
    calibration: DataSet | None = None


@dataclass(frozen=True)
class Compressed:
    """A model after its recipe's passes, and what each has bought."""

    model: Model
    reports: tuple[PassReport, ...] = ()


@dataclass
class _Line:
    """One recipe on its way through its passes."""

    recipe: Recipe
    wanted: tuple[PassSpec, ...]
    model: Model
    size: ModelSize
    done: list[PassReport] = field(default_factory=list)
    trying: PassSpec | None = None
    attempts: int = 0
    refused: list[str] = field(default_factory=list)  # what was over the budget, in words
    timed: list[str] = field(default_factory=list)  # what was measured for its time, in words
    failure: EdgekitError | None = None

    @property
    def finished(self) -> bool:
        return self.failure is not None or len(self.done) == len(self.wanted)

    @property
    def target(self) -> TimeTarget | None:
        """The time that the pass has to reach."""
        return technique(self.wanted[len(self.done)], self.recipe.name).timed

    @property
    def now(self) -> PassSpec:
        """The pass that is to be run."""
        return self.trying or self.wanted[len(self.done)]


def compress(
    recipes: Sequence[Recipe], start: Start, pool: Pool, cache: Cache, progress: Progress
) -> dict[str, Compressed | EdgekitError]:
    """What became of each recipe's model, by the recipe's name; one that fails takes no other down.

    Recipes that begin with the same passes share them.
    """
    if not recipes:
        return {}
    size = _sizes([start.model], start, pool, cache, progress)[0]
    if isinstance(size, EdgekitError):
        return {recipe.name: size for recipe in recipes}
    lines = [_Line(recipe, settled(recipe), start.model, size) for recipe in recipes]
    while waiting := [line for line in lines if not line.finished]:
        _round(waiting, start, pool, cache, progress)
    return {
        line.recipe.name: line.failure or Compressed(line.model, tuple(line.done)) for line in lines
    }


def _round(
    lines: Sequence[_Line], start: Start, pool: Pool, cache: Cache, progress: Progress
) -> None:
    """Run the next pass of every line, score what came of it, and decide."""

    def all_of(steps: Sequence[Step]) -> list[Done | EdgekitError]:
        found = run_steps(steps, pool=pool, cache=cache, progress=progress)
        return [found[step] for step in steps]

    watches = {id(line): _stopwatch(line, start, pool, cache, progress) for line in lines}
    for line in lines:
        _find_share(line, watches[id(line)])
    lines = [line for line in lines if not line.finished]
    outcomes = all_of(_sharing([_step(line, start) for line in lines], cache))
    made: list[tuple[_Line, Done, Model]] = []
    for line, outcome in zip(lines, outcomes, strict=True):
        if isinstance(outcome, EdgekitError):
            # A gentler try that cannot be made does not hide why it was tried.
            line.failure = _over_budget(line, outcome.message) if line.refused else outcome
            continue
        model = model_of(outcome)
        if line.target is not None and technique(line.now, line.recipe.name).trains:
            try:
                timing = watches[id(line)].time(line.target, line.model, model)
            except EdgekitError as exc:
                line.failure = exc
                continue
            line.timed.append(reached(line.target, timing))
        made.append((line, outcome, model))
    sizes = _sizes([model for _, _, model in made], start, pool, cache, progress)
    scored = all_of([_score(line.recipe, model, start) for line, _, model in made])
    for (line, done, model), size, outcome in zip(made, sizes, scored, strict=True):
        if isinstance(outcome, EdgekitError):
            line.failure = outcome
            continue
        if isinstance(size, EdgekitError):
            line.failure = size
            continue
        _decide(line, done, model, size, Score.from_json(outcome.result["score"]))


def _find_share(line: _Line, watch: Stopwatch) -> None:
    """Where the next pass has a time to reach: say how much it has to remove."""
    if line.target is None:
        return
    found, before = technique(line.now, line.recipe.name), [each.spec for each in line.done]
    try:
        line.trying, line.timed = watch.find(found, line.now.name, line.model, before)
    except EdgekitError as exc:
        line.failure = exc


def _stopwatch(
    line: _Line, start: Start, pool: Pool, cache: Cache, progress: Progress
) -> Stopwatch:
    def run(step: Step) -> Done:
        outcome = run_steps([step], pool=pool, cache=cache, progress=progress)[step]
        if isinstance(outcome, EdgekitError):
            raise outcome
        return outcome

    return Stopwatch(
        line.recipe, run, cache, start.calibration, opener=start.opener, origin=start.origin
    )


def _sharing(passes: Sequence[Step], cache: Cache) -> list[Step]:
    """`passes` with the cores parted between those that will run side by side: threads of two
    trainings that wait for each other take four times as long (tools/bench_together.py).
    """
    to_do = {step.key: step for step in passes if cache.find(step.key) is None}
    shares = {
        worker: max(1, CORES // min(count, KINDS[worker].at_most))
        for worker, count in Counter(step.worker for step in to_do.values()).items()
    }
    return [
        replace(step, arguments={**step.arguments, "cores": shares.get(step.worker, CORES)})
        for step in passes
    ]


def _step(line: _Line, start: Start) -> Step:
    spec, training = line.now, line.recipe.training
    found = technique(spec, line.recipe.name)
    trains = found.trains
    teacher = None
    if trains and training.distill is not None and start.training is not None:
        teacher = reference_step(start.model, start.training)
    sensitivity = None
    if found.selects:
        assert start.training is not None  # the plan has seen to that
        sensitivity = sensitivity_step(
            found,
            spec.name,
            opener=start.opener,
            origin=start.origin,
            model=line.model,
            data=start.training,
            most=MOST_SAMPLES,
        )
    features = trains and training.distill is not None and training.distill.features
    return pass_step(
        spec,
        line.recipe,
        opener=start.opener,
        origin=start.origin,
        model=line.model,
        before=[report.spec for report in line.done],
        data=start.training if trains else start.evaluation if found.probes else None,
        teacher=teacher,
        sensitivity=sensitivity,
        teacher_model=start.model if features else None,
    )


def _score(recipe: Recipe, model: Model, start: Start) -> Step:
    step: Step = score_step(
        reference_step(model, start.evaluation),
        reference_step(start.model, start.evaluation),
        start.evaluation,
        recipe.budget,
    )
    return step


def _sizes(
    models: Sequence[Model], start: Start, pool: Pool, cache: Cache, progress: Progress
) -> list[ModelSize | EdgekitError]:
    """Of each model, or why there is none. Multiply-adds are those that edgekit inspect counts."""
    steps = [
        (size_step(model, opener=start.opener, origin=start.origin), _inspection(model))
        for model in models
    ]
    outcomes = run_steps(
        [step for pair in steps for step in pair], pool=pool, cache=cache, progress=progress
    )
    found: list[ModelSize | EdgekitError] = []
    for weights, inspected in steps:
        said, seen = outcomes[weights], outcomes[inspected]
        if isinstance(said, EdgekitError):
            found.append(said)
            continue
        if isinstance(seen, EdgekitError):
            found.append(seen)
            continue
        nodes = seen.result["description"]["coverage"]["nodes"]
        macs = sum(node["macs"] for node in nodes)
        found.append(ModelSize.from_json({**said.result["size"], "macs": macs}))
    return found


def _inspection(model: Model) -> Step:
    step: Step
    if model.framework == "keras":
        step = INSPECTORS["keras"]().step_of(model)
    else:
        step = INSPECTORS["pt2"]().step(model.path, trust_code=model.trusted)
    return step


def _decide(line: _Line, done: Done, model: Model, size: ModelSize, score: Score) -> None:
    """Take what the pass made, or try it again gentler, or give the recipe up."""
    spec, budget = line.now, line.recipe.budget
    line.attempts += 1
    found = technique(spec, line.recipe.name)
    if not found.gated or score.within(budget.max_drop):
        line.done.append(
            PassReport(
                spec=spec,
                asked=line.wanted[len(line.done)],
                refused=tuple(line.refused),
                before=line.size,
                after=size,
                score=score,
                history=done.result["history"],
                notes=(*line.timed, *done.result["notes"]),
                seconds=done.made_seconds,
            )
        )
        line.model, line.size = model, size
        line.trying, line.attempts, line.refused, line.timed = None, 0, [], []
        return
    line.refused.append(
        f"{spec.text} loses {score.amount(score.drop)} of {score.title} "
        f"({score.said(score.value)}, source {score.said(score.source_value)}), "
        f"{score.amount(budget.max_drop)} are allowed"
    )
    milder = found.gentler() if line.target is None else None  # gentler would miss the time
    if milder is None or line.attempts > RETRIES:
        line.failure = _over_budget(line)
        return
    line.trying = spec_of(spec.name, milder)


def _over_budget(line: _Line, more: str = "") -> RejectedError:
    """What was tried; `more` is what came of the last, gentlest try."""
    place, name = len(line.done) + 1, line.now.name
    tried = "; ".join([*line.refused, *([f"gentler: {more}"] if more else [])])
    return RejectedError(
        f"{line.recipe.name}: pass {place} of {len(line.wanted)}, {name}, is over the budget: "
        f"{tried}",
        hint="ask less of it, train longer ([training] epochs), leave out the layers that cost "
        "most (edgekit sensitivity MODEL --technique prune --evaluate DATA), or allow more "
        "([budget] max_drop)",
    )
