"""The benchmark's models in PyTorch: logits of 28×28 gray images, channels first.

`build(name, classes)` gives a module with fresh weights. For edgekit there is a function for each
model and data set, `MODEL_SET`, which returns the module and example inputs; the trained weights
come with `--weights`:

    edgekit convert torch:tools.compress.torch_models:lenet_glyphs --weights lenet.safetensors …
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.compress.data import CLASSES, SIDE

SEED = 0


def _conv(
    inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]


def _mean() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def lenet(classes: int) -> nn.Module:
    """Caffe's LeNet-5, which the papers on pruning and clustering compress: 434 k parameters.

    Han et al., Deep Compression, https://arxiv.org/abs/1510.00149, table 2.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, classes),
    )  # fmt: skip


def ds_cnn(classes: int) -> nn.Module:
    """Four depthwise-separable blocks after a convolution, as MLPerf Tiny's keyword spotter has.

    Theirs keeps 64 channels and one size, for sounds; here the second block halves the image and
    doubles the channels. https://arxiv.org/abs/2106.07597, https://arxiv.org/abs/1711.07128
    """
    layers = [*_conv(1, 64, 3, 2), nn.ReLU()]
    for inside, outside, stride in DS_BLOCKS:
        layers += [*_conv(inside, inside, 3, stride, groups=inside), nn.ReLU()]
        layers += [*_conv(inside, outside, 1), nn.ReLU()]
    return nn.Sequential(*layers, *_mean(), nn.Linear(DS_BLOCKS[-1][1], classes))


DS_BLOCKS = ((64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1))  # inside, outside, stride


class _Residual(nn.Module):
    """Two convolutions and what goes past them, by a 1×1 convolution where the shape changes."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            *_conv(inside, outside, 3, stride), nn.ReLU(), *_conv(outside, outside, 3)
        )
        changes = stride != 1 or inside != outside
        self.short = nn.Conv2d(inside, outside, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.branch(x) + self.short(x))


def resnet(classes: int, width: int = 16) -> nn.Module:
    """MLPerf Tiny's ResNet-8: stages of `width`, twice and four times as many channels."""
    return nn.Sequential(
        *_conv(1, width, 3), nn.ReLU(),
        _Residual(width, width, 1), _Residual(width, 2 * width, 2),
        _Residual(2 * width, 4 * width, 2), *_mean(), nn.Linear(4 * width, classes),
    )  # fmt: skip


def resnet_wide(classes: int) -> nn.Module:
    """ResNet-8 that begins with 40 channels: over a millisecond, so worth a target of speed."""
    return resnet(classes, 40)


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "lenet": lenet,
    "ds_cnn": ds_cnn,
    "resnet": resnet,
    "resnet_wide": resnet_wide,
}


def build(name: str, classes: int) -> nn.Module:
    torch.manual_seed(SEED)
    return MODELS[name](classes)


def _for_edgekit(name: str, data: str) -> tuple[nn.Module, tuple[Tensor]]:
    return build(name, CLASSES[data]).eval(), (torch.zeros(1, 1, SIDE, SIDE),)


def lenet_digits() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("lenet", "digits")


def lenet_glyphs() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("lenet", "glyphs")


def ds_cnn_digits() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("ds_cnn", "digits")


def ds_cnn_glyphs() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("ds_cnn", "glyphs")


def resnet_digits() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("resnet", "digits")


def resnet_glyphs() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("resnet", "glyphs")


def resnet_wide_digits() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("resnet_wide", "digits")


def resnet_wide_glyphs() -> tuple[nn.Module, tuple[Tensor]]:
    return _for_edgekit("resnet_wide", "glyphs")
