"""This computer as a device.

    edgekit profile BUILD --on local

Its store is the folder ``device`` in edgekit's cache folder, so that the same steps happen as on a
board.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from edgekit.core.errors import DeviceError, InputError, UsageError
from edgekit.core.eviction import StoreUsage, evict, usage_of
from edgekit.core.locate import cache_dir
from edgekit.core.protocols import CommandResult
from edgekit.devices.files import Write, size_of, write_whole
from edgekit.devices.limits import (
    STALE_MINUTES,
    Output,
    full_disk,
    plain_words,
    short,
    store_limit_bytes,
    too_slow,
)

_CHUNK = 1 << 20


class LocalDevice:
    """This computer; implements `edgekit.core.protocols.Device`.

    Args:
        address: always ``local``.
        root: folder of the store; inside edgekit's cache folder if not given.
    """

    def __init__(self, address: str = "local", *, root: Path | None = None) -> None:
        if address != "local":
            raise UsageError(f"{address!r}: this computer is called local and nothing else")
        self.address = address
        self.pushed_bytes = 0
        self.left_running = False
        self._root = root or cache_dir() / "device"
        self._limit_bytes = store_limit_bytes()
        self._in_use: set[Path] = set()

    @property
    def store_folder(self) -> str:
        """See `Device.store_folder`."""
        return str(self._root)

    @property
    def _objects(self) -> Path:
        return self._root / "objects"

    @property
    def _scratch(self) -> Path:
        return self._root / "scratch"

    def __enter__(self) -> Self:
        for folder in (self._objects, self._scratch):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise DeviceError(f"cannot make {str(folder)!r}: {exc.strerror}") from exc
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None
    ) -> CommandResult:
        words = plain_words(argv)
        with tempfile.TemporaryFile() as source:  # no pipe: the child may read it or leave it
            source.write(stdin)
            source.seek(0)
            try:
                process = subprocess.Popen(
                    words,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except FileNotFoundError:  # what a shell on a board answers
                return CommandResult(exit_code=127, stdout="", stderr=f"{words[0]}: not found")
            except OSError as exc:
                if exc.errno == errno.EACCES and "/" not in words[0] and not shutil.which(words[0]):
                    # Only a folder of PATH was closed to us; the program is nowhere.
                    return CommandResult(exit_code=127, stdout="", stderr=f"{words[0]}: not found")
                if exc.errno in (errno.EACCES, errno.ENOEXEC, errno.EISDIR):
                    text = f"{words[0]}: {exc.strerror}"
                    return CommandResult(exit_code=126, stdout="", stderr=text)
                raise DeviceError(f"cannot run {short(words)}: {exc.strerror}") from exc
        output = Output(short(words))
        try:
            return _collect(process, output, timeout_seconds, words)
        except BaseException:  # too slow, too much output, or Ctrl-C: nothing is left running
            _kill(process)
            raise

    def push(self, source: Path, sha256: str) -> str:
        target = self._objects / sha256
        size = size_of(source)
        self._in_use.add(target)
        if target.is_file() and target.stat().st_size == size:
            os.utime(target)  # the time of last use, for trim
            return str(target)
        self._remove_stale()
        free = shutil.disk_usage(self._objects).free
        if free < size:
            raise full_disk(self.address, free, size, str(self._root))
        self._copy_in(source, target, size, sha256)
        self.trim()
        return str(target)

    def push_all(self, files: Sequence[tuple[Path, str]]) -> list[str]:
        return [self.push(source, sha256) for source, sha256 in files]

    def _copy_in(self, source: Path, target: Path, size: int, sha256: str) -> None:
        part = Path(self.scratch())
        digest = hashlib.sha256()
        try:
            with open(source, "rb") as reader, open(part, "xb") as writer:
                while block := reader.read(_CHUNK):
                    digest.update(block)
                    writer.write(block)
                    self.pushed_bytes += len(block)
            if digest.hexdigest() != sha256:
                raise InputError(
                    f"{str(source)!r} has SHA-256 {digest.hexdigest()[:12]}…, not {sha256[:12]}…: "
                    "it was changed"
                )
            os.replace(part, target)
        except OSError as exc:
            if exc.errno == errno.ENOSPC:
                part.unlink(missing_ok=True)
                free = shutil.disk_usage(self._objects).free
                raise full_disk(self.address, free, size, str(self._root)) from exc
            raise DeviceError(
                f"cannot copy {str(source)!r} into {str(self._root)!r}: {exc.strerror}"
            ) from exc
        finally:
            part.unlink(missing_ok=True)

    def pull(self, remote: str, target: Path) -> None:
        def fill(write: Write) -> None:
            try:
                with open(remote, "rb") as source:
                    while block := source.read(_CHUNK):
                        write(block)
            except OSError as exc:
                raise DeviceError(
                    f"cannot read {remote!r} on {self.address}: {exc.strerror}"
                ) from exc

        write_whole(target, fill)

    def scratch(self) -> str:
        return str(self._scratch / f"{os.getpid()}-{time.monotonic_ns()}-{os.urandom(4).hex()}")

    def remove(self, remote: str) -> None:
        path = Path(remote)
        inside = path.parent in (self._objects, self._scratch) and path.name not in ("", "..")
        if not inside:
            raise UsageError(f"{remote!r} is not a file in the store {str(self._root)!r}")
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise DeviceError(f"cannot remove {remote!r}: {exc.strerror}") from exc

    def usage(self) -> StoreUsage:
        return usage_of(self._files())

    def trim(self, limit_bytes: int | None = None) -> StoreUsage:
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        return evict(
            self._files(),
            limit,
            in_use=self._in_use.__contains__,
            remove=lambda path: self.remove(str(path)),
        )

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size in bytes and path of each file in the store."""
        found = []
        for path in self._objects.glob("*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process has just removed it
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _remove_stale(self) -> None:
        oldest = time.time() - 60 * STALE_MINUTES
        for path in self._scratch.glob("*"):
            try:
                if path.is_file() and path.stat().st_mtime < oldest:  # a folder is a lock
                    path.unlink()
            except FileNotFoundError:
                continue


def _collect(
    process: subprocess.Popen[bytes], output: Output, timeout: float | None, words: list[str]
) -> CommandResult:
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = None if timeout is None else time.monotonic() + timeout

    def left() -> float | None:
        if deadline is None or timeout is None:
            return None
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise too_slow(short(words), timeout)
        return seconds

    with process.stdout, process.stderr, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, "stdout")
        selector.register(process.stderr, selectors.EVENT_READ, "stderr")
        while selector.get_map():
            for key, _ in selector.select(left()):
                data = os.read(key.fd, 1 << 16)
                if data:
                    output.add(key.data, data)
                else:
                    selector.unregister(key.fileobj)
        try:
            code = process.wait(left())
        except subprocess.TimeoutExpired as exc:
            raise too_slow(short(words), timeout or 0) from exc
    return CommandResult(exit_code=code, stdout=output.text("stdout"), stderr=output.text("stderr"))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the command and all that it started in its session."""
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself just now
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
