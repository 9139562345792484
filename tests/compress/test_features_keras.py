"""A teacher's features in Keras, of both generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgekit.compress.keras_graph import exposed
from edgekit.compress.net import open_net
from tests.compress.features_suite import FeaturesSuite
from tests.compress.keras_models import GENERATIONS, import_keras, mixed, net_of, opened

pytestmark = pytest.mark.slow


@pytest.fixture(params=GENERATIONS)
def keras(request: pytest.FixtureRequest) -> Any:
    return import_keras(request.param)


class TestFeatures(FeaturesSuite):
    shape = (8, 8, 3)
    layers = ("stem", "base/norm")
    near = "base/norm"
    cut: ClassVar = {"rank": 4, "layers": ["twice", "base/conv"]}

    @pytest.fixture
    def student(self, keras: Any) -> Any:
        return net_of(keras, mixed(keras))

    @pytest.fixture
    def teacher(self, keras: Any) -> Any:
        net = net_of(keras, mixed(keras))
        for variable in net.model.weights:
            variable.assign(np.asarray(variable) * 1.1 + 0.01)
        return net

    @pytest.fixture
    def narrow(self, keras: Any) -> Any:
        image = keras.layers.Input((8, 8, 3))
        return net_of(keras, keras.Model(image, keras.layers.Conv2D(4, 3, name="stem")(image)))

    def test_a_pass_trains_with_them(self, keras: Any, tmp_path: Path) -> None:
        opener, origin, _ = opened(keras, mixed(keras), tmp_path / "model.keras")
        result = self.one_pass(tmp_path, opener, origin, origin)
        assert result["history"]["epochs"] == 2
        made = origin.from_json(result["model"])
        path = str(tmp_path / "out" / made.path)
        net = open_net(opener, origin, made.model_copy(update={"path": path}))
        assert {"twice_narrow", "base/conv_narrow"} <= {path for path, _ in net.layers()}

    @pytest.mark.parametrize("training", [True, False])
    def test_a_model_that_is_looked_into_computes_the_same(
        self, keras: Any, training: bool
    ) -> None:
        """An inner model hands on the ``training`` it was called with, as far as Keras does."""
        make = keras.layers
        norm = make.BatchNormalization(name="norm", moving_mean_initializer="ones")
        inner = keras.Sequential([make.Input((4,)), norm], name="inner")
        given = make.Input((4,))
        model = keras.Model(given, inner(given, training=False))
        x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
        for answer in exposed(keras, model, ["inner/norm"])(x, training=training):
            np.testing.assert_allclose(answer, model(x, training=training), atol=1e-6)
