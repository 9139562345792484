"""A runtime in ``~/.edgekit/venv`` of a board: what is there, put there, taken away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit.core.errors import DeviceError
from edgekit.core.files import sha256_file
from edgekit.core.leftovers import removed_after
from edgekit.core.protocols import Device
from edgekit.devices.prepare_script import INSTALL, STATE, UNDO

VENV = "~/.edgekit/venv"
INSTALL_SECONDS = 1200  # unpacking some hundred MB onto a slow card, and starting it once
_SCRIPT_SECONDS = 120
_ANSWER = "edgekit-prepared:"
_STATE = "edgekit-state:"


@dataclass(frozen=True)
class State:
    """What lies at `VENV`: nothing, what edgekit made, or what somebody else made.

    Attributes:
        record: of what was made: "runtime", "version", "python", "wheels" (digest by name).
        others: files in it that edgekit did not put there, the first twenty.
    """

    what: Literal["none", "made", "foreign"]
    record: dict[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()


def state(device: Device) -> State:
    """What lies at `VENV` on `device`. Raises DeviceError if that cannot be told."""
    result = device.run(["sh", "-c", STATE], timeout_seconds=_SCRIPT_SECONDS)
    _, found, text = result.stdout.partition(_STATE)
    what, *lines = text.splitlines() or [""]
    if not found or what not in ("none", "made", "foreign"):
        raise DeviceError(f"{device.address} gives no answer: {(result.stderr or text)[:200]!r}")
    if what != "made":
        return State(what="foreign" if what == "foreign" else "none")
    try:
        record = json.loads(lines[0])
    except (ValueError, IndexError) as exc:
        raise DeviceError(
            f"{device.address}: what edgekit noted in {VENV} cannot be read",
            hint=f"look at it there, and remove the folder {VENV} if nothing in it is yours",
        ) from exc
    return State("made", record, tuple(line for line in lines[1:] if line.strip()))


def install(
    device: Device,
    *,
    python: str,
    wheels: Sequence[Path],
    module: str,
    distribution: str,
    record: dict[str, Any],
    before: State,
) -> tuple[str, str]:
    """Put `wheels` into a new environment of `python` at `VENV`, and start the runtime there.

    Args:
        python: a program on the board.
        module, distribution: what is imported, and whose version is asked for, to see that it runs.
        record: what is noted of it.
        before: what lies there; one that edgekit made is replaced.

    Returns:
        The version that answered, and the environment's Python.

    Raises:
        DeviceError: it cannot be installed or does not start; nothing of it is left then, and what
            was there before still is.
    """
    pushed = [(wheel.name, device.push(wheel, sha256_file(wheel))) for wheel in wheels]
    with removed_after(device, [path for _, path in pushed]):
        job = {
            "wheels": [{"name": name, "path": path} for name, path in pushed],
            "module": module,
            "distribution": distribution,
            "record": record,
            "replace": before.what == "made",
            "folder_made": bool(before.record.get("folder_made")),
        }
        result = device.run(
            [python, "-I", "-c", INSTALL, json.dumps(job)], timeout_seconds=INSTALL_SECONDS
        )
    answer = _answer(result.stdout.splitlines())
    if "version" in answer and "python" in answer:
        return str(answer["version"]), str(answer["python"])
    said = [line for line in result.stderr.splitlines() if line.strip()]
    why = answer.get("error") or (said[-1] if said else f"exit code {result.exit_code}")
    raise DeviceError(f"{device.address}: {distribution} was not installed: {why}")


def _answer(lines: Iterable[str]) -> dict[str, Any]:
    """What INSTALL printed; {} if nothing of it arrived."""
    for line in lines:
        if line.startswith(_ANSWER):
            try:
                found = json.loads(line.removeprefix(_ANSWER))
            except ValueError:  # cut off
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def undo(device: Device) -> list[str]:
    """Remove what `install` made; files in it that are not edgekit's, which stay.

    Raises:
        DeviceError: it cannot be removed.
    """
    result = device.run(["sh", "-c", UNDO], timeout_seconds=INSTALL_SECONDS)
    if result.exit_code:
        said = [line for line in result.stderr.splitlines() if line.strip()]
        why = said[-1] if said else f"exit code {result.exit_code}"
        raise DeviceError(f"{device.address}: {VENV} cannot be removed: {why}")
    return [line for line in result.stdout.splitlines() if line.startswith("./")]
