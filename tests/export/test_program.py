"""Models as programs of torch.export: their way, their names, and failures in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import ConversionError
from edgekit.core.failures import place
from edgekit.core.files import sha256_file
from edgekit.core.model import ModelOptions
from edgekit.core.tensor import Signature
from edgekit.export.program import program_step
from edgekit.sources.keras import KerasSource
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, run_steps
from tests.torch_nets import handle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as workers:
        yield workers


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def test_a_torch_model_is_traced_once_for_all(pool: Pool, cache: Cache) -> None:
    step = program_step(handle("words"))

    made = run_steps([step], pool=pool, cache=cache)[step]

    assert isinstance(made, Done)
    signature = Signature.from_json(made.result["signature"])
    assert [str(spec) for spec in signature.inputs] == ["ids int64 1×6", "padded bool 1×6"]
    assert made.result["way"] == "torch.export"
    assert made.result["parent"] == "net-words"
    assert made.result["sha256"] == sha256_file(made.folder / "program.pt2")
    beside = json.loads((made.folder / "program.json").read_text("utf-8"))
    assert beside["signature"] == made.result["signature"]
    assert program_step(handle("words")).key == step.key


def test_a_keras_model_comes_by_its_float_file(keras3: Path, pool: Pool, cache: Cache) -> None:
    step = program_step(KerasSource().open(str(keras3 / "cnn.keras"), ModelOptions()))

    made = run_steps([step], pool=pool, cache=cache)[step]

    assert isinstance(made, Done)
    signature = Signature.from_json(made.result["signature"])
    assert [str(spec) for spec in signature.inputs] == ["image float32 1×8×8×1"]
    assert [spec.name for spec in signature.outputs] == ["scores"]
    assert "TFLite" in made.result["way"]
    assert len(made.result["parent"]) == 64


def test_a_failure_names_the_line_of_the_model(pool: Pool, cache: Cache) -> None:
    step = program_step(handle("decides"))

    error = run_steps([step], pool=pool, cache=cache)[step]

    assert isinstance(error, ConversionError)
    assert "torch_nets.py:" in str(error)
    assert " in forward" in str(error)


def test_the_place_is_the_last_line_outside_of_libraries() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")

    assert place(caught.value).startswith("test_program.py:")
