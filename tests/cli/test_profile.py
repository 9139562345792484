"""From a build to numbers, on this computer and over SSH, and on into a bundle."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.build import load_build
from tests.cli.conftest import Answer, Run
from tests.sensors.board import Board, jetson_orin
from tests.sshd import SSHServer

pytestmark = pytest.mark.slow
QUICK = ["--launches", "2", "--runs", "5", "--min-seconds", "0", "--warmup-seconds", "0"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, keras3: Path, data: Path) -> Path:
    """A build with a float and an INT8 variant."""
    folder = tmp_path_factory.mktemp("made") / "build"
    subprocess.run(
        [sys.executable, "-m", "edgekit", "convert", keras3 / "cnn.keras", "--for", "host",
         "--variant", "float32", "--variant", "int8", "--calibration", data / "calibration.npz",
         "-o", folder],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def build(made: Path, desk: Path) -> Path:
    shutil.copytree(made, desk / "build")
    return desk / "build"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SSHServer]:
    """A board on loopback that nobody trusts yet."""
    server = SSHServer(tmp_path / "sshd")
    server.configure(monkeypatch)
    yield server
    server.stop()


def on_board(edgekit: Run, *more: str) -> Answer:
    return edgekit(
        "profile", "build", "--on", "ssh://board", "--python", sys.executable, *QUICK, *more
    )


def test_measured_here_reported_and_bundled(edgekit: Run, build: Path, desk: Path) -> None:
    answer = edgekit("profile", "build", "--on", "local", "--all", *QUICK)
    assert answer.code == 0, answer.err
    assert "Median" in answer.out
    assert "python runner for float32: " in answer.err  # and why
    document = json.loads(edgekit("report", "build", "--json").out)
    assert {m["variant"] for m in document["measurements"]} == {"float32", "int8"}
    assert edgekit("report", "build", "--html", "page.html").code == 0
    assert "int8" in (desk / "page.html").read_text()

    bundled = edgekit("bundle", "build", "-o", "out")
    assert bundled.code == 0, bundled.err
    digest = bundled.out.split("--digest ")[1].strip()
    assert edgekit("verify", "out", "--digest", digest).code == 0
    manifest = json.loads((desk / "out" / "manifest.json").read_text())
    assert manifest["artifacts"][0]["variant"] == document["build"]["best"]
    assert bundled.err.startswith(f"{document['build']['best']}: ")  # by which rule
    (desk / "out" / "extra").write_text("")
    refused = edgekit("verify", "out")
    assert refused.code == 8
    assert "extra" in refused.err


def test_ways_of_running_and_two_variants_in_turns(edgekit: Run, build: Path) -> None:
    launches = [*QUICK[2:], "--launches", "3"]
    answer = edgekit(
        "profile", "build", "--on", "local", "--all", "--sweep", "streams=1,2",
        "--sweep", "threads=1,2", *launches,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    for way in ("1×1 ", "2×1 ", "1×1×2", "2×1×2"):
        assert way in answer.out
    assert "float32 (2 threads, batch 1, 1 stream): 3 launches" in answer.err
    refused = edgekit("profile", "build", "--on", "local", "--operators", "--sweep", "streams=1,2")
    assert refused.code == 2
    assert "one stream" in refused.err
    compared = edgekit("compare", "build:float32", "build:int8")
    assert compared.code == 0, compared.err
    assert "in turns" not in compared.out  # they did take turns
    assert "also different" not in compared.out


def test_a_long_run_shows_how_the_speed_changes(edgekit: Run, build: Path) -> None:
    answer = edgekit("profile", "build", "--on", "local", "--sustained", "1s", "--threads", "1")
    assert answer.code == 0, answer.err
    assert "in the last third of 1 s" in answer.out
    assert "Sustained" in (build / "report.html").read_text()


def test_measured_by_the_native_runner(edgekit: Run, build: Path) -> None:
    words = ["profile", "build", "--on", "local", "--all", "--runner", "native", "--json"]
    answer = edgekit(*words, *QUICK)
    assert answer.code == 0, answer.err
    for result in json.loads(answer.out):
        assert result["measurement"]["hello"]["runner"].endswith("-native")
        assert result["measurement"]["check"]["ok"]
    answer = edgekit("profile", "build", "--on", "local", "--runner", "nativ")
    assert answer.code == 2
    assert "did you mean native?" in answer.err


def test_measured_over_ssh(edgekit: Run, build: Path, server: SSHServer) -> None:
    server.trust()
    first = on_board(edgekit)
    assert first.code == 0, first.err
    assert "ssh://board" in first.out
    held = edgekit("clean", "--on", "ssh://board", "--dry-run")
    assert held.code == 0, held.err
    assert "0 entries" not in held.out
    assert edgekit("clean", "--on", "ssh://board").code == 0
    assert " 0 entries" in edgekit("clean", "--on", "ssh://board", "--dry-run").out


def test_the_evaluation_set_is_scored_on_the_device(edgekit: Run, desk: Path, keras3: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(3)
    images = rng.random((40, 8, 8, 1), dtype=np.float32)
    np.savez(desk / "test.npz", image=images, labels=rng.integers(0, 3, 40))
    made = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float32",
        "--evaluate", "test.npz", "-o", "b",
    )  # fmt: skip
    assert made.code == 0, made.err
    answer = edgekit("profile", "b", "--on", "local", "--evaluate", "test.npz", *QUICK)
    assert answer.code == 0, answer.err
    assert "float32 on the board keeps its budget" in answer.out
    told = json.loads(edgekit("report", "b", "--json").out)["measurements"][0]
    assert told["accuracy"]["score"]["drop"] == 0
    np.savez(desk / "other.npz", image=images[:9], labels=np.zeros(9, int))
    assert edgekit("profile", "b", "--on", "local", "--evaluate", "other.npz").code == 3


def test_energy_over_ssh(
    edgekit: Run, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up Jetson of known, constant power: the energy is that times the time."""
    board = Board(tmp_path / "a board", jetson_orin())
    server = SSHServer(tmp_path / "sshd", environment=board.environment)
    try:
        server.configure(monkeypatch)
        server.trust()
        for _ in range(5):
            answer = edgekit(
                "profile", "build", "--on", "ssh://board", "--python", sys.executable,
                # The most runs there may be take 2 s or more of this model.
                "--launches", "2", "--warmup-seconds", "0", "--min-seconds", "4", "--rate", "8",
            )  # fmt: skip
            assert answer.code == 0, answer.err
            document = json.loads(edgekit("report", "build", "--json", "--raw").out)
            taken = max(document["measurements"], key=lambda each: each["id"])
            energy = taken["summary"]["energy"]
            if not energy["unavailable"]:
                break
            # Other work kept the sampler waiting: no energy is right then, and it is tried again.
            assert re.search("readings are missing|too few", energy["unavailable"])
        said = " ".join(answer.out.split())
        assert "energy: of VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO, added" in said
        assert energy["mean_power_w"]["value"] == pytest.approx(4.0)
        seconds = [
            (x["windows"][0]["end_ns"] - x["windows"][0]["start_ns"]) / 1e9 / len(x["samples_ns"])
            for x in taken["launches"]
        ]
        expected = 4.0 * sum(seconds) / 2
        assert energy["per_inference_j"]["value"] == pytest.approx(expected, rel=1e-6)
        refused = on_board(edgekit, "--power", "rapl")
        assert refused.code == 7
        assert "has no power by rapl" in refused.err
        off = on_board(edgekit, "--power", "off", "--json")
        assert json.loads(off.out)[0]["summary"]["energy"] is None
    finally:
        server.stop()


def test_an_unknown_board_is_not_talked_to(edgekit: Run, build: Path, server: SSHServer) -> None:
    answer = on_board(edgekit)
    assert answer.code == 7
    assert "host key" in answer.err
    assert "SHA256:" in answer.err


def test_a_board_that_computes_something_else_is_found_out(
    edgekit: Run, build: Path, server: SSHServer
) -> None:
    """This computer's answers are swapped for another variant's, as if the board were wrong."""
    server.trust()
    import numpy as np

    path = build / "check" / "int8.npz"
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    arrays["out:scores"] = arrays["out:scores"][::-1].copy()
    np.savez(path, **arrays)
    answer = on_board(edgekit)
    assert answer.code == 7
    assert "differs by up to" in answer.err


def test_a_board_without_a_runtime_says_what_to_install(
    edgekit: Run, build: Path, server: SSHServer
) -> None:
    server.trust()
    bare = "/usr/bin/python3"
    if not Path(bare).exists():
        pytest.skip("needs another Python: Debian package python3")
    answer = edgekit("profile", "build", "--on", "ssh://board", "--python", bare, *QUICK)
    assert answer.code == 7
    assert "pip install ai-edge-litert" in answer.err


def test_a_build_without_its_check_set_is_not_measured(edgekit: Run, build: Path) -> None:
    shutil.rmtree(build / "check")
    answer = edgekit("profile", "build", "--on", "local")
    assert answer.code == 3
    assert "check/int8.npz' is missing" in answer.err


def test_a_build_that_was_changed_is_not_measured(edgekit: Run, build: Path) -> None:
    artifact = load_build(build).variant("int8").artifact
    assert artifact is not None
    with open(build / artifact.files[0].path, "ab") as file:
        file.write(b"x")
    answer = edgekit("profile", "build", "--on", "local")
    assert answer.code == 3
    assert "was changed after the build" in answer.err


def test_a_batch_that_the_shapes_do_not_allow_is_blamed(
    edgekit: Run, desk: Path, keras3: Path
) -> None:
    """A loop over time is fixed to the batch that it was converted with."""
    made = edgekit(
        "convert", keras3 / "lstm.keras", "--for", "host", "--variant", "float32", "-o", "b"
    )
    assert made.code == 0, made.err
    assert edgekit("profile", "b", "--on", "local", *QUICK).code == 0
    answer = edgekit("profile", "b", "--on", "local", "--batch", "4", *QUICK)
    assert answer.code in (6, 7)
    assert "batch" in answer.err


def test_numbers_are_shown_even_where_the_page_cannot_be_written(
    edgekit: Run, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (build / "report.html").unlink()
    (build / "report.html").mkdir()
    (build / "report.html" / "in the way").write_text("")
    answer = edgekit("profile", "build", "--on", "local", *QUICK)
    assert "Median" in answer.out
    assert answer.code == 9
    assert "report.html" in answer.err
