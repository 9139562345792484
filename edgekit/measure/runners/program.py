"""What the runners over other people's programs share: how one is called, and how it failed."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekit.core.errors import DeviceError, RejectedError, TransientDeviceError
from edgekit.core.protocols import CommandResult, Device
from edgekit.measure.events import ending

# An "interference" event. What edgekit's own programs read beside the model, here nobody reads.
NO_CORES = {
    "event": "interference",
    "own_cores": None,
    "other_cores": None,
    "unavailable": "nothing of edgekit's runs beside this program to read it",
}


def run_program(
    device: Device,
    argv: Sequence[str],
    seconds: float,
    *,
    fails: str,
    why: Callable[[str], str],
    silent: Callable[[str], str] = lambda _: "",
) -> CommandResult:
    """Run `argv` on `device` for at most `seconds`, to its good end.

    Args:
        fails: who does not do what, for an error: "trtexec does not build an engine".
        why: what the program's own words say of a failure; "" if that is nothing.
        silent: what to say of the words where they say nothing of it.

    Raises:
        RejectedError: the program says why it does not.
        DeviceError: it was killed, crashed, did not start or took too long, or does not say why.
    """
    done = device.run(argv, timeout_seconds=seconds)
    if done.exit_code == 0:
        return done
    hint = by_hand(argv)
    text = done.stdout + done.stderr
    words = why(text)
    # A program that aborts has said why; one that the kernel killed has not.
    if words and done.exit_code != -signal.SIGKILL:
        raise RejectedError(f"{device.address}: {fails}: {words[:400]}", hint=hint)
    how = ending(device, done, seconds)
    raise DeviceError(f"{device.address}: {fails}: it {how}{silent(text)}", hint=hint)


def not_understood(device: Device, name: str, what: str, argv: Sequence[str]) -> DeviceError:
    """For a program that ended well and did not tell what it is asked for."""
    return DeviceError(
        f"{device.address}: {name} gave {what}: it was cut short, or it is another program of "
        "that name or an edition that edgekit does not know",
        hint=by_hand(argv),
    )


def fetch(device: Device, remote: str, target: Path, name: str, argv: Sequence[str]) -> None:
    """Pull a file that `argv` of the program `name` should have written."""
    try:
        device.pull(remote, target)
    except TransientDeviceError:
        raise
    except DeviceError as exc:
        raise not_understood(device, name, "no file that it was asked for", argv) from exc


def by_hand(argv: Sequence[str]) -> str:
    """For the hint of an error: how to try the same on the device."""
    return f"by hand, on the device: {shlex.join(argv)}"
