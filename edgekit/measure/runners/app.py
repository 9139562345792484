"""The app of ``android_demo`` on a phone, so that a model is timed where it will run: in an app's
process, with an app's priorities, by the runtimes that its APK holds.

    edgekit profile BUILD --on adb:SERIAL --runner app

It is taken only where it is named. Each launch is a process of its own: ``am start -S`` stops what
ran before. The job goes to the phone like those of other runners; an app can read there and not
write, so its lines and outputs go to its own media folder, which adb's shell can read, and are
followed there (`edgekit.measure.app_script`). What the app cannot see, the shell adds:
temperatures, battery and screen, and with ``--native-program`` the sensors, whose sampler that
program is.
Facts about Android that this rests on: ``README.md`` beside this file.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import re
import secrets
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from edgekit.core.errors import (
    DeviceError,
    InputError,
    RejectedError,
    RuntimeMissingError,
    TransientDeviceError,
    UsageError,
)
from edgekit.core.files import sha256_file
from edgekit.core.measurement import PROTOCOL
from edgekit.core.protocols import CommandResult, Device
from edgekit.measure.again import reached_again
from edgekit.measure.app_script import RUN, TIDY, Told, told
from edgekit.measure.events import Events, budget_seconds, collect
from edgekit.measure.runner import RunnerWish
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look

PACKAGE = "dev.edgekit.demo"
ACTIVITY = ".BenchmarkActivity"
RUNS = f"/sdcard/Android/media/{PACKAGE}/runs"

# Beyond the job's own budget: to start the app, and until the command has ended that follows it.
_START_SECONDS = 60
_END_SECONDS = 60
_TIDY_SECONDS = 60  # to tidy up after that command
_ROWS_A_LINE = 1000


class AppRunner:
    """The app on a phone; implements `Runner`."""

    name = "app"
    runs: ClassVar[dict[str, tuple[str, ...]]] = {
        "tflite": ("xnnpack",),
        "executorch": ("xnnpack", "portable"),
    }
    checks = None
    senses = True

    def __init__(self, device: Device, sampler: str = "") -> None:
        """`sampler`: a program on the device that is one with ``--sampler``; "" for none."""
        self._device, self._sampler = device, sampler

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Look whether the app is there, and push the sampler.

        Raises:
            UsageError: it is asked of a device that is not reached by adb.
            RuntimeMissingError: the app is not installed; says how to.
        """
        if not device.address.startswith("adb:"):
            raise UsageError(
                f"--runner app is for phones over adb, not for {device.address}",
                hint="--on adb:SERIAL (adb devices lists the serials), or leave out --runner",
            )
        found = device.run(["pm", "path", PACKAGE], timeout_seconds=60)
        if "package:" not in found.stdout:
            raise RuntimeMissingError(
                f"{device.address} does not have the app {PACKAGE}", hint=_install(device)
            )
        sampler = ""
        if wish.native_program is not None:
            program = Path(wish.native_program)
            if not program.is_file():
                raise InputError(f"there is no file {str(program)!r}")
            sampler = device.push(program, sha256_file(program))
            device.run(["chmod", "755", sampler], timeout_seconds=60)
        return cls(device, sampler)

    def accept(self, job: Mapping[str, Any]) -> None:
        if job.get("streams", 1) != 1:
            raise RejectedError("an app is one process, which runs one stream")

    def run(self, job: Mapping[str, Any]) -> Events:
        self.accept(job)
        hello, before = look(self._device)
        sensors = job.get("sensors")
        asked = {"protocol": PROTOCOL, **{k: v for k, v in job.items() if k != "sensors"}}
        found = self.launch(asked, sensors)
        events = self.events(found, job)
        _, after = look(self._device)
        if start := re.search(r"^TotalTime: (\d+)", found.am, re.MULTILINE):
            before["app_start_ms"] = int(start[1])  # until its screen was drawn
        whole = [_with_more(event, hello, before, after) for event in events.all]
        if sensors is not None:
            whole[-1:-1] = self._sensed(found, sensors)
        return Events(tuple(whole))

    def launch(self, job: Mapping[str, Any], sensors: Mapping[str, Any] | None = None) -> Told:
        """Start the app with `job`, in a new process, and follow it to its end.

        Nothing of it is left on the phone then, whatever happens; if the link is lost, once the
        phone can be reached again.

        Args:
            job: as ``runtime_bench`` has it.
            sensors: the "sensors" of one; they are read from the shell.
        """
        name = f"edgekit-{secrets.token_hex(8)}"
        path = f"{self._device.scratch()}.json"
        store = path.rpartition("/scratch/")[0]
        outputs = job.get("outputs")
        if outputs:
            job = {**job, "outputs": f"{RUNS}/{name}/outputs.npz"}
        reads = [job[key] for key in ("model", "inputs") if isinstance(job.get(key), str)]
        budget = math.ceil(budget_seconds(job))
        sampler, spec, idle = "", "", 0.0
        if sensors is not None and self._sampler:
            sampler, spec = self._sampler, json.dumps(sensors["spec"])
            idle = float(sensors["idle_seconds"])
        mine = [PACKAGE, RUNS, name, path, store]
        how = [
            ACTIVITY,
            str(budget),
            outputs or "",
            sampler,
            spec,
            f"{idle:g}",
            str(_START_SECONDS),
        ]
        result = self._followed(
            ["sh", "-c", RUN, "edgekit-app", *mine, *how, *reads],
            ["sh", "-c", TIDY, "edgekit-app", *mine],
            json.dumps(job).encode(),
            budget + _START_SECONDS + idle + _END_SECONDS,
        )
        return told(result.stdout, result.stderr)

    def _followed(
        self, argv: list[str], tidy: list[str], stdin: bytes, seconds: float
    ) -> CommandResult:
        tidied = partial(self._device.run, tidy, timeout_seconds=_TIDY_SECONDS)
        began = time.monotonic()
        try:
            with reached_again(self._device, tidied):
                return self._device.run(argv, stdin=stdin, timeout_seconds=seconds)
        except TransientDeviceError:
            raise
        except BaseException as exc:
            # The error that led here (or a Ctrl-C) is the one to tell, not this one.
            with contextlib.suppress(DeviceError):
                tidied()
            if isinstance(exc, DeviceError) and time.monotonic() - began >= seconds:
                raise DeviceError(
                    f"{self._device.address}: Android did not start the app, or did not stop it, "
                    f"within {seconds:g} s",
                    hint=f"restart the phone: adb -s {self._serial} reboot",
                ) from exc
            raise

    def events(self, found: Told, job: Mapping[str, Any]) -> Events:
        """The app's events of a launch.

        Raises:
            RuntimeMissingError: the app has no such activity, or speaks another protocol.
            RejectedError: the runtime in it does not load the model.
            DeviceError: anything else that went wrong there.
        """
        address = self._device.address
        if found.ended == "not-started":
            raise self._not_started(found.am)
        if found.ended == "unreadable":
            raise DeviceError(
                f"{address}: its files cannot be made readable for the app: {_last(found.said)}",
                hint=f"edgekit clean --on {address}",
            )
        self._refuse_other_protocol(found.lines)
        if found.ended == "gone":
            why = _crash(found.crash) or found.exit_reason
            raise DeviceError(
                f"{address}: the app ended before it was done{f': {why}' if why else ''}",
                hint=f"adb -s {self._serial} logcat -b crash -d, and dumpsys activity exit-info "
                f"{PACKAGE} (Android 11) may tell more",
            )
        if found.ended == "late":
            raise DeviceError(
                f"{address}: the app was not done after {budget_seconds(job):g} s and was stopped",
                hint="unlock the phone and look what it shows; --timeout gives it more time",
            )
        if found.ended == "not-copied":
            raise DeviceError(f"{address}: the app's outputs cannot be read: {_last(found.said)}")
        if not found.ended:
            raise DeviceError(
                f"{address}: its shell did not tell how the app ended: {_last(found.said)}"
            )
        return collect(
            self._device,
            CommandResult(exit_code=0, stdout=found.lines, stderr=found.said),
            job,
            by_hand=f"am start -W -S -n {PACKAGE}/{ACTIVITY} --es job JOB.json --es run NAME",
        )

    def _not_started(self, said: str) -> DeviceError:
        address = self._device.address
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith(("Error:", "java."))), "")
        why = (why or _last(said)).removeprefix("Error: ")[:300]
        if "does not exist" in said:
            return RuntimeMissingError(
                f"{address}: {why} The app was built from something else, or the phone has not "
                "been unlocked since it was started",
                hint=f"unlock it, or {_install(self._device)}",
            )
        if "Permission Denial" in said or "SecurityException" in said:
            return DeviceError(
                f"{address}: adb's shell may not start the app: {why}", hint=_install(self._device)
            )
        return DeviceError(
            f"{address}: the app does not start: {why}",
            hint=f"by hand: adb -s {self._serial} shell am start -W -S -n {PACKAGE}/{ACTIVITY}",
        )

    def _refuse_other_protocol(self, lines: str) -> None:
        """What is said of versions tells more than what goes wrong because of them."""
        first = lines.partition("\n")[0]
        try:
            event = json.loads(first) if first.startswith("{") else {}
        except ValueError:
            return  # `collect` says so
        speaks = event.get("protocol", PROTOCOL)
        refused = event.get("code") == "bad_job" and "has protocol" in str(event.get("message"))
        if speaks != PROTOCOL or refused:
            what = str(event.get("message")) if refused else f"it speaks protocol {speaks}"
            raise RuntimeMissingError(
                f"{self._device.address}: the app is of another version: {what}; this edgekit "
                f"speaks {PROTOCOL}",
                hint=_install(self._device),
            )

    def _sensed(self, found: Told, sensors: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The events "sensors" of ``runtime_bench``, of what the sampler wrote down."""
        if not self._sampler:
            problem = (
                "an app may not read sensors and a phone has no Python; the native runner reads "
                "them: --native-program"
            )
            return [{"event": "sensors", "problem": problem}]
        rows = [row for line in found.rows.splitlines() for row in _parsed(line)]
        began = next((row["began_ns"] for row in rows if isinstance(row, dict)), None)
        problem = ""
        if found.sampler_status != 0 or began is None:
            said = _last(found.sampler_said) or "it said nothing"
            problem = f"the sampler ended with {found.sampler_status}: {said}"
        events: list[dict[str, Any]] = [{"event": "sensors", "problem": problem}]
        if began is not None:
            idle = round(float(sensors["idle_seconds"]) * 1e9)
            events[0].update(idle_start_ns=began, idle_end_ns=began + idle)
        for start in range(0, len(rows), _ROWS_A_LINE):
            events.append({"event": "sensors", "rows": rows[start : start + _ROWS_A_LINE]})
        return events

    @property
    def _serial(self) -> str:
        return self._device.address.removeprefix("adb:")


def _install(device: Device) -> str:
    serial = device.address.removeprefix("adb:")
    return f"build it (android_demo/README.md says how) and: adb -s {serial} install -r APK"


def _parsed(line: str) -> list[Any]:
    """A row of the sampler; none of the last one, of a process that was killed in mid-line."""
    try:
        return [json.loads(line)]
    except ValueError:
        return []


def _with_more(
    event: Mapping[str, Any],
    hello: Mapping[str, Any],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> dict[str, Any]:
    """`event` with what the shell knows and an app may not read; what the app says stands."""
    if event["event"] == "hello":
        return {**hello, **event}
    if event["event"] != "environment":
        return dict(event)
    more = before if event.get("when") == "before" else after
    told = {key: value for key, value in event.items() if key != "unavailable"}
    whole = {**told, **{key: value for key, value in more.items() if key not in told}}
    missing = {k: why for k, why in event.get("unavailable", {}).items() if k not in whole}
    return {**whole, "unavailable": missing} if missing else whole


def _crash(log: str) -> str:
    """What the log of crashes says, without what stands before each line in it.

    An exception's line comes after "FATAL EXCEPTION: main" and "Process: …", a signal's after a row
    of stars.
    """
    texts = [_text(line) for line in log.splitlines()]
    for text in texts:
        if text.startswith("Fatal signal"):
            return text[:300]
    for before, text in itertools.pairwise(texts):
        if before.startswith("Process:"):
            return text[:300]
    return next((text[:300] for text in reversed(texts) if text), "")


def _text(line: str) -> str:
    """Of a line as ``logcat`` prints it: ``07-06 14:12:12.345  1234  1250 E Tag     : text``."""
    return line.split(": ", 1)[-1].strip()


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
