"""The runner over the Android app: a real adb server, doubles of a phone's adbd and programs, and a
real runner as the app. Nobody here had a phone.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import (
    DeviceError,
    RejectedError,
    RuntimeMissingError,
    TransientDeviceError,
    UsageError,
)
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Measurement
from edgekit.devices.adb import AdbDevice
from edgekit.devices.local import LocalDevice
from edgekit.measure.answers import Answering
from edgekit.measure.app_script import MARK, told
from edgekit.measure.choice import choose_runner
from edgekit.measure.events import Events
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.app import PACKAGE, AppRunner
from edgekit.measure.session import measure, measure_together
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look
from tests.adb_double import AdbDouble, RealServer, known_to, link_phones_programs
from tests.adbd import RealAdbd
from tests.app_double import APP, BATTERY, RUNNER, AppPhone
from tests.contracts.runner import Event, Program, TFLiteContract
from tests.measure.test_session import QUICK, is_sound, outputs, subject
from tests.tiny_tflite import dense_model

pytestmark = pytest.mark.slow
RUN_IT = f'{shlex.join(APP)} "$1" >"$2.jsonl"'
SAMPLER = RUNNER.with_name("edgekit_sampler.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer(tmp_path_factory.mktemp("adb"))
    yield server
    server.stop()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppPhone]:
    app = AppPhone(tmp_path / "phone")
    monkeypatch.setattr("edgekit.measure.runners.app.RUNS", str(app.runs))
    yield app
    subprocess.run([str(app.path / "am"), "force-stop", PACKAGE], check=True)


@pytest.fixture
def store(
    tmp_path: Path, server: RealServer, app: AppPhone, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the store is on the phone; edgekit sees no adb server but the tests' own."""
    for name in ("ADB_SERVER_SOCKET", "ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(tmp_path / "data" / "edgekit"))
    return tmp_path / "data" / "edgekit"


@pytest.fixture
def double(server: RealServer, app: AppPhone, store: Path) -> Iterator[AdbDouble]:
    with known_to(server, AdbDouble(path=f"{app.path}:{os.environ['PATH']}")) as double:
        yield double


@pytest.fixture
def device(double: AdbDouble) -> Iterator[AdbDevice]:
    with AdbDevice(f"adb:{double.serial}") as device:
        yield device


def for_app(folder: Path, **more: Any) -> Subject:
    return replace(subject(folder, **more), runner="app")


def becomes(what: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether that is so within a minute."""
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


def is_measured(device: AdbDevice, app: AppPhone, store: Path, folder: Path) -> None:
    found = measure(device, for_app(folder), QUICK)
    is_sound(found, device.address)
    starts = [call for call in app.calls if call.startswith("start")]
    assert len(starts) == len(set(starts)) == 3  # the check and two launches, each its own process
    before, after = found.environment_before, found.environment_after
    told = (before["battery_percent"], before["battery"], before["fed_by"])
    assert told == (81, "charging", "USB")
    assert (before["app_start_ms"], after["screen"]) == (312, "on")
    assert app.is_clean(store)


def test_measured_in_the_app(device: AdbDevice, app: AppPhone, store: Path, tmp_path: Path) -> None:
    left = app.runs / "edgekit-0123" / "outputs.npz"  # of a launch whose phone was plugged out
    left.parent.mkdir(parents=True)
    left.touch()
    is_measured(device, app, store, tmp_path)


@pytest.fixture
def phones_shell(
    server: RealServer, app: AppPhone, store: Path, tmp_path: Path
) -> Iterator[AdbDouble]:
    """As `double`, with mksh and toybox."""
    programs = link_phones_programs(tmp_path / "system")
    double = AdbDouble(shell=str(programs / "sh"), path=f"{app.path}:{programs}")
    with known_to(server, double):
        yield double


def test_in_a_phones_shell(
    phones_shell: AdbDouble, app: AppPhone, store: Path, tmp_path: Path
) -> None:
    with AdbDevice(f"adb:{phones_shell.serial}") as device:
        is_measured(device, app, store, tmp_path)


def test_behind_debians_adbd(
    server: RealServer, app: AppPhone, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a double of it: the daemon itself, as Debian 13 has it."""
    monkeypatch.setenv("PATH", str(app.path), prepend=":")
    adbd = RealAdbd(tmp_path / "adbd.log")
    try:
        with AdbDevice(f"adb:{adbd.serial}") as device:
            is_measured(device, app, store, tmp_path)
    finally:
        adbd.stop()
        server.ask(f"host:disconnect:{adbd.serial}")


def test_it_answers_inputs_of_ones_own(device: AdbDevice, app: AppPhone, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    answered = Answering(device, for_app(tmp_path)).answer({"x": rows})
    np.testing.assert_array_equal(answered["y"], outputs(tmp_path / "the model.tflite", rows))


def test_its_files_are_open_to_the_app_only_while_it_runs(
    device: AdbDevice, app: AppPhone, store: Path, tmp_path: Path
) -> None:
    model = dense_model(tmp_path / "model.tflite")
    pushed = device.push(model, sha256_file(model))
    Path(pushed).chmod(0o600)
    modes = tmp_path / "modes"
    folders = shlex.join([str(store), f"{store}/objects", f"{store}/scratch", pushed])
    app.is_app(f'stat -c %a {folders} "$1" >>"{modes}"; {RUN_IT}')
    AppRunner(device).run({"model": pushed})
    assert modes.read_text().split() == ["755", "755", "755", "644", "644"]
    assert app.is_clean(store)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("chmod", "its files cannot be made readable for the app: chmod: not permitted"),
        ("cp", "the app's outputs cannot be read: cp: not permitted"),
    ],
)
def test_a_phone_that_refuses_it(
    device: AdbDevice, app: AppPhone, tmp_path: Path, program: str, told: str
) -> None:
    answering = Answering(device, for_app(tmp_path))
    app.fails(program, f"{program}: not permitted")
    with pytest.raises(DeviceError, match=told):
        answering.answer({"x": np.zeros((1, 4), np.float32)})


def test_the_app_is_not_installed(device: AdbDevice, app: AppPhone, tmp_path: Path) -> None:
    app.uninstall()
    with pytest.raises(RuntimeMissingError, match=f"does not have the app {PACKAGE}\n") as why:
        measure(device, for_app(tmp_path), QUICK)
    assert f"adb -s {device.address.removeprefix('adb:')} install" in why.value.hint


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        # up to Android 13 all of these with exit code 0
        (
            "Error type 3\nError: Activity class {dev.edgekit.demo/dev.edgekit.demo."
            "BenchmarkActivity} does not exist.\n",
            RuntimeMissingError,
            "BenchmarkActivity} does not exist. .*has not been unlocked since it was started",
        ),
        (
            "java.lang.SecurityException: Permission Denial: starting Intent { flg=0x10000000 "
            "cmp=dev.edgekit.demo/.BenchmarkActivity } from null (pid=27581, uid=2000) requires "
            "android.permission.DUMP\n\tat android.os.Parcel.readException(Parcel.java:1425)\n",
            DeviceError,
            "adb's shell may not start the app: .*requires android.permission.DUMP",
        ),
        ("Error: Activity not started, unknown error code 102\n", DeviceError, "error code 102"),
        ("", DeviceError, "does not start: Starting: Intent"),
    ],
)
def test_the_app_does_not_start(
    device: AdbDevice, app: AppPhone, store: Path, said: str, error: type[Exception], told: str
) -> None:
    app.answers(am=said)
    with pytest.raises(error, match=told) as why:
        AppRunner(device).run({"model": "/no/model"})
    assert len(str(why.value).splitlines()) == 2
    assert app.is_clean(store)


JAVA = """--------- beginning of crash
07-06 14:12:12.345  4321  4350 E AndroidRuntime: FATAL EXCEPTION: job
07-06 14:12:12.345  4321  4350 E AndroidRuntime: Process: dev.edgekit.demo, PID: 4321
07-06 14:12:12.345  4321  4350 E AndroidRuntime: java.lang.OutOfMemoryError: Failed to allocate
07-06 14:12:12.345  4321  4350 E AndroidRuntime: \tat java.nio.ByteBuffer.allocateDirect(…)
"""
NATIVE = """--------- beginning of crash
07-06 14:12:12.345  4321  4350 F libc    : Fatal signal 11 (SIGSEGV), code 1 in tid 4350 (job)
07-06 14:12:12.400  4390  4390 F DEBUG   : *** *** *** *** *** *** *** ***
07-06 14:12:12.400  4390  4390 F DEBUG   : backtrace:
"""
KILLED = """ACTIVITY MANAGER PROCESS EXIT INFO (dumpsys activity exit-info)
  package: dev.edgekit.demo
    Historical Process Exit for uid=10197
        ApplicationExitInfo #0:
          timestamp=NOW pid=PID realUid=10197 packageUid=10197 user=0
          process=dev.edgekit.demo reason=3 (LOW MEMORY) subreason=0 (UNKNOWN) status=0
          importance=100 pss=0.00 rss=0.00 description=null state=empty trace=null
        ApplicationExitInfo #1:
          timestamp=2024-07-06 14:10:12.345 pid=1 realUid=10197 packageUid=10197 user=0
          process=dev.edgekit.demo reason=10 (USER REQUESTED) subreason=21 (FORCE STOP) status=0
"""


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"crash": JAVA, "exit_info": KILLED}, ": java.lang.OutOfMemoryError: Failed to allocate"),
        ({"crash": NATIVE}, r": Fatal signal 11 \(SIGSEGV\)"),
        ({"exit_info": KILLED}, r"before it was done: low memory\n"),
        ({}, r"before it was done\n"),
    ],
)
def test_the_app_is_killed(
    device: AdbDevice, app: AppPhone, store: Path, answers: dict[str, str], told: str
) -> None:
    app.is_app("""echo '{"event": "hello", "protocol": 2}' >"$2.jsonl"; kill -s KILL $$""")
    app.answers(**answers)
    with pytest.raises(DeviceError, match=told) as why:
        AppRunner(device).run({"model": "/no/model"})
    assert "logcat -b crash" in why.value.hint
    assert app.is_clean(store)


def test_what_was_measured_before_it_was_killed_is_kept(
    device: AdbDevice, app: AppPhone, store: Path, tmp_path: Path
) -> None:
    app.is_app(f'if [ -e "{tmp_path}/2" ]; then kill -s KILL $$; fi\n{RUN_IT}')
    kept: list[Measurement] = []

    def progress(variant: str, what: str, done: int, of: int) -> None:
        if (what, done) == ("measure", 1):
            (tmp_path / "2").touch()

    with pytest.raises(DeviceError, match="the app ended before it was done"):
        measure_together(device, [for_app(tmp_path)], QUICK, keep=kept.append, progress=progress)
    assert [len(found.launches) for found in kept] == [1]
    assert "the app ended before it was done" in kept[0].cut_short
    assert app.is_clean(store)


@pytest.mark.parametrize("refuses", [True, False])
def test_an_app_of_another_version(
    device: AdbDevice, app: AppPhone, tmp_path: Path, refuses: bool
) -> None:
    other = shutil.copytree(
        RUNNER, tmp_path / RUNNER.name, ignore=shutil.ignore_patterns("__pycache__")
    )
    version = (other / "__init__.py").read_text().replace("PROTOCOL = 2\n", "PROTOCOL = 3\n")
    (other / "__init__.py").write_text(version)
    job = '"$1"' if refuses else '"$2/job"'
    app.is_app(
        f'sed "s/\\"protocol\\": 2/\\"protocol\\": 3/" "$1" >"$2/job"\n'
        f'{sys.executable} {other} {job} >"$2.jsonl"'
    )
    model = dense_model(tmp_path / "model.tflite")
    with pytest.raises(RuntimeMissingError, match="the app is of another version") as why:
        AppRunner(device).run({"model": device.push(model, sha256_file(model))})
    assert "protocol 3" in why.value.message or "speaks 3" in why.value.message
    assert "install -r" in why.value.hint


def test_the_app_hangs(
    device: AdbDevice, app: AppPhone, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.measure.runners.app._START_SECONDS", 1)
    app.is_app("")
    with pytest.raises(DeviceError, match="not done after 1 s and was stopped"):
        AppRunner(device).run({"model": "/no/model", "time_budget_seconds": 1})
    assert app.is_clean(store)


def test_the_app_ends_itself_past_its_limit(device: AdbDevice, app: AppPhone) -> None:
    app.is_app("sleep 3; kill -s KILL $$")
    with pytest.raises(DeviceError, match="not done after 1 s and was stopped"):
        AppRunner(device).run({"model": "/no/model", "time_budget_seconds": 1})


def test_streams_are_refused(device: AdbDevice, app: AppPhone) -> None:
    with pytest.raises(RejectedError, match="one process, which runs one stream"):
        AppRunner(device).run({"model": "/no/model", "streams": 2})
    assert app.calls == []


@pytest.mark.parametrize(
    ("stdout", "stderr", "error"),
    [
        ("", "Killed", "did not tell how the app ended: Killed"),
        ('{"event": "hello', f"{MARK}ended over", "printed a broken event"),
        ("[]\n", f"{MARK}ended over", r"ended before it was done: \[\]"),
    ],
)
def test_what_no_app_says(device: AdbDevice, stdout: str, stderr: str, error: str) -> None:
    with pytest.raises(DeviceError, match=error):
        AppRunner(device).events(told(stdout, stderr), {})


def test_android_hangs(
    device: AdbDevice, app: AppPhone, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.measure.runners.app._START_SECONDS", 1)
    monkeypatch.setattr("edgekit.measure.runners.app._END_SECONDS", 1)
    app.hangs()
    with pytest.raises(DeviceError, match="Android did not start the app, or did not stop it"):
        AppRunner(device).run({"model": "/no/model", "time_budget_seconds": 1})
    assert app.is_clean(store)


def when_it_runs(app: AppPhone, does: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        assert becomes(lambda: app.pid is not None)
        does()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_ctrl_c(device: AdbDevice, app: AppPhone, store: Path) -> None:
    app.is_app("")
    thread = when_it_runs(app, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        AppRunner(device).run({"model": "/no/model"})
    thread.join()
    assert app.is_clean(store)


def test_a_link_that_breaks_and_comes_back(
    device: AdbDevice, double: AdbDouble, app: AppPhone, store: Path
) -> None:
    app.is_app("")
    thread = when_it_runs(app, double.drop)
    with pytest.raises(TransientDeviceError):
        AppRunner(device).run({"model": "/no/model"})
    thread.join()
    assert becomes(lambda: app.is_clean(store))


def said_lines(app: AppPhone) -> int:
    return sum(len(file.read_text().splitlines()) for file in app.runs.glob("*.jsonl"))


@pytest.mark.parametrize("lines", [0, 10])
def test_a_link_that_is_gone(
    phones_shell: AdbDouble, app: AppPhone, store: Path, lines: int
) -> None:
    """The phone tidies up by itself when the app says something that nobody reads."""
    app.is_app('while :; do echo \'{"event": "warmup"}\' >>"$2.jsonl"; sleep 0.2; done')

    def leave() -> None:
        assert becomes(lambda: said_lines(app) >= lines)
        phones_shell.leave()

    thread = when_it_runs(app, leave)
    with (
        AdbDevice(f"adb:{phones_shell.serial}") as device,
        pytest.raises(TransientDeviceError),
    ):
        AppRunner(device).run({"model": "/no/model"})
    thread.join()
    assert becomes(lambda: app.is_clean(store))


def test_a_model_that_the_app_refuses(device: AdbDevice, app: AppPhone, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"    TFL3 and no model")
    pushed = device.push(tmp_path / "model.tflite", sha256_file(tmp_path / "model.tflite"))
    with pytest.raises(RejectedError, match=r"ai-edge-litert 2\.3\.0: "):
        AppRunner(device).run({"model": pushed})


def program(folder: Path, text: str) -> str:
    path = folder / "edgekit-bench"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def read_sensors(device: AdbDevice, folder: Path, native_program: str | None) -> Events:
    (folder / "power1_input").write_text("2500000\n")
    spec = {"channels": [{"files": [str(folder / "power1_input")]}], "rate": 100}
    one = for_app(folder)
    runner = AppRunner.deploy(device, one, RunnerWish(native_program=native_program))
    return runner.run(
        {
            "model": device.push(one.path, one.sha256),
            "runs": 5,
            "min_seconds": 0.3,
            "sensors": {"sampler": "/no/python", "spec": spec, "idle_seconds": 0.3},
        }
    )


def test_sensors_are_read_from_the_shell_beside_it(
    device: AdbDevice, app: AppPhone, store: Path, tmp_path: Path
) -> None:
    sampler = program(tmp_path, f'[ "$1" = --sampler ] && exec {sys.executable} {SAMPLER}')
    events = read_sensors(device, tmp_path, sampler)
    idle, *rest = events.every("sensors")
    readings = [row for event in rest for row in event["rows"] if isinstance(row, list)]
    assert idle["problem"] == ""
    assert idle["idle_end_ns"] - idle["idle_start_ns"] == 3e8
    assert idle["idle_end_ns"] < events["window"]["start_ns"]
    assert readings[0][1] < idle["idle_end_ns"]
    assert readings[-1][1] > events["window"]["end_ns"]  # the same clock, and one after the end
    assert {row[3][0] for row in readings} == {"2500000"}
    assert rest[-1]["rows"][-1]["ended"] == "asked"
    assert events.all[-1]["event"] == "done"
    assert app.is_clean(store)


@pytest.mark.parametrize(
    ("does", "told"),
    [("", "--native-program"), ("echo no such option >&2; exit 3", "ended with 3: no such option")],
)
def test_times_are_as_good_without_sensors(
    device: AdbDevice, app: AppPhone, store: Path, tmp_path: Path, does: str, told: str
) -> None:
    events = read_sensors(device, tmp_path, program(tmp_path, does) if does else None)
    assert told in events["sensors"]["problem"]
    assert events.times("samples")
    assert app.is_clean(store)


def test_it_is_taken_only_where_it_is_named(tmp_path: Path) -> None:
    with LocalDevice(root=tmp_path / "store") as device:
        assert choose_runner(device, "tflite", "", RunnerWish()).name != "app"
        assert choose_runner(device, "tflite", "", RunnerWish(), "app").name == "app"
        with pytest.raises(UsageError, match="takes no --python"):
            choose_runner(device, "tflite", "", RunnerWish(python="python3"), "app")
        with pytest.raises(UsageError, match="for phones over adb, not for local"):
            measure(device, for_app(tmp_path), QUICK)


@pytest.mark.parametrize(
    ("battery", "power", "found"),
    [
        (
            BATTERY.replace("status: 2", "status: 3").replace("true", "false"),
            "mWakefulness=Asleep",
            {
                "battery_percent": 81,
                "battery": "discharging",
                "fed_by": "nothing",
                "screen": "asleep",
            },
        ),
        (BATTERY.replace("status: 2", "status: 1"), "", {"battery_percent": 81, "fed_by": "USB"}),
        ("Can't find service: battery\n", "", {}),
    ],
)
def test_what_a_phone_says_of_battery_and_screen(
    device: AdbDevice, app: AppPhone, battery: str, power: str, found: dict[str, Any]
) -> None:
    app.answers(battery=battery, power=power)
    told = look(device)[1]
    keys = ("battery_percent", "battery", "fed_by", "screen")
    assert {key: told[key] for key in keys if key in told} == found


STATUS = {"bad_job": 2, "bad_inputs": 2, "model_refused": 4, "model_changed": 4}


@dataclass(frozen=True)
class InTheApp(Program):
    """The app behind adb, as a runner. An app has no exit status: it is that of its error."""

    argv: tuple[str, ...] = ()
    runner: AppRunner | None = None

    def run(self, job: Any, env: dict[str, str] | None = None) -> tuple[int, list[Event]]:
        assert self.runner is not None
        found = self.runner.launch(job)
        assert found.ended == "over", found
        events = [json.loads(line) for line in found.lines.splitlines()]
        last = events[-1]
        return STATUS.get(last["code"], 5) if last["event"] == "error" else 0, events


# What the way through adb and the app's files could spoil; and what only a command line does.
THROUGH_ADB = (
    "test_the_events_in_order",
    "test_the_check_writes_all_outputs",
    "test_max_runs_ends_it",
    "test_another_digest",
    "test_integers",
)
COMMAND_LINE = (
    "test_what_is_no_job",
    "test_a_job_in_a_file",
    "test_one_job",
    "test_any_job_is_refused_or_run",
    "test_outputs_that_cannot_be_written",
    "test_sensors_are_read_from_before_the_load_to_after_the_last_run",
    "test_a_sampler_that_fails_leaves_the_times_alone",
    "test_the_sampler_ends_where_the_run_fails",
)
# What a process alone cannot do, or Android's classes of the runtimes: another app refuses it.
NOT_IN_AN_APP = (
    "test_streams_are_timed_together",
    "test_a_stream_that_fails_ends_all",
    "test_a_batch_gives_the_same",
    "test_a_batch_that_the_file_leaves_open",
)
WHOLE = bool(os.environ.get("EDGEKIT_TEST_APP_CONTRACT"))


class TestContract(TFLiteContract):
    """The contract of runners: `THROUGH_ADB` of it, or with EDGEKIT_TEST_APP_CONTRACT set all but
    `COMMAND_LINE`, some minutes (`tools/app_contract.sh`).

    Where EDGEKIT_TEST_APP names another app, `NOT_IN_AN_APP` is left out, too.
    """

    @pytest.fixture
    def program(self, phones_shell: AdbDouble) -> Iterator[Program]:
        with AdbDevice(f"adb:{phones_shell.serial}") as device:
            yield InTheApp(runner=AppRunner(device))


for _name in [name for name in dir(TFLiteContract) if name.startswith("test_")]:
    _other = _name in NOT_IN_AN_APP and bool(os.environ.get("EDGEKIT_TEST_APP"))
    if _other or (_name in COMMAND_LINE if WHOLE else _name not in THROUGH_ADB):
        setattr(TestContract, _name, None)
