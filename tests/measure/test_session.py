"""A measurement from deploy to samples, on this computer and over SSH."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import (
    DeviceError,
    InputError,
    MismatchError,
    RejectedError,
    RuntimeMissingError,
    TransientDeviceError,
    UnknownNameError,
)
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.core.protocols import CommandResult
from edgekit.devices.adb import AdbDevice
from edgekit.devices.local import LocalDevice
from edgekit.devices.ssh import SSHDevice
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.python import find_python
from edgekit.measure.session import measure, measure_together
from edgekit.measure.stability import stability
from edgekit.measure.stats import summarize
from edgekit.measure.subject import Subject
from tests.adb_double import AdbDouble, RealServer
from tests.contracts.device import ends
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
        assert launch.memory is not None
        assert launch.memory.model_rss_bytes
        assert launch.memory.unavailable.keys() == {"arena_bytes", "driver_bytes"}
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


@pytest.mark.slow
def test_a_second_time_nothing_is_sent(device: LocalDevice, tmp_path: Path) -> None:
    measure(device, subject(tmp_path), QUICK)
    sent = device.pushed_bytes
    measure(device, subject(tmp_path), QUICK)
    assert device.pushed_bytes == sent > 0


def test_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = SSHServer(tmp_path / "sshd")
    try:
        server.configure(monkeypatch)
        server.trust()
        with SSHDevice("ssh://board") as board:
            found = measure(board, subject(tmp_path), QUICK, wish=RunnerWish(python=sys.executable))
            is_sound(found, "ssh://board")
            assert (server.store / "objects" / found.artifact_sha256).is_file()
            assert list((server.store / "scratch").iterdir()) == []
    finally:
        server.stop()


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbDouble]:
    """A double of a phone's adbd behind a real adb server."""
    server = RealServer(tmp_path / "adb")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(tmp_path / "data" / "edgekit"))
    double = AdbDouble()
    yield double
    double.leave()
    server.stop()


@pytest.mark.slow
def test_over_adb(tmp_path: Path, phone: AdbDouble) -> None:
    address = f"adb:{phone.serial}"
    with AdbDevice(address) as device:
        is_sound(
            measure(device, subject(tmp_path), QUICK, wish=RunnerWish(python=sys.executable)),
            address,
        )
    assert list((tmp_path / "data" / "edgekit" / "scratch").iterdir()) == []


def test_a_phone_has_no_python(tmp_path: Path, phone: AdbDouble) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("sh", "env"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or "")
    phone.path = str(tmp_path / "bin")
    with (
        AdbDevice(f"adb:{phone.serial}") as device,
        pytest.raises(RuntimeMissingError, match=r"has no Python 3\.8 or newer at ") as caught,
    ):
        find_python(device)
    assert "apt" not in caught.value.hint
    assert "--python" in caught.value.hint


def test_without_a_check(device: LocalDevice, tmp_path: Path) -> None:
    found = measure(device, subject(tmp_path, check=False), QUICK)
    assert found.check is None


def two(folder: Path) -> list[Subject]:
    """The same model as two variants."""
    one = subject(folder)
    return [replace(one, variant="a"), replace(one, variant="b")]


@pytest.mark.slow
def test_launches_take_turns_there_and_back(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"launches": 3})
    kept: list[Measurement] = []
    a, b = measure_together(device, two(tmp_path), settings, keep=kept.append)
    assert a.turns == (0, 3, 4)
    assert b.turns == (1, 2, 5)
    assert a.session == b.session != ""
    assert [m.variant for m in kept] == ["a", "b"]
    ends = [w.end_ns for m in (a, b) for launch in m.launches for w in launch.windows]
    begins = [w.start_ns for m in (a, b) for launch in m.launches for w in launch.windows]
    order = sorted(range(6), key=lambda i: begins[i])
    assert all(ends[x] < begins[y] for x, y in itertools.pairwise(order))
    assert a.clocks


class Breaks:
    """A device whose link breaks when the n-th launch is asked for; else the one it is given."""

    def __init__(self, device: LocalDevice, at: int, error: BaseException) -> None:
        self._device, self._left, self._error = device, at, error

    def __getattr__(self, name: str) -> object:
        return getattr(self._device, name)

    def run(self, argv: list[str], **more: Any) -> CommandResult:
        job = more.get("stdin") or b"{}"
        if argv[-1] == "-" and json.loads(job)["runs"]:
            self._left -= 1
            if self._left < 0:
                raise self._error
        return self._device.run(argv, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TransientDeviceError("the link broke"), "the link broke"),
        (KeyboardInterrupt(), "interrupt"),
    ],
)
def test_what_was_measured_before_an_error_is_kept_and_marked(
    device: LocalDevice, tmp_path: Path, error: BaseException, said: str
) -> None:
    kept: list[Measurement] = []
    breaking = Breaks(device, 3, error)
    with pytest.raises(type(error)):
        measure_together(breaking, two(tmp_path), QUICK, keep=kept.append)  # type: ignore[arg-type]
    assert [(m.variant, len(m.launches)) for m in kept] == [("b", 2), ("a", 1)]
    assert kept[0].cut_short == ""  # its two launches were done
    assert said in kept[1].cut_short
    assert any("ended after 1 of 2 launches" in str(f) for f in stability(kept[1]))


@pytest.mark.parametrize("ns", ["[]", '["soon"]', "[-5]", "null"])
def test_a_board_whose_times_are_none_is_an_error(
    device: LocalDevice, tmp_path: Path, ns: str
) -> None:
    class Garbles(Breaks):
        def run(self, argv: list[str], **more: Any) -> CommandResult:
            done = self._device.run(argv, **more)
            event = r'("event": "samples", "stream": 0, "ns": )\[[^]]*\]'
            return done.model_copy(update={"stdout": re.sub(event, rf"\g<1>{ns}", done.stdout)})

    broken = Garbles(device, 0, RuntimeError())
    with pytest.raises(DeviceError, match="what the runner printed is not understood"):
        measure(broken, subject(tmp_path, check=False), QUICK)  # type: ignore[arg-type]


@pytest.mark.slow
def test_launches_go_on_until_the_median_is_known(device: LocalDevice, tmp_path: Path) -> None:
    once = {"runs": 1, "warmup_runs": 0}  # no two are alike
    settings = QUICK.model_copy(update={"precision": 1e-6, "max_launches": 4, **once})
    assert len(measure(device, subject(tmp_path), settings).launches) == 4
    settings = QUICK.model_copy(update={"precision": 1e-6, "budget_seconds": 1e-3})
    assert len(measure(device, subject(tmp_path), settings).launches) == 2
    settings = QUICK.model_copy(update={"precision": 0.999, "max_launches": 40, "launches": 3})
    assert len(measure(device, subject(tmp_path), settings).launches) < 40


def test_streams(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"streams": 2, "launches": 1})
    (launch,) = measure(device, subject(tmp_path), settings).launches
    assert launch.samples_per_stream == (20, 20)
    assert len(launch.windows) == 2


def test_operators_are_told_of_one_stream(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"streams": 2, "launches": 1, "operators": True})
    found = measure(device, subject(tmp_path), settings)
    assert found.operators is not None
    assert found.cut_short == ""


@pytest.mark.slow
def test_an_error_without_words_cuts_short_as_well(device: LocalDevice, tmp_path: Path) -> None:
    kept: list[Measurement] = []
    breaking = Breaks(device, 3, RuntimeError())
    with pytest.raises(RuntimeError):
        measure_together(breaking, two(tmp_path), QUICK, keep=kept.append)  # type: ignore[arg-type]
    assert kept[1].cut_short == "RuntimeError"


@pytest.mark.slow
def test_a_long_run_keeps_few_of_its_samples(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"launches": 1, "min_seconds": 0.3, "sample_every": 100})
    (launch,) = measure(device, subject(tmp_path), settings).launches
    (window,) = launch.windows
    typical = statistics.median(launch.samples_ns)
    assert 50 * typical * len(launch.samples_ns) < window.end_ns - window.start_ns


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


@pytest.mark.slow
def test_one_that_the_runtime_refuses_costs_the_others_nothing(
    device: LocalDevice, tmp_path: Path
) -> None:
    """Not even their turns."""
    path = dense_model(tmp_path / "new.tflite", version=99)
    new = Subject(path, sha256_file(path), "none", "tiny", "new")
    refused: list[tuple[str, str]] = []

    def told(variant: str, exc: RejectedError) -> None:
        refused.append((variant, exc.message))

    good = subject(tmp_path)
    found = measure_together(device, [new, good], QUICK, refused=told)
    assert [(m.variant, len(m.launches)) for m in found] == [("float32", 2)]
    ((variant, why),) = refused
    assert variant == "new"
    assert "version '99'" in why
    with pytest.raises(RejectedError, match="version '99'"):
        measure_together(device, [new], QUICK, refused=told)


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
        measure(device, subject(tmp_path), QUICK, wish=RunnerWish(runtime="tflite_runtime"))


def bare_python(folder: Path) -> str:
    """A Python without any package."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder / "bare")]
    subprocess.run(command, check=True)
    return str(folder / "bare" / "bin" / "python")


def test_a_device_with_no_runtime(device: LocalDevice, tmp_path: Path) -> None:
    python = bare_python(tmp_path)
    with pytest.raises(RuntimeMissingError, match="has no ai-edge-litert or tflite") as caught:
        measure(device, subject(tmp_path), QUICK, wish=RunnerWish(python=python))
    assert caught.value.hint.startswith(f"edgekit devices prepare {device.address} installs one")
    assert f"on the device: {python} -m pip install " in caught.value.hint


def test_a_device_with_no_python(device: LocalDevice, tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match=r"has no Python 3\.8 or newer at /no/python"):
        measure(device, subject(tmp_path), QUICK, wish=RunnerWish(python="/no/python"))


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_device_with_an_old_python(device: LocalDevice, tmp_path: Path) -> None:
    answer = '{"edgekit_python": "old", "version": [3, 7], "modules": ["tflite_runtime"]}'
    old = script(tmp_path / "old", f"echo {shlex.quote(answer)}")
    with pytest.raises(RuntimeMissingError, match=r"\(old is 3\.7\)"):
        measure(device, subject(tmp_path), QUICK, wish=RunnerWish(python=old))


def python_that(tmp_path: Path, does: str) -> str:
    """A Python that answers the probe and does something else with the runner."""
    real = shlex.quote(sys.executable)
    return script(tmp_path / "python", f'[ "$1" = -c ] && exec {real} "$@"\n{does}')


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("exit 0", "ended before it was done"),
        ("echo broken >&2; exit 7", "ended with 7: broken"),
        ("kill -KILL $$", r"was killed by SIGKILL, likely out of memory: .*the board has \d"),
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
        measure(device, subject(tmp_path, check=False), QUICK, wish=RunnerWish(python=python))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "message", "seconds"),
    [
        ("exec head -c 3000000 /dev/zero", r"printed more than 1\.0 MB and was stopped", 100),
        ("exec yes", r"printed more than 1\.0 MB and was stopped", 100),
        ("exec yes >&2", r"printed more than 1\.0 MB and was stopped", 100),
        ("head -c 100000 /dev/urandom", "ended before it was done", 100),
        ('printf \'{"event": "hello"\'; exec sleep 1000', r"longer than 5 s and was stopped", 4),
        ("sleep 1000 & exec sleep 1000", r"longer than 5 s and was stopped", 4),
    ],
)
def test_runners_that_do_not_stop(
    device: LocalDevice,
    tmp_path: Path,
    does: str,
    message: str,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgekit.devices.limits.Output.__init__.__defaults__", (10**6,))
    monkeypatch.setattr("edgekit.measure.runners.python._TIMEOUT_GRACE_SECONDS", 1)
    note = tmp_path / "pid"
    python = python_that(tmp_path, f"echo $$ >'{note}'\n{does}")
    brief = QUICK.model_copy(update={"timeout_seconds": seconds})
    with pytest.raises(DeviceError, match=message):
        measure(device, subject(tmp_path, check=False), brief, wish=RunnerWish(python=python))
    assert ends(int(note.read_text()))


DEEP = '{"event": ' + "[" * 100_000


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("samples", '{"event": "samples", "stream": 0, "ns": [1e999]}'),
        ("samples", '{"event": "samples", "stream": 0, "ns": [NaN]}'),
        ("samples", '{"event": "samples", "stream": 0, "ns": ["7"]}'),
        ("samples", '{"event": "samples", "stream": 0, "ns": 7}'),
        ("samples", '{"event": "samples", "stream": 0, "ns": [true, null]}'),
        ("samples", '{"event": "samples", "stream": [], "ns": [7]}'),
        ("samples", DEEP),
        ("samples", f'{{"event": "samples", "stream": 0, "ns": [{"7" * 5000}]}}'),
        ("memory", '{"event": "memory", "peak_bytes": "much", "before_load_bytes": -1}'),
        ("memory", '{"event": "memory", "event": ["a", "list"]}'),
        ("window", '{"event": "window", "stream": 0, "start_ns": 9}'),
        ("hello", '{"event": "hello", "cores": Infinity}'),
        ("load", '{"event": "load", "ns": 1e999, "inputs": [], "outputs": []}'),
        ("done", '{"event": "done", "stopped": 7}'),
        ("first", "\x00\x01\x02"),
    ],
)
def test_events_that_are_damaged(
    device: LocalDevice, tmp_path: Path, line: str, becomes: str
) -> None:
    """One line of a real runner's; a result of it would be none, and a traceback helps nobody."""
    (tmp_path / "damaged").write_text(becomes)
    code = (
        "import sys\n"
        "mark, file = sys.argv[1:]\n"
        "for line in sys.stdin:\n"
        "    print(open(file).read() if mark in line else line.rstrip())\n"
    )
    (tmp_path / "damage.py").write_text(code)
    real = shlex.quote(sys.executable)
    words = [str(tmp_path / "damage.py"), f'"event": "{line}"', str(tmp_path / "damaged")]
    python = python_that(tmp_path, f'{real} "$@" | {real} {shlex.join(words)}')
    with pytest.raises(DeviceError) as caught:
        measure(device, subject(tmp_path, check=False), QUICK, wish=RunnerWish(python=python))
    assert len(str(caught.value)) < 1000


def test_a_login_script_that_talks(device: LocalDevice, tmp_path: Path) -> None:
    real = shlex.quote(sys.executable)
    talking = script(tmp_path / "python", f'echo "Welcome to the board"\nexec {real} "$@"')
    found = measure(device, subject(tmp_path), QUICK, wish=RunnerWish(python=talking))
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
    monkeypatch.setattr(
        "edgekit.measure.runners.python._MODULES", {"tflite-runtime": "tflite_runtime"}
    )
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
