"""Tiny Keras models, saved in every form, for the tests of sources and exporters.

They are made in a process of their own (``python -m tests.keras_zoo FOLDER keras3|keras2``), so a
test that only looks at files never imports TensorFlow. One set serves all workers of a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


def zoo_for(tmp_path_factory: pytest.TempPathFactory, generation: str) -> Path:
    """The folder of saved models; made by whichever test process comes first."""
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent
    folder = root / f"zoo-{generation}"
    with FileLock(root / f"zoo-{generation}.lock"):
        if not (folder / "done").exists():
            subprocess.run(
                [sys.executable, "-m", "tests.keras_zoo", str(folder), generation],
                check=True,
                cwd=Path(__file__).parent.parent,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            (folder / "done").touch()
    return folder


# ------------------------------------------------------------- the rest runs in that process


def _models(keras: Any) -> dict[str, Any]:
    layers, Input, Model = keras.layers, keras.layers.Input, keras.Model
    alpha, beta = Input((4,), name="alpha"), Input((4,), name="beta")
    zeta, gamma = Input((4,), name="zeta"), Input((4,), name="gamma")
    image = Input((8, 8, 1), name="image")
    inner = keras.Sequential(
        [Input((8, 8, 1)), layers.Conv2D(8, 3, activation="relu", name="conv"), layers.Flatten()],
        name="base",
    )
    open_image = Input((None, None, 3), name="image")
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(open_image))
    rgb = Input((8, 6, 3), name="image")
    sides = [layers.Conv2D(8, size, padding="same", name=f"conv{size}")(rgb) for size in (1, 3)]
    away = keras.initializers.RandomUniform(0.5, 1.5)
    scaled = layers.BatchNormalization(
        name="norm", beta_initializer=away, gamma_initializer=away,
        moving_mean_initializer=away, moving_variance_initializer=away,
    )(layers.Add(name="add")(sides))  # fmt: skip
    fixed = Input(batch_shape=(4, 3), name="four")
    return {
        "cnn": keras.Sequential(
            [
                Input((8, 8, 1), name="image"),
                layers.Conv2D(16, 3, activation="relu", name="first"),
                layers.DepthwiseConv2D(3, activation="relu", name="second"),
                layers.Flatten(),
                layers.Dense(10, name="scores"),
            ]
        ),
        # The same shapes on purpose: only names tell the two inputs and the two outputs apart.
        "dict": Model(
            {"beta": beta, "alpha": alpha},
            {
                "total": layers.Dense(3, name="a")(layers.Add()([alpha, beta])),
                "delta": layers.Dense(3, name="b")(layers.Subtract()([alpha, beta])),
            },
        ),
        "list": Model(
            [zeta, gamma],
            [layers.Subtract(name="z")([zeta, gamma]), layers.Add(name="a")([zeta, gamma])],
        ),
        "nested": Model(image, layers.Dense(3, activation="softmax", name="head")(inner(image))),
        "lstm": keras.Sequential(
            [Input((8, 8), name="rows"), layers.LSTM(8), layers.Dense(4, name="out")]
        ),
        "unrolled": keras.Sequential(
            [Input((4, 8), name="rows"), layers.LSTM(8, unroll=True), layers.Dense(4, name="out")]
        ),
        "residual": Model(rgb, layers.ReLU(name="relu")(scaled)),
        "open": Model(open_image, layers.Dense(3, name="scores")(pooled)),
        "batch4": Model(fixed, layers.Dense(2)(fixed)),
        "no_weights": Model(alpha, layers.ReLU(name="relu")(alpha)),
    }


def _untrusted(keras: Any) -> dict[str, Any]:
    layers = keras.layers
    register = keras.saving.register_keras_serializable(package="mine")

    @register
    class Doubled(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    class Plain(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    def tripled(x: Any) -> Any:
        return x * 3

    def around(layer: Any) -> Any:
        return keras.Sequential([layers.Input((4,)), layer, layers.Dense(2)])

    return {
        "lambda": around(layers.Lambda(lambda x: x + 1, name="plus_one")),
        "lambda_inside": around(around(layers.Lambda(lambda x: x + 1, name="hidden"))),
        "registered": around(Doubled(name="doubled")),
        "unregistered": around(Plain(name="plain")),
        "function": around(layers.Activation(tripled, name="tripled")),
    }


def _saved_models(folder: Path) -> None:
    import numpy as np
    import tensorflow as tf

    class Computed(tf.Module):  # type: ignore[misc]
        def __init__(self, function: Any) -> None:
            super().__init__()
            self.function = tf.function(
                function, input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")]
            )

    def with_python(x: Any) -> Any:
        answer = tf.numpy_function(lambda value: np.asarray(value * 2), [x], tf.float32)
        return {"y": tf.ensure_shape(answer, (None, 4))}

    def with_file(x: Any) -> Any:
        size = tf.strings.length(tf.io.read_file("/etc/hostname"))
        return {"y": x + tf.cast(size, tf.float32)}

    def unsupported(x: Any) -> Any:
        return {"y": tf.raw_ops.Erfinv(x=x)}

    for name, function in (
        ("python", with_python),
        ("file", with_file),
        ("unsupported", unsupported),
    ):
        module = Computed(function)
        tf.saved_model.save(
            module, str(folder / name), signatures={"serving_default": module.function}
        )
    unnamed = Computed(lambda x: {"y": x * 2})
    tf.saved_model.save(
        unnamed, str(folder / "no_signature"), signatures={"other": unnamed.function}
    )


def main(folder: Path, generation: str) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if generation == "keras2":
        import tf_keras as keras
    else:
        import keras
    keras.utils.set_random_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in {**_models(keras), **_untrusted(keras)}.items():
        for suffix in ("keras", "h5"):
            model.save(folder / f"{name}.{suffix}")
        if name in ("cnn", "dict", "lstm"):
            (model.export if generation == "keras3" else model.save)(str(folder / name))
    _models(keras)["cnn"].save_weights(folder / "only.weights.h5")
    if generation == "keras3":
        _saved_models(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
