"""Random inputs, for when the user has given none. Runs in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.errors import DataError
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import Signature
from edgekit.data.writer import Writer

ORIGIN = "random numbers"


def generate(out: Path, signature: Any, samples: int, seed: int) -> dict[str, Any]:
    """Inputs from numpy's PCG64 with `seed`.

    Floats are standard normal, 8-bit integers uniform over their range. Wider integers are 0 or 1:
    what they stand for is unknown, and most often it is an index that must be in range.

    Raises:
        DataError: an input's size or type is not one that can be drawn.
    """
    import numpy as np

    wanted = Signature.from_json(signature)
    draw = np.random.default_rng(seed)
    writer = Writer(out, ORIGIN, [spec.name for spec in wanted.inputs], Preprocessing())
    for _ in range(samples):
        batch = []
        for spec in wanted.inputs:
            dtype = np.dtype(spec.dtype)
            shape = [size for size in spec.shape[1:] if size is not None]
            if len(shape) + 1 != len(spec.shape) or dtype.kind not in "biuf":
                raise DataError(
                    f"random inputs cannot be drawn for {spec}",
                    hint="give data with --calibration or --evaluate",
                )
            if dtype.kind == "f":
                array = draw.standard_normal([1, *shape]).astype(dtype)
            elif dtype.itemsize == 1 and dtype.kind in "iu":
                low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
                array = draw.integers(low, high, size=[1, *shape], dtype=dtype, endpoint=True)
            else:
                array = draw.integers(0, 2, size=[1, *shape]).astype(dtype)
            batch.append(array)
        writer.add(batch)
    return writer.finish(choice=f"{samples}, seed {seed}")
