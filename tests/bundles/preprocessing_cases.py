"""What preprocessing is tried on in other languages than Python: lines, chains, arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.errors import DataError
from edgekit.core.preprocess_reference import apply
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
from edgekit.core.tensor import Quantization

LINES = (
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
)


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


def reference(preprocessing: Preprocessing, array: Any) -> Any:
    """What the reference makes of it; None where it refuses."""
    try:
        with np.errstate(over="ignore"):
            return apply(preprocessing, array)
    except DataError:
        return None


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


@st.composite
def stored(draw: st.DrawFn) -> tuple[Any, Quantization]:
    dtype = draw(st.sampled_from([np.uint8, np.int8, np.int32]))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5)))
    axis = draw(st.none() | st.integers(0, array.ndim - 1))
    count = 1 if axis is None else array.shape[axis]
    scale = draw(st.lists(st.floats(1e-9, 1e3), min_size=count, max_size=count))
    point = draw(st.lists(st.integers(-128, 255), min_size=count, max_size=count))
    return array, Quantization(scale=tuple(scale), zero_point=tuple(point), axis=axis)


# Where numbers end, and where they round.
EDGES: tuple[tuple[list[Operation], Any], ...] = (
    ([Cast(dtype="int8")], np.array([0.5, 1.5, -0.5, -2.5, 1e30, -1e30], np.float32)),
    ([Cast(dtype="int8")], np.array([np.nan], np.float32)),
    (
        [Normalize(mean=(-3.4e38,), std=(0.1,)), Cast(dtype="float32")],
        np.array([3.4e38], np.float32),
    ),
    (
        [Quantize(scale=2.0, zero_point=3, dtype="int8")],
        np.array([1, 3, 5, -1, -3, 7e9], np.float32),
    ),
    ([Quantize(scale=1.2e-38, zero_point=1, dtype="int16")], np.array([3e38], np.float32)),
)


def any_steps_on_anything(test: Callable[..., None]) -> Callable[..., None]:
    """Give `test` a ``chain`` of operations and an ``array``: the edges, and whatever may come."""
    for chain, array in EDGES:
        test = example(chain=chain, array=array)(test)
    chains = st.lists(operations, min_size=1, max_size=5)
    return settings(max_examples=400, deadline=None)(
        given(chain=chains, array=images | numbers)(test)
    )


def check(made: Any, preprocessing: Preprocessing, array: Any) -> bool:
    """Whether both take it; asserts that `made` equals the reference's, or that both refuse.

    Args:
        made: what another language makes of `array`; the words of its error where it refuses.
    """
    wanted = reference(preprocessing, array)
    if wanted is None:
        assert isinstance(made, str), "what the reference refuses was taken"
        return False
    assert not isinstance(made, str), made
    assert (made.dtype, made.shape) == (wanted.dtype, wanted.shape)
    assert made.tobytes() == np.ascontiguousarray(wanted).tobytes()
    return True
