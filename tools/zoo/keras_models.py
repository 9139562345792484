"""The zoo in Keras: every function makes a model, without downloads. See torch_models.py.

The image networks of `keras.applications` are taken as they are there, without weights; what their
residual blocks add begins small, as there.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from tools.zoo.samples import like

CLASSES = 1000
SEED = 0
ADDED = 0.2  # see torch_models.py


def _settled(model: Any, *shapes: tuple[int, ...]) -> Any:
    """`model` with the statistics of its batch normalization settled on random inputs."""
    norms = [
        layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)
    ]
    for norm in norms:
        norm.momentum = 0.0
    if norms:
        batches = [like(16, shape, seed=SEED, first=False) for shape in shapes]
        model(batches if len(batches) > 1 else batches[0], training=True)
    for norm in norms:
        norm.momentum = 0.99
    return model


def _input(*shape: int | None, name: str = "image", **more: Any) -> Any:
    keras.utils.set_random_seed(SEED)
    return keras.Input(shape, name=name, **more)


def mlp() -> Any:
    x = features = _input(64, name="features")
    for _ in range(2):
        x = layers.Dense(128, activation="relu")(x)
    return keras.Model(features, layers.Dense(10, name="logits")(x))


def lenet() -> Any:
    x = image = _input(28, 28, 1)
    x = layers.AveragePooling2D(2)(layers.Conv2D(6, 5, padding="same", activation="relu")(x))
    x = layers.AveragePooling2D(2)(layers.Conv2D(16, 5, activation="relu")(x))
    x = layers.Flatten()(x)
    for width in (120, 84):
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(image, layers.Dense(10, name="logits")(x))


def _application(name: str, **more: Any) -> Any:
    keras.utils.set_random_seed(SEED)
    make = getattr(keras.applications, name)
    model = make(weights=None, classifier_activation=None, input_shape=(224, 224, 3), **more)
    names = {layer.name for layer in model.layers}
    for layer in model.layers:
        block, last, _ = layer.name.lower().partition("project_bn")
        if last and f"{block}add" in names:
            layer.gamma.assign(keras.ops.full_like(layer.gamma, ADDED))
    return _settled(model, (224, 224, 3))


def mobilenet_v2() -> Any:
    return _application("MobileNetV2")


def mobilenet_v3() -> Any:
    return _application("MobileNetV3Small", include_preprocessing=False)


def efficientnet_b0() -> Any:
    return _application("EfficientNetB0")


def _conv(
    x: Any, filters: int, kernel: int, strides: int = 1, act: str | None = "relu", gain: float = 1
) -> Any:
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(gamma_initializer=keras.initializers.Constant(gain))(x)
    return layers.Activation(act)(x) if act else x


def resnet18() -> Any:
    image = _input(224, 224, 3)
    x = layers.MaxPooling2D(3, 2, padding="same")(_conv(image, 64, 7, 2))
    for filters, strides in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (strides, 1):
            short = x
            if stride != 1 or short.shape[-1] != filters:
                short = _conv(short, filters, 1, stride, act=None)
            inner = _conv(_conv(x, filters, 3, stride), filters, 3, act=None, gain=ADDED)
            x = layers.Activation("relu")(layers.Add()([short, inner]))
    x = layers.GlobalAveragePooling2D()(x)
    return _settled(keras.Model(image, layers.Dense(CLASSES, name="logits")(x)), (224, 224, 3))


def unet() -> Any:
    image = _input(128, 128, 3)
    one = _conv(_conv(image, 16, 3), 16, 3)
    two = _conv(_conv(layers.MaxPooling2D(2)(one), 32, 3), 32, 3)
    x = _conv(_conv(layers.MaxPooling2D(2)(two), 64, 3), 64, 3)
    x = layers.Concatenate()([layers.Conv2DTranspose(32, 2, 2)(x), two])
    x = _conv(_conv(x, 32, 3), 32, 3)
    x = layers.Concatenate()([layers.Conv2DTranspose(16, 2, 2)(x), one])
    x = _conv(_conv(x, 16, 3), 16, 3)
    return _settled(keras.Model(image, layers.Conv2D(2, 1, name="mask")(x)), (128, 128, 3))


def detector() -> Any:
    side, kinds = 160, 20
    x = image = _input(side, side, 3)
    for filters in (16, 32, 64):
        x = _conv(x, filters, 3, 2, "silu")
    found = []
    for features in (x, _conv(x, 128, 3, 2, "silu")):
        cells = features.shape[1] * features.shape[2]
        boxes = layers.Reshape((cells, 4))(layers.Conv2D(4, 1, activation="sigmoid")(features))
        scores = layers.Conv2D(kinds, 1, activation="sigmoid")(features)
        pixels = layers.Rescaling(float(side))(boxes)
        found.append(layers.Concatenate()([pixels, layers.Reshape((cells, kinds))(scores)]))
    found_all = layers.Concatenate(axis=1, name="boxes_and_scores")(found)
    return _settled(keras.Model(image, found_all), (side, side, 3))


def _recurrent(kind: Any) -> Any:
    sequence = _input(20, 16, name="sequence")
    return keras.Model(sequence, layers.Dense(10, name="logits")(kind(32, unroll=True)(sequence)))


def lstm() -> Any:
    """Unrolled: the loop of a rolled one has no INT8 in TFLite."""
    return _recurrent(layers.LSTM)


def gru() -> Any:
    return _recurrent(layers.GRU)


def ds_cnn() -> Any:
    def normalized(y: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization()(y))

    sound = _input(100, 40, name="sound")
    x = normalized(layers.Conv1D(64, 5, 2, padding="same", use_bias=False)(sound))
    for strides in (1, 2, 1, 1):
        x = normalized(layers.DepthwiseConv1D(3, strides, padding="same", use_bias=False)(x))
        x = normalized(layers.Conv1D(64, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling1D()(x)
    return _settled(keras.Model(sound, layers.Dense(12, name="logits")(x)), (100, 40))


def _attention(x: Any, heads: int, inner: int) -> Any:
    width = x.shape[-1]
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads)(y, y)])
    y = layers.Dense(inner, activation="gelu")(layers.LayerNormalization(epsilon=1e-5)(x))
    return layers.Add()([x, layers.Dense(width)(y)])


@keras.saving.register_keras_serializable("edgekit_zoo")
class Places(layers.Layer):
    """Adds a trained vector to each place of a sequence."""

    def build(self, shape: Any) -> None:
        self.places = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return x + self.places


@keras.saving.register_keras_serializable("edgekit_zoo")
class ClassToken(layers.Layer):
    """Puts a trained vector in front of a sequence."""

    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="random_normal")

    def call(self, x: Any) -> Any:
        count = keras.ops.shape(x)[0]
        return keras.ops.concatenate([keras.ops.repeat(self.token, count, axis=0), x], axis=1)


def transformer() -> Any:
    ids = _input(32, name="ids", dtype="int32")
    x = Places()(layers.Embedding(100, 64)(ids))
    for _ in range(2):
        x = _attention(x, 4, 128)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, layers.Dense(10, name="logits")(x))


def vit_tiny() -> Any:
    image = _input(224, 224, 3)
    x = layers.Reshape((196, 192))(layers.Conv2D(192, 16, 16)(image))
    x = Places()(ClassToken()(x))
    for _ in range(12):
        x = _attention(x, 3, 768)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    return keras.Model(image, layers.Dense(CLASSES, name="logits")(x[:, 0]))


def multi_input() -> Any:
    image, facts = _input(32, 32, 3), keras.Input((6,), name="facts")
    x = layers.GlobalAveragePooling2D()(_conv(_conv(image, 8, 3, 2), 16, 3, 2))
    x = layers.Concatenate()([x, layers.Dense(16, activation="relu")(facts)])
    outputs = {"kind": layers.Dense(5)(x), "value": layers.Dense(1)(x)}
    model = keras.Model({"image": image, "facts": facts}, outputs)
    shapes = {"image": (32, 32, 3), "facts": (6,)}
    batch = {name: like(8, shape, seed=SEED, first=False) for name, shape in shapes.items()}
    model(batch, training=True)
    return model


MODELS = (
    "mlp", "lenet", "mobilenet_v2", "mobilenet_v3", "resnet18", "efficientnet_b0", "unet",
    "detector", "lstm", "gru", "ds_cnn", "transformer", "vit_tiny", "multi_input",
)  # fmt: skip
