"""ExecuTorch for the native runner: the libraries of its wheel for a board, and the module through
which the runner calls them (``runtime_bench/native/executorch.cpp``).

The wheel that is installed here will do for a board of this computer's kind; for another it is
fetched by pip, once. The module is built with the headers of the wheel that the libraries are of,
as the ABI changes with the version.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import RuntimeMissingError
from edgekit.core.files import unwritable
from edgekit.measure.native_files import native_dir
from edgekit.measure.native_library import described
from edgekit.measure.native_program import SOURCES, find_compiler, run_compiler
from edgekit.measure.native_wheel import PLATFORMS, fetched_wheel

PACKAGE = "executorch"
VERSION = "1.5.1"

# In the order in which they need each other. The kernels register themselves when they are loaded.
LIBRARIES = tuple(
    f"libexecutorch{part}.so"
    for part in ("", "_threadpool", "_kernels_optimized", "_kernels_quantized", "_backend_xnnpack")
)
MODULE = "libedgekit-executorch.so"

# The definitions are those of the wheel's CMake config: its libraries are built with them.
FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti"),
    *("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED"),
)
_HEADERS = ("include", "include/executorch/runtime/core/portable_type/c10")


@dataclass(frozen=True)
class ExecuTorch:
    """An executorch package for `machine`, in `folder`; `glibc` is the lowest that it needs."""

    folder: Path
    machine: str
    glibc: tuple[int, int] | None

    @property
    def libraries(self) -> list[Path]:
        return [self.folder / "lib" / name for name in LIBRARIES]


def executorch_for(machine: str) -> ExecuTorch:
    """The package for `machine`, fetched if need be.

    Raises:
        RuntimeMissingError: there is no wheel for it, or pip cannot fetch it; says what to do.
        OutputError: the cache folder cannot be written.
    """
    if machine not in PLATFORMS:
        raise RuntimeMissingError(
            f"{PACKAGE} has no wheel for {machine}, only for {', '.join(PLATFORMS)}",
            hint="measure a .tflite variant there",
        )
    folder = _installed() if machine == platform.machine() else None
    folder = folder or _fetched(machine)
    needs = [described(folder / "lib" / name, VERSION).glibc for name in LIBRARIES]
    return ExecuTorch(folder, machine, max((each for each in needs if each), default=None))


def native_module(package: ExecuTorch) -> Path:
    """The module for `package`; built if it is not in the cache.

    Raises:
        RuntimeMissingError: there is no C++ compiler for it here; says how to get one.
        EdgekitError: the compiler fails.
        OutputError: the cache folder cannot be written.
    """
    compiler = find_compiler(package.machine, "c++")
    linker = find_compiler(package.machine)  # a C++ one would link a C++ library
    digest = hashlib.sha256(f"{package.machine}\n{compiler.identity}\n{VERSION}{FLAGS}\n".encode())
    source = SOURCES / "executorch.cpp"
    for path in (source, SOURCES / "runner.h"):
        digest.update(path.read_bytes())
    folder = native_dir() / f"module-{digest.hexdigest()[:32]}"
    module = folder / MODULE
    if module.is_file():
        os.utime(module)
        return module
    headers = [f"-I{package.folder / part}" for part in _HEADERS]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made, built = Path(scratch) / "executorch.o", Path(scratch) / MODULE
            words = ["-c", *FLAGS, *headers, "-o", str(made), str(source)]
            what = "the native runner's module for ExecuTorch"
            run_compiler(compiler, words, what, scratch=Path(scratch))
            words = ["-s", "-shared", "-o", str(built), str(made)]
            run_compiler(linker, words, what, scratch=Path(scratch))
            os.replace(built, module)  # two that build at once write the same
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    return module


def _installed() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)  # not imported
    if spec is None or not spec.submodule_search_locations:
        return None
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    whole = all((folder / "lib" / name).is_file() for name in LIBRARIES)
    return folder if version.partition("+")[0] == VERSION and whole else None


def _fetched(machine: str) -> Path:
    folder = native_dir() / f"{PACKAGE}-{VERSION}-{machine}"
    if folder.is_dir():
        os.utime(folder)
        return folder
    try:
        native_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=native_dir()) as scratch:
            then = "install that version of it here for boards of this computer's kind"
            path = fetched_wheel(PACKAGE, VERSION, machine, Path(scratch), then=then)
            with zipfile.ZipFile(path) as wheel:
                wanted = [name for name in wheel.namelist() if _is_wanted(name)]
                wheel.extractall(scratch, wanted)
            try:
                os.replace(Path(scratch) / PACKAGE, folder)
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    return folder


def _is_wanted(name: str) -> bool:
    """Headers and the libraries; not the Python, which is most of it."""
    return name.startswith(f"{PACKAGE}/include/") or name in {
        f"{PACKAGE}/lib/{each}" for each in LIBRARIES
    }
