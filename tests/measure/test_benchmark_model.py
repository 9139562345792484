"""The runner over TFLite's benchmark_model: texts of its editions, and a double of the program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import RejectedError, RuntimeMissingError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import MeasureSettings
from edgekit.devices.local import LocalDevice
from edgekit.measure.comparing import compare
from edgekit.measure.runners.benchmark_model import Times, parse
from edgekit.measure.session import measure
from edgekit.measure.stats import summarize
from edgekit.measure.subject import Subject
from tests.program_doubles import Put, double, put

# https://github.com/tensorflow/tensorflow/issues/42507
NEW = """STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/model.tflite]
#threads used for CPU inference: [4]
Loaded model /data/local/tmp/model.tflite
The input model file size (MB): 0.004448
Initialized session in 0.855ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150
count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450

Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, \
Inference (avg): 33209.4
"""
# https://github.com/yuenshome/yuenshome.github.io/issues/77
OLD = """STARTING!
Initialized session in 9.933ms
Running benchmark for at least 4 iterations and at least 0.5 seconds
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

Running benchmark for at least 10 iterations and at least 1 seconds
count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""
MEDIAN = NEW.replace("std=450", "std=450 p5=32700 median=33100 p95=33900")
# Since 2021, https://www.tensorflow.org/lite/performance/measurement
SEVERE = "".join(f"INFO: {line}" if line.strip() else line for line in MEDIAN.splitlines(True))
GPU = (
    "INFO: Created TensorFlow Lite delegate for GPU.\n"
    "Explicitly applied GPU delegate, and the model graph will be {} executed by the delegate{}.\n"
)


def test_the_formats_of_all_editions() -> None:
    assert parse(NEW) == Times(855, 49060, 33209.4, 50, is_median=False)
    assert parse(OLD) == Times(9933, None, 66767.6, 15, is_median=False)
    assert parse(MEDIAN) == Times(855, 49060, 33100, 50, is_median=True)
    assert parse(SEVERE) == parse(MEDIAN)
    assert parse(NEW.partition("Inference timings")[0]) is None


@given(st.text())
def test_other_text_has_no_times(text: str) -> None:
    assert parse(text) is None


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int = 0) -> Path:
    """A benchmark_model on the PATH that prints `text`; what it was called with is in its log."""
    folder.mkdir(exist_ok=True)
    (folder / "text").write_text(text)
    program = folder / "benchmark_model"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>"{folder}/calls"\ncat "{folder}/text"\nexit {code}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder / "calls"


def subject(folder: Path, delegate: str = "xnnpack") -> Subject:
    path = folder / "model.tflite"
    path.write_bytes(b"any model")
    (folder / "check.npz").write_bytes(b"not looked at")
    return Subject(
        path, sha256_file(path), "none", "net", "float32",
        check=folder / "check.npz", delegate=delegate,
    )  # fmt: skip


SETTINGS = MeasureSettings(launches=3, threads=4)


def test_a_launch_is_one_number_and_says_so(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = install(tmp_path / "bin", monkeypatch, NEW)
    found = measure(device, subject(tmp_path), SETTINGS, runner="benchmark-model")
    assert found.check is None
    assert [launch.summarized for launch in found.launches] == ["the mean of 50 runs"] * 3
    summary = summarize(found)
    assert summary.median_ns.value == 33_209_400
    assert summary.p90_ns is None
    assert summary.p99_ns is None
    assert summary.load_ns is not None
    assert summary.load_ns.value == 855_000
    (call, *_) = calls.read_text().splitlines()
    for word in ("--num_threads=4", "--num_runs=100", "--min_secs=0.5", "--warmup_min_secs=0.5"):
        assert word in call.split()
    assert compare(found, found).verdict == "no difference"


# Until 2021, without a severity, and with the start of each.
TABLE = """=== Run Order ===
\t [node type]\t [start]\t [first]\t [avg ms]\t [%]\t [cdf%]\t [mem KB]\t [times called]\t [Name]
\t CONV_2D\t 0.000\t 10.117\t 10.101\t 30.461%\t 30.461%\t 0.000\t 1\t [net/conv/Relu]:0
\t TfLiteXNNPackDelegate\t 10.101\t 23.1\t 23.059\t 69.539%\t 100.000%\t 0.000\t 1\t [net/out]:7

"""


def test_time_by_operator(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = install(tmp_path / "bin", monkeypatch, NEW + TABLE)
    settings = SETTINGS.model_copy(update={"operators": True})
    found = measure(device, subject(tmp_path), settings, runner="benchmark-model").operators
    assert found is not None
    assert [(each.name, each.where, each.ns) for each in found.operators] == [
        ("[net/conv/Relu]:0", "cpu", 505_050_000),
        ("[net/out]:7", "delegate", 1_152_950_000),
    ]
    assert calls.read_text().count("--enable_op_profiling=true") == 1  # not while it is timed
    install(tmp_path / "bin", monkeypatch, NEW)
    found = measure(device, subject(tmp_path), settings, runner="benchmark-model").operators
    assert found is not None
    assert "no table" in found.unavailable


@pytest.fixture
def doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a double with other values of its constants on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def make(**constants: object) -> Put:
        real = double(tmp_path / "real", "benchmark_model", **constants)
        return put(tmp_path / "bin", "benchmark_model", real)

    return make


def test_a_call_s_time_counts_as_often_as_it_is_called_and_a_delegate_s_inside_not_again(
    device: LocalDevice, tmp_path: Path, doubled: Any
) -> None:
    doubled()
    settings = SETTINGS.model_copy(update={"operators": True, "launches": 1})
    found = measure(device, subject(tmp_path), settings, runner="benchmark-model").operators
    assert found is not None
    assert found.runs == 1
    assert [(each.name, each.where, each.calls, each.ns) for each in found.operators] == [
        ("[net/conv/Relu]:0", "cpu", 1, 10_101_000),
        ("[net/add]:1", "cpu", 2, 1_000_000),
        ("[net/out]:7", "delegate", 1, 22_059_000),
    ]


@pytest.mark.parametrize(
    ("edition", "why"),
    [(2019, "tells no peak of memory"), (2020, r"only that it grew by 3\d(\.\d)? MB from before")],
)
def test_editions_that_tell_no_peak(
    device: LocalDevice, tmp_path: Path, doubled: Any, edition: int, why: str
) -> None:
    doubled(EDITION=edition)
    settings = SETTINGS.model_copy(update={"launches": 1})
    (launch,) = measure(device, subject(tmp_path), settings, runner="benchmark-model").launches
    assert launch.load_ns == 855_000
    assert launch.peak_rss_bytes is None
    assert re.search(why, launch.unavailable["peak_rss_bytes"])
    assert (launch.first_ns is None) == (edition == 2019)


def test_the_peak_is_not_that_of_who_starts_it(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    program = double(tmp_path / "real", "benchmark_model")  # with no script between
    (tmp_path / "bin" / "benchmark_model").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    own = b"\1" * (128 << 20)
    settings = SETTINGS.model_copy(update={"launches": 1})
    (launch,) = measure(device, subject(tmp_path), settings, runner="benchmark-model").launches
    assert launch.peak_rss_bytes is not None
    assert launch.rss_before_load_bytes is not None
    assert launch.peak_rss_bytes < len(own)
    assert launch.peak_rss_bytes - launch.rss_before_load_bytes >= 32 << 20


def test_a_launch_for_memory_that_fails_leaves_the_times(
    device: LocalDevice, tmp_path: Path, doubled: Any
) -> None:
    program = doubled()
    (program.folder / "fails").write_text('case "$*" in *report_peak*) kill -KILL $$;; esac\n')
    settings = SETTINGS.model_copy(update={"launches": 1})
    (launch,) = measure(device, subject(tmp_path), settings, runner="benchmark-model").launches
    assert launch.samples_ns == (33_100_000,)
    assert "a launch that asks for it fails: local:" in launch.unavailable["peak_rss_bytes"]


def test_a_slow_model_is_run_for_as_long_as_there_is_time(
    device: LocalDevice, tmp_path: Path, doubled: Any
) -> None:
    doubled(RUN_US=4_000_000)
    settings = SETTINGS.model_copy(update={"launches": 1, "timeout_seconds": 60.0})
    (launch,) = measure(device, subject(tmp_path), settings, runner="benchmark-model").launches
    assert launch.summarized == "the median of 8 runs"  # of 100, in half of the time
    assert launch.stopped == "time_budget"


def test_the_gpu_took_all_of_it(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = install(tmp_path / "bin", monkeypatch, GPU.format("completely", "") + NEW)
    measure(device, subject(tmp_path, "gpu"), SETTINGS, runner="benchmark-model")
    assert "--use_gpu=true" in calls.read_text()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "did not apply the GPU delegate: its times are the CPU's"),
        (GPU.format("partially", " w/ 3 delegate kernels"), "only partially \\(3 pieces\\)"),
    ],
)
def test_a_gpu_that_falls_back_is_no_measurement(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, why: str
) -> None:
    install(tmp_path / "bin", monkeypatch, said + NEW)
    with pytest.raises(RejectedError, match=why):
        measure(device, subject(tmp_path, "gpu"), SETTINGS, runner="benchmark-model")


def test_a_model_that_it_refuses(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "STARTING!\nERROR: Didn't find op for builtin opcode 'CONV_2D' version '99'\nfailed\n"
    install(tmp_path / "bin", monkeypatch, text, code=1)
    with pytest.raises(RejectedError, match=r"does not run the model: .*'CONV_2D' version '99'"):
        measure(device, subject(tmp_path), SETTINGS, runner="benchmark-model")


def test_its_one_number_leaves_no_run_out(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", monkeypatch, NEW)
    settings = SETTINGS.model_copy(update={"sample_every": 10})
    with pytest.raises(RejectedError, match=r"one number over all its runs.*sample_every=10"):
        measure(device, subject(tmp_path), settings, runner="benchmark-model")


def test_without_the_program(device: LocalDevice, tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match="has no benchmark_model") as caught:
        measure(device, subject(tmp_path), SETTINGS, runner="benchmark-model")
    assert "make it executable" in caught.value.hint
