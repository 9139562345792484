"""The exact meaning of preprocessing, against a plain-Python version as an app would write it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.errors import DataError
from edgekit.core.preprocess_reference import apply, output_spec
from edgekit.core.preprocess_text import parse_preprocessing

images = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
)


def run(line: str, sample: Any) -> np.ndarray[Any, Any]:
    return apply(parse_preprocessing(line), sample)


def bilinear_pixel(image: Any, y: int, x: int, channel: int, height: int, width: int) -> int:
    """The module docstring's formula, one pixel at a time, in Python's integers."""

    def position(o: int, size: int, wanted: int) -> tuple[int, int, int]:
        p = max(((2 * o + 1) * size - wanted) * 2**11 // (2 * wanted), 0)
        return p >> 11, min((p >> 11) + 1, size - 1), p & (2**11 - 1)

    top, bottom, g = position(y, image.shape[0], height)
    left, right, f = position(x, image.shape[1], width)
    a, b = int(image[top, left, channel]), int(image[top, right, channel])
    c, d = int(image[bottom, left, channel]), int(image[bottom, right, channel])
    v = (a * (2**11 - f) + b * f) * (2**11 - g) + (c * (2**11 - f) + d * f) * g
    assert v + 2**21 < 2**31  # fits a signed 32-bit integer, as the docstring promises
    return (v + 2**21) >> 22


@given(images, st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None)
def test_bilinear_is_the_documented_formula(image: Any, height: int, width: int) -> None:
    resized = run(f"resize={height}x{width}", image)
    assert resized.shape == (height, width, image.shape[2])
    for y, x, channel in np.ndindex(resized.shape):
        expected = bilinear_pixel(image, y, x, channel, height, width)
        assert resized[y, x, channel] == expected


@given(images, st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None)
def test_nearest_is_the_documented_formula(image: Any, height: int, width: int) -> None:
    resized = run(f"resize={height}x{width}:nearest", image)
    for y, x in np.ndindex(height, width):
        top = min((2 * y + 1) * image.shape[0] // (2 * height), image.shape[0] - 1)
        left = min((2 * x + 1) * image.shape[1] // (2 * width), image.shape[1] - 1)
        assert (resized[y, x] == image[top, left]).all()


@given(images, st.sampled_from(["nearest", "bilinear"]))
def test_resizing_to_the_same_size_changes_nothing(image: Any, method: str) -> None:
    same = run(f"resize={image.shape[0]}x{image.shape[1]}:{method}", image)
    assert (same == image).all()


@given(images, st.integers(1, 20), st.integers(1, 20))
def test_bilinear_is_within_one_of_real_arithmetic(image: Any, height: int, width: int) -> None:
    def positions(size: int, wanted: int) -> tuple[Any, Any, Any]:
        p = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, None)
        low = np.floor(p).astype(int)
        return low, np.minimum(low + 1, size - 1), p - low

    y, y1, g = positions(image.shape[0], height)
    x, x1, f = positions(image.shape[1], width)
    f, g = f[None, :, None], g[:, None, None]
    real = image.astype(float)
    above = real[y][:, x] * (1 - f) + real[y][:, x1] * f
    below = real[y1][:, x] * (1 - f) + real[y1][:, x1] * f
    difference = run(f"resize={height}x{width}", image) - (above * (1 - g) + below * g)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((30, 40), (20, 27)), ((40, 30), (27, 20)), ((7, 7), (20, 20)), ((1, 16384), (20, 327680))],
)
def test_the_short_side_gets_the_size(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    preprocessing = parse_preprocessing("resize-short-side=20:nearest")
    spec = output_spec(preprocessing, shape=(*shape, 3))
    assert spec.shape == (1, *expected, 3)
    if expected[1] < 1000:
        assert apply(preprocessing, np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)


def test_the_crop_is_in_the_middle_and_leans_to_the_top_left() -> None:
    image = np.arange(5 * 4, dtype=np.uint8).reshape(5, 4, 1)
    assert run("center-crop=2x1", image).tolist() == [[[5]], [[9]]]


def test_colours() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert run("color=bgr", image)[0, 0].tolist() == [0, 0, 255]
    assert run("color=gray", image).tolist() == [[[76], [150], [29], [255]]]


def test_normalize_is_one_subtraction_and_one_division_in_float32() -> None:
    image = np.array([[[0, 100, 255]]], np.uint8)
    found = run("normalize=0.1:0.2:0.3/0.7", image)
    assert found.dtype == np.float32
    expected = [
        (np.float32(value) - np.float32(mean)) / np.float32(0.7)
        for value, mean in zip((0, 100, 255), (0.1, 0.2, 0.3), strict=True)
    ]
    assert found[0, 0].tolist() == [float(value) for value in expected]


def test_normalize_follows_the_channels_when_they_move() -> None:
    image = np.full((2, 2, 3), 10, np.uint8)
    found = run("layout=CHW,normalize=1:2:3/1", image)
    assert found.shape == (3, 2, 2)
    assert found[:, 0, 0].tolist() == [9, 8, 7]


def test_arrays_that_are_no_images_can_be_normalized() -> None:
    assert run("normalize=1/2", np.array([3.0, 5.0])).tolist() == [1.0, 2.0]
    assert run("normalize=1/2", np.float32(3)).tolist() == 1.0


@pytest.mark.parametrize(
    ("line", "values", "expected"),
    [
        ("cast=uint8", [-1.0, 0.5, 1.5, 254.5, 300.0], [0, 0, 2, 254, 255]),
        ("cast=int8", [-200.0, -128.4, 127.5], [-128, -128, 127]),
        ("quantize=0.5/10:uint8", [-10.0, 0.25, 0.75, 200.0], [0, 10, 12, 255]),
        ("quantize=1e-30/0:int8", [1e30, -1e30], [127, -128]),
        ("quantize=1/0:int16", [40000.0, -5.0], [32767, -5]),
    ],
)
def test_rounding_and_saturation(line: str, values: list[float], expected: list[int]) -> None:
    found = run(line, np.array(values, np.float32))
    assert found.tolist() == expected


def test_integers_saturate_when_cast() -> None:
    assert run("cast=int8", np.array([0, 127, 128, 255], np.uint8)).tolist() == [0, 127, 127, 127]
    assert run("cast=uint8", np.array([-5, 5], np.int8)).tolist() == [0, 5]


def test_nothing_stated_leaves_the_input_alone() -> None:
    array = np.array([[2**40]])
    assert apply(parse_preprocessing("none"), array) is array


@pytest.mark.parametrize(
    ("line", "sample", "said"),
    [
        ("resize=2x2", np.zeros((4, 4), np.uint8), "resize=2x2:bilinear: needs an image"),
        ("resize=2x2", np.zeros((4, 4, 3), np.float32), "not float32 4×4×3"),
        ("resize=2x2", np.zeros((0, 4, 3), np.uint8), "the image is empty"),
        ("layout=CHW,resize=2x2", np.zeros((4, 4, 3), np.uint8), "step 2, resize"),
        ("center-crop=5x4", np.zeros((4, 4, 3), np.uint8), "step 1, center-crop=5x4: the image is"),
        ("color=gray", np.zeros((4, 4, 4), np.uint8), "needs 3 channels, the image has 4"),
        ("normalize=1:2/1", np.zeros((4, 4, 3), np.uint8), "2 channels stated, the input has 3"),
        ("normalize=1:2/1", np.float32(3), "2 channels stated, the input has none"),
        ("layout=CHW", np.zeros((4, 4), np.uint8), "not height × width × channels"),
        ("cast=uint8", np.array([np.nan], np.float32), "cast=uint8: a value is NaN"),
        ("quantize=1/0:int8", np.array([np.inf], np.float32), "quantize=1.0/0:int8: a value is"),
        ("cast=uint8", np.array([1 + 2j]), "not complex128"),
        ("cast=uint8", np.array([1], np.int64), "not int64"),
    ],
)
def test_what_does_not_fit_names_the_operation(line: str, sample: Any, said: str) -> None:
    with pytest.raises(DataError, match=said.replace("(", r"\(")):
        run(line, sample)


@given(images, st.sampled_from(["resize=4x5", "color=bgr", "normalize=1/2", "cast=int8"]))
@settings(deadline=None)
def test_the_inferred_output_is_what_comes_out(image: Any, line: str) -> None:
    if image.shape[2] == 1 and line == "color=bgr":
        return
    preprocessing = parse_preprocessing(line)
    spec = output_spec(preprocessing, shape=image.shape)
    found = apply(preprocessing, image)
    assert (spec.shape, spec.dtype) == ((1, *found.shape), found.dtype.name)


def test_the_output_of_any_photo() -> None:
    spec = output_spec(parse_preprocessing("resize-short-side=256,normalize=0/255"))
    assert (spec.shape, spec.dtype) == ((1, None, None, 3), "float32")
    spec = output_spec(parse_preprocessing("resize=224x224,cast=int8,layout=CHW"))
    assert (spec.shape, spec.dtype) == ((1, 3, 224, 224), "int8")


def test_the_meaning_has_not_changed() -> None:
    """Artifacts in the field carry preprocessing by name: what it does may never change."""
    image = (np.arange(37 * 53 * 3) * 7919 % 256).astype(np.uint8).reshape(37, 53, 3)
    line = "resize-short-side=29,center-crop=24x24,color=bgr,normalize=123.7:116.3:103.5/58.4"
    found = run(f"{line},layout=CHW,quantize=0.02/-3:int8", image)
    assert hashlib.sha256(found.tobytes()).hexdigest() == (
        "bd276203ec9e3030f1d5bd7585d621c3c2d6714616e278604c10ff3a6a8e5ef1"
    )
