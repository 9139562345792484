"""Every way in and every way out, as a person types it. Slow: three frameworks start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import onnx_zoo
from tests.cli.conftest import Run

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
OUTS = ("float32", "int8", "pte-float32", "pte-int8", "onnx-float32", "onnx-int8")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NCHW and NHWC, as the zoo's networks take them, and raw pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(3)
    nchw = draw.random((24, 3, 16, 16), dtype=np.float32)
    np.save(folder / "nchw.npy", nchw)
    np.save(folder / "nhwc.npy", nchw.transpose(0, 2, 3, 1))
    np.save(folder / "grey.npy", draw.random((24, 8, 8, 1), dtype=np.float32))
    np.save(folder / "pixels.npy", draw.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8))
    return folder


def everything(folder: Path) -> Path:
    """A board that has every runtime, without demands."""
    path = folder / "everything.toml"
    runtimes = {
        "ai-edge-litert": ("2.3.0", [name for name in OUTS if "-" not in name]),
        "executorch": ("1.5.1", [name for name in OUTS if name.startswith("pte-")]),
        "onnxruntime": ("1.31.1", [name for name in OUTS if name.startswith("onnx-")]),
    }
    text = (
        'schema = 1\nname = "everything"\ntitle = "everything"\npage = "https://example.org"\n'
        'os = "linux"\narch = "x86_64"\ntransport = "local"\nthreads = 1\n'
        'variants = ["float32"]\n'
    )
    for name, (version, variants) in runtimes.items():
        text += f'[[runtimes]]\nname = "{name}"\nversion = "{version}"\nvariants = {variants}\n'
    path.write_text(text)
    return path


def variants_of(build: Path) -> dict[str, dict]:
    found = json.loads((build / "build.json").read_text())["variants"]
    return {variant["recipe"]["name"]: variant for variant in found}


@pytest.mark.parametrize(
    ("model", "samples"),
    [("tests.torch_zoo:cnn", "nchw"), ("cnn.onnx", "nchw"), ("cnn.keras", "grey")],
)
def test_one_command_gives_every_format(
    edgekit: Run, desk: Path, pictures: Path, keras3: Path, model: str, samples: str
) -> None:
    if model == "cnn.onnx":
        onnx.save(onnx_zoo.cnn(), desk / model)
    elif model == "cnn.keras":
        (desk / model).write_bytes((keras3 / model).read_bytes())
    asked = [option for name in OUTS for option in ("--variant", name)]
    data = pictures / f"{samples}.npy"
    answer = edgekit(
        "convert", model, "--for", everything(desk), *asked,
        "--calibration", data, "--evaluate", data, "-o", "build",
    )  # fmt: skip
    assert answer.code == 0, answer.err + answer.out
    found = variants_of(desk / "build")
    assert [v["verdict"]["status"] for v in found.values()] == ["accepted"] * len(OUTS)
    for name in ("float32", "int8", "pte-float32", "pte-int8"):
        nodes = found[name]["coverage"]["nodes"]
        heavy = [node for node in nodes if node["macs"]]
        assert heavy
        assert {node["where"] for node in heavy} == {"xnnpack"}, name
    assert "Runs on" in answer.out

    measured = edgekit(
        "profile", "build", "--on", "local", "--variant", "pte-int8", "--variant", "onnx-int8",
        "--launches", 1, "--min-seconds", 0.05, "--warmup-seconds", 0, "--json",
    )  # fmt: skip
    assert measured.code == 0, measured.err
    taken = {each["measurement"]["variant"]: each for each in json.loads(measured.out)}
    assert taken["pte-int8"]["measurement"]["hello"]["runtime"] == "executorch"
    assert taken["onnx-int8"]["measurement"]["hello"]["runtime"] == "onnxruntime"
    for each in taken.values():
        assert each["measurement"]["check"]["ok"]
        assert each["summary"]["samples"] > 0

    bundled = edgekit(
        "bundle", "build", "--variant", "pte-int8", "--variant", "onnx-int8", "-o", "out"
    )
    assert bundled.code == 0, bundled.err
    np.save(desk / "sample.npy", np.load(data)[0])
    for name in ("pte-int8", "onnx-int8"):
        done = subprocess.run(
            [sys.executable, "out/example.py", "sample.npy", "--variant", name],
            cwd=desk, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "float32 [1, " in done.stdout


def test_raw_pixels_go_in_and_the_artifact_normalizes(
    edgekit: Run, desk: Path, pictures: Path
) -> None:
    data = pictures / "pixels.npy"
    answer = edgekit(
        "convert", "tests.torch_zoo:cnn", "--for", everything(desk), "--variant", "int8",
        "--variant", "pte-float32", "--calibration", data, "--evaluate", data, "--raw-pixels",
        "--preprocess", "normalize=127.5/127.5,layout=CHW", "-o", "build",
    )  # fmt: skip
    assert answer.code == 0, answer.err + answer.out
    document = json.loads((desk / "build" / "build.json").read_text())
    assert document["preprocessing"]["operations"] == []
    (spec,) = document["signature"]["inputs"]
    assert (spec["shape"], spec["dtype"]) == ([1, 16, 16, 3], "uint8")
    for variant in document["variants"]:  # the user's layers, and none that edgekit put around them
        layers = {node["layer"] for node in variant["coverage"]["nodes"]}
        assert not [layer for layer in layers if "edgekit" in layer or "Cnn" in layer]
        assert {layer.partition("/")[0] for layer in layers} >= {"stem.2", "block.2"}


def test_an_npu_profile_fails_with_the_operators_that_stay_behind(
    edgekit: Run, desk: Path, pictures: Path, keras3: Path
) -> None:
    (desk / "cnn.keras").write_bytes((keras3 / "cnn.keras").read_bytes())
    common = ("--for", "corstone-300-u55", "--calibration", pictures / "grey.npy")
    answer = edgekit("convert", "cnn.keras", *common, "--variant", "ethos-u-int8", "-o", "left")
    assert answer.code == 6
    assert "corstone-300-u55 demands all: left are" in answer.err
    assert "QUANTIZE" in answer.err
    assert "take the int8-io variant" in answer.err

    answer = edgekit("convert", "cnn.keras", *common, "--variant", "ethos-u-int8-io", "-o", "whole")
    assert answer.code == 0, answer.err + answer.out
    (variant,) = variants_of(desk / "whole").values()
    assert variant["verdict"]["stand_in"] == "the INT8 file before Vela"
    assert {node["where"] for node in variant["coverage"]["nodes"]} == {"ethos-u"}


def test_another_way_is_taken_and_told(edgekit: Run, desk: Path) -> None:
    """litert-torch does not know aten._trilinear; torch.onnx and onnx2tf do."""
    (desk / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.both = torch.nn.Bilinear(4, 4, 3)\n"
        "    def forward(self, x):\n"
        "        return self.both(x, x)\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return Net().eval(), (torch.rand(1, 4),)\n"
    )
    answer = edgekit("convert", "net:make", "--for", "host", "--variant", "float32", "-o", "build")
    assert answer.code == 0, answer.err + answer.out
    (variant,) = variants_of(desk / "build").values()
    assert "onnx2tf" in variant["artifact"]["way"]
    (note,) = [n for n in variant["artifact"]["notes"] if n.startswith("another way was tried")]
    assert "aten._trilinear (at net.py:7 in forward" in note
    assert "another way was tried first" in answer.out
