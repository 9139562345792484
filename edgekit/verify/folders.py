"""What finished steps leave in their folders, read back by the steps that need them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import DataSet
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.work.cache import RESULT_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK_BYTES = 16 << 20
MAX_ROWS = 256


def result(folder: str) -> dict[str, Any]:
    """What the step whose folder this is returned."""
    found: dict[str, Any] = json.loads((Path(folder) / RESULT_FILE).read_text(encoding="utf-8"))
    return found


def artifact_file(folder: str) -> Path:
    """The file of an exported artifact that a runtime opens."""
    name: str = result(folder)["files"][0]
    return Path(folder) / name


def signature(folder: str) -> Signature:
    """The signature in a step's result."""
    return Signature.from_json(result(folder)["signature"])


def load_arrays(folder: Path, count: int) -> list[NDArray[np.generic]]:
    """``<index>.npy`` for each index below `count`, memory-mapped."""
    import numpy as np

    return [
        np.load(folder / f"{index}.npy", mmap_mode="r", allow_pickle=False)
        for index in range(count)
    ]


def cut(
    rows: dict[str, NDArray[np.generic]], signature: Signature, sizes: Mapping[str, int] | None
) -> dict[str, NDArray[np.generic]]:
    """`rows`, (samples, …) by input, with the beginning of each open axis, `sizes` by dimension."""
    if not sizes:
        return rows
    found = dict(rows)
    for spec in signature.inputs:
        for each in spec.open:
            # The first axis of rows is the samples, where a tensor has its batch.
            part = [slice(None)] * each.axis + [slice(sizes[each.name])]
            found[spec.name] = found[spec.name][tuple(part)]
    return found


def said(sizes: Mapping[str, int] | None) -> str:
    """`` at seq = 16``, to put behind words; nothing for the largest sizes."""
    if not sizes:
        return ""
    return " at " + ", ".join(f"{name} = {size}" for name, size in sorted(sizes.items()))


def chunks(data: DataSet, specs: Sequence[TensorSpec]) -> Iterator[tuple[int, int]]:
    """Ranges of samples, so small that `specs` for all of them take `CHUNK_BYTES`."""
    import numpy as np

    row = 0
    for spec in specs:
        size = np.dtype(spec.dtype).itemsize
        for side in spec.shape[1:]:
            size *= side or 1
        row += size
    rows = max(1, min(MAX_ROWS, CHUNK_BYTES // max(1, row)))
    for start in range(0, data.count, rows):
        yield start, min(start + rows, data.count)
