"""Programs as torch and ExecuTorch write them: the same numbers, however they were lowered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.description import Description
from edgekit.core.errors import InputError
from edgekit.inspection import pt2
from edgekit.inspection.executorch import ExecuTorchInspector, describe

pytestmark = pytest.mark.slow

CONV, DEPTH, DENSE = 8 * 8 * 8 * 27, 8 * 8 * 8 * 9, 40
PARAMETERS = 8 * 27 + 8 * 9 + 40 + 5


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    done = subprocess.run(
        [sys.executable, "-m", "tests.inspection.torch_samples", str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def described(path: Path) -> Description:
    return Description.from_json(describe(path.parent, path=str(path))["description"])


def counted(found: Description, *operators: str) -> dict[str, int]:
    return {n.operator: n.macs for n in found.coverage.nodes if n.macs or n.operator in operators}


def test_a_saved_program(samples: Path) -> None:
    path = samples / "net.pt2"
    found = Description.from_json(pt2.describe(samples, path=str(path))["description"])
    nodes = [(n.operator, n.layer, n.macs) for n in found.coverage.nodes if n.macs]
    assert nodes == [
        ("aten.conv2d.default", "stem", CONV),
        ("aten.conv2d.default", "depth", DEPTH),
        ("aten.linear.default", "head", DENSE),
    ]
    assert found.parameters == PARAMETERS
    assert found.weights == {"float32": 4 * PARAMETERS}
    assert [str(spec) for spec in found.signatures[0].inputs] == ["image float32 1×3×16×16"]


def test_portable_kernels(samples: Path) -> None:
    found = described(samples / "portable.pte")
    assert {node.where for node in found.coverage.nodes} == {"portable"}
    assert found.macs == CONV + DEPTH + DENSE
    assert found.coverage.partitions == 0
    assert found.parameters == PARAMETERS
    (signature,) = found.signatures
    assert signature.name == "forward"
    assert [spec.shape for spec in (*signature.inputs, *signature.outputs)] == [
        (1, 3, 16, 16),
        (1, 5),
    ]
    assert found.metadata["constants"] == {"get_labels": 5}
    assert found.metadata["planned_memory_bytes"] > 4 * 3 * 16 * 16
    assert "delegates" not in found.metadata


def test_xnnpack_tells_what_is_inside(samples: Path) -> None:
    found = described(samples / "xnnpack.pte")
    assert counted(found) == {"Conv2d": CONV, "DepthwiseConv2d": DEPTH, "FullyConnected": DENSE}
    assert {n.where for n in found.coverage.nodes if n.macs} == {"xnnpack"}
    assert found.coverage.share_of_macs("xnnpack") == 1.0
    # A delegate makes up a bias where a layer has none.
    assert PARAMETERS <= found.parameters <= PARAMETERS + 16
    assert found.weights == {"float32": 4 * found.parameters}
    assert found.quantization == ""
    blobs = found.metadata["delegates"]
    assert len(blobs) == found.coverage.partitions
    assert all(blob["id"] == "XnnpackBackend" and blob["size_bytes"] > 100 for blob in blobs)


def test_xnnpack_in_int8(samples: Path) -> None:
    found = described(samples / "int8.pte")
    assert counted(found) == {"Conv2d": CONV, "DepthwiseConv2d": DEPTH, "FullyConnected": DENSE}
    assert found.quantization.startswith("int8 weights per channel, int8")
    assert found.weights["int8"] == PARAMETERS - 5
    assert found.coverage.share_of_macs("xnnpack") == 1.0


def test_vulkan_tells_what_is_inside(samples: Path) -> None:
    found = described(samples / "vulkan.pte")
    assert found.macs == CONV + DEPTH + DENSE
    assert found.coverage.share_of_macs("vulkan") == 1.0
    assert found.parameters >= PARAMETERS


def test_damage(samples: Path, tmp_path: Path) -> None:
    whole = (samples / "int8.pte").read_bytes()
    path, refused = tmp_path / "changed.pte", 0
    for length in range(0, len(whole) - 16, 211):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged or truncated") as caught:
            described(path)
        assert "\n" not in caught.value.message
    rng = np.random.default_rng(0)
    for _ in range(600):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            changed[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        path.write_bytes(changed)
        try:
            described(path)
        except InputError:
            refused += 1
    assert refused > 30


def test_it_is_known_by_its_first_bytes(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes((samples / "portable.pte").read_bytes())
    assert ExecuTorchInspector().accepts(str(tmp_path / "plain"))
    assert not ExecuTorchInspector().accepts(str(samples / "net.pt2"))
