"""What one side's answers score beside those of the other. Needs no framework."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import InputError, ModelError
from edgekit.core.recipe import Budget
from edgekit.core.tensor import Signature
from edgekit.core.verdict import Score
from edgekit.verify.folders import chunks, load_arrays, signature
from edgekit.verify.metric import Metric
from edgekit.verify.metrics import make_metric, scored, threshold_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ROWS_FILE = "rows.npz"
USUAL = Budget().metric


def run(
    out: Path, data: dict[str, Any], metric: str, candidate: str, reference: str
) -> dict[str, Any]:
    """See `edgekit.verify.score_step`."""
    samples, source = DataSet.from_json(data), signature(reference)
    sides = [load_arrays(Path(side), len(source.outputs)) for side in (reference, candidate)]
    answers = {}
    for spec, *arrays in zip(source.outputs, *sides, strict=True):
        theirs, mine = (array.shape for array in arrays)
        if theirs != mine:
            raise ModelError(
                f"the changed model gives {spec.name!r} as {mine}, its source as {theirs}"
            )
        answers[spec.name] = arrays
    measure = Measure(metric, source, samples)
    if measure.metric.single:
        (name,) = measure.metric.outputs
        measure.metric.threshold = threshold_for(answers[name][0])
    for start, stop in chunks(samples, [*source.outputs, *source.outputs]):
        part = {name: (a[start:stop], b[start:stop]) for name, (a, b) in answers.items()}
        measure.take(part, start, stop)
    return {"score": measure.score().to_json()}


class Measure:
    """A metric of a source's answers and of others, taken a few samples at a time.

    Raises:
        UsageError, DataError: see `edgekit.verify.metrics.make_metric`.
    """

    def __init__(self, metric: str, source: Signature, samples: DataSet) -> None:
        self.metric = make_metric(metric, source, samples)
        self._outputs = [spec for spec in source.outputs if self.reads(spec.name)]
        self._samples, self._targets = samples, samples.targets()
        self._rows: tuple[list[Any], list[Any]] = ([], [])
        self._sums: dict[str, Any] = {}

    @classmethod
    def of(cls, metric: str, source: Signature, samples: DataSet) -> Measure | None:
        """None where there are no labels, or none that mean anything to the usual metric."""
        known = samples.target is not None or samples.labelled
        if not metric or not known or (metric == USUAL and source.score_output() is None):
            return None
        return cls(metric, source, samples)

    def reads(self, output: str) -> bool:
        """Whether the metric is of that output, perhaps among others."""
        return output in self.metric.outputs

    def take(self, answers: Mapping[str, tuple[Array, Array]], start: int, stop: int) -> None:
        """Measure samples `start` to `stop`: of each output the source's answers and the others."""
        import numpy as np

        sides: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
        for name in self.metric.outputs:
            expected, given = (np.asarray(array) for array in answers[name])
            sides[0][name] = expected
            if expected.dtype.kind == "f":
                sides[1][name] = given
                self._sums[name] = self._sums.get(name, 0) + expected.sum(axis=0, dtype=np.float64)
            else:
                sides[1][name] = given.astype(expected.dtype)
                self._sums.setdefault(name, expected[0])
        for rows, side in zip(self._rows, sides, strict=True):
            rows.append(self.metric.rows(side, self._target(start, stop)))

    def score(self) -> Score:
        """What was taken of the others beside the source's."""
        import numpy as np

        return scored(self.metric, *map(np.concatenate, self._rows))

    def save(self, path: Path) -> None:
        """Keep the rows of both sides, so that answers from elsewhere can be held against them."""
        import numpy as np

        source, given = map(np.concatenate, self._rows)
        np.savez_compressed(
            path, source=source, artifact=given, threshold=np.float64(self.metric.threshold)
        )

    def constant(self) -> dict[str, Any] | None:
        """``value``: what the source's mean answer scores, given to every sample (of whole numbers
        its first answer); ``no_better``: who is not surely better, "source" and "artifact".

        None for class labels, where chance is known.
        """
        import numpy as np

        if self.metric.targets == "classes":
            return None
        always = {
            name: value / self._samples.count if value.dtype.kind == "f" else value
            for name, value in self._sums.items()
        }
        rows = []
        for start, stop in chunks(self._samples, self._outputs):
            answers = {
                name: np.broadcast_to(value, (stop - start, *value.shape))
                for name, value in always.items()
            }
            rows.append(self.metric.rows(answers, self._target(start, stop)))
        constant = np.concatenate(rows)
        beside = {
            who: scored(self.metric, np.concatenate(mine), constant)
            for who, mine in zip(("source", "artifact"), self._rows, strict=True)
        }
        return {
            "value": beside["source"].value,
            "no_better": [who for who, found in beside.items() if found.low <= 0],
        }

    def _target(self, start: int, stop: int) -> Array:
        import numpy as np

        assert self._targets is not None
        return np.asarray(self._targets[start:stop])


class Kept:
    """What `Measure.save` has kept, and answers from elsewhere beside it, a few samples at a time.

    Args:
        path: the file.
        metric: the one that it was made with.

    Raises:
        InputError: the file is not there, or not one of ours.
    """

    def __init__(self, path: Path, metric: Metric) -> None:
        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as file:
                self._source, self._artifact = file["source"], file["artifact"]
                metric.threshold = float(file["threshold"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
            raise InputError(
                f"{str(path)!r} is missing or cannot be read: it holds what the build scored here",
                hint="run edgekit convert again with --evaluate; what did not change comes from "
                "the cache",
            ) from exc
        self.metric = metric
        self._rows: list[Any] = []

    @property
    def samples(self) -> int:
        return len(self._source)

    def take(self, answers: Mapping[str, Array], targets: Array) -> None:
        """Measure the next samples: their answers by output name, finite, and their targets."""
        self._rows.append(self.metric.rows(answers, targets))

    def scores(self) -> tuple[Score, Score]:
        """What was taken against the source's answers, and against the artifact's own here."""
        import numpy as np

        rows = np.concatenate(self._rows)
        return scored(self.metric, self._source, rows), scored(self.metric, self._artifact, rows)
