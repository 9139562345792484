"""The names of the classes: as many as the model has, and folders are matched to them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from edgekit.core.build import load_build
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


def test_the_names_of_the_classes_are_those_of_the_model_and_in_its_order(
    edgekit: Run, desk: Path, keras3: Path, data: Path
) -> None:
    command = ["convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float32", "-o", "b",
               "--labels", "labels.txt", "--evaluate"]  # fmt: skip
    (desk / "labels.txt").write_text("a\nb\n")
    refused = edgekit(*command, data / "evaluation.npz")
    assert refused.code == 2, refused.err
    assert "--labels has 2 names" in refused.err
    assert not (desk / "b").exists()
    (count,) = re.findall(r"has (\d+) classes", refused.err)
    names = [f"class {number}" for number in range(int(count))][::-1]
    (desk / "labels.txt").write_text("\n".join(names))
    for name in names[:2]:
        (desk / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 200).save(desk / "photos" / name / "1.png")
    answer = edgekit(*command, "photos", "--preprocess", "color=gray")
    assert answer.code in (0, 6), answer.err
    assert load_build(desk / "b").labels == tuple(names)
    assert "Evaluation: all samples are equal." in answer.out
    (desk / "photos" / "other").mkdir()
    Image.new("L", (8, 8)).save(desk / "photos" / "other" / "1.png")
    refused = edgekit(*command, "photos", "--preprocess", "color=gray")
    assert refused.code == 3
    assert "other" in refused.err
