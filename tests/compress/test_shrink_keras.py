"""Keras models without some of their channels: what nothing read is not missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.channels import Family, find_families, keep_along
from edgekit.compress.shrink import Shrink
from edgekit.compress.shrink_keras import KerasCutter
from edgekit.core.errors import ConversionError, UsageError
from tests.compress.shrink_keras_nets import (
    BLOCKS,
    ENDS,
    GENERATIONS,
    import_keras,
    net_of,
    network,
    stirred,
)

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("generation", GENERATIONS)]


def some_gone(cutter: KerasCutter, seed: int) -> np.ndarray:
    """A mask with some units of every family away that may lose some."""
    draw = np.random.default_rng(seed)
    kept = np.ones(len(cutter.channels), dtype=bool)
    for family in find_families(cutter.channels, cutter.sites):
        free = family.units[family.free]
        count = min(len(free), len(family.units) - 1)
        kept[draw.permutation(free)[: draw.integers(0, count + 1)]] = False
    return kept


def silence(cutter: KerasCutter, kept: np.ndarray) -> None:
    """Let nothing read what goes."""
    variables = {id(v): v for v in cutter._net.model.weights}
    for site in cutter.sites:
        if site.reads is not None:
            values = np.array(variables[cutter.key(site)])
            mask = np.zeros(values.shape[site.reads], dtype=bool)
            mask[keep_along(site.axes[site.reads], kept)] = True
            np.moveaxis(values, site.reads, 0)[~mask] = 0
            variables[cutter.key(site)].assign(values)


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {layer.name: tuple(layer.kernel.shape) for layer in model.layers if is_kernel(layer)}


def is_kernel(layer: Any) -> bool:
    return hasattr(getattr(layer, "kernel", None), "shape")


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    blocks=st.lists(
        st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(0, 9)), min_size=1, max_size=5
    ),
    end=st.sampled_from(sorted(ENDS)),
    seed=st.integers(0, 99),
)
def test_what_nothing_reads_is_not_missed_in_random_graphs(
    generation: str, blocks: list[tuple[str, int]], end: str, seed: int
) -> None:
    keras = import_keras(generation)
    model = network(keras, blocks, end, seed)
    net = net_of(keras, model)
    cutter = KerasCutter(net)
    kept = some_gone(cutter, seed)
    silence(cutter, kept)
    image = np.random.default_rng(seed).normal(size=(2, 6, 6, 3)).astype(np.float32)
    before = [np.array(out) for out in net.live.call([image], training=False)]
    cutter.cut(kept)
    after = [np.array(out) for out in net.live.call([image], training=False)]
    assert net.model.count_params() <= model.count_params()
    assert [layer.name for layer in net.model.layers] == [layer.name for layer in model.layers]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1, np.abs(one).max()))


def attention(keras: Any) -> Any:
    layers = keras.layers
    x = layers.Input((5, 8), name="x")
    y = layers.Dense(8, name="in")(x)
    y = layers.MultiHeadAttention(4, 3, name="heads")(y, y)
    return keras.Model(x, layers.Dense(2, name="out")(y))


def test_whole_heads_go(generation: str) -> None:
    keras = import_keras(generation)
    net = net_of(keras, stirred(attention(keras)))
    cutter = KerasCutter(net)
    heads = next(f for f in find_families(cutter.channels, cutter.sites) if f.single)
    assert len(heads.units) == 4
    kept = np.ones(len(cutter.channels), dtype=bool)
    kept[heads.units[[0, 2]]] = False
    silence(cutter, kept)
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    before = net.predict([x])[0]
    cutter.cut(kept)
    np.testing.assert_allclose(net.predict([x])[0], before, rtol=1e-4, atol=1e-5)
    assert net.model.get_layer("heads").get_config()["num_heads"] == 2


def transformer(keras: Any) -> Any:
    layers = keras.layers
    x = layers.Input((5,), dtype="int32", name="ids")
    y = layers.Embedding(11, 16, name="table")(x)
    y = layers.LayerNormalization(name="norm")(
        layers.Add()([y, layers.MultiHeadAttention(4, 4, name="heads")(y, y)])
    )
    z = layers.Dense(32, "gelu", name="up")(y)
    y = layers.Add()([y, layers.Dense(16, name="down")(z)])
    return keras.Model(x, layers.Dense(3, name="scores")(layers.GlobalAveragePooling1D()(y)))


def test_a_transformer_loses_width_heads_and_neurons(generation: str) -> None:
    keras = import_keras(generation)
    net = net_of(keras, stirred(transformer(keras)))
    Shrink(remove=0.7, floor=0.25).apply(net, None)
    found = shapes(net.model)
    width, inner = found["up"]
    assert width < 16
    assert inner < 32
    assert found["scores"] == (width, 3)
    assert net.model.get_layer("norm").gamma.shape == (width,)
    assert net.predict([np.zeros((2, 5), np.int32)])[0].shape == (2, 3)


def chain(keras: Any) -> Any:
    layers = keras.layers
    x = layers.Input((8, 8, 3), name="image")
    y = layers.Conv2D(32, 3, use_bias=False, name="first")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y))
    y = layers.Conv2D(16, 3, activation="relu", name="second")(y)
    return keras.Model(x, layers.Dense(10, name="scores")(layers.Flatten()(y)))


def test_widths_are_multiples_and_outputs_stay(generation: str, tmp_path: Path) -> None:
    keras = import_keras(generation)
    net = net_of(keras, stirred(chain(keras)))
    (note,) = Shrink(remove=0.5).apply(net, None)
    found = shapes(net.model)
    assert found["first"][-1] % 8 == 0
    assert found["second"][-1] % 4 == 0
    assert found["scores"][-1] == 10
    assert "of the multiply-adds went with channels: first 32 → " in note
    net.model.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    x = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(np.array(again(x)), net.predict([x])[0], rtol=1e-5, atol=1e-5)


def test_layers_that_are_left_out_keep_their_channels(generation: str) -> None:
    keras = import_keras(generation)
    for how in ({"exclude": ("fir*",)}, {"only": ("second",)}):
        net = net_of(keras, stirred(chain(keras)))
        Shrink(remove=0.3, of="parameters", **how).apply(net, None)
        assert shapes(net.model)["first"][-1] == 32
        assert shapes(net.model)["second"][-1] < 16


def test_too_much_is_an_error_that_says_how_much_is_possible(generation: str) -> None:
    keras = import_keras(generation)
    net = net_of(keras, stirred(chain(keras)))
    with pytest.raises(UsageError, match="is not possible: no more than 0") as no:
        Shrink(remove=0.99).apply(net, None)
    possible = float(str(no.value).split("no more than ")[1].split()[0])
    assert Shrink(remove=possible).apply(net, None)


def lowest(keras: Any, mark: Callable[[Any], None], **how: Any) -> list[int]:
    """Which of the 8 channels that a chain begins with go, after `mark` has made some unlike."""
    layers = keras.layers
    x = layers.Input((4, 4, 2))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 1, name="first")(x))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="second")(layers.ReLU()(y)))
    net = net_of(keras, keras.Model(x, layers.Dense(2, name="scores")(y)))
    for variable in net.model.weights:
        variable.assign(np.ones(variable.shape))
    model = net.model
    values = np.arange(8.0)[None, None, None] + np.zeros((1, 1, 2, 8))
    model.get_layer("first").bias.assign(np.arange(8.0))  # tells channels apart afterwards
    mark(model, values)
    Shrink(remove=0.2, only=("first",), round_to=2, **how).apply(net, None)
    return sorted(set(range(8)) - set(np.array(net.model.get_layer("first").bias).astype(int)))


def test_as_much_as_can_go_is_what_too_much_names(generation: str) -> None:
    keras = import_keras(generation)
    net = net_of(keras, stirred(chain(keras)))
    shrink = Shrink.from_json({"target": "latency", "share": 0.5})
    most = shrink.most(net)
    assert 0.2 < most < 0.95
    with pytest.raises(UsageError, match=f"no more than {int(100 * most) / 100:g} of the"):
        shrink.candidate(most + 0.01).apply(net, None)
    shrink.candidate(most).apply(net, None)


def test_magnitude_drops_the_smallest_filters(generation: str) -> None:
    def mark(model: Any, values: Any) -> None:
        model.get_layer("first").kernel.assign(1 + (values % 4 != 1))

    assert lowest(import_keras(generation), mark) == [1, 5]


def test_batch_norm_drops_the_smallest_scales(generation: str) -> None:
    def mark(model: Any, values: Any) -> None:
        gamma = np.ones(8)
        gamma[[2, 7]] = 0.1, -0.2
        model.get_layer("norm").gamma.assign(gamma)

    assert lowest(import_keras(generation), mark, importance="batch-norm") == [2, 7]


def test_zeros_of_an_earlier_pass_stay(generation: str) -> None:
    from edgekit.compress.prune import Prune

    keras = import_keras(generation)
    net = net_of(keras, stirred(chain(keras)))
    Prune(sparsity=0.6, epochs=0).apply(net, None)
    Shrink(remove=0.3).apply(net, None)
    hold = Prune(sparsity=0.6).hold(net)
    name = next(name for name in net.weights() if name.startswith("second"))
    zeros = net.get(name) == 0
    assert zeros.mean() > 0.3
    net.put(name, net.get(name) + 1)
    hold()
    assert (net.get(name)[zeros] == 0).all()
    assert (net.get(name)[~zeros] != 0).all()


def test_a_model_of_its_own_class_is_told(generation: str) -> None:
    keras = import_keras(generation)

    class Own(keras.Model):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 3), np.float32))
    with pytest.raises(ConversionError, match="'own' is a model of a class of its own"):
        Shrink().apply(net_of(keras, model), None)


def test_what_cannot_shrink_is_told(generation: str) -> None:
    keras = import_keras(generation)
    blocks = [("conv", 3), ("grouped", 0), ("lambda", 0)]
    cutter = KerasCutter(net_of(keras, network(keras, blocks, "pooled", 0)))
    (note,) = cutter.notes
    assert "(Conv2D)" in note
    names = {layer for f in find_families(cutter.channels, cutter.sites) for layer in f.layers}
    assert "stem" in names
    free = [f for f in find_families(cutter.channels, cutter.sites) if f.free.any()]
    assert all(isinstance(family, Family) for family in free)
