"""Measurements: deploy, check the answers, launch the runner several times in turns, collect."""

from __future__ import annotations

import contextlib
import itertools
import math
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.core.agreement import compare, load_outputs
from edgekit.core.errors import DeviceError, RejectedError
from edgekit.core.files import sha256_file
from edgekit.core.leftovers import removed_after
from edgekit.core.measurement import (
    MEMORY_KEYS,
    Launch,
    Measurement,
    MeasureSettings,
    Memory,
    OperatorTimes,
    OutputCheck,
    Window,
)
from edgekit.core.protocols import Device, Sensing
from edgekit.measure.again import reached_again
from edgekit.measure.clocks import Clocks, held
from edgekit.measure.events import Events
from edgekit.measure.heat import Cooling, Waited
from edgekit.measure.operator_layers import with_layers
from edgekit.measure.runner import Runner, RunnerWish
from edgekit.measure.runners import RUNNERS
from edgekit.measure.stats import estimate
from edgekit.measure.subject import Subject

NOT_TOLD = "this runner does not tell it"
LEAST_LAUNCHES = 3  # two that are alike by chance look as if nothing varied

# What is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
# The same after the variant that it is done for.
SubjectProgress = Callable[[str, str, int, int], None]
# A variant, and why it is not measured.
Refused = Callable[[str, RejectedError], object]


def measure(
    device: Device,
    subject: Subject,
    settings: MeasureSettings,
    *,
    runner: str | None = None,
    wish: RunnerWish = RunnerWish(),  # noqa: B008 - frozen
    device_name: str = "",
    sensing: Sensing | None = None,
    progress: Progress = lambda *_: None,
) -> Measurement:
    """`measure_together` for one subject alone; `progress` is called as (what, done, of).

    `runner` in the place of the subject's own, if it is given.
    """
    (found,) = measure_together(
        device,
        [subject if runner is None else replace(subject, runner=runner)],
        settings,
        wish=wish,
        sensing=sensing,
        device_name=device_name,
        progress=lambda _, *what: progress(*what),
    )
    return found


def measure_together(
    device: Device,
    subjects: Sequence[Subject],
    settings: MeasureSettings,
    *,
    wish: RunnerWish = RunnerWish(),  # noqa: B008 - frozen
    sensing: Sensing | None = None,
    device_name: str = "",
    progress: SubjectProgress = lambda *_: None,
    keep: Callable[[Measurement], object] = lambda _: None,
    refused: Refused | None = None,
) -> list[Measurement]:
    """Deploy `subjects` to `device`, check their outputs there, and time them in turns.

    Launches of all subjects are interleaved, each round in the opposite order of the one before,
    so that heat, clocks and other work hit all of them alike. Before each launch the board cools
    down to where it was at the start (`edgekit.measure.heat`); its clocks are held still meanwhile
    and given back in the end (`edgekit.measure.clocks`).

    Args:
        device: open (inside its ``with`` block).
        wish: what their runners are asked for.
        sensing: reads the device's sensors meanwhile, if given and if the runner can.
        device_name: how the result shall call it; what the board calls itself if not given.
        progress: called as (variant, what, done, of).
        keep: called with each measurement as soon as it is complete; also with what there is of
            the others if an error or Ctrl-C ends it all, marked as cut short.
        refused: told of a subject that the runtime there does not take in this way, and why; the
            others are measured. Without it that ends it all.

    Raises:
        RuntimeMissingError: no runtime there; says how to install one.
        RejectedError: the runtime there does not load the artifact, or any with `refused`.
        MismatchError: the board computes something else than this computer.
        TransientDeviceError: the link broke. No launch is repeated: half a measurement is none.
        DeviceError: anything else that went wrong there.
    """
    turns = [
        _Turns(device, subject, settings, device_name, sensing, progress) for subject in subjects
    ]
    with reached_again(device):
        for each in turns:
            with each.excused(refused):
                each.prepare(wish)
    session = secrets.token_hex(8)
    deadline = time.monotonic() + settings.budget_seconds
    waiting_seconds = settings.pause_seconds + settings.cooldown_seconds
    launch_seconds = settings.timeout_seconds + waiting_seconds
    try:
        with _clocks(device, settings, launch_seconds) as clocks:
            for each in turns:
                each.session, each.clocks = session, _told(clocks, settings)
            cooling = Cooling(
                device,
                settings.cooldown_seconds,
                pause_seconds=settings.pause_seconds,
                types=settings.cooling_zones,
            )
            for turn, each in enumerate(_order(turns, deadline)):
                waited = cooling.wait(each.cools)
                if clocks is not None:
                    clocks.renew()
                with each.excused(refused):
                    each.launch(turn, waited)
                if each.ended:
                    continue
                each.held_back(cooling.look())
                if each.complete(deadline):
                    if settings.operators and clocks is not None:
                        clocks.renew()  # these are told by one launch more
                    each.end(keep)
    except BaseException as exc:
        interrupted = isinstance(exc, KeyboardInterrupt)
        why = "interrupted" if interrupted else str(exc) or type(exc).__name__
        for each in turns:
            if each.launches and not each.ended:
                each.end(keep, cut_short=why)
        raise
    for each in turns:
        if not each.ended:  # the time was over before its next turn
            each.end(keep)
    found = [each.measurement() for each in turns if each.refusal is None]
    if not found and turns[0].refusal is not None:
        raise turns[0].refusal
    return found


def _clocks(
    device: Device, settings: MeasureSettings, launch_seconds: float
) -> contextlib.AbstractContextManager[Clocks | None]:
    if settings.clocks == "as-is" and not settings.power_mode:
        return reached_again(device)
    fix = settings.clocks == "fixed"
    return held(device, launch_seconds, fix=fix, power_mode=settings.power_mode)


def _told(clocks: Clocks | None, settings: MeasureSettings) -> str:
    mode = f"power mode {settings.power_mode}; " if settings.power_mode else ""
    if clocks is None or settings.clocks == "as-is":
        return f"{mode}left as they were: --clocks as-is"
    if clocks.changed:
        return f"{mode}fixed while measuring, {', '.join(clocks.changed)} before and after"
    return mode + (f"left as they were: {clocks.why}" if clocks.why else "fixed already")


def _order(turns: Sequence[_Turns], deadline: float) -> Iterator[_Turns]:
    """Whose launch is next, until all are complete: there and back, and so on."""
    for number in itertools.count():
        left = [each for each in turns if not each.complete(deadline)]
        if not left:
            return
        yield from left if number % 2 == 0 else reversed(left)


class _Turns:
    """The launches of one subject."""

    def __init__(
        self,
        device: Device,
        subject: Subject,
        settings: MeasureSettings,
        device_name: str,
        sensing: Sensing | None,
        progress: SubjectProgress,
    ) -> None:
        self._device, self._subject, self._settings = device, subject, settings
        self._device_name, self._sensing = device_name, sensing
        self._progress = partial(progress, subject.variant)
        # now: the folder may be moved before the last launch ends
        self._size = subject.path.stat().st_size
        self._check: OutputCheck | None = None
        self._inputs: str | None = None
        self._created = ""
        self._hello: dict[str, Any] = {}
        self._operators: OperatorTimes | None = None
        self._turns: list[int] = []
        self.launches: list[Launch] = []
        self.ended = False
        self.refusal: RejectedError | None = None
        self.session = self.clocks = ""

    @contextlib.contextmanager
    def excused(self, refused: Refused | None) -> Iterator[None]:
        """A refusal inside the block, before anything was timed, is told and ends this one only."""
        try:
            yield
        except RejectedError as exc:
            if refused is None or self.launches:
                raise
            refused(self._subject.variant, exc)
            self.refusal, self.ended = exc, True

    def prepare(self, wish: RunnerWish) -> None:
        """Deploy it, and check its outputs."""
        device, subject, progress = self._device, self._subject, self._progress
        self._deployed = deploy(device, subject, wish, progress, _timing(self._settings))
        if subject.check is not None and self._deployed.runner.checks != 0:
            progress("check", 0, 1)
            self._check = _check(device, self._deployed, subject, self._settings)
            self._inputs = _push_first_sample(device, subject.check)
            progress("check", 1, 1)

    def complete(self, deadline: float) -> bool:
        """Whether there are enough launches; with a precision asked for, whether it is reached."""
        settings, count = self._settings, len(self.launches)
        if self.ended:
            return True
        if count < settings.launches:
            return False
        if settings.precision is None or count >= settings.max_launches:
            return True
        known = count >= LEAST_LAUNCHES and _half_width(self.launches) <= settings.precision
        return known or time.monotonic() >= deadline

    def cools(self, degrees: float) -> None:
        self._progress(f"cooling down, {degrees:.0f} °C to go; launch", *self._done())

    def launch(self, turn: int, waited: Waited) -> None:
        """One more; `turn` is its place among those of all subjects."""
        self._progress("measure", *self._done())
        self._created = self._created or datetime.now(UTC).isoformat(timespec="seconds")
        # The digest once is enough, and not before the check has done it.
        digest = self._subject.sha256 if not self.launches and self._check is None else None
        job = {**_timing(self._settings), "sha256": digest, "inputs": self._inputs}
        sensing = self._sensing if self._deployed.runner.senses else None
        events = self._deployed.run(job if sensing is None else sensing.add(job))
        self._hello = self._hello or events.hello
        try:
            self.launches.append(_launch(events, waited, sensing, self._settings))
        except (KeyError, TypeError, ValueError) as exc:
            raise DeviceError(
                f"{self._device.address}: what the runner printed is not understood: "
                f"{' '.join(str(exc).split())[:200]}"
            ) from exc
        self._turns.append(turn)

    def held_back(self, status: int | None) -> None:
        """Note what a phone's thermal service says after the last launch."""
        if status is not None:
            last = self.launches[-1]
            after = {**last.after, "thermal_status": status}
            self.launches[-1] = last.model_copy(update={"after": after})

    def _done(self) -> tuple[int, int]:
        return len(self.launches), max(self._settings.launches, len(self.launches) + 1)

    def profile_operators(self) -> None:
        """One more launch, for the time of each operator."""
        self._progress("operators", 0, 1)
        job = {**_timing(self._settings), "inputs": self._inputs, "operators": True}
        job.update(runs=1, min_seconds=0.0, warmup_runs=1, warmup_seconds=0.0)
        for key in ("streams", "sample_every"):  # runtimes' profilers tell of one stream
            job.pop(key, None)
        try:
            events = self._deployed.run(job)
        except RejectedError as exc:  # a runner that has no such thing; what was timed stays
            self._operators = OperatorTimes(unavailable=exc.message)
            return
        found = dict(events["operators"])
        del found["event"]
        times = OperatorTimes.from_json(found, where="the runner's operators")
        self._operators = with_layers(times, self._subject.nodes, self._subject.file_format)

    def end(self, keep: Callable[[Measurement], object], cut_short: str = "") -> None:
        """There will be no more launches."""
        if self._settings.operators and not cut_short:
            self.profile_operators()
        self.ended = True
        keep(self.measurement(cut_short))
        if not cut_short:
            self._progress("measure", len(self.launches), len(self.launches))

    def measurement(self, cut_short: str = "") -> Measurement:
        hello, launches = self._hello, self.launches
        return Measurement(
            created=self._created,
            device=self._device.address,
            device_name=self._device_name or _name(self._device, hello),
            build_name=self._subject.build_name,
            variant=self._subject.variant,
            artifact_sha256=self._subject.sha256,
            artifact_size_bytes=self._size,
            settings=self._settings,
            hello=hello,
            environment_before=launches[0].before,
            environment_after=launches[-1].after,
            launches=tuple(launches),
            check=self._check,
            session=self.session,
            turns=tuple(self._turns),
            clocks=self.clocks,
            cut_short=cut_short,
            operators=self._operators,
            emulated="emulated" in hello,
            edgekit_version=__version__,
        )


def _half_width(launches: Sequence[Launch]) -> float:
    """Half the 95 % interval of the median, as a share of it."""
    medians = [statistics.median(launch.samples_ns) for launch in launches]
    share = estimate(medians).relative_half_width
    return math.inf if share is None else share


@dataclass(frozen=True)
class Deployed:
    """A runner and an artifact on a device."""

    runner: Runner
    model: str
    runtime: str | None
    names: dict[str, list[str]] | None

    def run(self, job: dict[str, Any]) -> Events:
        return self.runner.run(
            {"model": self.model, "runtime": self.runtime, "names": self.names, **job}
        )


def deploy(
    device: Device,
    subject: Subject,
    wish: RunnerWish,
    progress: Progress = lambda *_: None,
    job: Mapping[str, Any] | None = None,
) -> Deployed:
    """Put `subject` and its runner on `device`; `job` is what it shall do there, if that is known.

    Raises:
        RejectedError: the runner cannot do what the job asks for.
        RuntimeMissingError: it cannot be run there; says how it could.
    """
    progress("deploy", 0, 2)
    there: Runner = RUNNERS[subject.runner].deploy(device, subject, wish)
    if job is not None:
        there.accept(job)
    progress("deploy", 1, 2)
    model = device.push(subject.path, subject.sha256)
    progress("deploy", 2, 2)
    names = None
    if subject.names is not None and subject.file_format == "executorch":
        names = dict(zip(("inputs", "outputs"), map(list, subject.names), strict=True))
    return Deployed(there, model, wish.runtime, names)


def _timing(settings: MeasureSettings) -> dict[str, Any]:
    job: dict[str, Any] = {
        "threads": settings.threads,
        # 1 is what every artifact is made for, and a first dimension need not be a batch
        "batch": settings.batch if settings.batch > 1 else None,
        "warmup_runs": settings.warmup_runs,
        "warmup_seconds": settings.warmup_seconds,
        "runs": settings.runs,
        "min_seconds": settings.min_seconds,
        "max_runs": max(settings.max_runs, settings.runs),
        "time_budget_seconds": settings.timeout_seconds,
    }
    # Left out where it is the usual: not every runner can do these.
    if settings.streams > 1:
        job["streams"] = settings.streams
    if settings.sample_every > 1:
        job["sample_every"] = settings.sample_every
    return job


def _check(
    device: Device, deployed: Deployed, subject: Subject, settings: MeasureSettings
) -> OutputCheck:
    assert subject.check is not None
    expected = load_outputs(subject.check)
    inputs = device.push(subject.check, sha256_file(subject.check))
    outputs = device.scratch()
    with removed_after(device, [outputs]):
        deployed.run(
            {
                "sha256": subject.sha256,
                "threads": settings.threads,
                "inputs": inputs,
                "outputs": outputs,
                "runs": 0,
                "time_budget_seconds": settings.timeout_seconds,
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "outputs.npz"
            device.pull(outputs, answer)
            actual = load_outputs(answer)
            if (count := deployed.runner.checks) is not None:
                expected = {name: rows[:count] for name, rows in expected.items()}
    where = f"{subject.variant} on {device.address}"
    return compare(expected, actual, subject.quantization, where=where)


def _push_first_sample(device: Device, check: Path) -> str:
    """Real inputs for the timed runs, but one sample only: more would show as peak memory."""
    import numpy as np

    with np.load(check, allow_pickle=False) as file:
        first = {name: file[name][:1] for name in file.files if not name.startswith("out:")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, **first)
        return device.push(path, sha256_file(path))


def _launch(
    events: Events, waited: Waited, sensing: Sensing | None, settings: MeasureSettings
) -> Launch:
    memory, samples = events["memory"], events.times("samples")
    if not samples or min(samples) < 0:
        raise ValueError("samples that are no times")
    cores = events["interference"]
    sensed = None if sensing is None else sensing.sensed(events.all)
    if sensed is not None and settings.power_mode:  # what was found came before it was set
        facts = {**sensed.facts, "power mode": f"{settings.power_mode}, for this measurement"}
        sensed = sensed.model_copy(update={"facts": facts})
    launch = Launch(
        load_ns=events["load"]["ns"],
        first_ns=events["first"]["ns"],
        warmup_ns=events.times("warmup"),
        samples_ns=samples,
        summarized=str(events["samples"].get("summarized", "")),
        peak_rss_bytes=memory.get("peak_bytes"),
        rss_before_load_bytes=memory.get("before_load_bytes"),
        memory=_memory(memory),
        own_cores=cores.get("own_cores"),
        other_cores=cores["other_cores"],
        windows=tuple(
            Window(start_ns=event["start_ns"], end_ns=event["end_ns"])
            for event in events.every("window")
        ),
        samples_per_stream=_by_stream(events),
        cooled_seconds=waited.seconds,
        too_warm=waited.too_warm,
        before=events.environment("before"),
        after=events.environment("after"),
        stopped=events["done"]["stopped"],
        sensed=sensed,
    )
    of_memory = memory.get("unavailable", {})
    said = {
        "load_ns": events["load"].get("unavailable"),
        "first_ns": events["first"].get("unavailable"),
        "peak_rss_bytes": of_memory.get("peak_bytes"),
        "rss_before_load_bytes": of_memory.get("before_load_bytes"),
    }
    why = {key: str(told or NOT_TOLD) for key, told in said.items()}
    if told := cores.get("unavailable"):  # else the device tells none, or the time was too short
        why |= dict.fromkeys(("own_cores", "other_cores"), str(told))
    missing = {key: words for key, words in why.items() if getattr(launch, key) is None}
    return launch.model_copy(update={"unavailable": missing})


def _memory(event: Mapping[str, Any]) -> Memory:
    """Of the runner's "memory"; not every runner tells all of it."""
    known = {key: event[key] for key in MEMORY_KEYS if event.get(key) is not None}
    told = event.get("unavailable", {})
    missing = [key for key in MEMORY_KEYS if key not in known]
    why = {key: str(told.get(key) or NOT_TOLD) for key in missing}
    return Memory(**known, unavailable=why)


def _by_stream(events: Events) -> tuple[int, ...]:
    counts: dict[int, int] = {}
    for event in events.every("samples"):
        counts[event["stream"]] = counts.get(event["stream"], 0) + len(event["ns"])
    return tuple(counts[stream] for stream in sorted(counts)) if len(counts) > 1 else ()


def _name(device: Device, hello: dict[str, Any]) -> str:
    return str(hello.get("board") or hello.get("cpu") or device.address)
