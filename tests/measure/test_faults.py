"""What a measurement leaves when something breaks: a link, a process, a person's patience.

The board is a real sshd behind a proxy that can be cut; its governors are files.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.core.protocols import CommandResult
from edgekit.devices.ssh import SSHDevice
from edgekit.measure import clocks
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.python import _TIMEOUT_GRACE_SECONDS as GRACE_SECONDS
from edgekit.measure.session import measure_together
from edgekit.measure.subject import Subject
from tests.measure.conftest import StoppedTime
from tests.measure.test_clocks import become, fill, words
from tests.measure.test_session import subject
from tests.sshd import Proxy, SSHServer
from tests.tflite_graphs import Graph
from tests.waiting import until

pytestmark = pytest.mark.slow
SETTINGS = MeasureSettings(
    launches=2, runs=5, min_seconds=1.0, warmup_seconds=0, cooldown_seconds=0, timeout_seconds=60
)
# So many that no computer is through with them before the time is over, and few that are kept.
OFTEN = {"max_runs": 10**7, "sample_every": 1000}
PYTHON = RunnerWish(python=sys.executable)
GOVERNORS = ["schedutil", "ondemand"]

Progress = Callable[[str, str, int, int], None]


class Board:
    """An sshd that is reached through a proxy, with two governors."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **server: Any) -> None:
        self.server = SSHServer(folder / "sshd", **server)
        self.proxy = Proxy(self.server.port)
        own, self.server.port = self.server.port, self.proxy.port
        self.server.configure(monkeypatch)
        self.server.trust()
        self.server.port = own
        self.governors = []
        for number, governor in enumerate(GOVERNORS):
            (folder / f"cpu{number}").mkdir()
            self.governors.append(folder / f"cpu{number}" / "scaling_governor")
            self.governors[-1].write_text(governor + "\n")
        monkeypatch.setattr(clocks, "GOVERNORS", f"{folder}/cpu[0-9]*/scaling_governor")

    def is_as_it_was(self) -> bool:
        """Whether within a minute nothing runs there and the clocks are given back."""
        return become(self.governors, GOVERNORS) and until(lambda: not self.server.runners())

    def stop(self) -> None:
        self.proxy.close()
        self.server.stop()


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    board = Board(tmp_path, monkeypatch)
    yield board
    board.stop()


def run(
    board: Board,
    subjects: list[Subject],
    progress: Progress = lambda *_: None,
    *,
    settings: MeasureSettings | None = None,
    wish: RunnerWish = PYTHON,
) -> list[Measurement]:
    """What was kept of a measurement; its error, if there is one, is raised after that."""
    kept: list[Measurement] = []
    try:
        with SSHDevice("ssh://board") as device:
            measure_together(
                device,
                subjects,
                settings or SETTINGS,
                wish=wish,
                progress=progress,
                keep=kept.append,
            )
    except BaseException as exc:
        exc.add_note(f"kept {[(m.variant, len(m.launches), m.cut_short) for m in kept]}")
        exc.kept = kept  # type: ignore[attr-defined]
        raise
    return kept


@pytest.mark.parametrize(
    ("stage", "launches"),
    [(("deploy", 1), 0), (("check", 0), 0), (("measure", 0), 0), (("measure", 1), 1)],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_link_that_is_cut(
    board: Board, tmp_path: Path, stage: tuple[str, int], launches: int, late: bool
) -> None:
    """At the start of a stage, or half a second later; an upload goes on where it was.

    What a fast machine is through with by then counts. All launches may be over, and the link be
    cut while the clocks are given back: that is an error, but of a whole measurement.
    """
    possible = range(launches, SETTINGS.launches + 1) if late else [launches]
    timer = threading.Timer(0.5, board.proxy.cut)

    def cut(_: str, what: str, done: int, of: int) -> None:
        if (what, done) == stage:
            assert words(board.governors) == (
                ["performance"] * 2 if what == "measure" else GOVERNORS
            )
            if late:
                timer.start()
            else:
                board.proxy.cut()

    with contextlib.suppress(TransientDeviceError) as _:
        try:
            kept = run(board, [subject(tmp_path)], cut)
            assert [len(m.launches) for m in kept] == [2]  # the upload went on over a new link
        except TransientDeviceError as exc:
            kept = exc.kept  # type: ignore[attr-defined]
            assert sum(len(m.launches) for m in kept) in possible
            assert len(kept) <= 1
            for measurement in kept:
                whole = len(measurement.launches) == SETTINGS.launches
                assert whole or "ssh://board" in measurement.cut_short
            raise
    if late:
        timer.join()  # not in the next one, if it was late
    assert board.is_as_it_was()
    again = run(board, [subject(tmp_path)], lambda *_: None)  # nothing there is in the way
    assert [len(m.launches) for m in again] == [2]


@pytest.fixture
def little_memory(board: Board) -> Iterator[Path]:
    """A control group of `LIMIT` bytes in which `board` is with all that it starts."""
    if os.geteuid() != 0:
        pytest.skip("making a control group needs root")
    top = Path("/sys/fs/cgroup")
    second = (top / "cgroup.controllers").is_file()
    above = top if second else top / "memory"
    group = above / f"edgekit-test-{os.getpid()}"
    try:
        if second:
            (above / "cgroup.subtree_control").write_text("+memory")
        group.mkdir()
        limit = "memory.max" if second else "memory.limit_in_bytes"
        (group / limit).write_text(str(LIMIT))
    except OSError as exc:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"a control group for memory cannot be made here: {exc}")
    for name, value in (("memory.swap.max", 0), ("memory.memsw.limit_in_bytes", LIMIT)):
        if (group / name).is_file():  # or it would be swapped out instead
            (group / name).write_text(str(value))
    try:
        (group / "cgroup.procs").write_text(str(board.server.pid))
        yield group
    finally:
        for _ in range(300):  # what ends meanwhile is in the way for a moment
            with contextlib.suppress(OSError):
                for pid in (group / "cgroup.procs").read_text().split():
                    (above / "cgroup.procs").write_text(pid)
                group.rmdir()
                break
            time.sleep(0.1)
        assert not group.exists()


LIMIT = 300 * 10**6


def hungry(folder: Path) -> Path:
    """A model that makes 800 MB of a few numbers."""
    graph = Graph()
    x = graph.tensor("x", (1, 4))
    wide = graph.operator(
        "TILE", [x, graph.constant("times", (1, 50_000_000))], ("w", (1, 2 * 10**8))
    )
    y = graph.operator(
        "SUM", [wide, graph.constant("axis", (1,))], ("y", (1,)), options="ReducerOptions"
    )
    return graph.save(folder / "hungry.tflite", {"x": x}, {"y": y})


def test_a_runner_that_the_kernel_kills_for_memory(
    board: Board, little_memory: Path, tmp_path: Path
) -> None:
    small, path = subject(tmp_path), hungry(tmp_path)
    large = replace(small, path=path, sha256=sha256_file(path), variant="large", check=None)
    with pytest.raises(DeviceError, match="killed by SIGKILL, likely out of memory") as caught:
        run(board, [small, large])
    (kept,) = caught.value.kept  # type: ignore[attr-defined]
    assert (kept.variant, len(kept.launches)) == (small.variant, 1)
    said = r"its control group may have 300\.0 MB and has had [1-9]\d* of its processes killed"
    assert re.search(said, str(caught.value))
    assert "likely out of memory" in kept.cut_short
    assert board.is_as_it_was()


def test_ctrl_c(board: Board, tmp_path: Path) -> None:
    def press(_: str, what: str, done: int, of: int) -> None:
        if (what, done) == ("measure", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(board, [subject(tmp_path)], press)
    (kept,) = caught.value.kept  # type: ignore[attr-defined]
    assert kept.cut_short == "interrupted"
    assert board.is_as_it_was()


def test_a_board_that_stays_away_gives_its_clocks_back_itself(
    tmp_path: Path, stopped: StoppedTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut at the desk: nobody comes back, and the lease runs out."""
    board = Board(tmp_path, monkeypatch, environment={"PATH": stopped.path})
    try:
        with pytest.raises(TransientDeviceError):
            run(board, [subject(tmp_path)], at("measure", 1, board.proxy.close))
        assert words(board.governors) == ["performance"] * 2
        stopped.go_on()
        assert board.is_as_it_was()
    finally:
        board.stop()


def at(wanted: str, number: int, do: Callable[[], object]) -> Progress:
    """A progress that does something at one stage."""

    def progress(_: str, what: str, done: int, of: int) -> None:
        if (what, done) == (wanted, number):
            do()

    return progress


def when_it_runs(board: Board, do: Callable[[int], object]) -> Callable[[], None]:
    """What, called before a launch, does something with the runner's process soon after."""

    def watch() -> None:
        found: list[int] = []
        assert until(lambda: found.extend(board.server.runners()) or found)
        do(found[0])

    return lambda: threading.Thread(target=watch, daemon=True).start()


class Later:
    """The launches after the first: they last until something ends them, on any computer.

    Attributes:
        limit_seconds: how long it is waited for them, if it is not the usual.
        usual_seconds: how long that is.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit_seconds = self.usual_seconds = 0.0
        launches = itertools.count()
        real = SSHDevice.run

        def run(device: SSHDevice, argv: list[str], **more: Any) -> CommandResult:
            job = json.loads(more["stdin"]) if argv[-1] == "-" else {}
            if job.get("runs") and next(launches):
                job |= {"min_seconds": 600, "time_budget_seconds": 600, **OFTEN}
                more["stdin"] = json.dumps(job).encode()
                self.usual_seconds = more["timeout_seconds"]
                more["timeout_seconds"] = self.limit_seconds or self.usual_seconds
            return real(device, argv, **more)

        monkeypatch.setattr(SSHDevice, "run", run)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch)


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGSEGV])
def test_a_runner_that_is_killed(
    board: Board, later: Later, tmp_path: Path, with_signal: signal.Signals
) -> None:
    kill = when_it_runs(board, lambda process: os.kill(process, with_signal))
    with pytest.raises(DeviceError, match=f"killed by {with_signal.name}") as caught:
        run(board, [subject(tmp_path)], at("measure", 1, kill))
    assert [len(m.launches) for m in caught.value.kept] == [1]  # type: ignore[attr-defined]
    assert board.is_as_it_was()


@pytest.mark.parametrize("clocks_are", ["fixed", "as-is"])
@pytest.mark.parametrize("stage", ["check", "measure"])
def test_what_ran_when_the_link_was_cut_is_ended(
    board: Board, tmp_path: Path, clocks_are: str, stage: str
) -> None:
    """It would go on for minutes, and whoever measures there next would measure it, too."""
    long = SETTINGS.model_copy(
        update={"min_seconds": 300.0, "timeout_seconds": 600.0, "clocks": clocks_are, **OFTEN}
    )

    def stop_and_cut(process: int) -> None:
        if stage == "check":  # which is over in a moment
            os.kill(process, signal.SIGSTOP)
        board.proxy.cut()

    with pytest.raises(TransientDeviceError, match="was lost while running"):
        run(
            board,
            [subject(tmp_path)],
            at(stage, 0, when_it_runs(board, stop_and_cut)),
            settings=long,
        )
    assert board.is_as_it_was()


def test_a_runner_that_hangs(board: Board, later: Later, tmp_path: Path) -> None:
    """Its own alarm does not end a process that stands still; who waits for it does."""
    later.limit_seconds = 6
    stop = when_it_runs(board, lambda process: os.kill(process, signal.SIGSTOP))
    with pytest.raises(DeviceError, match=r"took longer than 6 s and was stopped") as caught:
        run(board, [subject(tmp_path)], at("measure", 1, stop))
    assert later.usual_seconds == SETTINGS.timeout_seconds + GRACE_SECONDS
    assert [len(m.launches) for m in caught.value.kept] == [1]  # type: ignore[attr-defined]
    assert board.is_as_it_was()


def filling(real: Callable[..., CommandResult], disk: Path) -> Callable[..., CommandResult]:
    """What runs commands and fills the disk just before the runner's that writes to it."""

    def run(self: SSHDevice, argv: list[str], **more: Any) -> CommandResult:
        if argv[-1] == "-" and json.loads(more["stdin"]).get("outputs"):
            fill(disk)
        return real(self, argv, **more)

    return run


@pytest.mark.parametrize("native", [False, True])
def test_a_disk_that_is_full_when_the_runner_writes(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    board = Board(tmp_path, monkeypatch, cache=small_disk / "cache")
    try:
        what = replace(subject(tmp_path), runner="native" if native else "python")
        wish = RunnerWish() if native else PYTHON
        full = filling(SSHDevice.run, small_disk)
        with monkeypatch.context() as patch:
            patch.setattr(SSHDevice, "run", full)
            with pytest.raises(DeviceError, match=r"cannot write .*No space left on device"):
                run(board, [what], wish=wish)
        assert board.is_as_it_was()
        assert list((board.server.store / "scratch").iterdir()) == []
        (small_disk / "filler").unlink()
        assert [len(m.launches) for m in run(board, [what], wish=wish)] == [2]
    finally:
        board.stop()


def test_a_disk_that_turns_read_only(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worn-out card does: what is measured then counts, if nothing needs to be written."""

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    board = Board(tmp_path, monkeypatch, cache=small_disk / "cache")
    try:
        kept = run(board, [subject(tmp_path)], at("measure", 0, lambda: remount("ro")))
        assert [len(m.launches) for m in kept] == [2]
        assert board.is_as_it_was()
        with pytest.raises(DeviceError, match=r"Read-only file system"):
            run(board, [subject(tmp_path)])
        remount("rw")
        with pytest.raises(DeviceError, match=r"Read-only file system"):
            run(board, [subject(tmp_path)], at("deploy", 1, lambda: remount("ro")))
        assert board.is_as_it_was()
    finally:
        board.stop()


JUMPING = r"""
// A wall clock that is set an hour forth or back every fifth of a second; the monotonic one is not.
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t jump(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return (now.tv_nsec / 200000000) % 2 ? 3600 : -3600;
}
int clock_gettime(clockid_t clock, struct timespec *told) {
  int status = (int)syscall(SYS_clock_gettime, clock, told);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) told->tv_sec += jump();
  return status;
}
int gettimeofday(struct timeval *told, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  (void)zone;
  told->tv_sec = now.tv_sec;
  told->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *told) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (told) *told = now.tv_sec;
  return now.tv_sec;
}
"""


@pytest.mark.parametrize("native", [False, True])
def test_a_wall_clock_that_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    """As on a board without a battery, when it is told the time; for every program that it runs."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs the Debian package gcc")
    (tmp_path / "jumping.c").write_text(JUMPING)
    library = tmp_path / "jumping.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(tmp_path / "jumping.c")]
    subprocess.run(words, check=True)
    board = Board(tmp_path, monkeypatch, environment={"LD_PRELOAD": str(library)})
    try:
        with SSHDevice("ssh://board") as device:
            look = (
                "at=$(date +%s); until [ $(($(date +%s) - at)) -gt 3600 ]; do at=$(date +%s); done"
            )
            device.run(["sh", "-c", look], timeout_seconds=60)  # it does jump
        what = replace(subject(tmp_path), runner="native" if native else "python")
        many = SETTINGS.model_copy(update=OFTEN)
        (kept,) = run(board, [what], settings=many, wish=RunnerWish() if native else PYTHON)
        assert len(kept.launches) == 2
        for launch in kept.launches:
            (window,) = launch.windows
            length = window.end_ns - window.start_ns
            assert 10**9 <= length < 60 * 10**9
            assert sum(launch.samples_ns) <= length
            assert min(launch.samples_ns) > 0
            assert launch.stopped == "enough"
        assert board.is_as_it_was()
    finally:
        board.stop()
