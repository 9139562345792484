"""The demo, whole: what a newcomer sees first."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.build import load_build
from tests.cli.conftest import Run


@pytest.mark.slow
def test_the_demo_walks_the_whole_way(edgekit: Run, desk: Path) -> None:
    answer = edgekit("demo", "-o", "my demo")
    assert answer.code == 0, answer.err
    assert "not a Raspberry Pi's" in answer.out
    build = load_build(desk / "my demo" / "build")
    assert [v.verdict.status for v in build.variants] == ["accepted"] * 7
    for variant in build.variants:
        assert variant.verdict.accuracy is not None
        assert variant.verdict.accuracy.top1 > 0.95
    assert (desk / "my demo" / "build" / "report.html").is_file()
    demo = desk / "my demo"
    for bundle in (demo / "linux" / "digits", demo / "android"):
        checked = edgekit("verify", bundle, "--public-key", demo / "key.pub.pem")
        assert checked.code == 0, checked.err
    assert (demo / "linux" / "digits_1.0.0_arm64.deb").is_file()
    assert (demo / "android" / "module" / "build.gradle.kts").is_file()


def test_a_folder_that_is_no_demo_is_left_alone(edgekit: Run, desk: Path) -> None:
    (desk / "mine").mkdir()
    (desk / "mine" / "thesis.tex").write_text("precious")
    answer = edgekit("demo", "-o", "mine")
    assert answer.code == 9
    assert [path.name for path in (desk / "mine").iterdir()] == ["thesis.tex"]
