"""A real executor_runner, built with the runtime of the executorch wheel."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core.files import sha256_file
from edgekit.measure.subject import Subject

SOURCE = Path(__file__).parent / "executor_runner.cpp"
LIBRARIES = (
    *("executorch", "executorch_threadpool", "executorch_kernels_optimized"),
    *("executorch_kernels_quantized", "executorch_backend_xnnpack", "executorch_etdump"),
)

MAKE = """
import os, sys
import numpy as np, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
os.chdir(sys.argv[1])
torch.manual_seed(0)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8 * 6 * 6, 3)

    def forward(self, x, bias):  # the sum is none of XNNPACK's
        return self.out(torch.cumsum(self.conv(x), 1).flatten(1)) + bias, x.to(torch.int64)

rows = {"in:x": torch.randn(6, 1, 3, 8, 8), "in:bias": torch.randn(6, 1, 3)}
program = torch.export.export(Net().eval(), (rows["in:x"][0], rows["in:bias"][0]))
lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
with open("net.pte", "wb") as file:
    lowered.to_executorch().write_to_file(file)
method = Runtime.get().load_program("net.pte").load_method("forward")
answers = [[a.numpy().copy() for a in method.execute([x, b])] for x, b in zip(*rows.values())]
np.savez("check.npz", **{name: values.numpy() for name, values in reversed(rows.items())},
         **{"out:" + name: np.stack(values) for name, values in zip("yz", zip(*answers))})
"""


def make_models(folder: Path) -> Path:
    """A net.pte of two inputs and two outputs in `folder`, with check.npz of six samples."""
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], check=True, capture_output=True)
    return folder


def subject_of(models: Path) -> Subject:
    path = models / "net.pte"
    return Subject(
        path, sha256_file(path), "none", "net", "pte-xnnpack-float32", models / "check.npz",
        "executorch", "xnnpack", "executor-runner", (("x", "bias"), ("y", "z")),
    )  # fmt: skip


def build(target: Path, edition: int, *words: str) -> Path:
    """Build it as the file `target`; see the source for editions and words."""
    if shutil.which("g++") is None or not Path("/usr/include/gflags/gflags.h").is_file():
        pytest.skip("needs the Debian package g++ and the Debian package libgflags-dev")
    package = _package()
    include = package / "include"
    c10 = include / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    subprocess.run(
        [
            *("g++", "-std=c++17", "-O0", "-DC10_USING_CUSTOM_GENERATED_MACROS"),
            *("-DET_EVENT_TRACER_ENABLED", f"-DEDITION={edition}", *words),
            *(f"-I{include}", f"-I{c10}", "-o", str(target), str(SOURCE)),
            *(f"-L{package / 'lib'}", "-Wl,--no-as-needed"),
            *(f"-l{name}" for name in LIBRARIES),
            *("-lgflags", f"-Wl,-rpath,{package / 'lib'}"),
        ],
        check=True,
    )
    return target


@functools.cache
def _package() -> Path:
    spec = importlib.util.find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))
