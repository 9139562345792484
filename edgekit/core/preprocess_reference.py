"""The exact meaning of every preprocessing operation, in numpy. The source of truth.

Other languages' versions are tested against the results of `apply`, bit for bit. All division of
integers below is floor division, all of it exact; `>>` is the arithmetic shift.

resize, bilinear: half-pixel centres, no antialiasing, fixed point with F = 11 fractional bits.
    For output index o of `out` and an input side of `in` pixels (64-bit integers):
        p     = ((2·o + 1)·in − out)·2^F // (2·out)       position in the input, F fractional bits
        low   = max(p, 0) >> F
        f     = max(p, 0) & (2^F − 1)                     weight of the next pixel, 0 … 2^F − 1
        next  = min(low + 1, in − 1)
    A pixel from the four neighbours a b (above) and c d (below), with weights f of x and g of y:
        v     = (a·(2^F − f) + b·f)·(2^F − g) + (c·(2^F − f) + d·f)·g
        pixel = (v + 2^(2F − 1)) >> 2F                    rounds half up; fits 32-bit signed
resize, nearest: input index min((2·o + 1)·in // (2·out), in − 1).
resize-short-side: the short side becomes `size`, the other (2·long·size + short) // (2·short),
    which is long·size/short rounded half up; then as resize.
center-crop: the first row kept is (H − height) // 2, the first column (W − width) // 2.
color: bgr reverses the channels; gray is one channel (19595·R + 38470·G + 7471·B + 2^15) >> 16
    (ITU-R BT.601 luma in 16 bits).
normalize: x, mean and std as float32 (nearest), one IEEE-754 float32 subtraction, then one
    float32 division. Channels are the last axis, or the first after layout=CHW.
layout: (H, W, C) becomes (C, H, W).
cast: to float32 is exact for what comes in; to an integer rounds half to even, then saturates.
quantize: x and scale as float32, one float32 division, rounded half to even, plus zero_point in
    integers, saturated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import DataError
from edgekit.core.preprocess_text import format_operation
from edgekit.core.preprocessing import (
    INTEGER_RANGES,
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
from edgekit.core.tensor import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

FRACTION_BITS = 11
IMAGE = (None, None, 3)
DTYPES = ("uint8", "int8", "int16", "float32")


def apply(preprocessing: Preprocessing, sample: Any) -> Array:
    """One sample after all operations.

    Args:
        preprocessing: what to do.
        sample: one image, RGB uint8 (height, width, 3), or any array without the batch dimension;
            whatever ``numpy.asarray`` takes.

    Raises:
        DataError: an operation does not fit what it gets; names the operation.
    """
    import numpy as np

    array = np.asarray(sample)
    if not preprocessing.operations:
        return array
    state = _State(array.shape, _known_dtype(array.dtype.name))
    array = array.astype(state.dtype, copy=False)
    for position, op in enumerate(preprocessing.operations, 1):
        after = _follow(op, state, position)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _misfit(op, position, "a value is NaN or infinite")
        array = np.asarray(_compute(op, array, state, after), order="C")
        state = after
    return array


def output_spec(
    preprocessing: Preprocessing,
    *,
    shape: tuple[int | None, ...] = IMAGE,
    dtype: str = "uint8",
) -> TensorSpec:
    """What comes out for an input of `shape` (no batch; None: any size) and `dtype`.

    The spec has no name and a batch of 1 in front, so it compares with a signature's input.

    Raises:
        DataError: an operation does not fit what it gets; names the operation.
    """
    state = _State(shape, _known_dtype(dtype) if preprocessing.operations else dtype)
    for position, op in enumerate(preprocessing.operations, 1):
        state = _follow(op, state, position)
    return TensorSpec(name="", shape=(1, *state.shape), dtype=state.dtype)


@dataclass(frozen=True)
class _State:
    """What one operation hands to the next; `first` tells that the channels come first."""

    shape: tuple[int | None, ...]
    dtype: str
    first: bool = False

    @property
    def channels(self) -> int | None:
        return self.shape[0 if self.first else -1] if self.shape else None


def _known_dtype(name: str) -> str:
    if name == "float64":  # what numpy makes of Python floats; everything is defined in float32
        return "float32"
    if name not in DTYPES:
        raise DataError(
            f"preprocessing takes {', '.join(DTYPES)}, not {name}",
            hint="images are uint8, RGB; other data is best given as float32",
        )
    return name


def _misfit(op: Operation, position: int, what: str) -> DataError:
    return DataError(f"preprocessing step {position}, {format_operation(op)}: {what}")


def _follow(op: Operation, state: _State, position: int) -> _State:
    """The state after `op`; raises DataError where `op` does not fit."""
    if isinstance(op, Resize | ResizeShortSide | CenterCrop | Color):
        return _follow_image(op, state, position)
    if isinstance(op, Normalize):
        count = max(len(op.mean), len(op.std))
        if count > 1 and (not state.shape or state.channels not in (None, count)):
            has = state.channels or "none"
            what = f"{count} channels stated, the input has {has} ({_sizes(state)})"
            raise _misfit(op, position, what)
        return _State(state.shape, "float32", state.first)
    if isinstance(op, ToLayout):
        if len(state.shape) != 3 or state.first:
            what = f"the input is not height × width × channels ({_sizes(state)})"
            raise _misfit(op, position, what)
        height, width, channels = state.shape
        return _State((channels, height, width), state.dtype, first=True)
    return _State(state.shape, op.dtype, state.first)


def _follow_image(
    op: Resize | ResizeShortSide | CenterCrop | Color, state: _State, position: int
) -> _State:
    if len(state.shape) != 3 or state.dtype != "uint8" or state.first:
        what = f"needs an image, uint8 height × width × channels, not {state.dtype} {_sizes(state)}"
        raise _misfit(op, position, what)
    height, width, channels = state.shape
    if 0 in state.shape:
        raise _misfit(op, position, f"the image is empty ({_sizes(state)})")
    if isinstance(op, Resize):
        return _State((op.height, op.width, channels), "uint8")
    if isinstance(op, ResizeShortSide):
        if height is None or width is None:
            return _State((None, None, channels), "uint8")
        return _State((*_short_side(height, width, op.size), channels), "uint8")
    if isinstance(op, CenterCrop):
        if (height is not None and height < op.height) or (width is not None and width < op.width):
            raise _misfit(op, position, f"the image is smaller ({_sizes(state)})")
        return _State((op.height, op.width, channels), "uint8")
    if channels not in (None, 3):
        raise _misfit(op, position, f"needs 3 channels, the image has {channels}")
    return _State((height, width, 3 if op.to == "bgr" else 1), "uint8")


def _sizes(state: _State) -> str:
    return "×".join("?" if size is None else str(size) for size in state.shape) or "scalar"


def _short_side(height: int, width: int, size: int) -> tuple[int, int]:
    short, long = min(height, width), max(height, width)
    other = max(1, (2 * long * size + short) // (2 * short))
    return (size, other) if height <= width else (other, size)


def _compute(op: Operation, array: Array, state: _State, after: _State) -> Array:
    if isinstance(op, Resize | ResizeShortSide):
        height, width = after.shape[:2]
        assert height is not None
        assert width is not None
        return (_bilinear if op.method == "bilinear" else _nearest)(array, height, width)
    if isinstance(op, CenterCrop):
        top, left = (array.shape[0] - op.height) // 2, (array.shape[1] - op.width) // 2
        return array[top : top + op.height, left : left + op.width]
    if isinstance(op, Color):
        return array[:, :, ::-1] if op.to == "bgr" else _gray(array)
    if isinstance(op, Normalize):
        return _normalize(array, op, first=state.first)
    if isinstance(op, ToLayout):
        return array.transpose(2, 0, 1)
    if isinstance(op, Cast):
        return _cast(array, op.dtype)
    return _quantize(array, op)


def _bilinear(image: Array, height: int, width: int) -> Array:
    import numpy as np

    one = np.int32(1 << FRACTION_BITS)
    y, y_next, g = _positions(image.shape[0], height)
    x, x_next, f = _positions(image.shape[1], width)
    f, g = f[None, :, None], g[:, None, None]
    rows: NDArray[np.int32] = image[y].astype(np.int32)
    next_rows: NDArray[np.int32] = image[y_next].astype(np.int32)
    above = rows[:, x] * (one - f) + rows[:, x_next] * f
    below = next_rows[:, x] * (one - f) + next_rows[:, x_next] * f
    blended = above * (one - g) + below * g
    half = np.int32(1 << (2 * FRACTION_BITS - 1))
    pixels: Array = ((blended + half) >> np.int32(2 * FRACTION_BITS)).astype(np.uint8)
    return pixels


def _positions(
    size: int, wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    import numpy as np

    o = np.arange(wanted, dtype=np.int64)
    p = ((((2 * o + 1) * size - wanted) << FRACTION_BITS) // (2 * wanted)).clip(min=0)
    low = p >> FRACTION_BITS
    return low, np.minimum(low + 1, size - 1), (p & ((1 << FRACTION_BITS) - 1)).astype(np.int32)


def _nearest(image: Array, height: int, width: int) -> Array:
    import numpy as np

    def index(size: int, wanted: int) -> NDArray[np.int64]:
        o = np.arange(wanted, dtype=np.int64)
        return np.minimum((2 * o + 1) * size // (2 * wanted), size - 1)

    return image[index(image.shape[0], height)][:, index(image.shape[1], width)]


def _gray(image: Array) -> Array:
    import numpy as np

    weights = np.array([19595, 38470, 7471], dtype=np.int32)
    luma = (image.astype(np.int32) * weights).sum(axis=2, keepdims=True)
    gray: Array = ((luma + (1 << 15)) >> 16).astype(np.uint8)
    return gray


def _normalize(array: Array, op: Normalize, *, first: bool) -> Array:
    import numpy as np

    shape = (-1, 1, 1) if first else (-1,)
    mean = np.array(op.mean, dtype=np.float32).reshape(shape)
    std = np.array(op.std, dtype=np.float32).reshape(shape)
    values: Array = (array.astype(np.float32) - mean) / std
    return values.reshape(array.shape)


def _cast(array: Array, dtype: str) -> Array:
    import numpy as np

    if dtype == "float32":
        return array.astype(np.float32)
    low, high = INTEGER_RANGES[dtype]
    rounded: Array = np.rint(array) if array.dtype.kind == "f" else array
    # int64 first: -128 does not fit into a uint8 array that is to be clipped.
    wide = rounded if rounded.dtype.kind == "f" else rounded.astype(np.int64)
    return np.clip(wide, low, high).astype(dtype)


def _quantize(array: Array, op: Quantize) -> Array:
    import numpy as np

    low, high = INTEGER_RANGES[op.dtype]
    with np.errstate(over="ignore"):  # an infinite quotient saturates like any large one
        quotient = array.astype(np.float32) / np.float32(op.scale)
    steps = np.rint(quotient).clip(-(2.0**30), 2.0**30)
    stored: Array = (steps.astype(np.int64) + op.zero_point).clip(low, high).astype(op.dtype)
    return stored
