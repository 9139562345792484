"""Clusters of weights, for any kernels: how many values, zeros, whole steps, and what is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.compress import check_passes, settled
from edgekit.compress.cluster import Cluster
from edgekit.compress.net import rows
from edgekit.core.compression import PassSpec
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.recipe import Recipe
from tests.compress.arrays import ArrayNet

SCOPES = ["layer", "channel", "scaled"]
# Zeros, equal ones, and numbers over four orders of magnitude.
NUMBERS = (
    st.just(0.0)
    | st.integers(-2, 2).map(float)
    | st.floats(2.0**-10, 8, width=32)
    | st.floats(-8, -(2.0**-10), width=32)
)
KERNELS = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=NUMBERS
)
WAYS = st.builds(
    Cluster,
    clusters=st.integers(3, 20),
    init=st.sampled_from(["k-means++", "linear", "density"]),
    scope=st.sampled_from(SCOPES),
)


def counts(net: ArrayNet, how: Cluster) -> list[int]:
    """Different values: of each channel, of the kernel, or of it in units of channels' largest."""
    flat = rows(net.kernel, net.weights()["a"].axis)
    if how.scope == "channel":
        return [len(np.unique(channel)) for channel in flat]
    return [len(np.unique(in_steps(flat)[0] if how.scope == "scaled" else flat))]


def in_steps(flat: Any) -> tuple[Any, Any]:
    """(channels, inputs) as symmetric INT8 with a scale a channel, and the scales."""
    largest = np.abs(flat).max(axis=1, keepdims=True).astype(np.float64)
    scale = np.where(largest > 0, largest, 1) / 127
    return np.rint(flat / scale), scale


@given(values=KERNELS, how=WAYS, axis=st.integers(0, 1))
def test_there_are_no_more_values_than_clusters(values: Any, how: Cluster, axis: int) -> None:
    net = ArrayNet({"a": values}, axis=axis)
    how.apply(net, None)
    assert np.isfinite(net.kernel).all()
    assert max(counts(net, how)) <= how.clusters


@given(values=KERNELS, how=WAYS)
def test_zeros_stay_and_nothing_else_becomes_one(values: Any, how: Cluster) -> None:
    values.flat[0] = 0  # one is more than the least share of so few
    net = ArrayNet({"a": values})
    how.apply(net, None)
    assert ((net.kernel == 0) == (values == 0)).all()


@given(values=KERNELS, clusters=st.integers(3, 20))
def test_scaled_values_are_int8_exactly(values: Any, clusters: int) -> None:
    net = ArrayNet({"a": values})
    Cluster(clusters=clusters, scope="scaled").apply(net, None)
    flat = rows(net.kernel, -1)
    steps, scale = in_steps(flat)
    assert np.abs(steps).max() <= 127
    np.testing.assert_allclose(steps * scale, flat, rtol=1e-6, atol=0)


@given(values=KERNELS, how=WAYS)
def test_projecting_again_changes_nothing(values: Any, how: Cluster) -> None:
    net = ArrayNet({"a": values})
    books = how.books(net)
    for book in books:
        book.project(net)
    once = net.kernel
    for book in [*books, how.hold(net)]:
        book() if callable(book) else book.project(net)
        np.testing.assert_allclose(net.kernel, once, rtol=1e-6, atol=0)  # a mean's last bit


@given(values=KERNELS, how=WAYS, seed=st.integers(0, 9))
def test_what_is_reloaded_keeps_its_clusters(values: Any, how: Cluster, seed: int) -> None:
    """Through steps of a later training, which moves every weight."""
    first = ArrayNet({"a": values})
    how.apply(first, None)
    net = ArrayNet(first.state())  # as it is loaded again: only its weights are known
    hold = how.hold(net)
    draw = np.random.default_rng(seed)
    groups = [np.unique(channel) for channel in rows(net.kernel, -1)]
    held = any(len(group) < net.kernel[..., 0].size for group in groups)
    for _ in range(3):
        moved = 0.01 * draw.standard_normal(net.kernel.shape) * (np.abs(net.kernel) > 0.1)
        net.put("a", net.kernel + moved.astype(np.float32))
        hold()
    if not held:  # all different: there is nothing to share
        return
    assert max(counts(net, how)) <= how.clusters
    assert ((net.kernel == 0) == (first.kernel == 0)).all()


def test_values_follow_their_weights() -> None:
    net = ArrayNet({"a": [[1.0, 5.0, -9.0], [1.2, 5.4, -9.3]]})
    (book,) = Cluster(clusters=3, scope="layer").books(net)
    net.put("a", net.kernel + np.float32([[1, -1, 0], [2, -1, 0]]))
    book.project(net)
    np.testing.assert_allclose(net.kernel, [[2.6, 4.2, -9.15]] * 2, rtol=1e-6)


def test_scales_do_not_grow_with_noise() -> None:
    """The largest of weights that move at random is larger after every step; their mean is not."""
    draw = np.random.default_rng(0)
    net = ArrayNet({"a": draw.uniform(-1, 1, (200, 4))})
    (book,) = Cluster(scope="scaled").books(net)
    book.project(net)
    before = np.abs(net.kernel).max(axis=0)
    for _ in range(300):
        net.put("a", net.kernel + (0.01 * draw.choice([-1, 1], net.kernel.shape)).astype("f4"))
        book.project(net)
    np.testing.assert_allclose(np.abs(net.kernel).max(axis=0), before, rtol=0.3)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 3)),
        np.full((4, 3), 0.25),
        np.arange(1.0, 5.0)[:, None],  # one channel
        np.float32([[1, -2, 3]]),  # fewer numbers than clusters
        np.stack([np.zeros(60), np.linspace(-1, 1, 60)], axis=1),  # a channel of zeros
    ],
    ids=["zeros", "equal", "channel", "few", "dead"],
)
def test_kernels_with_little_to_cluster(values: Any, scope: Any) -> None:
    net = ArrayNet({"a": values})
    how = Cluster(scope=scope)
    how.apply(net, None)
    assert max(counts(net, how)) <= 16
    assert (net.kernel[values == 0] == 0).all()
    if values.size < 16:
        half_a_step = np.abs(values).max() / 254
        np.testing.assert_allclose(net.kernel, values, rtol=0, atol=1.01 * half_a_step)


def test_kernels_that_were_left_out_are_not_held() -> None:
    """They may have few weights; in whole steps they would be other ones."""
    small = np.float32([[0.3, 0.7], [0.11, 1.0]])
    net = ArrayNet({"a": small})
    for scope in SCOPES:
        Cluster(scope=scope).hold(net)()  # type: ignore[arg-type]
        assert (net.kernel == small).all()


def test_names_and_kinds() -> None:
    one = np.arange(100.0).reshape(10, 10)
    net = ArrayNet({"a": one, "b": one})
    assert list(Cluster(exclude=("a",)).chosen(net.weights())) == ["b"]
    table = ArrayNet({"table": one}, kind="embedding")
    assert list(Cluster(include=("table",)).chosen(table.weights())) == ["table"]
    with pytest.raises(UsageError, match="no layer is left to cluster"):
        Cluster().chosen(table.weights())
    with pytest.raises(UsageError, match="exclude = 'c' matches no layer"):
        Cluster(exclude=("c",)).chosen(net.weights())


@pytest.mark.parametrize(
    ("recipe", "scope"),
    [
        ({"quantization": "int8"}, "scaled"),
        ({"quantization": "int8", "quantize": {"weights": "per-tensor"}}, "layer"),
        ({"quantization": "float16"}, "layer"),
    ],
)
def test_the_scope_goes_with_the_numbers(recipe: dict[str, Any], scope: str) -> None:
    made = Recipe.from_json({"name": "r", "passes": [{"pass": "cluster"}], **recipe})
    assert settled(made) == (PassSpec(name="cluster", parameters={"scope": scope}),)


def test_gentler_is_twice_as_many() -> None:
    assert Cluster(clusters=16).gentler() == Cluster(clusters=32)
    assert Cluster(clusters=200).gentler() == Cluster(clusters=256)
    assert Cluster(clusters=256).gentler() is None


def test_it_is_clustered_once() -> None:
    passes = (PassSpec(name="cluster"), PassSpec(name="cluster"))
    with pytest.raises(PlanError, match=r"pass 2, cluster: the model is clustered already"):
        check_passes(Recipe(name="r", quantization="int8", passes=passes), "torch")
