"""Tiny TFLite files, one for each operator with its attributes, and of a few Keras models.

Made in a process of their own (``python -m tests.export.translate.tflite_files FOLDER``), since
TensorFlow and torch never share one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

IMAGE = (1, 7, 8, 4)


def functions(tf: Any) -> dict[str, tuple[Any, list[tuple[int, ...]]]]:
    """By name: a function, and the shapes of its inputs."""
    import numpy as np

    rng = np.random.default_rng(0)

    def w(*shape: int) -> Any:
        return tf.constant(rng.normal(size=shape).astype(np.float32))

    nn, raw, image = tf.nn, tf.raw_ops, tf.image
    one: dict[str, Any] = {
        "conv_same_2": lambda x: nn.relu(nn.conv2d(x, w(3, 3, 4, 5), 2, "SAME") + w(5)),
        "conv_valid": lambda x: nn.relu6(nn.conv2d(x, w(2, 3, 4, 5), (1, 2, 1, 1), "VALID")),
        "conv_even": lambda x: nn.conv2d(x, w(2, 4, 4, 5), 1, "SAME"),
        "conv_dilated": lambda x: nn.conv2d(x, w(3, 3, 4, 5), 1, "SAME", dilations=2),
        "conv_groups": lambda x: nn.conv2d(x, w(3, 3, 2, 6), 1, "SAME"),
        "conv_padded": lambda x: nn.conv2d(
            tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]]), w(3, 3, 4, 2), 1, "VALID"
        ),
        "conv_padded_one_side": lambda x: nn.conv2d(
            tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]), w(3, 3, 4, 2), 2, "VALID"
        ),
        "depthwise": lambda x: nn.depthwise_conv2d(x, w(3, 3, 4, 2), (1, 2, 2, 1), "SAME"),
        "transposed_same": lambda x: nn.conv2d_transpose(
            x, w(3, 3, 5, 4), (1, 14, 16, 5), 2, "SAME"
        ) + w(5),
        "transposed_valid": lambda x: nn.conv2d_transpose(
            x, w(3, 2, 5, 4), (1, 15, 24, 5), (2, 3), "VALID"
        ),
        "transposed_large": lambda x: nn.conv2d_transpose(
            x, w(5, 5, 5, 4), (1, 13, 16, 5), 2, "SAME"
        ),
        "max_pool": lambda x: nn.max_pool2d(x, 3, 2, "SAME"),
        "average_pool": lambda x: nn.avg_pool2d(x, 3, 2, "SAME"),
        "average_pool_valid": lambda x: nn.avg_pool2d(x, (2, 3), 1, "VALID"),
        "average_pool_even": lambda x: nn.avg_pool2d(x, 3, 1, "SAME"),
        "bilinear_half": lambda x: image.resize(x, (13, 11)),
        "bilinear_corners": lambda x: raw.ResizeBilinear(
            images=x, size=(13, 5), align_corners=True
        ),
        "bilinear_legacy": lambda x: raw.ResizeBilinear(images=x, size=(13, 5)),
        "nearest_half": lambda x: image.resize(x, (13, 11), "nearest"),
        "nearest_corners": lambda x: raw.ResizeNearestNeighbor(
            images=x, size=(13, 5), align_corners=True
        ),
        "nearest_legacy": lambda x: raw.ResizeNearestNeighbor(images=x, size=(14, 5)),
        "depth_to_space": lambda x: nn.depth_to_space(x, 2),
        "space_to_depth": lambda x: nn.space_to_depth(x[:, :6], 2),
        "space_to_batch": lambda x: tf.space_to_batch(x, [2, 3], [[1, 0], [0, 1]]),
        "batch_to_space": lambda x: tf.batch_to_space(
            tf.reshape(x, (4, 7, 2, 4)), [2, 2], [[1, 0], [0, 1]]
        ),
        "mean_space": lambda x: tf.reduce_mean(x, (1, 2)),
        "mean_keep": lambda x: tf.reduce_mean(x, (1, 2), keepdims=True) * x,
        "sum_channels": lambda x: tf.reduce_sum(x, -1),
        "max_width": lambda x: tf.reduce_max(x, 2),
        "min_all": lambda x: tf.reduce_min(x),
        "prod": lambda x: tf.reduce_prod(x, 1),
        "any": lambda x: tf.reduce_any(x > 1, 3),
        "argmax": lambda x: tf.argmax(x, -1, tf.int32),
        "argmin": lambda x: tf.argmin(x, 1),
        "top": lambda x: nn.top_k(x, 2)[0],
        "cumsum": lambda x: tf.cumsum(x, 2, reverse=True),
        "pad_value": lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [1, 0]], constant_values=2.5),
        "pad_reflect": lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 1]], "REFLECT"),
        "pad_symmetric": lambda x: tf.pad(x, [[0, 0], [1, 2], [3, 0], [0, 1]], "SYMMETRIC"),
        "strided": lambda x: x[:, 5:1:-2, ::3, 1:],
        "strided_drop": lambda x: x[0, ..., 1],
        "strided_new": lambda x: x[:, tf.newaxis, 2],
        "slice": lambda x: tf.slice(x, (0, 1, 2, 1), (1, 4, -1, 2)),
        "split": lambda x: tf.concat(tf.split(x, 2, -1)[::-1], 1),
        "split_sizes": lambda x: tf.concat(tf.split(x, (1, 5, 1), 1)[1:], 1),
        "pack": lambda x: tf.stack([x, x * 2], 2),
        "unpack": lambda x: tf.unstack(x, axis=2)[1],
        "reshape": lambda x: tf.reshape(x, (1, 14, -1)),
        "squeeze": lambda x: tf.squeeze(x[:, :1]),
        "expand": lambda x: tf.expand_dims(x, -1) * w(3),
        "transpose": lambda x: tf.transpose(x, (0, 3, 1, 2)) * w(7, 1),
        "tile": lambda x: tf.tile(x, (1, 2, 1, 3)),
        "broadcast": lambda x: tf.broadcast_to(x[:, :1], IMAGE),
        "gather": lambda x: tf.gather(x, (0, 3, 2), axis=1),
        "gather_nd": lambda x: tf.gather_nd(x, [[0, 1], [0, 6]]),
        "reverse": lambda x: tf.reverse(x, (1, 2)),
        "softmax": lambda x: nn.softmax(x * 1.5),
        "log_softmax": nn.log_softmax,
        "prelu": lambda x: nn.relu(x) - w(4) * nn.relu(-x),
        "leaky": lambda x: nn.leaky_relu(x, 0.3),
        "elu": nn.elu,
        "gelu": lambda x: nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
        "hard_swish": lambda x: x * nn.relu6(x + 3) / 6,
        "relu_n1": lambda x: tf.maximum(-1.0, tf.minimum(x, 1.0)),
        "limits": lambda x: tf.maximum(tf.minimum(x, w(4)), -0.2),
        "l2": lambda x: nn.l2_normalize(x, -1),
        "arithmetic": lambda x: (x + w(4)) * (x - 2.0) / (tf.abs(x) + 1.0) - w(1, 7, 8, 1),
        "power": lambda x: tf.pow(tf.abs(x) + 0.1, 1.7) + tf.square(x),
        "roots": lambda x: tf.sqrt(tf.abs(x)) + tf.math.rsqrt(tf.abs(x) + 1.0),
        "logs": lambda x: tf.exp(-x) + tf.math.log(tf.abs(x) + 1.0),
        "rounded": lambda x: tf.floor(x) + tf.math.ceil(x) + tf.round(x * 3),
        "waves": lambda x: tf.sin(x) * tf.cos(x) + tf.sign(x),
        "compared": lambda x: tf.where((x > 0.5) | ~(x <= 0.0), x, -x),
        "whole": lambda x: (tf.cast(x * 9, tf.int32) // 4) + tf.cast(x * 9, tf.int32) % 3,
        "difference": lambda x: tf.math.squared_difference(x, w(4)),
        "one_hot": lambda x: tf.one_hot(tf.argmax(x, -1), 5, 2.0, -1.0),
        "embedding": lambda x: nn.embedding_lookup(w(7, 3), tf.argmax(x, 1, tf.int32)),
        "filled": lambda x: tf.concat([x, tf.fill((1, 7, 8, 2), 3.0)], -1),
        "loop": lambda x: tf.while_loop(
            lambda at, y: at < 3, lambda at, y: (at + 1, nn.relu(y * 0.5 + x)), (0, x)
        )[1],
        # Layout: what lies between two convolutions must not turn.
        "mixed": lambda x: nn.conv2d(
            tf.concat(
                [nn.max_pool2d(x, 1, 1, "SAME") * w(4), nn.conv2d(x, w(1, 1, 4, 3), 1, "SAME")], -1
            )
            * tf.nn.sigmoid(tf.reduce_mean(x, (1, 2, 3), keepdims=True)),
            w(3, 3, 7, 2), 1, "SAME",
        ),
        "rows_between": lambda x: tf.reshape(
            nn.conv2d(x, w(1, 1, 4, 3), 1, "SAME"), (1, 56, 3)
        ) @ w(3, 5),
        "added_rows": lambda x: nn.conv2d(x, w(3, 3, 4, 3), 1, "SAME")
        + tf.reduce_mean(x, (0, 1, 2))[:3],
        "to_torch_and_back": lambda x: tf.transpose(
            tf.transpose(nn.conv2d(x, w(3, 3, 4, 3), 1, "SAME"), (0, 3, 1, 2)) * w(3, 1, 1),
            (0, 2, 3, 1),
        ),
        "softmax_after": lambda x: nn.softmax(nn.conv2d(x, w(3, 3, 4, 3), 1, "SAME")),
        "channels_after": lambda x: tf.reduce_max(nn.conv2d(x, w(3, 3, 4, 3), 1, "SAME"), -1),
        "height_after": lambda x: tf.reduce_mean(nn.conv2d(x, w(3, 3, 4, 3), 1, "SAME"), 1),
        "slice_after": lambda x: nn.conv2d(x, w(3, 3, 4, 3), 1, "SAME")[:, 1:5:2, ::-1, 1:],
        "shape_after": lambda x: tf.concat(
            tf.split(
                tf.pad(
                    nn.conv2d(x, w(3, 3, 4, 4), 1, "SAME"), [[0, 0], [1, 0], [0, 2], [0, 1]]
                ),
                5,
                3,
            )[1:4],
            2,
        ),
    }  # fmt: skip
    made = {name: (function, [IMAGE]) for name, function in one.items()}
    made["matmul"] = (lambda a, b: tf.matmul(a, b, transpose_b=True), [(2, 3, 4), (2, 5, 4)])
    made["dense"] = (lambda x: nn.relu(tf.matmul(x, w(6, 3)) + w(3)), [(2, 6)])
    made["dense_rows"] = (lambda x: tf.tensordot(x, w(6, 3), 1) + w(3), [(1, 5, 6)])
    made["conv_3d"] = (
        lambda x: nn.conv3d(x, w(2, 3, 3, 2, 4), (1, 1, 2, 2, 1), "SAME"),
        [(1, 4, 5, 6, 2)],
    )
    made["rank_2"] = (lambda x, y: tf.maximum(x, y) - tf.minimum(x, y) ** 2, [(3, 4), (4,)])
    made.update({f"drawn_{seed}": (drawn(tf, seed), [IMAGE]) for seed in range(DRAWN)})
    return made


def drawn(tf: Any, seed: int) -> Any:
    """A chain with forks of operators that keep four dimensions, at random."""
    import numpy as np

    rng = np.random.default_rng(seed)
    nn = tf.nn

    def w(*shape: int) -> Any:
        return tf.constant(rng.normal(size=shape).astype(np.float32) * 0.5)

    def step(y: Any) -> Any:
        _, high, wide, channels = y.shape
        side, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        axis = int(rng.integers(1, 4))
        how = str(rng.choice(["SAME", "VALID"])) if min(high, wide) >= 3 else "SAME"
        small = min(high, wide) < 3
        choices = {
            "conv": lambda: nn.relu(
                nn.conv2d(y, w(side, side, channels, int(rng.integers(1, 5))), stride, how)
            ),
            "deep": lambda: nn.depthwise_conv2d(
                y, w(side, side, channels, 2), (1, stride, stride, 1), how
            ),
            "pool": lambda: nn.avg_pool2d(y, 1 if small else side, stride, "SAME"),
            "most": lambda: nn.max_pool2d(y, 1 if small else side, stride, "SAME"),
            "bend": lambda: [nn.softmax, nn.elu, nn.sigmoid, tf.tanh][axis](y),
            "gate": lambda: y * nn.sigmoid(tf.reduce_mean(y, (1, 2), keepdims=True)),
            "scale": lambda: y * w(channels) + w(high, 1, 1),
            "pad": lambda: tf.pad(y, [[0, 0], [1, 0], [0, 2], [int(axis == 1), 0]]),
            "join": lambda: tf.concat([y, y * 2.0], axis),
            "half": lambda: (
                tf.split(y, [1, y.shape[axis] - 1], axis)[1] if y.shape[axis] > 1 else -y
            ),
            "turn": lambda: tf.transpose(y, (0, 2, 1, 3)),
            "roll": lambda: tf.transpose(y, (0, 3, 1, 2)),
            "rows": lambda: tf.reshape(tf.reshape(y, (1, high * wide, channels)), y.shape),
            "fold": lambda: tf.reshape(y, (1, wide, high, channels)),
            "up": lambda: tf.image.resize(y, (high + 2, wide * 2)),
            "sum": lambda: tf.reduce_sum(y, axis, keepdims=True) - y,
            "back": lambda: tf.reverse(y, (axis,)),
        }
        return choices[str(rng.choice(sorted(choices)))]()

    def function(x: Any) -> Any:
        made = [x]
        for _ in range(int(rng.integers(3, 8))):
            made.append(step(made[int(rng.integers(len(made)))]))
        return made[-1], made[int(rng.integers(1, len(made)))] + 0.0

    return function


DRAWN = 16


def models(keras: Any) -> dict[str, Any]:
    """Of layers that Keras turns into more than one operator."""
    layers, Input, Model = keras.layers, keras.layers.Input, keras.Model

    def net(x: Any, *made: Any) -> Any:
        y = x
        for layer in made:
            y = layer(y)
        return Model(x, y)

    image = Input((32, 32, 3), name="image")
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    for at, stride in enumerate((1, 2, 1)):  # the block of MobileNetV2, with its odd paddings
        z = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(24, 1)(y)))
        if stride == 2:
            z = layers.ZeroPadding2D(((0, 1), (0, 1)))(z)
        z = layers.DepthwiseConv2D(
            3, strides=stride, padding="valid" if stride == 2 else "same", name=f"deep{at}"
        )(z)
        z = layers.BatchNormalization()(layers.Conv2D(8, 1)(layers.ReLU(6.0)(z)))
        y = layers.Add()([y, z]) if stride == 1 else z
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(y)
    squeezed = layers.Dense(8, activation="sigmoid")(layers.Dense(4, activation="relu")(squeezed))
    y = layers.GlobalAveragePooling2D()(layers.Multiply()([y, squeezed]))
    up = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    down = layers.Conv2D(8, 3, padding="same", activation="elu")(layers.MaxPool2D()(up))
    down = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(down)
    up = layers.UpSampling2D(interpolation="bilinear")(layers.Concatenate()([up, down]))
    rows = Input((12, 16))
    tokens = layers.LayerNormalization()(rows)
    tokens = layers.Add()([rows, layers.MultiHeadAttention(2, 8)(tokens, tokens)])
    return {
        "mobile": Model(image, layers.Dense(5, name="scores")(y)),
        "segment": Model(image, layers.UpSampling2D()(layers.Conv2D(2, 1)(up))),
        "attention": Model(rows, layers.Dense(4, activation="softmax")(tokens)),
        "lstm": net(Input((6, 4)), layers.LSTM(5, return_sequences=True), layers.LSTM(3)),
        "gru": net(Input((6, 4)), layers.Bidirectional(layers.GRU(5)), layers.Dense(2)),
        "words": net(
            Input((20, 6)),
            layers.Conv1D(8, 3, padding="same", activation="relu"),
            layers.SeparableConv1D(8, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.GlobalMaxPooling1D(),
        ),
    }


def main(folder: Path) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import numpy as np
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(1)
    wanted = dict(functions(tf))
    for name, model in models(keras).items():
        for weight in model.weights:  # statistics and biases that are not 0 and 1
            low = 0.5 if "variance" in weight.path else -0.5
            weight.assign(rng.uniform(low, low + 1, weight.shape))
        wanted[name] = (model, [(1, *given.shape[1:]) for given in model.inputs])
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2 as frozen,
    )

    for name, (function, shapes) in wanted.items():
        specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        concrete = tf.function(function).get_concrete_function(*specs)
        concrete = frozen(concrete, lower_control_flow=False)  # as the exporter does it
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        (folder / f"{name}.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
