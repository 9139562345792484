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
    """The network that the handle's path names, or the chain that it lists."""
    import torch

    torch.manual_seed(0)
    name = Path(handle.path).name
    loaded: Loaded = globals()[name]() if name in globals() else chain(name)
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
            self.mix = nn.Bilinear(4, 4, 3)

        def forward(self, rows: Any) -> Any:
            return (self.mix(rows, rows + 1),)

    return Loaded(Net(), {"rows": torch.randn(1, 4)}, ("y",))


def nowhere() -> Loaded:
    """An operator that none of the ways has."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def forward(self, rows: Any) -> Any:
            return (torch.erfinv(rows),)

    return Loaded(Net(), {"rows": torch.randn(1, 4)}, ("y",))


def chain(text: str) -> Loaded:
    """A network of the layers that the text lists, from a 1×4×8×8 image on, channels first."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    layers = nn.ModuleList()
    steps: list[Any] = []
    channels = 4
    for word in text.split("-"):
        if word in ("conv", "depth", "turned"):
            kind = nn.ConvTranspose2d if word == "turned" else nn.Conv2d
            wide = channels if word == "depth" else 6
            groups = channels if word == "depth" else 1
            layers.append(kind(channels, wide, 3, padding=1, groups=groups))
            steps.append(layers[-1])
            channels = wide
        elif word == "norm":
            layers.append(nn.BatchNorm2d(channels))
            steps.append(layers[-1])
        elif word == "double":
            steps.append(lambda x: torch.cat([x, -x], 1))
            channels *= 2
        elif word == "half":
            steps.append(lambda x, c=channels: x[:, : c // 2] * 2)
            channels //= 2
        else:
            steps.append(
                {
                    "relu": F.relu,
                    "silu": F.silu,
                    "pool": lambda x: F.max_pool2d(x, 3, 1, 1),
                    "mean": lambda x: F.avg_pool2d(x, 2, 1),
                    "grow": lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"),
                    "pad": lambda x: F.pad(x, (1, 0, 2, 0)),
                    "soft": lambda x: x.softmax(1),
                    "gate": lambda x: x * x.mean([2, 3], keepdim=True).sigmoid(),
                    "swap": lambda x: x.transpose(2, 3) + 1,
                }[word]
            )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, image: Any) -> Any:
            for step in steps:
                image = step(image)
            return image, image.flatten(1).sum(1, keepdim=True)

    return Loaded(Net(), {"image": torch.randn(1, 4, 8, 8)}, ("map", "sum"))


# ------------------------------------------------------------------------------- steps


def answer(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Save the example as ``inputs.npz`` and what torch computes of it as ``outputs.npz``."""
    import numpy as np
    import torch

    loaded = load(Model.from_json(model))
    with torch.no_grad():
        answers = loaded.module(*loaded.example)
    for file, specs, tensors in (
        ("inputs", loaded.signature.inputs, loaded.example),
        ("outputs", loaded.signature.outputs, answers),
    ):
        named = {spec.name: each.numpy() for spec, each in zip(specs, tensors, strict=True)}
        np.savez(out / f"{file}.npz", **named)
    return {}


def convert_without_file(out: Path, *, onnx: str, file: str) -> dict[str, Any]:
    """`tflite_onnx.convert` with the sample file under another name, and no cable to pull."""
    import requests

    from edgekit.export import tflite_onnx

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was downloading")

    kept, get = tflite_onnx.SAMPLES, requests.get
    tflite_onnx.SAMPLES = file
    if file == kept:
        requests.get = refuse
    try:
        return tflite_onnx.convert(out, parent="", framework="onnx", onnx=onnx)
    finally:
        tflite_onnx.SAMPLES, requests.get = kept, get
