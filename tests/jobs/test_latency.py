"""A pass that finds out how much has to go for a time: everything real, on this computer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.compress import technique
from edgekit.core.build import Variant
from edgekit.core.errors import PlanError
from edgekit.core.recipe import Recipe
from edgekit.jobs import latency
from edgekit.jobs.convert import convert
from edgekit.jobs.latency import check_timed
from edgekit.jobs.plan import Wish, make_plan

RECIPE = """schema = 1
name = "{name}"
quantization = "none"
[[passes]]
pass = "{technique}"
target = "latency"
share = {share}
epochs = 0
[budget]
max_drop = 100
"""
# Nearly all of its time goes with its channels: half of them gone is far from 0.9 of the time.
NET = """
import keras

def net():
    keras.utils.set_random_seed(0)
    x = image = keras.Input((32, 32, 3), name="image")
    for _ in range(3):
        x = keras.layers.Conv2D(64, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(2)(x))
"""


def test_what_does_not_run_on_a_cpu_is_refused() -> None:
    passes = [{"pass": "shrink", "target": "latency", "share": 0.5}]
    facts = {"name": "small", "quantization": "float16", "passes": passes}
    cpu = Recipe.from_json(facts)
    gpu = Recipe.from_json({**facts, "delegate": "gpu"})
    found = technique(cpu.passes[0], "small")
    check_timed(cpu, found, "shrink")
    with pytest.raises(PlanError, match="measured on CPUs only; the recipe is for gpu") as caught:
        check_timed(gpu, found, "shrink")
    assert "how much shall go" in caught.value.hint


class Desk:
    """A folder with a net and data, in which recipes are made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "a_net_to_time.py").write_text(NET)
        x = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype(np.float32)
        np.savez(folder / "x.npz", x=x, labels=np.arange(16) % 2)

    def made(self, technique: str, name: str, share: float) -> Variant:
        recipe = self._folder / f"{name}.toml"
        recipe.write_text(RECIPE.format(technique=technique, name=name, share=share))
        wish = Wish(
            model="keras:a_net_to_time:net",
            profile="host",
            variants=[recipe.name],
            evaluation="x.npz",
        )
        return convert(make_plan(wish), self._folder / name).variants[0]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    fewer = latency.SETTINGS.model_copy(update={"launches": 3})  # most of the time goes with them
    monkeypatch.setattr(latency, "SETTINGS", fewer)
    return Desk(tmp_path)


@pytest.mark.slow
def test_channels_go_until_the_time_is_reached(desk: Desk) -> None:
    (report,) = desk.made("shrink", "most", 0.9).passes
    assert report.asked.parameters["share"] == 0.9
    removed = report.spec.parameters["remove"]
    assert report.after.macs <= (1 - removed) * report.before.macs
    assert report.notes[0].startswith(f"share = 0.9: shrink epochs=0 remove={removed:.4g} is the ")
    assert "ms on this computer" in report.notes[0]
    (again,) = desk.made("shrink", "most", 0.9).passes
    assert again.notes == report.notes  # what was timed is kept

    (reason,) = desk.made("shrink", "all", 0.001).verdict.reasons
    assert "share = 0.001 cannot be reached on this computer" in reason


@pytest.mark.slow
def test_ranks_fall_until_the_time_is_reached(desk: Desk) -> None:
    (report,) = desk.made("low-rank", "most", 0.8).passes
    assert 0.05 <= report.spec.parameters["energy"] < 1
    assert report.after.macs < report.before.macs
    assert report.notes[0].startswith("share = 0.8: low-rank epochs=0 energy=0.")
    (reason,) = desk.made("low-rank", "all", 0.001).verdict.reasons
    assert "low-rank: share = 0.001 cannot be reached on this computer" in reason
    assert "95 % of the kernels' energy that can go at most" in reason
