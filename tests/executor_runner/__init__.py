"""A real executor_runner, built with the runtime of the executorch wheel."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "executor_runner.cpp"
LIBRARIES = (
    *("executorch", "executorch_threadpool", "executorch_kernels_optimized"),
    *("executorch_kernels_quantized", "executorch_backend_xnnpack", "executorch_etdump"),
)


def build(target: Path, edition: int, *words: str) -> Path:
    """Build it as the file `target`; see the source for editions and words."""
    if shutil.which("g++") is None or not Path("/usr/include/gflags/gflags.h").is_file():
        pytest.skip("needs the Debian package g++ and the Debian package libgflags-dev")
    package = _package()
    include = package / "include"
    c10 = include / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    subprocess.run(
        [
            *("g++", "-std=c++17", "-O0", "-DC10_USING_CUSTOM_GENERATED_MACROS"),
            *("-DET_EVENT_TRACER_ENABLED", f"-DEDITION={edition}", *words),
            *(f"-I{include}", f"-I{c10}", "-o", str(target), str(SOURCE)),
            *(f"-L{package / 'lib'}", "-Wl,--no-as-needed"),
            *(f"-l{name}" for name in LIBRARIES),
            *("-lgflags", f"-Wl,-rpath,{package / 'lib'}"),
        ],
        check=True,
    )
    return target


@functools.cache
def _package() -> Path:
    spec = importlib.util.find_spec("executorch")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))
