"""Arrays in `.npy` and `.npz` files. Runs in a worker.

Nothing is unpickled. A `.npz` is read as a stream, one chunk of samples at a time, so that a small
file that unpacks to terabytes takes neither memory nor disk.
"""

from __future__ import annotations

import lzma
import math
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgekit.core.errors import DataError
from edgekit.core.files import readable_bytes, sha256_file
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Calibration
from edgekit.data.choose import choose
from edgekit.data.writer import Writer, check_finite, class_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

LABEL_KEYS = ("labels", "label", "y")
NAMELESS_KEYS = ("x", "X", "data", "images")
CHUNK_BYTES = 4 << 20
MAX_LABEL_BYTES = 1 << 30
# What zipfile, its decompressors and numpy raise for a file that is cut off, encrypted or made up.
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def read(
    out: Path,
    path: str,
    origin: str,
    preprocessing: Any,
    choice: Any,
    sha256: str,
    targets: bool = False,
) -> dict[str, Any]:
    """The arrays of a file as a data set. `sha256` is the file's, under which it will be kept.

    Args:
        targets: whether what is under a key of labels is kept as it is, not as class numbers.

    Raises:
        DataError: not a whole file of that kind, keys or counts that do not fit, bad values; or
            the file is no longer the one that was asked for.
    """
    inputs, labels = _columns(path, origin)
    count = inputs[0].shape[0]
    indices, words = choose(count, Calibration.from_json(choice) if choice else None)
    names = [column.name for column in inputs]
    if len(names) == 1 and names[0] in NAMELESS_KEYS:
        names = [""]
    writer = Writer(out, origin, names, Preprocessing.from_json(preprocessing), targets=targets)
    classes = _labels(labels[0], origin)[indices] if labels and not targets else None
    streamed = [*inputs, *(labels if targets else [])]
    row_bytes = sum(column.row_bytes for column in streamed)
    rows = max(1, min(len(indices), CHUNK_BYTES // max(1, row_bytes)))
    try:
        if len(indices) < count:  # those that are not chosen are no better for it
            for column in streamed:
                _check_finite(column, origin)
        for start, *chunk in zip(
            range(0, len(indices), rows), *(c.rows(indices, rows) for c in streamed), strict=True
        ):
            chosen = None if classes is None else classes[start : start + rows]
            if targets and labels:
                chosen = chunk.pop()
            writer.add(list(chunk), chosen)
    except BROKEN as exc:
        raise _broken(origin, exc) from exc
    if sha256_file(Path(path)) != sha256:
        raise DataError(
            f"{origin} was changed while it was being read",
            hint="wait until it is written, then run the command again",
        )
    return writer.finish(choice=words)


def look(path: str, origin: str) -> str:
    """What is in the file in words, from its headers alone. Raises DataError as `read`."""
    inputs, labels = _columns(path, origin)
    return ", ".join(map(str, [*inputs, *labels]))


def _columns(path: str, origin: str) -> tuple[list[_Column], list[_Column]]:
    """The inputs and the labels, at most one; there are samples, as many in each."""
    columns = _npz(Path(path), origin) if path.endswith(".npz") else [_npy(Path(path), origin)]
    labels = [column for column in columns if column.name in LABEL_KEYS]
    inputs = [column for column in columns if column.name not in LABEL_KEYS]
    _check_columns(inputs, labels, origin)
    if inputs[0].shape[0] == 0:
        raise DataError(f"{origin} holds no samples ({', '.join(map(str, columns))})")
    return inputs, labels


@dataclass(frozen=True)
class _Column:
    """One array in a file, not read yet; `member` is its name in a `.npz`."""

    name: str
    path: Path
    member: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"{self.name or 'array'} {'×'.join(map(str, self.shape))} {self.dtype.name}"

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def rows(self, indices: Sequence[int], size: int) -> Iterator[Array]:
        """The rows at the ascending `indices`, `size` at a time."""
        import numpy as np

        if not self.member:
            whole = np.load(self.path, mmap_mode="r", allow_pickle=False)
            for start in range(0, len(indices), size):
                yield whole[indices[start : start + size]]
            return
        if self.fortran:
            whole = self._whole()
            for start in range(0, len(indices), size):
                yield whole[indices[start : start + size]]
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            _header(stream)
            at = 0
            for start in range(0, len(indices), size):
                rows = []
                for index in indices[start : start + size]:
                    _skip(stream, (index - at) * self.row_bytes)
                    rows.append(_exactly(stream, self.row_bytes))
                    at = index + 1
                flat = np.frombuffer(b"".join(rows), dtype=self.dtype)
                yield flat.reshape(len(rows), *self.shape[1:])

    def _whole(self) -> Array:
        """All of it, for what cannot be streamed; bounded."""
        import numpy as np

        size = math.prod(self.shape) * self.dtype.itemsize
        if size > MAX_LABEL_BYTES:
            raise DataError(
                f"{self.path.name}: {self} is in column order, {readable_bytes(size)}",
                hint="save it in row order, with numpy.ascontiguousarray",
            )
        if not self.member:
            return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False))
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            _header(stream)
            flat = np.frombuffer(_exactly(stream, size), dtype=self.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _npy(path: Path, origin: str) -> _Column:
    try:
        with open(path, "rb") as stream:
            shape, fortran, dtype = _header(stream)
            size = path.stat().st_size - stream.tell()
    except BROKEN as exc:
        raise _broken(origin, exc) from exc
    if size != math.prod(shape) * dtype.itemsize:
        raise _broken(origin, ValueError("its size is not what its header says"))
    return _Column("", path, "", _sampled(shape, origin), fortran, dtype)


def _npz(path: Path, origin: str) -> list[_Column]:
    columns = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            _check_size(members, path, origin)
            for info in members:
                key = info.filename.removesuffix(".npy")
                with archive.open(info) as stream:
                    shape, fortran, dtype = _header(stream)
                    if info.file_size - stream.tell() != math.prod(shape) * dtype.itemsize:
                        raise ValueError(f"the size of {key} is not what its header says")
                shape = _sampled(shape, f"{origin}: {key}")
                columns.append(_Column(key, path, info.filename, shape, fortran, dtype))
    except BROKEN as exc:
        raise _broken(origin, exc) from exc
    if len({column.name for column in columns}) != len(columns):
        raise DataError(f"{origin}: a key is in it twice")
    return columns


def _check_size(members: list[zipfile.ZipInfo], path: Path, origin: str) -> None:
    total = sum(info.file_size for info in members)
    free = shutil.disk_usage(path.parent).free
    if total > max(free, path.stat().st_size * 2):
        raise DataError(
            f"{origin} unpacks to {readable_bytes(total)}, more than this disk has free "
            f"({readable_bytes(free)})",
            hint="give a smaller file, or a .npy file, which needs no unpacking",
        )


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, column order and type of the `.npy` data that `stream` is at; ValueError if not so."""
    import numpy as np
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy format {version[0]}.{version[1]}")
    try:
        shape, fortran, dtype = readers[version](stream)
    except (SyntaxError, tokenize.TokenError, TypeError) as exc:  # numpy lets these pass
        raise ValueError("its header is not one of numpy's") from exc
    if min(shape, default=0) < 0:
        raise ValueError(f"its header says {shape}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects (pickle), which are never loaded")
    return shape, fortran, np.dtype(dtype)


def _sampled(shape: tuple[int, ...], what: str) -> tuple[int, ...]:
    if not shape:
        raise DataError(f"{what} is a single number; the first axis must be the samples")
    return shape


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0:
        step = min(size, CHUNK_BYTES)
        _exactly(stream, step)
        size -= step


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError("it ends too early")
    return data


def _check_columns(inputs: list[_Column], labels: list[_Column], origin: str) -> None:
    everything = ", ".join(map(str, [*inputs, *labels])) or "nothing"
    if not inputs:
        raise DataError(
            f"{origin} has no inputs, it holds: {everything}",
            hint="use the model's input names as keys, or x for a single input",
        )
    if len(labels) > 1:
        raise DataError(
            f"{origin} has labels under {' and '.join(c.name for c in labels)}",
            hint="keep one of them",
        )
    if len({column.shape[0] for column in [*inputs, *labels]}) != 1:
        raise DataError(
            f"{origin}: the arrays differ in their number of samples: {everything}",
            hint="keep one array an input (its name as key, or x) and one of labels",
        )


def _check_finite(column: _Column, origin: str) -> None:
    if column.dtype.kind != "f":
        return
    size = max(1, CHUNK_BYTES // max(1, column.row_bytes))
    what = f"{origin}: {column.name}" if column.name else origin
    for number, chunk in enumerate(column.rows(range(column.shape[0]), size)):
        check_finite(chunk, number * size, what)


def _labels(column: _Column, origin: str) -> Array:
    return class_labels(column._whole(), f"{origin}: {column.name}")


def _broken(origin: str, exc: Exception) -> DataError:
    detail = (exc.strerror if isinstance(exc, OSError) else str(exc)) or type(exc).__name__
    return DataError(
        f"{origin} cannot be read: {detail.splitlines()[0][:200]}",
        hint="it must be a whole file as numpy.save or numpy.savez writes it, of plain numbers",
    )
