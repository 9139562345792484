"""Reads data the way the steps do, but in this process: `read(reference, …)`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.recipe import Calibration
from edgekit.core.registry import resolve
from edgekit.data import open_data, read_data
from edgekit.work.steps import Done, Step

Read = Callable[..., DataSet]


def do(step: Step, folder: Path) -> DataSet:
    folder.mkdir()
    result = resolve(step.function)(folder, **step.arguments)
    return read_data(Done(folder, result, cached=False, seconds=0.0))


@pytest.fixture
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    root = tmp_path_factory.mktemp("read")
    count = itertools.count()

    def reader(
        reference: Any,
        prepare: str = "none",
        labels: tuple[str, ...] = (),
        targets: bool = False,
        **choice: Any,
    ) -> DataSet:
        step = open_data(
            str(reference),
            preprocessing=parse_preprocessing(prepare),
            choice=Calibration(**choice) if choice else None,
            labels=labels,
            targets=targets,
        )
        return do(step, root / str(next(count)))

    return reader
