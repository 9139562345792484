"""A bundle in a tarball, unpacked to be checked. Nothing in it is trusted.

Read by hand and not by tarfile: this takes the tarballs that `write_tarball` makes and nothing
else, so there is no kind of entry, long name or header that could be large, lead elsewhere or mean
two things. What it unpacks to is bounded before it is written.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgekit.bundles.manifest import MAX_FILES, path_problem
from edgekit.core.errors import InputError, IntegrityError

LEVEL = 6  # of gzip; a higher one takes far longer on weights, for next to nothing
HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # of gzip at that level: no name, no time
BLOCK = 512
# Deflate packs zeros 1000 times. Weights that pack 100 times would be no model; small files may.
MOST_RATIO = 100
ALWAYS_ALLOWED = 64 * 2**20
CHUNK = 1 << 20


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The one folder in the tarball `path`, in a temporary place that vanishes afterwards.

    Raises:
        IntegrityError: it is cut off, damaged, has anything but plain files in one folder, or
            would unpack to far more than a bundle can.
        InputError: it is not a tarball, or there is no room to unpack it.
    """
    limit = ALWAYS_ALLOWED + MOST_RATIO * path.stat().st_size
    with tempfile.TemporaryDirectory(prefix="edgekit-verify-") as scratch:
        root = Path(scratch)
        with open(path, "rb") as raw:
            if raw.read(len(HEADER)) != HEADER:
                raise InputError(
                    f"{str(path)!r} is not a tarball that edgekit bundle made",
                    hint="unpack it, and verify the folder",
                )
            raw.seek(0)
            try:
                with gzip.GzipFile(fileobj=raw) as stream:
                    top = _unpack(stream, root, limit)
            except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.HeaderError) as exc:
                raise IntegrityError(f"{str(path)!r} is damaged or cut off: {exc}") from exc
        if not top:
            raise IntegrityError(f"{str(path)!r} has nothing in it")
        yield root / top


def _unpack(stream: gzip.GzipFile, root: Path, limit: int) -> str:
    top, count, total = "", 0, 0
    while (head := _exactly(stream, BLOCK)) != bytes(BLOCK):
        info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        name = info.name
        if any("\ud800" <= char <= "\udfff" for char in name) or path_problem(name):
            raise IntegrityError(f"the tarball has {name!r} in it, which is not a plain path")
        if info.type != tarfile.REGTYPE:
            raise IntegrityError(f"the tarball has {name!r} in it, which is not a plain file")
        first, *below = PurePosixPath(name).parts
        if not below or first != (top or first):
            raise IntegrityError(f"the tarball has {name!r} in it, which is outside its folder")
        top, count, total = first, count + 1, total + info.size
        if count > MAX_FILES:
            raise IntegrityError(f"the tarball has more than {MAX_FILES} files")
        if info.size < 0 or total > limit:
            raise IntegrityError(
                f"the tarball would unpack to more than {limit} bytes, "
                f"{MOST_RATIO} times its size and {ALWAYS_ALLOWED // 2**20} MiB"
            )
        if info.size > shutil.disk_usage(root).free:
            raise InputError(f"there is no room in {str(root.parent)!r} to unpack {name!r}")
        _write(stream, root / name, info.size)
        _exactly(stream, -info.size % BLOCK)
    while piece := stream.read(CHUNK):
        total += len(piece)
        if piece.strip(b"\0") or total > limit:
            raise IntegrityError("the tarball goes on after its end")
    return top


def _write(stream: gzip.GzipFile, place: Path, size: int) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb") as out:
            while size:
                piece = _exactly(stream, min(size, CHUNK))
                out.write(piece)
                size -= len(piece)
    except (FileExistsError, NotADirectoryError) as exc:
        raise IntegrityError(f"the tarball has {place.name!r} in it twice") from exc


def _exactly(stream: gzip.GzipFile, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError("it ends in the middle of a file")
    return data
