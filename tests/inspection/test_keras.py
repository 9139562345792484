"""Keras models of both generations and SavedModels, through the job: loaded by their source."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.description import Description
from edgekit.core.errors import ModelError, UntrustedModelError, UsageError
from edgekit.core.model import ModelOptions
from edgekit.inspection.keras import KerasInspector
from edgekit.jobs.inspect import inspect
from edgekit.sources import SOURCES
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, run_steps
from tests.keras_zoo import zoo_for

# Of the zoo's cnn on 8×8×1: convolution 3×3×1 to 6×6×16, depthwise 3×3 to 4×4×16, dense 256 to 10.
CNN = {"Conv2D": 6 * 6 * 16 * 9, "DepthwiseConv2D": 4 * 4 * 16 * 9, "Dense": 2560}


def by_operator(found: Description) -> dict[str, int]:
    return {line.operator: line.macs for line in found.coverage.table if line.macs}


SHAPES = {"open.keras": {"image": (1, 10, 10, 3)}}
NAMES = ("cnn.keras", "cnn.h5", "nested.keras", "lstm.keras", "lstm", "open.keras")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Description]:
    """Descriptions by generation and name; all in one worker, as TensorFlow takes long to start."""
    steps = {}
    for generation, names in (("keras3", NAMES), ("keras2", ("cnn.h5", "nested.keras"))):
        folder = zoo_for(tmp_path_factory, generation)
        for name in names:
            options = ModelOptions(shapes=SHAPES.get(name, {}))
            model = SOURCES["keras"]().open(str(folder / name), options)
            steps[f"{generation}/{name}"] = KerasInspector().step_of(model)
    with Pool() as pool:
        done = run_steps(steps.values(), pool=pool, cache=Cache(tmp_path_factory.mktemp("cache")))
    results = {name: done[step] for name, step in steps.items()}
    failed = {name: str(each) for name, each in results.items() if not isinstance(each, Done)}
    assert not failed
    return {
        name: Description.from_json(each.result["description"])
        for name, each in results.items()
        if isinstance(each, Done)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keras3/cnn.keras", "keras3/cnn.h5", "keras2/cnn.h5"])
def test_layers_as_the_user_named_them(found: dict[str, Description], name: str) -> None:
    cnn = found[name]
    assert by_operator(cnn) == CNN
    layers = {node.operator: node.layer for node in cnn.coverage.nodes}
    assert (layers["Conv2D"], layers["DepthwiseConv2D"], layers["Dense"]) == (
        "first",
        "second",
        "scores",
    )
    assert cnn.parameters == 16 * 9 + 16 + 16 * 9 + 16 + 2560 + 10
    assert cnn.weights == {"float32": 4 * cnn.parameters}
    assert cnn.quantization == ""
    assert cnn.metadata["keras_version"]


@pytest.mark.slow
@pytest.mark.parametrize("generation", ["keras3", "keras2"])
def test_layers_of_a_model_inside(found: dict[str, Description], generation: str) -> None:
    nodes = found[f"{generation}/nested.keras"].coverage.nodes
    assert [node.layer for node in nodes if node.macs] == ["base/conv", "head"]


@pytest.mark.slow
def test_a_loop_is_counted_as_often_as_it_runs(found: dict[str, Description]) -> None:
    steps, features, units = 8, 8, 8
    expected = {"LSTM": steps * 4 * units * (features + units), "Dense": units * 4}
    assert by_operator(found["keras3/lstm.keras"]) == expected
    saved = found["keras3/lstm"]
    assert by_operator(saved) == {"MatMul": sum(expected.values())}
    assert saved.metadata["tensorflow_version"].startswith("2.")


@pytest.mark.slow
def test_open_sizes_that_were_given(found: dict[str, Description]) -> None:
    assert by_operator(found["keras3/open.keras"]) == {"Conv2D": 8 * 8 * 4 * 27, "Dense": 12}


@pytest.mark.slow
def test_open_sizes_are_asked_for(keras3: Path) -> None:
    with pytest.raises(ModelError, match="open dimensions") as caught:
        inspect(str(keras3 / "open.keras"))
    assert "--shape image=" in caught.value.hint


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5", "registered.keras", "python"])
def test_code_in_a_model_is_not_run(keras3: Path, name: str) -> None:
    with pytest.raises(UntrustedModelError, match="would run"):
        inspect(str(keras3 / name))


def test_a_file_without_loaded_parts_takes_no_shapes(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"something")
    with pytest.raises(UsageError, match="--shape has no use"):
        inspect(str(tmp_path / "m.tflite"), ModelOptions(shapes={"x": (1,)}))


def test_what_looks_like_one(tmp_path: Path) -> None:
    inspector = KerasInspector()
    (tmp_path / "weights").write_bytes(b"\x89HDF\r\n\x1a\n and more")
    assert inspector.accepts(str(tmp_path / "weights"))
    assert inspector.accepts("somewhere/model.keras")
    assert not inspector.accepts(str(tmp_path))
    (tmp_path / "saved_model.pb").touch()
    assert inspector.accepts(str(tmp_path))
