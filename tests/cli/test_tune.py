"""`edgekit tune` as a person uses it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.build import load_build
from edgekit.core.recipe import load_recipe
from tests.cli.conftest import Run
from tests.sensors.board import Board, jetson_orin
from tests.sshd import SSHServer

SPACE = """
schema = 1
[[family]]
name = "whole"
quantization = { any = ["none", "float16"] }
[[family]]
name = "int8"
quantization = "int8"
quantize = { ranges = { any = ["mse", "percentile"] } }
"""


@pytest.fixture
def space(desk: Path) -> Path:
    path = desk / "mine.toml"
    path.write_text(SPACE)
    return path


def arguments(keras3: Path, data: Path, *more: object) -> list[object]:
    given = ["--calibration", data / "calibration.npz", "--evaluate", data / "evaluation.npz"]
    return ["tune", keras3 / "cnn.keras", "--for", "host", *given, *more]


@pytest.mark.slow
def test_the_smallest_is_found_and_is_left_as_a_build_with_its_recipe(
    edgekit: Run, desk: Path, keras3: Path, data: Path, space: Path
) -> None:
    asked = arguments(keras3, data, "--minimize", "size", "--space", space, "-o", "tuned")
    first = edgekit(*asked, "--tries", 2)
    assert first.code == 0, first.err
    assert "2 tries were made" in first.out
    tries = (desk / "tuned" / "tries.jsonl").read_text().splitlines()
    assert len(tries) == 3

    again = edgekit(*asked, "--json")
    assert again.code == 0, again.err
    assert "goes on after the 2 tries in tuned" in again.err
    found = json.loads(again.out)
    assert (desk / "tuned" / "tries.jsonl").read_text().splitlines()[:3] == tries
    assert found["ended"] == "all that there is was tried"
    sizes = {t["number"]: t["figures"]["size"] for t in found["tries"] if t["status"] == "fits"}
    best = next(t for t in found["tries"] if t["recipe"]["name"] == found["best"])
    assert best["figures"]["size"] == min(sizes.values())

    build = load_build(desk / "tuned" / "build")
    assert {variant.recipe.name for variant in build.accepted} == set(found["finalists"])
    written = load_recipe(str(desk / "tuned" / "recipes" / f"{found['best']}.toml"))
    assert written == build.variant(found["best"]).recipe
    page = (desk / "tuned" / "tuning.html").read_text()
    assert found["best"] in page
    assert "<svg" in page
    assert not (desk / "tuned" / ".round").exists()


@pytest.mark.slow
def test_the_fastest_is_measured_twice_and_beside_a_yardstick(
    edgekit: Run, desk: Path, keras3: Path, data: Path, space: Path
) -> None:
    asked = arguments(keras3, data, "--on", "local", "--space", space, "-o", "tuned")
    answer = edgekit(*asked, "--tries", 3, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["yardstick"] == "float32"
    measured = [t for t in found["tries"] if t["figures"]["latency"]]
    assert len(measured) == 3
    assert all(t["figures"]["yardstick"] > 0 for t in measured)
    finals = found["final"].values()
    assert len(finals) == len({t["digest"] for t in finals}) >= 2
    best = found["final"][found["best"]]["figures"]["latency"]["value"]
    assert best == min(t["figures"]["latency"]["value"] for t in finals if t["status"] == "fits")

    # What it measured last is what the build knows of itself.
    shown = edgekit("report", "tuned/build", "--json")
    rows = json.loads(shown.out)["measurements"]
    assert {row["variant"] for row in rows} >= set(found["finalists"])


@pytest.mark.slow
def test_the_least_energy_is_found_over_ssh(
    edgekit: Run, tmp_path: Path, keras3: Path, data: Path, space: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On a made-up Jetson of constant power, where the fastest takes the least."""
    board = Board(tmp_path / "a board", jetson_orin())
    server = SSHServer(tmp_path / "sshd", environment=board.environment)
    try:
        server.configure(monkeypatch)
        server.trust()
        asked = arguments(keras3, data, "--on", "ssh://board", "--python", sys.executable)
        answer = edgekit(
            *asked, "--minimize", "energy", "--space", space, "--tries", 2, "--json", "-o", "tuned"
        )
    finally:
        server.stop()
    # Other work may keep the sampler waiting until nothing can be told of the energy.
    assert answer.code == 0 or "energy cannot be told" in answer.err, answer.err
    if answer.code == 0:
        final = json.loads(answer.out)["final"].values()
        told = [t["figures"] for t in final if t["figures"]["energy"] is not None]
        assert told
        for figures in told:  # 4 W by the mean time, which is at least half of the median
            assert figures["energy"] >= 4.0 * figures["latency"]["value"] / 1e9 / 2


@pytest.mark.slow
def test_where_nothing_fits_what_came_nearest_is_said(
    edgekit: Run, desk: Path, keras3: Path, data: Path, space: Path
) -> None:
    asked = arguments(keras3, data, "--minimize", "size", "--max-kb", 0.5, "--space", space)
    answer = edgekit(*asked, "-o", "tuned", "--tries", 2)
    assert answer.code == 6
    assert "nothing that was tried fits (2 tries)" in answer.err
    assert "of at most 0.5" in answer.err
    assert (desk / "tuned" / "tuning.html").is_file()
    assert not (desk / "tuned" / "build").exists()


@pytest.mark.slow
def test_what_the_data_does_not_allow_is_left_out_and_said(
    edgekit: Run, desk: Path, keras3: Path, data: Path
) -> None:
    given = ["--evaluate", data / "evaluation.npz", "--minimize", "size", "--tries", 1]
    answer = edgekit("tune", keras3 / "cnn.keras", "--for", "host", *given)
    assert answer.code == 0, answer.err
    assert "left out int8: int8 cannot be made without calibration data" in answer.err
    assert (desk / "cnn-host.tuned" / "build" / "build.json").is_file()


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_where_it_was(
    edgekit: Run, desk: Path, keras3: Path, data: Path, space: Path
) -> None:
    asked = arguments(keras3, data, "--minimize", "size", "--space", space, "-o", "tuned")
    command = [sys.executable, "-m", "edgekit", *map(str, asked)]
    with subprocess.Popen(
        command, cwd=desk, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:  # fmt: skip
        assert running.stderr is not None
        for line in running.stderr:  # until the first try is done
            if "fits" in line:
                break
        os.kill(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "what was tried is in tuned: the same command goes on from there" in said
    kept = (desk / "tuned" / "tries.jsonl").read_text().splitlines()
    assert len(kept) > 1
    answer = edgekit(*asked)
    assert answer.code == 0, answer.err
    assert f"goes on after the {len(kept) - 1} tries" in answer.err
    assert (desk / "tuned" / "tries.jsonl").read_text().splitlines()[: len(kept)] == kept


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ([], 2, "latency is measured on a device, and none is named"),
        (["--minimize", "size", "--max-ms", "3"], 2, "latency is measured on a device"),
        (["--minimize", "size", "--space", "untraned"], 2, "no space called 'untraned'"),
        (
            ["--minimize", "size", "--space", "faster"],
            4,
            "the family 'shrink'.*nothing to train on",
        ),
        (["--minimize", "speed"], 2, "'speed' is not one of"),
        (["--minimize", "size", "--max-kb", "0"], 2, "--max-kb"),
        (["--minimize", "size", "--tries", "0"], 2, "--tries"),
        (["--minimize", "size", "-o", "."], 9, "exists and is not a search"),
        (["--minimize", "size", "--holdout", "gone.npz"], 3, "gone.npz"),
        (["--on", "nowhere"], 2, "nowhere"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    edgekit: Run, desk: Path, keras3: Path, data: Path, more: list[Any], code: int, said: str
) -> None:
    (desk / "thesis.txt").write_text("all of it")
    answer = edgekit(*arguments(keras3, data, *more))
    assert answer.code == code, answer.err
    assert re.search(said, answer.err), answer.err
    assert [path.name for path in desk.iterdir()] == ["thesis.txt"]
