"""``--dim seq=16..128``: how it is written, and artifacts that take every size of the range."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit as api
from edgekit.cli.wish_options import _parse_dim
from edgekit.core.errors import UsageError
from tests.cli.conftest import Run

NETS = """
import torch
from torch import nn


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv1d(6, 16, 5, padding=2)
        self.more = nn.Conv1d(16, 8, 3, padding=1)
        self.each, self.all = nn.Conv1d(8, 4, 1), nn.Linear(8, 5)

    def forward(self, x):
        y = torch.relu(self.more(torch.relu(self.mix(x))))
        return self.each(y), self.all(y.mean(-1))


def steps():
    time = torch.export.Dim("time", min=2, max=64)
    return Steps().eval(), (torch.randn(1, 6, 40),), ({2: time},)


class Fours(nn.Module):
    def forward(self, x):
        return x.reshape(1, -1, 4).mean(1)


def fours():
    return Fours(), (torch.randn(1, 40),), ({1: torch.export.Dim("n", min=2, max=64)},)


def program():
    net, inputs, dynamic = steps()
    torch.export.save(torch.export.export(net, inputs, dynamic_shapes=dynamic), "steps.pt2")
"""


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("seq=128", ("seq", (128, 128))),
        ("seq=16..128", ("seq", (16, 128))),
        ("ids.1=1..2", ("ids.1", (1, 2))),
    ],
)
def test_a_size_or_its_range(text: str, read: tuple[str, tuple[int, int]]) -> None:
    assert _parse_dim(text) == read


@pytest.mark.parametrize(
    "text", ["seq", "=5", "seq=", "seq=16..", "seq=..16", "seq=128..16", "seq=0..5", "seq=1..2..3"]
)
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form") as caught:
        _parse_dim(text)
    assert "--dim seq=16..128" in caught.value.hint


def test_the_library_refuses_such_ranges_too() -> None:
    with pytest.raises(UsageError, match="'seq' cannot be"):
        api.convert("model.onnx", board="host", dims={"seq": (5, 2)})


def test_a_delegate_that_fixes_sizes_is_refused_in_the_plan(edgekit: Run, desk: Path) -> None:
    (desk / "nets.py").write_text(NETS, encoding="utf-8")
    said = edgekit(
        "convert", "nets:steps", "--for", "android-arm64", "--dim", "time=8..64",
        "--variant", "gpu-float32", "--plan",
    )  # fmt: skip
    assert said.code == 4
    assert "takes one size of each input; --dim time=8..64 leaves one open" in said.err
    assert "--dim time=64" in said.err


def variants(desk: Path, build: str) -> dict[str, Any]:
    found = json.loads((desk / build / "build.json").read_text(encoding="utf-8"))
    return {each["recipe"]["name"]: each for each in found["variants"]}


def chosen(*names: str) -> list[str]:
    return [word for name in names for word in ("--variant", name)]


def accepted_at(found: dict[str, Any], *sizes: str) -> bool:
    verdict = found["verdict"]
    last = verdict["reasons"][-1]
    return verdict["status"] == "accepted" and all(f"at {size}:" in last for size in sizes)


@pytest.fixture
def steps(desk: Path) -> Path:
    (desk / "nets.py").write_text(NETS, encoding="utf-8")
    x = np.random.default_rng(0).normal(size=(12, 6, 64)).astype(np.float32)
    np.savez(desk / "steps.npz", x=x)
    return desk


DATA = ("--calibration", "steps.npz", "--evaluate", "steps.npz", "--for", "host")


@pytest.mark.slow
def test_pytorch_keeps_a_range_in_every_format(edgekit: Run, steps: Path) -> None:
    names = ("float32", "int8", "dynamic", "pte-float32", "pte-int8", "onnx-float32", "onnx-int8")
    said = edgekit(
        "convert", "nets:steps", *DATA, "--dim", "time=8..64", *chosen(*names), "-o", "build"
    )
    assert said.code == 0, said.err
    made = variants(steps, "build")
    assert {n for n in names if accepted_at(made[n], "time = 8", "time = 37")} == set(names)
    for each in made.values():
        (given,) = each["artifact"]["signature"]["inputs"]
        assert given["shape"] == [1, 6, 64]
        assert given["open"] == [{"axis": 2, "name": "time", "least": 8, "largest": 64}]
        outputs = each["artifact"]["signature"]["outputs"]
        assert [("open" in spec) for spec in outputs] == [True, False]
    assert edgekit("bundle", "build", "-o", "kit").code == 0
    assert "1×6×8..64" in (steps / "kit" / "README.md").read_text(encoding="utf-8")
    np.save(steps / "short.npy", np.zeros((6, 11), np.float32))
    assert "[1, 4, 11]" in _example(steps / "kit", steps / "short.npy")
    np.save(steps / "long.npy", np.zeros((6, 65), np.float32))
    assert "6×8..64" in _example(steps / "kit", steps / "long.npy")


def _example(kit: Path, data: Path) -> str:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "example.py", str(data)], cwd=kit, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_program_and_an_onnx_file_keep_a_range(edgekit: Run, steps: Path) -> None:
    import subprocess
    import sys

    from onnx import TensorProto, helper, numpy_helper, save

    subprocess.run([sys.executable, "-c", "import nets; nets.program()"], cwd=steps, check=True)
    said = edgekit(
        "convert", "steps.pt2", *DATA, "--dim", "x.2=8..64", *chosen("pte-float32"), "-o", "one"
    )
    assert said.code == 0, said.err
    assert accepted_at(variants(steps, "one")["pte-float32"], "x.2 = 8", "x.2 = 37")

    weights = np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1], strides=[2])],
        "strided",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, "time"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, "half"])],
        [numpy_helper.from_array(weights, "w")],
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        steps / "strided.onnx",
    )
    names = ("float32", "int8", "onnx-float32", "onnx-int8", "pte-float32")
    said = edgekit(
        "convert", "strided.onnx", *DATA, "--dim", "time=8..64", *chosen(*names), "-o", "two"
    )
    assert said.code == 0, said.err
    made = variants(steps, "two")
    assert {n for n in names if accepted_at(made[n], "time = 8", "time = 37")} == set(names)
    (output,) = made["int8"]["artifact"]["signature"]["outputs"]
    (opened,) = output["open"]
    assert (opened["axis"], opened["least"], opened["largest"]) == (2, 4, 32)


@pytest.mark.slow
def test_a_size_that_the_model_does_not_take_is_named(edgekit: Run, steps: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    said = edgekit(
        "convert", "nets:fours", "--for", "host", "--dim", "n=8..64", *chosen("pte-float32")
    )
    assert said.code == 3
    assert "it takes only sizes with (x.1 % 4) == 0" in said.err

    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "rows"], ["parts"]),
            helper.make_node("ReduceMean", ["parts"], ["y"], axes=[1], keepdims=0),
        ],
        "fours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.array([1, -1, 4]), "rows")],
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        steps / "fours.onnx",
    )
    said = edgekit(
        "convert", "fours.onnx", "--for", "host", "--dim", "n=8..64", *chosen("onnx-float32"),
        "-o", "fours",
    )  # fmt: skip
    assert said.code == 5
    assert "fails to run" in said.err
    assert "at n = 37; give a range of sizes that the model takes" in said.err


@pytest.mark.slow
def test_keras_keeps_a_range_by_input_and_axis(edgekit: Run, desk: Path) -> None:
    (desk / "net.py").write_text(
        "import keras\n"
        "from keras import layers\n\n\n"
        "def make():\n"
        "    keras.utils.set_random_seed(0)\n"
        "    given = keras.Input((None, 6), name='x')\n"
        "    rows = layers.Conv1D(8, 3, strides=2, padding='same')(given)\n"
        "    return keras.Model(given, layers.Dense(4)(rows))\n",
        encoding="utf-8",
    )
    x = np.random.default_rng(0).normal(size=(12, 64, 6)).astype(np.float32)
    np.savez(desk / "steps.npz", x=x)
    said = edgekit("convert", "net:make", *DATA, "--dim", "seq=8..64", *chosen("float32"))
    assert said.code == 2
    assert "it has x.1" in said.err
    said = edgekit(
        "convert", "net:make", *DATA, "--dim", "x.1=8..64", *chosen("float32", "int8"), "-o", "b"
    )
    assert said.code == 0, said.err
    made = variants(desk, "b")
    assert all(accepted_at(each, "x.1 = 8", "x.1 = 37") for each in made.values())
    (output,) = made["int8"]["artifact"]["signature"]["outputs"]
    assert [output["open"][0][key] for key in ("axis", "least", "largest")] == [1, 4, 32]
