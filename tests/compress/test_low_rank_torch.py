"""Low-rank factors of torch's layers: nothing is lost at full rank, less is kept at a lower one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.compress.low_rank import Factors, LowRank
from edgekit.compress.low_rank_torch import replace, sites
from edgekit.compress.net import open_net
from edgekit.compress.torch_edits import watched
from edgekit.core.errors import ConversionError, UsageError
from tests.compress.torch_models import net_of, opened, reopened

pytestmark = pytest.mark.slow

FULL = 10**9  # more than any rank here


@st.composite
def layers(draw: st.DrawFn) -> tuple[Any, Any]:
    """A layer with odd sizes, and an input for it."""
    space = draw(st.integers(0, 2))
    inputs, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    torch.manual_seed(0)
    bias = draw(st.booleans())
    if not space:
        return nn.Linear(inputs, outputs, bias=bias), torch.randn(2, 3, inputs)
    small = st.tuples(*[st.integers(1, 3)] * space)
    kernel, dilation = draw(small), draw(small)
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    same = draw(st.booleans())
    layer = (nn.Conv1d, nn.Conv2d)[space - 1](
        inputs, outputs, kernel,
        stride=1 if same else draw(small),
        padding="same" if same else tuple(draw(st.integers(0, r)) for r in reach),
        dilation=dilation, bias=bias,
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    )  # fmt: skip
    return layer, torch.randn(2, inputs, *(max(r + 1, 7) for r in reach))


@settings(max_examples=60, deadline=None)
@given(layers(), st.integers(1, 3))
def test_two_layers_compute_what_one_of_the_merged_kernel_does(
    case: tuple[Any, Any], rank: int
) -> None:
    """At full rank that kernel is the layer's own."""
    layer, example = case
    site = sites(net_of(layer, example))[0]
    assert not site.why_not
    for at in site.ways("auto"):
        for wanted in (rank, FULL):
            factors = Factors.of(site, at, wanted, 1.0)
            one = copy.deepcopy(layer)
            with torch.no_grad():
                if wanted != FULL:
                    kernel = np.moveaxis(factors.first @ factors.second, (-1, -2), (0, 1))
                    one.weight.copy_(torch.from_numpy(kernel.copy()))
                expected = one(example).numpy()
            net = net_of(nn.Sequential(copy.deepcopy(layer)), example)
            replace(net, {"0": factors})
            np.testing.assert_allclose(net.predict([example.numpy()])[0], expected, atol=1e-4)


def test_what_it_says_it_saves_is_what_the_layers_compute() -> None:
    """Multiply-adds are those of the sizes that the layers really see."""
    layer, example = nn.Conv2d(8, 12, (3, 5), stride=(2, 1), padding=1), torch.randn(1, 8, 11, 9)
    site = sites(net_of(layer, example))[0]
    for at in site.ways("auto"):
        net = net_of(nn.Sequential(layer), example)
        factors = Factors.of(site, at, 3, 1.0)
        replace(net, {"0": factors})
        with watched(net.module, ["0.0", "0.1"]) as seen:
            net.predict([example.numpy()])
        macs = [
            each.weight.numel() * seen[f"0.{index}"].output[0, 0].numel()
            for index, each in enumerate(net.module[0])
        ]
        assert sum(macs) == factors.macs


def test_a_model_is_built_again_with_its_factors(tmp_path: Path) -> None:
    opener, origin, model = opened("plain", tmp_path / "made")
    net = open_net(opener, origin, model)
    x = np.random.default_rng(0).normal(size=(4, 3, 12, 12)).astype(np.float32)
    before, names = net.predict([x])[0], set(net.state())
    notes = LowRank(ranks={"hidden": 6}, rank=4, exclude=("head",)).apply(net, None)
    got = net.predict([x])[0]
    assert names - set(net.state()) == {"stem.0.weight", "hidden.weight", "hidden.bias"}
    again = reopened(net, opener, origin, tmp_path / "again")
    np.testing.assert_array_equal(again.predict([x])[0], got)
    assert again.module.hidden[0].out_features == 6
    assert 0 < abs(got - before).max() < abs(before).max()
    assert notes[0].startswith("2 layers are two now")
    assert "back" not in " ".join(notes)  # it is no convolution of this kind
    # The name of what was one layer goes on to mean both.
    assert LowRank(exclude=("hidden",)).chosen(again, sites(again))[0]


def test_layers_that_are_used_otherwise_stay_or_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2)
            self.table = nn.Embedding(20, 16)
            self.tied = nn.Linear(16, 20, bias=False)
            self.tied.weight = self.table.weight
            self.read = nn.Linear(16, 16)

        def forward(self, x: Any) -> Any:
            y = self.attention(x, x, x)[0]
            return self.tied(self.read(y) * self.read.weight.mean())

    net = net_of(Odd(), torch.randn(3, 1, 16))
    why = {site.layer: site.why_not for site in sites(net)}
    assert why["attention.out_proj"] == "is a class of its own"
    assert why["tied"] == "shares its weight: table.weight, tied.weight"
    with pytest.raises(
        ConversionError, match=r"uses a layer other than by calling it.*\n.*exclude"
    ):
        LowRank(rank=2).apply(net, None)


def test_nothing_that_gets_cheaper_is_an_error() -> None:
    net = net_of(nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 4))
    with pytest.raises(UsageError, match=r"no layer gets cheaper: 0 would need rank 4 of 4: 2.00"):
        LowRank(energy=1.0).apply(net, None)
