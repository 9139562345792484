"""A net with a kernel that has most of its energy where its inputs never are, for both frameworks.

Singular values of that kernel tell the wrong story; what the outputs lose tells the right one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SIZES = (32, 64, 64, 6)
RANK = 6


def kernels() -> list[Any]:
    """Of each layer, as (inputs, outputs); no activations between them. The first's outputs lie in
    `RANK` directions, on which the second is weak.
    """
    draw = np.random.default_rng(5)
    here, _ = np.linalg.qr(draw.normal(size=(64, 64)))
    there, _ = np.linalg.qr(draw.normal(size=(64, 64)))
    seen, unseen = slice(0, RANK), slice(RANK, RANK + 12)
    first = draw.normal(size=(32, RANK)) @ here[:, seen].T
    second = here[:, seen] @ there[:, seen].T + 9 * here[:, unseen] @ there[:, unseen].T
    last = draw.normal(size=(64, 6))
    return [kernel.astype(np.float32) for kernel in (first, second, last)]


def write_data(path: Path, seed: int, count: int = 200) -> None:
    """Samples with the net's own answers as labels."""
    rows = np.random.default_rng(seed).normal(size=(count, SIZES[0])).astype(np.float32)
    first, second, last = kernels()
    np.savez(path, x=rows, labels=(rows @ first @ second @ last).argmax(axis=1))


def keras_net() -> Any:
    import keras

    model = keras.Sequential([keras.layers.Input((SIZES[0],))])
    for name, kernel in zip(("first", "second", "last"), kernels(), strict=True):
        model.add(keras.layers.Dense(kernel.shape[1], use_bias=False, name=name))
        model.layers[-1].set_weights([kernel])
    return model


def torch_net() -> Any:
    import torch
    from torch import nn

    net = nn.Sequential()
    for name, kernel in zip(("first", "second", "last"), kernels(), strict=True):
        layer = nn.Linear(*kernel.shape, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
        net.add_module(name, layer)
    return net.eval(), (torch.zeros(1, SIZES[0]),)
