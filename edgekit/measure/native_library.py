"""LiteRT's C library for a board: from the ai-edge-litert wheel for the board's processor.

The one that is installed here will do for a board of this computer's kind; for another it is
fetched by pip, once, and kept in the cache folder.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import InputError, RuntimeMissingError
from edgekit.core.files import unwritable
from edgekit.measure.native_files import native_dir
from edgekit.measure.native_wheel import PLATFORMS, fetched_wheel

PACKAGE = "ai-edge-litert"
# The ABI changes with the version; runtime_bench/native speaks that of this one.
VERSION = "2.3.0"
NAME = "libLiteRt.so"

# ELF's e_machine, and which of `uname -m` runs it (https://refspecs.linuxfoundation.org/elf).
_MACHINES = {62: "x86_64", 183: "aarch64", 40: "armv7l", 3: "i686"}


@dataclass(frozen=True)
class Library:
    """A libLiteRt.so here.

    Attributes:
        version: of ai-edge-litert; "unknown" of one that the user gives.
        machine: what `uname -m` says where it runs.
        glibc: the lowest that it needs, as (2, 34); None if it needs none of glibc's.
    """

    path: Path
    version: str
    machine: str
    glibc: tuple[int, int] | None


def library_for(machine: str) -> Library:
    """LiteRT's library for `machine`, fetched if need be.

    Raises:
        RuntimeMissingError: there is no wheel for it, or pip cannot fetch it; says what to do.
        OutputError: the cache folder cannot be written.
    """
    if machine not in PLATFORMS:
        raise RuntimeMissingError(
            f"{PACKAGE} has no wheel for {machine}, only for {', '.join(PLATFORMS)}",
            hint=f"give a {NAME} of {VERSION} of your own with --native-library",
        )
    installed = _installed() if machine == platform.machine() else None
    return described(installed or _fetched(machine), VERSION)


def described(path: Path, version: str = "unknown") -> Library:
    """What the library at `path` needs. Raises InputError if it is no library for Linux."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
    number = int.from_bytes(data[18:20], "little")
    if data[:4] != b"\x7fELF" or data[5:6] != b"\x01" or number not in _MACHINES:
        raise InputError(
            f"{str(path)!r} is no shared library for Linux or Android",
            hint=f"give the {NAME} of LiteRT {VERSION} for the board's processor",
        )
    versions = [
        (int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", data)
    ]
    return Library(path, version, _MACHINES[number], max(versions, default=None))


def _installed() -> Path | None:
    spec = importlib.util.find_spec("ai_edge_litert")  # not imported
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / NAME
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if version == VERSION and path.is_file() else None


def _fetched(machine: str) -> Path:
    folder = native_dir() / f"{PACKAGE}-{VERSION}-{machine}"
    path = folder / NAME
    if path.is_file():
        os.utime(path)
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unpacked = _unpacked(machine, Path(scratch))
            os.replace(unpacked, path)
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    return path


def _unpacked(machine: str, scratch: Path) -> Path:
    then = f"unpack the {NAME} in it, and give it with --native-library"
    wheel_path = fetched_wheel(PACKAGE, VERSION, machine, scratch, then=then)
    with zipfile.ZipFile(wheel_path) as wheel, wheel.open(f"ai_edge_litert/{NAME}") as source:
        target = scratch / NAME
        target.write_bytes(source.read())
    return target
