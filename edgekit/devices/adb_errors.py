"""What adbutils, the adb server and the socket to it say, in edgekit's words."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator

from edgekit.core.errors import (
    DeviceError,
    EdgekitError,
    NoDeviceError,
    NotBootedError,
    OfflineError,
    SeveralDevicesError,
    TransientDeviceError,
    UnauthorizedError,
    UsbAccessError,
)

_CHECK = "is it on and plugged in, and does adb devices list it?"


@contextlib.contextmanager
def translated(address: str, doing: str) -> Iterator[None]:
    """Turn any error of adbutils or of its socket inside the block into one of ours.

    Args:
        doing: what was tried, after the address: "cannot be reached", "broke off while running x".
    """
    from adbutils import AdbError

    try:
        yield
    except (AdbError, OSError, EOFError, ValueError, subprocess.SubprocessError) as exc:
        raise translate(exc, address, doing) from exc


def translate(exc: BaseException, address: str, doing: str) -> EdgekitError:
    """The error of ours for one of theirs; see `translated`."""
    from adbutils import errors as theirs

    text = f"{address} {doing}"
    why = " ".join(str(exc).split())[:300] or type(exc).__name__
    if isinstance(exc, (theirs.AdbTimeout, TimeoutError, subprocess.TimeoutExpired)):
        return TransientDeviceError(f"{text}: no answer in time", hint=_CHECK)
    if isinstance(exc, theirs.AdbConnectionError):
        return TransientDeviceError(f"{text}: {why}", hint="adb start-server")
    if isinstance(exc, (theirs.AdbSyncError, theirs.AdbInstallError)):
        return DeviceError(f"{text}: {why}")
    if isinstance(exc, theirs.AdbError):
        return _of_server(why, address, text)
    if isinstance(exc, (FileNotFoundError, PermissionError)):  # the program adb
        return DeviceError(f"{text}: {why}")
    if isinstance(exc, (ValueError, subprocess.SubprocessError)):
        return DeviceError(f"{text}: {why}")
    if isinstance(exc, EOFError):
        return TransientDeviceError(f"{text}: the connection was closed", hint=_CHECK)
    why = getattr(exc, "strerror", None) or why
    return TransientDeviceError(f"{text}: {why}", hint=_CHECK)


def _of_server(why: str, address: str, text: str) -> EdgekitError:
    """For what the adb server answers instead of OKAY."""
    if "unauthorized" in why or "authorizing" in why:
        return state_error("unauthorized", address)
    if "offline" in why:
        return state_error("offline", address)
    if "permission" in why:
        return state_error(why, address)
    if "more than one" in why:
        return SeveralDevicesError(f"{text}: {why}", hint="adb devices lists their serials")
    if re.search(r"not found|no devices|no (such )?device", why):
        return NoDeviceError(f"{text}: {why}", hint=_CHECK)
    if why in ("closed", "connection closed", "Unknown data: b''"):
        return TransientDeviceError(f"{text}: the connection was closed", hint=_CHECK)
    if why.startswith("Unknown data"):
        return DeviceError(f"{text}: what answers there is no adb server ({why})")
    return DeviceError(f"{text}: {why}")


def state_error(state: str, address: str) -> DeviceError:
    """The error for a device that the adb server lists in a state other than "device".

    Args:
        state: as ``adb devices`` shows it.
        address: ``adb:SERIAL``.
    """
    serial = address.removeprefix("adb:")
    if state in ("unauthorized", "authorizing"):
        return UnauthorizedError(
            f"{address} has not accepted this computer yet",
            hint="unlock the phone and press Allow below 'Allow USB debugging?'; if it does not "
            "ask: Developer options, Revoke USB debugging authorizations, and plug it in again",
        )
    if state in ("offline", "connecting", "detached"):
        again = f"adb connect {serial}" if is_network(serial) else "adb reconnect offline"
        return OfflineError(
            f"{address} is known to adb but does not answer ({state})",
            hint=f"unlock it, plug it in again or: {again}",
        )
    if "permission" in state:
        return UsbAccessError(
            f"{address} cannot be opened by this user: {state}",
            hint="Debian: install android-sdk-platform-tools-common (Debian), and plug it in again",
        )
    if state in ("bootloader", "fastboot"):
        return NotBootedError(f"{address} is in {state}", hint=f"fastboot -s {serial} reboot")
    return NotBootedError(
        f"{address} is in the state {state!r}, in which nothing can be run",
        hint=f"adb -s {serial} reboot",
    )


def is_network(serial: str) -> bool:
    """Whether a serial is the host:port of a device that ``adb connect`` reaches."""
    return re.fullmatch(r".+:\d{1,5}", serial) is not None


def lost(address: str, doing: str) -> TransientDeviceError:
    """For a link that broke while something was going on."""
    return TransientDeviceError(
        f"the connection to {address} was lost while {doing}", hint="try again when it is back"
    )
