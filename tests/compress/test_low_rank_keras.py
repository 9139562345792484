"""Low-rank factors of Keras' layers: nothing is lost at full rank, in any graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.keras_graph import packed
from edgekit.compress.low_rank import Factors, LowRank
from edgekit.compress.low_rank_keras import replace, sites
from edgekit.core.errors import ConversionError
from tests.compress.keras_models import GENERATIONS, import_keras, mixed, net_of, opened, reopened
from tests.keras_zoo import zoo_for

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("generation", GENERATIONS)]

FULL = 10**9  # more than any rank here


@st.composite
def layers(draw: st.DrawFn) -> tuple[str, dict[str, Any], tuple[int, ...]]:
    """A class, its arguments, and the shape of an input for it."""
    space = draw(st.integers(0, 2))
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    how = {"use_bias": draw(st.booleans()), "activation": draw(st.sampled_from([None, "tanh"]))}
    if not space:
        return "Dense", {**how, "units": outputs}, (3, inputs)
    small = st.tuples(*[st.integers(1, 3)] * space)
    strided = draw(st.booleans())
    # Keras' own strides in space are equal, or TensorFlow would not compute them on the CPU.
    how |= {
        "filters": outputs,
        "kernel_size": draw(small),
        "strides": draw(st.integers(1, 3)) if strided else 1,
        "dilation_rate": 1 if strided else draw(small),
        "padding": draw(st.sampled_from(["same", "valid", *(["causal"] if space == 1 else [])])),
    }
    return f"Conv{space}D", how, (*(8,) * space, inputs)


@settings(max_examples=25, deadline=None)
@given(case=layers(), rank=st.integers(1, 3))
def test_two_layers_compute_what_one_of_the_merged_kernel_does(
    generation: str, case: tuple[str, dict[str, Any], tuple[int, ...]], rank: int
) -> None:
    """At full rank that kernel is the layer's own."""
    keras = import_keras(generation)
    kind, how, shape = case
    keras.backend.clear_session()
    model = keras.Sequential(
        [
            keras.layers.Input(shape),
            getattr(keras.layers, kind)(**how, bias_initializer="normal", name="layer"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    site = sites(net_of(keras, model))[0]
    assert not site.why_not
    own = site.kernel.copy()
    for at in site.ways("auto"):
        for wanted in (rank, FULL):
            model.layers[0].kernel.assign(own)
            factors = Factors.of(site, at, wanted, 1.0)
            net = net_of(keras, model)
            replace(net, {"layer": factors})
            assert [each.name for each in net.model.layers] == ["layer_narrow", "layer"]
            model.layers[0].kernel.assign(own if wanted == FULL else factors.first @ factors.second)
            np.testing.assert_allclose(net.model(x), model(x), atol=1e-4)


def test_any_graph_keeps_its_names_and_outputs(generation: str, tmp_path: Path) -> None:
    keras = import_keras(generation)
    opener, origin, net = opened(keras, mixed(keras), tmp_path / "model.keras")
    x = [np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)]
    before, signature = net.predict(x), net.live.signature
    full = {
        site.layer: Factors.of(site, site.ways("auto")[0], FULL, 1.0)
        for site in sites(net)
        if not site.why_not
    }
    assert set(full) == {"stem", "twice", "base/conv", "hidden", "scores"}
    replace(net, full)
    again = reopened(net, opener, origin, tmp_path / "again")
    assert again.live.signature == signature
    assert {"base/conv_narrow", "base/conv"} <= {path for path, _ in again.layers()}
    for got, here, wanted in zip(again.predict(x), net.predict(x), before, strict=True):
        np.testing.assert_allclose(here, wanted, atol=1e-4)
        np.testing.assert_allclose(got, here, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", "dict", "nested", "lstm", "residual", "open", "batch4"])
def test_inputs_and_outputs_of_any_form_stay(
    generation: str, name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    zoo = zoo_for(tmp_path_factory, {"keras": "keras3", "tf_keras": "keras2"}[generation])
    keras = import_keras(generation)
    model = keras.models.load_model(zoo / f"{name}.keras", compile=False)
    net = net_of(keras, model)
    shapes = [[4, *(size or 8 for size in tensor.shape[1:])] for tensor in model.inputs]
    draws = np.random.default_rng(0)
    given = packed(model, [draws.normal(size=shape).astype(np.float32) for shape in shapes])
    full = {site.layer: Factors.of(site, 0, FULL, 1.0) for site in sites(net)}
    replace(net, full)
    wanted, got = model(given), net.model(given)
    assert type(got) is type(wanted)
    for one, other in zip(flat(got), flat(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def flat(answer: Any) -> list[Any]:
    if isinstance(answer, dict):
        return [answer[key] for key in sorted(answer)]
    return list(answer) if isinstance(answer, list | tuple) else [answer]


def test_less_energy_leaves_less_to_compute(generation: str) -> None:
    keras = import_keras(generation)
    net = net_of(keras, mixed(keras))
    notes = LowRank(energy=0.6, layers=("twice", "base/*"), ranks={"stem": 1}).apply(net, None)
    assert notes[0].startswith("3 layers are two now, with 0.")
    assert "stem" in notes[0]
    assert "base/norm" not in " ".join(notes)


def test_what_cannot_be_parted_is_told(generation: str) -> None:
    keras = import_keras(generation)
    make = keras.layers
    model = keras.Sequential(
        [
            make.Input((8, 8, 16)),
            make.Conv2D(16, 3, groups=2, name="grouped"),
            make.Conv2D(16, 3, kernel_constraint="non_neg", name="held"),
            make.Conv2D(32, 3, name="plain"),
            make.TimeDistributed(make.Dense(64), name="each"),
        ]
    )
    net = net_of(keras, model)
    notes = LowRank(rank=2, layers=("*",)).apply(net, None)
    assert "grouped has 2 groups" in notes[1]
    assert "held has a constraint on its kernel" in notes[1]
    assert "each/" in notes[1] or "each is no dense layer" in notes[1]


def test_a_model_of_the_users_own_class_is_refused(generation: str) -> None:
    keras = import_keras(generation)

    class Own(keras.Model):  # type: ignore[name-defined]
        def call(self, inputs: Any, training: bool = False) -> Any:
            return super().call(inputs, training=training) * 2

    image = keras.layers.Input((8,))
    net = net_of(keras, Own(image, keras.layers.Dense(64, name="dense")(image)))
    with pytest.raises(ConversionError, match="only Sequential and functional models"):
        LowRank(rank=1).apply(net, None)
