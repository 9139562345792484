"""Measuring on several boards at once: each for itself, and all that is left to do is kept.

Every board has a thread and a connection of its own. What fails on one stops none of the others.
Reaching a board and sending files to it are tried again where the link failed; a measurement never
is. What is not done yet is in the queue (`edgekit.store.queue`), so that it can be taken up after
whatever has ended this process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from edgekit.core.boards import Target, known_boards
from edgekit.core.build import Build, Variant, load_build
from edgekit.core.dataset import DataSet
from edgekit.core.errors import (
    DeviceBusyError,
    DeviceError,
    EdgekitError,
    HostKeyError,
    InputError,
    MismatchError,
    PartialError,
    RejectedError,
    RuntimeMissingError,
    TransientDeviceError,
    UsageError,
)
from edgekit.core.measurement import MeasureSettings
from edgekit.core.noun import Noun
from edgekit.core.result import Result
from edgekit.jobs.accuracy import read_evaluation
from edgekit.jobs.hold import WAIT_SECONDS
from edgekit.jobs.profile import default_threads, profile
from edgekit.sensors.watch import AUTO
from edgekit.store.queue import Job, Queue, Task

PAUSES_SECONDS = (2.0, 10.0)  # before a board is tried to be reached again
SENDING = "deploy"  # the part of a measurement that may be done again
# What says nothing against a board: it is about the artifact, or somebody else is at it.
_NO_FAULT = (
    DeviceBusyError, HostKeyError, MismatchError, RejectedError, RuntimeMissingError, UsageError,
)  # fmt: skip

# The board, the variant, what is being done with it, how much of it is done, and how much there is.
Progress = Callable[[str, str, str, int, int], None]


class HowToMeasure(Noun):
    """What a person asked for, as it is kept with each job.

    `settings` are those of `MeasureSettings` that were given; without `threads` each board takes
    as many as its profile says.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    python: str | None = None
    runtime: str | None = None
    runner: str | None = None
    native_program: str | None = None
    native_library: str | None = None
    evaluate: str | None = None
    power: str = AUTO
    rate_hz: float = 10.0


@dataclass(frozen=True)
class Failure:
    """What went wrong with a variant on a board."""

    board: str
    variant: str
    error: EdgekitError


@dataclass
class Outcome:
    """What a fleet has given: results in the order they came, and failures."""

    results: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class _Stopped(Exception):
    """The fleet is to stop; raised between two launches, so that none is cut in half, and while a
    board is waited for.
    """


def enqueue(
    build: Build, boards: Sequence[Target], variants: Sequence[Variant], wish: HowToMeasure
) -> list[Job]:
    """Put every variant on every board into the queue, taken by this process."""
    digests = {v.recipe.name: v.artifact.files[0].sha256 for v in variants if v.artifact}
    tasks = [
        Task(
            board=board.name,
            address=board.address,
            build=str(build.folder.resolve()),
            artifact_sha256=digest,
            variant=name,
            wish=wish.to_json(),
        )
        for board in boards
        for name, digest in digests.items()
    ]
    return Queue().add(tasks)


def run_fleet(
    jobs: Sequence[Job],
    *,
    wait_seconds: float = WAIT_SECONDS,
    say: Callable[[str], None] = lambda _: None,
    done: Callable[[str, Result], None] = lambda *_: None,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Do `jobs`, which are taken by this process, the boards side by side.

    Args:
        wait_seconds: for whoever is using a board.
        say: is told what happens beside results, a line each; from any thread.
        done: is given the board's name and each result as soon as it is kept; from any thread.

    On Ctrl-C the running launch of each board is waited for; what is left is in the queue.
    """
    fleet = _Fleet(wait_seconds, say, done, progress)
    return fleet.run(jobs)


class _Fleet:
    def __init__(
        self,
        wait_seconds: float,
        say: Callable[[str], None],
        done: Callable[[str, Result], None],
        progress: Progress,
    ) -> None:
        self._wait, self._say, self._told, self._progress = wait_seconds, say, done, progress
        self._queue, self._outcome = Queue(), Outcome()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._crashes: list[BaseException] = []

    def run(self, jobs: Sequence[Job]) -> Outcome:
        by_board: dict[str, list[Job]] = {}
        for job in jobs:
            by_board.setdefault(job.task.address, []).append(job)
        works = [work for mine in by_board.values() for work in self._prepared(mine)]
        # Events, since a thread whose join is interrupted may count as ended while it runs: Python
        # 3.11 releases its lock then (Thread._wait_for_tstate_lock).
        ends: list[threading.Event] = []
        try:
            for address in by_board:
                if mine := [work for work in works if work.board.address == address]:
                    ends.append(threading.Event())
                    # Daemons: a second Ctrl-C ends all at once; what they were at is in the queue.
                    threading.Thread(
                        target=self._guarded, args=(mine, ends[-1]), daemon=True
                    ).start()
            for end in ends:
                end.wait()
        except KeyboardInterrupt:
            self._stop.set()
            self._say("stopping after the running launches; Ctrl-C again stops at once")
            for end in ends:
                end.wait()
            raise
        if self._crashes:
            raise self._crashes[0]
        return self._outcome

    def _prepared(self, jobs: list[Job]) -> list[_Work]:
        """The jobs of one board, those with the same build and wish together."""
        first = jobs[0].task
        board = _board_of(first)
        trouble = self._queue.troubles().get(board.address)
        if trouble is not None and trouble.quarantined:
            error = DeviceError(
                f"{board.name} is left alone: it failed {trouble.failures} times since "
                f"{trouble.since[:19]} UTC, the last time: {trouble.reason}",
                hint=f"when it works again: edgekit boards --release {board.name}",
            )
            self._all_failed(jobs, error)
            return []
        groups: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            wish = HowToMeasure.from_json(job.task.wish)
            groups.setdefault((job.task.build, wish.fingerprint()), []).append(job)
        works = []
        for mine in groups.values():
            try:
                works.append(self._work(board, mine))
            except EdgekitError as exc:
                self._all_failed(mine, exc)
        return works

    def _work(self, board: Target, jobs: list[Job]) -> _Work:
        build = load_build(Path(jobs[0].task.build))
        wish = HowToMeasure.from_json(jobs[0].task.wish)
        variants = [build.variant(job.task.variant) for job in jobs]
        for job, variant in zip(jobs, variants, strict=True):
            assert variant.artifact is not None
            if variant.artifact.files[0].sha256 != job.task.artifact_sha256:
                raise InputError(
                    f"{job.task.build}: {variant.recipe.name} was made anew since the job was "
                    "given",
                    hint=f"edgekit jobs drop {job.id}, and profile it again",
                )
        threads = wish.settings.get("threads") or default_threads(build, board)
        settings = MeasureSettings.from_json({**wish.settings, "threads": threads})
        data = None if wish.evaluate is None else read_evaluation(build, wish.evaluate, variants)
        return _Work(board, build, wish, settings, data, {job.task.variant: job for job in jobs})

    def _guarded(self, works: list[_Work], end: threading.Event) -> None:
        """One board's thread, which sets `end` when it ends.

        An error that is none of ours is raised again in the main thread.
        """
        try:
            fault: EdgekitError | None = None
            for work in works:
                fault = self._measure(work, given_up=fault) or fault
            worked = any(work.worked for work in works)
            self._judge(works[0].board, fault, worked=worked)
        except BaseException as exc:  # noqa: BLE001 - told by the main thread
            self._crashes.append(exc)
            for work in works:
                for job in work.left.values():
                    self._queue.give_back(job)
        finally:
            end.set()

    def _measure(self, work: _Work, *, given_up: EdgekitError | None) -> EdgekitError | None:
        """Measure what is left of `work`; the failure that speaks against the board, if any."""
        fault: EdgekitError | None = None
        pauses = list(PAUSES_SECONDS)
        if isinstance(given_up, TransientDeviceError):
            pauses = []  # it was tried just now, for another build
        while work.left and not self._stop.is_set():
            step = _Step()
            try:
                self._profile(work, step)
            except _Stopped:
                break
            except EdgekitError as exc:
                if isinstance(exc, DeviceError) and not isinstance(exc, _NO_FAULT):
                    fault = exc
                if begun := step.begun & work.left.keys():
                    # Half a measurement is none, and is not repeated; the others are tried.
                    for variant in sorted(begun):
                        self._failed(work.left.pop(variant), exc)
                elif isinstance(exc, TransientDeviceError) and pauses:
                    pause = pauses.pop(0)
                    self._say(f"{work.board.name}: {exc.message}; again in {pause:.0f} s")
                    self._stop.wait(pause)
                else:
                    self._all_failed(work.take_all(), exc)
        for job in work.take_all():
            self._queue.give_back(job)
        return fault

    def _profile(self, work: _Work, step: _Step) -> None:
        board = work.board

        def progress(variant: str, what: str, done: int, of: int) -> None:
            if self._stop.is_set():
                raise _Stopped("stopped")
            step.variant, step.what = variant, what
            self._progress(board.name, variant, what, done, of)

        def done(result: Result) -> None:
            variant = result.measurement.variant
            if result.measurement.cut_short:  # an error follows; what there is of it is kept
                step.cut_short.add(variant)
                return
            self._queue.finish(work.left.pop(variant))
            work.worked = True
            step.variant, step.what = "", ""
            with self._lock:
                self._outcome.results.append(result)
            self._told(board.name, result)

        profile(
            work.build,
            on=board,
            variants=list(work.left),
            settings=work.settings,
            python=work.wish.python,
            runtime=work.wish.runtime,
            runner=work.wish.runner,
            native_program=work.wish.native_program,
            native_library=work.wish.native_library,
            power=work.wish.power,
            rate_hz=work.wish.rate_hz,
            evaluate=work.data,
            wait_seconds=self._wait,
            say=self._say,
            pause=self._pause,
            done=done,
            progress=progress,
        )

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped("stopped")

    def _judge(self, board: Target, fault: EdgekitError | None, *, worked: bool) -> None:
        if worked:
            self._queue.board_worked(board.address)
        if fault is None:
            return
        trouble = self._queue.board_failed(board.address, fault.message)
        if trouble.quarantined:
            self._say(
                f"{board.name} failed {trouble.failures} times in a row and is left alone from now "
                f"on; when it works again: edgekit boards --release {board.name}"
            )

    def _failed(self, job: Job, error: EdgekitError) -> None:
        self._queue.fail(job, error.message)
        with self._lock:
            self._outcome.failures.append(Failure(job.task.board, job.task.variant, error))
        self._say(f"FAILED  {job.task.board} {job.task.variant}: {error.message}")

    def _all_failed(self, jobs: Sequence[Job], error: EdgekitError) -> None:
        for job in jobs:
            self._failed(job, error)


@dataclass
class _Work:
    """What is left to do of one build on one board, by variant, and whether any of it was done."""

    board: Target
    build: Build
    wish: HowToMeasure
    settings: MeasureSettings
    data: DataSet | None
    left: dict[str, Job]
    worked: bool = False

    def take_all(self) -> list[Job]:
        jobs = list(self.left.values())
        self.left.clear()
        return jobs


@dataclass
class _Step:
    """What was begun last, a variant and the part of its measurement; and what was cut short."""

    variant: str = ""
    what: str = ""
    cut_short: set[str] = field(default_factory=set)

    @property
    def begun(self) -> set[str]:
        """The variants of which an error has spoilt the measurement."""
        last = {self.variant} if self.what not in ("", SENDING) else set()
        return last | self.cut_short


def _board_of(task: Task) -> Target:
    """The board as it is written down now, if it still has that address."""
    for board in known_boards().values():
        if board.address == task.address:
            return board
    return Target(name=task.board, address=task.address)


def require_all(outcome: Outcome) -> None:
    """Raise for what has failed: PartialError where something went well, else the first error."""
    if not outcome.failures:
        return
    first = outcome.failures[0]
    boards = sorted({failure.board for failure in outcome.failures})
    count = f"{len(outcome.failures)} of {len(outcome.failures) + len(outcome.results)}"
    if not outcome.results and len(boards) == 1:
        raise first.error
    kind = PartialError if outcome.results else type(first.error)
    if kind.__init__ is not EdgekitError.__init__:
        kind = DeviceError
    raise kind(
        f"{count} measurements failed, on {', '.join(boards)}; the first: {first.error.message}",
        hint="edgekit jobs tells all; edgekit jobs resume --failed tries them again",
    )
