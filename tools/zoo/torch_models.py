"""The zoo in PyTorch: every function makes a model, without downloads, and example inputs for it.

Weights are random but seeded. Batch normalization is settled on random inputs first, since its
untouched statistics would let the signal grow or die from layer to layer, and what a residual block
adds begins small, since a deep network of equal random blocks multiplies every rounding error as no
trained one does (MobileNetV2 with its weights rounded to float16: 37 dB, and 49 dB so). Classifiers
end in logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.zoo.samples import like

CLASSES = 1000
SEED = 0
# Goyal et al. begin with zero, https://arxiv.org/abs/1706.02677, section 5.1.
ADDED = 0.2


def _made(
    build: Callable[[], nn.Module], *shapes: Sequence[int]
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model with settled statistics, and example inputs of these shapes."""
    torch.manual_seed(SEED)
    model = build()
    examples = tuple(_drawn(1, shape) for shape in shapes)
    norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the average over all batches
    if norms:
        model.train()
        with torch.no_grad():
            for batch in range(3):
                model(*(_drawn(8, shape, seed=batch) for shape in shapes))
    return model.eval(), examples


def _drawn(count: int, shape: Sequence[int], seed: int = 0) -> Tensor:
    return torch.from_numpy(like(count, tuple(shape[1:]), seed=seed, first=True))


def _conv(
    inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, act: Any = nn.ReLU6
) -> nn.Sequential:
    layers = [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
    ]
    return nn.Sequential(*layers, act()) if act else nn.Sequential(*layers)


def _added(branch: nn.Sequential) -> None:
    """Let what a residual `branch`, which ends in batch normalization, adds begin small."""
    norm = branch[-1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.constant_(norm.weight, ADDED)


def mlp() -> tuple[nn.Module, tuple[Tensor, ...]]:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
        )

    return _made(build, (1, 64))


def lenet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip

    return _made(build, (1, 1, 28, 28))


class InvertedResidual(nn.Module):
    """Sandler et al., MobileNetV2, https://arxiv.org/abs/1801.04381, figure 4."""

    def __init__(self, inside: int, outside: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        parts = [_conv(inside, wide, 1)] if expand > 1 else []
        parts += [_conv(wide, wide, 3, stride, groups=wide), _conv(wide, outside, 1, act=None)]
        self.parts = nn.Sequential(*parts)
        self.adds = stride == 1 and inside == outside
        if self.adds:
            _added(parts[-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x) if self.adds else self.parts(x)


class MobileNetV2(nn.Module):
    """Table 2 of the paper, width 1.0."""

    PLAN = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        blocks, inside = [_conv(3, 32, 3, 2)], 32
        for expand, outside, count, stride in self.PLAN:
            for index in range(count):
                blocks.append(
                    InvertedResidual(inside, outside, stride if index == 0 else 1, expand)
                )
                inside = outside
        self.features = nn.Sequential(*blocks, _conv(320, 1280, 1))
        self.classifier = nn.Linear(1280, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def mobilenet_v2() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(MobileNetV2, (1, 3, 224, 224))


class SqueezeExcite(nn.Module):
    """Hu et al., https://arxiv.org/abs/1709.01507."""

    def __init__(self, channels: int, inner: int, act: Any, gate: Any) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(self.act(self.down(x.mean((2, 3), keepdim=True)))))


class MobileBlock(nn.Module):
    """The block of MobileNetV3 and EfficientNet: expand, depthwise, squeeze and excite, project."""

    def __init__(
        self,
        inside: int,
        wide: int,
        outside: int,
        kernel: int,
        stride: int,
        squeeze: int,
        act: Any,
        gate: Any,
    ) -> None:
        super().__init__()
        parts = [_conv(inside, wide, 1, act=act)] if wide != inside else []
        parts.append(_conv(wide, wide, kernel, stride, groups=wide, act=act))
        if squeeze:
            inner = nn.ReLU if gate is nn.Hardsigmoid else act
            parts.append(SqueezeExcite(wide, squeeze, inner, gate))
        parts.append(_conv(wide, outside, 1, act=None))
        self.parts = nn.Sequential(*parts)
        self.adds = stride == 1 and inside == outside
        if self.adds:
            _added(parts[-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x) if self.adds else self.parts(x)


class MobileNetV3Small(nn.Module):
    """Howard et al., https://arxiv.org/abs/1905.02244, table 2."""

    PLAN = (  # kernel, expanded, out, squeeze, hard-swish, stride
        (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2),
        (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1),
        (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_conv(3, 16, 3, 2, act=nn.Hardswish)]
        inside = 16
        for kernel, wide, outside, squeeze, hard, stride in self.PLAN:
            inner = max(8, wide // 4 // 8 * 8) if squeeze else 0
            act = nn.Hardswish if hard else nn.ReLU
            blocks.append(
                MobileBlock(inside, wide, outside, kernel, stride, inner, act, nn.Hardsigmoid)
            )
            inside = outside
        self.features = nn.Sequential(*blocks, _conv(96, 576, 1, act=nn.Hardswish))
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, CLASSES)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def mobilenet_v3() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(MobileNetV3Small, (1, 3, 224, 224))


class EfficientNetB0(nn.Module):
    """Tan and Le, https://arxiv.org/abs/1905.11946, table 1."""

    PLAN = (  # expansion, kernel, stride, out, count
        (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_conv(3, 32, 3, 2, act=nn.SiLU)]
        inside = 32
        for expand, kernel, stride, outside, count in self.PLAN:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(
                    MobileBlock(
                        inside,
                        inside * expand,
                        outside,
                        kernel,
                        step,
                        max(1, inside // 4),
                        nn.SiLU,
                        nn.Sigmoid,
                    )
                )
                inside = outside
        self.features = nn.Sequential(*blocks, _conv(320, 1280, 1, act=nn.SiLU))
        self.classifier = nn.Linear(1280, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def efficientnet_b0() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(EfficientNetB0, (1, 3, 224, 224))


class BasicBlock(nn.Module):
    """He et al., https://arxiv.org/abs/1512.03385."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inside, outside, 3, stride, act=nn.ReLU)
        self.second = _conv(outside, outside, 3, act=None)
        _added(self.second)
        changes = stride != 1 or inside != outside
        self.short = _conv(inside, outside, 1, stride, act=None) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.short(x))


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_conv(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
        inside = 64
        for outside, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [BasicBlock(inside, outside, stride), BasicBlock(outside, outside, 1)]
            inside = outside
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(512, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def resnet18() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(ResNet18, (1, 3, 224, 224))


class UNet(nn.Module):
    """Ronneberger et al., https://arxiv.org/abs/1505.04597, with three levels of few channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = self._double(3, 16), self._double(16, 32)
        self.bottom = self._double(32, 64)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join2, self.join1 = self._double(64, 32), self._double(32, 16)
        self.mask = nn.Conv2d(16, 2, 1)

    @staticmethod
    def _double(inside: int, outside: int) -> nn.Sequential:
        return nn.Sequential(
            _conv(inside, outside, 3, act=nn.ReLU), _conv(outside, outside, 3, act=nn.ReLU)
        )

    def forward(self, image: Tensor) -> Tensor:
        one = self.down1(image)
        two = self.down2(functional.max_pool2d(one, 2))
        bottom = self.bottom(functional.max_pool2d(two, 2))
        two = self.join2(torch.cat([self.up2(bottom), two], 1))
        one = self.join1(torch.cat([self.up1(two), one], 1))
        return self.mask(one)


def unet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(UNet, (1, 3, 128, 128))


class Detector(nn.Module):
    """A YOLO-like head on a small backbone: one output, boxes in pixels beside scores."""

    SIDE, KINDS = 160, 20

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(3, 16, 3, 2, act=nn.SiLU),
            _conv(16, 32, 3, 2, act=nn.SiLU),
            _conv(32, 64, 3, 2, act=nn.SiLU),
        )
        self.deep = _conv(64, 128, 3, 2, act=nn.SiLU)
        self.boxes = nn.ModuleList([nn.Conv2d(64, 4, 1), nn.Conv2d(128, 4, 1)])
        self.scores = nn.ModuleList([nn.Conv2d(64, self.KINDS, 1), nn.Conv2d(128, self.KINDS, 1)])

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.stem(image)
        found = []
        for features, box, score in zip(
            (shallow, self.deep(shallow)), self.boxes, self.scores, strict=True
        ):
            boxes = box(features).flatten(2).sigmoid() * self.SIDE
            found.append(torch.cat([boxes, score(features).flatten(2).sigmoid()], 1))
        return torch.cat(found, 2)


def detector() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(Detector, (1, 3, Detector.SIDE, Detector.SIDE))


class Recurrent(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cells = kind(16, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, sequence: Tensor) -> Tensor:
        return self.head(self.cells(sequence)[0][:, -1])


def lstm() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(lambda: Recurrent(nn.LSTM), (1, 20, 16))


def gru() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(lambda: Recurrent(nn.GRU), (1, 20, 16))


def ds_cnn() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Keyword spotting on 40 mel bands over time; Zhang et al., https://arxiv.org/abs/1711.07128."""

    def block(channels: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv1d(channels, channels, 3, stride, 1, groups=channels, bias=False),
            nn.BatchNorm1d(channels), nn.ReLU(),
            nn.Conv1d(channels, channels, 1, bias=False), nn.BatchNorm1d(channels), nn.ReLU(),
        ]  # fmt: skip

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(40, 64, 5, 2, 2, bias=False), nn.BatchNorm1d(64), nn.ReLU(),
            *block(64, 1), *block(64, 2), *block(64, 1), *block(64, 1),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 12),
        )  # fmt: skip

    return _made(build, (1, 40, 100))


class Attention(nn.Module):
    """One layer of Vaswani et al., https://arxiv.org/abs/1706.03762, normalized first."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(count, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(count, length, width))
        return x + self.inner(self.norm2(x))


class Encoder(nn.Module):
    """A small Transformer encoder over token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = (
            nn.Embedding(100, 64),
            nn.Parameter(torch.randn(1, 32, 64) * 0.02),
        )
        self.layers = nn.Sequential(*(Attention(64, 4, 128) for _ in range(2)))
        self.head = nn.Linear(64, 10)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layers(self.tokens(ids) + self.places).mean(1))


def transformer() -> tuple[nn.Module, tuple[Tensor, ...]]:
    model, _ = _made(Encoder)
    return model, (torch.arange(32).reshape(1, 32) % 100,)


class ViTTiny(nn.Module):
    """Dosovitskiy et al., https://arxiv.org/abs/2010.11929; DeiT-Tiny's sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 192, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, 192) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 197, 192) * 0.02)
        self.layers = nn.Sequential(*(Attention(192, 3, 768) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        token = self.token.expand(patches.shape[0], -1, -1)
        x = self.layers(torch.cat([token, patches], 1) + self.places)
        return self.head(self.norm(x)[:, 0])


def vit_tiny() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(ViTTiny, (1, 3, 224, 224))


class MultiInput(nn.Module):
    """A picture and a few numbers in, a class and a value out."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            _conv(3, 8, 3, 2, act=nn.ReLU), _conv(8, 16, 3, 2, act=nn.ReLU)
        )
        self.numbers = nn.Linear(6, 16)
        self.kind, self.value = nn.Linear(32, 5), nn.Linear(32, 1)

    def forward(self, image: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat(
            [self.picture(image).mean((2, 3)), functional.relu(self.numbers(facts))], 1
        )
        return self.kind(joined), self.value(joined)


def multi_input() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return _made(MultiInput, (1, 3, 32, 32), (1, 6))


MODELS = (
    "mlp", "lenet", "mobilenet_v2", "mobilenet_v3", "resnet18", "efficientnet_b0", "unet",
    "detector", "lstm", "gru", "ds_cnn", "transformer", "vit_tiny", "multi_input",
)  # fmt: skip
