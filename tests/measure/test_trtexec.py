"""The runner over trtexec, with a double of that program: it takes the same words and writes the
same files, and doubles its inputs instead of running an engine. No Jetson was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import DeviceError, MismatchError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import MeasureSettings
from edgekit.devices.local import LocalDevice
from edgekit.measure.runners.trtexec import (
    parse_load,
    parse_outputs,
    parse_profile,
    parse_times,
    parse_version,
)
from edgekit.measure.session import measure
from edgekit.measure.stats import summarize
from edgekit.measure.subject import Subject
from tests.program_doubles import Put, double, put

SETTINGS = MeasureSettings(launches=3, runs=20, min_seconds=0, warmup_seconds=0.2)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


@pytest.fixture
def trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return put(tmp_path / "bin", "trtexec", double(tmp_path / "real", "trtexec"))


def subject(folder: Path) -> Subject:
    path = folder / "model.onnx"
    path.write_bytes(b"any model")
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    np.savez(folder / "check.npz", **{"in:x": rows, "out:y": 2 * rows})
    return Subject(
        path=path,
        sha256=sha256_file(path),
        quantization="int8",
        build_name="net",
        variant="onnx-tensorrt-int8",
        check=folder / "check.npz",
        file_format="onnx",
        delegate="tensorrt",
    )


def test_built_once_checked_and_timed(device: LocalDevice, trtexec: Put, tmp_path: Path) -> None:
    found = measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert found.hello["runtime"] == "tensorrt"
    assert found.hello["runtime_version"] == "10.3.0"
    assert found.check is not None
    assert found.check.ok
    assert found.check.samples == 4
    assert all(len(launch.samples_ns) >= 20 for launch in found.launches)
    assert found.launches[0].load_ns == 12_500_000
    assert found.launches[0].first_ns is None
    assert summarize(found).median_ns.value == pytest.approx(2.52e6)
    assert summarize(found).first_ns is None
    builds = [call for call in trtexec.calls if "--onnx" in call]
    assert len(builds) == 1
    assert "--stronglyTyped" in builds[0]
    assert list((tmp_path / "store" / "scratch").iterdir()) == []
    measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert len([call for call in trtexec.calls if "--onnx" in call]) == 1  # kept on the board


def test_layers_of_the_engine(device: LocalDevice, trtexec: Put, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"operators": True})
    found = measure(device, subject(tmp_path), settings, runner="trtexec").operators
    assert found is not None
    assert (found.runs, found.total_ns) == (20, 40_000_000)
    assert [(each.name, each.ns) for each in found.operators] == [
        ("conv1 + relu", 30_000_000),
        ("fc", 10_000_000),
    ]
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


def test_every_so_many_th_is_kept(device: LocalDevice, trtexec: Put, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"launches": 1, "sample_every": 5})
    found = measure(device, subject(tmp_path), settings, runner="trtexec")
    assert found.launches[0].samples_ns == (2_540_000,) * 20  # of the double each fifth is 2.54 ms
    assert "--iterations=107" in trtexec.calls[-1]  # five to warm up, two in flight


@pytest.mark.parametrize("old", [False, True])
def test_the_warm_up_is_left_out_by_its_time_and_by_its_number(
    device: LocalDevice, trtexec: Put, tmp_path: Path, old: bool
) -> None:
    put(trtexec.folder, "trtexec", double(tmp_path / "real", "trtexec", OLD=old))
    settings = SETTINGS.model_copy(update={"launches": 1, "warmup_runs": 7})
    (launch,) = measure(device, subject(tmp_path), settings, runner="trtexec").launches
    assert max(launch.samples_ns) < 3_000_000  # 20 ms while it warms up
    assert launch.memory is not None
    assert (launch.memory.arena_bytes is None) == old
    assert launch.warmup_ns[:-7] == ((20_000_000,) * 10 if old else ())
    assert len(launch.samples_ns) >= 20


def test_another_tensorrt_builds_its_own_engine(
    device: LocalDevice, trtexec: Put, tmp_path: Path
) -> None:
    measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    put(trtexec.folder, "trtexec", double(tmp_path / "real", "trtexec", VERSION="8502"))
    found = measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert found.hello["runtime_version"] == "8.5.2"
    assert "--int8" in [call for call in trtexec.calls if "--onnx" in call][-1]


def test_an_engine_that_computes_something_else(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    put(tmp_path / "bin", "trtexec", double(tmp_path / "real", "trtexec", BIAS=3.0))
    with pytest.raises(MismatchError, match="'y' differs by up to 3"):
        measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "version"),
    [("100300", "10.3.0"), ("101100", "10.11.0"), ("8502", "8.5.2"), ("8603", "8.6.3")],
)
def test_versions(number: str, version: str) -> None:
    assert parse_version(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] # …") == version


def test_values_that_are_no_numbers() -> None:
    text = '[ { "name" : "y", "dimensions" : "1x3", "values" : [ nan, -inf, 1e-05 ] } ]'
    values = parse_outputs(text)["y"]
    assert np.isnan(values[0])
    assert values[1] == -np.inf


@given(st.text())
def test_whatever_it_writes_is_an_answer_or_an_error(text: str) -> None:
    for parse in (parse_times, parse_outputs, parse_profile):
        try:
            assert parse(text)
        except DeviceError:
            continue
    assert parse_version(text) is None or "[TensorRT v" in text
    assert parse_load(text) is None or "Engine" in text
