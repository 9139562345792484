"""Nets of small Keras models, of Keras 3 and tf_keras alike, and their way through a file."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgekit.compress.net import Net, open_net
from edgekit.core.model import Model, ModelOptions
from edgekit.sources import SOURCES

GENERATIONS = ("keras", "tf_keras")


def opened(keras: Any, model: Any, path: Path) -> tuple[str, Model, Any]:
    """The opener, the handle and the net of a model that is saved as `path`."""
    model.save(path)
    source = SOURCES["keras"]()
    origin = source.open(str(path), ModelOptions())
    assert {"keras3": "keras", "keras2": "tf_keras"}[origin.kind] == keras.__name__
    opener = source.opener(origin)
    return opener, origin, open_net(opener, origin, origin)


def reopened(net: Net, opener: str, origin: Model, folder: Path) -> Any:
    """The net as the next step finds it."""
    folder.mkdir()
    made = net.live.save(folder)
    return open_net(opener, origin, made.model_copy(update={"path": str(folder / made.path)}))


def net_of(keras: Any, model: Any) -> Any:
    """A `KerasNet` of a model that is in no file."""
    from edgekit.compress.keras_net import KerasNet

    live = SimpleNamespace(module=model, keras=keras, edits=[])

    def call(inputs: Any, training: bool) -> list[Any]:
        import tensorflow as tf

        packed = inputs[0] if len(inputs) == 1 else list(inputs)
        return list(tf.nest.flatten(live.module(packed, training=training)))

    live.call = call
    return KerasNet(live)


def import_keras(name: str) -> Any:
    """Keras 3 or tf_keras, seeded."""
    keras = importlib.import_module(name)
    keras.utils.set_random_seed(0)
    return keras


def mixed(keras: Any) -> Any:
    """8×8×3 → two outputs: a nested model, one layer used twice, branches, batch norms."""
    layers = keras.layers
    away = keras.initializers.RandomUniform(0.5, 1.5, seed=1)

    def norm(name: str) -> Any:
        return layers.BatchNormalization(
            name=name, beta_initializer=away, gamma_initializer=away,
            moving_mean_initializer=away, moving_variance_initializer=away,
        )  # fmt: skip

    inner = keras.Sequential(
        [
            layers.Input((8, 8, 8), name="inner_input"),
            layers.Conv2D(16, 3, padding="same", name="conv"),
            norm("norm"),
            layers.ReLU(name="act"),
        ],
        name="base",
    )
    image = layers.Input((8, 8, 3), name="image")
    x = norm("stem_norm")(layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image))
    twice = layers.Conv2D(8, 3, padding="same", activation="relu", name="twice")
    x = layers.Add(name="sum")([x, twice(twice(x))]) * 0.5 + 0.1  # no layers of the user's
    x = inner(x)
    x = norm("depth_norm")(layers.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(x))
    x = norm("back_norm")(layers.Conv2DTranspose(12, 2, strides=2, name="back")(x))
    x = norm("apart_norm")(layers.SeparableConv2D(10, 3, name="apart")(x))
    x = layers.Dropout(0.3, name="drop")(layers.GlobalAveragePooling2D(name="pool")(x))
    x = norm("hidden_norm")(layers.Dense(24, name="hidden")(x))
    scores = layers.Dense(5, activation="softmax", name="scores")(layers.ReLU(name="last")(x))
    return keras.Model(image, {"scores": scores, "vector": norm("vector")(x)}, name="mixed")
