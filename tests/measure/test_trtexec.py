"""The runner over trtexec, with a double of that program: it takes the same words and writes the
same files, and doubles its inputs instead of running an engine. No Jetson was at hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import DeviceError, MismatchError, RejectedError, RuntimeMissingError
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

DOUBLE = """
import json, os, sys, numpy as np
words = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "calls"), "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
print("&&&& RUNNING TensorRT.trtexec [TensorRT v%s] # trtexec" % VERSION)
if "help" in words:
    sys.exit(0)
if os.path.exists(os.path.join(here, "fails")):
    print("[11/29/2026-12:00:00] [E] Error[4]: Static dimension mismatch")
    print("&&&& FAILED TensorRT.trtexec")
    sys.exit(1)
if "onnx" in words:
    with open(words["saveEngine"], "w") as engine:
        engine.write("engine of " + words["onnx"])
else:
    with open(words["loadEngine"]) as engine:
        assert engine.read().startswith("engine of")
    print("[11/29/2026-12:00:00] [I] Engine deserialized in 0.0125 sec.")
if "exportOutput" in words:
    name, _, path = words["loadInputs"].partition(":")
    values = 2 * np.fromfile(path, np.float32) + BIAS
    with open(words["exportOutput"], "w") as file:
        form = '[\\n { "name" : "y"\\n , "dimensions" : "1x%d"\\n , "values" : [ %s ]\\n }\\n]'
        file.write(form % (len(values), ", ".join(map(str, values))))
if "exportProfile" in words:
    with open(words["exportProfile"], "w") as file:
        json.dump([{"count": 20}, {"name": "conv1 + relu", "timeMs": 30.0, "averageMs": 1.5},
                   {"name": "fc", "timeMs": 10.0, "averageMs": 0.5}], file)
if "exportTimes" in words:
    entries = [{"startComputeMs": i, "computeMs": 2.0, "latencyMs": 2.5 + 0.01 * (i % 5)}
               for i in range(int(words["iterations"]))]
    with open(words["exportTimes"], "w") as file:
        json.dump(entries, file)
print("&&&& PASSED TensorRT.trtexec")
"""
SETTINGS = MeasureSettings(launches=3, runs=20, min_seconds=0, warmup_seconds=0.2)


class Double:
    """trtexec on this computer's PATH."""

    def __init__(self, folder: Path, *, version: str = "100300", bias: float = 0.0) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "trtexec"
        head = f"#!{sys.executable}\nVERSION, BIAS = {version!r}, {bias!r}\n"
        program.write_text(head + DOUBLE)
        program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


@pytest.fixture
def trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Double:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return Double(tmp_path / "bin")


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


def test_built_once_checked_and_timed(device: LocalDevice, trtexec: Double, tmp_path: Path) -> None:
    found = measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert found.hello["runtime"] == "tensorrt"
    assert found.hello["runtime_version"] == "10.3.0"
    assert found.check is not None
    assert found.check.ok
    assert found.check.samples == 4
    assert [len(launch.samples_ns) for launch in found.launches] == [20, 20, 20]
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


def test_layers_of_the_engine(device: LocalDevice, trtexec: Double, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"operators": True})
    found = measure(device, subject(tmp_path), settings, runner="trtexec").operators
    assert found is not None
    assert (found.runs, found.total_ns) == (20, 40_000_000)
    assert [(each.name, each.ns) for each in found.operators] == [
        ("conv1 + relu", 30_000_000),
        ("fc", 10_000_000),
    ]
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


def test_every_so_many_th_is_kept(device: LocalDevice, trtexec: Double, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"launches": 1, "sample_every": 5})
    found = measure(device, subject(tmp_path), settings, runner="trtexec")
    assert found.launches[0].samples_ns == (2_540_000,) * 20  # of the double each fifth is 2.54 ms
    assert "--iterations=100" in trtexec.calls[-1]


def test_another_tensorrt_builds_its_own_engine(
    device: LocalDevice, trtexec: Double, tmp_path: Path
) -> None:
    measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    program = trtexec.folder / "trtexec"
    program.write_text(program.read_text().replace("'100300'", "'8502'"))
    found = measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert found.hello["runtime_version"] == "8.5.2"
    assert "--int8" in [call for call in trtexec.calls if "--onnx" in call][-1]


def test_an_engine_that_computes_something_else(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    Double(tmp_path / "bin", bias=3.0)
    with pytest.raises(MismatchError, match="'y' differs by up to 3"):
        measure(device, subject(tmp_path), SETTINGS, runner="trtexec")
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


def test_what_trtexec_complains_of_is_told(
    device: LocalDevice, trtexec: Double, tmp_path: Path
) -> None:
    (trtexec.folder / "fails").touch()
    with pytest.raises(RejectedError, match=r"builds no engine .*Static dimension mismatch"):
        measure(device, subject(tmp_path), SETTINGS, runner="trtexec")


def test_without_the_program(device: LocalDevice, tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match="has no trtexec"):
        measure(device, subject(tmp_path), SETTINGS, runner="trtexec")


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
