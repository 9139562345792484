"""Small PyTorch networks for the tests, and a loader that stands in for the source's.

A model's path names the network here, so that nothing has to be saved. Runs in worker processes of
the kind "torch"; torch is only imported there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.model import InputForm, Model
from edgekit.core.tensor import Signature, TensorSpec

LOADER = "tests.export.tflite_nets:load"


def model(name: str, *, forms: dict[str, InputForm] | None = None) -> Model:
    """The handle of a network of this file."""
    return Model(
        name=name,
        reference=f"tests.export.tflite_nets:{name}",
        path=name,
        framework="torch",
        kind="pt2",
        digest=f"{name}:1",
        loader=LOADER,
        worker="torch",
        forms=forms or {},
    )


class Loaded:
    """What `Model.loader` returns for a torch model."""

    def __init__(self, module: Any, inputs: dict[str, Any], outputs: tuple[str, ...]) -> None:
        import torch

        self.module = module.eval()
        self.example = tuple(inputs.values())
        with torch.no_grad():
            answers = self.module(*self.example)
        self.signature = Signature(
            inputs=tuple(_spec(name, tensor) for name, tensor in inputs.items()),
            outputs=tuple(_spec(*pair) for pair in zip(outputs, answers, strict=True)),
        )


def _spec(name: str, tensor: Any) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=dtype)


def load(handle: Model) -> Loaded:
    """The network that the handle's path names."""
    import torch

    torch.manual_seed(0)
    loaded: Loaded = globals()[Path(handle.path).name]()
    return loaded


def cnn() -> Loaded:
    """Channels first, with a skip, a mean over space and two outputs."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6()
            )
            self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.head = nn.Linear(8, 5)

        def forward(self, image: Any) -> Any:
            found = self.stem(image)
            found = found + self.depth(found)
            return self.head(found.mean([2, 3])), found

    return Loaded(Net(), {"image": torch.randn(1, 3, 16, 16)}, ("scores", "features"))


def tokens() -> Loaded:
    """Whole and boolean inputs in an order that is not the alphabet's."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, words: Any, keep: Any) -> Any:
            return ((self.table(words) * keep.unsqueeze(-1)).sum(1), words.sum(1))

    words = torch.tensor([[1, 2, 3]])
    keep = torch.tensor([[True, False, True]])
    return Loaded(Net(), {"words": words, "keep": keep}, ("mean", "total"))


def recurrent() -> Loaded:
    """An LSTM without initial states."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)

        def forward(self, rows: Any) -> Any:
            return (self.lstm(rows)[0][:, -1],)

    return Loaded(Net(), {"rows": torch.randn(1, 5, 4)}, ("last",))


def only_onnx() -> Loaded:
    """An operator that litert-torch does not have and the way through ONNX has."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(4, 4)

        def forward(self, rows: Any) -> Any:
            return (torch.erfinv(torch.tanh(self.dense(rows))),)

    return Loaded(Net(), {"rows": torch.randn(1, 4)}, ("y",))
