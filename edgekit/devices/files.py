"""Files that go to a device or come from one."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from edgekit.core.errors import InputError
from edgekit.core.files import unwritable

Write = Callable[[bytes], object]


def write_whole(target: Path, fill: Callable[[Write], None]) -> None:
    """Make `target` from the blocks that `fill` passes to its argument, whole or not at all.

    Raises:
        OutputError: it cannot be written here.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".pull.")
    except OSError as exc:
        raise unwritable(target, exc) from exc
    try:
        with os.fdopen(handle, "wb") as file:

            def write(block: bytes) -> None:
                try:
                    file.write(block)
                except OSError as exc:
                    raise unwritable(target, exc) from exc

            fill(write)
        try:
            os.replace(name, target)
        except OSError as exc:
            raise unwritable(target, exc) from exc
    finally:
        Path(name).unlink(missing_ok=True)


def size_of(source: Path) -> int:
    """In bytes.

    Raises:
        InputError: there is no such file, or it may not be read.
    """
    try:
        return source.stat().st_size
    except OSError as exc:
        raise InputError(f"cannot read {str(source)!r}: {exc.strerror}") from exc


def tar_blocks(
    files: Mapping[str, Path], sizes: Mapping[str, int], block_bytes: int
) -> Iterator[bytes]:
    """A tar archive (POSIX.1-1988 ustar, which every tar reads) of plain files by the names they
    shall have in it, in blocks of about `block_bytes`.

    `sizes` of the files when they were looked at: one that is shorter now is filled up with zeros,
    one that is longer is cut; its digest tells.

    Raises:
        InputError: a file cannot be read.
    """
    waiting: list[bytes] = []
    count = 0
    for name, path in files.items():
        header = tarfile.TarInfo(name)
        header.size = sizes[name]
        try:
            with open(path, "rb") as file:
                data = file.read(header.size)
        except OSError as exc:
            raise InputError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
        whole = -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        waiting += [header.tobuf(tarfile.USTAR_FORMAT), data.ljust(whole, b"\0")]
        count += tarfile.BLOCKSIZE + whole
        if count >= block_bytes:
            yield b"".join(waiting)
            waiting, count = [], 0
    yield b"".join([*waiting, bytes(2 * tarfile.BLOCKSIZE)])
