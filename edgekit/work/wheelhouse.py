"""Wheels for another machine, fetched here with pip and kept in ``wheels/`` of the cache folder.

A folder there is named by what was asked for, and counts only when it has its name.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from edgekit.core.errors import InputError, PlanError
from edgekit.core.eviction import StoreUsage
from edgekit.core.files import unwritable
from edgekit.core.locate import cache_dir
from edgekit.core.noun import Noun
from edgekit.work.environments import clean_environment, last_error

DOWNLOAD_SECONDS = 1800  # torch over a slow line

# Names of the same thing from before PEP 600: glibc by the old tag.
_OLD_TAGS = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_OLDEST_GLIBC = 5  # of 2.5
_NEWEST_TAG = 45  # of 2.45, newer than any tag there is


class Wanted(Noun):
    """What is fetched: packages with all that they need, for a CPython on a machine.

    Attributes:
        packages: the first is the one that counts, and is known to run with `glibc`, whatever its
            wheel's tag claims: that of tflite-runtime 2.14 for aarch64 says 2.34 and needs 2.27, so
            that pip would not take it on the board itself.
        glibc: the version there; wheels of other packages that need a newer one are not taken.
    """

    packages: tuple[str, ...]
    python: tuple[int, int]
    machine: str
    glibc: tuple[int, int]

    def pip_arguments(self, newest: int | None = None) -> list[str]:
        """What tells pip of the other machine; wheels that suit it best come first.

        Args:
            newest: minor version of the newest glibc that a tag may claim, if not that one there.
        """
        words = ["--only-binary=:all:", "--implementation=cp"]
        words.append(f"--python-version={self.python[0]}.{self.python[1]}")
        major, there = self.glibc
        minors = [*range(there, _OLDEST_GLIBC - 1, -1), *range(there + 1, (newest or there) + 1)]
        for minor in minors:
            words.append(f"--platform=manylinux_{major}_{minor}_{self.machine}")
            if old := _OLD_TAGS.get((major, minor)):
                words.append(f"--platform={old}_{self.machine}")
        return [*words, f"--platform=linux_{self.machine}"]


def fetch(wanted: Wanted, folder: Path | None = None) -> list[Path]:
    """The wheels of `wanted`, sorted by name; from the cache if they were fetched before.

    Args:
        folder: take them from there and from nowhere else.

    Raises:
        PlanError: pip does not find them, or is not here.
        InputError: `folder` is none.
        OutputError: the cache folder cannot be written.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is not a folder with wheels")
    target = _root() / wanted.fingerprint()[:32]
    if folder is None and target.is_dir():
        os.utime(target)
        return _wheels(target)
    try:
        _root().mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=_root(), prefix=".part-"))
    except OSError as exc:
        raise unwritable(_root(), exc) from exc
    try:
        _download(wanted, part, folder)
        if folder is not None:
            return [folder / wheel.name for wheel in _wheels(part)]
        if not target.is_dir():  # another process may have been faster
            part.rename(target)
        return _wheels(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _download(wanted: Wanted, target: Path, folder: Path | None) -> None:
    first, *others = wanted.packages
    words = ["--no-deps", *wanted.pip_arguments(_NEWEST_TAG)]
    _pip(wanted, [*words, first], first, target, folder)
    (wheel,) = target.glob("*.whl")
    others += _needs(wheel)
    if others:
        _pip(wanted, [*wanted.pip_arguments(), *others], f"what {first} needs", target, folder)


def _needs(wheel: Path) -> list[str]:
    """The requirements of a wheel, conditions included, but for those of its extras."""
    from email.parser import BytesHeaderParser

    try:
        with zipfile.ZipFile(wheel) as file:
            (name,) = [n for n in file.namelist() if n.endswith(".dist-info/METADATA")]
            headers = BytesHeaderParser().parsebytes(file.read(name))
    except (OSError, zipfile.BadZipFile, ValueError) as exc:
        raise PlanError(f"{wheel.name} is not a wheel: {exc}") from exc
    needs = [str(text) for text in headers.get_all("Requires-Dist", [])]
    return [text for text in needs if not re.search(r";.*\bextra\b", text)]


def _pip(wanted: Wanted, words: list[str], what: str, target: Path, folder: Path | None) -> None:
    """``pip download`` with `words`. Raises PlanError."""
    argv = [sys.executable, "-Im", "pip", "download", "--no-input", "--progress-bar=off"]
    argv.append(f"--dest={target}")
    environment = clean_environment()
    if folder is not None:
        argv += ["--no-index", f"--find-links={folder}"]
        # pip would add the places of its own settings to that one.
        environment = {k: v for k, v in environment.items() if not k.startswith("PIP_")}
        environment["PIP_CONFIG_FILE"] = os.devnull
    try:
        done = subprocess.run(
            [*argv, *words], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            timeout=DOWNLOAD_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise PlanError(f"pip download of {what} took longer than {DOWNLOAD_SECONDS} s") from exc
    if done.returncode == 0:
        return
    if "No module named pip" in done.stdout:
        raise PlanError(
            f"the Python of edgekit ({sys.executable}) has no pip to fetch {what} with",
            hint=f"{sys.executable} -m ensurepip",
        )
    place = f"in {str(folder)!r}" if folder else "where pip looks"
    dotted = ".".join(map(str, wanted.python))
    glibc = ".".join(map(str, wanted.glibc))
    raise PlanError(
        f"no wheels {place} for {what}, Python {dotted}, {wanted.machine}, glibc {glibc}: "
        f"{last_error(done.stdout)}",
        hint="put them into a folder where there is network (pip download, --python-version "
        f"{dotted}, --platform manylinux_2_…_{wanted.machine}), and give it with --wheels",
    )


def wheels_usage() -> StoreUsage:
    """How many sets of wheels there are, and their size."""
    files = [path for path in _root().rglob("*.whl") if path.is_file()]
    folders = {path.parent for path in files}
    return StoreUsage(entries=len(folders), size_bytes=sum(path.stat().st_size for path in files))


def remove_wheels() -> StoreUsage:
    """Remove them all; what was removed."""
    usage = wheels_usage()
    shutil.rmtree(_root(), ignore_errors=True)
    return usage


def _root() -> Path:
    return cache_dir() / "wheels"


def _wheels(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.whl"))
