"""Modules for tests of quantization-aware training; imported where torch is."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.compress import hard


class Kinds(nn.Module):
    """Every kind of kernel, operators in place, functions and modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.2)
        self.heads = nn.MultiheadAttention(6, 2, batch_first=True)
        self.scores = nn.Linear(6, 5)

    def forward(self, image: Tensor) -> Tensor:
        y = functional.relu6(self.norm(self.conv(image)))
        y = y + self.point(self.drop(self.act(self.depth(y))))
        y = functional.avg_pool2d(y, 4)
        y = torch.sigmoid(self.up(y)).flatten(2).transpose(1, 2)
        y = y + self.heads(y, y, y, need_weights=False)[0]
        return self.scores(y.mean(1)).softmax(-1)


def kinds() -> Any:
    torch.manual_seed(0)
    return Kinds().eval(), (torch.zeros(1, 4, 8, 8),)


class InOrder(Kinds):
    """One that counts on the usual order in memory."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.view(image.shape[0], -1).view(image.shape))


def kinds_in_order() -> Any:
    torch.manual_seed(0)
    return InOrder().eval(), (torch.zeros(1, 4, 8, 8),)


class Places(nn.Module):
    """One that makes numbers while it runs, and has a constant in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(6, device=x.device, dtype=torch.float32)
        weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 3.0], device=x.device)
        return self.scores(x * weights + places)


def places() -> Any:
    torch.manual_seed(0)
    return Places().eval(), (torch.zeros(1, 6),)


class Fixed(nn.Module):
    """One that takes no other number of samples than one."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x).reshape(1, 3)


def fixed() -> Any:
    return Fixed().eval(), (torch.zeros(1, 4),)


def _block(inside: int, outside: int, size: int, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inside, outside, size, padding=size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]


@functools.cache
def _trained() -> dict[str, Tensor]:
    torch.manual_seed(0)
    module = _hard().train()
    x, labels = (torch.from_numpy(a[: hard.TRAINED]) for a in hard.digits(first=True))
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(15):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(module(x[batch]), labels[batch]).backward()
            optimizer.step()
    kernels = [each for each in module if isinstance(each, nn.Conv2d)]
    norms = [each for each in module if isinstance(each, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm, after, numbers in zip(norms, kernels[1:], hard.factors(), strict=False):
            factor = torch.from_numpy(numbers)
            norm.weight *= factor
            norm.bias *= factor
            after.weight /= (
                factor.reshape(-1, 1, 1, 1) if after.groups > 1 else factor[:, None, None]
            )
    return module.state_dict()


def _hard() -> Any:
    layers = _block(1, 16, 3)
    for inside, outside in ((16, 24), (24, 32), (32, 32)):
        layers += [*_block(inside, inside, 3, inside), *_block(inside, outside, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def hard_model() -> Any:
    """See `hard`."""
    module = _hard()
    module.load_state_dict(_trained())
    return module.eval(), (torch.zeros(1, 1, 8, 8),)


def small() -> Any:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(288, 10)).eval(), (torch.zeros(1, 1, 8, 8),)
