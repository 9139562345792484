"""`edgekit toolchain` as typed; what it does is in tests/work/test_toolchains.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.work.environments import MARKER
from edgekit.work.toolchains import TOOLCHAINS
from tests.cli.conftest import Run


@pytest.fixture
def made(fresh_cache: Path) -> Path:
    """The folder of a toolchain that counts as made."""
    folder = TOOLCHAINS["executorch-ethos-u"].folder
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("")
    (folder / MARKER).write_text('{"size_bytes": 2000000}')
    return folder


def test_the_list_says_what_is_here_and_what_the_others_cost(edgekit: Run, made: Path) -> None:
    lines = {line.split()[0]: line for line in edgekit("toolchain", "list").out.splitlines()[3:-1]}
    assert "yes         2.0 MB" in lines["executorch-ethos-u"]
    assert "no          1.66 GB" in lines["executorch-openvino"]
    listed = {
        entry["name"]: entry for entry in json.loads(edgekit("toolchain", "list", "--json").out)
    }
    assert (
        listed["executorch-ethos-u"]["installed"],
        listed["executorch-ethos-u"]["size_bytes"],
    ) == (
        True,
        2000000,
    )


def test_one_that_is_there_is_not_made_again(edgekit: Run, made: Path) -> None:
    answer = edgekit("toolchain", "add", "executorch-ethos-u")
    assert (answer.code, answer.out) == (0, "executorch-ethos-u: installed already\n")


def test_removing_says_what_was_freed_and_a_second_time_that_there_is_none(
    edgekit: Run, made: Path
) -> None:
    answer = edgekit("toolchain", "remove", "executorch-ethos-u")
    assert (answer.code, answer.out) == (0, "executorch-ethos-u: removed, 2.0 MB freed\n")
    assert not made.exists()
    assert edgekit("toolchain", "remove", "executorch-ethos-u").code == 4


def test_cleaning_leaves_it(edgekit: Run, made: Path) -> None:
    assert edgekit("clean", "--environments").out == "here: 0 entries removed, 0 B freed\n"
    assert made.exists()


def test_an_unknown_name(edgekit: Run, fresh_cache: Path) -> None:
    answer = edgekit("toolchain", "add", "executorch")
    assert answer.code == 2
    assert "did you mean executorch-" in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/nowhere"}])
def test_without_network(
    edgekit: Run, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """A real venv and a real pip."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answer = edgekit("toolchain", "add", "executorch-ethos-u")
    assert answer.code == 4
    assert "No matching distribution found" in answer.err
    assert "pip download -r" in answer.err
    assert edgekit("toolchain", "remove", "executorch-ethos-u").code == 4


@pytest.mark.parametrize(
    ("board", "variant", "title", "name"),
    [
        ("linux-x86_64", "pte-openvino-float32", "OpenVINO", "executorch-openvino"),
        ("corstone-300-u55", "pte-ethos-u-int8-io", "Arm Ethos-U", "executorch-ethos-u"),
    ],
)
def test_convert_asks_for_one_that_is_missing(
    edgekit: Run, fresh_cache: Path, board: str, variant: str, title: str, name: str
) -> None:
    answer = edgekit("convert", "net.pt2", "--for", board, "--variant", variant)

    assert (answer.code, answer.out) == (4, "")
    assert answer.err == (
        f"error: {variant}: {title} needs {name}: it is not installed\n"
        f"       run: edgekit toolchain add {name}\n"
    )
    assert list(fresh_cache.glob("*")) == []  # nothing was begun
