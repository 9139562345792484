"""Makes the zoo's model files that are not functions: ONNX, and a batch that is left open.

python tools/zoo/files.py FOLDER NAME…        (onnx/mlp, torch/dynamic_batch, …)
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.zoo import torch_models

OPSET = 18


def onnx(name: str, path: Path) -> None:
    """The PyTorch model as people export it, with names."""
    model, example = getattr(torch_models, name)()
    torch.onnx.export(
        model, example, path, dynamo=True, opset_version=OPSET, external_data=False, verbose=False
    )


def onnx_dynamic_batch(path: Path) -> None:
    model, example = torch_models.lenet()
    torch.onnx.export(
        model, (torch.cat([example[0]] * 2),), path, dynamo=True, opset_version=OPSET,
        external_data=False, input_names=["image"], verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip


def program_dynamic_batch(path: Path) -> None:
    model, example = torch_models.lenet()
    twice = torch.cat([example[0]] * 2)
    program = torch.export.export(model, (twice,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path)


def make(folder: Path, key: str) -> Path:
    """The file of ``onnx/NAME`` or ``torch/dynamic_batch`` in `folder`; made if it is not there."""
    framework, name = key.split("/")
    path = folder / f"{name}.{'onnx' if framework == 'onnx' else 'pt2'}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    if name == "dynamic_batch":
        (onnx_dynamic_batch if framework == "onnx" else program_dynamic_batch)(part)
    else:
        onnx(name, part)
    part.rename(path)
    return path


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:]:
        print(make(Path(sys.argv[1]), each))
