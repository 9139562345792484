"""PyTorch modules as nets; see the contract."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from edgekit.core.compression import Training
from edgekit.core.model import InputForm
from tests.compress.nets import Opened
from tests.contracts.net import Kernels, NetContract, Open

pytestmark = pytest.mark.slow

CONVOLUTIONS: Kernels = [
    ("conv.weight", "conv", "conv", (6, 4, 3, 3), 0, 1),
    ("depth.weight", "depth", "depthwise", (6, 1, 3, 3), 0, None),
    ("groups.weight", "groups", "depthwise", (6, 1, 1, 1), 0, None),
    ("up.weight", "up", "transposed", (6, 5, 2, 2), 1, 0),
]


class TestTorch(NetContract):
    KIND = "torch"
    IMAGE = (4, 8, 8)
    WORDS = "int64"
    FORM = InputForm(layout="nhwc", dtype="uint8", mean=(1, 2, 3, 4), std=(50, 60, 70, 80))
    KERNELS: ClassVar = {
        "vector": [
            ("hidden.weight", "hidden", "dense", (16, 8), 0, None),
            ("scores.weight", "scores", "dense", (3, 16), 0, None),
        ],
        "image": CONVOLUTIONS,
        "own": CONVOLUTIONS,
        "words": [
            ("table.weight", "table", "embedding", (11, 4), 0, None),
            ("lstm.weight_ih_l0", "lstm", "recurrent", (12, 4), 0, None),
            ("lstm.weight_hh_l0", "lstm", "recurrent", (12, 3), 0, None),
            ("scores.weight", "scores", "dense", (2, 3), 0, None),
        ],
        "attention": [
            ("heads.in_proj_weight", "heads", "dense", (12, 4), 0, None),
            ("heads.out_proj.weight", "heads.out_proj", "dense", (4, 4), 0, None),
        ],
        "nested": [
            ("base.0.weight", "base.0", "dense", (6, 6), 0, None),
            ("twice.weight", "twice", "dense", (6, 6), 0, None),
        ],
    }

    def test_it_trains_on_the_cores_that_it_may_take(self, opened: Open) -> None:
        import torch

        before = torch.get_num_threads()
        net = opened("vector").net
        for cores in (3, 1):
            net.cores = cores
            net.learner(Training(), self.classes)
            assert torch.get_num_threads() == cores
        torch.set_num_threads(before)

    def framework(self, found: Opened, samples: Any) -> Any:
        import torch

        with torch.no_grad():
            return found.net.live.module.eval()(torch.from_numpy(samples)).numpy()
