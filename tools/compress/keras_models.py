"""The benchmark's models in Keras: class probabilities of 28×28 gray images. See torch_models.py.

`build(name, classes)` gives a functional model with fresh weights. `kit` is the package that it is
made of: `keras`, or `tf_keras` for TF-MOT, which knows no other.
"""

from __future__ import annotations

from typing import Any

from tools.compress.data import SIDE

SEED = 0
DS_BLOCKS = ((64, 1), (128, 2), (128, 1), (128, 1))  # channels, stride


def _normalized(kit: Any, x: Any, act: bool = True) -> Any:
    # The usual momentum of 0.99 needs more steps than a short training has.
    x = kit.layers.BatchNormalization(momentum=0.9)(x)
    return kit.layers.ReLU()(x) if act else x


def _conv(kit: Any, x: Any, filters: int, kernel: int, strides: int = 1, act: bool = True) -> Any:
    x = kit.layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return _normalized(kit, x, act)


def _classes(kit: Any, x: Any, classes: int) -> Any:
    return kit.layers.Dense(classes, activation="softmax")(x)


def lenet(kit: Any, image: Any, classes: int) -> Any:
    x = kit.layers.MaxPooling2D(2)(kit.layers.Conv2D(20, 5, activation="relu")(image))
    x = kit.layers.MaxPooling2D(2)(kit.layers.Conv2D(50, 5, activation="relu")(x))
    x = kit.layers.Dense(500, activation="relu")(kit.layers.Flatten()(x))
    return _classes(kit, x, classes)


def ds_cnn(kit: Any, image: Any, classes: int) -> Any:
    x = _conv(kit, image, 64, 3, 2)
    for channels, strides in DS_BLOCKS:
        x = kit.layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
        x = _conv(kit, _normalized(kit, x), channels, 1)
    return _classes(kit, kit.layers.GlobalAveragePooling2D()(x), classes)


def resnet(kit: Any, image: Any, classes: int, width: int = 16) -> Any:
    x = _conv(kit, image, width, 3)
    for channels, strides in ((width, 1), (2 * width, 2), (4 * width, 2)):
        short = x
        if strides != 1:
            short = kit.layers.Conv2D(channels, 1, strides, padding="same")(x)
        x = _conv(kit, _conv(kit, x, channels, 3, strides), channels, 3, act=False)
        x = kit.layers.ReLU()(kit.layers.Add()([x, short]))
    return _classes(kit, kit.layers.GlobalAveragePooling2D()(x), classes)


def resnet_wide(kit: Any, image: Any, classes: int) -> Any:
    return resnet(kit, image, classes, 40)


MODELS = {"lenet": lenet, "ds_cnn": ds_cnn, "resnet": resnet, "resnet_wide": resnet_wide}


def build(name: str, classes: int, kit: Any = None) -> Any:
    if kit is None:
        import keras as kit
    kit.utils.set_random_seed(SEED)
    image = kit.Input((SIDE, SIDE, 1), name="image")
    return kit.Model(image, MODELS[name](kit, image, classes), name=name)
