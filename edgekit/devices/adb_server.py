"""The user's adb server: found, started if there is none, and asked.

https://android.googlesource.com/platform/packages/modules/adb/+/refs/heads/main/docs/dev/services.md
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from edgekit.core.errors import (
    DeviceError,
    NoDeviceError,
    OfflineError,
    SeveralDevicesError,
    TransientDeviceError,
    UsageError,
)
from edgekit.devices.adb_errors import is_network, state_error, translated

_Answer = TypeVar("_Answer")

DEFAULT_PORT = 5037
_START_SECONDS = 30
_CONNECT_SECONDS = 30  # adb gives up on a host that does not answer after about ten
_CONNECT_TRIES = 3  # the server may still take it for connected
_SETTLE_SECONDS = 1
_ANSWER_SECONDS = 60
_LOCAL = ("localhost", "127.0.0.1", "::1")
_COMMAND_BYTES = 0xFFFF  # the length stands in four hex digits


class AdbServer:
    """The server at ADB_SERVER_SOCKET, ANDROID_ADB_SERVER_ADDRESS and _PORT, or localhost:5037.

    Raises (when made):
        UsageError: one of them is not understood.
    """

    def __init__(self) -> None:
        self.host, self.port = _where(os.environ)

    def __str__(self) -> str:
        return f"the adb server at {self.host}:{self.port}"

    def ask(self, command: str, *, timeout_seconds: float = _ANSWER_SECONDS) -> str:
        """What the server itself answers to ``host:`` + `command`."""
        connection = self._open(timeout_seconds)
        with connection, translated(str(self), f"does not answer {command.partition(':')[0]!r}"):
            _send_command(connection, f"host:{command}")
            connection.check_okay()
            return str(connection.read_string_block())

    def devices(self) -> dict[str, str]:
        """The state of each device by its serial, as ``adb devices`` tells."""
        lines = (line.split("\t", 1) for line in self.ask("devices").splitlines())
        return {line[0]: line[1] for line in lines if len(line) == 2}

    def features(self, serial: str) -> frozenset[str]:
        """What the device can do beyond the first protocol: "shell_v2", …"""
        return self._connected(serial, lambda: self._features_once(serial))

    def _features_once(self, serial: str) -> frozenset[str]:
        connection = self._open(_ANSWER_SECONDS)
        with connection, translated(f"adb:{serial}", "does not tell its features"):
            _send_command(connection, f"host-serial:{serial}:features")
            connection.check_okay()
            return frozenset(str(connection.read_string_block()).split(","))

    def choose(self, serial: str) -> str:
        """The serial of the device to use, which can be used right now.

        A device on the network that is not connected is connected to, once.

        Args:
            serial: as the user named it; ANDROID_SERIAL, or the only one there is, if empty.

        Raises:
            SeveralDevicesError: which one was not said.
            NoDeviceError, OfflineError, UnauthorizedError, UsbAccessError, NotBootedError: by its
                state.
        """
        there = self.devices()
        serial = serial or os.environ.get("ANDROID_SERIAL", "") or self._only(there)
        if is_network(serial) and there.get(serial, "offline") == "offline":
            there = self._connect(serial, known=serial in there)
        if serial not in there:
            known = f"it knows {', '.join(sorted(there))}" if there else "there is none"
            raise NoDeviceError(
                f"{self} knows no device {serial!r}; {known}",
                hint="is USB debugging on, and the cable one for data? adb devices lists it then",
            )
        if there[serial] != "device":
            raise state_error(there[serial], f"adb:{serial}")
        return serial

    def _only(self, there: dict[str, str]) -> str:
        if not there:
            raise NoDeviceError(
                f"no phone or board is connected to {self}",
                hint="turn on USB debugging there (Settings, Developer options), plug it in, "
                "and see whether adb devices lists it",
            )
        if len(there) > 1:
            listed = ", ".join(f"adb:{serial} ({state})" for serial, state in sorted(there.items()))
            raise SeveralDevicesError(
                f"several devices are connected: {listed}", hint="name one: --on adb:SERIAL"
            )
        return next(iter(there))

    def _connect(self, serial: str, *, known: bool) -> dict[str, str]:
        """``adb connect``, and what the server lists after it.

        Raises:
            TransientDeviceError: nothing answers there.
        """
        for _ in range(_CONNECT_TRIES):
            if known:  # offline: the server takes it for connected until it is let go
                with contextlib.suppress(NoDeviceError):  # unless it has just done that by itself
                    self.ask(f"disconnect:{serial}")
            said = self.ask(f"connect:{serial}", timeout_seconds=_CONNECT_SECONDS)
            there = self._settled(serial)
            known = serial in there
            gone = not known and "connected to" in said  # it was there, and is just let go
            if not gone and there.get(serial) != "offline":
                break
        if serial not in there:
            raise TransientDeviceError(
                f"adb:{serial} cannot be reached: {said}",
                hint="is wireless debugging on there, and both in one network? "
                "Android 11 and newer: adb pair HOST:PORT first",
            )
        return there

    def _settled(self, serial: str) -> dict[str, str]:
        """What the server lists as soon as the device is not offline, or after a moment.

        For a moment after it was connected to that may be of the link that was there before.
        """
        until = time.monotonic() + _SETTLE_SECONDS
        while (there := self.devices()).get(serial) == "offline" and time.monotonic() < until:
            time.sleep(0.05)
        return there

    def open(self, serial: str, service: str, *, timeout_seconds: float | None) -> Any:
        """A connection to a service of the device; adbutils' AdbConnection.

        One on the network that is gone is connected to once more.

        Raises:
            DeviceError: the device is gone, or refuses; the command is too long.
        """
        return self._connected(serial, lambda: self._open_once(serial, service, timeout_seconds))

    def _connected(self, serial: str, ask: Callable[[], _Answer]) -> _Answer:
        """What `ask` gives; a device on the network that is gone is connected to once more.

        The server may list one for a moment after its link was lost.
        """
        try:
            return ask()
        except (NoDeviceError, OfflineError):
            if not is_network(serial):
                raise
        self.choose(serial)
        return ask()

    def _open_once(self, serial: str, service: str, timeout_seconds: float | None) -> Any:
        connection = self._open(timeout_seconds)
        try:
            with translated(f"adb:{serial}", "cannot be reached"):
                _send_command(connection, f"host:transport:{serial}")
                connection.check_okay()
            with translated(f"adb:{serial}", f"does not take {service.partition(':')[0]!r}"):
                _send_command(connection, service)
                connection.check_okay()
        except BaseException:
            connection.close()
            raise
        return connection

    def _open(self, timeout_seconds: float | None) -> Any:
        """A connection to the server, which is started where it is ours to start."""
        from adbutils.errors import AdbConnectionError, AdbTimeout

        try:
            connection = _connection_class()(self.host, self.port)
        except (AdbConnectionError, AdbTimeout):
            self._start()
            with translated(str(self), "cannot be reached"):
                connection = _connection_class()(self.host, self.port)
        connection.conn.settimeout(timeout_seconds)
        return connection

    def _start(self) -> None:
        """Raises DeviceError if it cannot be started, or is another computer's."""
        if self.host not in _LOCAL:
            raise TransientDeviceError(
                f"{self} cannot be reached", hint="start it there, or unset ADB_SERVER_SOCKET"
            )
        with translated(str(self), "is not running, and there is no adb to start it"):
            adb = program()
        with translated(str(self), f"is not running and could not be started by {adb!r}"):
            done = subprocess.run(
                [adb, "-P", str(self.port), "start-server"],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=_START_SECONDS,
                check=False,
            )
        if done.returncode:
            why = " ".join(done.stderr.split())[-300:]
            raise DeviceError(
                f"{self} is not running and could not be started by {adb!r}: {why}",
                hint=f"by hand: {adb} start-server",
            )


def program() -> str:
    """The adb that starts a server: ADBUTILS_ADB_PATH, the one on PATH, or adbutils' own."""
    from adbutils import adb_path

    return str(adb_path())


def _where(environment: Any) -> tuple[str, int]:
    """Host and port of the server, by the variables that adb itself obeys."""
    socket_name = environment.get("ADB_SERVER_SOCKET")
    if socket_name:
        found = re.fullmatch(r"tcp:(?:(.+):)?(\d{1,5})", socket_name)
        if found is None:
            raise UsageError(
                f"ADB_SERVER_SOCKET={socket_name!r} is not of the form tcp:[host:]port, "
                "the only one that edgekit reaches"
            )
        return (found[1] or "127.0.0.1").strip("[]"), int(found[2])
    port = environment.get("ANDROID_ADB_SERVER_PORT") or str(DEFAULT_PORT)
    if not re.fullmatch(r"\d{1,5}", port):
        raise UsageError(f"ANDROID_ADB_SERVER_PORT={port!r} is not the number of a port")
    return environment.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1", int(port)


@cache
def _connection_class() -> Any:
    """adbutils' connection, but it starts no server, which would write to our terminal, and does
    not sleep when it is closed.
    """
    from adbutils import AdbConnection

    class Connection(AdbConnection):  # type: ignore[misc] # its imports are not seen here
        def _safe_connect(self) -> Any:
            return self._create_socket()

        def close(self) -> None:
            self.conn.close()

    return Connection


def _send_command(connection: Any, command: str) -> None:
    data = os.fsencode(command)
    if len(data) > _COMMAND_BYTES:
        raise UsageError(f"{len(data)} bytes of command are more than adb takes ({_COMMAND_BYTES})")
    connection.conn.sendall(b"%04x" % len(data) + data)
