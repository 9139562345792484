"""Three boards in networks of their own, measured at once, one of which loses its link."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.store import Store
from tests.boards import configure, running_build
from tests.boards_netns import NamespaceBoard
from tests.cli.conftest import Run
from tests.waiting import until

pytestmark = pytest.mark.slow
# A link that is dead for six seconds is given up, where the usual is a minute.
IMPATIENT = ("ServerAliveInterval 2", "ServerAliveCountMax 3", "ConnectTimeout 10")
SETTINGS = ["--min-seconds", "0", "--warmup-seconds", "0", "--variant", "float32"]
ON = ["--on", "group:bench"]


@pytest.fixture
def boards(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, NamespaceBoard]]:
    found: dict[str, NamespaceBoard] = {}
    try:
        for name in ("ant", "bee", "cat"):
            found[name] = NamespaceBoard(tmp_path / name)
        configure(found, monkeypatch, *IMPATIENT)
        monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
        monkeypatch.setenv("EDGEKIT_BOARDS", str(desk / "boards.toml"))
        entries = "".join(
            f'[boards.{name}]\naddress = "ssh://{name}"\ngroups = ["bench"]\n'
            f"python = {json.dumps(sys.executable)}\n"
            for name in found
        )
        (desk / "boards.toml").write_text(f"schema = 1\n{entries}")
        running_build(desk / "build")
        yield found
    finally:
        for board in found.values():
            board.stop()


def test_all_at_once(boards: dict[str, NamespaceBoard], edgekit: Run) -> None:
    answer = edgekit("profile", "build", *ON, "--launches", "1", "--runs", "3", *SETTINGS, "--json")
    assert answer.code == 0, answer.err
    measured = [each["measurement"] for each in json.loads(answer.out)["results"]]
    assert {each["device"] for each in measured} == {f"ssh://{name}" for name in boards}
    for board in boards.values():
        assert list((board.store / "scratch").iterdir()) == []


def test_one_loses_its_link(boards: dict[str, NamespaceBoard], desk: Path, edgekit: Run) -> None:
    words = ["profile", "build", *ON, *SETTINGS, "--launches", "1", "--runs", "5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *words, "--min-seconds", "2", "--timeout", "60"],
        cwd=desk,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    lost = boards["bee"]
    assert until(lambda: lost.runners() or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    lost.pull_cable()
    _, err = process.communicate()
    assert process.returncode == 10, err
    # Behind the cable that is out something else may answer to the address, and refuse.
    assert re.search(r"FAILED  bee float32: .*ssh://bee (was lost while|cannot be reached)", err)
    assert "1 of 3 measurements failed, on bee" in err
    assert {kept.measurement.device for kept in Store().find()} == {"ssh://ant", "ssh://cat"}
    assert until(lambda: not lost.runners())  # it ends by itself, whoever waits for it
    lost.plug_cable()
    answer = edgekit("jobs", "resume", "--failed")
    assert answer.code == 0, answer.err
    assert len(Store().find()) == 3
