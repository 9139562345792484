"""`edgekit convert`, with a real model in real worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core.build import load_build
from tests.cli.conftest import Run
from tests.waiting import until

pytestmark = pytest.mark.slow
ALL = ["float32", "float16", "dynamic", "int8", "int8-io", "int16x8"]


def every_variant() -> list[str]:
    return [word for name in ALL for word in ("--variant", name)]


def test_a_model_becomes_a_build_with_every_variant_verified(
    edgekit: Run, desk: Path, keras3: Path, data: Path
) -> None:
    answer = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "host", *every_variant(),
        "--calibration", data / "calibration.npz", "--evaluate", data / "evaluation.npz",
        "-o", "build",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    build = load_build(desk / "build")
    assert [v.recipe.name for v in build.variants] == ALL
    assert {v.verdict.status for v in build.variants} == {"accepted"}
    for variant in build.variants:
        assert variant.artifact is not None
        assert variant.artifact.signature.name == "serving_default"
        assert [spec.name for spec in variant.artifact.signature.inputs] == ["image"]
        assert variant.artifact.signature.inputs[0].shape == (1, 8, 8, 1)
        assert variant.verdict.loads[0].ok
        assert (desk / "build" / "check" / f"{variant.recipe.name}.npz").is_file()
    kinds = {
        v.recipe.name: v.artifact.signature.inputs[0].dtype for v in build.variants if v.artifact
    }
    assert kinds["int8"] == "float32"
    assert kinds["int8-io"] == "int8"
    assert (desk / "build" / "report.html").read_text().startswith("<!doctype html>")
    assert [path.name for path in desk.iterdir()] == ["build"]


def test_the_same_again_converts_nothing_and_starts_no_worker(
    edgekit: Run, desk: Path, keras3: Path, data: Path, fresh_cache: Path
) -> None:
    command = ["convert", keras3 / "cnn.keras", "--for", "host", "--calibration",
               data / "calibration.npz", "-o", "build"]  # fmt: skip
    first = edgekit(*command)
    assert first.code == 0, first.err
    logs = sorted((fresh_cache / "logs").iterdir())
    digests = {v.recipe.name: v.artifact for v in load_build(desk / "build").variants}
    second = edgekit(*command)
    assert second.code == 0
    assert "0 steps done" in second.err
    assert sorted((fresh_cache / "logs").iterdir()) == logs
    assert {v.recipe.name: v.artifact for v in load_build(desk / "build").variants} == digests


def test_without_data_float_variants_are_compared_on_random_inputs_and_say_so(
    edgekit: Run, desk: Path, keras3: Path
) -> None:
    answer = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float16", "-o", "b"
    )
    assert answer.code == 0, answer.err
    assert "random" in load_build(desk / "b").data.evaluation


def test_samples_in_both_sets_are_pointed_out(
    edgekit: Run, desk: Path, keras3: Path, data: Path
) -> None:
    answer = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "host", "--variant", "int8",
        "--calibration", data / "calibration.npz", "--evaluate", data / "overlapping.npz",
        "-o", "b",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert load_build(desk / "b").data.overlap == 10
    assert "10 samples are in both" in answer.out


def test_a_variant_over_its_budget_is_kept_marked_and_the_exit_code_says_so(
    edgekit: Run, desk: Path, keras3: Path, data: Path
) -> None:
    (desk / "strict.toml").write_text(
        'schema = 1\nname = "strict"\nquantization = "int8"\n[budget]\nmin_snr_db = 300\n'
    )
    command = ["convert", keras3 / "cnn.keras", "--for", "host", "--calibration",
               data / "calibration.npz", "--variant", "strict.toml", "-o", "b"]  # fmt: skip
    answer = edgekit(*command)
    assert answer.code == 6
    assert "strict is rejected" in answer.err
    build = load_build(desk / "b")
    assert build.variants[0].verdict.status == "rejected"
    assert build.variants[0].artifact is not None
    assert edgekit("bundle", "b", "-o", "out").code == 6
    assert not (desk / "out").exists()


def test_an_open_dimension_needs_a_size(edgekit: Run, desk: Path, keras3: Path) -> None:
    model = keras3 / "open.keras"
    refused = edgekit("convert", model, "--for", "host", "--variant", "float32", "-o", "b")
    assert refused.code == 3
    assert "--shape" in refused.err
    assert list(desk.iterdir()) == []
    given = edgekit(
        "convert", model, "--for", "host", "--variant", "float32", "-o", "b",
        "--shape", "image=1,32,48,3",
    )  # fmt: skip
    assert given.code == 0, given.err
    artifact = load_build(desk / "b").variants[0].artifact
    assert artifact is not None
    assert artifact.signature.inputs[0].shape == (1, 32, 48, 3)


@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        ("empty.npz", "no samples"),
        ("nan.npz", "sample 3"),
        ("small.npz", "4×8×1"),
        ("words.npz", "image"),
        ("missing.npz", "does not exist"),
    ],
)
def test_bad_calibration_data_stops_it_before_any_conversion(
    edgekit: Run, desk: Path, keras3: Path, data: Path, calibration: str, says: str
) -> None:
    answer = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "host", "--variant", "int8",
        "--calibration", data / calibration, "-o", "b",
    )  # fmt: skip
    assert answer.code == 3, answer.err
    assert says in answer.err
    assert "convert" not in answer.err.partition("error:")[0].partition("\n")[2]
    assert "Traceback" not in answer.err
    assert list(desk.iterdir()) == []


def test_ctrl_c_in_the_middle_leaves_nothing(desk: Path, keras3: Path, fresh_cache: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", "convert", str(keras3 / "cnn.keras"),
         "--for", "host", "--variant", "float32", "-o", "b"],
        cwd=desk, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert until(lambda: list(fresh_cache.glob("logs/*tensorflow*")))
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert list(desk.iterdir()) == []


@pytest.mark.parametrize("cache", ["/proc/cache", "a file"])
def test_a_cache_that_cannot_be_used_is_said(
    edgekit: Run, desk: Path, keras3: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    (desk / "a file").write_text("")
    monkeypatch.setenv("EDGEKIT_CACHE", cache)
    answer = edgekit(
        "convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float32", "-o", "b"
    )
    assert answer.code == 9
    assert "EDGEKIT_CACHE" in answer.err
    assert "Traceback" not in answer.err
    assert [path.name for path in desk.iterdir()] == ["a file"]


def test_a_converter_without_enough_memory_fails_alone_and_says_so(
    edgekit: Run, desk: Path, keras3: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    command = ["convert", keras3 / "cnn.keras", "--for", "host", "-o", "b", "--variant"]
    assert edgekit(*command, "float32").code == 0
    monkeypatch.setenv("EDGEKIT_WORKER_MEMORY_MB", "50")
    answer = edgekit(*command, "float16")
    assert answer.code == 5
    assert "EDGEKIT_WORKER_MEMORY_MB" in answer.err
    assert load_build(desk / "b").variants[0].verdict.status == "failed"


def test_the_report_as_json_is_json(edgekit: Run, keras3: Path) -> None:
    edgekit("convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float32", "-o", "b")
    document = json.loads(edgekit("report", "b", "--json").out)
    assert document["schema"] == 1
