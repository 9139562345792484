"""`edgekit profile` on several boards, stopped in every way, and `edgekit jobs`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.lock import host_lock
from edgekit.store import Store
from edgekit.store.queue import Queue
from tests.boards import configure, running_build
from tests.cli.conftest import Run
from tests.sshd import SSHServer
from tests.waiting import until

pytestmark = pytest.mark.slow
SETTINGS = ["--runs", "3", "--min-seconds", "0", "--warmup-seconds", "0"]
ON = ["--on", "group:pis", "--variant", "float32", "--variant", "int8-io"]

# The boards' Python. Where the file is, it waits before a launch, however fast the computer; the
# checks of the two variants come before all launches.
GATE = """#!/bin/sh
if [ "$1" != -c ]; then
  echo >>"$HOME/runs"
  if [ "$(wc -l <"$HOME/runs")" -gt 2 ]; then
    : >"$HOME/launched"
    while [ -e '{hold}' ]; do sleep 0.1; done
  fi
fi
exec '{python}' "$@"
"""


@pytest.fixture
def servers(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, SSHServer]]:
    """Two boards by name, a data folder, and a build on the desk."""
    found = {name: SSHServer(tmp_path / name) for name in ("ant", "bee")}
    configure(found, monkeypatch)
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EDGEKIT_BOARDS", str(desk / "boards.toml"))
    gate = desk / "python"
    gate.write_text(GATE.format(python=sys.executable, hold=desk / "hold"))
    gate.chmod(0o755)
    entries = "".join(
        f'[boards.{name}]\naddress = "ssh://{name}"\ngroups = ["pis"]\n'
        f"python = {json.dumps(str(gate))}\n"
        for name in found
    )
    (desk / "boards.toml").write_text(f"schema = 1\n{entries}")
    running_build(desk / "build")
    yield found
    for server in found.values():
        server.stop()


def begun(desk: Path, servers: dict[str, SSHServer]) -> subprocess.Popen[str]:
    """A command that is in the midst of measuring on both boards, until `go_on`."""
    (desk / "hold").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "profile", "build", *ON, "--launches", "4", *SETTINGS],
        cwd=desk,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    launched = [server.folder / "home" / "launched" for server in servers.values()]
    assert until(lambda: all(map(Path.exists, launched)) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def go_on(desk: Path) -> None:
    (desk / "hold").unlink()


@pytest.mark.usefixtures("servers")
def test_ctrl_c_ends_the_wait_for_boards_that_others_use(desk: Path) -> None:
    with (
        host_lock("ssh://ant", "ant", wait_seconds=0, say=print),
        host_lock("ssh://bee", "bee", wait_seconds=0, say=print),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "edgekit", "profile", "build", *ON, *SETTINGS],
            cwd=desk,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert process.stderr is not None
        for _ in range(2):
            assert "waiting up to 300 s" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert [job.state for job in Queue().jobs()] == ["waiting"] * 4


@pytest.mark.usefixtures("servers")
def test_a_table_of_variants_and_boards(edgekit: Run, desk: Path) -> None:
    answer = edgekit("profile", "build", *ON, "--launches", "2", *SETTINGS)
    assert answer.code == 0, answer.err
    lines = [line.split() for line in answer.out.splitlines() if line.strip()]
    assert lines[0] == ["Median", "ant", "bee"]
    assert [line[0] for line in lines[2:4]] == ["float32", "int8-io"]
    assert sum("median" in line for line in answer.err.splitlines()) == 4
    assert answer.out.endswith("page: build/report.html\n")
    assert "nothing is left to do" in edgekit("jobs").out
    listed = json.loads(edgekit("boards", "--json").out)
    assert [board["name"] for board in listed] == ["ant", "bee"]


@pytest.mark.usefixtures("servers")
def test_every_board_is_measured_with_the_runner_that_was_asked_for(edgekit: Run) -> None:
    words = ["profile", "build", *ON, "--launches", "1", *SETTINGS, "--json"]
    answer = edgekit(*words, "--runner", "native", "--power", "off")
    assert answer.code == 0, answer.err
    hellos = [each["measurement"]["hello"] for each in json.loads(answer.out)["results"]]
    assert len(hellos) == 4
    assert all(hello["runner"].endswith("-native") for hello in hellos)
    assert "did you mean native?" in edgekit(*words, "--runner", "nativ").err
    assert edgekit(*words, "--power", "no_such_meter").code == 2


def test_killed_in_the_middle_and_taken_up_again(
    edgekit: Run, desk: Path, servers: dict[str, SSHServer]
) -> None:
    process = begun(desk, servers)
    process.kill()
    process.communicate()
    go_on(desk)
    left = Queue().jobs()
    assert left
    assert {job.state for job in left} == {"interrupted"}
    done = len(Store().find())
    assert done + len(left) == 4
    listed = edgekit("jobs").out
    assert "interrupted" in listed
    assert "edgekit jobs resume" in listed
    answer = edgekit("jobs", "resume")
    assert answer.code == 0, answer.err
    assert answer.err.count("whose process has ended: taken over") == 2
    assert Queue().jobs() == []
    found = {(k.measurement.device_name, k.measurement.variant) for k in Store().find()}
    assert len(found) == len(Store().find()) == 4
    assert {len(k.measurement.launches) for k in Store().find()} == {4}  # as it was begun with


def test_ctrl_c_gives_the_boards_back_and_keeps_what_is_left(
    edgekit: Run, desk: Path, servers: dict[str, SSHServer]
) -> None:
    process = begun(desk, servers)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "stopping after the running launches" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    go_on(desk)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "edgekit jobs resume" in err
    left = Queue().jobs()
    assert {job.state for job in left} == {"waiting"}
    for server in servers.values():
        assert list((server.store / "scratch").iterdir()) == []
    numbers = [str(job.id) for job in left]
    assert edgekit("jobs", "drop", *numbers).code == 0
    assert Queue().jobs() == []
    assert edgekit("jobs", "drop", "1").code == 2


def test_a_board_that_is_in_use_is_waited_for_and_named(
    edgekit: Run, desk: Path, servers: dict[str, SSHServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = begun(desk, servers)
    answer = edgekit("run", "build", "--on", "ant", "--input", "x.npy", "--wait", "0")
    assert answer.code == 3  # what is wrong with the input is told first
    answer = edgekit("profile", "build", "--on", "ant", "--wait", "0", *SETTINGS)
    assert answer.code == 7
    assert f"ant is in use by {servers['ant'].user}@" in answer.err
    assert f"(process {process.pid}," in answer.err
    monkeypatch.setenv("EDGEKIT_DATA", str(desk / "another computer's data"))
    answer = edgekit("profile", "build", "--on", "ssh://ant", "--wait", "0", *SETTINGS)
    assert answer.code == 7  # its own lock does not know, the board's does
    assert re.search(rf"ant is in use by .*\(process {process.pid},", answer.err)
    go_on(desk)
    process.communicate()
    assert process.returncode == 0
