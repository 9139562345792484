"""The profile job: artifacts of a build → measurements on a device, kept in the store."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgekit.core.build import Build, Variant
from edgekit.core.errors import InputError, PlanError, RejectedError
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.core.profile import probe_host
from edgekit.core.recipe import USUAL_DELEGATE, QuantizationKind, Recipe
from edgekit.core.result import Result
from edgekit.devices import open_device
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.results import results_of, to_result
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import measure, measure_together
from edgekit.measure.subject import Subject
from edgekit.store import Store
from edgekit.work.protocols import Delegate

# The variant, what is being done with it, how much of it is done, and how much there is.
Progress = Callable[[str, str, int, int], None]
LOCAL = "local"
SUSTAINED_SAMPLES = 100_000  # of a long run are kept: a plot shows no more


def profile(
    build: Build,
    *,
    on: str,
    variants: Sequence[str] = (),
    every: bool = False,
    settings: MeasureSettings | Sequence[MeasureSettings] | None = None,
    python: str | None = None,
    runtime: str | None = None,
    progress: Progress = lambda *_: None,
    say: Callable[[str], object] = lambda _: None,
) -> list[Result]:
    """Measure variants of `build` on the device `on`, their launches in turns.

    Args:
        on: ``local``, ``ssh://[user@]host[:port]`` or ``adb:SERIAL``.
        variants: which; the one that `edgekit.core.choice.preferred` takes if none is named.
        every: all accepted ones instead.
        settings: how, or several ways, one after the other (see `sweep`); with as many threads as
            the board's profile says, if not given.
        python: the Python to use there.
        runtime: the runtime to use there; the first that is there if not given.
        say: called with a sentence about a way of a sweep that the model cannot be run in.

    Each result is in the store as soon as its variant is done, and what was measured before an
    error or Ctrl-C, marked as cut short. The build's page does not show them before
    `edgekit.jobs.results.write_page`.

    Raises:
        UnknownNameError, RejectedError: no such variant, or none that can be used.
        PlanError: one of them cannot run there; said before anything is done.
        DeviceError: see `edgekit.measure.session.measure`.
    """
    known = () if variants or every else results_of(build)
    chosen = build.choose(variants, every=every, results=known)
    check_runs(build, chosen, on)
    settings = settings or MeasureSettings(threads=default_threads(build, on))
    ways = [settings] if isinstance(settings, MeasureSettings) else list(settings)
    store = Store()
    subjects = [_subject(build, variant) for variant in chosen]
    wish = RunnerWish(python=python, runtime=runtime)
    results: list[Result] = []

    def keep(measurement: Measurement) -> None:
        results.append(to_result(measurement, store.add(measurement)))

    refused: RejectedError | None = None
    with open_device(on) as device:
        for way in ways:
            try:
                if way.sustained:
                    for subject in subjects:  # each from a cool board
                        quick = _quick(way)
                        once = measure(device, subject, quick, wish=wish)
                        longer = _thinned(way, once)
                        measure_together(
                            device, [subject], longer, wish=wish, progress=progress, keep=keep
                        )
                else:
                    measure_together(device, subjects, way, wish=wish, progress=progress, keep=keep)
            except RejectedError as exc:
                if len(ways) == 1:
                    raise
                refused = exc
                say(f"left out {_named(way)}: {exc.message}")
    if refused is not None and not results:
        raise refused
    return results


def sweep(settings: MeasureSettings, axes: Mapping[str, Sequence[int]]) -> list[MeasureSettings]:
    """`settings` in every combination of the values of `axes`: threads, batch, streams."""
    ways = []
    for values in itertools.product(*axes.values()):
        ways.append(settings.model_copy(update=dict(zip(axes, values, strict=True))))
    return ways


def sustained(settings: MeasureSettings, seconds: float) -> MeasureSettings:
    """One launch of at least `seconds`, for how the speed changes with heat."""
    return settings.model_copy(
        update={
            "sustained": True,
            "launches": 1,
            "runs": 1,
            "min_seconds": seconds,
            "max_runs": 2 * SUSTAINED_SAMPLES,
            "timeout_seconds": max(settings.timeout_seconds, 1.2 * seconds + 120),
            "precision": None,
        }
    )


def _quick(way: MeasureSettings) -> MeasureSettings:
    """To learn how long one inference takes, before a long run."""
    update = {"sustained": False, "runs": 5, "min_seconds": 0.2, "max_runs": 10_000}
    return way.model_copy(update=update)


def _thinned(way: MeasureSettings, once: Measurement) -> MeasureSettings:
    """`way` with so few of its inferences timed that the samples can be kept."""
    expected = way.min_seconds * 1e9 / statistics.median(once.launches[0].samples_ns)
    return way.model_copy(update={"sample_every": max(1, round(expected / SUSTAINED_SAMPLES))})


def _named(way: MeasureSettings) -> str:
    return f"{way.threads} threads, batch {way.batch}, {way.streams} streams"


def check_runs(build: Build, chosen: Sequence[Variant], on: str) -> None:
    """Raise PlanError if one of `chosen` cannot be run by edgekit on the device `on`.

    A board that is reached over SSH may have what a variant needs; this computer, a phone's and a
    microcontroller's accelerators are known not to. What runs on a phone over adb has its CPU.
    """
    if on != LOCAL and build.profile.transport == "ssh":
        return
    phone = build.profile.transport == "adb" and on.startswith("adb:")
    runs = _runs_on_a_cpu if phone else _runs_here
    away = [variant.recipe.name for variant in chosen if not runs(variant.recipe)]
    if not away:
        return
    if on == LOCAL:
        where = "on this computer"
    elif phone:
        where = f"on {on}: edgekit measures a phone's CPU, not its GPU or NPU"
    else:
        where = f"on {on}: {'it is' if len(away) == 1 else 'they are'} for a {build.profile.title}"
    others = [v.recipe.name for v in build.accepted if runs(v.recipe)]
    instead = " ".join(f"--variant {name}" for name in others)
    raise PlanError(
        f"{', '.join(away)} cannot run {where}",
        hint=(f"measure what can: {instead}; or " if instead else "")
        + "edgekit bundle the build, and time it in the app on the device",
    )


def _runs_here(recipe: Recipe) -> bool:
    delegate = _delegate(recipe)
    return delegate is None or bool(delegate.runs_here)


def _runs_on_a_cpu(recipe: Recipe) -> bool:
    usual = recipe.delegate == USUAL_DELEGATE[recipe.format]
    return usual or recipe.delegate == "portable" or _delegate(recipe) is None


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
        delegate=variant.recipe.delegate,
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
