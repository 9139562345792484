"""From a recipe with passes to an artifact, as a person does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.jobs.convert import convert
from edgekit.jobs.plan import Wish, make_plan
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow

MODELS = """
from pathlib import Path

import numpy as np


def keras():
    import keras

    L = keras.layers
    keras.utils.set_random_seed(0)
    net = keras.Sequential([
        L.Input((8, 8, 1)), L.Conv2D(8, 3, activation="relu"), L.BatchNormalization(),
        L.Conv2D(16, 3, activation="relu"), L.Flatten(), L.Dropout(0.1), L.Dense(10, "softmax"),
    ])
    net.compile("adam", "sparse_categorical_crossentropy")
    data = np.load("train.npz")
    net.fit(data["x"], data["labels"], epochs=5, verbose=0)
    return net


def torch():
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.1), nn.Linear(256, 10),
    )
    if Path("trained.pt").exists():
        net.load_state_dict(torch.load("trained.pt"))
        return net, (torch.zeros(1, 1, 8, 8),)
    data = np.load("train.npz")
    x, labels = torch.from_numpy(data["x"]), torch.from_numpy(data["labels"])
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    for step in range(100):
        part = torch.arange(step * 32, step * 32 + 32) % len(x)
        adam.zero_grad()
        nn.functional.cross_entropy(net(x[part]), labels[part]).backward()
        adam.step()
    torch.save(net.state_dict(), "trained.pt")
    return net, (torch.zeros(1, 1, 8, 8),)
"""
RECIPE = """
schema = 1
name = "small-int8"
quantization = "int8"
[[passes]]
pass = "prune"
sparsity = 0.7
[[passes]]
pass = "cluster"
clusters = 16
[training]
epochs = 3
learning_rate = 0.003
[training.distill]
weight = 0.1
[budget]
max_drop = 5
"""


@pytest.fixture
def digits(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the module of models, the recipe, and digits in the layout of a framework."""
    from sklearn.datasets import load_digits

    monkeypatch.chdir(desk)
    (desk / "users_nets.py").write_text(MODELS)
    (desk / "small.toml").write_text(RECIPE)

    def write(axis: int) -> None:
        found = load_digits()
        images = np.expand_dims((found.images / 16).astype(np.float32), axis)
        for name, part in (
            ("train", slice(800)), ("calibration", slice(1200, 1260)), ("test", slice(1300, 1500))
        ):  # fmt: skip
            np.savez(desk / f"{name}.npz", x=images[part], labels=found.target[part])

    return write


def kernels(path: Path) -> list[Any]:
    """The INT8 kernels of a TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    reader = Interpreter(str(path))
    return [
        reader.get_tensor(detail["index"])
        for detail in reader.get_tensor_details()
        if detail["dtype"] == np.int8 and len(detail["quantization_parameters"]["scales"]) > 1
    ]


def check(build: Path) -> None:
    told = json.loads((build / "build.json").read_text())
    (variant,) = told["variants"]
    prune, cluster = variant["passes"]
    assert (prune["spec"]["name"], cluster["spec"]["name"]) == ("prune", "cluster")
    assert cluster["spec"]["parameters"]["scope"] == "scaled"
    assert prune["refused"] == cluster["refused"] == []
    assert prune["history"]["epochs"] == 3
    assert prune["score"]["source_value"] > 0.8
    assert prune["after"]["zipped_bytes"] < prune["before"]["zipped_bytes"]
    assert cluster["after"]["zipped_bytes"] < prune["after"]["zipped_bytes"]
    assert variant["verdict"]["status"] == "accepted"
    (artifact,) = (build / "artifacts").glob("*.tflite")
    found = kernels(artifact)
    assert sorted(array.size for array in found) == [72, 1152, 2560]
    for array in found:
        assert len(np.unique(array)) <= 16
        assert (array == 0).sum() == round(0.7 * array.size)
    assert not list((build.parent / "cache").glob("training/*"))


def test_keras(edgekit: Run, desk: Path, digits: Any, fresh_cache: Path) -> None:
    digits(-1)
    words = [
        "convert", "keras:users_nets:keras", "--for", "host", "--variant", "small.toml", "--train",
        "train.npz", "--calibration", "calibration.npz", "--evaluate", "test.npz", "-o", "build",
    ]  # fmt: skip
    done = edgekit(*words)
    assert done.code == 0, done.err
    check(desk / "build")
    wrong = RECIPE.replace("sparsity = 0.7", 'exclude = ["logits"]').replace('"small', '"wrong')
    (desk / "small.toml").write_text(wrong)
    done = edgekit(*words[:-1], "other")
    assert done.code != 0
    assert "exclude = 'logits' matches no layer with weights" in done.out + done.err
    assert "its layers: conv2d" in done.out + done.err


def test_torch(desk: Path, digits: Any, fresh_cache: Path) -> None:
    """And its words while it trains."""
    digits(1)
    events: list[tuple[str, str]] = []
    plan = make_plan(
        Wish(
            model="torch:users_nets:torch",
            profile="host",
            variants=["small.toml"],
            calibration="calibration.npz",
            evaluation="test.npz",
            training="train.npz",
        )
    )
    convert(plan, desk / "build", progress=lambda step, event: events.append((step.title, event)))
    check(desk / "build")
    said = [event for title, event in events if title.startswith("small-int8: prune")]
    assert said[0] == "start"
    assert said[1].startswith("says epoch 1 of 3, step 1 of 22, loss ")
    assert any(event.startswith("says epoch 2 of 3, step 21 of 22, ") for event in said)
    assert said[-1] == "done"
