"""What a runner prints: one JSON object a line, the same from every runner.

The events are told of in ``runtime_bench/edgekit_bench/__init__.py``.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core.errors import DeviceError, RejectedError, RuntimeMissingError
from edgekit.core.protocols import CommandResult, Device
from edgekit.measure.memory_limits import memory_facts


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

    def every(self, name: str) -> list[Mapping[str, Any]]:
        """All events of that name, in order."""
        return [event for event in self.all if event["event"] == name]

    def times(self, name: str) -> tuple[int, ...]:
        """The ns of all events of that name, joined."""
        return tuple(ns for event in self.every(name) for ns in event["ns"])

    def environment(self, when: str) -> dict[str, Any]:
        """The "environment" event of "before" or "after", without its own keys; {} if absent."""
        for event in self.all:
            if event["event"] == "environment" and event.get("when") == when:
                return {k: v for k, v in event.items() if k not in ("event", "when")}
        return {}

    @property
    def hello(self) -> dict[str, Any]:
        return {key: value for key, value in self["hello"].items() if key != "event"}


def collect(
    device: Device, result: CommandResult, job: Mapping[str, Any], *, by_hand: str
) -> Events:
    """What the runner printed for `job`, if it came to its end.

    Args:
        by_hand: the command that does the same on the device, for the hint of an error.

    Raises:
        RuntimeMissingError: the runtime is not there or does not start; says what to install.
        RejectedError: the runtime does not load the model.
        DeviceError: anything else that went wrong there.
    """
    events = _parse(device, result)
    if events and events[-1]["event"] == "error":
        raise _translated(device, events, int(job.get("batch") or 1))
    if result.exit_code != 0 or not events or events[-1]["event"] != "done":
        raise DeviceError(
            f"the runner on {device.address} {ending(device, result, budget_seconds(job))}"
            + (
                "" if result.exit_code == -signal.SIGKILL else _tail(result.stderr or result.stdout)
            ),
            hint=f"by hand, on the device: {by_hand}",
        )
    return Events(tuple(events))


def budget_seconds(job: Mapping[str, Any]) -> float:
    """After which the runner ends by itself."""
    return float(job.get("time_budget_seconds", 600))


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
            events.append(json.loads(line, parse_constant=_no_number))
        except (ValueError, RecursionError) as exc:
            if result.exit_code != 0:  # cut off in the middle; how it ended says more
                break
            raise DeviceError(
                f"the runner on {device.address} printed a broken event: {line[:200]!r}"
            ) from exc
    return events


def _no_number(text: str) -> None:
    """For NaN and Infinity, which JSON has not."""
    raise ValueError(f"{text} is no number")


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


def ending(device: Device, result: CommandResult, budget: float) -> str:
    """How a program on `device` ended that did not come to its end."""
    code = result.exit_code
    if code == 127:
        return "did not start"
    if code == -signal.SIGALRM:
        return f"was stopped after {budget:g} s"
    if code == -signal.SIGKILL:
        return f"was killed by SIGKILL, likely out of memory{memory_facts(device)}"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}"
    return f"ended with {code}" if code else "ended before it was done"


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""
