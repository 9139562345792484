"""`edgekit bundle --for android` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.samples import write_build


@pytest.mark.slow
def test_a_bundle_for_android_is_made_and_verified(edgekit: Run, desk: Path) -> None:
    write_build(desk / "build")
    made = edgekit("bundle", "build", "-o", "out", "--for", "android", "--package", "com.acme.ocr")
    assert made.code == 0, made.err
    assert "out/module/src/main/assets/com/acme/ocr/digits-int8.tflite" in made.out
    assert (desk / "out" / "module" / "src" / "main" / "java" / "com" / "acme" / "ocr").is_dir()
    check = made.out.splitlines()[-1].partition("check it with: edgekit ")[2]
    assert edgekit(*check.split()).code == 0


def test_a_model_in_an_asset_pack(edgekit: Run, desk: Path) -> None:
    write_build(desk / "build")
    made = edgekit("bundle", "build", "-o", "out", "--for", "android", "--asset-pack", "on-demand")
    assert made.code == 0, made.err
    assert "out/pack/src/main/assets/edgekit/digits/digits-int8.tflite" in made.out


@pytest.mark.slow
def test_what_is_for_android_alone_says_so(edgekit: Run, desk: Path) -> None:
    write_build(desk / "build")
    for option, value in (
        ("--package", "com.acme.ocr"),
        ("--classpath", "android.jar"),
        ("--asset-pack", "on-demand"),
    ):
        said = edgekit("bundle", "build", "-o", "out", option, value)
        assert said.code == 2
        assert f"{option} is of an Android app's classes" in said.err
        assert "--for android" in said.err
    assert not (desk / "out").exists()
