"""The whole evaluation set answered on a board, and scored here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.build import Build, rows_file
from edgekit.core.errors import DataError, InputError, RejectedError, TransientDeviceError
from edgekit.core.measurement import DeviceAccuracy, Measurement, MeasureSettings
from edgekit.jobs.accuracy import require_accurate
from edgekit.jobs.profile import profile
from edgekit.measure import answers as parts
from edgekit.reports import report_document
from edgekit.reports.page import report_html
from edgekit.reports.view import accuracy_words, warnings
from edgekit.store import Store
from tests.boards import SAMPLES, evaluation_set, running_build
from tests.sshd import SSHServer

QUICK = MeasureSettings(launches=1, runs=3, min_seconds=0, warmup_runs=0, warmup_seconds=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return evaluation_set(tmp_path)


def accuracy(build: Build, data: Path, *, variant: str = "float32") -> DeviceAccuracy:
    (result,) = profile(build, on="local", variants=[variant], settings=QUICK, evaluate=str(data))
    found = result.measurement.accuracy
    assert found is not None
    return found


@pytest.mark.slow
def test_a_board_that_computes_the_same_scores_the_same(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, over SSH; a second variant of the same inputs sends none of them again."""
    monkeypatch.setattr(parts, "MOST_SAMPLES", 64)
    server = SSHServer(tmp_path / "sshd")
    server.trust()
    server.configure(monkeypatch)
    try:
        (result,) = profile(
            running_build(tmp_path / "build", evaluation=data),
            on="ssh://board",
            variants=["float32"],
            settings=QUICK,
            python=sys.executable,
            evaluate=str(data),
        )
    finally:
        server.stop()
    found = result.measurement.accuracy
    assert found is not None
    assert found.score is not None
    assert found.beside is not None
    assert found.ok
    assert found.samples == SAMPLES
    assert found.score.value == found.beside.source_value == pytest.approx(148 / 150)
    assert found.score.drop == found.beside.drop == 0
    assert "top-1 98.67 % on this computer" in found.detail
    require_accurate([result])
    assert result.id is not None
    assert Store().get(result.id).measurement.accuracy == found
    assert Measurement.from_json(result.measurement.to_json()).accuracy == found


@pytest.mark.slow
def test_integers_at_both_ends_are_scored_as_real_numbers(tmp_path: Path, data: Path) -> None:
    found = accuracy(running_build(tmp_path / "build", evaluation=data), data, variant="int8-io")
    assert found.score is not None
    assert 0.9 < found.score.value < 1  # a step of 1/8 makes some scores equal


@pytest.mark.slow
def test_a_board_that_computes_something_else_is_told_everywhere(
    tmp_path: Path, data: Path
) -> None:
    """Its few check samples agree; what the build has scored is another model's."""
    build = running_build(tmp_path / "build", evaluation=data, seed=5)
    (result,) = profile(build, on="local", variants=["float32"], settings=QUICK, evaluate=str(data))
    found = result.measurement.accuracy
    assert found is not None
    assert not found.ok
    assert found.score is not None
    assert found.score.value < 0.8
    assert "points lost" in found.detail
    assert "which is no noise" in found.detail
    assert accuracy_words(result).startswith("! float32 on the board IS WORSE THAN ITS BUDGET")
    assert any("WORSE THAN ITS BUDGET" in line for line in warnings(build, [result]))
    assert "IS WORSE THAN ITS BUDGET" in report_html(build, [result])
    told = report_document(build, [result])["measurements"][0]["accuracy"]
    assert told["ok"] is False
    with pytest.raises(RejectedError, match="float32 on local is worse than its budget"):
        require_accurate([result])


@pytest.mark.slow
def test_all_are_timed_before_any_is_scored(tmp_path: Path, data: Path) -> None:
    build = running_build(tmp_path / "build", evaluation=data)
    said: list[str] = []
    profile(
        build,
        on="local",
        every=True,
        settings=QUICK,
        evaluate=str(data),
        progress=lambda _, what, *counts: said.append(what),
    )
    assert "measure" not in said[said.index("evaluate") :]


@pytest.mark.slow
def test_times_are_kept_if_scoring_fails(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
    build = running_build(tmp_path / "build", evaluation=data)

    def progress(_: str, what: str, done: int, of: int) -> None:
        if what == "evaluate":
            raise TransientDeviceError("the link broke")

    with pytest.raises(TransientDeviceError, match="the link broke"):
        profile(
            build, on="local", every=True, settings=QUICK, evaluate=str(data), progress=progress
        )
    kept = [found.measurement for found in Store().find()]
    assert {each.variant for each in kept} == {"float32", "int8-io"}
    assert {(each.cut_short, each.accuracy) for each in kept} == {("", None)}


@pytest.mark.slow
def test_answers_that_are_no_numbers_are_no_score(tmp_path: Path, data: Path) -> None:
    build = running_build(tmp_path / "build", evaluation=data, weight=float("nan"))
    found = accuracy(build, data)
    assert (found.ok, found.score, found.not_finite) == (False, None, SAMPLES)


@pytest.mark.slow
def test_other_data_is_not_compared(tmp_path: Path, data: Path) -> None:
    build = running_build(tmp_path / "build", evaluation=data)
    other = tmp_path / "other.npz"
    with np.load(data) as file:
        np.savez(other, x=file["x"][:50], labels=file["labels"][:50])
        np.savez(tmp_path / "bare.npz", x=file["x"])
    with pytest.raises(DataError, match="is not what the build was judged on"):
        accuracy(build, other)
    with pytest.raises(DataError, match="has no labels"):
        accuracy(build, tmp_path / "bare.npz")


def test_a_build_that_kept_no_scores_says_how_to_get_them(tmp_path: Path, data: Path) -> None:
    build = running_build(tmp_path / "build", evaluation=data)
    rows_file(build.folder, "float32").unlink()
    with pytest.raises(InputError, match="missing") as caught:
        accuracy(build, data)
    assert "edgekit convert again" in caught.value.hint
