"""What all inspectors do alike: the step for a file, its errors, and the count of its weights."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import InputError
from edgekit.core.files import sha256_path
from edgekit.inspection.flatbuffer import DamagedError
from edgekit.work.steps import Step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNK = 2**24  # numbers counted at a time: bounds the memory


def first_bytes(path: str, count: int = 16) -> bytes:
    """The beginning of a plain file; nothing of what is not one."""
    file = Path(path)
    try:
        if not file.is_file():  # opening a named pipe would wait for ever
            return b""
        with open(file, "rb") as opened:
            return opened.read(count)
    except OSError:  # whoever wants to read it says why it cannot
        return b""


def file_step(
    path: str,
    function: str,
    worker: str,
    *,
    tools: tuple[str, ...] = (),
    arguments: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Step:
    """The step that calls ``function(out, path=…, **arguments)``, known by the file's digest.

    Raises:
        InputError: the file cannot be read.
    """
    file = Path(path).resolve()
    if not file.exists():
        raise InputError(f"there is no file {path!r}", hint="check the path; it is read as given")
    if not (file.is_file() or file.is_dir()):
        raise InputError(f"{path!r} is neither a plain file nor a folder")
    try:
        digest = sha256_path(file)
    except OSError as exc:
        raise InputError(f"cannot read {path!r}: {exc.strerror or exc}") from exc
    return Step(
        title=f"{file.name}: look inside",
        function=function,
        worker=worker,
        arguments={"path": str(file), **(arguments or {})},
        identity={"sha256": digest, **(identity or {})},
        tools=tools,
    )


@contextlib.contextmanager
def whole_file(path: str, kind: str) -> Iterator[None]:
    """Say in one line what is wrong with a file that is not what its format says.

    Raises:
        InputError: for a `DamagedError` or a damaged archive inside the block.
    """
    try:
        yield
    except (DamagedError, zipfile.BadZipFile) as exc:
        raise InputError(
            f"{path!r} is a damaged or truncated {kind} file: {exc}",
            hint="copy it again and compare the sizes, or make it again",
        ) from exc


@dataclass
class Weights:
    """Sums up the numbers that were trained.

    Attributes:
        parameters: how many.
        zeros: how many of them stand for zero.
        by_type: bytes in the file by type.
    """

    parameters: int = 0
    zeros: int = 0
    by_type: dict[str, int] = field(default_factory=dict)

    def add(self, dtype: str, parameters: int, size_bytes: int, zeros: int) -> None:
        self.parameters += parameters
        self.zeros += zeros
        self.by_type[dtype] = self.by_type.get(dtype, 0) + size_bytes

    def sorted(self) -> dict[str, int]:
        """Bytes by type, the most first."""
        return dict(sorted(self.by_type.items(), key=lambda item: (-item[1], item[0])))


def count_zeros(
    content: bytes | memoryview, dtype: str, *, zero_point: int = 0, count: int | None = None
) -> int:
    """How many of the numbers in `content` stand for zero.

    Args:
        dtype: numpy's name, or "bfloat16", "int4", "uint4", "int2" (packed, the lowest bits first),
            "float8…".
        zero_point: the stored value that stands for zero.
        count: how many numbers there are, where the last byte may not be full.
    """
    import numpy as np

    if dtype in ("int4", "uint4", "int2"):
        return _packed_zeros(np.frombuffer(content, np.uint8), dtype, zero_point, count)
    if dtype == "bfloat16" or dtype.startswith("float8"):
        stored, ones = (np.uint16, 0x7FFF) if dtype == "bfloat16" else (np.uint8, 0x7F)
        whole = np.frombuffer(_whole(content, np.dtype(stored).itemsize), stored)
        return _count(whole, lambda part: (part & ones) == 0)  # without the sign
    kind = np.dtype(dtype)
    numbers = np.frombuffer(_whole(content, kind.itemsize), kind)
    return _count(numbers, lambda part: part == zero_point)


def _whole(content: bytes | memoryview, size: int) -> memoryview:
    return memoryview(content)[: len(content) // size * size]


def _count(numbers: NDArray[np.generic], is_zero: Any) -> int:
    import numpy as np

    return sum(
        int(np.count_nonzero(is_zero(numbers[start : start + CHUNK])))
        for start in range(0, len(numbers), CHUNK)
    )


def _packed_zeros(packed: NDArray[np.uint8], dtype: str, zero_point: int, count: int | None) -> int:
    bits = 2 if dtype == "int2" else 4
    mask, per_byte = (1 << bits) - 1, 8 // bits
    wanted = zero_point & mask
    total = len(packed) * per_byte if count is None else min(count, len(packed) * per_byte)
    full, rest = divmod(total, per_byte)
    found = sum(
        _count(packed[:full], lambda part, shift=shift: ((part >> shift) & mask) == wanted)
        for shift in range(0, 8, bits)
    )
    for place in range(rest):
        found += ((int(packed[full]) >> (place * bits)) & mask) == wanted
    return found


def packed_bits(dtype: str) -> int:
    """How many bits a number of that type takes in a file; 0 for what has no fixed size."""
    import numpy as np

    special = {"int4": 4, "uint4": 4, "int2": 2, "bfloat16": 16}
    if dtype in special:
        return special[dtype]
    if dtype.startswith("float8"):
        return 8
    try:
        return int(np.dtype(dtype).itemsize) * 8
    except TypeError:
        return 0
