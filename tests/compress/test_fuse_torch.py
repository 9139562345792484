"""Batch norms folded into torch's layers: outputs stay, and the module can be built again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress import fuse_torch
from edgekit.compress.fuse import Fuse
from edgekit.compress.net import open_net
from edgekit.core.errors import ConversionError, UsageError
from tests.compress.torch_models import moved, net_of, opened, reopened

pytestmark = pytest.mark.slow


def sampled(net: Any, *shape: int) -> Any:
    net.samples = (np.random.default_rng(0).normal(size=shape).astype(np.float32),)
    return net


def test_outputs_stay_and_the_norms_go(tmp_path: Path) -> None:
    opener, origin, model = opened("plain", tmp_path / "made")
    net = sampled(open_net(opener, origin, model), 4, 3, 12, 12)
    before = net.predict(net.samples)[0]
    notes = Fuse().apply(net, None)
    assert notes[0].startswith("folded 4 batch norms and took 1 dropout out; on 4 samples")
    assert len(notes) == 1
    kinds = {type(each).__name__ for each in net.module.modules()}
    assert not kinds & {"BatchNorm1d", "BatchNorm2d", "Dropout"}
    again = reopened(net, opener, origin, tmp_path / "again")
    assert set(again.state()) == {
        f"{layer}.{own}"
        for layer in ("stem.0", "depth", "back", "hidden", "head")
        for own in ("weight", "bias")
    }
    np.testing.assert_allclose(again.predict(net.samples)[0], before, atol=1e-5)


class Odd(nn.Module):
    """Batch norms that nothing can be done about."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.used_twice = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.shown, self.shown_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.line, self.line_norm = nn.Linear(6, 6), nn.BatchNorm1d(4)
        self.good, self.good_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Any) -> Any:
        x = self.used_twice(self.used_twice(self.conv(x)))
        y = self.shown(x)
        x = self.shown_norm(y) + y
        x = self.batch(x)
        x = self.good_norm(self.good(x))
        return self.line_norm(self.line(x.mean(2)))


def test_norms_that_cannot_be_folded_are_told() -> None:
    net = sampled(net_of(moved(Odd()), torch.randn(1, 4, 6, 6)), 3, 4, 6, 6)
    before = net.predict(net.samples)[0]
    notes = Fuse(dropout=False).apply(net, None)
    assert notes[0].startswith("folded 1 batch norm and took no dropouts out")
    assert notes[1] == (
        "left as they are: used_twice is used more than once; shown_norm follows no layer that "
        "only it uses; batch is not called, or takes its averages from what it is given; "
        "line_norm follows no layer that only it uses"
    )
    np.testing.assert_allclose(net.predict(net.samples)[0], before, atol=1e-5)


def test_a_wrong_fold_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a kernel folded wrongly, the layer would be named."""
    real = fuse_torch.pairs

    def wrong(net: Any) -> Any:
        found, left = real(net)
        return [*found[:1], fuse_torch.Pair(**{**vars(found[1]), "epsilon": 0.5}), *found[2:]], left

    monkeypatch.setattr(fuse_torch, "pairs", wrong)
    net = sampled(net_of(*_plain()), 2, 3, 12, 12)
    with pytest.raises(ConversionError, match=r"depth with norm is the first that differs"):
        Fuse().apply(net, None)


def _plain() -> Any:
    from tests.compress.torch_models import plain

    module, example = plain()
    return module, *example


def test_nothing_to_fold_is_an_error() -> None:
    net = sampled(net_of(nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 4)), 1, 4)
    with pytest.raises(UsageError, match="no batch norm to fold"):
        Fuse().apply(net, None)
