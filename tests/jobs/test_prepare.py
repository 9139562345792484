"""A runtime onto a board and off it again: on this computer and over SSH, in a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import (
    DeviceError,
    InputError,
    PlanError,
    RuntimeMissingError,
    UnknownNameError,
)
from edgekit.devices import open_device
from edgekit.devices.prepare import State, state
from edgekit.jobs.prepare import prepare, undo
from edgekit.measure.runners.python import find_python
from tests.sshd import SSHServer
from tests.wheels import BROKEN, make_wheel

BASE = Path(os.path.realpath(sys.executable))


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH in which python3 is this one's base, whatever the computer has."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "python3").symlink_to(BASE)
    return folder


@pytest.fixture
def home(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> Path:
    folder = tmp_path / "home of $(nobody)"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return folder


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "wheels").parent


@pytest.fixture
def board(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> Iterator[SSHServer]:
    """A server in which nobody's real home folder is seen."""
    (tmp_path / "pi").mkdir()
    variables = {"HOME": str(tmp_path / "pi"), "PATH": f"{programs}:/usr/bin:/bin"}
    server = SSHServer(tmp_path / "sshd", environment=variables)
    server.trust()
    server.configure(monkeypatch)
    yield server
    server.stop()


@pytest.mark.slow
def test_over_ssh_and_away_again(board: SSHServer, wheels: Path, tmp_path: Path) -> None:
    said: list[str] = []
    prepare(board.address, folder=wheels, say=said.append)
    venv = tmp_path / "pi" / ".edgekit" / "venv"
    assert any("started there: ai-edge-litert 2.3.0" in line for line in said)
    assert list((board.store / "objects").iterdir()) == []  # the wheels are not kept twice
    with open_device(board.address) as device:
        python = find_python(device, runtime="ai-edge-litert")
        assert python == str(venv / "bin/python")
        answer = device.run([python, "-c", "import ai_edge_litert, sys; print(sys.prefix)"])
    assert answer.stdout.strip() == str(venv)
    assert not (tmp_path / "pi" / ".edgekit" / ".venv-new").exists()
    said.clear()
    prepare(board.address, folder=wheels, say=said.append)
    assert said[-1] == "ai-edge-litert 2.3.0 is there already, in ~/.edgekit/venv"
    undo(board.address)
    assert tree(tmp_path / "pi") == []


@pytest.mark.slow
def test_undo_leaves_what_is_not_edgekits(home: Path, wheels: Path) -> None:
    (home / ".edgekit").mkdir()
    (home / ".edgekit" / "mine").write_text("mine")
    prepare("local", folder=wheels)
    (home / ".edgekit/venv/bin/my tool\"'$(x)").write_text("mine")
    said: list[str] = []
    undo("local", say=said.append)
    assert "my tool" in said[-1]
    kept = ".edgekit/venv/bin/my tool\"'$(x)"
    assert [p for p in tree(home) if (home / p).is_file()] == [".edgekit/mine", kept]


@pytest.mark.slow
def test_undo_where_there_is_no_xargs(
    home: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("local", folder=wheels)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "grep", "head", "find", "mkdir", "rm", "rmdir", "touch"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    undo("local")
    assert tree(home) == []


@pytest.mark.slow
def test_undo_takes_what_python_has_compiled(
    home: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    prepare("local", folder=wheels)
    python = home / ".edgekit/venv/bin/python"
    subprocess.run([python, "-c", "import ai_edge_litert.interpreter"], check=True)
    assert list((home / ".edgekit").rglob("*.pyc"))
    undo("local")
    assert tree(home) == []
    said: list[str] = []
    undo("local", say=said.append)
    assert "nothing to undo" in said[0]


@pytest.mark.slow
def test_another_runtime_replaces_what_edgekit_made(home: Path, wheels: Path) -> None:
    prepare("local", folder=wheels)
    make_wheel(wheels, "tflite_runtime", "2.14.0")
    make_wheel(wheels, "numpy", "1.26.4")
    said: list[str] = []
    prepare("local", runtime="tflite-runtime", folder=wheels, say=said.append)
    assert "replaces ai-edge-litert 2.3.0" in said
    (packages,) = (home / ".edgekit/venv/lib").glob("python3.*/site-packages")
    assert (packages / "tflite_runtime").is_dir()
    assert not (packages / "ai_edge_litert").exists()
    assert tree(home / ".edgekit")[0] == "venv"
    undo("local")
    assert tree(home) == []


@pytest.mark.slow
def test_what_others_put_there_is_not_replaced(home: Path, wheels: Path) -> None:
    prepare("local", folder=wheels)
    (home / ".edgekit/venv/notes").write_text("mine")
    make_wheel(wheels, version="2.0.3")
    with pytest.raises(DeviceError, match=r"did not put there: \./notes"):
        prepare("local", runtime="ai-edge-litert==2.0.3", folder=wheels)


@pytest.mark.slow
def test_a_runtime_that_does_not_start_leaves_what_was_there(home: Path, wheels: Path) -> None:
    prepare("local", folder=wheels)
    before = tree(home)
    make_wheel(wheels, version="2.0.3", files={"ai_edge_litert/interpreter.py": BROKEN})
    with pytest.raises(DeviceError, match=r"does not start: .*libfoo\.so\.1"):
        prepare("local", runtime="ai-edge-litert==2.0.3", folder=wheels)
    assert tree(home) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["../../../escaped", "/escaped", "a\\..\\b", "two\nlines"])
def test_a_wheel_that_would_write_elsewhere(home: Path, tmp_path: Path, name: str) -> None:
    folder = make_wheel(tmp_path / "bad", files={name: "x"}).parent
    with pytest.raises(DeviceError, match="holds a file called"):
        prepare("local", folder=folder)
    assert tree(home) == []
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_wheel(tmp_path / "large", files={"large": "x" * 5_000_000}).parent
    monkeypatch.setattr("edgekit.jobs.prepare.UNPACKED", 10**12)
    with pytest.raises(DeviceError, match=r"free in .*, .* needed"):
        prepare("local", folder=folder)
    assert tree(home) == []


def test_an_environment_of_somebody_else_stays(home: Path, wheels: Path) -> None:
    subprocess.run([BASE, "-m", "venv", "--without-pip", home / ".edgekit/venv"], check=True)
    before = tree(home)
    with pytest.raises(DeviceError, match="was not made by edgekit") as caught:
        prepare("local", folder=wheels)
    assert "-m pip install ai-edge-litert==2.3.0" in caught.value.hint
    with pytest.raises(DeviceError, match="it stays"):
        undo("local")
    assert tree(home) == before


@pytest.mark.slow
def test_a_dry_run_does_nothing(home: Path, wheels: Path) -> None:
    said: list[str] = []
    prepare("local", folder=wheels, dry_run=True, say=said.append)
    assert "would install ai-edge-litert==2.3.0" in said[-1]
    assert tree(home) == []


@pytest.mark.slow
def test_a_call_that_was_cut_off_is_cleared_away(home: Path, wheels: Path) -> None:
    half = home / ".edgekit/.venv-new/lib"
    half.mkdir(parents=True)
    (half / "half").write_text("")
    prepare("local", folder=wheels)
    assert tree(home / ".edgekit")[0] == "venv"
    undo("local")
    assert tree(home) == [".edgekit"]  # which was there before


@pytest.mark.slow
def test_one_that_was_cut_off_between_its_renames_comes_back(home: Path, wheels: Path) -> None:
    prepare("local", folder=wheels)
    (home / ".edgekit/venv").rename(home / ".edgekit/.venv-old")
    said: list[str] = []
    prepare("local", folder=wheels, say=said.append)
    assert "is there already" in said[-1]


@pytest.mark.slow
def test_what_stopped_to_work_is_made_again(home: Path, wheels: Path) -> None:
    prepare("local", folder=wheels)
    (module,) = (home / ".edgekit/venv").rglob("interpreter.py")
    module.write_text(BROKEN)
    said: list[str] = []
    prepare("local", folder=wheels, say=said.append)
    assert any("does not start any more" in line for line in said)
    assert "Interpreter" in module.read_text()


def test_a_board_without_python(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH has all that sh needs, and no Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    names = "sh cat grep sed tr head od df id uname getconf find mkdir rm touch"
    for name in names.split():
        (tools / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(sys, "executable", str(tools / "none"))
    with pytest.raises(RuntimeMissingError, match="has no Python") as caught:
        prepare("local")
    assert "native runner" in caught.value.hint


@pytest.mark.slow
def test_names_and_folders_that_are_wrong(home: Path, wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean tflite-runtime"):
        prepare("local", runtime="tflite-runtim")
    with pytest.raises(InputError, match="is not a folder with wheels"):
        prepare("local", folder=tmp_path / "none")
    with pytest.raises(PlanError, match=r"no wheels in .* for onnxruntime==1\.31\.1") as caught:
        prepare("local", runtime="onnxruntime", folder=wheels)
    assert "--wheels" in caught.value.hint
    assert tree(home) == []


@pytest.mark.slow
def test_a_record_that_cannot_be_read(home: Path, wheels: Path) -> None:
    prepare("local", folder=wheels)
    (home / ".edgekit/venv/edgekit-made.json").write_text("{")
    with pytest.raises(DeviceError, match="cannot be read"):
        prepare("local", folder=wheels)


def test_nothing_there(home: Path) -> None:
    with open_device("local") as device:
        assert state(device) == State("none")


@pytest.mark.slow
def test_the_real_runtime(home: Path) -> None:
    """pip fetches ai-edge-litert for this machine; what was fetched serves the second time."""
    said: list[str] = []
    prepare("local", say=said.append)
    assert any(line.startswith("started there: ai-edge-litert ") for line in said)
    python = home / ".edgekit/venv/bin/python"
    answer = subprocess.run(
        [python, "-Ic", "from ai_edge_litert.interpreter import Interpreter; print('runs')"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "runs"
    undo("local")
    assert [path for path in tree(home) if ".edgekit" in path] == []
