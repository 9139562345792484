"""Speaks with ``runtime_bench/edgekit_bench.py`` on a device: finds a Python, runs a job."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core.errors import DeviceError, RejectedError, RuntimeMissingError
from edgekit.core.locate import shipped
from edgekit.core.protocols import CommandResult, Device

PROTOCOL = 1
RUNNER = shipped("runtime_bench") / "edgekit_bench.py"
OLDEST_PYTHON = (3, 8)

# Where people and edgekit's own hints put the environment with the runtime; first match wins.
PYTHONS = ("~/.edgekit/venv/bin/python", "~/venv/bin/python", "~/.venv/bin/python", "python3")

# Runtime by the name that pip knows, and the module that tells whether it is there.
_MODULES = {
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "tensorflow": "tensorflow",
    "executorch": "executorch",
    "onnxruntime": "onnxruntime",
}
# Runtimes that read a format, the first one preferred.
READERS = {
    "tflite": ("ai-edge-litert", "tflite-runtime", "tensorflow"),
    "executorch": ("executorch",),
    "onnx": ("onnxruntime",),
}

# Beyond the runner's own limits: it ends by itself at the time budget, and the kernel ends it
# 15 s later; starting Python and the runtime on a slow card takes some seconds more.
_TIMEOUT_GRACE_SECONDS = 60

# Prints one line for each Python that is there: its name, then what _ASK prints.
_FIND = """
for python in "$@"; do
  case $python in '~/'*) python=$HOME/${python#'~/'};; esac
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" -c "$ASK" "$python" 2>/dev/null
done
exit 0
"""
_ASK = (
    "import sys, json, importlib.util as u; "
    "print(json.dumps({'edgekit_python': sys.argv[1], 'version': list(sys.version_info[:2]), "
    f"'modules': [m for m in {tuple(_MODULES.values())!r} if u.find_spec(m)]}}))"
)


@dataclass(frozen=True)
class Events:
    """What the runner printed in one launch, in order; the last one is "done"."""

    all: tuple[Mapping[str, Any], ...]

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        """The first event of that name. Raises DeviceError if the runner did not print it."""
        for event in self.all:
            if event["event"] == name:
                return event
        raise DeviceError(f"the runner printed no {name!r} event: not a runner of this edgekit")

    def times(self, name: str) -> tuple[int, ...]:
        """The ns of all events of that name, joined."""
        return tuple(ns for event in self.all if event["event"] == name for ns in event["ns"])

    def environment(self, when: str) -> dict[str, Any]:
        """The "environment" event of "before" or "after", without its own keys; {} if absent."""
        for event in self.all:
            if event["event"] == "environment" and event.get("when") == when:
                return {k: v for k, v in event.items() if k not in ("event", "when")}
        return {}

    @property
    def hello(self) -> dict[str, Any]:
        return {key: value for key, value in self["hello"].items() if key != "event"}


def find_python(
    device: Device,
    *,
    named: str | None = None,
    runtime: str | None = None,
    file_format: str = "tflite",
) -> str:
    """The Python on `device` that the runner shall use.

    Args:
        named: use this one; it may start with ``~/``.
        runtime: a name that pip knows; any that reads `file_format` if not given.

    The first of `PYTHONS` that has the runtime; on this computer the running one comes first.
    Without any, the first that is new enough: the runner then says what to install.

    Raises:
        RuntimeMissingError: there is no Python 3.8 or newer.
    """
    wanted = [named] if named else list(PYTHONS)
    if device.address == "local" and not named:
        wanted.insert(0, sys.executable)
    result = device.run(
        ["env", f"ASK={_ASK}", "sh", "-c", _FIND, "sh", *wanted], timeout_seconds=120
    )
    found = list(_answers(result.stdout))
    usable = [answer for answer in found if tuple(answer["version"]) >= OLDEST_PYTHON]
    if not usable:
        old = "; ".join(f"{a['edgekit_python']} is {_dotted(a['version'])}" for a in found)
        raise RuntimeMissingError(
            f"{device.address} has no Python {_dotted(OLDEST_PYTHON)} or newer at "
            f"{', '.join(wanted)}" + (f" ({old})" if old else ""),
            hint="install one there (Debian: sudo apt install python3-venv), "
            "or name one with --python",
        )
    fitting = (runtime,) if runtime in _MODULES else READERS[file_format]
    modules = {_MODULES[name] for name in fitting}
    for answer in usable:
        if modules & set(answer["modules"]):
            return str(answer["edgekit_python"])
    return str(usable[0]["edgekit_python"])


def _answers(text: str) -> Iterator[dict[str, Any]]:
    """The probe's lines; whatever a login script prints among them is not one."""
    for line in text.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and "edgekit_python" in answer:
            yield answer


def _dotted(version: Any) -> str:
    return ".".join(str(part) for part in version)


def run_job(device: Device, python: str, runner: str, job: Mapping[str, Any]) -> Events:
    """Run one job and return what the runner printed.

    Args:
        python, runner: as they are called on the device.
        job: the runner's job without its "protocol".

    Raises:
        RuntimeMissingError: the runtime is not there or does not start; says what to install.
        RejectedError: the runtime does not load the model.
        DeviceError: anything else that went wrong there.
    """
    budget = float(job.get("time_budget_seconds", 600))
    result = device.run(
        [python, runner, "-"],
        stdin=json.dumps({"protocol": PROTOCOL, **job}).encode(),
        timeout_seconds=budget + _TIMEOUT_GRACE_SECONDS,
    )
    events = _parse(device, result)
    if events and events[-1]["event"] == "error":
        raise _translated(device, events, int(job.get("batch") or 1))
    if result.exit_code != 0 or not events or events[-1]["event"] != "done":
        raise DeviceError(
            f"the runner on {device.address} {_ending(result, budget)}"
            f"{_tail(result.stderr or result.stdout)}",
            hint=f"by hand, on the device: {python} {runner} JOB.json",
        )
    return Events(tuple(events))


def _parse(device: Device, result: CommandResult) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for line in result.stdout.splitlines():
        if not line.startswith('{"event": '):
            if not events:  # a login script or the runtime talks before the runner does
                continue
            raise DeviceError(
                f"the runner on {device.address} printed a line that is no event: {line[:200]!r}"
            )
        try:
            events.append(json.loads(line))
        except ValueError as exc:
            if result.exit_code != 0:  # cut off in the middle; how it ended says more
                break
            raise DeviceError(
                f"the runner on {device.address} printed a broken event: {line[:200]!r}"
            ) from exc
    return events


def _translated(device: Device, events: list[dict[str, Any]], batch: int) -> Exception:
    error = events[-1]
    message, hint = str(error.get("message")), str(error.get("hint", ""))
    first = events[0]
    runtime = f"{first.get('runtime', '')} {first.get('runtime_version', '')}".strip()
    where = f"{device.address}, {runtime}" if runtime else device.address
    if error.get("code") in ("runtime_missing", "runtime_broken"):
        hint = f"on the device: {hint}" if hint else ""
        if " -m pip install " in hint:
            hint = f"edgekit devices prepare {device.address} installs one; or {hint}"
        return RuntimeMissingError(f"{where}: {message}", hint=hint)
    if error.get("code") == "model_refused":
        if batch > 1:  # with one sample it was loaded, checked and found right just before
            what = f"with a batch of {batch}: its shapes may allow no other than 1"
            return RejectedError(f"{where}: {message} ({what})", hint="leave out --batch")
        return RejectedError(
            f"{where}: {message}", hint=hint or "choose another variant, or another runtime there"
        )
    return DeviceError(f"{where}: {message}", hint=hint)


def _ending(result: CommandResult, budget: float) -> str:
    code = result.exit_code
    if code == 127:
        return "did not start"
    if code == -signal.SIGALRM:
        return f"was stopped after {budget:g} s"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        memory = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"was killed by {name}{memory}"
    return f"ended with {code}" if code else "ended before it was done"


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""
