"""Batch norms folded into Keras' layers: outputs stay, in any graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress import fuse_keras
from edgekit.compress.fuse import Fuse, Pair
from edgekit.core.errors import ConversionError, UsageError
from tests.compress.keras_models import GENERATIONS, import_keras, mixed, net_of, opened, reopened

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("generation", GENERATIONS)]


def sampled(net: Any, *shape: int) -> Any:
    net.samples = (np.random.default_rng(0).normal(size=shape).astype(np.float32),)
    return net


def test_outputs_and_their_names_stay_and_the_norms_go(generation: str, tmp_path: Path) -> None:
    keras = import_keras(generation)
    opener, origin, net = opened(keras, mixed(keras), tmp_path / "model.keras")
    sampled(net, 4, 8, 8, 3)
    before = net.predict(net.samples)
    notes = Fuse().apply(net, None)
    assert notes[0].startswith("folded 6 batch norms and took 1 dropout out; on 4 samples")
    assert notes[1] == "left as they are: vector follows no layer that only it uses"
    again = reopened(net, opener, origin, tmp_path / "again")
    assert [spec.name for spec in again.live.signature.outputs] == ["scores", "vector"]
    paths = [path for path, _ in again.layers()]
    assert [path for path in paths if "norm" in path or "drop" in path] == []
    assert "base/conv" in paths
    for got, wanted in zip(again.predict(net.samples), before, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_norms_that_cannot_be_folded_are_told(generation: str) -> None:
    keras = import_keras(generation)
    make = keras.layers
    image = make.Input((6, 6, 4))
    x = make.BatchNormalization(name="after")(make.Conv2D(4, 1, activation="relu")(image))
    x = make.BatchNormalization(name="other", axis=1)(make.Conv2D(4, 1, name="conv")(x))
    y = make.Conv2D(4, 1, name="shown")(x)
    x = make.Add()([make.BatchNormalization(name="beside")(y), y])
    x = make.BatchNormalization(name="good")(make.Conv2D(4, 1, name="plain")(x))
    x = make.BatchNormalization(name="out")(make.Dense(3)(make.Flatten()(x)))
    net = sampled(net_of(keras, keras.Model(image, x)), 3, 6, 6, 4)
    before = net.predict(net.samples)[0]
    notes = Fuse().apply(net, None)
    assert notes[0].startswith("folded 1 batch norm and took no dropouts out")
    for said in (
        "after follows a layer with an activation",
        "other has another axis than the channels: conv",
        "beside follows no layer that only it uses",
        "out gives an output its name",
    ):
        assert said in notes[1]
    np.testing.assert_allclose(net.predict(net.samples)[0], before, atol=1e-5)


def test_a_wrong_fold_is_named(generation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a kernel folded wrongly, the layer would be named."""
    keras = import_keras(generation)
    real = fuse_keras.pairs

    def wrong(net: Any) -> Any:
        found, left = real(net)
        return [*found[:1], Pair(**{**vars(found[1]), "epsilon": 0.5}), *found[2:]], left

    monkeypatch.setattr(fuse_keras, "pairs", wrong)
    net = sampled(net_of(keras, mixed(keras)), 2, 8, 8, 3)
    with pytest.raises(ConversionError, match="base/conv with base/norm is the first that differs"):
        Fuse().apply(net, None)


def test_nothing_to_fold_is_an_error(generation: str) -> None:
    keras = import_keras(generation)
    net = net_of(keras, keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4)]))
    with pytest.raises(UsageError, match="no batch norm to fold"):
        Fuse().apply(net, None)
