"""Environments with one package of an exact version: the boards' runtimes, on this computer.

They lie in ``environments/<name>-<version>`` of the cache folder, are made once, by venv and pip,
and count as made only when a marker file, written last, is there.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import PlanError
from edgekit.core.files import unwritable, write_json
from edgekit.core.locate import cache_dir

MARKER = "edgekit.json"  # what was installed; written last
PROBE_SECONDS = 30
INSTALL_SECONDS = 900

# What is installed beside a runtime, and with which Pythons its wheels exist (from, to, included).
# tflite-runtime was built against numpy 1 and crashes with 2.
_BESIDE = {
    "tflite-runtime": (("numpy==1.26.4",), (3, 9), (3, 11)),
    "ai-edge-litert": (("numpy>=1.23,<3",), (3, 10), (3, 14)),
}


@dataclass(frozen=True)
class Environment:
    """A managed environment on disk; `size_bytes` counts its files."""

    name: str
    folder: Path
    size_bytes: int


def runtime_python(name: str, version: str) -> Path:
    """The Python of an environment that has exactly `version` of the package `name`.

    It is this one if it has; otherwise an environment of its own, made if it is not there yet.

    Raises:
        PlanError: no suitable Python here, or the packages cannot be had.
        OutputError: the cache folder cannot be written.
    """
    if (ready := ready_python(name, version)) is not None:
        return ready
    folder = environments_dir() / f"{name}-{version}"
    python = folder / "bin" / "python"
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    try:
        if not ((folder / MARKER).is_file() and python.exists()):  # another process was faster
            _make(folder, name, version)
    finally:
        lock.release()
    return python


def ready_python(name: str, version: str) -> Path | None:
    """The same, or None if it would have to be made first."""
    if _installed(name) == version:
        return Path(sys.executable)
    folder = environments_dir() / f"{name}-{version}"
    python = folder / "bin" / "python"
    return python if (folder / MARKER).is_file() and python.exists() else None


def clean_environment() -> dict[str, str]:
    """This process's variables, without those by which its packages would leak into another."""
    leaking = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if key not in leaking}


def environments_dir() -> Path:
    return cache_dir() / "environments"


def environments() -> list[Environment]:
    """All that are there, half-made ones included."""
    try:
        folders = sorted(path for path in environments_dir().iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    return [Environment(folder.name, folder, _size(folder)) for folder in folders]


def remove_environments() -> list[Environment]:
    """Remove all of them; what was removed. The next use makes them again."""
    found = environments()
    for environment in found:
        # The marker first: what is left after an interruption does not count as made.
        (environment.folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(environment.folder, ignore_errors=True)
        Path(f"{environment.folder}.lock").unlink(missing_ok=True)
    return found


def _make(folder: Path, name: str, version: str) -> None:
    beside, lowest, highest = _BESIDE.get(name, ((), (3, 9), (3, 14)))
    python = _find_python(lowest, highest, f"{name} {version}")
    packages = [f"{name}=={version}", *beside]
    shutil.rmtree(folder, ignore_errors=True)  # half-made by one that was interrupted
    try:
        _run([str(python), "-m", "venv", str(folder)], f"python -m venv for {name}", packages)
        install = ["-m", "pip", "install", "--quiet", "--only-binary=:all:", *packages]
        _run([str(folder / "bin" / "python"), *install], f"pip install {name}", packages)
        write_json(folder / MARKER, {"packages": packages, "python": str(python)})
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _run(argv: Sequence[str], what: str, packages: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            argv, env=clean_environment(), capture_output=True, text=True, errors="replace",
            timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise _cannot(what, f"took longer than {INSTALL_SECONDS} s", packages) from exc
    except OSError as exc:
        raise _cannot(what, str(exc.strerror or exc), packages) from exc
    if done.returncode != 0:
        raise _cannot(what, _last_error(done.stderr or done.stdout), packages)


def _cannot(what: str, why: str, packages: Sequence[str]) -> PlanError:
    wanted = " ".join(f"'{package}'" for package in packages)
    return PlanError(
        f"{what} failed: {why}",
        hint=f"without network: elsewhere run pip download {wanted} -d DIR, bring DIR here "
        "and set PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR",
    )


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return re.sub(r"^ERROR:\s*", "", errors[-1])[:300] if errors else "no message"


def _find_python(lowest: tuple[int, int], highest: tuple[int, int], what: str) -> Path:
    """A Python between the two versions that can make environments; this one if it will do."""
    if lowest <= sys.version_info[:2] <= highest:
        return Path(sys.executable)
    wanted = [f"python3.{minor}" for minor in range(highest[1], lowest[1] - 1, -1)]
    for name in wanted:
        found = shutil.which(name)
        if found and _works(found, name.removeprefix("python")):
            return Path(found)
    raise PlanError(
        f"{what} needs Python {lowest[0]}.{lowest[1]} to {highest[0]}.{highest[1]}; "
        f"this is {sys.version_info[0]}.{sys.version_info[1]}, and none of them is on PATH",
        hint=f"install one with its venv module, for example {wanted[0]} and {wanted[0]}-venv",
    )


def _works(python: str, version: str) -> bool:
    """Whether it runs, is that version and has venv and pip: a pyenv shim may be there and fail."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):  # does not run: that is the answer
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except FileNotFoundError:  # another process removes it right now
            continue
    return total
