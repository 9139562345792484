"""The native runner's module for ExecuTorch: the contract of runners, and what is its alone."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgekit.core.bench import bench_program
from edgekit.core.files import sha256_file
from edgekit.core.measurement import MeasureSettings, OperatorTimes
from edgekit.devices.local import LocalDevice
from edgekit.measure.native_executorch import VERSION, executorch_for, native_module
from edgekit.measure.native_program import native_program
from edgekit.measure.session import measure
from edgekit.measure.subject import Subject
from tests.contracts.runner import NO_DRIVER, Program, RunnerContract
from tests.tiny_tflite import dense_model

pytestmark = pytest.mark.slow  # PyTorch makes the models

# Makes the models, and what ExecuTorch's own Python gives for the rows of the contract.
MAKE = """
import os, sys
import numpy as np, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
os.chdir(sys.argv[1])
torch.manual_seed(0)

def save(name, net, given, partitioner):
    program = torch.export.export(net.eval(), given)
    lowered = to_edge_transform_and_lower(program, partitioner=partitioner).to_executorch()
    with open(name, "wb") as file:
        lowered.write_to_file(file)

class Both(torch.nn.Module):
    def forward(self, a, b):
        return a - b, (a * b).to(torch.int64)

row = torch.zeros(1, 4)
net = torch.nn.Linear(4, 3)
save("dense.pte", net, (row,), [XnnpackPartitioner()])
rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
method = Runtime.get().load_program("dense.pte").load_method("forward")
answers = [method.execute([torch.from_numpy(r[None])])[0].numpy()[0].copy() for r in rows]
np.savez("answers.npz", rows=rows, answers=np.stack(answers))
torch.nn.init.constant_(net.weight, 3e38)
save("overflowing.pte", net, (row,), [XnnpackPartitioner()])
save("both.pte", Both(), (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)), [])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-c", MAKE, str(made)], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def argv(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """With libraries under other names than they were linked with, as on a board."""
    package = executorch_for(platform.machine())
    words = [str(native_program(platform.machine()))]
    there = tmp_path_factory.mktemp("objects")
    for number, library in enumerate(package.libraries):
        words += ["--library", shutil.copy(library, there / f"object{number}")]
    return (*words, "--module", str(native_module(package)), "--library-version", VERSION)


class TestNativeExecuTorch(RunnerContract):
    RUNTIME: ClassVar = ("executorch", VERSION)
    TENSOR: ClassVar = "input_0"
    HEAD: ClassVar = b"    ET12"
    NO_ARENA: ClassVar = {}

    @pytest.fixture
    def program(self, argv: tuple[str, ...]) -> Program:
        return Program(argv, sampler=argv[0], names={"inputs": ["x"], "outputs": ["y"]})

    @pytest.fixture
    def model(self, folder: Path, tmp_path: Path) -> Path:
        return Path(shutil.copy(folder / "dense.pte", tmp_path / "モデル $(x).pte"))

    @pytest.fixture
    def overflowing(self, folder: Path) -> Path:
        return folder / "overflowing.pte"

    @pytest.fixture
    def answers(self, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
        def known(rows: np.ndarray) -> np.ndarray:
            with np.load(folder / "answers.npz") as file:
                np.testing.assert_array_equal(rows, file["rows"])
                return np.asarray(file["answers"])

        return known

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            ({"inputs": ["a", "b"], "outputs": ["y"]}, "2 inputs are named, the model has 1"),
            ({"inputs": ["x"], "outputs": []}, "0 outputs are named, the model has 1"),
        ],
    )
    def test_names_must_be_as_many(
        self, program: Program, model: Path, names: dict[str, list[str]], why: str
    ) -> None:
        code, event = program.error({"model": str(model), "names": names})
        assert (code, event["code"], event["message"]) == (2, "bad_job", why)

    def test_without_names_they_are_numbered(self, argv: tuple[str, ...], model: Path) -> None:
        load = Program(argv).good({"model": str(model)})["load"]
        assert [load[side][0]["name"] for side in ("inputs", "outputs")] == ["input_0", "output_0"]

    def test_a_batch_of_one_is_in_every_file(self, program: Program, model: Path) -> None:
        program.good({"model": str(model), "batch": 1})
        code, event = program.error({"model": str(model), "batch": 2})
        assert (code, event["code"]) == (4, "model_refused")
        assert "a batch of 2 is not in it" in event["message"]


def test_kernels_of_its_own_several_tensors_and_integers(
    argv: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    draw = np.random.default_rng(1)
    rows = {name: draw.normal(size=(5, 2, 3)).astype(np.float32) * 9 for name in ("a", "b")}
    np.savez(tmp_path / "in.npz", **{f"in:{name}": array for name, array in rows.items()})
    program = Program(argv, names={"inputs": ["a", "b"], "outputs": ["less", "times"]})
    job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz"), "runs": 3}
    events = program.good({"model": str(folder / "both.pte"), **job})
    assert [each["dtype"] for each in events["load"]["outputs"]] == ["float32", "int64"]
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["out:less"], rows["a"] - rows["b"])
        times = (rows["a"] * rows["b"]).astype(np.int64)
        np.testing.assert_array_equal(file["out:times"], times)


def test_operators_are_those_of_kernels_and_of_xnnpack(argv: tuple[str, ...], folder: Path) -> None:
    def told(name: str) -> OperatorTimes:
        job = {"model": str(folder / name), "operators": True}
        event = Program(argv).good(job)["operators"]
        del event["event"]
        return OperatorTimes.from_json(event)

    dense, both = told("dense.pte"), told("both.pte")
    assert any("Fully Connected" in each.kind for each in dense.operators)
    assert {each.where for each in dense.operators} == {"delegate"}
    assert {each.where for each in both.operators} == {"cpu"}
    kinds = [each.kind.partition(".")[0] for each in both.operators]
    assert kinds[:2] == ["sub", "mul"]
    assert len(kinds) == 3  # and what makes integers
    for found in (dense, both):
        assert all(each.calls == found.runs > 1 for each in found.operators)
        assert 0 < sum(each.ns for each in found.operators) <= found.total_ns


def test_measured_and_checked_on_a_board(folder: Path, tmp_path: Path) -> None:
    path = folder / "dense.pte"
    with np.load(folder / "answers.npz") as file:
        np.savez(tmp_path / "check.npz", **{"in:x": file["rows"], "out:y": file["answers"]})
    subject = Subject(
        path=path,
        sha256=sha256_file(path),
        quantization="none",
        build_name="tiny",
        variant="pte-float32",
        file_format="executorch",
        check=tmp_path / "check.npz",
        names=(("x",), ("y",)),
    )
    settings = MeasureSettings(launches=2, runs=20, min_seconds=0, streams=2, timeout_seconds=120)
    with LocalDevice(root=tmp_path / "store") as device:
        found = measure(device, subject, settings, runner="native")
    assert found.check is not None
    assert (found.check.ok, found.check.samples) == (True, 7)
    assert (found.hello["runtime"], found.hello["runtime_version"]) == ("executorch", VERSION)
    assert "python" not in found.hello
    assert found.launches[0].memory is not None
    assert found.launches[0].memory.unavailable == NO_DRIVER


def test_the_arena_is_what_the_file_has_planned(argv: tuple[str, ...], folder: Path) -> None:
    job = {"model": str(folder / "both.pte"), "runs": 2}
    found = [
        Program(words).good(job)["memory"]
        for words in (argv, (sys.executable, str(bench_program())))
    ]
    assert found[0]["arena_bytes"] == found[1]["arena_bytes"] >= 2 * 6 * 4
    assert found[1]["unavailable"] == NO_DRIVER


def test_the_words_of_the_runtime_are_told(argv: tuple[str, ...], tmp_path: Path) -> None:
    path = dense_model(tmp_path / "model.tflite")
    code, event = Program(argv).error({"model": str(path)})
    assert (code, event["code"]) == (4, "model_refused")
    assert "Program identifier 'TFL3' != expected 'ET12'" in event["message"]


@pytest.mark.parametrize("missing", [0, 1, 4])
def test_each_library_is_needed(argv: tuple[str, ...], folder: Path, missing: int) -> None:
    """Those of backends that a model needs, too: nothing else computes in their place."""
    words = [*argv[: 1 + 2 * missing], *argv[3 + 2 * missing :]]
    code, event = Program(tuple(words)).error({"model": str(folder / "dense.pte")})
    assert event["code"] == ("model_refused" if missing == 4 else "runtime_broken")
    assert code == (4 if missing == 4 else 3)


def test_what_is_no_module(argv: tuple[str, ...], folder: Path) -> None:
    words = [*argv[:-4], "--module", argv[2]]  # a library, and no module
    code, event = Program(tuple(words)).error({"model": str(folder / "dense.pte")})
    assert (code, event["code"]) == (3, "runtime_broken")
    assert "is no module of runner" in event["message"]


def test_another_runtime(argv: tuple[str, ...], folder: Path) -> None:
    job = {"model": str(folder / "dense.pte"), "runtime": "ai-edge-litert"}
    code, event = Program(argv).error(job)
    assert (code, event["code"]) == (3, "runtime_missing")
    Program(argv).good({**job, "runtime": "executorch"})
