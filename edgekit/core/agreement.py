"""Does the board compute what this computer computes?

The same inputs go through the same file on both. What may differ is rounding: XNNPACK has other
kernels for Arm than for x86 (fused multiply-add, other orders of summation, other ways to round
when a sum of products is scaled back to 8 bits).

- Arithmetic in float32: a sum of K products is off by about √K·2⁻²⁴ of its size (at most K·2⁻²⁴);
  a hundred layers with K up to 10⁴ stay under 10⁻³ of the span of the values. The span is taken of
  each column of the last axis, as boxes in pixels may stand beside scores; a tenth of that share of
  the largest value of all is added, since what all columns are made of is as large as that.
- Arithmetic in 8 bits: a value that falls between two steps may go either way, in each layer. Four
  of the 255 steps of the output's span are allowed. Dynamic-range files quantize each layer's
  input to 8 bits too.
- 16-bit activations with 8-bit weights: the same on a grid 256 times finer; 2·10⁻³ of the span.

Integers that are no quantized values (class indices, counts) must be equal.

Measured on MobileNetV2 and a small CNN, XNNPACK on x86 against XNNPACK on an emulated Cortex-A76
(LiteRT 2.3 and tflite-runtime 2.14) and against the plain kernels: INT8 at most 2 of 255 steps,
dynamic range 0.8, 16x8 0.005, float 0.001. Kernels that are wrong are off by 18 to 255 steps.
Inputs far outside the trained range amplify rounding (up to 44 steps): check with real samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import DeviceError, InputError, MismatchError
from edgekit.core.measurement import OutputCheck
from edgekit.core.recipe import QuantizationKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

# Share of the output's span that may differ, by how the artifact computes.
RELATIVE_TOLERANCE: dict[QuantizationKind, float] = {
    "none": 1e-3,
    "float16": 1e-3,
    "dynamic-int8": 4 / 255,
    "dynamic-int4": 4 / 255,  # its weights are the same on both; activations have 8 bits
    "int8": 4 / 255,
    "int16x8": 2e-3,
    "original": 4 / 255,  # what is inside is not known
}

FLOAT_ARITHMETIC = ("none", "float16")

# Outputs that are all (nearly) zero have no span to be relative to.
_SMALLEST_SPAN = 1e-3


def load_outputs(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays called ``out:<name>`` in an .npz file, by name.

    Raises:
        InputError: it cannot be read or holds none.
    """
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            found = {n.removeprefix("out:"): file[n] for n in file.files if n.startswith("out:")}
    except (OSError, ValueError, zipfile.BadZipFile) as exc:
        raise InputError(f"cannot read the check outputs {str(path)!r}: {exc}") from exc
    if not found:
        raise InputError(f"{str(path)!r} holds no check outputs (arrays called out:<name>)")
    return found


def compare(
    expected: Arrays, actual: Arrays, quantization: QuantizationKind, *, where: str
) -> OutputCheck:
    """The board's outputs against this computer's.

    Args:
        expected, actual: outputs by name, one row a sample; those of the board may come under
            other names if there is only one.
        where: the device, for the error.

    Returns:
        The output that comes nearest to its tolerance.

    Raises:
        MismatchError: one is beyond it; says which and by how much.
        DeviceError: the board's outputs are not the same ones at all.
    """
    worst: tuple[float, OutputCheck] | None = None
    for name, reference in expected.items():
        found = actual.get(name)
        if found is None and len(actual) == len(expected) == 1:
            found = next(iter(actual.values()))
        if found is None or _sizes(found) != _sizes(reference) or found.dtype != reference.dtype:
            raise DeviceError(
                f"{where}: output {name!r} should be {reference.dtype} {reference.shape}, "
                f"the board gave {_forms(actual)}"
            )
        ratio, check = _compare_one(name, reference, found, quantization, where)
        if worst is None or ratio > worst[0]:
            worst = ratio, check
    assert worst is not None
    return worst[1]


def _compare_one(
    name: str,
    reference: NDArray[np.generic],
    found: NDArray[np.generic],
    quantization: QuantizationKind,
    where: str,
) -> tuple[float, OutputCheck]:
    import numpy as np

    want = np.asarray(reference, dtype=np.float64).ravel()
    have = np.asarray(found, dtype=np.float64).ravel()
    finite = np.isfinite(want)
    same = np.where(finite, np.isfinite(have), (want == have) | (np.isnan(want) & np.isnan(have)))
    strange = int(np.sum(~same))
    if strange:
        raise MismatchError(
            f"{where}: {strange} of {want.size} values of output {name!r} are NaN or infinite on "
            "one side, and not so on the other",
            hint=_HINT,
        )
    allowed = np.broadcast_to(tolerance(reference, quantization), reference.shape).ravel()[finite]
    errors = np.abs(want[finite] - have[finite])
    # Where nothing is allowed any error is beyond all bounds, and none is none.
    ratios = np.divide(errors, allowed, out=np.where(errors > 0, np.inf, 0.0), where=allowed > 0)
    at = int(np.argmax(ratios)) if ratios.size else None
    error, limit = (float(errors[at]), float(allowed[at])) if at is not None else (0.0, 0.0)
    ratio = float(ratios[at]) if at is not None else 0.0
    samples = len(reference) if reference.ndim else 1
    if ratio > 1:
        beyond = int(np.sum(ratios > 1))
        raise MismatchError(
            f"{where}: output {name!r} differs by up to {error:.3g} from this computer's, "
            f"{limit:.3g} is allowed; {beyond} of {want.size} values are beyond",
            hint=_HINT,
        )
    detail = f"output {name!r}, {samples} samples"
    check = OutputCheck(
        samples=samples, max_abs_error=error, tolerance=limit, ok=True, detail=detail
    )
    return ratio, check


_HINT = "the runtimes may differ: compare their versions, or convert for the one on the board"


def tolerance(
    reference: NDArray[np.generic], quantization: QuantizationKind
) -> NDArray[np.float64]:
    """The largest difference allowed, in the unit of the output; broadcasts to `reference`.

    `reference` is the output on this computer for all samples, samples first. The span of 8-bit and
    16-bit outputs is the whole range of the type. That of float outputs of integer arithmetic is
    the larger of the range of all values and the largest of them, since the steps are the same for
    the whole tensor; for float arithmetic see above.
    """
    import numpy as np

    share = RELATIVE_TOLERANCE[quantization]
    if reference.dtype.kind in "iu":
        quantized = quantization != "none" and reference.dtype.itemsize <= 2
        steps = 2 ** (8 * reference.dtype.itemsize) - 1
        return np.array(float(round(share * steps)) if quantized else 0.0)
    if reference.dtype.kind != "f" or not reference.size:
        return np.array(0.0)
    values = np.asarray(reference, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    largest = float(np.max(np.abs(values)))
    if quantization not in FLOAT_ARITHMETIC:
        return np.array(share * max(float(np.ptp(values)), largest, _SMALLEST_SPAN))
    columns = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values.reshape(-1, 1)
    allowed: NDArray[np.float64] = share * np.ptp(columns, axis=0) + share / 10 * largest
    return np.maximum(allowed, share * _SMALLEST_SPAN)


def _sizes(array: NDArray[np.generic]) -> tuple[int, ...]:
    """The shape without the ones: runtimes differ in writing them."""
    return tuple(size for size in array.shape if size != 1)


def _forms(arrays: Arrays) -> str:
    return ", ".join(f"{n!r} {a.dtype} {a.shape}" for n, a in arrays.items()) or "nothing"
