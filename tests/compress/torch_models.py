"""Small modules that passes change, as `edgekit convert tests.compress.torch_models:plain` names
them, and nets of them; torch is only imported inside.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgekit.compress.net import Net, open_net
from edgekit.core.model import Model, ModelOptions
from edgekit.core.registry import resolve
from edgekit.sources import SOURCES


def net_of(module: Any, *example: Any) -> Any:
    """A `TorchNet` of a module that no function makes."""
    from edgekit.compress.torch_net import TorchNet

    live = SimpleNamespace(module=module, example=(example, {}), edits=[])
    live.call = lambda inputs, training: [live.module.train(training)(*inputs)]
    return TorchNet(live)


def opened(name: str, folder: Path) -> tuple[str, Model, Model]:
    """The opener, what the user named, and the program made of it in `folder`."""
    source = SOURCES["torch"]()
    origin = source.open(f"tests.compress.torch_models:{name}", ModelOptions())
    step = source.materialise(origin)
    folder.mkdir()
    result = resolve(step.function)(folder, **step.arguments)
    model = Model.from_json(result["model"])
    model = model.model_copy(update={"path": str(folder / model.path)})
    return source.opener(origin), origin, model


def reopened(net: Net, opener: str, origin: Model, folder: Path) -> Any:
    """The net as the next step finds it."""
    folder.mkdir()
    made = net.live.save(folder)
    return open_net(opener, origin, made.model_copy(update={"path": str(folder / made.path)}))


# ------------------------------------------------------------- the rest runs in that process


def plain() -> Any:
    """float32 1×3×12×12 → 1×5: convolutions with batch norms, one of each kind, and a residual."""
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            )
            self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
            self.norm = nn.BatchNorm2d(16)
            self.back = nn.ConvTranspose2d(16, 24, 2, stride=2, groups=2)
            self.back_norm = nn.BatchNorm2d(24, affine=False)
            self.hidden = nn.Linear(24, 32)
            self.hidden_norm = nn.BatchNorm1d(32)
            self.drop = nn.Dropout(0.3)
            self.head = nn.Linear(32, 5)

        def forward(self, image: Any) -> Any:
            x = self.stem(image).relu()
            x = x + self.norm(self.depth(x)).relu()
            x = self.back_norm(self.back(x)).relu().mean((2, 3))
            return self.head(self.drop(self.hidden_norm(self.hidden(x)).relu()))

    torch.manual_seed(0)
    return moved(Plain()).eval(), (torch.randn(1, 3, 12, 12),)


def moved(module: Any) -> Any:
    """With batch norms that do something, as after training."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    for each in module.modules():
        if isinstance(each, _BatchNorm) and each.track_running_stats:
            each.running_mean.uniform_(-0.5, 0.5)
            each.running_var.uniform_(0.5, 2)
            if each.affine:
                torch.nn.init.uniform_(each.weight, 0.5, 1.5)
                torch.nn.init.uniform_(each.bias, -0.5, 0.5)
    return module
