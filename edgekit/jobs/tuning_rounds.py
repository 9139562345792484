"""The rounds of a search: candidates are proposed, made side by side, judged and measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.core.boards import Target
from edgekit.core.build import Build
from edgekit.core.errors import (
    EdgekitError,
    MismatchError,
    PlanError,
    RejectedError,
    UsageError,
)
from edgekit.core.measurement import MeasureSettings
from edgekit.core.recipe import Budget, Recipe, named_recipe
from edgekit.core.result import Result
from edgekit.core.tuning import (
    FIGURES,
    MEASURED,
    Limits,
    Objective,
    Tried,
    steadied,
    yardstick_ns,
)
from edgekit.jobs.convert import convert
from edgekit.jobs.plan import Plan, Wish, make_plan
from edgekit.jobs.profile import Progress as DeviceProgress
from edgekit.jobs.profile import default_threads, profile
from edgekit.jobs.tuning_figures import broken, judged, require_told, timed
from edgekit.jobs.tuning_files import keep
from edgekit.search.sampler import LOST, UNUSABLE, Sampler
from edgekit.search.space import Point, Space
from edgekit.sensors.watch import AUTO, OFF
from edgekit.work.pool import Pool
from edgekit.work.steps import Progress

TRIES = 40
ROUND_BUILD = ".round"  # the build of the candidates of a round, in the output
ROUND = 4  # candidates that are converted side by side and measured in turns
# Of a round; the finalists are measured as `edgekit profile` does.
QUICK: dict[str, Any] = {"launches": 3, "runs": 20, "min_seconds": 0.3, "warmup_seconds": 0.3}


@dataclass(frozen=True)
class Search:
    """What is looked for, and how long.

    Attributes:
        on: the device; may be None where nothing has to be measured.
        spaces: names or files of spaces; the usual ones if there are none.
        tries, minutes: it ends after so many; no limit of time if None.
        holdout: data that the finalists are judged on, instead of that which chose them.
        settings: of the finalists' measurement; rounds are quicker.
        python, runner: see `edgekit.jobs.profile.profile`.
        seed: of all that is drawn.
    """

    objective: Objective = "latency"
    limits: Limits = field(default_factory=Limits)
    on: Target | None = None
    spaces: tuple[str, ...] = ()
    tries: int = TRIES
    minutes: float | None = None
    holdout: str | None = None
    settings: MeasureSettings | None = None
    python: str | None = None
    runner: str | None = None
    seed: int = 0

    @property
    def measured(self) -> tuple[Objective, ...]:
        """What has to be measured on the device."""
        return tuple(
            what for what in MEASURED if self.objective == what or self.limits.of(what) is not None
        )


@dataclass
class Watcher:
    """Who looks on: of steps, of the device, of each try as it is done, of a remark."""

    step: Progress = lambda *_: None
    device: DeviceProgress = lambda *_: None
    tried: Callable[[Tried], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None


class Planner:
    """Plans for one model and its data, which are opened, and so read through, once."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._opened: Plan | None = None

    def plan(self, recipes: Sequence[Recipe]) -> Plan:
        """See `edgekit.jobs.plan.make_plan`."""
        plan = make_plan(wish_for(self.wish, recipes), like=self._opened)
        if self._opened is None or plan.training is not None:
            self._opened = plan
        return plan


@dataclass
class State:
    """A search under way."""

    wish: Wish
    planner: Planner
    search: Search
    space: Space
    output: Path
    watcher: Watcher
    pool: Pool
    sampler: Sampler
    tries: list[Tried] = field(default_factory=list)
    yardstick: Recipe | None = None
    said: set[str] = field(default_factory=set)

    def take(self, tried: Tried) -> None:
        """Count a try, and let the sampler learn from it."""
        self.tries.append(tried)
        if tried.figures.yardstick is not None and self.yardstick is None:
            self.yardstick = tried.recipe
        self.learn(tried.point, tried)

    def say(self, line: str) -> None:
        """A remark, once."""
        if line not in self.said:
            self.said.add(line)
            self.watcher.say(line)

    def learn(self, point: Point, tried: Tried) -> None:
        """Tell the sampler what came of a point."""
        self.sampler.tell(point, _learned(tried, yardstick_ns(self.tries), self.search))


def wish_for(wish: Wish, recipes: Sequence[Recipe]) -> Wish:
    """`wish` with these variants, and training data only where one of them has use for it."""
    training = wish.training if any(recipe.passes for recipe in recipes) else None
    return replace(wish, variants=tuple(recipes), training=training)


def max_drop(wish: Wish) -> float:
    """What a candidate may lose of the metric."""
    return Budget().max_drop if wish.max_drop is None else wish.max_drop


def sampler_limits(wish: Wish, search: Search) -> dict[str, float]:
    """Of the sampler's figures."""
    given = {what: search.limits.of(what) for what in FIGURES}
    return {
        LOST: max_drop(wish),
        UNUSABLE: 0.5,
        **{what: limit for what, limit in given.items() if limit is not None},
    }


def _learned(tried: Tried, usual_ns: float | None, search: Search) -> dict[str, float]:
    """The figures of a try for the sampler."""
    if tried.status == "refused":
        return {}
    unusable = tried.status == "failed"
    figures: dict[str, float] = {}
    if tried.score is not None:
        within = tried.status == "fits" and tried.score.low <= 0  # the noise: that is no drop
        figures[LOST] = min(tried.score.drop, 0.0) if within else tried.score.drop
    elif tried.status == "over":  # rejected for its outputs, unless it is for a limit of the search
        unusable = not broken(tried.figures, search.limits)
    figures[UNUSABLE] = float(unusable)
    for what in FIGURES:
        figure = steadied(tried, what, usual_ns)
        if figure is not None:
            figures[what] = figure
    return figures


def rounds(state: State, started: float) -> str:
    """Try until it is enough; why it is, in words."""
    search = state.search
    while True:
        made = sum(tried.status != "refused" for tried in state.tries)
        if made >= search.tries:
            return f"{search.tries} tries were made"
        if search.minutes is not None and time.monotonic() - started > 60 * search.minutes:
            return f"{search.minutes:g} minutes were over"
        asked = _asked(state, min(ROUND, search.tries - made))
        if not asked:
            return "all that there is was tried"
        for tried in _round(state, asked):
            keep(state.output, tried)
            state.take(tried)
            state.watcher.tried(tried)


def _asked(state: State, count: int) -> list[Tried]:
    """Up to `count` candidates that can be made, to be judged, and what was refused on the way."""
    found: list[Tried] = []
    known = {_digest(t.recipe): t for t in state.tries if t.recipe is not None}
    while sum(t.status != "refused" for t in found) < count:
        point = state.sampler.ask()
        if point is None:
            break
        number = len(state.tries) + len(found) + 1
        try:
            recipe = _named(state.space.recipe(point), number)
            twin = known.get(_digest(recipe))
            if twin is not None:  # the same by other choices: "qat" left out twice
                state.learn(point, twin)
                continue
            state.planner.plan([recipe])
        except (PlanError, UsageError) as exc:
            found.append(_refused(number, point, exc))
            continue
        tried = Tried(number=number, point=point, recipe=recipe, status="fits")
        known[_digest(recipe)] = tried
        found.append(tried)
    return found


def _refused(number: int, point: Point, exc: EdgekitError) -> Tried:
    return Tried(number=number, point=point, status="refused", reasons=(exc.message,))


def _named(recipe: Recipe, number: int) -> Recipe:
    """With a name of its own, unless it is a built-in variant."""
    if recipe == named_recipe(recipe.variant):
        return recipe
    return recipe.model_copy(update={"name": f"{recipe.variant}-{number}"})


def _digest(recipe: Recipe) -> str:
    """Of all but the name."""
    return recipe.model_copy(update={"name": "any"}).fingerprint()


def _round(state: State, asked: Sequence[Tried]) -> list[Tried]:
    """Make, judge and measure candidates."""
    wanted = [tried for tried in asked if tried.recipe is not None]
    if not wanted:
        return list(asked)
    recipes = {tried.name: tried.recipe for tried in wanted if tried.recipe is not None}
    if state.yardstick is not None:
        recipes.setdefault(state.yardstick.name, state.yardstick)
    plan = state.planner.plan(list(recipes.values()))
    folder = state.output / ROUND_BUILD
    build = convert(plan, folder, replace=True, progress=state.watcher.step, pool=state.pool)
    found = [judged(tried, build, state.search.limits) for tried in asked]
    found = _without_twins(found, state.tries)
    fitting = [t.name for t in found if t.status == "fits" and t.figures.latency is None]
    if not state.search.measured or not fitting:
        return found
    if state.yardstick is None:
        state.yardstick = recipes[fitting[0]]
    results = _measured(state, build, state.yardstick.name, fitting)
    known = [each for each in results.values() if isinstance(each, Result)]
    require_told(known, state.search.measured)
    return [_with_results(tried, results, state) for tried in found]


def _without_twins(found: Sequence[Tried], before: Sequence[Tried]) -> list[Tried]:
    """Those whose artifact is that of an earlier try, byte for byte, get what came of that."""
    known = {tried.digest: tried for tried in before if tried.digest}
    return [
        tried.model_copy(
            update={
                "status": twin.status,
                "figures": twin.figures,
                "reasons": (f"the same file as {twin.name}", *twin.reasons),
            }
        )
        if (twin := known.get(tried.digest)) is not None
        else tried
        for tried in found
    ]


def _with_results(tried: Tried, results: dict[str, Result | EdgekitError], state: State) -> Tried:
    """A candidate with what was measured of it, or why it could not be."""
    result = results.get(tried.name)
    if result is None:
        return tried
    if isinstance(result, EdgekitError):
        return tried.model_copy(update={"status": "failed", "reasons": (result.message,)})
    assert state.yardstick is not None
    known = {name: each for name, each in results.items() if isinstance(each, Result)}
    return timed(tried, known, state.yardstick.name, state.search.limits, state.search.measured)


def _measured(
    state: State, build: Build, yardstick: str, names: Sequence[str]
) -> dict[str, Result | EdgekitError]:
    """What was measured of each of these variants, and of the yardstick, in turns.

    A candidate that the board computes wrong, or that no runner there can run, is found out by
    measuring each alone beside the yardstick; it is that candidate's error.

    Raises:
        DeviceError: the board cannot be measured.
    """
    found: dict[str, Result | EdgekitError] = {}
    search = state.search
    assert search.on is not None
    threads = search.settings.threads if search.settings else default_threads(build, search.on)
    quick = QUICK
    if "energy" in search.measured:  # which takes as long as the sensor needs
        quick = {key: value for key, value in QUICK.items() if key != "min_seconds"}
    usual = MeasureSettings(threads=threads, **quick)
    try:
        found |= profiled(state, build, list(dict.fromkeys([yardstick, *names])), usual)
        return found
    except (MismatchError, RejectedError, PlanError):
        if list(names) == [yardstick]:
            raise  # there is nothing to hold others against
    for name in names:
        try:
            found |= profiled(state, build, list(dict.fromkeys([yardstick, name])), usual)
        except (MismatchError, RejectedError, PlanError) as exc:
            if name == yardstick:
                raise
            found[name] = exc
    return found


def profiled(
    state: State, build: Build, names: Sequence[str], settings: MeasureSettings | None
) -> dict[str, Result]:
    search = state.search
    assert search.on is not None  # where something is measured
    results = profile(
        build,
        on=search.on,
        variants=names,
        settings=settings,
        python=search.python,
        runner=search.runner,
        power=AUTO if "energy" in search.measured else OFF,
        say=state.say,
        progress=state.watcher.device,
    )
    return {result.measurement.variant: result for result in results}
