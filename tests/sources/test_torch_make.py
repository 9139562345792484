"""Functions, weights, pickled modules and TorchScript → programs. torch runs in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import EdgekitError, ModelError, UntrustedModelError, UsageError
from edgekit.core.model import Model, ModelOptions
from edgekit.sources.torch import TorchSource

pytestmark = pytest.mark.slow

MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 3)
        self.drop = nn.Dropout()
        self.last = nn.Linear(3, 2)

    def forward(self, x, scale=None):
        x = self.drop(self.first(x).relu())
        return self.last(x if scale is None else x * scale)


class Deciding(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x - 1


class Mixing(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


def pair():
    return Net(), (torch.ones(1, 4),)

def single():
    return Net(), torch.ones(1, 4)

def named():
    return Net(), {"x": torch.ones(1, 4), "scale": torch.ones(1, 3)}

def alone():
    return Net()

def batch():
    return Net(), (torch.randn(8, 4),)

def opened():
    return Net(), (torch.randn(2, 4),), {"x": {0: torch.export.Dim("n")}}

def deciding():
    return Deciding(), (torch.ones(1, 4),)

def mixing():
    return Mixing(), (torch.randn(8, 4),)

def steps_first():
    return nn.LSTM(4, 3), (torch.randn(8, 1, 4),)

def number():
    return 42

def nothing_to_call_it_with():
    return Net(), 42

def too_many():
    return Net(), (torch.ones(1, 4), torch.ones(1, 3), torch.ones(1, 3))

def wrong_shape():
    return Net(), (torch.ones(1, 5),)

def broken():
    raise ZeroDivisionError("in the user's code")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "users_nets.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "users_nets"
    sys.modules.pop("users_nets", None)


def materialised(reference: str, out: Path, **options: Any) -> Any:
    """The loaded model, from the file as another process would find it."""
    from edgekit.sources import torch_make, torch_worker

    handle = TorchSource().open(reference, ModelOptions(**options))
    assert TorchSource().materialise(handle) is not None
    out.mkdir(exist_ok=True)
    made = Model.from_json(torch_make.materialise(out, model=handle.to_json())["model"])
    assert (made.kind, len(made.digest), made.weights) == ("pt2", 64, "")
    made = made.model_copy(update={"path": str(out / made.path)})
    assert TorchSource().materialise(made) is None
    return torch_worker.load(made)


def refusal(
    reference: str, out: Path, error: type[EdgekitError] = ModelError, **options: Any
) -> str:
    with pytest.raises(error) as caught:
        materialised(reference, out, **options)
    assert len(str(caught.value).splitlines()) <= 2
    return str(caught.value)


def net() -> Any:
    return sys.modules["users_nets"].Net().eval()


# ---------------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("name", "options", "inputs"),
    [
        ("pair", {}, ["x float32 1×4"]),
        ("single", {}, ["x float32 1×4"]),
        ("named", {}, ["x float32 1×4", "scale float32 1×3"]),
        ("alone", {"shapes": {"x": (1, 4)}}, ["x float32 1×4"]),
        ("alone", {"shapes": {"scale": (1, 3), "x": (1, 4)}},
         ["x float32 1×4", "scale float32 1×3"]),
        ("batch", {}, ["x float32 1×4"]),
        ("opened", {}, ["x float32 1×4"]),
    ],
)  # fmt: skip
def test_a_function_becomes_a_program(
    package: str, tmp_path: Path, name: str, options: dict[str, Any], inputs: list[str]
) -> None:
    import torch

    model = materialised(f"{package}:{name}", tmp_path / "out", **options)
    assert [str(spec) for spec in model.signature.inputs] == inputs
    given = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    more = {"scale": np.ones((3, 3), np.float32)} if len(inputs) > 1 else {}
    np.testing.assert_allclose(
        model.run({"x": given, **more})["output"],
        net()(torch.from_numpy(given)).detach().numpy(),  # in eval mode: no dropout
        rtol=1e-5,
        atol=1e-6,
    )
    assert list(model.layers({"x": given, **more})) == ["first", "drop", "last"]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("number", ModelError, "returned a int, not an nn.Module and example inputs"),
        ("nothing_to_call_it_with", ModelError, "returned a int as example inputs"),
        ("too_many", ModelError, "returned 3 example inputs; the module takes 2: x, scale"),
        ("broken", ModelError, "raised ZeroDivisionError: in the user's code (at users_nets.py:"),
        ("alone", UsageError, "or give --shape x=1,SIZES --shape scale=1,SIZES"),
        ("missing", UsageError, "has no 'missing'"),
        ("wrong_shape", ModelError, "in forward"),
        ("deciding", ModelError, "decides by the numbers it computes (at users_nets.py:21 in "),
        ("steps_first", ModelError, "gives the last of 8 samples another answer"),
        ("mixing", ModelError, "gives the last of 8 samples another answer than it gets alone"),
    ],
)
def test_functions_that_give_no_program(
    package: str, tmp_path: Path, name: str, error: type[EdgekitError], said: str
) -> None:
    assert said in refusal(f"{package}:{name}", tmp_path / "out", error)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("alone", {"shapes": {"y": (1, 4)}}, "no input called 'y'; its inputs: x, scale"),
        ("pair", {"shapes": {"y": (1, 4)}}, "no input called 'y'; its inputs: x"),
        ("pair", {"shapes": {"x": (2, 4)}}, "it cannot be 2×4"),
        ("pair", {"dims": {"n": (2, 2)}}, "no open dimension called 'n'; its open dimensions: no"),
        ("opened", {"dims": {"m": (2, 2)}}, "no open dimension called 'm'; its open dimensions: n"),
    ],
)
def test_sizes_that_do_not_fit(
    package: str, tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    assert said in refusal(f"{package}:{name}", tmp_path / "out", **options)


def test_named_dimensions_take_the_given_size(tmp_path: Path) -> None:
    reference = "tests.torch_zoo:pooled"
    for options in ({"dims": {"length": (9, 9)}}, {"dims": {"steps.1": (9, 9)}},
                    {"shapes": {"steps": (9, 4)}}):  # fmt: skip
        model = materialised(reference, tmp_path / "out", **options)
        assert [str(spec) for spec in model.signature.inputs] == ["steps float32 1×9×4"]
    assert "--dim length=SIZE" in refusal(reference, tmp_path / "out")


def test_every_call_is_another_step(package: str) -> None:
    source = TorchSource()
    model = source.open(f"{package}:pair", ModelOptions())
    steps = [source.materialise(model) for _ in range(2)]
    assert steps[0] is not None
    assert steps[1] is not None
    assert steps[0].key != steps[1].key


# ------------------------------------------------------------------------------ weights


def save(state: Any, path: Path, **options: Any) -> Path:
    import torch

    torch.save(state, path, **options)
    return path


@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_weights_go_into_the_functions_model(package: str, tmp_path: Path, form: str) -> None:
    import torch

    __import__(package)
    other = net()
    with torch.no_grad():
        other.last.bias.fill_(7)
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        from safetensors.torch import save_file

        save_file(other.state_dict(), path)
    else:
        save(other.state_dict(), path, _use_new_zipfile_serialization=form == "zip")
    model = materialised(f"{package}:pair", tmp_path / "out", weights=str(path))
    given = torch.ones(1, 4)
    np.testing.assert_allclose(
        model.run({"x": given.numpy()})["output"], other(given).detach().numpy(), rtol=1e-5
    )


def test_weights_that_do_not_fit_are_named(package: str, tmp_path: Path) -> None:
    import torch

    __import__(package)
    right = net().state_dict()
    cases = {
        "first.bias of the model is not in it": {
            k: v for k, v in right.items() if k[:7] != "first.b"
        },
        "extra of the file is not in the model": {**right, "extra": torch.ones(1)},
        "last.bias is 5, not 2": {**right, "last.bias": torch.ones(5)},
        "first.weight, first.bias, last.weight, last.bias of the model are not in it; a, b, c, d "
        "and 2 more of the file are not": {name: torch.ones(1) for name in "abcdef"},
        "every name in the file starts with 'module': save model.module.state_dict()": {
            f"module.{name}": value for name, value in right.items()
        },
        "a checkpoint of epoch, model": {"epoch": 3, "model": right},
        "['model'], 'weights.pt')": {"epoch": 3, "model": right},
        "is not a state_dict but a list": [1, 2],
    }
    for said, state in cases.items():
        path = save(state, tmp_path / "w.pt")
        assert said in refusal(f"{package}:pair", tmp_path / "out", weights=str(path))


# ---------------------------------------------------------------- modules and TorchScript


def test_a_pickled_module_needs_trust_and_shapes(package: str, tmp_path: Path) -> None:
    import torch

    __import__(package)
    whole = net()
    path = str(save(whole, tmp_path / "whole.pt"))
    text = refusal(path, tmp_path / "out", UntrustedModelError)
    assert "would import and run" in text
    assert "users_nets.Net" in text
    assert "--shape x=1,3,224,224" in refusal(path, tmp_path / "out", UsageError, trusted=True)
    model = materialised(path, tmp_path / "out", trusted=True, shapes={"x": (1, 4)})
    given = torch.ones(1, 4)
    np.testing.assert_allclose(
        model.run({"x": given.numpy()})["output"], whole(given).detach().numpy(), rtol=1e-5
    )
    other = str(save({"net": whole}, tmp_path / "other.pt"))
    text = refusal(other, tmp_path / "out", trusted=True, shapes={"x": (1, 4)})
    assert "holds a dict, not an nn.Module" in text


def test_torchscript_is_legacy_and_still_converted(tmp_path: Path) -> None:
    import torch

    from tests import torch_zoo

    module, (image,) = torch_zoo.cnn()
    path = str(tmp_path / "script.pt")
    torch.jit.trace(module, image).save(path)
    text = refusal(path, tmp_path / "out", UntrustedModelError)
    assert "TorchScript is deprecated in favour of torch.export" in text
    model = materialised(path, tmp_path / "out", trusted=True, shapes={"image": (1, 3, 16, 16)})
    np.testing.assert_allclose(
        model.run({"image": image.numpy()})["output"],
        module(image).detach().numpy(),
        rtol=1e-5,
        atol=1e-6,
    )
    text = refusal(path, tmp_path / "out", trusted=True, shapes={"picture": (1, 3, 16, 16)})
    assert "no input called 'picture'; its inputs: image" in text
