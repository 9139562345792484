"""A board without Python and SFTP from the command line: the native runner is chosen by itself."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boards import running_build
from tests.boards_busybox import BusyboxBoard
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow
SETTINGS = ["--runs", "3", "--min-seconds", "0", "--warmup-seconds", "0", "--launches", "2"]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BusyboxBoard]:
    board = BusyboxBoard(tmp_path / "busybox", tmp_path)
    board.trust()
    board.configure(monkeypatch)
    yield board
    board.stop()


def test_it_is_measured_and_left_as_it_was(
    board: BusyboxBoard, edgekit: Run, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
    running_build(desk / "build")
    answer = edgekit("profile", "build", "--all", "--on", "ssh://board", *SETTINGS, "--json")
    assert answer.code == 0, answer.err
    assert "native runner for float32: no Python there has a runtime" in answer.err
    measured = [each["measurement"] for each in json.loads(answer.out)]
    assert {each["variant"] for each in measured} == {"float32", "int8-io"}
    for each in measured:
        assert each["hello"]["runner"].endswith("-native")
        assert [len(launch["samples_ns"]) for launch in each["launches"]] == [3, 3]
        assert each["check"] is not None
    assert list((board.store / "scratch").iterdir()) == []
    answer = edgekit("devices", "probe", "ssh://board", "--json")
    assert answer.code == 0, answer.err
    probed = json.loads(answer.out)["board"]
    assert probed["libc"] == " ".join(platform.libc_ver())  # which the board has of this computer
    assert probed["pythons"] == []
