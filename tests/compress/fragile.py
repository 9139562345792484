"""A net of three dense layers, the middle one of which needs every weight, for both frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LAYERS = ("first", "fragile", "last")
SIZES = (64, 96, 12, 6)


def kernels() -> list[Any]:
    """Of each layer, as (inputs, outputs). Most weights of the outer layers are next to nothing; in
    the middle all are of one magnitude.
    """
    draw = np.random.default_rng(3)
    found = []
    for name, rows, columns in zip(LAYERS, SIZES, SIZES[1:], strict=False):
        shape = (rows, columns)
        signs = draw.choice([-1.0, 1.0], shape)
        if name == "fragile":
            sizes = draw.uniform(0.9, 1.1, shape)
        else:
            sizes = np.where(draw.random(shape) < 0.12, 1.0, 0.01) * draw.uniform(0.9, 1.1, shape)
        found.append((signs * sizes / np.sqrt(rows)).astype(np.float32))
    return found


def answers(rows: Any, weights: list[Any]) -> Any:
    """What a net with those kernels gives."""
    first, middle, last = weights
    hidden = np.maximum(np.maximum(rows @ first, 0) @ middle, 0)
    return hidden @ last


def write_data(path: Path, seed: int, count: int = 200) -> Any:
    """Samples with the net's own answers as labels; the samples."""
    rows = np.random.default_rng(seed).normal(size=(count, SIZES[0])).astype(np.float32)
    np.savez(path, x=rows, labels=answers(rows, kernels()).argmax(axis=1))
    return rows


def keras_net() -> Any:
    import keras

    model = keras.Sequential([keras.layers.Input((SIZES[0],))])
    for index, (name, kernel) in enumerate(zip(LAYERS, kernels(), strict=True)):
        layer = keras.layers.Dense(
            kernel.shape[1], activation="relu" if index < 2 else None, name=name
        )
        model.add(layer)
        layer.set_weights([kernel, np.zeros(kernel.shape[1], np.float32)])
    return model


def torch_net() -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, kernel in zip(LAYERS, kernels(), strict=True):
                layer = nn.Linear(*kernel.shape)
                with torch.no_grad():
                    layer.weight.copy_(torch.from_numpy(kernel.T.copy()))
                    layer.bias.zero_()
                setattr(self, name, layer)

        def forward(self, rows: Any) -> Any:
            return self.last(torch.relu(self.fragile(torch.relu(self.first(rows)))))

    return Net().eval(), (torch.zeros(1, SIZES[0]),)
