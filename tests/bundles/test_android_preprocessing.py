"""The Java steps of an Android bundle give the numpy reference's results, bit for bit, on a JVM."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.bundles.accessor import to_real
from edgekit.bundles.android.accessor import float32, step
from edgekit.core.errors import DataError
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.preprocessing import (
    Cast,
    CenterCrop,
    Color,
    Normalize,
    Operation,
    Preprocessing,
    Quantize,
    Resize,
    ResizeShortSide,
    ToLayout,
)
from edgekit.core.tensor import Quantization, TensorSpec
from tests.java import HERE, JAVA, Jvm, api_jar, jvm, read_sources, write_jar

MAIN = "PreparingMain.java"


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jvm]:
    folder = tmp_path_factory.mktemp("java")
    api = api_jar(folder)
    sources = {**read_sources(JAVA), MAIN: (HERE / MAIN).read_text()}
    with jvm([write_jar(folder / "steps.jar", sources, [api]), api]) as running:
        yield running


def pictures() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(7)
    gradient = np.linspace(0, 255, 97 * 61 * 3).reshape(97, 61, 3).astype(np.uint8)
    return {
        "noise": random.integers(0, 256, (37, 53, 3), dtype=np.uint8),
        "tall gradient": gradient,
        "wide gradient": np.ascontiguousarray(gradient.transpose(1, 0, 2)),
        "white": np.full((16, 16, 3), 255, dtype=np.uint8),
        "one pixel": np.array([[[1, 128, 255]]], dtype=np.uint8),
        "a row": random.integers(0, 256, (1, 400, 3), dtype=np.uint8),
    }


def check(java: Jvm, preprocessing: Preprocessing, array: Any) -> bool:
    """Whether both take it; asserts that what they make is equal, or that both refuse it."""
    made = java.ask([step(op, "v") for op in preprocessing.operations], array)
    wanted = reference(preprocessing, array)
    if isinstance(wanted, DataError):
        assert isinstance(made, str), f"Java takes what the reference refuses: {wanted}"
        return False
    assert not isinstance(made, str), made
    assert (made.dtype, made.shape) == (wanted.dtype, wanted.shape)
    assert made.tobytes() == np.ascontiguousarray(wanted).tobytes()
    return True


def reference(preprocessing: Preprocessing, array: Any) -> Any:
    try:
        with np.errstate(over="ignore"):
            return apply(preprocessing, array)
    except DataError as exc:
        return exc


@pytest.mark.parametrize(
    "line",
    [
        "resize=8x8:bilinear",
        "resize=224x224:bilinear",
        "resize=31x2:nearest",
        "resize-short-side=11:bilinear",
        "resize-short-side=70:nearest",
        "resize-short-side=40:bilinear,center-crop=37x39",
        "color=bgr",
        "color=gray",
        "cast=float32",
        "cast=int8",
        "layout=CHW",
        "normalize=127.5/127.5",
        "normalize=123.675:116.28:103.53/58.395:57.12:57.375",
        "layout=CHW,normalize=1.0:2.0:3.0/0.5:0.25:3.0",
        "color=gray,normalize=0.1307/0.3081,layout=CHW",
        "normalize=0.0/255.0,normalize=0.485:0.456:0.406/0.229:0.224:0.225,layout=CHW",
        "normalize=127.5/127.5,quantize=0.0078125/0:int8",
        "normalize=0.0/255.0,quantize=0.003921569/-128:int8",
        "normalize=0.0/255.0,quantize=0.003921569/0:uint8",
        "normalize=0.0/1.0,quantize=0.0001/0:int16",
        "normalize=128.0/0.3,cast=uint8",
        "resize=40x30:bilinear,color=bgr,normalize=103.939:116.779:123.68/1.0:1.0:1.0",
    ],
)
def test_pictures(java: Jvm, line: str) -> None:
    assert all(check(java, parse_preprocessing(line), array) for array in pictures().values())


sides = st.integers(1, 48)
reals = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.1, 1 / 3, 127.5, 3.4e38, -3.4e38])
divisors = st.floats(1e-6, 1e6) | st.sampled_from([1.2e-38, 3.4e38, 0.1, 255.0])
methods = st.sampled_from(["bilinear", "nearest"])


@st.composite
def quantizations(draw: st.DrawFn) -> Quantize:
    dtype = draw(st.sampled_from(["uint8", "int8", "int16"]))
    low, high = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}[dtype]
    point = draw(st.integers(low, high))
    return Quantize(scale=draw(divisors), zero_point=point, dtype=dtype)  # type: ignore[arg-type]


@st.composite
def normalizations(draw: st.DrawFn) -> Normalize:
    count = draw(st.sampled_from([1, 3, 3, 2]))
    mean = draw(st.lists(reals, min_size=count, max_size=count))
    std = draw(
        st.lists(divisors, min_size=1, max_size=1)
        | st.lists(divisors, min_size=count, max_size=count)
    )
    return Normalize(mean=tuple(mean), std=tuple(std))


operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Resize, height=sides, width=sides, method=methods),
    st.builds(ResizeShortSide, size=sides, method=methods),
    st.builds(CenterCrop, height=st.integers(1, 24), width=st.integers(1, 24)),
    st.builds(Color, to=st.sampled_from(["bgr", "gray"])),
    normalizations(),
    st.just(ToLayout(to="CHW")),
    st.builds(Cast, dtype=st.sampled_from(["uint8", "int8", "float32"])),
    quantizations(),
)
images = hnp.arrays(np.uint8, st.tuples(sides, sides, st.sampled_from([3, 3, 3, 1, 4])))
numbers = st.sampled_from([np.uint8, np.int8, np.int16, np.float32]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5))
)


@settings(max_examples=400, deadline=None)
@given(chain=st.lists(operations, min_size=1, max_size=5), array=images | numbers)
@example([Cast(dtype="int8")], np.array([0.5, 1.5, -0.5, -2.5, 1e30, -1e30], np.float32))
@example([Cast(dtype="int8")], np.array([np.nan], np.float32))
@example(
    [Normalize(mean=(-3.4e38,), std=(0.1,)), Cast(dtype="float32")], np.array([3.4e38], np.float32)
)
@example(
    [Quantize(scale=2.0, zero_point=3, dtype="int8")], np.array([1, 3, 5, -1, -3, 7e9], np.float32)
)
@example([Quantize(scale=1.2e-38, zero_point=1, dtype="int16")], np.array([3e38], np.float32))
def test_any_steps_on_anything(java: Jvm, chain: list[Operation], array: Any) -> None:
    """Both make the same bits, or both refuse."""
    check(java, Preprocessing(operations=tuple(chain)), array)


@st.composite
def stored(draw: st.DrawFn) -> tuple[Any, Quantization]:
    dtype = draw(st.sampled_from([np.uint8, np.int8, np.int32]))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)))
    axis = draw(st.none() | st.integers(0, array.ndim - 1))
    count = 1 if axis is None else array.shape[axis]
    scale = draw(st.lists(st.floats(1e-9, 1e3), min_size=count, max_size=count))
    point = draw(st.lists(st.integers(-128, 255), min_size=count, max_size=count))
    return array, Quantization(scale=tuple(scale), zero_point=tuple(point), axis=axis)


@settings(max_examples=100, deadline=None)
@given(case=stored())
def test_real_numbers_of_quantized_ones(java: Jvm, case: tuple[Any, Quantization]) -> None:
    """As the bundle's Python program makes them, for a whole tensor and along each axis."""
    array, by = case
    spec = TensorSpec(name="", shape=array.shape, dtype=array.dtype.name, quantization=by)
    scale = ", ".join(float32(each) for each in by.scale)
    points = ", ".join(map(str, by.zero_point))
    axis = -1 if by.axis is None else by.axis
    call = f"Postprocessing.toReal(v, new float[] {{{scale}}}, new int[] {{{points}}}, {axis})"
    made = java.ask([call], array)
    assert not isinstance(made, str), made
    assert made.tobytes() == to_real(spec.to_json(), array).tobytes()


@settings(max_examples=50, deadline=None)
@given(scores=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-300, 300, width=32)))
def test_softmax(java: Jvm, scores: Any) -> None:
    made = java.ask(["Postprocessing.softmax(v)"], scores)
    parts = np.exp(scores.astype(np.float64) - scores.max())
    np.testing.assert_allclose(made, parts / parts.sum(), rtol=1e-6, atol=1e-45)
    assert np.argmax(made) == np.argmax(scores) or len(set(np.asarray(made))) < len(scores)


@given(value=st.floats(-3.4e38, 3.4e38))
@example(0.1)
@example(1.00000017881393432617187499)  # near the middle of two float32: rounding twice differs
def test_numbers_in_the_source_are_the_float32_that_edgekit_uses(value: float) -> None:
    wanted = np.float32(value)
    text = float32(value).removesuffix("f")
    near = [np.nextafter(wanted, np.float32(side)) for side in (-np.inf, np.inf)]
    # What Java does: the float32 next to these very digits.
    error = abs(Fraction(Decimal(text)) - Fraction(float(wanted)))
    for other in (each for each in near if np.isfinite(each)):
        assert error < abs(Fraction(Decimal(text)) - Fraction(float(other)))
