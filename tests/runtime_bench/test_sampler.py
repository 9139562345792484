"""Both samplers as programs: what they write for files, commands and streams, and when they end."""

from __future__ import annotations

import ast
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.locate import shipped
from edgekit.measure.native_program import native_program
from tests.contracts.device import ends, is_running
from tests.waiting import until

SAMPLER = shipped("runtime_bench") / "edgekit_sampler.py"


Argv = tuple[str, ...]


@pytest.fixture(params=["python", "native"])
def argv(request: pytest.FixtureRequest) -> Argv:
    if request.param == "python":
        return (sys.executable, str(SAMPLER))
    return (str(native_program(platform.machine())), "--sampler")


def start(argv: Argv, spec: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(spec).encode() + b"\n")
    process.stdin.flush()
    return process


Row = list[Any]


class Sampler:
    """One that runs, and what it has written so far."""

    def __init__(self, argv: Argv, spec: Any) -> None:
        self._process = start(argv, spec)
        self._lines: list[Any] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(json.loads(line))

    def rows(self, channel: int) -> list[Row]:
        return [line for line in list(self._lines)[1:] if line[0] == channel]

    def end(self) -> tuple[list[Row], dict[str, Any]]:
        """Its readings, and the last line."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        self._reader.join()
        err = self._process.stderr.read()
        assert self._process.wait() == 0, err.decode()
        self._process.stderr.close()
        first, *rows, last = self._lines
        assert first["sampler"] == 1
        return rows, last


def taken(argv: Argv, spec: Any, least: dict[int, int]) -> tuple[list[Row], dict[str, Any]]:
    """Readings, and the last line, of one that is ended when channels have had so many."""
    sampler = Sampler(argv, spec)
    assert until(lambda: all(len(sampler.rows(each)) >= least[each] for each in least))
    return sampler.end()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_files_are_read_again_and_again(argv: Argv, tmp_path: Path) -> None:
    volts, amperes = tmp_path / "in1_input", tmp_path / "curr1_input"
    volts.write_text("5080\n")
    amperes.write_text("560\n")
    sampler = Sampler(argv, {"channels": [{"files": [str(volts), str(amperes)]}], "rate": 100})
    assert until(lambda: len(sampler.rows(0)) > 9)
    volts.write_text("4990\n")  # as a driver would: another text in the same file
    assert until(lambda: sampler.rows(0)[-1][3] == ["4990", "560"])
    rows, last = sampler.end()
    assert [rows[0][3], rows[-1][3]] == [["5080", "560"], ["4990", "560"]]
    assert last["ended"] == "asked"
    assert last["reads"] == [len(rows)]
    before = [row[1] for row in rows]
    assert before == sorted(before)
    assert before[-1] <= last["ended_ns"]
    assert last["start_cpu_seconds"] > 0
    assert last["cpu_seconds"] >= 0  # the kernel may count in ticks of 10 ms


def test_the_moments_are_random_and_one_a_turn(argv: Argv, tmp_path: Path) -> None:
    """Even moments would always catch a load that swings in step with them at the same point."""
    (tmp_path / "f").write_text("1")
    rows, last = taken(argv, {"channels": [{"files": [str(tmp_path / "f")]}], "rate": 50}, {0: 40})
    assert len(rows) <= last["turns"] + 1
    assert len({round((row[1] - rows[0][1]) / 1e6) % 20 for row in rows}) > 5


def test_a_slow_channel_has_its_own_turns(argv: Argv, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    files = {"files": [str(tmp_path / "f")]}
    _, last = taken(argv, {"channels": [files, {**files, "every": 10}], "rate": 50}, {1: 4})
    fast, slow = last["reads"]
    assert 4 <= slow < fast


def test_commands_and_streams(argv: Argv, tmp_path: Path) -> None:
    once = script(tmp_path / "vcgencmd", 'echo "$1 volt(1)=5.0V"; echo second')
    flow = script(tmp_path / "tegrastats", "while :; do echo VDD_IN 1mW/1mW; sleep 0.05; done")
    channels = [{"run": [once, "adc"]}, {"stream": [flow]}]
    rows, last = taken(argv, {"channels": channels, "rate": 20}, {0: 3, 1: 3})
    assert next(row[3] for row in rows if row[0] == 0) == ["adc volt(1)=5.0V\nsecond"]
    assert {row[3][0] for row in rows if row[0] == 1} == {"VDD_IN 1mW/1mW"}
    assert [row[4] for row in rows if row[3] is None] == []
    assert last["errors"] == [0, 0]
    assert last["commands_cpu_seconds"] >= 0


def test_what_cannot_be_read_says_why_and_how_often(argv: Argv, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    broken = script(tmp_path / "broken", "echo no such thing; exit 3")
    ends = script(tmp_path / "ends", "echo 1; exit 4")
    channels = [{"files": [gone]}, {"run": [broken]}, {"stream": [ends]}, {"stream": ["/no/file"]}]
    channels.append({"run": ["no-such-program"]})
    least = {0: 20, 1: 1, 2: 2, 3: 1, 4: 1}  # a last one comes at the end
    rows, last = taken(argv, {"channels": channels, "rate": 100}, least)
    why = {row[0]: row[4] for row in rows if row[3] is None}
    assert why == {
        0: f"{gone}: No such file or directory",
        1: f"{broken} ended with 3: no such thing",
        2: f"{ends} ended with 4 while it was needed",
        3: "/no/file: No such file or directory",
        4: "no-such-program: No such file or directory",
    }
    assert last["errors"][0] > 20 >= len([row for row in rows if row[0] == 0])


def test_it_ends_by_itself(argv: Argv, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x" * 4000)
    channel = {"files": [str(tmp_path / "f")]}
    for more, ended in (({"seconds": 0.2}, "seconds"), ({"max_bytes": 9000}, "bytes")):
        process = start(argv, {"channels": [channel], "rate": 100, **more})
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()  # without closing its standard input
        assert json.loads(lines[-1])["ended"] == ended
        process.communicate()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"channels": []}, "channels = []"),
        ({"channels": [{"files": ["x"], "run": ["x"]}]}, "channel 0"),
        ({"channels": [{"files": ["x"], "every": 0}]}, "every = 0"),
        ({"channels": [{"files": ["x"]}], "rate": 0}, "rate = 0"),
        ({"channels": [{"files": ["x"]}], "seconds": "1"}, "seconds ="),
        ({"channels": [{"files": ["x"]}], "speed": 1}, "unknown key 'speed'"),
        ([], "not a JSON object"),
    ],
)
def test_a_wrong_spec(argv: Argv, spec: Any, said: str) -> None:
    process = start(argv, spec)
    _, err = process.communicate()
    assert process.returncode == 1
    assert said in err.decode()


def test_it_never_outlives_who_started_it(argv: Argv, tmp_path: Path) -> None:
    """Killed with no chance to say anything, while a copy of the pipe is held by somebody else."""
    flow = script(tmp_path / "flow", f"echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done")
    spec = json.dumps({"channels": [{"stream": [flow]}]})
    parent = subprocess.Popen(
        [sys.executable, "-c",
         "import subprocess, sys, os\n"
         f"p = subprocess.Popen({argv!r}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)\n"
         f"p.stdin.write({spec!r}.encode() + b'\\n'); p.stdin.flush()\n"
         "other = os.fork() or (os.setsid(), __import__('time').sleep(600), os._exit(0))\n"
         "print(p.pid, other, flush=True)\n"
         "p.wait()"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    sampler, other = map(int, parent.stdout.readline().split())
    pid = tmp_path / "pid"
    try:
        assert until(lambda: pid.exists() and pid.read_text().strip())
        stream = int(pid.read_text())
        assert is_running(sampler)
        assert is_running(stream)
        os.kill(parent.pid, signal.SIGKILL)
        assert ends(sampler)
        assert ends(stream)
        assert is_running(other)
    finally:
        os.kill(other, signal.SIGKILL)
        parent.kill()
        parent.stdout.close()
        parent.wait()


def test_its_syntax_is_that_of_python_3_8() -> None:
    ast.parse(SAMPLER.read_text(encoding="utf-8"), feature_version=(3, 8))
