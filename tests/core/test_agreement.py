"""How near the board's outputs must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.agreement import compare, load_outputs, tolerance
from edgekit.core.errors import DeviceError, InputError, MismatchError
from edgekit.core.recipe import QuantizationKind


def check(want: Any, have: Any, quantization: QuantizationKind = "none") -> Any:
    return compare({"y": want}, {"y": have}, quantization, where="int8 on ssh://board")


FLOATS = np.linspace(-2, 2, 50, dtype=np.float32).reshape(5, 10)
COLUMN = 4 * 40 / 49  # the span of each of its columns


def test_equal_outputs() -> None:
    found = check(FLOATS, FLOATS.copy())
    assert (found.samples, found.max_abs_error, found.ok) == (5, 0.0, True)
    assert found.tolerance == pytest.approx(1e-3 * COLUMN + 1e-4 * 2)


@pytest.mark.parametrize(
    ("quantization", "allowed"),
    [
        ("none", 1e-3 * COLUMN + 1e-4 * 2),
        ("float16", 1e-3 * COLUMN + 1e-4 * 2),
        ("int16x8", 8e-3),
        ("int8", 4 * 4 / 255),
        ("dynamic-int8", 4 * 4 / 255),
    ],
)
def test_floats(quantization: QuantizationKind, allowed: float) -> None:
    assert tolerance(FLOATS, quantization) == pytest.approx(allowed)
    near, far = FLOATS.copy(), FLOATS.copy()
    near[1, 2] += 0.9 * allowed
    far[1, 2] += 1.1 * allowed
    assert check(FLOATS, near, quantization).max_abs_error == pytest.approx(0.9 * allowed, rel=1e-3)
    with pytest.raises(MismatchError, match="1 of 50 values are beyond") as caught:
        check(FLOATS, far, quantization)
    assert caught.value.message.startswith("int8 on ssh://board: output 'y' differs by up to")


@pytest.mark.parametrize(
    ("dtype", "quantization", "allowed"),
    [
        (np.int8, "int8", 4),
        (np.uint8, "int8", 4),
        (np.int16, "int16x8", 131),
        (np.int8, "none", 0),  # no quantized value: a class index
        (np.int32, "int8", 0),
        (np.int64, "int8", 0),
        (np.bool_, "int8", 0),
    ],
)
def test_integers(dtype: Any, quantization: QuantizationKind, allowed: float) -> None:
    assert tolerance(np.zeros(3, dtype), quantization) == allowed


def test_integers_that_wrap_in_their_own_type_do_not_here() -> None:
    want, have = np.array([[-128]], np.int8), np.array([[127]], np.int8)
    with pytest.raises(MismatchError, match="by up to 255"):
        check(want, have, "int8")


def test_zeros_have_room_for_rounding() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert check(zeros, zeros + np.float32(1e-7)).ok
    with pytest.raises(MismatchError):
        check(zeros, zeros + np.float32(1e-3))


def test_nan_on_one_side_only() -> None:
    broken = FLOATS.copy()
    broken[0, 0] = np.nan
    with pytest.raises(MismatchError, match="1 of 50 values of output 'y' are NaN"):
        check(FLOATS, broken)
    with pytest.raises(MismatchError):
        check(broken, FLOATS)
    assert check(broken, broken.copy()).ok
    high, low = broken.copy(), broken.copy()
    high[0, 0], low[0, 0] = np.inf, -np.inf
    assert check(high, high.copy()).ok
    for other in (low, broken):
        with pytest.raises(MismatchError, match="1 of 50 values"):
            check(high, other)


def test_the_worst_of_several_outputs_is_told() -> None:
    near = FLOATS + np.float32(1e-3)
    found = compare({"a": FLOATS, "b": FLOATS}, {"a": FLOATS, "b": near}, "none", where="x")
    assert "'b'" in found.detail
    assert found.max_abs_error == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    "have",
    [
        {},
        {"y": FLOATS.astype(np.float64)},
        {"y": FLOATS[:4]},
        {"a": FLOATS, "b": FLOATS},
    ],
)
def test_other_outputs_altogether(have: Any) -> None:
    with pytest.raises(DeviceError, match="output 'y' should be float32"):
        compare({"y": FLOATS}, have, "none", where="x")


def test_the_only_output_needs_no_name() -> None:
    assert compare({"y": FLOATS}, {"Identity": FLOATS}, "none", where="x").ok


def test_the_shape_may_be_written_otherwise() -> None:
    assert check(FLOATS, FLOATS.reshape(5, 1, 10)).ok
    with pytest.raises(DeviceError, match=r"should be float32 \(5, 10\)"):
        check(FLOATS, FLOATS.reshape(10, 5))


def test_an_offset_gives_no_room() -> None:
    around_300 = 300 + FLOATS
    assert check(around_300, around_300 + np.float32(0.03)).ok
    with pytest.raises(MismatchError):
        check(around_300, np.full_like(around_300, 300))


def test_boxes_give_scores_beside_them_no_room() -> None:
    rng = np.random.default_rng(1)
    want = np.concatenate([640 * rng.random((4, 20, 4)), rng.random((4, 20, 3))], axis=-1)
    have = want.copy()
    have[..., 4:] = 0
    with pytest.raises(MismatchError):
        check(want.astype(np.float32), have.astype(np.float32))


def test_loading(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"in:x": FLOATS, "out:y/z:0": FLOATS})
    assert list(load_outputs(tmp_path / "a.npz")) == ["y/z:0"]
    np.savez(tmp_path / "b.npz", **{"in:x": FLOATS})
    with pytest.raises(InputError, match="holds no check outputs"):
        load_outputs(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **{"out:y": np.array([{"code": 1}], dtype=object)})
    with pytest.raises(InputError, match="cannot read"):
        load_outputs(tmp_path / "c.npz")
    with pytest.raises(InputError, match="cannot read"):
        load_outputs(tmp_path / "missing.npz")
