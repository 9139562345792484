"""Masks of pruning, for any kernels: how many zeros, where, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.compress import check_passes
from edgekit.compress.net import rows
from edgekit.compress.prune import Prune
from edgekit.core.compression import PassSpec
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.recipe import Recipe
from tests.compress.arrays import ArrayNet

# Few different ones, so that many are equal.
NUMBERS = st.integers(-3, 3).map(float) | st.floats(-4, 4, width=32)
KERNELS = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=NUMBERS
)
SHARES = st.floats(0, 0.99)


def masks(net: ArrayNet, how: Prune) -> dict[str, Any]:
    kernels = net.weights()
    return how.masks(net, kernels, how.shares(kernels))


@given(values=KERNELS, share=SHARES, axis=st.integers(0, 1))
def test_a_layer_loses_its_share_the_smallest(values: Any, share: float, axis: int) -> None:
    net = ArrayNet({"a": values}, axis=axis)
    (mask,) = masks(net, Prune(sparsity=share)).values()
    assert mask.shape == values.shape
    assert (~mask).sum() == round(share * values.size)
    if mask.any() and not mask.all():
        assert np.abs(values[~mask]).max() <= np.abs(values[mask]).min()


@given(values=st.lists(KERNELS, min_size=2, max_size=3), share=SHARES)
def test_one_threshold_for_all(values: list[Any], share: float) -> None:
    net = ArrayNet({f"layer{i}": each for i, each in enumerate(values)})
    found = masks(net, Prune(sparsity=share, scope="global"))
    kept = np.concatenate([mask.ravel() for mask in found.values()])
    size = np.abs(np.concatenate([each.ravel() for each in values]))
    assert abs((~kept).sum() - share * kept.size) <= 1
    if kept.any() and not kept.all():
        assert size[~kept].max() <= size[kept].min()


@given(values=KERNELS, share=SHARES, high=st.integers(1, 4), wide=st.integers(1, 4))
def test_blocks_go_whole(values: Any, share: float, high: int, wide: int) -> None:
    net = ArrayNet({"a": values}, axis=0)
    (mask,) = masks(net, Prune(sparsity=share, pattern=f"{high}x{wide}")).values()
    flat = rows(mask, 0)
    blocks = [
        flat[top : top + high, left : left + wide]
        for top in range(0, flat.shape[0], high)
        for left in range(0, flat.shape[1], wide)
    ]
    assert all(block.all() or not block.any() for block in blocks)
    assert sum(not block.any() for block in blocks) == round(share * len(blocks))


@pytest.mark.slow
@given(values=KERNELS)
def test_two_of_four(values: Any) -> None:
    net = ArrayNet({"a": values}, axis=0)
    (mask,) = masks(net, Prune(pattern="2:4")).values()
    flat, size = rows(mask, 0), np.abs(rows(values, 0))
    for left in range(0, flat.shape[1], 4):
        four, sizes = flat[:, left : left + 4], size[:, left : left + 4]
        assert (four.sum(axis=1) == min(2, four.shape[1])).all()
        for kept, large in zip(four, sizes, strict=True):
            if not kept.all():
                assert large[kept].min() >= large[~kept].max()


def test_patterns_run_along_the_channels_of_the_input() -> None:
    """As runtimes have them, wherever the framework has them."""
    keras = np.random.default_rng(0).random((3, 3, 8, 4), dtype=np.float32)  # h, w, in, out
    torch = keras.transpose(3, 2, 0, 1)  # out, in, h, w
    for pattern in ("2:4", "1x4", "2x3", "unstructured"):
        (one,) = masks(ArrayNet({"a": keras}), Prune(pattern=pattern)).values()
        (other,) = masks(ArrayNet({"a": torch}, axis=0, inner=1), Prune(pattern=pattern)).values()
        assert (one.transpose(3, 2, 0, 1) == other).all(), pattern
        (back,) = masks(  # as a transposed convolution of torch: in, out, h, w
            ArrayNet({"a": keras.transpose(2, 3, 0, 1)}, axis=1, inner=0), Prune(pattern=pattern)
        ).values()
        assert (one.transpose(2, 3, 0, 1) == back).all(), pattern


@given(
    sparsity=st.floats(0, 0.99),
    part=st.floats(0, 1),
    power=st.floats(0.5, 5),
    steps=st.lists(st.floats(0, 1), min_size=2, max_size=8),
)
def test_sparsity_rises_from_the_first_to_the_last(
    sparsity: float, part: float, power: float, steps: list[float]
) -> None:
    how = Prune(sparsity=sparsity, initial=sparsity * part, power=power)
    shares = [how._part(step) * sparsity for step in sorted(steps)]
    assert shares == sorted(shares)
    assert how._part(0.0) * sparsity == pytest.approx(how.initial)
    assert how._part(1.0) == 1.0


class Steps:
    """Stands for a trainer: calls the hooks, trains nothing."""

    def __init__(self, count: int, net: ArrayNet) -> None:
        self.count, self.net = count, net
        self.zeros: list[float] = []

    def run(self, *, before: Any, after: Any, settled: float) -> None:
        for step in range(self.count):
            before(step, self.count)
            name = next(iter(self.net.arrays))
            self.net.put(name, self.net.get(name) + np.float32(0.001))
            after(step, self.count)
            self.zeros.append(float((self.net.kernel == 0).mean()))


@given(ramp=st.floats(0.01, 1), count=st.integers(1, 40))
def test_after_the_ramp_all_of_it_is_zero(ramp: float, count: int) -> None:
    values = np.random.default_rng(1).standard_normal((10, 10))
    net = ArrayNet({"a": values})
    steps = Steps(count, net)
    Prune(sparsity=0.8, ramp=ramp).apply(net, steps)  # type: ignore[arg-type]
    assert steps.zeros == sorted(steps.zeros)
    assert steps.zeros[-1] == pytest.approx(0.8)
    assert all(z == pytest.approx(0.8) for z in steps.zeros[round(ramp * count) :])


def test_without_training_all_of_it_goes_at_once() -> None:
    net = ArrayNet({"a": np.arange(1, 101).reshape(10, 10)})
    (note,) = Prune(sparsity=0.3).apply(net, None)
    assert (net.kernel == 0).sum() == 30
    assert "30.0 % of the weights of 1 kernels are zero" in note


def test_zeros_are_held_later() -> None:
    net = ArrayNet({"pruned": [[0, 1], [2, 0]], "dense": [[1, 2], [3, 4]]})
    hold = Prune().hold(net)
    for name in net.arrays:
        net.put(name, net.get(name) + 1)
    hold()
    assert net.get("pruned").tolist() == [[0, 2], [3, 0]]
    assert net.get("dense").tolist() == [[2, 3], [4, 5]]


def test_layers_of_other_shares_and_none() -> None:
    one = np.arange(1, 101).reshape(10, 10)
    net = ArrayNet({"features/a": one, "features/b": one, "logits": one})
    how = Prune(sparsity=0.8, layers={"features*": 0.5, "features/b": 0.2}, exclude=("logits",))
    assert how.shares(net.weights()) == {"features/a": 0.5, "features/b": 0.2}
    spared = ArrayNet({"table": one}, kind="embedding")
    assert Prune(layers={"table": 0.5}).shares(spared.weights()) == {"table": 0.5}
    with pytest.raises(UsageError, match="no layer is left to prune"):
        Prune().shares(spared.weights())
    with pytest.raises(UsageError, match="layers = 'head' matches no layer"):
        Prune(layers={"head": 0.5}).shares(net.weights())
    with pytest.raises(UsageError, match="exclude = 'head' matches no layer"):
        Prune(exclude=("head",)).shares(net.weights())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sparsity": 1}, "less than 1"),
        ({"pattern": "4x0"}, 'it is "unstructured", "2:4", or a block such as "4x1"'),
        ({"pattern": "2:4", "sparsity": 0.8}, "makes half of the weights zero"),
        ({"pattern": "2:4", "layers": {"a": 0.8}}, "makes half of the weights zero"),
        ({"initial": 0.6}, "initial = 0.6 is above sparsity = 0.5"),
        ({"layers": {"a": 1.5}}, "a = 1.5: a share is from 0 to below 1"),
        ({"sparcity": 0.8}, "unknown key 'sparcity'"),
    ],
)
def test_what_cannot_be(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Prune.from_json(wrong, where="r: pass 1, prune")


def test_gentler_is_two_thirds_of_the_zeros() -> None:
    how = Prune(sparsity=0.9, initial=0.7, layers={"a": 0.6})
    milder = how.gentler()
    assert milder == Prune(sparsity=0.6, initial=0.6, layers={"a": 0.4})
    assert Prune(sparsity=0.14).gentler() is None
    assert Prune(pattern="2:4").gentler() is None


def test_clusters_are_not_pruned() -> None:
    passes = (PassSpec(name="cluster"), PassSpec(name="prune"))
    with pytest.raises(PlanError, match=r"r: pass 2, prune: comes before cluster"):
        check_passes(Recipe(name="r", quantization="int8", passes=passes), "keras")
