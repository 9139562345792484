"""Files to and from a device with adb's sync service.

adbutils has this too, but drops what the device says when it refuses, sends 4 KiB at a time, and
makes an empty folder of a file that is not there.
https://android.googlesource.com/platform/packages/modules/adb/+/refs/heads/main/docs/dev/sync.md
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import time
from collections.abc import Iterable
from typing import Any

from edgekit.core.errors import DeviceError
from edgekit.devices.files import Write

CHUNK = 1 << 16  # the most that a packet may hold
_HEADER = struct.Struct("<4sI")
_MODE = stat.S_IFREG | 0o644


def send(connection: Any, blocks: Iterable[bytes], remote: str) -> str:
    """Write `blocks`, each of at most `CHUNK` bytes, to a new file.

    Returns:
        What the device said if it did not take all of it.

    Raises:
        EOFError, OSError: the link broke.
    """
    sock = connection.conn
    path = os.fsencode(f"{remote},{_MODE}")
    sock.sendall(_HEADER.pack(b"SEND", len(path)) + path)
    refused = None
    try:
        for block in blocks:
            sock.sendall(_HEADER.pack(b"DATA", len(block)) + block)
        sock.sendall(_HEADER.pack(b"DONE", int(time.time())))
    except (BrokenPipeError, ConnectionResetError) as exc:
        refused = exc  # what it said before it closed may still be there
    try:
        kind, size = _HEADER.unpack(connection.read_exact(_HEADER.size))
        if kind == b"FAIL":
            return _text(connection.read_exact(size)) or "it does not say why"
    except (EOFError, OSError) as exc:
        raise (refused or exc) from exc
    return "" if kind == b"OKAY" else f"it answered {kind!r}"


def receive(connection: Any, remote: str, write: Write) -> None:
    """Pass the content of a file to `write`.

    Raises:
        DeviceError: it cannot be read; the message is the device's alone.
        EOFError, OSError: the link broke.
    """
    sock = connection.conn
    path = os.fsencode(remote)
    sock.sendall(_HEADER.pack(b"RECV", len(path)) + path)
    while True:
        kind, size = _HEADER.unpack(connection.read_exact(_HEADER.size))
        if kind == b"DATA":
            write(connection.read_exact(size))
        elif kind == b"DONE":
            with contextlib.suppress(OSError):
                sock.sendall(_HEADER.pack(b"QUIT", 0))
            return
        elif kind == b"FAIL":
            raise DeviceError(_text(connection.read_exact(size)))
        else:
            raise DeviceError(f"it answered {kind!r}")


def _text(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())[:300]
