"""Environments of their own for the boards' runtimes: found, made once, never half-made."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import OutputError, PlanError
from edgekit.work import environments
from edgekit.work.environments import (
    MARKER,
    environments_dir,
    remove_environments,
    runtime_python,
)

REAL_POPEN = subprocess.Popen


class FakeTools:
    """Stands for venv and pip: notes what is run, makes what they would make."""

    def __init__(self, failing: str = "", message: str = "") -> None:
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.failing, self.message = failing, message

    def run(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Another Python is asked what it is: this one says what was wanted."""
        version = Path(argv[0]).name.removeprefix("python")
        return subprocess.CompletedProcess(argv, 0, f"{version}\n", "")

    def start(self, argv: list[str], **options: Any) -> subprocess.Popen[str]:
        self.calls.append(argv)
        self.environments.append(options["env"])
        what = argv[2]
        if what == "venv":
            python = Path(argv[3]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
            (Path(argv[3]) / "pyvenv.cfg").write_text("home = /usr/bin\n")
        failed = what == self.failing
        said = self.message if failed else ""
        return REAL_POPEN(["sh", "-c", f'printf %s "$0"; exit {int(failed)}', said], **options)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> FakeTools:
    fake = FakeTools()
    monkeypatch.setattr("subprocess.run", fake.run)
    monkeypatch.setattr("subprocess.Popen", fake.start)
    return fake


def test_this_environment_is_used_where_it_has_the_version(fresh_cache: Path) -> None:
    here = importlib.metadata.version("numpy")
    assert runtime_python("numpy", here) == Path(sys.executable)
    assert environments.environments() == []


def test_one_is_made_and_then_found(tools: FakeTools) -> None:
    python = runtime_python("ai-edge-litert", "1.2.3")
    assert python == environments_dir() / "ai-edge-litert-1.2.3" / "bin" / "python"
    venv, pip = tools.calls
    assert venv[1:3] == ["-Im", "venv"]
    assert pip[0] == str(python)
    assert {"--only-binary=:all:", "ai-edge-litert==1.2.3"} <= set(pip)
    assert runtime_python("ai-edge-litert", "1.2.3") == python
    assert len(tools.calls) == 2


def test_nothing_of_the_users_python_leaks_in(
    tools: FakeTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    runtime_python("ai-edge-litert", "1.2.3")
    for env in tools.environments:
        assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(env)
        assert "PATH" in env


def test_the_old_runtime_gets_the_numpy_it_was_built_with(tools: FakeTools) -> None:
    runtime_python("tflite-runtime", "2.14.0")
    assert "numpy==1.26.4" in tools.calls[1]


def test_a_half_made_one_does_not_count(tools: FakeTools) -> None:
    folder = environments_dir() / "ai-edge-litert-1.2.3"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("half")
    runtime_python("ai-edge-litert", "1.2.3")
    assert len(tools.calls) == 2
    assert json.loads((folder / MARKER).read_text())["packages"][0] == "ai-edge-litert==1.2.3"


@pytest.mark.parametrize("failing", ["venv", "pip"])
def test_a_failure_leaves_nothing_and_says_what_to_bring(tools: FakeTools, failing: str) -> None:
    tools.failing = failing
    tools.message = "WARNING: retrying\nERROR: No matching distribution found for it\nnotice"
    with pytest.raises(PlanError, match="No matching distribution found for it") as error:
        runtime_python("ai-edge-litert", "1.2.3")
    assert "pip download 'ai-edge-litert==1.2.3'" in error.value.hint
    assert "PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR" in error.value.hint
    assert environments.environments() == []


@pytest.mark.slow
def test_what_lies_in_the_current_folder_is_not_run(
    tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A venv.py beside a model that somebody was sent."""
    for name in ("venv", "pip", "ensurepip", "logging", "subprocess"):
        (tmp_path / f"{name}.py").write_text("open('was run', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)

    with pytest.raises(PlanError, match="pip install of a runtime failed: No matching"):
        environments.make_environment(
            environments_dir() / "made", title="a runtime", install=["no-such-package"],
            download="pip download", pythons=((3, 9), (3, 99)), marker={},
        )  # fmt: skip
    major, minor = sys.version_info[:2]
    assert environments._works(sys.executable, f"{major}.{minor}")
    assert not (tmp_path / "was run").exists()


def test_tools_that_do_not_run_at_all(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("subprocess.Popen", fail)
    with pytest.raises(PlanError, match="Permission denied"):
        runtime_python("ai-edge-litert", "1.2.3")


def test_tools_that_do_not_end_are_stopped_with_what_they_started(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"it failed: took longer than 0 s"):
        environments._run(["sh", "-c", "sleep 60 & sleep 60"], "it", "pip download", seconds=0.2)


def test_what_is_said_is_handed_on_line_by_line() -> None:
    said: list[str] = []
    environments._run(
        ["sh", "-c", "echo one; echo two >&2"], "it", "pip download", said=said.append
    )
    assert said == ["one", "two"]


def test_an_interruption_leaves_no_installer_and_no_half_made_folder(
    tools: FakeTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []

    def start(argv: list[str], **options: Any) -> subprocess.Popen[str]:
        if argv[2] == "pip":
            argv = ["sh", "-c", "echo Collecting it; sleep 60"]
            started.append(REAL_POPEN(argv, **options))
            return started[-1]
        return tools.start(argv, **options)

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen", start)
    folder = environments_dir() / "it"
    with pytest.raises(KeyboardInterrupt):
        environments.make_environment(
            folder, title="it", install=["it"], download="pip download it",
            pythons=((3, 9), (3, 99)), marker={}, said=interrupt,
        )  # fmt: skip
    assert started[0].returncode == -9
    assert not folder.exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot write"):
        runtime_python("ai-edge-litert", "1.2.3")


def test_they_are_listed_and_removed(tools: FakeTools) -> None:
    runtime_python("ai-edge-litert", "1.2.3")
    (found,) = environments.environments()
    assert (found.name, found.size_bytes > 0) == ("ai-edge-litert-1.2.3", True)
    assert [each.name for each in remove_environments()] == ["ai-edge-litert-1.2.3"]
    assert environments.environments() == []
    runtime_python("ai-edge-litert", "1.2.3")
    assert len(tools.calls) == 4


# ------------------------------------------------------------------- finding a Python


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and a Python that is too new for everything."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    return tmp_path


def script(file: Path, text: str) -> Path:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def find() -> Path:
    return environments._find_python((3, 9), (3, 11), "it")


def test_the_newest_python_that_works_is_taken(path: Path) -> None:
    script(path / "python3.11", "echo 'no such version' >&2; exit 127")  # a shim without one
    script(path / "python3.10", "echo 3.8")  # another one in disguise
    expected = script(path / "python3.9", "echo 3.9")
    script(path / "python3.12", "echo 3.12")
    assert find() == expected


def test_without_one_the_error_names_what_to_install(path: Path) -> None:
    with pytest.raises(PlanError, match=r"needs Python 3.9 to 3.11; this is 3.99") as error:
        find()
    assert "python3.11-venv" in error.value.hint


@pytest.mark.slow
def test_a_real_one(fresh_cache: Path) -> None:
    """Needs the network, or a local index that pip is told of."""
    python = runtime_python("tflite-runtime", "2.14.0")
    code = "import tflite_runtime.interpreter, numpy; print(numpy.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1.26.4"
