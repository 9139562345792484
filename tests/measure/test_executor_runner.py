"""The runner over ExecuTorch's executor_runner: a real one with real ETDumps, in the builds and
editions that people have, and the text of the log of others.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import (
    DeviceError,
    EdgekitError,
    MismatchError,
    RejectedError,
    RuntimeMissingError,
)
from edgekit.core.files import sha256_file
from edgekit.core.measurement import MeasureSettings, OperatorTimes
from edgekit.devices.local import LocalDevice
from edgekit.measure.etdump import inferences, operators, read_etdump
from edgekit.measure.runners.executor_runner import (
    MOST_EXECUTIONS,
    parse_flags,
    parse_log,
    planned,
    why_failed,
)
from edgekit.measure.session import measure
from edgekit.measure.stats import summarize
from edgekit.measure.subject import Subject
from tests.executor_runner import build, make_models, subject_of

HEAD = "I 00:00:00.000698 executorch:executor_runner.cpp"
# Of the editions of 0.6 to 1.0, and of 1.5.
OLD = f"""{HEAD}:135] Resetting threadpool with num threads = 2
{HEAD}:213] Model file net.pte is loaded.
{HEAD}:290] Method loaded.
{HEAD}:331] Model executed successfully 4 time(s) in 8.500000 ms.
"""
NEW = f"""{HEAD}:110] Resetting threadpool with num threads = 2
{HEAD}:160] Model loaded in 0.630128 ms.
{HEAD}:178] Iteration 1 of 2: 3.500000 ms
{HEAD}:178] Iteration 2 of 2: 1.250000 ms
{HEAD}:183] Model executed successfully 2 time(s) in 4.750000 ms.
"""


def test_the_log_of_all_editions() -> None:
    old, new = parse_log(OLD, 4), parse_log(NEW, 2)
    assert (old.count, old.each_ns, old.typical_ns, old.load_ns) == (4, (), 2_125_000, None)
    assert (new.each_ns, new.load_ns) == ((3_500_000, 1_250_000), 630_128)
    assert old.has_threads
    assert parse_log(OLD, 5).count == 0  # of another run
    nothing = parse_log("", 1)
    assert (nothing.count, nothing.is_logged) == (0, False)


@given(st.text())
def test_other_text_has_no_times(text: str) -> None:
    told = parse_log(text, 1)
    assert (told.count, told.each_ns) == (0, ())
    assert not parse_flags(text) & {"model_path"}
    why_failed(text)


@given(
    st.fixed_dictionaries(
        {
            "runs": st.integers(1, 1000),
            "min_seconds": st.floats(0, 100),
            "max_runs": st.integers(1000, 10**6),
            "warmup_runs": st.integers(0, 10**6),
            "sample_every": st.integers(1, 50),
        }
    ),
    st.floats(1e3, 1e9),
    st.floats(0, 1e4),
)
def test_plans_keep_to_the_job(job: dict[str, Any], ns: float, seconds: float) -> None:
    plan = planned(job, ns, seconds)
    assert job["sample_every"] <= plan.count
    assert plan.warmup + plan.count <= MOST_EXECUTIONS
    if plan.stopped == "enough":
        assert plan.count >= job["runs"] * job["sample_every"]
        assert plan.count * ns >= job["min_seconds"] * 1e9 * 0.999
        assert plan.warmup >= min(job["warmup_runs"], MOST_EXECUTIONS // 2)
    if plan.stopped == "time_budget" and plan.count > job["sample_every"]:
        assert plan.count * ns <= seconds * 1e9


def test_what_is_no_etdump(tmp_path: Path) -> None:
    path = tmp_path / "run.etdump"
    for data in (b"", b"ED00", b"a text of some other program, long enough to be read"):
        path.write_bytes(data)
        with pytest.raises(DeviceError, match=r"ETDump of \d+ bytes cannot be read"):
            read_etdump(path)


# -- the real one

SETTINGS = MeasureSettings(launches=3, runs=20, min_seconds=0, warmup_runs=2, warmup_seconds=0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    build(folder / "whole", 15, "-DTRACES")
    build(folder / "mean", 10)
    build(folder / "silent", 10, "-DET_LOG_ENABLED=0")
    build(folder / "traces", 10, "-DTRACES", "-DET_LOG_ENABLED=0")
    build(folder / "old", 4)
    return folder


@pytest.fixture(scope="module")
def etdump(programs: Path, models: Path) -> Path:
    """Of five inferences."""
    path = models / "run.etdump"
    argv = [str(programs / "traces"), f"--model_path={models / 'net.pte'}"]
    argv += ["--num_executions=5", f"--etdump_path={path}"]
    subprocess.run(argv, check=True, capture_output=True)
    return path


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


@pytest.fixture
def has(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts one of the builds on this computer's PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def put(name: str) -> None:
        (tmp_path / "bin" / "executor_runner").symlink_to(programs / name)

    return put


@pytest.mark.slow
class TestTheRealOne:
    def test_checked_timed_and_profiled(
        self, device: LocalDevice, has: Any, models: Path, tmp_path: Path
    ) -> None:
        has("whole")
        settings = SETTINGS.model_copy(update={"operators": True, "sample_every": 3})
        found = measure(device, subject_of(models), settings)
        assert found.check is not None
        assert found.check.ok
        assert found.check.samples == 4
        for launch in found.launches:
            assert len(launch.samples_ns) == 20
            assert launch.summarized == ""
            assert launch.first_ns is not None
            assert (launch.load_ns or 0) > 0
        assert summarize(found).p99_ns is not None
        times = found.operators
        assert times is not None
        assert times.runs == 50
        kinds = {each.kind: each for each in times.operators}
        assert kinds["cumsum.out"].where == "cpu"
        assert kinds["cumsum.out"].calls == 50
        assert any(kind.startswith("Convolution") for kind in kinds)
        assert 0 < sum(each.ns for each in times.operators) <= times.total_ns
        assert list((tmp_path / "store" / "scratch").iterdir()) == []

    def test_a_mean_is_said_to_be_one(self, device: LocalDevice, has: Any, models: Path) -> None:
        has("mean")
        settings = SETTINGS.model_copy(update={"operators": True})
        found = measure(device, subject_of(models), settings)
        assert {each.summarized for each in found.launches} == {
            "the mean of 22 runs, the first of them included"
        }
        assert found.check is not None  # it writes its outputs, too
        assert summarize(found).p90_ns is None
        assert found.operators is not None
        assert "built without the event tracer" in found.operators.unavailable
        with pytest.raises(RejectedError, match=r"one number .*sample_every=2"):
            measure(device, subject_of(models), settings.model_copy(update={"sample_every": 2}))

    def test_a_release_is_timed_by_its_etdump(
        self, device: LocalDevice, has: Any, models: Path, tmp_path: Path
    ) -> None:
        has("traces")
        found = measure(device, subject_of(models), SETTINGS)
        assert [len(launch.samples_ns) for launch in found.launches] == [20, 20, 20]
        assert list((tmp_path / "store" / "scratch").iterdir()) == []
        long = SETTINGS.model_copy(update={"min_seconds": 3600.0, "timeout_seconds": 4000.0})
        with pytest.raises(RejectedError, match=r"at most 10000 times a launch, [\d.]+ s of this"):
            measure(device, subject_of(models), long)

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("silent", "built without logging and without the event tracer"),
            ("old", r"older than ExecuTorch 0\.6: .*no --num_executions, --cpu_threads"),
        ],
    )
    def test_builds_that_tell_no_times(
        self, device: LocalDevice, has: Any, models: Path, name: str, why: str
    ) -> None:
        has(name)
        with pytest.raises(EdgekitError, match=why) as caught:
            measure(device, subject_of(models), SETTINGS)
        assert "-DEXECUTORCH_ENABLE_LOGGING=ON" in caught.value.hint

    def test_answers_of_another_model(
        self, device: LocalDevice, has: Any, models: Path, tmp_path: Path
    ) -> None:
        has("whole")
        with np.load(models / "check.npz") as file:
            arrays = {name: file[name] + (name == "out:y") for name in file.files}
        np.savez(tmp_path / "other.npz", **arrays)
        with pytest.raises(MismatchError, match="'y' differs by up to 1"):
            measure(device, replace(subject_of(models), check=tmp_path / "other.npz"), SETTINGS)

    def test_what_it_complains_of_is_told(
        self, device: LocalDevice, has: Any, models: Path, tmp_path: Path
    ) -> None:
        has("whole")
        (tmp_path / "no.pte").write_bytes(100 * b"no model ")
        other = replace(subject_of(models), path=tmp_path / "no.pte", check=None)
        with pytest.raises(RejectedError, match=r"Program identifier .*; Failed to parse model"):
            measure(device, replace(other, sha256=sha256_file(other.path)), SETTINGS)

    def test_a_flag_that_it_does_not_know(self, programs: Path) -> None:
        for word, why in (("--nope", "unknown command line flag 'nope'"), ("x", "Extra command")):
            argv = [str(programs / "whole"), word]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert why_failed(done.stdout + done.stderr).startswith(why)

    def test_a_crash(
        self,
        device: LocalDevice,
        has: Any,
        models: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        has("whole")
        monkeypatch.setenv("EXECUTOR_RUNNER_CRASHES", "1")
        with pytest.raises(
            DeviceError, match=r"executor_runner does not run .*: it was killed by SIGABRT"
        ):
            measure(device, subject_of(models), SETTINGS)

    def test_the_inspector_reads_the_same(self, etdump: Path) -> None:
        code = (
            "import sys, json; from executorch.devtools import Inspector\n"
            "(block,) = [b for b in Inspector(etdump_path=sys.argv[1]).event_blocks "
            "if b.name == 'Execute']\n"
            "print(json.dumps([[e.name, sum(e.perf_data.raw[1:])] for e in block.events]))"
        )
        done = subprocess.run([sys.executable, "-c", code, etdump], check=True, capture_output=True)
        runs = read_etdump(etdump)
        told = operators(runs, skip=1)
        times = OperatorTimes.from_json(told, where="here")
        ours = {each.name: each.ns for each in times.operators}
        theirs: dict[str, float] = {}
        for name, ms in json.loads(done.stdout):
            theirs[name] = theirs.get(name, 0) + ms * 1e6
        assert times.total_ns == sum(inferences(runs)[1:])
        assert times.total_ns == pytest.approx(theirs["Method::execute"], rel=1e-6)
        for name in ours.keys() - {"(within the delegate)"}:
            assert ours[name] == pytest.approx(theirs[name], abs=2)

    def test_broken_etdumps_are_errors_or_read_as_something(
        self, etdump: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "broken.etdump"
        whole = bytearray(etdump.read_bytes())
        random = np.random.default_rng(0)
        for _ in range(300):
            broken = whole[: random.integers(len(whole))] if random.random() < 0.3 else whole[:]
            for at in random.integers(len(broken), size=4) if broken else ():
                broken[at] = random.integers(256)
            path.write_bytes(broken)
            with contextlib.suppress(DeviceError):
                operators(read_etdump(path), skip=1)


def test_without_the_program(device: LocalDevice, tmp_path: Path) -> None:
    path = tmp_path / "net.pte"
    path.write_bytes(b"any model")
    one = Subject(path, "0" * 64, "none", "net", "pte", file_format="executorch")
    with pytest.raises(RuntimeMissingError, match="has no executor_runner") as caught:
        measure(device, one, SETTINGS, runner="executor-runner")
    assert "-DEXECUTORCH_ENABLE_EVENT_TRACER=ON" in caught.value.hint
