"""A step that stands for the one that makes the CPU's file, and the running of what follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import EdgekitError
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests.tflite_graphs import signature_of


def made(path: Path) -> Step:
    """The file at `path` as an exporter's step would have left it."""
    return Step(
        title="export",
        function="tests.verify.networks:export",
        worker="plain",
        arguments={"path": str(path), "signature": signature_of(path).to_json()},
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Step], Done]]:
    """Runs a step in workers that serve all tests of a file; raises the step's error."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    with Pool() as pool:

        def run(step: Step) -> Done:
            outcome = run_steps([step], pool=pool, cache=cache)[step]
            if isinstance(outcome, EdgekitError):
                raise outcome
            return outcome

        yield run
