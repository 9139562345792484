"""What a board answers for one's own inputs, on this computer and over SSH."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.build import Build
from edgekit.core.errors import DataError, PlanError, UnknownNameError
from edgekit.jobs.run import run
from edgekit.measure import answers as parts
from tests.boards import LABELS, answers, rows, running_build
from tests.sshd import SSHServer


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return running_build(tmp_path / "build")


@pytest.fixture
def given(tmp_path: Path) -> str:
    np.save(tmp_path / "given.npy", rows(5, seed=1))
    return str(tmp_path / "given.npy")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SSHServer]:
    server = SSHServer(tmp_path / "sshd")
    server.trust()
    server.configure(monkeypatch)
    yield server
    server.stop()


def expected(build: Build) -> np.ndarray:
    return answers(build.folder / "artifacts" / "tiny-float32.tflite", rows(5, seed=1))


@pytest.mark.slow
def test_on_this_computer(build: Build, given: str) -> None:
    found = run(build, on="local", inputs=[given], variant="float32")
    np.testing.assert_allclose(found.real["y"], expected(build), atol=1e-6)
    assert found.hello["runtime"] == "ai-edge-litert"
    assert not found.shares
    for guesses, scores in zip(found.best, expected(build), strict=True):
        assert [guess.label for guess in guesses] == [LABELS[at] for at in np.argsort(-scores)]
        assert guesses[0].score == pytest.approx(scores.max())


@pytest.mark.slow
def test_without_python(build: Build, given: str) -> None:
    found = run(build, on="local", inputs=[given], variant="float32", runner="native")
    np.testing.assert_allclose(found.real["y"], expected(build), atol=1e-6)
    assert found.hello["runner"].endswith("-native")


def test_a_runner_that_tells_no_outputs_is_refused(build: Build, given: str) -> None:
    with pytest.raises(PlanError, match="benchmark-model, which float32 gets there") as caught:
        run(build, on="local", inputs=[given], variant="float32", runner="benchmark-model")
    assert "native, python" in caught.value.hint


@pytest.mark.slow
def test_over_ssh_in_parts(
    build: Build, given: str, board: SSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST_SAMPLES", 2)
    said: list[tuple[object, ...]] = []
    found = run(
        build,
        on="ssh://board",
        inputs=[given],
        variant="float32",
        python=sys.executable,
        progress=lambda *what: said.append(what[1:]),
    )
    np.testing.assert_allclose(found.real["y"], expected(build), atol=1e-6)
    assert [what for what in said if what[0] == "run"] == [
        ("run", 0, 5), ("run", 2, 5), ("run", 4, 5), ("run", 5, 5),
    ]  # fmt: skip
    assert list((board.store / "scratch").iterdir()) == []


@pytest.mark.slow
def test_integers_are_shown_as_the_real_numbers_they_stand_for(build: Build, given: str) -> None:
    found = run(build, on="local", inputs=[given], variant="int8-io")
    assert found.stored["y"].dtype == np.int8
    np.testing.assert_allclose(found.real["y"], found.stored["y"] / 8.0)
    np.testing.assert_allclose(found.real["y"], expected(build), atol=0.2)


def test_inputs_are_checked_before_the_board_is_spoken_to(build: Build, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", rows(1)[0, :3])
    with pytest.raises(DataError, match="x takes float32 4"):
        run(build, on="ssh://nobody.invalid", inputs=[str(tmp_path / "bad.npy")])


def test_a_variant_that_is_not_there(build: Build, given: str) -> None:
    with pytest.raises(UnknownNameError, match="float32"):
        run(build, on="local", inputs=[given], variant="float23")
