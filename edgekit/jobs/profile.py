"""The profile job: artifacts of a build → measurements on a device, kept in the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edgekit.core.boards import LOCAL, Target, target
from edgekit.core.build import Build, Variant
from edgekit.core.dataset import DataSet
from edgekit.core.errors import InputError, PlanError
from edgekit.core.measurement import MeasureSettings
from edgekit.core.profile import load_profile, probe_host
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.result import Result
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.accuracy import device_accuracy, read_evaluation
from edgekit.jobs.boards import WAIT_SECONDS, held
from edgekit.jobs.results import results_of, to_result
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import measure
from edgekit.measure.subject import Subject
from edgekit.store import Store
from edgekit.work.protocols import Delegate

# The variant, what is being done with it, how much of it is done, and how much there is.
Progress = Callable[[str, str, int, int], None]


def profile(
    build: Build,
    *,
    on: str | Target,
    variants: Sequence[str] = (),
    every: bool = False,
    settings: MeasureSettings | None = None,
    python: str | None = None,
    runtime: str | None = None,
    evaluate: str | DataSet | None = None,
    wait_seconds: float = WAIT_SECONDS,
    say: Callable[[str], None] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
    done: Callable[[Result], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> list[Result]:
    """Measure variants of `build` on the device `on`, one after the other.

    Args:
        on: ``local``, ``ssh://[user@]host[:port]``, or the name of a board of one's own.
        variants: which; the one that `edgekit.core.choice.preferred` takes if none is named.
        every: all accepted ones instead.
        settings: how; with as many threads as the board's profile says, if not given.
        python: the Python to use there.
        runtime: the runtime to use there; the first that is there if not given.
        evaluate: the data that the build was judged on (or what `read_evaluation` gave for it):
            what the board's own answers to it score is part of the result
            (`edgekit.jobs.accuracy.require_accurate` makes an error of a loss).
        wait_seconds, say, pause: of waiting for whoever is using the board, see
            `edgekit.jobs.boards.held`.
        done: is given each result as soon as it is in the store.

    Each result is in the store as soon as its variant is done, so that nothing of it is lost if a
    later one fails. The build's page does not show them before `edgekit.jobs.results.write_page`.

    Raises:
        UnknownNameError, RejectedError: no such variant, or none that can be used.
        PlanError: one of them cannot run there; said before anything is done.
        DeviceBusyError: somebody else is using the board, or has taken it over meanwhile.
        DeviceError: see `edgekit.measure.session.measure`.
    """
    known = () if variants or every else results_of(build)
    chosen = build.choose(variants, every=every, results=known)
    board = target(on) if isinstance(on, str) else on
    check_runs(build, chosen, board.address)
    settings = settings or MeasureSettings(threads=default_threads(build, board))
    data = evaluate if isinstance(evaluate, DataSet) else None
    if isinstance(evaluate, str):
        data = read_evaluation(build, evaluate, chosen)
    wish = RunnerWish(python=python or board.python, runtime=runtime or board.runtime)
    store = Store()
    results = []
    with held(board, wait_seconds=wait_seconds, say=say, pause=pause) as (device, lease):
        for variant in chosen:
            name, subject = variant.recipe.name, _subject(build, variant)
            measurement = measure(
                device,
                subject,
                settings,
                wish=wish,
                device_name="" if board.name == board.address else board.name,
                progress=partial(progress, name),
            )
            if data is not None:  # after the times, which it would warm the board for
                accuracy = device_accuracy(
                    device,
                    build,
                    variant,
                    subject,
                    data,
                    threads=settings.threads,
                    timeout_seconds=settings.timeout_seconds,
                    wish=wish,
                    progress=partial(progress, name),
                )
                measurement = measurement.model_copy(update={"accuracy": accuracy})
            lease.check()  # two at a time on a board measure each other
            results.append(to_result(measurement, store.add(measurement)))
            done(results[-1])
    return results


def check_runs(build: Build, chosen: Sequence[Variant], on: str) -> None:
    """Raise PlanError if one of `chosen` cannot be run by edgekit on the device `on`.

    A board that is reached over SSH may have what a variant needs; this computer, a phone's and a
    microcontroller's accelerators are known not to.
    """
    if on != LOCAL and build.profile.transport == "ssh":
        return
    away = [variant.recipe.name for variant in chosen if not _runs_here(variant.recipe)]
    if not away:
        return
    where = "on this computer" if on == LOCAL else f"on {on}: they are for a {build.profile.title}"
    if len(away) == 1 and on != LOCAL:
        where = where.replace("they are", "it is")
    others = [v.recipe.name for v in build.accepted if _runs_here(v.recipe)]
    instead = " ".join(f"--variant {name}" for name in others)
    raise PlanError(
        f"{', '.join(away)} cannot run {where}",
        hint=(f"measure what can: {instead}; or " if instead else "")
        + "edgekit bundle the build, and time it in the app on the device",
    )


def _runs_here(recipe: Recipe) -> bool:
    delegate = _delegate(recipe)
    return delegate is None or bool(delegate.runs_here)


def _delegate(recipe: Recipe) -> Delegate | None:
    """None for a build from elsewhere, whose delegate is not known here."""
    key = f"{recipe.format}/{recipe.delegate}"
    return DELEGATES[key]() if key in DELEGATES.names() else None


def default_threads(build: Build, board: Target) -> int:
    """As many threads as the profile of that kind of board says."""
    if board.address == LOCAL:
        return probe_host().threads
    return load_profile(board.kind).threads if board.kind else build.profile.threads


def _subject(build: Build, variant: Variant) -> Subject:
    assert variant.artifact is not None
    file = variant.artifact.files[0]
    check = build.folder / "check" / f"{variant.recipe.name}.npz"
    if not check.is_file():
        raise InputError(
            f"{str(check)!r} is missing: without it a board that computes wrong is not found out",
            hint="run edgekit convert again; what did not change comes from the cache",
        )
    return Subject(
        path=build.folder / Path(file.path),
        sha256=file.sha256,
        quantization=_computed_in(variant.recipe),
        file_format=variant.recipe.format,
        names=(
            tuple(spec.name for spec in variant.artifact.signature.inputs),
            tuple(spec.name for spec in variant.artifact.signature.outputs),
        ),
        build_name=build.name,
        variant=variant.recipe.name,
        check=check,
    )


def _computed_in(recipe: Recipe) -> QuantizationKind:
    """How near a board must come: as the recipe says, or where its delegate may be coarser."""
    coarser: dict[QuantizationKind, QuantizationKind]
    coarser = getattr(_delegate(recipe), "coarser", {})
    return coarser.get(recipe.quantization, recipe.quantization)
