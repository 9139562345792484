"""Every exception of adbutils and its socket has a class of ours, and every state of a device."""

from __future__ import annotations

import inspect
import subprocess

import pytest
from adbutils import errors as adb_errors

from edgekit.core.errors import (
    DeviceError,
    EdgekitError,
    NoDeviceError,
    NotBootedError,
    OfflineError,
    SeveralDevicesError,
    TransientDeviceError,
    UnauthorizedError,
    UsageError,
    UsbAccessError,
)
from edgekit.devices.adb_errors import is_network, state_error, translate, translated

# What the server says is from its sources: client/transport.cpp, adb.cpp.
EXPECTED: list[tuple[BaseException, type[EdgekitError]]] = [
    (adb_errors.AdbError("device '0123' not found"), NoDeviceError),
    (adb_errors.AdbError("no devices/emulators found"), NoDeviceError),
    (adb_errors.AdbError("device offline"), OfflineError),
    (adb_errors.AdbError("device unauthorized.\nThis adb server's $ADB_…"), UnauthorizedError),
    (adb_errors.AdbError("device still authorizing"), UnauthorizedError),
    (adb_errors.AdbError("insufficient permissions for device: missing udev"), UsbAccessError),
    (adb_errors.AdbError("more than one device/emulator"), SeveralDevicesError),
    (adb_errors.AdbError("closed"), TransientDeviceError),
    (adb_errors.AdbError("connection closed"), TransientDeviceError),
    (adb_errors.AdbError("Unknown data: b''"), TransientDeviceError),
    (adb_errors.AdbError("Unknown data: b'HTTP'"), DeviceError),
    (adb_errors.AdbError("unknown host service"), DeviceError),
    (adb_errors.AdbTimeout("adb read timeout"), TransientDeviceError),
    (adb_errors.AdbConnectionError("connect to adb server failed: refused"), TransientDeviceError),
    (adb_errors.AdbSyncError("src should be a file path"), DeviceError),
    (adb_errors.AdbInstallError("Failure [INSTALL_FAILED_OLDER_SDK]"), DeviceError),
    (subprocess.TimeoutExpired(["adb", "start-server"], 30), TransientDeviceError),
    (subprocess.CalledProcessError(1, ["adb"]), DeviceError),
    (ValueError("invalid literal for int() with base 16: 'HTTP'"), DeviceError),
    (FileNotFoundError(2, "No such file or directory"), DeviceError),
    (PermissionError(13, "Permission denied"), DeviceError),
    (TimeoutError(), TransientDeviceError),
    (ConnectionRefusedError(111, "Connection refused"), TransientDeviceError),
    (ConnectionResetError(104, "Connection reset by peer"), TransientDeviceError),
    (BrokenPipeError(32, "Broken pipe"), TransientDeviceError),
    (OSError(113, "No route to host"), TransientDeviceError),
    (EOFError("Expected 8 bytes, got 0"), TransientDeviceError),
]


@pytest.mark.parametrize(
    ("theirs", "ours"), EXPECTED, ids=[f"{type(exc).__name__}-{exc}"[:50] for exc, _ in EXPECTED]
)
def test_each(theirs: BaseException, ours: type[EdgekitError]) -> None:
    error = translate(theirs, "adb:0123", "cannot be reached")
    assert type(error) is ours
    assert error.message.startswith("adb:0123 ")
    assert len(str(error).splitlines()) <= 2
    with pytest.raises(ours) as caught, translated("adb:0123", "cannot be reached"):
        raise theirs
    assert caught.value.__cause__ is theirs


def test_none_is_forgotten() -> None:
    """A class that a later adbutils adds must be given a place here."""
    known = {type(theirs) for theirs, _ in EXPECTED}
    there = {
        cls
        for _, cls in inspect.getmembers(adb_errors, inspect.isclass)
        if issubclass(cls, BaseException) and cls.__module__ == adb_errors.__name__
    }
    assert there <= known


def test_our_own_errors_pass() -> None:
    with pytest.raises(UsageError), translated("adb:0123", "x"):
        raise UsageError("mine")


@pytest.mark.parametrize(
    ("state", "ours", "hint"),
    [
        ("offline", OfflineError, "adb reconnect offline"),
        ("connecting", OfflineError, "adb reconnect offline"),
        ("unauthorized", UnauthorizedError, "press Allow"),
        ("authorizing", UnauthorizedError, "press Allow"),
        (
            "no permissions (missing udev rules? user is in the plugdev group); see [https://…]",
            UsbAccessError,
            "android-sdk-platform-tools-common",
        ),
        ("recovery", NotBootedError, "adb -s 0123 reboot"),
        ("sideload", NotBootedError, "adb -s 0123 reboot"),
        ("bootloader", NotBootedError, "fastboot -s 0123 reboot"),
        ("something new", NotBootedError, "adb -s 0123 reboot"),
    ],
)
def test_each_state(state: str, ours: type[DeviceError], hint: str) -> None:
    error = state_error(state, "adb:0123")
    assert type(error) is ours
    assert hint in error.hint
    assert len(str(error).splitlines()) == 2


@pytest.mark.parametrize(
    ("serial", "network"),
    [
        ("192.168.1.7:5555", True),
        ("phone.local:37123", True),
        ("[fe80::1]:5555", True),
        ("0123ABCD", False),
        ("emulator-5554", False),
        ("adb-39151FDJG000YJ-x1Y2._adb-tls-connect._tcp", False),
    ],
)
def test_which_serials_can_be_connected_to(serial: str, network: bool) -> None:
    assert is_network(serial) is network
