"""`edgekit bundle --for ios` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.samples import write_build


@pytest.mark.slow
def test_a_bundle_for_ios_is_made_and_verified(edgekit: Run, desk: Path) -> None:
    write_build(desk / "build")
    made = edgekit("bundle", "build", "-o", "out", "--for", "ios", "--name", "ocr")
    assert made.code == 0, made.err
    assert "out/OcrModels/Sources/OcrModels/Models/digits-int8.tflite" in made.out
    assert (desk / "out" / "OcrModels" / "Package.swift").is_file()
    check = made.out.splitlines()[-1].partition("check it with: edgekit ")[2]
    assert edgekit(*check.split()).code == 0
