"""In which order images lie in memory while PyTorch trains on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.compress.net import Batch, Loss
from edgekit.core.compression import Training
from tests.compress.torch_models import net_of

pytestmark = pytest.mark.slow  # it imports torch

CPU = Training(device="cpu")
IMAGES = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
LABELS = np.arange(6) % 3


def convolving(end: Callable[[Any], Any]) -> Any:
    """float32 N×1×8×8 → N×3: a convolution of one channel, one of four, and `end` before a dense
    layer of 36."""
    import torch
    from torch import nn

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 2, stride=2)
            self.scores = nn.Linear(36, 3)

        def forward(self, x: Any) -> Any:
            return self.scores(end(self.second(self.first(x).relu())))

    torch.manual_seed(0)
    return net_of(Module(), torch.from_numpy(IMAGES[:2]))


def viewed(x: Any) -> Any:
    return x.view(-1, 36)


def viewed_when_trained(x: Any) -> Any:
    return x.view(-1, 36) if x.requires_grad else x.flatten(1)


def by_strides(x: Any) -> Any:
    return x.as_strided((len(x), 36), (36, 1))


def kernels_are_last(net: Any) -> list[bool]:
    import torch

    order = torch.channels_last
    convs = (net.module.first, net.module.second)
    return [
        each.weight.is_contiguous(memory_format=order) and each.weight.stride(1) == 1
        for each in convs
    ]


def trained(net: Any) -> list[float]:
    learner = net.learner(CPU, Loss("classes", 0, 1))
    return [learner.step(Batch((IMAGES,), LABELS), 0.01) for _ in range(5)]


def test_channels_come_last_for_as_long_as_it_trains() -> None:
    net = convolving(lambda x: x.flatten(1))
    before = {name: each.stride() for name, each in net.module.state_dict().items()}
    with net.placed(CPU):
        assert kernels_are_last(net) == [True, True]
        assert net.tensor(IMAGES).stride() == (64, 1, 8, 1)
        assert net.tensor(LABELS).stride() == (1,)
    assert {name: each.stride() for name, each in net.module.state_dict().items()} == before
    assert net.tensor(IMAGES).stride() == (64, 64, 8, 1)


@pytest.mark.parametrize("end", [viewed, by_strides])
def test_a_module_that_counts_on_the_usual_order_has_it(end: Callable[[Any], Any]) -> None:
    """One would raise; the other would go on with other numbers, and nobody would know."""
    net = convolving(end)
    usual = net.predict([IMAGES])[0]
    with net.placed(CPU):
        assert kernels_are_last(net) == [False, False]
        np.testing.assert_array_equal(net.predict([IMAGES])[0], usual)
        trained(net)


@pytest.mark.parametrize("end", [lambda x: x.flatten(1), viewed, viewed_when_trained])
def test_it_learns_the_same(end: Callable[[Any], Any]) -> None:
    net, other = convolving(end), convolving(end)
    with net.placed(CPU):
        losses = trained(net)
    assert losses == pytest.approx(trained(other), rel=1e-4)
    assert losses[-1] < losses[0]
    for name, array in other.state().items():
        np.testing.assert_allclose(net.state()[name], array, atol=1e-4)


def test_another_fault_of_the_module_is_told_as_it_is() -> None:
    net = convolving(lambda x: x.view(5, 7))
    with pytest.raises(RuntimeError, match=r"shape '.5, 7.' is invalid"), net.placed(CPU):
        pass
