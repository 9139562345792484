"""Keras models as nets, of Keras 3 and of tf_keras; see the contract."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from edgekit.core.model import InputForm
from tests.compress.nets import Opened
from tests.contracts.net import Kernels, NetContract

pytestmark = pytest.mark.slow


def kernels(depthwise: str) -> dict[str, Kernels]:
    heads = [
        (f"heads/{n}/kernel", f"heads/{n}", "dense", (4, 6), 1, None)
        for n in ("query", "key", "value")
    ]
    cell, out = "lstm/lstm_cell", "heads/attention_output"
    return {
        "vector": [
            ("hidden/kernel", "hidden", "dense", (8, 16), 1, None),
            ("scores/kernel", "scores", "dense", (16, 3), 1, None),
        ],
        "image": [
            ("conv/kernel", "conv", "conv", (3, 3, 4, 6), 3, None),
            (f"depth/{depthwise}", "depth", "depthwise", (3, 3, 12, 1), 2, None),
            ("groups/kernel", "groups", "depthwise", (1, 1, 1, 12), 3, None),
            ("up/kernel", "up", "transposed", (2, 2, 5, 12), 2, None),
        ],
        "words": [
            ("table/embeddings", "table", "embedding", (11, 4), 0, None),
            (f"{cell}/kernel", cell, "recurrent", (4, 12), 1, None),
            (f"{cell}/recurrent_kernel", cell, "recurrent", (3, 12), 1, None),
            ("scores/kernel", "scores", "dense", (3, 2), 1, None),
        ],
        "attention": [
            *heads,
            (f"{out}/kernel", out, "dense", (6, 4), 1, None),
        ],
        "nested": [
            ("base/inner/kernel", "base/inner", "dense", (6, 6), 1, None),
            ("twice/kernel", "twice", "dense", (6, 6), 1, None),
        ],
        # A class made of one of Keras', and one with a kernel that is a row of factors.
        "own": [
            ("up/kernel", "up", "transposed", (2, 2, 5, 2), 2, None),
            ("scaled/inside/kernel", "scaled/inside", "dense", (5, 3), 1, None),
        ],
    }  # fmt: skip


class KerasContract(NetContract):
    IMAGE = (8, 8, 4)
    WORDS = "int32"
    FORM = InputForm(layout="nchw", dtype="uint8", mean=(1, 2, 3, 4), std=(50, 60, 70, 80))

    def framework(self, found: Opened, samples: Any) -> Any:
        return found.net.live.module.predict(samples, verbose=0)

    def own_samples(self) -> Any:
        return self.samples("image", 4)[:, :4, :4, :2].copy()


class TestKeras3(KerasContract):
    KIND = "keras3"
    KERNELS: ClassVar = kernels("kernel")


class TestKeras2(KerasContract):
    KIND = "keras2"
    KERNELS: ClassVar = kernels("depthwise_kernel")
