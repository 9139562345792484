"""Toolchains that cannot be installed beside the others: each has an environment of its own.

ExecuTorch's extras for OpenVINO and Ethos-U pin versions that other converters cannot live with.
``edgekit toolchain add NAME`` makes the environment from the versions in ``locks/NAME.txt``; the
workers of that kind (`edgekit.work.pool.KINDS`) run in its Python. edgekit itself is not installed
there. Nothing is ever installed unasked.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgekit.core.errors import PlanError, UnknownNameError
from edgekit.core.files import readable_bytes, sha256_file
from edgekit.work.environments import (
    TOOLCHAIN,
    Environment,
    environments,
    environments_dir,
    made_python,
    make_environment,
    remove_environment,
)

INSTALL_SECONDS = 3600  # a slow line has to bring hundreds of megabytes
PYTHONS = ((3, 11), (3, 13))  # for which all the pinned packages have wheels

Progress = Callable[[str, int, int], None]  # what is done, how many packages of how many


@dataclass(frozen=True)
class Toolchain:
    """A set of packages of exact versions.

    Attributes:
        title: for people.
        page: the maker's.
        size_bytes, minutes: what it took when it was tried, with torch's build for the CPU.
    """

    name: str
    title: str
    page: str
    size_bytes: int
    minutes: int

    @property
    def lock(self) -> Path:
        """The requirements file with every version; pip reads it as it is."""
        return Path(__file__).parent / "locks" / f"{self.name}.txt"

    @property
    def digest(self) -> str:
        """SHA-256 of the lock, in hex."""
        return _digest(self.lock)

    @property
    def folder(self) -> Path:
        """Where it is made; another place for other versions."""
        return environments_dir() / f"{TOOLCHAIN}{self.name}-{self.digest[:8]}"

    @property
    def how(self) -> str:
        """The command that makes it, and what that costs."""
        size = readable_bytes(self.size_bytes)
        return f"edgekit toolchain add {self.name} ({size}, about {self.minutes} minutes)"


TOOLCHAINS = {
    toolchain.name: toolchain
    for toolchain in (
        Toolchain(
            name="executorch-openvino",
            title="ExecuTorch for Intel's OpenVINO",
            page="https://docs.pytorch.org/executorch/stable/build-run-openvino.html",
            size_bytes=1_660_000_000,
            minutes=3,
        ),
        Toolchain(
            name="executorch-ethos-u",
            title="ExecuTorch for Arm's Ethos-U",
            page="https://docs.pytorch.org/executorch/stable/backends-arm-ethos-u.html",
            size_bytes=1_720_000_000,
            minutes=3,
        ),
    )
}


def find_toolchain(name: str) -> Toolchain:
    """Raises UnknownNameError: there is none of that name."""
    if name not in TOOLCHAINS:
        raise UnknownNameError("toolchain", name, TOOLCHAINS)
    return TOOLCHAINS[name]


def toolchain_python(name: str) -> Path:
    """The Python of the toolchain's environment.

    Raises:
        PlanError: it was not made, or with other versions than this edgekit's.
    """
    toolchain = find_toolchain(name)
    python = made_python(toolchain.folder)
    if python is None:
        older = " in the versions that this edgekit uses" if _others(toolchain) else ""
        raise PlanError(f"the toolchain {name} is not installed{older}", hint=toolchain.how)
    return python


def is_installed(name: str) -> bool:
    return made_python(find_toolchain(name).folder) is not None


def pinned_versions(name: str) -> dict[str, str]:
    """Package name, in small letters with hyphens, to version."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", find_toolchain(name).lock.read_text(), re.M)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def add_toolchain(name: str, progress: Progress = lambda *_: None) -> bool:
    """Make the environment; False if it is there already.

    Raises:
        UnknownNameError: there is no such toolchain.
        PlanError: no suitable Python here, no room, or the packages cannot be had.
        OutputError: the cache folder cannot be written.
    """
    toolchain = find_toolchain(name)
    if is_installed(name):
        return False
    _require_room(toolchain)
    of = len(pinned_versions(name))
    found: set[str] = set()

    def said(line: str) -> None:
        words = line.split()
        if words[:1] in (["Collecting"], ["Processing"]) and len(words) > 1:
            what = Path(words[1]).name.rstrip(";")  # a requirement, or the path of a wheel
            end = r"-\d" if what.endswith(".whl") else r"[=<>!~;\[]"
            found.add(re.sub(r"[-_.]+", "-", re.split(end, what)[0]).lower())
            progress(f"fetching {what}", min(len(found), of), of)
        elif words[:2] == ["Installing", "collected"]:
            progress("unpacking", of, of)

    progress("making the environment", 0, of)
    make_environment(
        toolchain.folder,
        title=f"the toolchain {name}",
        install=["-r", str(toolchain.lock)],
        download=f"pip download -r {toolchain.lock}",
        pythons=PYTHONS,
        marker={"toolchain": name, "lock": toolchain.digest},
        seconds=INSTALL_SECONDS,
        said=said,
    )
    for older in _others(toolchain):
        remove_environment(older)
    return True


def remove_toolchain(name: str) -> int:
    """Remove it, in whatever versions; the bytes that were freed.

    Raises:
        UnknownNameError: there is no such toolchain.
        PlanError: it is not there.
    """
    toolchain = find_toolchain(name)
    found = _environments_of(toolchain)
    if not found:
        raise PlanError(f"the toolchain {name} is not installed", hint="edgekit toolchain list")
    for environment in found:
        remove_environment(environment)
    return sum(environment.size_bytes for environment in found)


def _environments_of(toolchain: Toolchain) -> list[Environment]:
    pattern = re.compile(rf"{TOOLCHAIN}{re.escape(toolchain.name)}-[0-9a-f]{{8}}")
    return [each for each in environments() if pattern.fullmatch(each.name)]


def _others(toolchain: Toolchain) -> list[Environment]:
    """The same toolchain as an older edgekit made it."""
    return [each for each in _environments_of(toolchain) if each.folder != toolchain.folder]


def _require_room(toolchain: Toolchain) -> None:
    place = toolchain.folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < toolchain.size_bytes:
        raise PlanError(
            f"the toolchain {toolchain.name} takes {readable_bytes(toolchain.size_bytes)}, and "
            f"{readable_bytes(free)} are free in {str(place)!r}",
            hint="free some space (edgekit clean), or set EDGEKIT_CACHE to another disk's folder",
        )


@cache
def _digest(lock: Path) -> str:
    return sha256_file(lock)
