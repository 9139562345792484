"""Small PyTorch models for tests of what starts from one; imported inside worker processes only.

`handle` names one without importing torch; `load` is its `Model.loader`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
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
    module, example, names = (
        _random(json.loads(model.name)) if model.name.startswith("[") else _MODELS[model.name]()
    )
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


def _scaled() -> Any:
    """A product with a constant for each channel of an image; weights in channels-last order."""
    import torch
    from torch import nn

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
            self.scale = nn.Parameter(torch.rand(1, 8, 1, 1) + 0.5)
            self.register_buffer("shift", torch.rand(1, 1, 1, 8).movedim(-1, 1))

        def forward(self, image: Any) -> Any:
            return (torch.relu((self.left(image) + self.right(image)) * self.scale + self.shift),)

    net = Scaled().to(memory_format=torch.channels_last)
    return net, (torch.randn(1, 3, 6, 5),), ["image"]


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


def _wraps() -> Any:
    """Token ids of which negative ones count from the end."""
    import torch
    from torch import nn

    class Wraps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(20, 16), nn.Linear(16, 3)

        def forward(self, ids: Any) -> Any:
            places = torch.where(ids < 0, ids + 20, ids)
            return (self.head(torch.relu(self.embedding(places))).mean(1),)

    return Wraps(), (torch.arange(6).reshape(1, 6),), ["ids"]


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
    """Two of its layers share their bias."""
    import torch
    from torch import nn

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(8, 16)
            self.middle = nn.Linear(16, 16)
            self.middle.bias = self.hidden.bias
            self.head = nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return (self.head(self.middle(self.hidden(x).relu())),)

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


def _random(layers: list[list[Any]]) -> Any:
    """A chain of layers on an image of 4 channels, as a list of [kind, a number] says."""
    import torch
    from torch import nn

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(_LAYERS[kind](nn, number) for kind, number in layers)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            for (kind, _), part in zip(layers, self.parts, strict=True):
                x = x + part(x) if kind == "residual" else part(x)
            return (self.head(x.mean((2, 3))), x)

    return Chain(), (torch.randn(1, 4, 8, 8),), ["image"]


_LAYERS: dict[str, Any] = {
    "conv": lambda nn, n: nn.Conv2d(4, 4, 1 + 2 * (n % 2), padding=n % 2),
    "depthwise": lambda nn, n: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=bool(n % 2)),
    "transposed": lambda nn, n: nn.ConvTranspose2d(4, 4, 2, stride=1 + n % 2),
    "norm": lambda nn, n: nn.BatchNorm2d(4),
    "group-norm": lambda nn, n: nn.GroupNorm(1 + n % 2, 4),
    "activation": lambda nn, n: [nn.ReLU, nn.Hardswish, nn.Sigmoid, nn.GELU, nn.SiLU, nn.PReLU][
        n % 6
    ](),
    "pool": lambda nn, n: [nn.MaxPool2d, nn.AvgPool2d][n % 2](3, stride=1, padding=1),
    "resize": lambda nn, n: nn.Upsample(scale_factor=2, mode=["nearest", "bilinear"][n % 2]),
    "residual": lambda nn, n: nn.Conv2d(4, 4, 3, padding=1),
    "pad": lambda nn, n: nn.ConstantPad2d((1, n % 3, 0, 1), 0.5),
    "softmax": lambda nn, n: nn.Softmax(dim=1 + n % 3),
}


def _pools() -> Any:
    """An infinite constant, and a pooling whose stride is not said."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Pools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: Any) -> Any:
            padded = functional.pad(self.conv(x), (0, 1, 0, 1), value=float("-inf"))
            return (functional.max_pool2d(functional.max_pool2d(padded, 3, 2), 2),)

    return Pools(), (torch.randn(1, 3, 16, 16),), ["image"]


_MODELS = {
    "cnn": _cnn, "pools": _pools, "detector": _detector, "words": _words, "wraps": _wraps,
    "lstm": _lstm, "mlp": _mlp, "unsupported": _unsupported, "decides": _decides, "scaled": _scaled,
}  # fmt: skip


# ------------------------------------------------------------- steps that tests run in a worker


def compare_pte(out: Path, *, made: str, model: dict[str, Any]) -> dict[str, Any]:
    """Run ``model.pte`` and the model itself on random inputs, in ExecuTorch's own runtime."""
    from executorch.runtime import Runtime

    source = load(Model.from_json(model))
    forward = Runtime.get().load_program(Path(made) / "model.pte").load_method("forward")
    return _compared(source, lambda inputs: [t.clone() for t in forward.execute(list(inputs))])


def compare_program(out: Path, *, made: str, model: dict[str, Any]) -> dict[str, Any]:
    """The same for ``program.pt2``."""
    import torch
    import torchao.quantization.pt2e  # noqa: F401 - registers the operators of quantized programs

    source = load(Model.from_json(model))
    module = torch.export.load(Path(made) / "program.pt2").module()
    return _compared(source, lambda inputs: module(*inputs))


def compare_with_program(out: Path, *, made: str, program: str) -> dict[str, Any]:
    """Run ``model.pte`` and the ``program.pt2`` that it was made from on random inputs."""
    import torch
    from executorch.runtime import Runtime

    traced = torch.export.load(Path(program) / "program.pt2")
    facts = json.loads((Path(program) / "program.json").read_text("utf-8"))
    source = Loaded(
        traced.module(), tuple(traced.example_inputs[0]), Signature.from_json(facts["signature"])
    )
    forward = Runtime.get().load_program(Path(made) / "model.pte").load_method("forward")
    return _compared(source, lambda inputs: [t.clone() for t in forward.execute(list(inputs))])


def by_hand(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """What ExecuTorch's documentation says to do, as it stands."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    source = load(Model.from_json(model))
    program = torch.export.export(source.module, source.example)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    content = lowered.to_executorch().buffer
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def structure(out: Path, *, made: str) -> dict[str, Any]:
    """Delegates of ``model.pte``, what is in their parts, and the kernels that it needs."""
    from edgekit.export import executorch_file
    from edgekit.export.delegates import executorch_coreml, executorch_ethos_u

    read = executorch_file.read(Path(made) / "model.pte")
    backends, blobs = executorch_file.delegates(read), executorch_file.blobs(read)
    pairs = zip(backends, blobs, strict=True)
    apple = [executorch_coreml.operators(blob) for name, blob in pairs if "CoreML" in name]
    streams = [executorch_ethos_u.blocks(blob) for blob in blobs]
    return {
        "delegates": backends,
        "bytes": [len(blob) for blob in blobs],
        "kernels": executorch_file.kernels(read),
        "coreml": apple,
        "vela": [{name: len(block) for name, block in stream.items()} for stream in streams],
        "commands": [stream.get("cmd_data", b"")[:4].decode("latin-1") for stream in streams],
    }


def _compared(source: Loaded, run: Any) -> dict[str, Any]:
    """Signal-to-noise ratio in dB of each output over some samples, and the greatest difference."""
    import torch

    generator = torch.Generator().manual_seed(1)
    signal, noise, worst = {}, {}, 0.0
    for _ in range(12):
        inputs = tuple(
            torch.randn(given.shape, generator=generator) if given.is_floating_point() else given
            for given in source.example
        )
        with torch.no_grad():
            wanted, found = source.module(*inputs), run(inputs)
        for index, (want, got) in enumerate(zip(wanted, found, strict=True)):
            error = want.double() - got.double()
            signal[index] = signal.get(index, 0.0) + float((want.double() ** 2).sum())
            noise[index] = noise.get(index, 0.0) + float((error**2).sum())
            worst = max(worst, float(error.abs().max()))
    snr = [10 * math.log10(signal[i] / max(noise[i], 1e-30)) for i in sorted(signal)]
    return {"snr_db": snr, "worst": worst}
