"""The jobs from Python, as the README shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.core.errors import RejectedError, UnknownNameError
from edgekit.core.measurement import MeasureSettings
from tests.samples import write_build


@pytest.mark.slow
def test_from_a_model_to_a_bundle(keras3: Path, tmp_path: Path) -> None:
    events: list[str] = []
    build = edgekit.convert(
        keras3 / "cnn.keras",
        board="host",
        variants=["float16"],
        output=tmp_path / "build",
        progress=lambda step, event: events.append(event),
    )
    assert "done" in events or "cached" in events
    (result,) = edgekit.profile(
        build,
        on="local",
        settings=MeasureSettings(launches=2, runs=5, min_seconds=0, warmup_seconds=0),
    )
    assert result.summary.median_ns.value > 0
    np.save(tmp_path / "image.npy", np.zeros((8, 8, 1), np.float32))
    ran = edgekit.run(build, on="local", inputs=[tmp_path / "image.npy"])
    assert np.isfinite(ran.real["scores"]).all()
    assert edgekit.report(tmp_path / "build", tmp_path / "r.html")["schema"] == 1
    made = edgekit.bundle(build, output=tmp_path / "bundle")
    assert edgekit.verify_bundle(made.folder, digest=made.digest).artifacts[0].variant == "float16"


def test_a_bundle_for_android(tmp_path: Path) -> None:
    write_build(tmp_path / "build")
    made = edgekit.bundle(
        tmp_path / "build", output=tmp_path / "out", target="android", package="com.acme.ocr"
    )
    assert edgekit.verify_bundle(made.folder, digest=made.digest).kind == "android"
    assert (made.folder / "module/src/main/java/com/acme/ocr/Digits.java").is_file()


def test_a_bundle_for_ios(tmp_path: Path) -> None:
    write_build(tmp_path / "build")
    made = edgekit.bundle(tmp_path / "build", output=tmp_path / "out", target="ios")
    assert edgekit.verify_bundle(made.folder, digest=made.digest).kind == "ios"
    assert (made.folder / "DigitsModels/Sources/DigitsModels/Digits.swift").is_file()


def test_where_the_command_exits_non_zero_the_call_raises(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="raspberry-pi-5"):
        edgekit.convert("model.keras", board="raspbery-pi-5", output=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_named_variant_over_its_budget_raises_and_leaves_the_build(
    keras3: Path, tmp_path: Path
) -> None:
    (tmp_path / "strict.toml").write_text(
        'schema = 1\nname = "strict"\nquantization = "float16"\n[budget]\nmin_snr_db = 300\n'
    )
    with pytest.raises(RejectedError, match="strict is rejected"):
        edgekit.convert(
            keras3 / "cnn.keras",
            board="host",
            variants=[str(tmp_path / "strict.toml")],
            output=tmp_path / "build",
        )
    assert edgekit.load_build(tmp_path / "build").variants[0].verdict.status == "rejected"


def test_nothing_else_is_offered() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        edgekit.nothing  # noqa: B018
