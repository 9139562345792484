"""Inputs for the zoo's models: what is drawn must differ from sample to sample as pictures do.

White noise does not: after a few layers of averaging every sample is the same to the network, batch
normalization then blows that little up, and all that float16 or INT8 can be shown to do is to drown
it. So pictures here are patches of their own brightness and contrast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PATCHES = 7  # along a side
GRAIN = 0.05


def pictures(
    count: int, side: int, channels: int, *, seed: int, first: bool
) -> NDArray[np.float32]:
    """float32 in [0, 1], shape (count, side, side, channels), or channels `first`."""
    draw = np.random.default_rng(seed)
    size = -(-side // PATCHES)
    patches = draw.random((count, PATCHES, PATCHES, channels))
    patches = (
        patches * draw.uniform(0.2, 1.0, (count, 1, 1, 1)) * draw.random((count, 1, 1, channels))
    )
    whole = patches.repeat(size, axis=1).repeat(size, axis=2)[:, :side, :side]
    whole = np.clip(whole + GRAIN * draw.standard_normal(whole.shape), 0, 1).astype(np.float32)
    return np.ascontiguousarray(whole.transpose(0, 3, 1, 2)) if first else whole


def like(count: int, shape: tuple[int, ...], *, seed: int, first: bool) -> NDArray[np.float32]:
    """Samples of `shape` (without the batch): pictures for three dimensions, else numbers."""
    if len(shape) == 3:
        channels, side = (shape[0], shape[1]) if first else (shape[2], shape[0])
        return pictures(count, side, channels, seed=seed, first=first)
    draw = np.random.default_rng(seed)
    level = draw.random((count, *(1 for _ in shape[:-1]), shape[-1]))
    return (level + 0.3 * draw.random((count, *shape))).astype(np.float32)
