"""A command in a device's shell over adb: its streams, how it ended, and whether it did.

With the protocol "shell v2" (Android 7 and newer) standard input, output and error each have their
packets: one byte of kind, four of length (little-endian), then the bytes. Before it there is only
``exec:``, a plain stream both ways whose one half cannot be closed.
https://android.googlesource.com/platform/packages/modules/adb/+/refs/heads/main/shell_protocol.h
"""

from __future__ import annotations

import re
import secrets
import select
import struct
import time
from collections.abc import Sequence
from typing import Any

from edgekit.core.protocols import CommandResult
from edgekit.devices import scripts
from edgekit.devices.limits import Output

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_STREAMS = {_STDOUT: "stdout", _STDERR: "stderr"}
_HEADER = struct.Struct("<BI")
_CHUNK = 1 << 16


class Command:
    """One command: what to ask adbd for, and what became of it.

    Args:
        words: the command.
        v2: whether the device speaks shell v2.
        stdin_file, stderr_file: files on the device; without shell v2, where standard input comes
            from and standard error goes to. Without `stderr_file` it is joined with the output.
        name: for error messages.
    """

    def __init__(
        self, words: Sequence[str], *, v2: bool, name: str, stdin_file: str, stderr_file: str
    ) -> None:
        self._v2 = v2
        nonce = secrets.token_hex(8)
        self.mark = f"edgekit:{nonce}"  # in its notes, and in its environment there
        self._notes = "stderr" if v2 else "stdout"
        self._output = Output(name)
        self._bytes = b""
        fd = "2" if v2 else "1"
        arguments = [nonce, fd, stdin_file, stderr_file, scripts.RUN_INNER, *words]
        line = scripts.wrapped(scripts.RUN_OUTER, arguments)
        self.service = f"shell,v2,raw:{line}" if v2 else f"exec:{line}"

    def talk(self, connection: Any, stdin: bytes, deadline: float | None) -> None:
        """Send `stdin` (with shell v2) and collect what comes until the other side closes.

        Raises:
            TimeoutError: `deadline` (of time.monotonic()) has passed.
            DeviceError: it prints too much.
        """
        to_send = memoryview(_packets(stdin) if self._v2 else b"")
        sock = connection.conn
        sock.setblocking(False)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            readable, writable, _ = select.select([sock], [sock] if to_send else [], [], left)
            if writable:
                try:
                    to_send = to_send[sock.send(to_send[:_CHUNK]) :]
                except BlockingIOError:
                    continue
                except OSError:  # closed from there; what it said before that can still be read
                    to_send = memoryview(b"")
            if readable:
                try:
                    data = sock.recv(_CHUNK)
                except BlockingIOError:
                    continue
                except OSError:  # reset; `result` tells an end from a broken link
                    return
                if not data or not self._take(data):
                    return

    def _take(self, data: bytes) -> bool:
        """Sort what has arrived; False after the packet that is the last."""
        if not self._v2:
            self._output.add("stdout", data)
            return True
        self._bytes += data
        while len(self._bytes) >= _HEADER.size:
            kind, size = _HEADER.unpack_from(self._bytes)
            if len(self._bytes) < _HEADER.size + size:
                break
            payload = self._bytes[_HEADER.size : _HEADER.size + size]
            self._bytes = self._bytes[_HEADER.size + size :]
            if kind == _EXIT:
                return False
            if kind in _STREAMS:
                self._output.add(_STREAMS[kind], payload)
        return True

    @property
    def pids(self) -> list[str]:
        """The two process ids there, the command's own first; none until both have been told."""
        told = self._output.text(self._notes)
        found = re.findall(rf"{self.mark}:pid (\d+)\n", told)[::-1]
        return found if len(found) == 2 else []

    def result(self) -> CommandResult | None:
        """How it ended; None if the link was lost before it did."""
        mark = self.mark
        texts = {name: self._output.text(name) for name in _STREAMS.values()}
        notes = re.sub(rf"{mark}:pid \d+\n", "", texts[self._notes], count=2)
        end = re.search(
            rf"{mark}:end\n(?P<said>.*?)code (?P<code>\d+)\n(?P<rest>.*?){mark}:over\n",
            notes,
            flags=re.DOTALL,
        )
        if end is None:
            return None
        texts[self._notes] = notes[: end.start()] + notes[end.end() :]
        rest = end["rest"].removeprefix(f"{mark}:stderr\n")
        texts["stderr"] += rest
        code = int(end["code"])
        if code > 128 and end["said"].strip():
            code = 128 - code
        return CommandResult(exit_code=code, stdout=texts["stdout"], stderr=texts["stderr"])


def _packets(stdin: bytes) -> bytes:
    """All of standard input, and that it ends."""
    parts = []
    for start in range(0, len(stdin), _CHUNK):
        block = stdin[start : start + _CHUNK]
        parts += [_HEADER.pack(_STDIN, len(block)), block]
    return b"".join([*parts, _HEADER.pack(_CLOSE_STDIN, 0)])
