"""What a measurement leaves when something breaks: a link, a process, a person's patience.

The board is a real sshd behind a proxy that can be cut; its governors are files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.devices.ssh import SSHDevice
from edgekit.measure import clocks
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import measure_together
from edgekit.measure.subject import Subject
from tests.measure.test_clocks import become, words
from tests.measure.test_session import subject
from tests.sshd import Proxy, SSHServer

pytestmark = pytest.mark.slow
SETTINGS = MeasureSettings(
    launches=2, runs=5, min_seconds=1.0, warmup_seconds=0, cooldown_seconds=0, timeout_seconds=20
)
PYTHON = RunnerWish(python=sys.executable)
GOVERNORS = ["schedutil", "ondemand"]

Progress = Callable[[str, str, int, int], None]


class Board:
    """An sshd that is reached through a proxy, with two governors."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = SSHServer(folder / "sshd")
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
        """Whether within half a minute nothing runs there and the clocks are given back."""
        given_back = become(self.governors, GOVERNORS)
        for _ in range(300):
            if not self.server.runners():
                return given_back
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        self.proxy.close()
        self.server.stop()


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    board = Board(tmp_path, monkeypatch)
    yield board
    board.stop()


def run(board: Board, subjects: list[Subject], progress: Progress) -> list[Measurement]:
    """What was kept of a measurement; its error, if there is one, is raised after that."""
    kept: list[Measurement] = []
    try:
        with SSHDevice("ssh://board") as device:
            measure_together(
                device, subjects, SETTINGS, wish=PYTHON, progress=progress, keep=kept.append
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
    """At the start of a stage, or in the middle of it; an upload goes on where it was.

    Half a second later one more launch may have ended, on a fast machine.
    """
    possible = [launches, launches + 1] if late else [launches]

    def cut(_: str, what: str, done: int, of: int) -> None:
        if (what, done) == stage:
            assert words(board.governors) == (
                ["performance"] * 2 if what == "measure" else GOVERNORS
            )
            if late:
                threading.Timer(0.5, board.proxy.cut).start()
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
            assert all("ssh://board" in m.cut_short for m in kept)
            raise
    assert board.is_as_it_was()
    again = run(board, [subject(tmp_path)], lambda *_: None)  # nothing there is in the way
    assert [len(m.launches) for m in again] == [2]


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGSEGV])
def test_a_runner_that_is_killed(board: Board, tmp_path: Path, with_signal: signal.Signals) -> None:
    def kill(_: str, what: str, done: int, of: int) -> None:
        if (what, done) == ("measure", 1):
            threading.Thread(target=when_it_runs, daemon=True).start()

    def when_it_runs() -> None:
        for _ in range(200):
            for process in board.server.runners():
                os.kill(process, with_signal)
                return
            time.sleep(0.02)

    with pytest.raises(DeviceError, match=f"killed by {with_signal.name}") as caught:
        run(board, [subject(tmp_path)], kill)
    assert [len(m.launches) for m in caught.value.kept] == [1]  # type: ignore[attr-defined]
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
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut at the desk: nobody comes back, and the lease runs out."""
    monkeypatch.setattr(clocks, "GRACE_SECONDS", 1)
    monkeypatch.setattr(
        "tests.measure.test_faults.SETTINGS", SETTINGS.model_copy(update={"timeout_seconds": 3})
    )

    def vanish(_: str, what: str, done: int, of: int) -> None:
        if (what, done) == ("measure", 1):
            board.proxy.close()

    with pytest.raises(TransientDeviceError):
        run(board, [subject(tmp_path)], vanish)
    assert board.is_as_it_was()
