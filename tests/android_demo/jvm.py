"""The Android app's core on a desktop's JVM, computing with LiteRT's C library."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.bundles.android.aar import compile_java, zipped
from edgekit.measure.native_library import library_for
from edgekit.measure.native_program import SOURCES as NATIVE
from tests.contracts.runner import Program
from tests.java import needs_jdk, read_sources
from tools.build_apk import DEMO, SHIPPED, TAKEN

HERE = Path(__file__).parent
BRIDGED = ("litert", "said", "table", "npz", "files", "runtime")
RUNNER = "dev.edgekit.demo.core.JvmRunner"
# A short process: what makes a long one fast costs here.
JVM = ("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


def core_sources() -> dict[str, str]:
    """The core's Java by path, and what it takes of edgekit's own."""
    taken = {f"edgekit/model/{name}.java": (SHIPPED / f"{name}.java").read_text() for name in TAKEN}
    return taken | read_sources(DEMO / "core" / "src" / "main" / "java")


def core_jar(folder: Path) -> Path:
    """The core with the test's own runner in a .jar."""
    needs_jdk()
    path = folder / "core.jar"
    path.write_bytes(zipped(compile_java(core_sources() | read_sources(HERE / "java"), ())))
    return path


def bridge(folder: Path) -> Path:
    """litert_of_tests.c and the native runner's files that it needs, in a library."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs the Debian package gcc")
    needs_jdk()
    home = Path(os.path.realpath(shutil.which("javac") or "")).parents[1] / "include"
    common = [compiler, "-std=c11", "-O1", "-fPIC", "-Wall", "-Wextra", f"-I{NATIVE}"]
    includes = [f"-I{home}", f"-I{home / 'linux'}"]
    text, made = folder / "text.o", folder / "bridge.so"
    # Its `fail` ends a program, and the bridge has its own.
    subprocess.run(
        [*common, "-Dfail=fail_of_programs", "-c", NATIVE / "text.c", "-o", text], check=True
    )
    sources = [HERE / "litert_of_tests.c", *(NATIVE / f"{name}.c" for name in BRIDGED)]
    subprocess.run(
        [*common, *includes, "-shared", "-o", made, *sources, text, "-ldl", "-lm"], check=True
    )
    return made


def jvm_runner(folder: Path) -> Program:
    """The app's benchmark as a program, `java … JvmRunner`, built in `folder`."""
    library = library_for(platform.machine())
    told = {"bridge": bridge(folder), "library": library.path, "version": library.version}
    properties = [f"-D{key}={value}" for key, value in told.items()]
    return Program((*JVM, *properties, "-cp", str(core_jar(folder)), RUNNER))


if __name__ == "__main__":  # PYTHONPATH=. python tests/android_demo/jvm.py FOLDER
    print(shlex.join(jvm_runner(Path(sys.argv[1])).argv))
