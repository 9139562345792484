"""A JDK for tests, the stubs of Android's and the runtimes' classes, and one JVM for many cases."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundles.android.aar import compile_java, zipped

HERE = Path(__file__).parent / "bundles" / "android"
JAVA = Path(__file__).parents[1] / "edgekit" / "bundles" / "android" / "java"
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "bool")


def needs_jdk() -> None:
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip("needs a JDK: Debian package default-jdk-headless")


def read_sources(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.java")}


def write_jar(path: Path, sources: dict[str, str], libraries: Sequence[Path] = ()) -> Path:
    """The sources, compiled as edgekit compiles an accessor, in a .jar."""
    path.write_bytes(zipped(compile_java(sources, libraries)))
    return path


def api_jar(folder: Path) -> Path:
    """Declarations of what the sources call; nothing in it computes."""
    needs_jdk()
    return write_jar(folder / "api.jar", read_sources(HERE / "api_stubs"))


class Jvm:
    """One JVM that runs `PreparingMain`; see there for what goes over its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, calls: Sequence[str], array: Any) -> np.ndarray[Any, Any] | str:
        """What the calls make of the array; the words of the exception where they refuse it."""
        given = np.asarray(array)
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(struct.pack(">i", len(calls)))
        for call in calls:
            text = call.encode()
            pipe.write(struct.pack(">H", len(text)) + text)
        pipe.write(struct.pack(">ii", DTYPES.index(given.dtype.name), given.ndim))
        pipe.write(struct.pack(f">{given.ndim}i", *given.shape))
        pipe.write(given.astype(given.dtype.newbyteorder(">")).tobytes())
        pipe.flush()
        if self._read(1) == b"\0":
            return self._read(*struct.unpack(">H", self._read(2))).decode()
        code, rank = struct.unpack(">ii", self._read(8))
        shape = struct.unpack(f">{rank}i", self._read(4 * rank))
        dtype = np.dtype(DTYPES[code])
        data = self._read(int(np.prod(shape, dtype=int)) * dtype.itemsize)
        return np.frombuffer(data, dtype.newbyteorder(">")).astype(dtype).reshape(shape)

    def _read(self, count: int) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        data = pipe.read(count)
        assert len(data) == count, "the JVM ended"
        return data


@contextmanager
def jvm(classpath: Sequence[Path]) -> Iterator[Jvm]:
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]
    command += [":".join(map(str, classpath)), "edgekit.model.PreparingMain"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Jvm(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=120) == 0
