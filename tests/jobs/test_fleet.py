"""Several boards at once: real servers that are there, go away, come back, or never were."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.boards import Target
from edgekit.core.build import Build
from edgekit.core.errors import MismatchError, PartialError, TransientDeviceError
from edgekit.jobs import fleet
from edgekit.jobs.fleet import HowToMeasure, Outcome, enqueue, require_all, run_fleet
from edgekit.store import Store
from edgekit.store.queue import Queue
from tests.boards import configure, cut_off, running_build
from tests.sshd import SSHServer

pytestmark = pytest.mark.slow
QUICK = HowToMeasure(
    settings={"launches": 2, "runs": 3, "min_seconds": 0, "warmup_seconds": 0},
    python=sys.executable,
)
BOTH = {"float32", "int8-io"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(fleet, "PAUSES_SECONDS", (0.1, 0.1))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return running_build(tmp_path / "build")


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, SSHServer]]:
    found = {name: SSHServer(tmp_path / name) for name in ("ant", "bee")}
    configure(found, monkeypatch)
    yield found
    for server in found.values():
        server.stop()


def board(name: str) -> Target:
    return Target(name=name, address=f"ssh://{name}")


def measured(outcome: Outcome) -> set[tuple[str, str]]:
    return {(r.measurement.device_name, r.measurement.variant) for r in outcome.results}


def failed(outcome: Outcome) -> dict[tuple[str, str], str]:
    return {(each.board, each.variant): each.error.message for each in outcome.failures}


@pytest.mark.usefixtures("servers")
def test_what_fails_on_one_board_stops_none_of_the_others(build: Build) -> None:
    boards = [board("ant"), Target(name="cat", address="ssh://nowhere.invalid"), board("bee")]
    came: list[str] = []
    outcome = run_fleet(
        enqueue(build, boards, build.variants, QUICK),
        done=lambda name, result: came.append(f"{name} {result.measurement.variant}"),
    )
    assert measured(outcome) == {(name, v) for name in ("ant", "bee") for v in BOTH}
    assert sorted(came) == sorted(f"{name} {v}" for name in ("ant", "bee") for v in BOTH)
    assert set(failed(outcome)) == {("cat", v) for v in BOTH}
    assert {(job.task.board, job.state) for job in Queue().jobs()} == {("cat", "failed")}
    assert len(Store().find()) == 4
    with pytest.raises(PartialError, match="2 of 6 measurements failed, on cat"):
        require_all(outcome)


def test_a_board_that_dies_in_the_middle_is_not_measured_again(
    build: Build, servers: dict[str, SSHServer]
) -> None:
    launches: list[tuple[str, str]] = []

    def progress(name: str, variant: str, what: str, done: int, of: int) -> None:
        if what == "measure" and done == 0:
            launches.append((name, variant))
        if (name, what, done) == ("ant", "measure", 1):
            cut_off(servers["ant"])

    outcome = run_fleet(
        enqueue(build, [board("ant"), board("bee")], build.variants, QUICK), progress=progress
    )
    assert measured(outcome) == {("bee", v) for v in BOTH}
    assert set(failed(outcome)) == {("ant", v) for v in BOTH}
    assert launches.count(("ant", "float32")) == 1
    assert Queue().troubles()["ssh://ant"].failures == 1
    kept = [found.measurement for found in Store().find(device="ssh://ant")]
    assert {each.variant for each in kept} == BOTH  # their first launches, which count for nothing
    assert all(each.cut_short for each in kept)
    assert {job.state for job in Queue().jobs()} == {"failed"}


def test_a_board_that_comes_back_is_reached(build: Build, servers: dict[str, SSHServer]) -> None:
    servers["ant"].stop()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "again in" in line:
            servers["ant"].start()

    outcome = run_fleet(enqueue(build, [board("ant")], build.variants[:1], QUICK), say=say)
    assert measured(outcome) == {("ant", "float32")}
    assert len(said) == 1
    assert Queue().jobs() == []


def test_a_fleet_is_asked_for_the_runner_that_was_named(build: Build) -> None:
    how = HowToMeasure(settings=QUICK.settings, runner="benchmark-model")
    local = Target(name="local", address="local")
    outcome = run_fleet(enqueue(build, [local], build.variants[:1], how))
    assert "has no benchmark_model" in failed(outcome)["local", "float32"]


@pytest.mark.usefixtures("servers")
def test_other_answers_of_one_variant_leave_the_others_to_be_measured(build: Build) -> None:
    path = build.folder / "check" / "float32.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["out:y"] = arrays["out:y"] + np.float32(1)
    np.savez(path, **arrays)
    outcome = run_fleet(enqueue(build, [board("ant")], build.variants, QUICK))
    assert measured(outcome) == {("ant", "int8-io")}
    assert isinstance(outcome.failures[0].error, MismatchError)
    assert Queue().troubles() == {}  # nothing is said against the board


def test_a_board_that_keeps_failing_is_left_alone_until_it_is_released(
    build: Build, servers: dict[str, SSHServer]
) -> None:
    servers["ant"].stop()
    said: list[str] = []
    for _ in range(3):
        outcome = run_fleet(
            enqueue(build, [board("ant")], build.variants[:1], QUICK), say=said.append
        )
        assert isinstance(outcome.failures[0].error, TransientDeviceError)
    assert said[-1].startswith("ant failed 3 times in a row and is left alone")
    servers["ant"].start()
    jobs = enqueue(build, [board("ant"), board("bee")], build.variants[:1], QUICK)
    outcome = run_fleet(jobs)
    assert measured(outcome) == {("bee", "float32")}
    assert "ant is left alone: it failed 3 times" in failed(outcome)["ant", "float32"]
    Queue().board_worked("ssh://ant")
    outcome = run_fleet(Queue().take(failed=True))
    assert measured(outcome) == {("ant", "float32")}
    assert Queue().jobs() == []


def test_a_build_that_was_made_anew_is_not_taken_for_the_old_one(
    build: Build, tmp_path: Path
) -> None:
    jobs = enqueue(build, [Target(name="local", address="local")], build.variants[:1], QUICK)
    for path in sorted(build.folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    running_build(build.folder, seed=3)
    outcome = run_fleet(jobs)
    assert "was made anew since" in failed(outcome)["local", "float32"]
