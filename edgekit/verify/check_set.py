"""Sample inputs and this computer's answers, for the comparison on the board. In a worker."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError
from edgekit.verify.folders import signature
from edgekit.verify.sessions import open_artifact


def run(
    out: Path,
    data: dict[str, Any],
    samples: int,
    file_format: str,
    artifact: str,
    reference: str,
) -> dict[str, Any]:
    """See `edgekit.verify.check_set_step`; the result holds ``samples``, how many there are."""
    given = DataSet.from_json(data)
    source = signature(reference)
    session = open_artifact(artifact, file_format)
    inputs, _ = session.matched(source)
    count = min(samples, given.count)
    sources: dict[str, list[Any]] = {}
    arrays: dict[str, list[Any]] = {}
    for row in (index * given.count // count for index in range(count)):
        values = given.rows(source, row, row + 1)
        stored = {}
        for name, port in inputs:
            stored[port.index] = port.store(values[name])
            sources.setdefault(name, []).append(values[name][0])
            arrays.setdefault(f"in:{port.name}", []).append(stored[port.index][0])
        session.invoke(stored)
        for port in session.outputs:
            answer = session.read(port.index)
            if answer is None:
                raise ConversionError(f"the runtime gives no value for output {port.name!r}")
            arrays.setdefault(f"out:{port.name}", []).append(answer[0])
    save_columns(out / "inputs.npz", sources)
    save_columns(out / "check.npz", arrays)
    return {"samples": count}


def save_columns(path: Path, columns: dict[str, list[Any]]) -> None:
    """Like ``numpy.savez``, but for any name: an input may be called "file"."""
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, rows in columns.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.stack(rows), allow_pickle=False)
