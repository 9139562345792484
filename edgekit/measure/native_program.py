"""The native runner's program, built on first use and kept by its content.

Its sources come with edgekit (``runtime_bench/native``); a compiler does not. `ziglang
<https://pypi.org/project/ziglang/>`_ from pip builds for every machine in `TARGETS`, against a
glibc of 2012; a C compiler of this computer builds for this computer's kind alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.core.errors import EdgekitError, RuntimeMissingError
from edgekit.core.files import unwritable
from edgekit.core.locate import shipped
from edgekit.measure.native_files import native_dir

SOURCES = shipped("runtime_bench") / "native"
NAME = "edgekit-bench"

# What `uname -m` says, and zig's name for it with the oldest glibc that it shall run with.
TARGETS = {
    "x86_64": "x86_64-linux-gnu.2.17",
    "aarch64": "aarch64-linux-gnu.2.17",
    "armv7l": "arm-linux-gnueabihf.2.17",
}

# Modules find the program's functions by their names: -rdynamic.
FLAGS = ("-std=c11", "-O2", "-s", "-rdynamic", "-D_FILE_OFFSET_BITS=64")
LIBRARIES = ("-ldl", "-lm")
BUILD_SECONDS = 600

_COMPILERS = {"c": ("cc", "gcc", "clang"), "c++": ("c++", "g++", "clang++")}


@dataclass(frozen=True)
class Compiler:
    """How to build: the words before the flags, and what tells one compiler from another."""

    command: tuple[str, ...]
    identity: str


def native_program(machine: str) -> Path:
    """The program for `machine`, a key of `TARGETS`; built if it is not in the cache.

    Raises:
        RuntimeMissingError: there is no compiler for it here; says how to get one.
        EdgekitError: the compiler fails.
        OutputError: the cache folder cannot be written.
    """
    compiler = find_compiler(machine)
    folder = native_dir() / _key(machine, compiler)
    program = folder / NAME
    if program.is_file():
        os.utime(program)
        return program
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = Path(scratch) / NAME
            build(compiler, built, scratch=Path(scratch))
            os.replace(built, program)  # two that build at once write the same
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    return program


def find_compiler(machine: str, language: Literal["c", "c++"] = "c") -> Compiler:
    """What builds for `machine` here: zig if it is installed, else this computer's own compiler.

    Raises:
        RuntimeMissingError: nothing does.
    """
    if machine not in TARGETS:
        raise RuntimeMissingError(
            f"the native runner is not built for {machine}; only for {', '.join(TARGETS)}",
            hint=f"build {SOURCES} yourself (its README says how), and give --native-program",
        )
    if importlib.util.find_spec("ziglang") is not None:
        version = importlib.metadata.version("ziglang")
        name = {"c": "cc"}.get(language, language)
        command = (sys.executable, "-m", "ziglang", name, "-target", TARGETS[machine])
        return Compiler(command, f"zig {version}")
    if machine == platform.machine():
        for name in _COMPILERS[language]:
            if (path := shutil.which(name)) is not None:
                status = Path(path).resolve().stat()
                return Compiler((path,), f"{path} {status.st_size} {status.st_mtime_ns}")
    raise RuntimeMissingError(
        f"no {language.upper()} compiler here builds the native runner for {machine}",
        hint="pip install 'edgekit[native]'",
    )


def build(compiler: Compiler, target: Path, *, scratch: Path) -> None:
    """Build the program as the file `target`; `scratch` is a folder for what is left over.

    Raises:
        EdgekitError: the compiler fails.
    """
    sources = sorted(str(path) for path in SOURCES.glob("*.c"))
    words = [*FLAGS, "-o", str(target), *sources, *LIBRARIES]
    run_compiler(compiler, words, "the native runner", scratch=scratch)


def run_compiler(compiler: Compiler, words: Sequence[str], what: str, *, scratch: Path) -> None:
    """Run it with `words` to build `what`.

    Raises:
        EdgekitError: it fails.
    """
    argv = [*compiler.command, *words]
    # zig keeps the C library that it has built for a target: some seconds the next time.
    kept = {"ZIG_GLOBAL_CACHE_DIR": str(native_dir() / "zig")}
    env = {**kept, **os.environ, "ZIG_LOCAL_CACHE_DIR": str(scratch / "zig")}
    done = _run(argv, env)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no word why"]
        raise EdgekitError(
            f"{compiler.identity} cannot build {what}: {lines[0].strip()[:300]}",
            hint=f"by hand: {' '.join(argv)}",
        )


def _run(argv: Sequence[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise EdgekitError(
            f"{argv[0]} took longer than {BUILD_SECONDS} s to build the native runner"
        ) from exc


def _key(machine: str, compiler: Compiler) -> str:
    digest = hashlib.sha256(f"{machine}\n{compiler.identity}\n{FLAGS}{LIBRARIES}\n".encode())
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return f"program-{digest.hexdigest()[:32]}"
