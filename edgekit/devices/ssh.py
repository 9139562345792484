"""A board over SSH.

    edgekit profile BUILD --on ssh://pi@raspberrypi.local
    edgekit profile BUILD --on ssh://pi            (a Host of ~/.ssh/config)

~/.ssh/config, the agent, key files and known_hosts are used as ssh(1) does; an unknown or changed
host key is refused. The board needs a POSIX shell and no SFTP: streams to and from a shell are
quicker, and every server has them. Files go to ``${XDG_CACHE_HOME:-$HOME/.cache}/edgekit`` there.
https://man.openbsd.org/ssh_config
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.protocols import CommandResult
from edgekit.devices import scripts
from edgekit.devices.files import Write, size_of, tar_blocks, write_whole
from edgekit.devices.limits import Output, full_disk, plain_words, short, too_slow
from edgekit.devices.shell_store import Sent, ShellStore, last_line
from edgekit.devices.ssh_config import parse_address
from edgekit.devices.ssh_connection import Connection, lost
from edgekit.devices.ssh_errors import translated

_CHUNK = 1 << 18
_RECONNECT_PAUSES_SECONDS = (0.2, 2, 5)  # a Wi-Fi link is back within seconds, or not soon
_STALL_SECONDS = 120  # a server that says nothing for so long is gone
_KILL_SECONDS = 10

_Sink = Callable[[str, bytes], None]


class SSHDevice(ShellStore):
    """A board over SSH; implements `edgekit.core.protocols.Device`.

    Args:
        address: ``ssh://[user@]host[:port]``.

    Raises:
        UsageError: the address is not of that form.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._parsed = parse_address(address)
        self._connection: Connection | None = None
        self._left: list[str] = []  # marks of what may run on there after the link was lost

    # -- connection

    def __enter__(self) -> Self:
        """Connects, anew if the link was lost: then what ran at that time is ended there."""
        self._connect()
        while self._left:
            self._kill(self._left[-1], Output("what was left"))
            self._left.pop()
        return self

    @property
    def left_running(self) -> bool:
        return bool(self._left)

    def __exit__(self, *exc: object) -> None:
        self._disconnect()

    def _connect(self) -> None:
        self._disconnect()
        self._connection = Connection(self._parsed)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _transport(self) -> Any:
        if self._connection is None:
            raise DeviceError(f"{self.address} is not connected")
        return self._connection.transport

    # -- running

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None
    ) -> CommandResult:
        words = plain_words(argv)
        output = Output(short(words))
        mark = f"edgekit:{secrets.token_hex(8)}"
        command = scripts.wrapped(scripts.RUN, [mark, *words])
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        doing = f"running {short(words)}"
        try:
            with self._channel(command, doing) as channel:
                self._feed(channel, [stdin] if stdin else (), deadline, doing)
                code = self._collect(channel, output.add, deadline, doing)
        except TransientDeviceError:
            self._left.append(mark)  # nothing can be stopped over a link that is gone
            raise
        except BaseException as exc:  # too slow, too much output, Ctrl-C; perhaps at its very start
            self._kill(mark, output)
            if isinstance(exc, TimeoutError):
                raise too_slow(short(words), timeout_seconds or 0) from exc
            raise
        stdout = re.sub(rf"\A.*?{mark}\n", "", output.text("stdout"), count=1, flags=re.DOTALL)
        stderr = re.sub(rf"{mark} \d+\n", "", output.text("stderr"), count=1)
        return CommandResult(exit_code=code, stdout=stdout, stderr=stderr)

    def _kill(self, mark: str, output: Output) -> None:
        """End a command that is running there, and what it started in its process group."""
        if self._connection is None or not self._connection.alive:
            return  # it cannot be reached: the runner ends by its own alarm
        pids = re.findall(rf"{mark} (\d+)\n", output.text("stderr"))[:1]
        command = scripts.wrapped(scripts.KILL, [mark, *pids])
        with self._channel(command, "stopping a command") as channel:
            deadline = time.monotonic() + _KILL_SECONDS
            # The error that led here is the one to tell, not this one.
            with contextlib.suppress(TimeoutError, TransientDeviceError):
                self._collect(channel, lambda *_: None, deadline, "stopping a command")

    @contextlib.contextmanager
    def _channel(self, command: str, doing: str) -> Iterator[Any]:
        transport = self._transport
        with self._link_errors(doing):  # not around the block: it has errors of its own
            channel = transport.open_session(timeout=_STALL_SECONDS)
            channel.exec_command(os.fsencode(command))
        try:
            yield channel
        finally:
            channel.close()

    def _link_errors(self, doing: str) -> contextlib.AbstractContextManager[None]:
        return translated(self.address, f"broke off while {doing}")

    def _feed(
        self, channel: Any, blocks: Iterable[bytes], deadline: float | None, doing: str
    ) -> None:
        """Give the command its standard input and close it.

        A command that ends without reading all of it is no error; its exit code tells.

        Raises:
            TimeoutError: the deadline passed.
            TransientDeviceError: nothing gets through any more.
        """
        try:
            for block in blocks:
                left = _left(deadline)
                channel.settimeout(_STALL_SECONDS if left is None else min(left, _STALL_SECONDS))
                channel.sendall(block)
            channel.shutdown_write()
        except TimeoutError as exc:
            _left(deadline)
            raise lost(self.address, doing) from exc
        except (OSError, EOFError):  # closed from there; _collect tells an end from a broken link
            return

    def _collect(self, channel: Any, sink: _Sink, deadline: float | None, doing: str) -> int:
        """Pass on all that the command prints and return its exit code.

        Raises:
            TimeoutError: the deadline passed.
            TransientDeviceError: the link broke.
        """
        streams = (
            ("stdout", channel.recv_ready, channel.recv),
            ("stderr", channel.recv_stderr_ready, channel.recv_stderr),
        )
        while True:
            ended = channel.closed or channel.eof_received  # before looking: what came first counts
            some = False
            for name, ready, receive in streams:
                if ready():
                    sink(name, receive(_CHUNK))
                    some = True
            left = _left(deadline)
            if some:
                continue
            if ended:
                break
            select.select([channel], [], [], left)
        while not channel.status_event.wait(_left(deadline)):
            pass
        ended_by = getattr(channel, "exit_signal", None)
        if ended_by is not None:
            return -_signal_number(ended_by)
        if channel.exit_status < 0:
            raise lost(self.address, doing)
        return int(channel.exit_status)

    def _script(
        self,
        script: str,
        *arguments: str,
        allow: Sequence[int] = (0,),
        stdin: Iterable[bytes] = (),
    ) -> tuple[int, str]:
        """Run one of edgekit's own shell scripts; its exit code and what it printed.

        Raises:
            DeviceError: it failed with a code that is not in `allow`.
        """
        output = Output("a script of edgekit")
        doing = "looking after the store"
        deadline = time.monotonic() + _STALL_SECONDS
        with self._channel(scripts.wrapped(script, arguments), doing) as channel:
            try:
                self._feed(channel, stdin, None if stdin else deadline, doing)
                deadline = time.monotonic() + _STALL_SECONDS
                code = self._collect(channel, output.add, deadline, doing)
            except TimeoutError as exc:
                raise lost(self.address, doing) from exc
        if code not in allow:
            why = last_line(output.text("stderr")) or f"exit code {code}"
            raise DeviceError(f"{self.address}: its store cannot be used: {why}")
        return code, output.text("stdout")

    # -- files

    def push_all(self, files: Sequence[tuple[Path, str]]) -> list[str]:
        if len(files) < 2:
            return [self.push(source, sha256) for source, sha256 in files]
        store = self._store
        sizes = {sha256: size_of(source) for source, sha256 in files}
        targets = [f"{store}/objects/{sha256}" for _, sha256 in files]
        self._in_use.update(targets)
        listing = "".join(f"{sha256}\n" for sha256 in sizes).encode()
        _, answer = self._script(scripts.LOOK_ALL, store, stdin=[listing])
        there = set(re.findall(r"^edgekit:have ([0-9a-f]{64} \d+)$", answer, re.MULTILINE))
        todo = {d: source for source, d in files if f"{d} {sizes[d]}" not in there}
        if not todo:
            return targets
        needed, free = sum(sizes[sha256] for sha256 in todo), scripts.free_bytes(answer)
        if free is not None and free < needed:
            raise full_disk(self.address, free, needed, store)
        together = "edgekit:together" in answer
        if not (together and self._push_together(todo, sizes)):
            for sha256, source in todo.items():  # one after the other tells which it was
                self.push(source, sha256)
        self.trim()
        return targets

    def _push_together(self, files: Mapping[str, Path], sizes: Mapping[str, int]) -> bool:
        """Send `files` (by SHA-256) in one stream; False if they did not all arrive as they are."""
        code, _ = self._script(
            scripts.PUSH_ALL,
            *(self._store, self.scratch(), str(len(files))),
            allow=(0, 3, 4),
            stdin=tar_blocks(files, sizes, _CHUNK),
        )
        self.pushed_bytes += sum(sizes[sha256] for sha256 in files)
        return code == 0

    def _upload(self, source: Path, part: str, size: int) -> Sent:
        """Send a file, going on where it stopped if the link breaks and comes back."""
        offset, pauses = 0, list(_RECONNECT_PAUSES_SECONDS)
        while True:
            try:
                if self._connection is None:
                    self._connect()
                    _, text = self._script(scripts.SIZE, part)
                    offset = min(int(text), size)
                with open(source, "rb") as reader:
                    reader.seek(offset)
                    return self._send(reader, part)
            except TransientDeviceError:
                self._disconnect()
                if not pauses:
                    raise
                time.sleep(pauses.pop(0))

    def _send(self, reader: IO[bytes], part: str) -> Sent:
        """What is left of a file, to the end of `part`."""
        output = Output("cat")
        with self._channel(scripts.wrapped(scripts.APPEND, [part]), "uploading") as channel:
            self._feed(channel, self._counted(reader), None, "uploading")
            code = self._collect(channel, output.add, None, "uploading")
        digest = re.search(r"^[0-9a-f]{64}\b", output.text("stdout"), re.MULTILINE)
        why = last_line(output.text("stderr")) or (f"exit code {code}" if code else "")
        return Sent(why, digest[0] if digest else "")

    def _counted(self, reader: IO[bytes]) -> Iterator[bytes]:
        while block := reader.read(_CHUNK):
            self.pushed_bytes += len(block)
            yield block

    def pull(self, remote: str, target: Path) -> None:
        write_whole(target, lambda write: self._read(remote, write))

    def _read(self, remote: str, write: Write) -> None:
        errors, before = Output("cat"), b""
        begun = False

        def sink(stream: str, data: bytes) -> None:
            nonlocal before, begun
            if stream == "stderr":
                errors.add(stream, data)
            elif begun:
                write(data)
            else:
                before = (before + data)[-_CHUNK:]
                _, mark, data = before.partition(scripts.BEGIN.encode())
                if mark:
                    begun = True
                    write(data)

        with self._channel(scripts.wrapped(scripts.READ, [remote]), "downloading") as channel:
            self._feed(channel, (), None, "downloading")
            code = self._collect(channel, sink, None, "downloading")
        if code or not begun:
            why = last_line(errors.text("stderr")) or f"exit code {code}"
            raise DeviceError(f"cannot read {remote!r} on {self.address}: {why}")


def _left(deadline: float | None) -> float | None:
    """Seconds until the deadline. Raises TimeoutError when it has passed."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _signal_number(name: str) -> int:
    """RFC 4254 names signals without SIG."""
    try:
        return int(signal.Signals[f"SIG{name}"])
    except KeyError as exc:
        raise DeviceError(f"the command was ended by a signal called {name!r}") from exc
