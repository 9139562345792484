"""What a changed model scores beside the one it was made from. Needs no framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import ModelError
from edgekit.verify.folders import chunks, load_arrays, signature
from edgekit.verify.metrics import make_metric, scored, threshold_for


def run(
    out: Path, data: dict[str, Any], metric: str, candidate: str, reference: str
) -> dict[str, Any]:
    """See `edgekit.verify.score_step`."""
    import numpy as np

    samples = DataSet.from_json(data)
    source = signature(reference)
    count = len(source.outputs)
    sides = [load_arrays(Path(folder), count) for folder in (reference, candidate)]
    for spec, *arrays in zip(source.outputs, *sides, strict=True):
        shapes = [array.shape for array in arrays]
        if shapes[0] != shapes[1]:
            raise ModelError(
                f"output {spec.name!r} is {shapes[1]} where the source model gives {shapes[0]}"
            )
    made = make_metric(metric, source, samples)
    places = [index for index, spec in enumerate(source.outputs) if spec.name in made.outputs]
    if len(places) == 1:
        made.threshold = threshold_for(sides[0][places[0]])
    rows: list[list[Any]] = [[], []]
    targets = samples.targets()
    assert targets is not None
    for start, stop in chunks(samples, [*source.outputs, *source.outputs]):
        for kept, arrays in zip(rows, sides, strict=True):
            answers = {
                source.outputs[index].name: np.asarray(arrays[index][start:stop])
                for index in places
            }
            kept.append(made.rows(answers, np.asarray(targets[start:stop])))
    return {"score": scored(made, *map(np.concatenate, rows)).to_json()}
