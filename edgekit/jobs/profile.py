"""The profile job: artifacts of a build → measurements on a device, kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edgekit.core.build import Build, Variant
from edgekit.core.errors import InputError, PlanError
from edgekit.core.measurement import MeasureSettings
from edgekit.core.profile import probe_host
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.result import Result
from edgekit.devices import open_device
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.results import results_of, to_result
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import measure
from edgekit.measure.subject import Subject
from edgekit.sensors.watch import AUTO, OFF, Watch
from edgekit.store import Store
from edgekit.work.protocols import Delegate

# The variant, what is being done with it, how much of it is done, and how much there is.
Progress = Callable[[str, str, int, int], None]
LOCAL = "local"
MAX_RUNS_FOR_ENERGY = 1_000_000


def profile(
    build: Build,
    *,
    on: str,
    variants: Sequence[str] = (),
    every: bool = False,
    settings: MeasureSettings | None = None,
    python: str | None = None,
    runtime: str | None = None,
    power: str = AUTO,
    rate_hz: float = 10.0,
    progress: Progress = lambda *_: None,
) -> list[Result]:
    """Measure variants of `build` on the device `on`, one after the other.

    Args:
        on: ``local`` or ``ssh://[user@]host[:port]``.
        variants: which; the one that `edgekit.core.choice.preferred` takes if none is named.
        every: all accepted ones instead.
        settings: how; with as many threads as the board's profile says, if not given.
        python: the Python to use there.
        runtime: the runtime to use there; the first that is there if not given.
        power: whose readings become energy: ``auto`` for the best that the board has, ``off``, or
            a sensor as `edgekit.sensors.watch.Watch.open` takes it.
        rate_hz: how often they are read.

    Where there is power to read, each launch is timed for long enough that its energy can be told,
    unless `settings` say for how long.

    Each result is in the store as soon as its variant is done, so that nothing of it is lost if a
    later one fails. The build's page does not show them before `edgekit.jobs.results.write_page`.

    Raises:
        UnknownNameError, RejectedError: no such variant, or none that can be used.
        PlanError: one of them cannot run there; said before anything is done.
        DeviceError: see `edgekit.measure.session.measure`.
    """
    known = () if variants or every else results_of(build)
    chosen = build.choose(variants, every=every, results=known)
    check_runs(build, chosen, on)
    settings = settings or MeasureSettings(threads=default_threads(build, on))
    store = Store()
    results = []
    with open_device(on) as device:
        watch = None if power == OFF else Watch.open(device, power=power, rate_hz=rate_hz)
        settings = _long_enough(settings, watch)
        for variant in chosen:
            name = variant.recipe.name
            measurement = measure(
                device,
                _subject(build, variant),
                settings,
                wish=RunnerWish(python=python, runtime=runtime),
                sensing=watch,
                progress=partial(progress, name),
            )
            results.append(to_result(measurement, store.add(measurement)))
    return results


def _long_enough(settings: MeasureSettings, watch: Watch | None) -> MeasureSettings:
    if watch is None or not watch.has_power or "min_seconds" in settings.model_fields_set:
        return settings
    more: dict[str, float] = {"min_seconds": max(settings.min_seconds, watch.enough_seconds)}
    if "max_runs" not in settings.model_fields_set:  # a model of some µs reaches it before that
        more["max_runs"] = max(settings.max_runs, MAX_RUNS_FOR_ENERGY)
    return settings.model_copy(update=more)


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


def default_threads(build: Build, on: str) -> int:
    """As many threads as the profile of that kind of board says."""
    return probe_host().threads if on == LOCAL else build.profile.threads


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
