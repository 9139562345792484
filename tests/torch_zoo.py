"""Tiny PyTorch models built by code, for the tests of sources and exporters.

Each function is called without arguments and returns an ``nn.Module`` in eval mode with seeded
weights and its example inputs, as ``edgekit convert tests.torch_zoo:cnn`` takes them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """float32 1×8 → logits 1×4."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.act = nn.ReLU()
        self.scores = nn.Linear(16, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.scores(self.act(self.hidden(features)))


class Cnn(nn.Module):
    """float32 1×3×16×16 → logits 1×5; batch norm, ReLU6 and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = x + self.block(x)
        return self.head(torch.flatten(self.pool(x), 1))


class Sound(nn.Module):
    """float32 1×10×32, ten bands over time → logits 1×4; pooled over time."""

    def __init__(self) -> None:
        super().__init__()
        self.bands = nn.Conv1d(10, 16, 5, stride=2, padding=2)
        self.each = nn.Conv1d(16, 16, 3, padding=1, groups=16)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.scores = nn.Linear(16, 4)

    def forward(self, sound: Tensor) -> Tensor:
        x = torch.relu(self.each(torch.relu(self.bands(sound))))
        return self.scores(torch.flatten(self.pool(x), 1))


class Lstm(nn.Module):
    """float32 1×6×4 → logits 1×3."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 8, batch_first=True)
        self.scores = nn.Linear(8, 3)

    def forward(self, steps: Tensor) -> Tensor:
        every, _ = self.cells(steps)
        return self.scores(every[:, -1])


class Attention(nn.Module):
    """float32 1×6×16, words as vectors → logits 1×4: a layer of a Transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.scores = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        return self.scores(self.layer(words).mean(1))


class TwoByTwo(nn.Module):
    """int64 tokens 1×5 and float32 extra 1×4 → a tuple of 1×4 and 1×2."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.small = nn.Linear(4, 2)

    def forward(self, tokens: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        both = self.words(tokens).mean(1) + extra
        return both, self.small(both)


class Masked(nn.Module):
    """float32 1×4 and bool 1×4 → 1×4."""

    def forward(self, values: Tensor, keep: Tensor) -> Tensor:
        return torch.where(keep, values, torch.zeros_like(values)) * 2


class Pooled(nn.Module):
    """float32 batch×length×4 → 1×3, for any length."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Linear(4, 3)

    def forward(self, steps: Tensor) -> Tensor:
        return self.each(steps).mean(1)


class Named(nn.Module):
    """float32 1×4 → a dict of sum and difference, and a pair inside it."""

    def forward(self, one: Tensor, two: Tensor) -> dict[str, Any]:
        return {"total": one + two, "delta": one - two, "pair": (one * 2, two * 3)}


def _seeded(cls: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    made = cls()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):  # as after training: not just zeros and ones
            part.running_mean.copy_(torch.randn(part.num_features) * 0.1)
            part.running_var.copy_(torch.rand(part.num_features) + 0.5)
    return made.eval()


def mlp() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Mlp), (torch.randn(1, 8),)


def cnn() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Cnn), (torch.randn(1, 3, 16, 16),)


def sound() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Sound), (torch.randn(1, 10, 32),)


def lstm() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Lstm), (torch.randn(1, 6, 4),)


def two_by_two() -> tuple[nn.Module, dict[str, Tensor]]:
    return _seeded(TwoByTwo), {"tokens": torch.arange(5).reshape(1, 5), "extra": torch.randn(1, 4)}


def masked() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Masked), (torch.randn(1, 4), torch.tensor([[True, False, True, True]]))


def pooled() -> tuple[nn.Module, tuple[Tensor, ...], Any]:
    """With open dimensions called batch and length."""
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2, max=64)
    return _seeded(Pooled), (torch.randn(2, 6, 4),), {"steps": {0: batch, 1: length}}


def named() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Named), (torch.randn(1, 4), torch.randn(1, 4))


def attention() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _seeded(Attention), (torch.randn(1, 6, 16),)


ALL = (mlp, cnn, lstm, two_by_two, masked, pooled, named)


def program(made: tuple[Any, ...]) -> Any:
    """The ExportedProgram of what one of the functions returned."""
    module, example, *dynamic = made
    args, kwargs = ((), example) if isinstance(example, dict) else (example, None)
    return torch.export.export(
        module, args, kwargs, dynamic_shapes=dynamic[0] if dynamic else None, strict=False
    )
