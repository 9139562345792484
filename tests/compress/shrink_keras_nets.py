"""Keras graphs to shrink, of Keras 3 and tf_keras alike, built at random or one by one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

GENERATIONS = ("keras", "tf_keras")
SIDE = 6


def import_keras(generation: str) -> Any:
    return importlib.import_module(generation)


def net_of(keras: Any, model: Any) -> Any:
    """A `KerasNet` of a model that is in no file."""
    import tensorflow as tf

    from edgekit.compress.keras_net import KerasNet
    from edgekit.sources.keras_live import input_struct

    live = SimpleNamespace(module=model, keras=keras, edits=[])

    def call(inputs: Sequence[Any], *, training: bool) -> list[Any]:
        packed = tf.nest.pack_sequence_as(input_struct(live.module), list(inputs))
        return list(tf.nest.flatten(live.module(packed, training=training)))

    live.call = call
    return KerasNet(live)


def stirred(model: Any, seed: int = 0) -> Any:
    """With weights that leave nothing at zero or one, averages of norms positive."""
    draw = np.random.default_rng(seed)
    for variable in model.weights:
        if np.issubdtype(np.array(variable).dtype, np.floating):
            variable.assign(draw.uniform(0.1, 0.6, variable.shape) * draw.choice([-1, 1]))
            if "variance" in variable.name:
                variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


# Each takes (keras, tensor of rank 4, a number to choose by) and gives one of rank 4, of the same
# side; the numbers of channels differ.
def _excited(keras: Any, x: Any, n: int) -> Any:
    layers = keras.layers
    g = layers.GlobalAveragePooling2D(keepdims=n % 2 == 0)(x)
    if n % 2:
        g = layers.Dense(4, "relu")(g)
        g = layers.Reshape((1, 1, x.shape[-1]))(layers.Dense(x.shape[-1], "sigmoid")(g))
    else:
        g = layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(g)
    return layers.Multiply()([x, g])


def _residual(keras: Any, x: Any, n: int) -> Any:
    y = keras.layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu")(x)
    return keras.layers.Add()([y, x]) if n % 2 else x + y


def _branches(keras: Any, x: Any, n: int) -> Any:
    y = keras.layers.Conv2D(2 + n % 3, 1, activation="tanh")(x)
    return keras.layers.Concatenate()([x, y, x] if n % 2 else [y, x])


def _twice(keras: Any, x: Any, n: int) -> Any:
    layer = keras.layers.Conv2D(x.shape[-1], 3, padding="same")
    return layer(keras.layers.ReLU()(layer(x)))


def _turned(keras: Any, x: Any, n: int) -> Any:
    y = keras.layers.Permute((3, 1, 2))(x)
    return keras.layers.Permute((2, 3, 1))(y)


def _grouped(keras: Any, x: Any, n: int) -> Any:
    y = keras.layers.Conv2D(4, 1)(x)
    return keras.layers.Conv2D(4, 1, groups=2)(y)


def _rows(keras: Any, x: Any, n: int) -> Any:
    y = keras.layers.Reshape((SIDE * SIDE, x.shape[-1]))(x)
    y = keras.layers.Conv1D(5, 3, padding="same", activation="elu")(y)
    return keras.layers.Reshape((SIDE, SIDE, 5))(y)


def _softmaxed(keras: Any, x: Any, n: int) -> Any:
    return (
        keras.layers.Softmax()(x) if n % 2 else keras.layers.Conv2D(3, 1, activation="softmax")(x)
    )


def _inner(keras: Any, x: Any, n: int) -> Any:
    given = keras.layers.Input(tuple(x.shape[1:]))
    y = keras.layers.Conv2D(6, 1, activation="relu")(given)
    return keras.Model(given, keras.layers.Conv2D(5, 1)(y))(x)


BLOCKS: dict[str, Any] = {
    "conv": lambda k, x, n: k.layers.Conv2D(4 + n % 5, 3, padding="same", use_bias=n % 2 == 0)(x),
    "transposed": lambda k, x, n: k.layers.Conv2DTranspose(4 + n % 3, 3, padding="same")(x),
    "depthwise": lambda k, x, n: k.layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=1 + n % 2
    )(x),
    "separable": lambda k, x, n: k.layers.SeparableConv2D(
        5, 3, padding="same", depth_multiplier=1 + n % 2, activation="relu"
    )(x),
    "norm": lambda k, x, n: k.layers.BatchNormalization(scale=n % 2 == 0)(x),
    "prelu": lambda k, x, n: k.layers.PReLU(shared_axes=[1, 2] if n % 2 else None)(x),
    "leaky": lambda k, x, n: k.layers.LeakyReLU()(x),
    "dropout": lambda k, x, n: k.layers.Dropout(0.2)(x),
    "pool": lambda k, x, n: k.layers.MaxPooling2D(3, strides=1, padding="same")(x),
    "pad": lambda k, x, n: k.layers.Cropping2D(1)(k.layers.ZeroPadding2D(1)(x)),
    "residual": _residual,
    "excited": _excited,
    "branches": _branches,
    "twice": _twice,
    "turned": _turned,
    "grouped": _grouped,
    "rows": _rows,
    "softmax": _softmaxed,
    "lambda": lambda k, x, n: k.layers.Lambda(lambda t: t * 2)(x),
    "inner": _inner,
    "half": lambda k, x, n: x * 0.5,
}
ENDS: dict[str, Any] = {
    "flat": lambda k, x: k.layers.Flatten()(x),
    "pooled": lambda k, x: k.layers.GlobalMaxPooling2D()(x),
    "reshaped": lambda k, x: k.layers.Reshape((-1,))(x),
    "lstm": lambda k, x: k.layers.LSTM(3)(k.layers.Reshape((-1, x.shape[-1]))(x)),
    "both ways": lambda k, x: k.layers.Bidirectional(k.layers.GRU(3))(
        k.layers.Reshape((-1, x.shape[-1]))(x)
    ),
}


def network(keras: Any, blocks: Sequence[tuple[str, int]], end: str, seed: int) -> Any:
    """image 6×6×3 → scores 5, and one of the last feature map."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    given = keras.layers.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(given)
    for name, number in blocks:
        x = BLOCKS[name](keras, x, number)
    y = keras.layers.Dense(6, "relu")(ENDS[end](keras, x))
    outputs = {
        "scores": keras.layers.Dense(5, name="scores")(y),
        "map": keras.layers.Conv2D(2, 1, name="map")(x),
    }
    return stirred(keras.Model(given, outputs), seed)
