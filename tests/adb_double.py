"""A test double for a phone's adbd, and a real adb server of the tests' own to reach it through.

The double speaks the wire protocol (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE) over TCP with the services
shell, exec and sync, runs commands on this computer, and can be told to fail.
https://android.googlesource.com/platform/packages/modules/adb/+/refs/heads/main/docs/dev/protocol.md
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO

import pytest

from tests.sshd import free_port

_WIDTH = 1 << 16
_MAX_DATA = 1 << 20
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_AUTH_TOKEN = 1
_LOOK_MS = 50  # how often a silent pipe looks whether the host is still there


def _number(name: bytes) -> int:
    return int(struct.unpack("<I", name)[0])


class AdbDouble:
    """One device. Its behaviour may be changed at any time.

    Attributes:
        features: what it says that it can do.
        lets_in: False: the host's key is never accepted, as when nobody presses Allow.
        kind: what it is: a "device" that has booted, or "recovery", "sideload", "bootloader".
        answers: False: it takes connections and says nothing.
        cut_after: bytes from the host, as `received` counts, after which the link is cut once.
        received: bytes from the host so far.
        connections: how many there have been.
        services: what was opened, in order.
        shell, path: the shell that runs commands, and PATH there.
        session: whether a command leads a session of its own, as with adbd.
    """

    def __init__(self, *, shell: str = "/bin/sh", path: str = os.environ["PATH"]) -> None:
        self.kind = "device"
        self.features = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
        self.lets_in = self.answers = self.session = True
        self.cut_after: int | None = None
        self.received = self.connections = 0
        self.services: list[str] = []
        self.shell, self.path = shell, path
        self._links: list[_Link] = []
        # Not one that the kernel gives to connections: it must be free when the phone comes back.
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepts = self._accepting()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accepting(self) -> threading.Thread:
        thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            link = _Link(self, sock)
            self._links.append(link)
            threading.Thread(target=link.serve, daemon=True).start()

    def drop(self) -> None:
        """Cut every connection, as when the cable is pulled."""
        while self._links:
            self._links.pop().cut()

    def leave(self) -> None:
        """Be out of reach until `come_back`."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepts.join()  # it would take connections of a socket that gets the same number
        self._listener.close()
        self.drop()

    def come_back(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepts = self._accepting()


class _Link:
    """One connection of the adb server."""

    def __init__(self, double: AdbDouble, sock: socket.socket) -> None:
        self.double, self._sock = double, sock
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._next = 1
        self.max_data = 4096

    def send(self, name: bytes, first: int, second: int, data: bytes = b"") -> None:
        command = _number(name)
        head = struct.pack(
            "<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF
        )
        with self._sending, contextlib.suppress(OSError):  # `serve` notices that it is cut
            self._sock.sendall(head + data)

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            block = self._sock.recv(size - len(data))
            if not block:
                raise EOFError
            data += block
            self.double.received += len(block)
            limit = self.double.cut_after
            if limit is not None and self.double.received > limit:
                self.double.cut_after = None
                self.cut()
                raise EOFError
        return bytes(data)

    def serve(self) -> None:
        try:
            while True:
                head = self._read(24)
                first, second, size = struct.unpack("<4xIII8x", head)
                self._handle(head[:4], first, second, self._read(size))
        except (EOFError, OSError):
            pass  # the host has gone, or the link was cut
        finally:
            for stream in list(self._streams.values()):
                stream.end()
            self.cut()

    def _handle(self, name: bytes, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        if not self.double.answers:
            return
        if name == b"CNXN":
            self.max_data = min(second, _MAX_DATA)
            if self.double.lets_in:
                text = (
                    f"{self.double.kind}::ro.product.model=double;features={self.double.features}"
                )
                self.send(b"CNXN", 0x01000001, _MAX_DATA, text.encode())
            else:
                self.send(b"AUTH", _AUTH_TOKEN, 0, os.urandom(20))
        elif name == b"AUTH" and second == 0 and first == 2:  # signed with a key it does not know
            self.send(b"AUTH", _AUTH_TOKEN, 0, os.urandom(20))
        elif name == b"OPEN":
            number, self._next = self._next, self._next + 1
            self._streams[number] = _Stream(self, number, first)
            service = data.rstrip(b"\0").decode()
            self.double.services.append(service)
            arguments = (self._streams[number], service)
            threading.Thread(target=self._serve_stream, args=arguments, daemon=True).start()
        elif stream is not None and name == b"WRTE":
            stream.incoming.put(data)
        elif stream is not None and name == b"OKAY":
            stream.taken.release()
        elif stream is not None and name == b"CLSE":
            stream.end()

    def _serve_stream(self, stream: _Stream, service: str) -> None:
        head, _, rest = service.partition(":")
        kind, *options = head.split(",")
        serve: Callable[[], None] | None = None
        if kind == "shell" and "v2" in options and "shell_v2" in self.double.features:
            serve = lambda: _shell(stream, rest, v2=True)  # noqa: E731
        elif kind == "exec":
            serve = lambda: _shell(stream, rest, v2=False)  # noqa: E731
        elif kind == "sync":
            serve = lambda: _sync(stream)  # noqa: E731
        if serve is None:
            self.send(b"CLSE", 0, stream.remote)
            return
        self.send(b"OKAY", stream.local, stream.remote)
        try:
            serve()
        except (EOFError, BrokenPipeError):
            pass  # the host has closed it
        finally:
            stream.close()
            self._streams.pop(stream.local, None)


class _Stream:
    """A service that the host has opened."""

    def __init__(self, link: _Link, local: int, remote: int) -> None:
        self._link, self.local, self.remote = link, local, remote
        self.incoming: queue.Queue[bytes | None] = queue.Queue()
        self.taken = threading.Semaphore(0)
        self.ended = False
        self._rest = b""

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), self._link.max_data):
            if self.ended:
                raise BrokenPipeError
            part = data[start : start + self._link.max_data]
            self._link.send(b"WRTE", self.local, self.remote, part)
            self.taken.acquire()
        if self.ended:
            raise BrokenPipeError

    def some(self) -> bytes:
        data = self.incoming.get()
        if data is None:
            raise EOFError
        self._link.send(b"OKAY", self.local, self.remote)
        return data

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._rest += self.some()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def end(self) -> None:
        """The host has closed it, or is gone."""
        self.close()
        self.incoming.put(None)
        self.taken.release()

    def close(self) -> None:
        if not self.ended:
            self.ended = True
            self._link.send(b"CLSE", self.local, self.remote)


def _shell(stream: _Stream, command: str, *, v2: bool) -> None:
    double = stream._link.double
    process = subprocess.Popen(
        [double.shell, "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
        env={"PATH": double.path, "HOME": "/", "TMPDIR": "/data/local/tmp"},
        start_new_session=double.session,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def feed() -> None:
        assert process.stdin is not None
        with contextlib.suppress(EOFError, OSError, ValueError), process.stdin:
            while v2:
                kind, size = struct.unpack("<BI", stream.read(5))
                data = stream.read(size)
                if kind == _CLOSE_STDIN:
                    return
                process.stdin.write(data)
                process.stdin.flush()
            while True:
                process.stdin.write(stream.some())
                process.stdin.flush()

    def tell(kind: int, pipe: IO[bytes]) -> None:
        # A pipe that says nothing is closed as well when the host has gone, as adbd does: the
        # command's next word then fails.
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        with contextlib.suppress(BrokenPipeError), pipe:
            while not stream.ended:
                if not waiting.poll(_LOOK_MS):
                    continue
                data = os.read(pipe.fileno(), _WIDTH)
                if not data:
                    return
                with writing:
                    stream.write(struct.pack("<BI", kind, len(data)) + data if v2 else data)

    writing = threading.Lock()
    feeder = threading.Thread(target=feed, daemon=True)
    pipes = [(_STDOUT, process.stdout), *([(_STDERR, process.stderr)] if process.stderr else [])]
    tellers = [threading.Thread(target=tell, args=pair, daemon=True) for pair in pipes]
    for thread in (feeder, *tellers):
        thread.start()
    for thread in tellers:
        thread.join()
    code = process.wait()
    if v2:
        stream.write(struct.pack("<BIB", _EXIT, 1, code if code >= 0 else 128 - code))
    stream.end()  # so that the feeder ends
    feeder.join()


def _sync(stream: _Stream) -> None:
    def fail(exc: OSError) -> None:
        text = f"failed: {exc.strerror}".encode()
        stream.write(b"FAIL" + struct.pack("<I", len(text)) + text)

    while True:
        kind, size = struct.unpack("<4sI", stream.read(8))
        if kind == b"QUIT":
            return
        path = stream.read(size).decode()
        if kind == b"SEND":
            _take_file(stream, path.rpartition(",")[0], fail)
        elif kind == b"RECV":
            try:
                with open(path, "rb") as file:
                    while data := file.read(_WIDTH):
                        stream.write(b"DATA" + struct.pack("<I", len(data)) + data)
            except BrokenPipeError:
                raise
            except OSError as exc:
                fail(exc)
            else:
                stream.write(b"DONE" + bytes(4))
        else:
            raise AssertionError(f"the double does not know {kind!r}")


def _take_file(stream: _Stream, path: str, fail: Callable[[OSError], None]) -> None:
    error: OSError | None = None
    try:
        file = open(path, "wb", buffering=0)  # noqa: SIM115 - what comes has to be read anyway
    except OSError as exc:
        error, file = exc, open(os.devnull, "wb", buffering=0)  # noqa: SIM115
    with file:
        while True:
            kind, size = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            data = stream.read(size)
            try:
                while data and error is None:
                    data = data[file.write(data) :]
            except OSError as exc:
                error = exc
    if error is None:
        stream.write(b"OKAY" + bytes(4))
    else:
        fail(error)


def link_phones_programs(folder: Path) -> Path:
    """Make `folder` with what a phone has: toybox by all its names, and mksh as sh."""
    folder.mkdir()
    for package in ("mksh", "toybox"):
        if shutil.which(package) is None:
            pytest.skip(f"needs the shell and the programs of a phone: Debian package {package}")
    names = subprocess.run(["toybox"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        (folder / name).symlink_to(shutil.which("toybox") or "")
    (folder / "sh").unlink(missing_ok=True)
    (folder / "sh").symlink_to(shutil.which("mksh") or "")
    return folder


class RealServer:
    """adb 36, which adbutils brings, as a server of the tests' own: no USB, no emulators.

    Args:
        folder: its home, where it keeps its key.
    """

    def __init__(self, folder: Path) -> None:
        self.program = str(files("adbutils.binaries") / "adb")
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PATH": os.environ["PATH"],
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
            "ADB_USB": "0",
            "ADB_MDNS": "0",
        }
        self._log, self.port = folder / "adb.log", 0
        for _ in range(5):  # another test may take the port between the look and the start
            self.port = free_port()
            if self.start():
                return
        raise AssertionError(f"adb does not start: {self._log.read_text()}")

    def start(self) -> bool:
        """Whether it answers at its port."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [self.program, "-P", str(self.port), "--one-device", "none", "server", "nodaemon"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self._answers()

    def _answers(self) -> bool:
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.ask("host:version")
                return self._process.poll() is None
            time.sleep(0.05)
        self.stop()
        return False

    def ask(self, command: str) -> str:
        """What it answers to a command that it answers with a text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as link:
            link.sendall(b"%04x" % len(command) + command.encode())
            answer = link.makefile("rb")
            said = answer.read(4)
            assert said == b"OKAY", said + answer.read()
            return answer.read(int(answer.read(4), 16)).decode()

    def state(self, serial: str) -> str:
        lines = (line.split("\t") for line in self.ask("host:devices").splitlines())
        return dict(lines).get(serial, "")  # type: ignore[arg-type]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def known_to(server: RealServer, double: AdbDouble) -> Iterator[AdbDouble]:
    """The double for as long as it is needed; then the server forgets it."""
    try:
        yield double
    finally:
        if server.state(double.serial):  # before it leaves, or the server would wait for it
            try:
                server.ask(f"host:disconnect:{double.serial}")
            except AssertionError:  # it has forgotten it by itself meanwhile
                assert not server.state(double.serial)
        double.leave()
