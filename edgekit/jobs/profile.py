"""The profile job: artifacts of a build → measurements on a device, kept in the store."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edgekit.core.boards import LOCAL, Target, target
from edgekit.core.build import Build, Variant
from edgekit.core.dataset import DataSet
from edgekit.core.errors import InputError, PlanError, RejectedError, UsageError
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.core.profile import DeviceProfile, Measuring, load_profile, probe_host
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.result import Result
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.accuracy import device_accuracy, read_evaluation
from edgekit.jobs.hold import WAIT_SECONDS, held
from edgekit.jobs.results import results_of, to_result
from edgekit.measure.answers import refuse_mute
from edgekit.measure.choice import with_runners
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners import RUNNERS
from edgekit.measure.session import measure, measure_together
from edgekit.measure.subject import Subject
from edgekit.sensors.watch import AUTO, OFF, Watch
from edgekit.store import Store
from edgekit.work.protocols import Delegate

# The variant, what is being done with it, how much of it is done, and how much there is.
Progress = Callable[[str, str, int, int], None]
SUSTAINED_SAMPLES = 100_000  # of a long run are kept: a plot shows no more
MAX_RUNS_FOR_ENERGY = 1_000_000


def profile(
    build: Build,
    *,
    on: str | Target,
    variants: Sequence[str] = (),
    every: bool = False,
    settings: MeasureSettings | Sequence[MeasureSettings] | None = None,
    python: str | None = None,
    runtime: str | None = None,
    runner: str | None = None,
    native_program: str | None = None,
    native_library: str | None = None,
    evaluate: str | DataSet | None = None,
    power: str = AUTO,
    rate_hz: float = 10.0,
    wait_seconds: float = WAIT_SECONDS,
    say: Callable[[str], None] = lambda _: None,
    pause: Callable[[float], object] = time.sleep,
    done: Callable[[Result], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> list[Result]:
    """Measure variants of `build` on the device `on`, their launches in turns.

    Args:
        on: ``local``, ``ssh://[user@]host[:port]``, ``adb:SERIAL``, or the name of a board of
            one's own.
        variants: which; the one that `edgekit.core.choice.preferred` takes if none is named.
        every: all accepted ones instead.
        settings: how, or several ways, one after the other (see `sweep`); with as many threads as
            the board's profile says, if not given.
        python: the Python to use there.
        runtime: the runtime to use there; the first that is there if not given.
        runner: a name in `edgekit.measure.runners.RUNNERS`; see `choose_runner` if not given.
        native_program, native_library: files of the user's for the native runner.
        evaluate: the data that the build was judged on (or what `read_evaluation` gave for it):
            what the board's own answers to it score is part of the result
            (`edgekit.jobs.accuracy.require_accurate` makes an error of a loss).
        power: whose readings become energy: ``auto`` for the best that the board has, ``off``, or
            a sensor as `edgekit.sensors.watch.Watch.open` takes it.
        rate_hz: how often they are read.
        wait_seconds, pause: of waiting for whoever is using the board, see
            `edgekit.jobs.hold.held`.
        say: is told of that, of the runner that was taken, and of ways of a sweep that the model
            cannot be run in.
        done: is given each result as soon as it is in the store.

    Where there is power to read, each launch is timed for long enough that its energy can be told,
    unless `settings` say for how long.

    Each result is in the store as soon as its variant is done, and what was measured before an
    error or Ctrl-C, marked as cut short. What `evaluate` asks for comes after all are timed. The
    build's page does not show them before `edgekit.jobs.results.write_page`.

    Raises:
        UnknownNameError, RejectedError: no such variant, or none that can be used.
        UsageError: `settings` contradict themselves, see `check_ways`.
        PlanError: one of them cannot run there, or its runner cannot do what is asked for; said
            before anything is timed.
        DeviceBusyError: somebody else is using the board, or has taken it over meanwhile.
        DeviceError: see `edgekit.measure.session.measure`.
    """
    known = () if variants or every else results_of(build)
    chosen = build.choose(variants, every=every, results=known)
    board = target(on) if isinstance(on, str) else on
    check_runs(build, chosen, board.address)
    settings = settings or MeasureSettings(threads=default_threads(build, board))
    ways = [settings] if isinstance(settings, MeasureSettings) else list(settings)
    measuring = _profile(build, board).measure
    ways = [_as_usual_there(way, measuring) for way in ways]
    check_ways(ways)
    data = evaluate if isinstance(evaluate, DataSet) else None
    if isinstance(evaluate, str):
        data = read_evaluation(build, evaluate, chosen)
    # What is written down of a board's Python is for that runner; what was typed is for any.
    if runner in (None, "python") and not native_program and not native_library:
        python, runtime = python or board.python, runtime or board.runtime
    wish = RunnerWish(python, runtime, native_program, native_library)
    subjects = {variant.recipe.name: _subject(build, variant) for variant in chosen}
    store = Store()
    results: list[Result] = []
    refused: RejectedError | None = None
    scored: set[str] = set()
    unscored: list[Measurement] = []
    with held(board, wait_seconds=wait_seconds, say=say, pause=pause) as (device, lease):
        subjects = with_runners(device, subjects, wish, runner, say)
        for subject in subjects.values() if data is not None else ():
            refuse_mute(subject)
        watch = (
            None
            if power == OFF
            else Watch.open(device, power=power, rate_hz=rate_hz, prefer=measuring.power)
        )
        ways = [_long_enough(way, watch) for way in ways]
        if watch is not None and watch.has_power:
            for name, subject in subjects.items():
                if not RUNNERS[subject.runner].senses:
                    say(f"{name}: no energy, since the runner {subject.runner} reads no sensors")

        def keep(measurement: Measurement) -> None:
            if not measurement.cut_short:
                lease.check()  # two at a time on a board measure each other
                if data is not None and measurement.variant not in scored:
                    unscored.append(measurement)  # later: others are still timed, clocks held still
                    return
            told(measurement)

        def told(measurement: Measurement) -> None:
            result = to_result(measurement)  # first: what has no statistics would spoil each report
            results.append(result.model_copy(update={"id": store.add(measurement)}))
            done(results[-1])

        def score(data: DataSet) -> None:
            while unscored:
                name, way = unscored[0].variant, unscored[0].settings
                accuracy = device_accuracy(
                    device,
                    build,
                    build.variant(name),
                    subjects[name],
                    data,
                    threads=way.threads,
                    timeout_seconds=way.timeout_seconds,
                    wish=wish,
                    progress=partial(progress, name),
                )
                scored.add(name)  # once, of the first way
                told(unscored.pop(0).model_copy(update={"accuracy": accuracy}))

        def left_out(way: MeasureSettings, variant: str, exc: RejectedError) -> None:
            say(f"left out {variant}, {_named(way)}: {exc.message}")

        for way in ways:
            together = list(subjects.values())
            # A long run begins with a cool board, one after the other.
            groups = [[each] for each in together] if way.sustained else [together]
            try:
                for group in groups:
                    if way.sustained:
                        way = _thinned(way, measure(device, group[0], _quick(way), wish=wish))
                    measure_together(
                        device,
                        group,
                        way,
                        wish=wish,
                        sensing=watch,
                        device_name="" if board.name == board.address else board.name,
                        progress=progress if len(ways) == 1 else _told_apart(way, progress),
                        keep=keep,
                        refused=None if len(ways) == 1 else partial(left_out, way),
                    )
                    if data is not None:
                        score(data)
            except RejectedError as exc:
                if len(ways) == 1:
                    raise
                refused = exc
            finally:
                for measurement in unscored:  # its times are right, whatever ended it all
                    store.add(measurement)
                unscored.clear()
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


def check_ways(ways: Sequence[MeasureSettings]) -> None:
    """Raise UsageError if no board could measure in one of `ways`."""
    if any(way.operators and way.streams != 1 for way in ways):
        raise UsageError(
            "--operators tells of one stream, --streams asks for more",
            hint="leave out one of them",
        )


def _quick(way: MeasureSettings) -> MeasureSettings:
    """To learn how long one inference takes, before a long run."""
    update = {"sustained": False, "runs": 5, "min_seconds": 0.2, "max_runs": 10_000}
    update |= {"sample_every": 1, "operators": False}
    return way.model_copy(update=update)


def _thinned(way: MeasureSettings, once: Measurement) -> MeasureSettings:
    """`way` with so few of its inferences timed that the samples can be kept.

    Raises:
        PlanError: the runner keeps none.
    """
    if once.launches[0].summarized:
        raise PlanError(
            f"{once.variant}: its runner ({once.hello.get('runner')}) gives one number a launch, "
            "in which nothing shows how the speed changes",
            hint="leave out --sustained, or name another one with --runner",
        )
    expected = way.min_seconds * 1e9 / statistics.median(once.launches[0].samples_ns)
    return way.model_copy(update={"sample_every": max(1, round(expected / SUSTAINED_SAMPLES))})


def _named(way: MeasureSettings) -> str:
    threads = f"{way.threads} thread" + "s" * (way.threads != 1)
    streams = f"{way.streams} stream" + "s" * (way.streams != 1)
    return f"{threads}, batch {way.batch}, {streams}"


def _told_apart(way: MeasureSettings, progress: Progress) -> Progress:
    """`progress` for one of several ways."""
    return lambda variant, what, done, of: progress(f"{variant} ({_named(way)})", what, done, of)


def _long_enough(settings: MeasureSettings, watch: Watch | None) -> MeasureSettings:
    if watch is None or not watch.has_power:
        return settings
    more: dict[str, float] = {}
    if "min_seconds" not in settings.model_fields_set:
        more["min_seconds"] = max(settings.min_seconds, watch.enough_seconds)
    if "max_runs" not in settings.model_fields_set:  # a model of some µs reaches it before that
        more["max_runs"] = max(settings.max_runs, MAX_RUNS_FOR_ENERGY)
    return settings.model_copy(update=more)


def check_runs(build: Build, chosen: Sequence[Variant], on: str) -> None:
    """Raise PlanError if one of `chosen` cannot be run by edgekit on the device `on`.

    A board that is reached over SSH may have what a variant needs; this computer's and a
    microcontroller's accelerators are known not to; of a phone's, some runner has to run it.
    """

    def runs(recipe: Recipe) -> bool:
        return runs_there(recipe, build.profile, on)

    away = [variant.recipe.name for variant in chosen if not runs(variant.recipe)]
    if not away:
        return
    phone = _is_phone(build.profile, on)
    if on == LOCAL:
        where = "on this computer"
    elif phone:
        where = f"on {on}: no runner of edgekit's runs that accelerator of a phone"
    else:
        where = f"on {on}: {'it is' if len(away) == 1 else 'they are'} for a {build.profile.title}"
    others = [v.recipe.name for v in build.accepted if runs(v.recipe)]
    instead = " ".join(f"--variant {name}" for name in others)
    raise PlanError(
        f"{', '.join(away)} cannot run {where}",
        hint=(f"measure what can: {instead}; or " if instead else "")
        + "edgekit bundle the build, and time it in the app on the device",
    )


def runs_there(recipe: Recipe, profile: DeviceProfile, on: str) -> bool:
    """Whether what `recipe` makes for that kind of board can be run by edgekit on the device `on`,
    as far as that is known: see `check_runs`.
    """
    if on != LOCAL and profile.transport == "ssh":
        return True
    return _runs_on_a_phone(recipe) if _is_phone(profile, on) else _runs_here(recipe)


def _is_phone(profile: DeviceProfile, on: str) -> bool:
    return profile.transport == "adb" and on.startswith("adb:")


def _runs_here(recipe: Recipe) -> bool:
    delegate = _delegate(recipe)
    return delegate is None or bool(delegate.runs_here)


def _runs_on_a_phone(recipe: Recipe) -> bool:
    runners = (RUNNERS[name] for name in RUNNERS if name != "trtexec")
    return any(recipe.delegate in runner.runs.get(recipe.format, ()) for runner in runners)


def _delegate(recipe: Recipe) -> Delegate | None:
    """None for a build from elsewhere, whose delegate is not known here."""
    key = f"{recipe.format}/{recipe.delegate}"
    return DELEGATES[key]() if key in DELEGATES.names() else None


def default_threads(build: Build, board: Target) -> int:
    """As many threads as the profile of that kind of board says."""
    return _profile(build, board).threads


def _profile(build: Build, board: Target) -> DeviceProfile:
    """What is known of that kind of board."""
    if board.address == LOCAL:
        return probe_host()
    return load_profile(board.kind) if board.kind else build.profile


def _as_usual_there(way: MeasureSettings, measuring: Measuring) -> MeasureSettings:
    """`way` with what it does not say as it is usual for the kind of board."""
    usual = {
        "pause_seconds": measuring.pause_seconds,
        "cooldown_seconds": measuring.cooldown_seconds,
        "cooling_zones": measuring.zones,
    }
    missing = {key: usual[key] for key in usual if key not in way.model_fields_set}
    return way.model_copy(update=missing)


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
        nodes=variant.coverage.nodes if variant.coverage else (),
    )


def _computed_in(recipe: Recipe) -> QuantizationKind:
    """How near a board must come: as the recipe says, or where its delegate may be coarser."""
    coarser: dict[QuantizationKind, QuantizationKind]
    coarser = getattr(_delegate(recipe), "coarser", {})
    return coarser.get(recipe.quantization, recipe.quantization)
