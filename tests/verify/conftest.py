"""A bench on which artifacts are verified in this process: no workers, no TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.recipe import Budget
from edgekit.core.verdict import Verdict
from edgekit.verify import compare, judge, layers, reference
from edgekit.work.cache import RESULT_FILE
from tests.verify.networks import Dense, save, signature_of, write


class Bench:
    """Source model, data and artifacts in folders as steps leave them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._count = 0

    def folder(self, result: dict[str, Any] | None = None) -> Path:
        self._count += 1
        made = self.root / str(self._count)
        made.mkdir()
        if result is not None:
            (made / RESULT_FILE).write_text(json.dumps(result))
        return made

    def data(self, values: Any, labels: Any = None, targets: Any = None) -> DataSet:
        """`values` with shape (samples, features) as a data set."""
        folder = self.folder()
        np.save(folder / "0.npy", values)
        known = None
        if labels is not None:
            np.save(folder / "labels.npy", np.asarray(labels))
            known = (int(min(labels)), int(max(labels)))
        if targets is not None:
            np.save(folder / "targets.npy", targets)
        return DataSet(
            folder=str(folder),
            inputs=("",),
            count=len(values),
            digest=folder.name,
            origin="test",
            choice="all",
            labelled=labels is not None,
            facts=(facts_of(values),),
            label_range=known,
            target=None if targets is None else facts_of(targets),
        )

    def source(self, net: Sequence[Dense], data: DataSet, last: str = "softmax") -> Path:
        """The folder of the reference step."""
        model = save(self.folder() / "net.npz", net, last)
        out = self.folder()
        result = reference.run(out, model.to_json(), data.to_json())
        (out / RESULT_FILE).write_text(json.dumps(result))
        return out

    def artifact(self, net: Sequence[Dense], last: str = "softmax") -> Path:
        """The folder of an export step."""
        out = self.folder({"files": ["model.tflite"], "signature": signature_of(net).to_json()})
        write(out / "model.tflite", net, last)
        return out

    def figures(
        self, artifact: Path, source: Path, data: DataSet, metric: str = "top1"
    ) -> dict[str, Any]:
        return compare.run(
            self.folder(),
            data.to_json(),
            "tflite",
            artifact=str(artifact),
            reference=str(source),
            metric=metric,
        )

    def layers(
        self, artifact: Path, source: Path, data: DataSet, base: Path | None = None
    ) -> list[dict[str, Any]]:
        more = {} if base is None else {"base": str(base)}
        found: list[dict[str, Any]] = layers.run(
            self.folder(), data.to_json(), artifact=str(artifact), reference=str(source), **more
        )["layers"]
        return found

    def verdict(
        self, artifact: Path, source: Path, data: DataSet, budget: Budget, base: Path | None = None
    ) -> Verdict:
        figures = self.figures(artifact, source, data, budget.metric)
        return judge.judge(figures, self.layers(artifact, source, data, base), budget, "test")


def facts_of(values: Any) -> ArrayFacts:
    low, high = float(values.min()), float(values.max())
    return ArrayFacts(shape=values.shape[1:], dtype=values.dtype.name, minimum=low, maximum=high)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def features() -> Any:
    """100 samples of 16 features."""
    return np.random.default_rng(5).normal(size=(100, 16)).astype(np.float32)
