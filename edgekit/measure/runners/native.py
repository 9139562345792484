"""``runtime_bench/native`` on a device that needs no Python: a small program in C, and LiteRT's C
library beside it, or ExecuTorch's libraries with a module for them.

    edgekit profile BUILD --on ssh://board --runner native

The program is built here on first use (`edgekit.measure.native_program`), the library taken from
the ai-edge-litert wheel for the board (`edgekit.measure.native_library`), ExecuTorch's libraries
from the executorch wheel (`edgekit.measure.native_executorch`). Android takes neither:
both must be built for its C library, and are given with ``--native-program`` and
``--native-library``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from edgekit.core.errors import InputError, RuntimeMissingError, UnknownNameError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import PROTOCOL
from edgekit.core.protocols import Device
from edgekit.measure import native_executorch
from edgekit.measure.events import Events, budget_seconds, collect
from edgekit.measure.native_library import (
    NAME,
    PACKAGE,
    VERSION,
    Library,
    described,
    library_for,
)
from edgekit.measure.native_program import SOURCES, find_compiler, native_program
from edgekit.measure.runner import RunnerWish
from edgekit.measure.subject import Subject

# What computes each format, as pip calls it.
RUNTIMES = {"tflite": PACKAGE, "executorch": native_executorch.PACKAGE}

# Beyond the runner's own limits: the kernel ends it 15 s after the time budget.
_TIMEOUT_GRACE_SECONDS = 45

_PROBE = r"""
echo "machine=$(uname -m)"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=$(ldd --version 2>/dev/null | head -n 1)
for loader in "$1"/lib/ld-linux*.so.* "$1"/lib64/ld-linux*.so.* "$1"/lib/ld-musl-*.so.* \
    "$1"/system/bin/linker*; do
  [ -e "$loader" ] || continue
  echo "loader=$loader"
  [ -n "$libc" ] && continue
  # where busybox is all there is: glibc's own file says what it is when it is started
  for file in "$1"/lib/libc.so.6 "$1"/lib64/libc.so.6 "$1"/lib/*/libc.so.6; do
    [ -e "$file" ] && libc=$("$loader" "$file" 2>/dev/null | head -n 1) && [ -n "$libc" ] && break
  done
done
echo "libc=$libc"
exit 0
"""

# What loads programs, and of which machine they are: a 64-bit kernel may run a 32-bit system.
_LOADERS = {
    "ld-linux-aarch64.so.1": "aarch64",
    "ld-linux-x86-64.so.2": "x86_64",
    "ld-linux-armhf.so.3": "armv7l",
}


@dataclass(frozen=True)
class System:
    """What a device's programs must be for.

    Attributes:
        machine: as `uname -m` says it of the programs; that of the kernel where that is not known.
        libc: "glibc", "musl", "bionic", or "" if it is not known.
        version: of glibc, as (2, 36); None if it is not known.
    """

    machine: str
    libc: str
    version: tuple[int, int] | None


class NativeRunner:
    """The program in C; implements `Runner`."""

    name = "native"
    runs: ClassVar[dict[str, tuple[str, ...]]] = {
        "tflite": ("xnnpack",),
        "executorch": ("xnnpack", "portable"),
    }
    checks = None
    senses = True

    def __init__(self, device: Device, program: str, words: Sequence[str]) -> None:
        """`words`: the program's own, before the job."""
        self._device, self._program = device, program
        self._argv = [program, *words, "-"]

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Build and fetch what the device needs, and push it.

        Raises:
            UnknownNameError: `wish.runtime` is none that this runner has.
            RuntimeMissingError: there is no program or library for the device; says what to do.
        """
        if subject.file_format not in RUNTIMES:
            raise RuntimeMissingError(
                f"the native runner reads {', '.join(RUNTIMES)}; "
                f"{subject.variant} is {subject.file_format}",
                hint="leave out --runner: the Python runner reads it",
            )
        runtime = RUNTIMES[subject.file_format]
        if wish.runtime not in (None, runtime):
            raise UnknownNameError("runtime of the native runner", wish.runtime, [runtime])
        system = probe(device)
        refuse_unfit(device, system, wish, subject.file_format)
        files, version = _runtime_files(device, system, wish, subject.file_format)
        program = Path(wish.native_program or native_program(system.machine))
        if not program.is_file():
            raise InputError(f"there is no file {str(program)!r}")
        pushed = device.push(program, sha256_file(program))
        words = []
        for option, path in files:
            words += [option, device.push(path, sha256_file(path))]
        allowed = device.run(["chmod", "755", pushed], timeout_seconds=60)
        if allowed.exit_code != 0:
            raise RuntimeMissingError(
                f"{device.address} does not let {pushed} be run: {allowed.stderr.strip()[:200]}"
            )
        return cls(device, pushed, [*words, "--library-version", version])

    def accept(self, job: Mapping[str, Any]) -> None:
        """The program refuses what it cannot do before it loads the model."""

    def run(self, job: Mapping[str, Any]) -> Events:
        result = self._device.run(
            self._argv,
            stdin=json.dumps({"protocol": PROTOCOL, **self._with_own_sampler(job)}).encode(),
            timeout_seconds=budget_seconds(job) + _TIMEOUT_GRACE_SECONDS,
        )
        by_hand = " ".join([*self._argv[:-1], "JOB.json"])
        return collect(self._device, result, job, by_hand=by_hand)

    def _with_own_sampler(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """The program is a sampler, too: the one that `job` names is for a Python."""
        if job.get("sensors") is None:
            return job
        return {**job, "sensors": {**job["sensors"], "sampler": self._program}}


def refuse_unsuited(device: Device, wish: RunnerWish, file_format: str) -> None:
    """Raise what `NativeRunner.deploy` would for want of a program or a library for `device`."""
    system = probe(device)
    refuse_unfit(device, system, wish, file_format)
    if file_format == "tflite":
        _library(device, system, wish)
    else:
        _package(device, system, wish)
        find_compiler(system.machine, "c++")
    if not wish.native_program:
        find_compiler(system.machine)


def probe(device: Device, root: str = "") -> System:
    """What `device`'s programs must be for; `root` is a folder to take for its ``/``."""
    found: dict[str, list[str]] = {}
    result = device.run(["sh", "-c", _PROBE, "sh", root], timeout_seconds=60)
    for line in result.stdout.splitlines():
        key, equals, value = line.partition("=")
        if equals and key in ("machine", "libc", "loader"):
            found.setdefault(key, []).append(value.strip())
    kernel = found.get("machine", [""])[0]
    loaders = [loader.rpartition("/")[2] for loader in found.get("loader", [])]
    runs = [_LOADERS[loader] for loader in loaders if loader in _LOADERS]
    if runs:
        text = found.get("libc", [""])[0]
        number = (
            re.search(r"(\d+)\.(\d+)\.?\s*$", text) if re.search("(?i)glibc|gnu", text) else None
        )
        version = (int(number[1]), int(number[2])) if number else None
        return System(kernel if kernel in runs else runs[0], "glibc", version)
    if any(loader.startswith("ld-musl-") for loader in loaders):
        return System(kernel, "musl", None)
    return System(kernel, "bionic" if "linker64" in loaders or "linker" in loaders else "", None)


def refuse_unfit(
    device: Device, system: System, wish: RunnerWish, file_format: str = "tflite"
) -> None:
    """Raise RuntimeMissingError if nothing that can be had would run on `system`."""
    executorch = file_format == "executorch"
    if wish.native_program and wish.native_library and not executorch:
        return
    if executorch and system.libc != "glibc":
        raise RuntimeMissingError(
            f"{device.address} ({system.machine or 'unknown machine'}) has no glibc, which "
            f"{native_executorch.PACKAGE} {native_executorch.VERSION} needs",
            hint="measure a .tflite variant there",
        )
    if system.libc != "glibc":
        what = {"bionic": "Android's C library", "musl": "musl"}.get(
            system.libc, "an unknown C library"
        )
        raise RuntimeMissingError(
            f"{device.address} ({system.machine or 'unknown machine'}) has {what}; "
            f"the {NAME} of {PACKAGE} {VERSION} needs glibc",
            hint=f"build {SOURCES} for it (its README says how), and give it with --native-program "
            f"and a {NAME} for that C library with --native-library",
        )


def _runtime_files(
    device: Device, system: System, wish: RunnerWish, file_format: str
) -> tuple[list[tuple[str, Path]], str]:
    """The runtime's files, each with the program's option for it, and its version."""
    if file_format == "tflite":
        library = _library(device, system, wish)
        return [("--library", library.path)], library.version
    package = _package(device, system, wish)
    files = [("--library", path) for path in package.libraries]
    module = native_executorch.native_module(package)
    return [*files, ("--module", module)], native_executorch.VERSION


def _package(device: Device, system: System, wish: RunnerWish) -> native_executorch.ExecuTorch:
    if wish.native_library is not None:
        raise InputError(
            "--native-library is a libLiteRt.so, for .tflite; the variant is executorch",
            hint="leave it out, or choose .tflite variants with --variant",
        )
    package = native_executorch.executorch_for(system.machine)
    what = f"{native_executorch.PACKAGE} {native_executorch.VERSION}"
    _refuse_glibc(device, system, package.glibc, what)
    return package


def _refuse_glibc(device: Device, system: System, needs: tuple[int, int] | None, what: str) -> None:
    has = system.version
    if needs is not None and has is not None and has < needs:
        raise RuntimeMissingError(
            f"{device.address} has glibc {_dotted(has)}, {what} needs {_dotted(needs)}",
            hint="install a newer system there, or an older runtime with a Python: "
            "edgekit profile --runner python says which",
        )


def _library(device: Device, system: System, wish: RunnerWish) -> Library:
    if wish.native_library is not None:
        library = described(Path(wish.native_library))
    else:
        library = library_for(system.machine)
    if library.machine != system.machine and system.libc == "glibc":
        raise RuntimeMissingError(
            f"{str(library.path)!r} is for {library.machine}, {device.address} is {system.machine}"
        )
    _refuse_glibc(device, system, library.glibc, f"{PACKAGE} {library.version}")
    return library


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
