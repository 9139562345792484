"""Users' functions, as `package.module:function` names them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

IMAGES = np.arange(6 * 4, dtype=np.float32).reshape(6, 2, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def array() -> Any:
    return IMAGES


def labelled() -> Any:
    return IMAGES, LABELS


def one_hot() -> Any:
    return IMAGES, np.eye(3)[LABELS]


def masked() -> Iterator[Any]:
    for start in range(0, 6, 2):
        yield IMAGES[start : start + 2], IMAGES[start : start + 2] / 8


def masked_otherwise() -> Iterator[Any]:
    yield IMAGES, IMAGES
    yield IMAGES, IMAGES[:, 0]


def named() -> Any:
    return {"a": IMAGES, "b": IMAGES[:, 0], "y": LABELS}


def batches() -> Iterator[Any]:
    for start in range(0, 6, 2):
        yield IMAGES[start : start + 2], LABELS[start : start + 2]


def as_tflite_wants_it() -> Iterator[Any]:
    for image in IMAGES:
        yield [image[None]]


def two_inputs() -> Any:
    return [IMAGES, IMAGES[:, 0]]


def endless() -> Iterator[Any]:
    while True:
        yield IMAGES


def spoiled() -> Iterator[Any]:
    yield IMAGES[:4]
    yield np.where(IMAGES[4:] == IMAGES[5, 1, 1], np.nan, IMAGES[4:])


def raises() -> Any:
    raise ZeroDivisionError("division by zero in the user's code")


def raises_later() -> Iterator[Any]:
    yield IMAGES
    raise OSError("the camera is gone")


def nothing() -> Any:
    return None


def no_batches() -> Iterator[Any]:
    yield from ()


def text() -> Any:
    return np.array(["a", "b"])


def triple() -> Any:
    return IMAGES, LABELS, LABELS


def labels_at_times() -> Iterator[Any]:
    yield IMAGES, LABELS
    yield IMAGES


def uneven() -> Any:
    return IMAGES, LABELS[:3]


def other_names() -> Iterator[Any]:
    yield {"a": IMAGES, "b": IMAGES}
    yield {"a": IMAGES, "c": IMAGES}


not_a_function = 5
