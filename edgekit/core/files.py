"""Files: digests, atomic writes, and paths that stay where they belong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.core.errors import OutputError

ZIP_LEVEL = 6  # what zip does unless told otherwise


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; constant memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def zipped_bytes(path: Path) -> int:
    """A file's size after deflate at level 6, as in a zip or an app's download; constant memory."""
    packer = zlib.compressobj(ZIP_LEVEL, wbits=-zlib.MAX_WBITS)
    size = 0
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


def sha256_path(path: Path) -> str:
    """SHA-256 of a file, or of a folder's sorted relative names and file digests."""
    if path.is_file():
        return sha256_file(path)
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode())
    return total.hexdigest()


def sha256_with(path: Path, beside: Sequence[str]) -> str:
    """SHA-256 of a file; of names and digests of all where it has files beside it."""
    if not beside:
        return sha256_file(path)
    total = hashlib.sha256(f"{sha256_file(path)}\n".encode())
    for name in beside:
        total.update(f"{name}\0{sha256_file(path.parent / name)}\n".encode())
    return total.hexdigest()


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8, atomically. Raises OutputError like `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes, *, hint: str = "") -> None:
    """Write all of `data` or nothing: to a temporary name beside it, then rename.

    Raises:
        OutputError: the folder cannot be written; with `hint`, if one is given.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as exc:
        raise unwritable(path, exc, hint=hint) from exc
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as exc:
        Path(name).unlink(missing_ok=True)
        raise unwritable(path, exc, hint=hint) from exc


def check_file(path: Path, *, hint: str) -> None:
    """Raise OutputError if `write_text` could not write `path`; nothing is left there."""
    if path.is_dir():
        raise OutputError(f"{str(path)!r} is a folder, not a file", hint=hint)
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:
        handle, name = tempfile.mkstemp(dir=parent, prefix=".edgekit.")
    except OSError as exc:
        raise unwritable(path, exc, hint=hint) from exc
    os.close(handle)
    Path(name).unlink()


def write_json(path: Path, data: Any) -> None:
    """`data` as indented JSON, atomically. Raises OutputError like `write_bytes`."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def unwritable(path: Path, exc: OSError, *, hint: str = "") -> OutputError:
    """The error for a place that cannot be written."""
    return OutputError(
        f"cannot write {str(path)!r}: {exc.strerror or exc}",
        hint=hint or "choose another place with -o, or free some space",
    )


@contextlib.contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """A scratch folder that becomes `target` when the block ends well, and vanishes otherwise.

    An older `target` is replaced as a whole, so nothing half-written is ever seen under its name.

    Raises:
        OutputError: the parent folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as exc:
        raise unwritable(target, exc) from exc
    old: Path | None = None
    try:
        os.chmod(scratch, 0o755)  # noqa: S103 - mkdtemp makes 0700; the result is for everyone
        yield scratch
        try:
            if target.exists():
                old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
                os.replace(target, old / "old")
            os.replace(scratch, target)
        except OSError as exc:
            if old is not None and (old / "old").exists() and not target.exists():
                os.replace(old / "old", target)
            raise unwritable(target, exc) from exc
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def is_safe_relative(name: str) -> bool:
    """Whether `name` is a plain relative path that cannot leave its folder."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and "\\" not in name
        and "\0" not in name
        and not path.is_absolute()
        and path.as_posix() == name
        and not any(part in ("", ".", "..") for part in path.parts)
    )


def readable_bytes(count: float) -> str:
    """`count` bytes for people: 14.0 MB (10⁶, as disks and app stores count)."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
