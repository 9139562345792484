"""The tune job: a model, limits and a board → the recipe that is best within them.

In rounds: the sampler proposes candidates, they are converted side by side and judged like any
variant, and those that are within the limits so far are measured on the board, their launches in
turns with one yardstick. In the end the best are made once more, judged on samples of their own
where there are some, and measured again, together: the best of many noisy figures is too good to
be true.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.core.errors import (
    PlanError,
    RejectedError,
    UsageError,
)
from edgekit.core.files import sha256_path
from edgekit.core.noun import json_digest
from edgekit.core.profile import DeviceProfile, load_profile
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.core.tuning import (
    Tried,
    Tuning,
    front,
    steadied,
    yardstick_ns,
)
from edgekit.jobs import tuning_files as files
from edgekit.jobs.convert import convert
from edgekit.jobs.plan import Wish, make_plan, open_model
from edgekit.jobs.profile import runs_there
from edgekit.jobs.results import write_page
from edgekit.jobs.tuning_figures import judged, require_told, timed
from edgekit.jobs.tuning_rounds import (
    ROUND_BUILD,
    Planner,
    Search,
    State,
    Watcher,
    max_drop,
    profiled,
    rounds,
    sampler_limits,
    wish_for,
)
from edgekit.search.sampler import Sampler
from edgekit.search.space import Space, load_spaces, space_text
from edgekit.search.usual import usual_spaces
from edgekit.work.pool import Pool

FINALISTS = 4  # that are made and measured again


def tune(
    wish: Wish,
    search: Search,
    output: Path,
    *,
    replace: bool = False,
    watcher: Watcher | None = None,
) -> Tuning:
    """Search, and leave in `output` the build of the best (``build``), their recipes (``recipes``),
    a page, and all that was tried (``tries.jsonl``): the same command goes on from there.

    Args:
        wish: model, board and data; variants are found here.
        replace: begin anew where another search is in `output`.

    Raises:
        UsageError, ModelError, DataError, PlanError: see `edgekit.jobs.plan.make_plan`; nothing
            was begun then.
        OutputError: `output` cannot be written, or holds something else.
        RejectedError: nothing that was tried fits; what was tried is kept.
        DeviceError: the board cannot be measured; what was tried is kept.
    """
    watcher = watcher or Watcher()
    board = load_profile(wish.profile)
    planner = Planner(wish)
    space, model = _possible(planner, search, open_space(wish, search, board), watcher)
    files.begin(output, _header(wish, search), replace=replace)
    started = time.monotonic()
    sampler = Sampler(space, search.objective, sampler_limits(wish, search), search.seed)
    with Pool() as pool:
        state = State(wish, planner, search, space, output, watcher, pool, sampler)
        for tried in files.read_tries(output):
            state.take(tried)
        if state.tries:
            watcher.say(f"goes on after the {len(state.tries)} tries in {output}")
        return _finish(state, model, board, rounds(state, started))


def default_output(wish: Wish) -> Path:
    """Where a search is put unless something else is said."""
    _, model, _ = open_model(wish)
    return Path(f"{model.name}-{load_profile(wish.profile).name}.tuned")


def open_space(wish: Wish, search: Search, board: DeviceProfile) -> Space:
    """What is searched.

    Raises:
        UsageError: a space is not right as written, or a figure needs a device and there is none.
        PlanError: nothing of the board's usual variants can be run on the device.
    """
    if search.measured and search.on is None:
        raise UsageError(
            f"{search.measured[0]} is measured on a device, and none is named",
            hint="name one with --on, as edgekit profile takes it; --minimize size needs none",
        )
    usual = [named_recipe(name) for name in board.variants]
    if search.on is not None:
        usual = [r for r in usual if runs_there(r, board, search.on.address)]
    places = tuple(dict.fromkeys((r.format, r.delegate) for r in usual))
    if not places and search.on is not None:
        raise PlanError(
            f"nothing of what {board.title} usually gets can be run on {search.on.name}",
            hint="name the board itself with --on, or --minimize size, which needs none",
        )
    return load_spaces(_space_names(wish, search), places)


def _space_names(wish: Wish, search: Search) -> tuple[str, ...]:
    return search.spaces or usual_spaces(
        search.objective, search.limits, trains=wish.training is not None
    )


def _possible(
    planner: Planner, search: Search, space: Space, watcher: Watcher
) -> tuple[Space, str]:
    """The families that begin with something that this board, this model and this data can do, and
    the model's name.

    Raises:
        PlanError: no family does, or the family of a space that was named does not.
    """
    refused: list[PlanError] = []
    families, model = [], ""
    for family in space.families:
        try:
            plan = planner.plan([family.recipe(family.first)])
        except PlanError as exc:
            if search.spaces:
                raise PlanError(
                    f"the family {family.name!r}: {exc.message}", hint=exc.hint
                ) from exc
            refused.append(exc)
            watcher.say(f"left out {family.name}: {exc.message}")
        else:
            families.append(family)
            model = plan.model.name
    if not families:
        raise refused[0]
    if search.holdout is not None:
        wish = wish_for(planner.wish, [named_recipe("float32")])
        make_plan(replace(wish, evaluation=search.holdout))
    return Space(tuple(families)), model


def _header(wish: Wish, search: Search) -> dict[str, Any]:
    """What has to be the same for tries to be of one search."""
    asked = {
        "content": [
            _content(name)
            for name in (
                wish.model,
                wish.options.weights,
                wish.training,
                wish.calibration,
                wish.evaluation,
            )
        ],
        "how": repr(replace(wish, variants=())),
        "on": search.on.address if search.on else "",
        "objective": search.objective,
        "limits": search.limits.to_json(),
        "spaces": [space_text(name) for name in _space_names(wish, search)],
        "edgekit": __version__,
    }
    return {"schema": 1, "model": wish.model, "board": wish.profile, "asked": json_digest(asked)}


def _content(reference: str | None) -> str:
    """The digest of a file or folder; what is none is taken by its name."""
    if not reference or not Path(reference).exists():
        return reference or ""
    return sha256_path(Path(reference))


def _finish(state: State, model: str, board: DeviceProfile, ended: str) -> Tuning:
    """Make and measure the finalists, and write down all of it."""
    search, output = state.search, state.output
    notes: list[str] = []
    finalists = _finalists(state)
    tuning = Tuning(
        model=model,
        board=board.title,
        on=search.on.name if search.on and search.measured else "",
        objective=search.objective,
        limits=search.limits,
        max_drop=max_drop(state.wish),
        yardstick=state.yardstick.name if state.yardstick else "",
        tries=tuple(state.tries),
        ended=ended,
    )
    if not finalists:
        files.write(tuning, output)
        raise RejectedError(
            f"nothing that was tried fits ({len(state.tries)} tries); {_nearest(state)}",
            hint="allow more, or give more to try with --train or --space; "
            f"see {output / files.PAGE}",
        )
    final, recipes = _final(state, finalists)
    ordered = sorted(final, key=lambda t: (t.status != "fits", t.figures.of(search.objective) or 0))
    best = next((tried.name for tried in ordered if tried.status == "fits"), "")
    if search.holdout is None and state.wish.evaluation is not None:
        notes.append(
            "what was lost is told by the samples that chose among the candidates, which flatters "
            "them; --holdout DATA judges the finalists on others"
        )
    tuning = tuning.model_copy(
        update={
            "finalists": tuple(tried.name for tried in ordered),
            "final": {tried.name: tried for tried in ordered},
            "best": best,
            "notes": tuple(notes),
        }
    )
    files.write(tuning, output, recipes)
    shutil.rmtree(output / ROUND_BUILD, ignore_errors=True)
    if not best:
        raise RejectedError(
            f"none of the finalists fits when it is {'judged and ' if search.holdout else ''}"
            f"measured again: {ordered[0].name}: {'; '.join(ordered[0].reasons)}",
            hint=f"leave more room in the limits; see {output / files.PAGE}",
        )
    return tuning


def _finalists(state: State) -> list[Tried]:
    """The Pareto front, cheapest first, and beside it the next cheapest: what is ahead by less than
    the noise may well be behind.
    """
    objective, usual = state.search.objective, yardstick_ns(state.tries)
    first = front(state.tries, objective, usual)
    costs = {
        tried.number: cost
        for tried in state.tries
        if tried.status == "fits" and (cost := steadied(tried, objective, usual)) is not None
    }
    others = sorted(
        (tried for tried in state.tries if tried.number in costs and tried not in first),
        key=lambda tried: costs[tried.number],
    )
    chosen: dict[str, Tried] = {}
    for tried in (*first, *others):
        chosen.setdefault(tried.digest, tried)
    return list(chosen.values())[:FINALISTS]


def _final(state: State, finalists: Sequence[Tried]) -> tuple[list[Tried], list[Recipe]]:
    """The finalists as they are found when made, judged and measured together, and their recipes
    as they were carried out.
    """
    search = state.search
    wish = wish_for(state.wish, [tried.recipe for tried in finalists if tried.recipe is not None])
    if search.holdout is not None:
        wish = replace(wish, evaluation=search.holdout)
    plan, folder = make_plan(wish), state.output / files.BUILD
    build = convert(plan, folder, replace=True, progress=state.watcher.step, pool=state.pool)
    found = [judged(tried, build, search.limits) for tried in finalists]
    fitting = [tried.name for tried in found if tried.status == "fits"]
    if search.measured and fitting:
        results = profiled(state, build, fitting, search.settings)
        require_told(results.values(), search.measured)
        found = [
            timed(t, results, t.name, search.limits, search.measured) if t.name in results else t
            for t in found
        ]
        write_page(build, folder)
    return found, [variant.recipe for variant in build.variants]


def _nearest(state: State) -> str:
    """In words, why what came nearest does not fit."""
    made = [t for t in state.tries if t.status == "over"] or [
        t for t in state.tries if t.status == "failed"
    ]
    if not made:
        reasons = [reason for tried in state.tries for reason in tried.reasons]
        return reasons[0] if reasons else "there was nothing to try"
    nearest = min(made, key=lambda t: (t.score.drop if t.score else 0.0, t.number))
    return f"{nearest.name}: {'; '.join(nearest.reasons)}"
