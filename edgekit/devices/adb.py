"""A phone or a board over adb, by USB or Wi-Fi.

    edgekit profile BUILD --on adb:0123ABCD            (a serial that ``adb devices`` lists)
    edgekit profile BUILD --on adb:192.168.1.7:5555    (connected to if it is not)
    edgekit profile BUILD --on adb:                    (the only one there is, or ANDROID_SERIAL)

The user's adb server is used, and started if there is none. Files go to
``/data/local/tmp/edgekit`` there, the one folder in which a phone's shell may write and run.

How a command ended: adb itself passes on 128 + n for a signal n, which may as well be an exit code.
A signal is told by what the device's shell says of it (a phone's mksh, dash and busybox do). SIGINT
and SIGPIPE, of which no shell speaks, and all of them where the shell is bash, stay 128 + n.

Before Android 7 (no "shell v2") the command's standard input and error go through files in the
store's scratch folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

from edgekit.core.errors import DeviceError, InputError, TransientDeviceError, UsageError
from edgekit.core.protocols import CommandResult
from edgekit.devices import adb_sync, scripts
from edgekit.devices.adb_errors import lost, translated
from edgekit.devices.adb_server import AdbServer
from edgekit.devices.adb_shell import Command
from edgekit.devices.files import Write, write_whole
from edgekit.devices.limits import plain_words, short, too_slow
from edgekit.devices.shell_store import Sent, ShellStore, last_line

FOLDER = "/data/local/tmp/edgekit"
_STALL_SECONDS = 120  # a device that says nothing for so long is gone
_KILL_SECONDS = 10
# The server sends a command in one packet, and aborts if it is larger than the device takes: 4096
# bytes before Android 7, 256 KiB since.
_OLD_COMMAND_BYTES = 4000


class AdbDevice(ShellStore):
    """A phone or a board over adb; implements `edgekit.core.protocols.Device`.

    Args:
        address: ``adb:SERIAL``, ``adb://SERIAL`` or ``adb:``.

    Raises:
        UsageError: the address is not of that form, or the place of the server is not understood.
    """

    def __init__(self, address: str) -> None:
        # A device found by mDNS may have a blank in its serial.
        found = re.fullmatch(r"adb:(?://)?((?! )[^\t\n/]*)", address)
        if found is None:
            raise UsageError(
                f"{address!r} is not of the form adb:SERIAL", hint="adb devices lists the serials"
            )
        self._serial = found[1]
        super().__init__(f"adb:{self._serial}", FOLDER)
        self._server = AdbServer()
        self._features: frozenset[str] | None = None
        self._left: list[Command] = []  # what may run on there after the link was lost

    def __enter__(self) -> Self:
        """Looks for it, anew if the link was lost: then what ran at that time is ended there."""
        self._serial = self._server.choose(self._serial)
        self.address = f"adb:{self._serial}"
        self._features = self._server.features(self._serial)
        while self._left:
            self._kill(self._left[-1])
            self._left.pop()
        return self

    @property
    def left_running(self) -> bool:
        return bool(self._left)

    def __exit__(self, *exc: object) -> None:
        self._features = None

    @property
    def _v2(self) -> bool:
        if self._features is None:
            raise DeviceError(f"{self.address} is not connected")
        return "shell_v2" in self._features

    # -- running

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None
    ) -> CommandResult:
        words = plain_words(argv)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        name = short(words)
        try:
            if self._v2:
                return self._execute(words, stdin, deadline, name=name)
            return self._execute_by_files(words, stdin, deadline, name=name)
        except TimeoutError as exc:
            raise too_slow(name, timeout_seconds or 0) from exc

    def _execute_by_files(
        self, words: Sequence[str], stdin: bytes, deadline: float | None, *, name: str
    ) -> CommandResult:
        """`_execute` for a device without shell v2."""
        stderr_file = self.scratch()
        made = [stderr_file]
        stdin_file = "/dev/null"
        if stdin:
            stdin_file = self._put(stdin)
            made.append(stdin_file)
        try:
            return self._execute(words, b"", deadline, stdin_file, stderr_file, name=name)
        finally:
            for file in made:
                with contextlib.suppress(DeviceError):  # it goes when it is stale
                    self.remove(file)

    def _execute(
        self,
        words: Sequence[str],
        stdin: bytes,
        deadline: float | None,
        stdin_file: str = "/dev/null",
        stderr_file: str = "",
        *,
        name: str,
    ) -> CommandResult:
        """Run a command to its end, or end it.

        Raises:
            TimeoutError: the deadline passed.
            TransientDeviceError: the link was lost before the command ended.
        """
        v2 = self._v2
        command = Command(
            words,
            v2=v2,
            name=name,
            stdin_file="" if v2 else stdin_file,
            stderr_file="" if v2 else stderr_file,
        )
        if not v2 and len(os.fsencode(command.service)) > _OLD_COMMAND_BYTES:
            raise DeviceError(
                f"{name} is too long for {self.address}, whose adb takes {_OLD_COMMAND_BYTES} bytes"
            )
        try:
            with self._service(command.service) as connection:
                command.talk(connection, stdin, deadline)
        except TransientDeviceError:
            self._left.append(command)  # nothing can be stopped over a link that is gone
            raise
        except BaseException:  # too slow, too much output, Ctrl-C; perhaps before it has started
            self._kill(command)
            raise
        result = command.result()
        if result is None:
            self._left.append(command)
            raise lost(self.address, f"running {name}")
        return result

    def _kill(self, command: Command) -> None:
        """End a command that is running there, and what it started in its process group."""
        words = ["sh", "-c", scripts.KILL, "edgekit", command.mark, *command.pids]
        # The error that led here is the one to tell, not this one.
        with contextlib.suppress(TimeoutError, DeviceError):
            self._execute_script(words, time.monotonic() + _KILL_SECONDS)

    def _execute_script(self, words: Sequence[str], deadline: float) -> CommandResult:
        return self._execute(words, b"", deadline, name="a script of edgekit")

    @contextlib.contextmanager
    def _service(self, service: str) -> Iterator[Any]:
        connection = self._server.open(self._serial, service, timeout_seconds=_STALL_SECONDS)
        try:
            yield connection
        finally:
            connection.close()

    # -- files

    def _script(self, script: str, *arguments: str, allow: Sequence[int] = (0,)) -> tuple[int, str]:
        words = ["sh", "-c", script, "edgekit", *arguments]
        try:
            result = self._execute_script(words, time.monotonic() + _STALL_SECONDS)
        except TimeoutError as exc:
            raise lost(self.address, "looking after the store") from exc
        if result.exit_code not in allow:
            said = last_line(result.stderr or result.stdout)
            why = said or f"exit code {result.exit_code}"
            raise DeviceError(f"{self.address}: its store cannot be used: {why}")
        return result.exit_code, result.stdout

    def _upload(self, source: Path, part: str, size: int) -> Sent:
        with open(source, "rb") as reader:
            return Sent(self._send(self._counted(reader), part))

    def _counted(self, reader: IO[bytes]) -> Iterator[bytes]:
        while True:
            try:
                block = reader.read(adb_sync.CHUNK)
            except OSError as exc:
                raise InputError(f"cannot read {reader.name!r}: {exc.strerror}") from exc
            if not block:
                return
            self.pushed_bytes += len(block)
            yield block

    def _put(self, data: bytes) -> str:
        """A scratch file with that content."""
        path, step = self.scratch(), adb_sync.CHUNK
        why = self._send((data[i : i + step] for i in range(0, len(data), step)), path)
        if why:
            raise DeviceError(f"{self.address}: {path!r} cannot be written: {why}")
        return path

    def _send(self, blocks: Iterator[bytes], remote: str) -> str:
        with self._service("sync:") as connection, self._link_errors("uploading"):
            return adb_sync.send(connection, blocks, remote)

    def pull(self, remote: str, target: Path) -> None:
        write_whole(target, lambda write: self._receive(remote, write))

    def _receive(self, remote: str, write: Write) -> None:
        with self._service("sync:") as connection, self._link_errors("downloading"):
            try:
                adb_sync.receive(connection, remote, write)
            except DeviceError as exc:
                raise DeviceError(f"cannot read {remote!r} on {self.address}: {exc}") from exc

    @contextlib.contextmanager
    def _link_errors(self, doing: str) -> Iterator[None]:
        with translated(self.address, f"broke off while {doing}"):
            yield
