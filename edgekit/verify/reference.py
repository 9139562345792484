"""The source model's own answers. Runs in the worker of the model's framework."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import EdgekitError, ModelError
from edgekit.core.model import Model
from edgekit.core.protocols import LoadedModel
from edgekit.core.registry import resolve
from edgekit.verify.folders import chunks, cut, said

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYERS_FOLDER = "layers"
NARROWER = "give a range of sizes that the model takes, or one size"


def run(
    out: Path, model: dict[str, Any], data: dict[str, Any], sizes: dict[str, int] | None = None
) -> dict[str, Any]:
    """See `edgekit.verify.reference_step`."""
    import numpy as np

    handle, samples = Model.from_json(model), DataSet.from_json(data)
    loaded: LoadedModel = resolve(handle.loader)(handle)
    signature = loaded.signature
    files: list[NDArray[np.generic]] = []
    for start, stop in chunks(samples, [*signature.inputs, *signature.outputs]):
        with _translated(handle.reference, said(sizes)):
            answers = loaded.run(cut(samples.rows(signature, start, stop), signature, sizes))
        for index, spec in enumerate(signature.outputs):
            answer = np.asarray(answers[spec.name])
            _check(answer, spec.name, start, stop, handle.reference)
            if start == 0:
                shape = (samples.count, *answer.shape[1:])
                files.append(
                    np.lib.format.open_memmap(
                        out / f"{index}.npy", mode="w+", dtype=answer.dtype, shape=shape
                    )
                )
            files[index][start:stop] = answer
    if sizes:
        return {"signature": signature.to_json(), "layers": []}
    with _translated(handle.reference):
        layers = _layers(out / LAYERS_FOLDER, loaded, samples)
    return {"signature": signature.to_json(), "layers": layers}


@contextlib.contextmanager
def _translated(reference: str, where: str = "") -> Iterator[None]:
    """Whatever a framework raises while the model runs becomes a ModelError."""
    try:
        yield
    except ModelError as exc:
        if not where:
            raise
        raise ModelError(f"{exc.message}{where}", hint=NARROWER) from exc
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        words = " ".join(lines)[:300]
        raise ModelError(
            f"{reference!r} fails to run on the data{where}: {type(exc).__name__}: {words}",
            hint=NARROWER if where else "check that the data is what the model was trained on",
        ) from exc


def _check(answer: Any, name: str, start: int, stop: int, reference: str) -> None:
    import numpy as np

    if answer.ndim == 0 or len(answer) != stop - start:
        raise ModelError(
            f"{reference!r} gives output {name!r} of shape {answer.shape} for {stop - start} "
            "samples; its first axis must be the samples"
        )
    bad = ~np.isfinite(answer).reshape(len(answer), -1).all(axis=1)
    if answer.dtype.kind == "f" and bad.any():
        raise ModelError(
            f"{reference!r} itself gives NaN or infinity in {name!r} "
            f"for sample {start + int(bad.argmax())}",
            hint="check the model, and that the data is prepared as in training (--preprocess)",
        )


def _layers(folder: Path, loaded: LoadedModel, samples: DataSet) -> list[str]:
    """Save every layer's output for the first sample; the names, in order."""
    import numpy as np

    folder.mkdir()
    found = loaded.layers(samples.rows(loaded.signature, 0, 1))
    for index, value in enumerate(found.values()):
        np.save(folder / f"{index}.npy", np.asarray(value), allow_pickle=False)
    return list(found)
