"""Toolchains in environments of their own: asked for, exact, never half-made, used by workers."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.core.errors import PlanError, UnknownNameError
from edgekit.work import environments, toolchains
from edgekit.work.cache import Cache
from edgekit.work.pool import KINDS, Kind, Pool
from edgekit.work.steps import Step, run_steps, tool_versions
from edgekit.work.toolchains import (
    TOOLCHAINS,
    Toolchain,
    add_toolchain,
    is_installed,
    pinned_versions,
    remove_toolchain,
    toolchain_python,
)

REAL_POPEN = subprocess.Popen
NAME = "executorch-openvino"
SAID = """\
Collecting torch==2.13.0
  Downloading torch-2.13.0.whl (190 MB)
Collecting torch>=2 (from something)
Processing /wheels/ruamel_yaml-0.19.1-py3-none-any.whl (from x)
Collecting sympy==1.14.0
Installing collected packages: torch, sympy
"""


class FakePip:
    """Makes what venv would make and says what pip would say."""

    def __init__(self, code: int = 0, said: str = SAID) -> None:
        self.calls: list[list[str]] = []
        self.code, self.said = code, said

    def __call__(self, argv: list[str], **options: Any) -> subprocess.Popen[str]:
        self.calls.append(argv)
        if argv[2] == "venv":
            python = Path(argv[3]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
            (Path(argv[3]) / "pyvenv.cfg").write_text("home = /usr/bin\n")
            return REAL_POPEN(["true"], **options)
        return REAL_POPEN(["sh", "-c", f'echo "$0"; exit {self.code}', self.said], **options)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> FakePip:
    fake = FakePip()
    monkeypatch.setattr("subprocess.Popen", fake)
    return fake


@pytest.fixture
def no_room_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchains, "_require_room", lambda toolchain: None)


def test_every_toolchain_pins_every_version_and_what_a_worker_imports() -> None:
    for toolchain in TOOLCHAINS.values():
        lines = [
            line for line in toolchain.lock.read_text().splitlines()
            if line and not line.startswith(("#", "--"))
        ]  # fmt: skip
        for line in lines:
            assert re.fullmatch(r"[\w.-]+==[\w.]+(; platform_machine == \"x86_64\")?", line)
        pinned = pinned_versions(toolchain.name)
        assert len(pinned) == len(lines)
        assert {"torch", "executorch", "numpy", "pydantic", "filelock", "platformdirs"} <= set(
            pinned
        )
        assert "; python_version" not in toolchain.lock.read_text()
        assert toolchain.page.startswith("https://")


def test_the_versions_are_those_that_the_makers_ask_for() -> None:
    ethos = pinned_versions("executorch-ethos-u")
    assert (ethos["executorch"], ethos["ethos-u-vela"]) == ("1.5.1", "5.1.0")
    openvino = pinned_versions("executorch-openvino")
    assert openvino["openvino"].startswith("2025.")
    assert "nncf" in openvino  # without it, not even the partitioner can be imported


def test_one_is_made_when_asked_for_and_then_found(pip: FakePip, no_room_needed: None) -> None:
    progress: list[tuple[str, int, int]] = []
    with pytest.raises(PlanError, match=r"the toolchain executorch-openvino is not installed\n"):
        toolchain_python(NAME)
    assert add_toolchain(NAME, lambda *event: progress.append(event))
    python = toolchain_python(NAME)
    assert python.is_relative_to(environments.environments_dir())
    assert pip.calls[1][0] == str(python)
    assert pip.calls[1][-2:] == ["-r", str(TOOLCHAINS[NAME].lock)]
    assert not add_toolchain(NAME)
    assert len(pip.calls) == 2
    of = len(pinned_versions(NAME))
    assert progress == [
        ("making the environment", 0, of),
        ("fetching torch==2.13.0", 1, of),
        ("fetching torch>=2", 1, of),
        ("fetching ruamel_yaml-0.19.1-py3-none-any.whl", 2, of),
        ("fetching sympy==1.14.0", 3, of),
        ("unpacking", of, of),
    ]


def test_what_is_missing_is_said_with_the_command_and_its_cost(fresh_cache: Path) -> None:
    with pytest.raises(PlanError) as error:
        toolchain_python("executorch-ethos-u")
    assert re.fullmatch(
        r"edgekit toolchain add executorch-ethos-u \(\d\.\d\d GB, about \d+ minutes\)",
        error.value.hint,
    )


def test_without_network_the_error_says_what_to_bring(pip: FakePip, no_room_needed: None) -> None:
    pip.code, pip.said = 1, "Collecting torch\nERROR: No matching distribution found for torch"
    with pytest.raises(PlanError, match="No matching distribution found for torch") as error:
        add_toolchain(NAME)
    assert f"pip download -r {TOOLCHAINS[NAME].lock} -d DIR" in error.value.hint
    assert "PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR" in error.value.hint
    assert not is_installed(NAME)
    assert environments.environments() == []


def test_too_little_room_is_found_before_anything_is_fetched(
    pip: FakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10**6

    monkeypatch.setattr("shutil.disk_usage", lambda place: Usage())
    with pytest.raises(PlanError, match=r"takes \d\.\d\d GB, and 1\.0 MB are free"):
        add_toolchain(NAME)
    assert pip.calls == []


def test_one_of_other_versions_does_not_count_and_goes(pip: FakePip, no_room_needed: None) -> None:
    older = environments.environments_dir() / f"toolchain-{NAME}-00000000"
    (older / "bin").mkdir(parents=True)
    (older / environments.MARKER).write_text("{}")
    with pytest.raises(PlanError, match="in the versions that this edgekit uses"):
        toolchain_python(NAME)
    add_toolchain(NAME)
    assert [each.folder for each in environments.environments()] == [TOOLCHAINS[NAME].folder]


def test_it_is_removed_and_says_what_was_freed(pip: FakePip, no_room_needed: None) -> None:
    with pytest.raises(PlanError, match="is not installed"):
        remove_toolchain(NAME)
    add_toolchain(NAME)
    folder = TOOLCHAINS[NAME].folder
    (folder / "big").write_bytes(bytes(1000))  # sizes are noted when it is made
    assert environments.environments()[0].size_bytes == remove_toolchain(NAME)
    assert not folder.exists()
    assert not is_installed(NAME)


def test_cleaning_the_boards_runtimes_leaves_toolchains(pip: FakePip, no_room_needed: None) -> None:
    add_toolchain(NAME)
    assert environments.remove_environments() == []
    assert is_installed(NAME)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean executorch-openvino"):
        add_toolchain("executorch-openvin")


# ------------------------------------------------------------------------------ workers


@pytest.fixture
def own_python(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> Path:
    """A made toolchain with nothing in it, and a kind of worker that uses it."""
    toolchain = Toolchain(NAME, "a test", "https://example.com", 0, 0)
    venv.create(toolchain.folder, symlinks=True, with_pip=False)
    (toolchain.folder / environments.MARKER).write_text("{}")
    monkeypatch.setitem(KINDS, "executorch-openvino", Kind(toolchain=NAME))
    return toolchain.folder


def test_its_worker_has_edgekit_and_nothing_else_of_this_python(
    own_python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    with Pool() as pool:
        work = pool.submit(
            NAME, lambda call: call("edgekit.work.worker:sys.exc_info", tmp_path, {})
        )
        with pytest.raises(Exception, match="exc_info"):  # it answers, from the inside
            work.result(timeout=120)
        (worker,) = pool._workers
        environment = Path(f"/proc/{worker.process.pid}/environ").read_text().split("\0")
        program = Path(f"/proc/{worker.process.pid}/exe").readlink()
        said = subprocess.run(
            [own_python / "bin" / "python", "-P", "-c",
             "import edgekit, sys; print(edgekit.__file__, *sys.path)\nimport numpy"],
            env=dict(entry.split("=", 1) for entry in environment if "=" in entry),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        where, *path = said.stdout.split()
        assert Path(where).resolve() == Path(edgekit.__file__)
    assert program == Path(sys.executable).resolve()
    assert "/somewhere" not in path
    assert str(Path(edgekit.__file__).parent.parent) not in path
    assert "No module named 'numpy'" in said.stderr


def test_a_step_whose_toolchain_is_missing_fails_alone(fresh_cache: Path) -> None:
    wanted = Step("x", "edgekit.work.worker:main", NAME)
    with Pool() as pool:
        pool.warm([NAME])
        outcome = run_steps([wanted], pool=pool, cache=Cache())[wanted]
        assert pool._workers == set()
    assert isinstance(outcome, PlanError)
    assert "the toolchain executorch-openvino is not installed" in str(outcome)
    assert "edgekit toolchain add executorch-openvino" in str(outcome)


def test_a_steps_key_follows_the_lock_and_not_what_is_installed_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def key(worker: str) -> str:
        return Step("x", "edgekit.work.worker:main", worker, tools=("numpy", "torch")).key

    assert key(NAME) != key("plain")
    before = key(NAME)
    monkeypatch.setattr(Toolchain, "digest", "another")
    assert key(NAME) != before
    pinned = pinned_versions(NAME)
    assert tool_versions(["numpy", "nothing"], NAME) == {
        "numpy": pinned["numpy"],
        "nothing": "absent",
    }
