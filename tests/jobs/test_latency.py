"""A pass that finds out how much has to go for a time: everything real, on this computer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.compress import technique
from edgekit.core.build import Variant
from edgekit.core.errors import PlanError
from edgekit.core.recipe import Recipe
from edgekit.jobs.convert import convert
from edgekit.jobs.latency import check_timed
from edgekit.jobs.plan import Wish, make_plan

RECIPE = """schema = 1
name = "{name}"
quantization = "none"
[[passes]]
pass = "shrink"
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
    assert "remove = 0.5" in caught.value.hint


@pytest.mark.slow
def test_channels_go_until_the_time_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a_net_to_time.py").write_text(NET)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(16, 32, 32, 3)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x, labels=np.arange(16) % 2)

    def made(name: str, share: float) -> Variant:
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(name=name, share=share))
        wish = Wish(
            model="keras:a_net_to_time:net",
            profile="host",
            variants=[f"{name}.toml"],
            evaluation="x.npz",
        )
        return convert(make_plan(wish), tmp_path / name).variants[0]

    (report,) = made("most", 0.9).passes
    assert report.asked.parameters["share"] == 0.9
    removed = report.spec.parameters["remove"]
    assert report.after.macs <= (1 - removed) * report.before.macs
    assert report.notes[0].startswith(f"share = 0.9: shrink epochs=0 remove={removed:.4g} is the ")
    assert "ms on this computer" in report.notes[0]
    (again,) = made("most", 0.9).passes
    assert again.notes == report.notes  # what was timed is kept

    (reason,) = made("all", 0.001).verdict.reasons
    assert "share = 0.001 cannot be reached on this computer" in reason
