"""A measurement from deploy to samples, on this computer and over SSH."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import (
    DeviceError,
    InputError,
    MismatchError,
    RejectedError,
    RuntimeMissingError,
    UnknownNameError,
)
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.devices.local import LocalDevice
from edgekit.devices.ssh import SSHDevice
from edgekit.measure.runner import find_python
from edgekit.measure.session import Subject, measure
from edgekit.measure.stats import summarize
from tests.sshd import SSHServer
from tests.tiny_tflite import dense_model

QUICK = MeasureSettings(
    launches=2, runs=20, min_seconds=0, warmup_runs=2, warmup_seconds=0, timeout_seconds=120
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


def outputs(path: Path, rows: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(path), num_threads=1)
    model.allocate_tensors()
    results = []
    for row in rows:
        model.set_tensor(0, row[None])
        model.invoke()
        results.append(model.get_tensor(3)[0].copy())
    return np.stack(results)


def subject(folder: Path, *, wrong_by: float = 0.0, check: bool = True) -> Subject:
    path = dense_model(folder / "the model.tflite")
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    answers = outputs(path, rows)
    answers[2, 1] += wrong_by
    np.savez(folder / "check.npz", **{"in:x": rows, "out:y": answers.astype(np.float32)})
    return Subject(
        path=path,
        sha256=sha256_file(path),
        quantization="none",
        build_name="tiny",
        variant="float32",
        check=folder / "check.npz" if check else None,
    )


def is_sound(found: Measurement, device: str) -> None:
    assert found.device == device
    assert found.check is not None
    assert found.check.ok
    assert found.check.samples == 6
    assert len(found.launches) == 2
    for launch in found.launches:
        assert len(launch.samples_ns) == 20
        assert len(launch.warmup_ns) == 2
        assert launch.load_ns > 0
        assert launch.peak_rss_bytes is not None
        assert launch.rss_before_load_bytes is not None
        assert launch.peak_rss_bytes >= launch.rss_before_load_bytes
    assert found.hello["runtime"] == "ai-edge-litert"
    assert "load_average" in found.environment_before
    assert "load_average" in found.environment_after
    assert not found.emulated
    assert Measurement.from_json(found.to_json()) == found
    assert summarize(found).median_ns.value > 0


def test_on_this_computer(device: LocalDevice, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    found = measure(device, subject(tmp_path), QUICK, progress=lambda *what: said.append(what))
    is_sound(found, "local")
    assert said == [
        ("deploy", 0, 2),
        ("deploy", 1, 2),
        ("deploy", 2, 2),
        ("check", 0, 1),
        ("check", 1, 1),
        ("measure", 0, 2),
        ("measure", 1, 2),
        ("measure", 2, 2),
    ]
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


def test_a_second_time_nothing_is_sent(device: LocalDevice, tmp_path: Path) -> None:
    measure(device, subject(tmp_path), QUICK)
    sent = device.pushed_bytes
    measure(device, subject(tmp_path), QUICK)
    assert device.pushed_bytes == sent > 0


@pytest.mark.parametrize("sftp", [True, False])
def test_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sftp: bool) -> None:
    server = SSHServer(tmp_path / "sshd", sftp=sftp)
    try:
        server.configure(monkeypatch)
        server.trust()
        with SSHDevice("ssh://board") as board:
            found = measure(board, subject(tmp_path), QUICK, python=sys.executable)
            is_sound(found, "ssh://board")
            assert (server.store / "objects" / found.artifact_sha256).is_file()
            assert list((server.store / "scratch").iterdir()) == []
    finally:
        server.stop()


def test_without_a_check(device: LocalDevice, tmp_path: Path) -> None:
    found = measure(device, subject(tmp_path, check=False), QUICK)
    assert found.check is None


def test_a_batch(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"batch": 4})
    found = measure(device, subject(tmp_path), settings)
    assert found.settings.batch == 4
    assert found.check is not None


def test_another_answer_is_a_mismatch_that_says_how_much(
    device: LocalDevice, tmp_path: Path
) -> None:
    with pytest.raises(MismatchError, match=r"float32 on local: output 'y' differs by up to 0\.5"):
        measure(device, subject(tmp_path, wrong_by=0.5), QUICK)
    assert list((tmp_path / "store" / "scratch").iterdir()) == []


def test_an_artifact_that_the_runtime_refuses(device: LocalDevice, tmp_path: Path) -> None:
    path = dense_model(tmp_path / "model.tflite", version=99)
    with pytest.raises(RejectedError, match=r"local, ai-edge-litert .*version '99'"):
        measure(device, Subject(path, sha256_file(path), "none", "tiny", "float32"), QUICK)


def test_an_artifact_that_changed_on_the_device(device: LocalDevice, tmp_path: Path) -> None:
    what = subject(tmp_path)
    stored = Path(device.push(what.path, what.sha256))
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1  # a worn-out card: the same size, another content
    stored.write_bytes(data)
    with pytest.raises(DeviceError, match="has SHA-256"):
        measure(device, what, QUICK)


def test_check_outputs_that_are_none(device: LocalDevice, tmp_path: Path) -> None:
    what = subject(tmp_path)
    assert what.check is not None
    what.check.write_bytes(b"no zip")
    with pytest.raises(InputError, match="cannot read the check outputs"):
        measure(device, what, QUICK)


def test_a_runtime_that_nobody_knows(device: LocalDevice, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean tflite-runtime"):
        measure(device, subject(tmp_path), QUICK, runtime="tflite_runtime")


def bare_python(folder: Path) -> str:
    """A Python without any package."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder / "bare")]
    subprocess.run(command, check=True)
    return str(folder / "bare" / "bin" / "python")


def test_a_device_with_no_runtime(device: LocalDevice, tmp_path: Path) -> None:
    python = bare_python(tmp_path)
    with pytest.raises(RuntimeMissingError, match="has no ai-edge-litert or tflite") as caught:
        measure(device, subject(tmp_path), QUICK, python=python)
    assert caught.value.hint.startswith(f"edgekit devices prepare {device.address} installs one")
    assert f"on the device: {python} -m pip install " in caught.value.hint


def test_a_device_with_no_python(device: LocalDevice, tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"has no Python 3\.8 or newer at /no/python"):
        measure(device, subject(tmp_path), QUICK, python="/no/python")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_device_with_an_old_python(device: LocalDevice, tmp_path: Path) -> None:
    answer = '{"edgekit_python": "old", "version": [3, 7], "modules": ["tflite_runtime"]}'
    old = script(tmp_path / "old", f"echo {shlex.quote(answer)}")
    with pytest.raises(RuntimeMissingError, match=r"\(old is 3\.7\)"):
        measure(device, subject(tmp_path), QUICK, python=old)


def python_that(tmp_path: Path, does: str) -> str:
    """A Python that answers the probe and does something else with the runner."""
    real = shlex.quote(sys.executable)
    return script(tmp_path / "python", f'[ "$1" = -c ] && exec {real} "$@"\n{does}')


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("exit 0", "ended before it was done"),
        ("echo broken >&2; exit 7", "ended with 7: broken"),
        ("kill -KILL $$", r"was killed by SIGKILL \(out of memory\?\)"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("kill -ALRM $$", "was stopped after 120 s"),
        ('echo \'{"event": "hello"}\'; echo nonsense', "a line that is no event: 'nonsense'"),
        ('echo \'{"event": "hello"\'', "a broken event"),
        ('echo \'{"event": "hello"\'; kill -KILL $$', "was killed by SIGKILL"),
        ('echo \'{"event": "done"}\'', "printed no 'load' event|printed no 'hello' event"),
    ],
)
def test_runners_that_end_otherwise(
    device: LocalDevice, tmp_path: Path, does: str, message: str
) -> None:
    python = python_that(tmp_path, does)
    with pytest.raises(DeviceError, match=message):
        measure(device, subject(tmp_path, check=False), QUICK, python=python)


def test_a_login_script_that_talks(device: LocalDevice, tmp_path: Path) -> None:
    real = shlex.quote(sys.executable)
    talking = script(tmp_path / "python", f'echo "Welcome to the board"\nexec {real} "$@"')
    found = measure(device, subject(tmp_path), QUICK, python=talking)
    is_sound(found, "local")


def test_the_python_with_a_runtime_is_found(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".edgekit" / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "bin").mkdir(parents=True)
    (home / ".edgekit" / "venv" / "bin" / "python").symlink_to(bare_python(tmp_path))
    real = shlex.quote(sys.executable)
    good = script(home / "venv" / "bin" / "python", f'exec {real} "$@"')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys, "executable", "/no/python")
    assert find_python(device) == good
    assert find_python(device, runtime="ai-edge-litert") == good
    # Without the wanted runtime anywhere, the first is asked, which says what to install.
    monkeypatch.setattr("edgekit.measure.runner._MODULES", {"tflite-runtime": "tflite_runtime"})
    first = str(home / ".edgekit" / "venv" / "bin" / "python")
    assert find_python(device, runtime="tflite-runtime") == first


def test_a_home_folder_with_spaces(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home $(x) 'q'"
    (home / "venv" / "bin").mkdir(parents=True)
    real = shlex.quote(sys.executable)
    good = script(home / "venv" / "bin" / "python", f'exec {real} "$@"')
    monkeypatch.setenv("HOME", str(home))
    assert find_python(device, named="~/venv/bin/python") == good
