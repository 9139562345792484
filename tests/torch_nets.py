"""Small PyTorch models for tests of what starts from one; imported inside worker processes only.

`handle` names one without importing torch; `load` is its `Model.loader`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.core.model import Model
from edgekit.core.tensor import Signature, TensorSpec


def handle(name: str) -> Model:
    """The model that `_MODELS` holds under `name`."""
    return Model(
        name=name, reference=name, path="", framework="torch", kind="test", digest=f"net-{name}",
        loader="tests.torch_nets:load", worker="torch",
    )  # fmt: skip


@dataclass
class Loaded:
    """A `LoadedModel` as a torch source gives it."""

    module: Any
    example: tuple[Any, ...]
    signature: Signature


def load(model: Model) -> Loaded:
    """The model, always with the same weights."""
    import torch

    torch.manual_seed(0)
    module, example, names = _MODELS[model.name]()
    module.eval()
    with torch.no_grad():
        outputs = module(*example)
    return Loaded(
        module=module,
        example=tuple(example),
        signature=Signature(
            inputs=_specs(names, example),
            outputs=_specs([f"output_{index}" for index in range(len(outputs))], outputs),
        ),
    )


def _specs(names: Any, tensors: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype)[len("torch.") :])
        for name, tensor in zip(names, tensors, strict=True)
    )


def _cnn() -> Any:
    import torch
    from torch import nn

    class Cnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
            self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
            self.head = nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            y = self.depthwise(self.first(x)).relu()
            return (self.head(y.mean((2, 3))),)

    return Cnn(), (torch.randn(1, 3, 16, 16),), ["image"]


def _detector() -> Any:
    """Boxes in pixels and scores below one, joined as a YOLO head does."""
    import torch
    from torch import nn

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 8, 3, padding=1)
            self.boxes = nn.Conv2d(8, 4, 1)
            self.scores = nn.Conv2d(8, 3, 1)

        def forward(self, x: Any) -> Any:
            y = self.body(x).relu()
            boxes = self.boxes(y).sigmoid() * 600
            scores = self.scores(y).sigmoid()
            return (torch.cat([boxes, scores], 1).flatten(2).permute(0, 2, 1),)

    return Detector(), (torch.randn(1, 3, 8, 8),), ["image"]


def _words() -> Any:
    """Token ids, a mask of booleans, attention."""
    import torch
    from torch import nn

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(20, 16)
            self.encoder = nn.TransformerEncoderLayer(
                16, 2, 32, dropout=0.0, batch_first=True, norm_first=True
            )
            self.head = nn.Linear(16, 3)

        def forward(self, ids: Any, padded: Any) -> Any:
            y = self.embedding(ids) * (~padded).unsqueeze(-1)
            return (self.head(self.encoder(y)).mean(1),)

    ids = torch.arange(6).reshape(1, 6)
    return Words(), (ids, torch.zeros(1, 6, dtype=torch.bool)), ["ids", "padded"]


def _lstm() -> Any:
    import torch
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 8, batch_first=True)
            self.gru = nn.GRU(8, 6, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, x: Any) -> Any:
            y, _ = self.lstm(x)
            z, _ = self.gru(y)
            return (self.head(z[:, -1]), z)

    return Recurrent(), (torch.randn(1, 5, 4),), ["sound"]


def _mlp() -> Any:
    import torch
    from torch import nn

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(8, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return (self.head(self.hidden(x).relu()),)

    return Mlp(), (torch.randn(1, 8),), ["features"]


def _unsupported() -> Any:
    """A Fourier transform, for which ExecuTorch has no form in the edge dialect's kernels."""
    import torch
    from torch import nn

    class Spectrum(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.svdvals(x)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spectrum = Spectrum()

        def forward(self, x: Any) -> Any:
            return (self.spectrum(x),)

    return Outer(), (torch.randn(4, 4),), ["matrix"]


def _decides() -> Any:
    """Takes another branch for other numbers."""
    import torch
    from torch import nn

    class Decides(nn.Module):
        def forward(self, x: Any) -> Any:
            if x.sum() > 0:
                return (x + 1,)
            return (x - 1,)

    return Decides(), (torch.randn(2, 2),), ["x"]


_MODELS = {
    "cnn": _cnn, "detector": _detector, "words": _words, "lstm": _lstm, "mlp": _mlp,
    "unsupported": _unsupported, "decides": _decides,
}  # fmt: skip
