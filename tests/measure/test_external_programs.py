"""The contract of runners over other people's programs: doubles of benchmark_model and trtexec, and
a real executor_runner.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgekit.core.files import sha256_file
from edgekit.core.measurement import Launch, Measurement
from edgekit.measure.subject import Subject
from tests.contracts.external import WARMUP, ExternalProgramContract
from tests.executor_runner import build, make_models, subject_of
from tests.program_doubles import double

MIB = 1 << 20


class TestBenchmarkModel(ExternalProgramContract):
    RUNNER = "benchmark-model"
    PROGRAM = "benchmark_model"
    TIMED = ("--num_runs=20", "--warmup_runs=4", "--min_secs=0.0", "--num_threads=1")
    REFUSES = "'CONV_2D' version '99'.; Failed to construct interpreter"
    MORE_REFUSED: ClassVar = ({"sample_every": 2},)

    @pytest.fixture
    def real(self, tmp_path: Path) -> Path:
        return double(tmp_path / "real", "benchmark_model")

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        path = tmp_path / "model.tflite"
        path.write_bytes(b"any model")
        return Subject(path, sha256_file(path), "none", "net", "float32", delegate="xnnpack")

    def check_times(self, launch: Launch, said: str) -> None:
        assert (launch.load_ns, launch.first_ns) == (855_000, 49_060_000)
        assert launch.samples_ns == (33_100_000,)  # the median, not the warm-up's

    def check_memory(self, found: Measurement, said: str) -> None:
        first, *others = found.launches
        peak, before = first.peak_rss_bytes, first.rss_before_load_bytes
        assert peak is not None
        assert before is not None
        grown = re.search(r"init=\S+ overall=(\S+)", said)
        assert grown is not None
        assert 32 * MIB <= peak - before <= 34 * MIB  # what the double takes
        assert before > 0
        for launch in others:
            assert launch.peak_rss_bytes is None
            assert "beside the first launch" in launch.unavailable["peak_rss_bytes"]


class TestTrtexec(ExternalProgramContract):
    RUNNER = "trtexec"
    PROGRAM = "trtexec"
    TIMED = ("--warmUp=0", "--duration=0", "--iterations=26")
    REFUSES = r"does not build an engine for .*Error\[4\]: Static dimension mismatch"

    @pytest.fixture
    def real(self, tmp_path: Path) -> Path:
        return double(tmp_path / "real", "trtexec")

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        path = tmp_path / "model.onnx"
        path.write_bytes(b"any model")
        rows = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
        np.savez(tmp_path / "check.npz", **{"in:x": rows, "out:y": 2 * rows})
        return Subject(
            path, sha256_file(path), "none", "net", "onnx-tensorrt", tmp_path / "check.npz",
            "onnx", "tensorrt",
        )  # fmt: skip

    def check_times(self, launch: Launch, said: str) -> None:
        assert launch.load_ns == 12_500_000
        assert set(launch.samples_ns) <= {2_500_000 + 10_000 * i for i in range(5)}

    def check_memory(self, found: Measurement, said: str) -> None:
        told = found.launches[0].memory
        assert told is not None
        assert "106 MiB of the GPU's" in told.unavailable["driver_bytes"]
        assert told.arena_bytes == round(7.84766 * MIB)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def executor_runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("programs") / "plain", 15)


@pytest.mark.slow
class TestExecutorRunner(ExternalProgramContract):
    RUNNER = "executor-runner"
    PROGRAM = "executor_runner"
    TIMED = ("--num_executions=24", "--cpu_threads=1")
    REFUSES = "Program identifier .*; Failed to parse model"

    @pytest.fixture
    def real(self, executor_runner: Path) -> Path:
        return executor_runner

    @pytest.fixture
    def subject(self, models: Path) -> Subject:
        return subject_of(models)

    def check_times(self, launch: Launch, said: str) -> None:
        told = [
            round(float(ms) * 1e6) for ms in re.findall(r"Iteration \d+ of \d+: (\S+) ms", said)
        ]
        assert launch.first_ns == told[0]
        assert launch.warmup_ns == tuple(told[:WARMUP])
        assert launch.samples_ns == tuple(told[WARMUP:])
        load = re.search(r"Model loaded in (\S+) ms", said)
        assert load is not None
        assert launch.load_ns == round(float(load[1]) * 1e6)

    def check_memory(self, found: Measurement, said: str) -> None:
        sizes = re.findall(r"Setting up planned buffer \d+, size (\d+)\.", said)
        for launch in found.launches:
            assert launch.memory is not None
            assert launch.memory.arena_bytes == sum(map(int, sizes)) > 0
