"""`edgekit convert` by metrics of other targets than classes, with real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.build import load_build
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow

NETS = '''
import keras, numpy as np
from keras import layers

def price():
    """Two rooms' worth of weights: what the targets are made from, but for noise."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,), name="facts")
    inner = layers.Dense(16, activation="relu")(inputs)
    return keras.Model(inputs, layers.Dense(1, name="price")(inner))

def colours():
    """A class for each colour, scored by how much of it there is."""
    inputs = keras.Input((8, 6, 3), name="image")
    scores = layers.Conv2D(3, 1, name="scores")
    model = keras.Model(inputs, scores(inputs))
    scores.set_weights([4 * np.eye(3)[None, None], np.zeros(3)])
    return model

def prices():
    rng = np.random.default_rng(2)
    facts = rng.normal(size=(300, 6)).astype(np.float32)
    right = price().predict(facts, verbose=0)
    return facts, right + 0.2 * rng.normal(size=right.shape)

def within(outputs, targets):
    """Half the score of one who is off by one."""
    return 1 / (1 + np.abs(outputs["price"] - targets)[:, 0])
'''


def measured(edgekit: Run, desk: Path, *words: object) -> dict[str, Any]:
    """The verdicts' scores by variant."""
    answer = edgekit("convert", *words, "--for", "host", "-o", "build")
    assert answer.code == 0, answer.err
    for variant in load_build(desk / "build").variants:
        assert variant.verdict.status == "accepted"
        assert variant.verdict.accuracy is None
        assert variant.verdict.score is not None
    return {v.recipe.name: v.verdict.score for v in load_build(desk / "build").variants}


def test_a_regression_model_is_judged_by_its_error(edgekit: Run, desk: Path) -> None:
    (desk / "nets.py").write_text(NETS)
    common = ["keras:nets:price", "--evaluate", "nets:prices", "--variant", "float32",
              "--variant", "int8", "--calibration", "nets:prices"]  # fmt: skip
    scores = measured(edgekit, desk, *common, "--metric", "rmse", "--max-drop", "25")
    for name, score in scores.items():
        assert (score.title, score.unit, score.samples) == ("RMSE", "percent", 300)
        assert score.source_value == pytest.approx(0.2, rel=0.2)
        assert score.low <= score.drop <= score.high
        assert score.drop == pytest.approx(100 * (score.value / score.source_value - 1))
        assert abs(score.drop) < (1e-2 if name == "float32" else 20)
    text = (desk / "build" / "report.html").read_text()
    assert "Size against RMSE" in text
    own = measured(edgekit, desk, *common, "--metric", "nets:within", "--max-drop", "10")
    assert 0.8 < own["int8"].value < 1

    refused = edgekit("convert", *common, "--for", "host", "--metric", "map", "-o", "other")
    assert refused.code == 3
    assert "--calibration nets:prices: the metric map takes 0 or 1 for each class" in refused.err
    refused = edgekit("convert", *common, "--for", "host", "-o", "other")
    assert refused.code == 3
    assert "holds fractions; labels are class numbers" in refused.err
    assert "--metric rmse" in refused.err
    assert not (desk / "other").exists()


def test_a_segmentation_model_is_judged_by_its_maps(edgekit: Run, desk: Path) -> None:
    (desk / "nets.py").write_text(NETS)
    rng = np.random.default_rng(3)
    images = rng.random((80, 8, 6, 3), dtype=np.float32)
    maps = images.argmax(-1).astype(np.uint8)
    spoiled = rng.random(maps.shape) < 0.1
    maps = np.where(spoiled, (maps + 1) % 3, maps).astype(np.uint8)
    maps[:, 0, 0] = 255
    np.savez(desk / "test.npz", image=images, labels=maps)
    np.savez(desk / "wrong.npz", image=images, labels=maps[:, :4])
    (desk / "strict.toml").write_text(
        'schema = 1\nname = "strict"\nquantization = "int8"\n'
        '[budget]\nmetric = "miou"\nmax_drop = 2.0\n'
    )
    common = ["keras:nets:colours", "--variant", "strict.toml", "--calibration", "test.npz"]
    score = measured(edgekit, desk, *common)["strict"]
    assert (score.title, score.unit) == ("mIoU", "points")
    share = 0.9 / (0.9 + 0.1 + 0.1)
    assert score.source_value == pytest.approx(share, abs=0.03)
    assert -1 < score.drop < 3
    assert score.low <= score.drop <= score.high
    refused = edgekit("convert", *common, "--for", "host", "--evaluate", "wrong.npz", "-o", "b")
    assert refused.code == 3
    assert "--evaluate wrong.npz: the metric miou needs an output of scores" in refused.err
    assert "for targets 4×6; the model gives" in refused.err
