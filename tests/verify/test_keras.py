"""Real converted networks: no false alarm, and the right layer named on a fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.model import Model, ModelOptions
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import BUILTIN, Recipe
from edgekit.core.verdict import Verdict
from edgekit.data import open_data, read_data
from edgekit.export import EXPORTERS
from edgekit.sources import SOURCES
from edgekit.verify import compare_step, reference_step
from edgekit.verify.graph import Graph
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps

pytestmark = pytest.mark.slow

MAKE = """
import sys, keras
from keras import layers as L
keras.utils.set_random_seed(3)
x = i = keras.Input((24, 24, 3), name="photo")
x = L.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(x)
x = L.BatchNormalization(name="stem_bn")(x)
x = L.ReLU(6, name="stem_relu")(x)
x = L.DepthwiseConv2D(3, padding="same", name="depth")(x)
y = L.Conv2D(16, 1, activation="swish", name="mix")(x)
x = L.Add(name="join")([x, y])
h = j = keras.Input((24, 24, 16))
h = L.Conv2D(24, 3, strides=2, activation="relu", name="deep")(h)
h = L.GlobalAveragePooling2D(name="pool")(h)
inner = keras.Model(j, h, name="body")
x = inner(x)
x = L.Dense(32, activation="gelu", name="wide")(x)
x = L.Dense(10, activation="softmax", name="scores")(x)
keras.Model(i, x).save(sys.argv[1])
"""


@dataclass
class Setup:
    pool: Pool
    cache: Cache
    model: Model
    data: DataSet

    def do(self, *steps: Step) -> list[Done]:
        outcomes = run_steps(steps, pool=self.pool, cache=self.cache)
        done = []
        for step in steps:
            outcome = outcomes[step]
            assert isinstance(outcome, Done), outcome
            done.append(outcome)
        return done

    def export(self, name: str) -> Step:
        step: Step = EXPORTERS["tflite"]().step(self.model, BUILTIN[name], self.data)
        return step

    def verdict(self, artifact: Step, recipe: Recipe) -> Verdict:
        reference = reference_step(self.model, self.data)
        step = compare_step(artifact, reference, self.data, recipe, self.export("float32"))
        return Verdict.from_json(self.do(step)[0].result["verdict"])


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("keras")
    subprocess.run([sys.executable, "-c", MAKE, str(folder / "net.keras")], check=True)
    draw = np.random.default_rng(0)
    photos = draw.uniform(-1, 1, (20, 6, 6, 3)).repeat(4, 1).repeat(4, 2).astype(np.float32)
    np.save(folder / "photos.npy", photos)
    with Pool() as pool:
        source = SOURCES["keras"]()
        model = source.open(str(folder / "net.keras"), ModelOptions())
        found = Setup(pool, Cache(folder / "cache"), model, None)  # type: ignore[arg-type]
        step = open_data(str(folder / "photos.npy"), preprocessing=Preprocessing())
        found.data = read_data(found.do(step)[0])
        yield found


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic", "int8", "int8-io", "int16x8"])
def test_a_sound_artifact_is_accepted_and_diverges_nowhere(setup: Setup, name: str) -> None:
    verdict = setup.verdict(setup.export(name), BUILTIN[name])
    assert verdict.status == "accepted", verdict
    assert verdict.divergence is None
    assert verdict.parity[0].before_softmax


def test_every_layer_of_the_float_artifact_is_found_in_the_source(setup: Setup) -> None:
    reference = reference_step(setup.model, setup.data)
    made = setup.export("float32")
    step = compare_step(made, reference, setup.data, BUILTIN["float32"], made).needs["layers"]
    found = setup.do(step)[0].result["layers"]
    names = [each["layer"] for each in found]
    assert {"stem_relu", "mix", "join", "body/deep", "body/pool", "wide", "scores"} <= set(names)
    assert all(each["snr_db"] is None or each["snr_db"] > 100 for each in found), found


@pytest.mark.parametrize("layer", ["depth", "body/deep", "wide", "scores"])
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_broken_weights_are_found_in_their_layer(
    setup: Setup, tmp_path: Path, layer: str, name: str
) -> None:
    whole = setup.do(setup.export(name))[0]
    broken = tmp_path / "model.tflite"
    broken.write_bytes(_without_weights(whole.folder / "model.tflite", layer.rpartition("/")[2]))
    step = Step(
        title="broken",
        function="tests.verify.networks:export",
        worker="plain",
        arguments={"path": str(broken), "signature": whole.result["signature"]},
    )
    verdict = setup.verdict(step, BUILTIN[name])
    assert verdict.status == "rejected"
    assert verdict.divergence is not None
    assert verdict.divergence.layer == layer


def _without_weights(path: Path, layer: str) -> bytes:
    """The file with the weights of the first operator that is named after `layer` all zero."""
    graph: Any = Graph(path)
    main = graph._graph
    for operator in main.operators:
        name = graph._name(operator.outputs[0])
        if f"/{layer}" in name.partition(";")[0] and len(operator.inputs) == 3:
            buffer = graph._model.buffers[main.tensors[operator.inputs[1]].buffer]
            buffer.data = np.zeros(len(buffer.data), np.uint8)
            content: bytes = graph.with_outputs([])
            return content
    raise AssertionError(f"no operator is named after {layer}")
