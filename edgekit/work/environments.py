"""Environments with packages of exact versions, apart from the one that edgekit runs in.

They lie in ``environments/`` of the cache folder, are made once, by venv and pip, and count as made
only when a marker file, written last, is there. ``<name>-<version>`` holds a board's runtime, made
when it is needed; ``toolchain-<name>-<pins>`` a toolchain (`edgekit.work.toolchains`), made when
the user asks for it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import PlanError
from edgekit.core.files import unwritable, write_json
from edgekit.core.locate import cache_dir

MARKER = "edgekit.json"  # what was installed; written last
TOOLCHAIN = "toolchain-"  # what the names of toolchains' folders begin with
PROBE_SECONDS = 30
INSTALL_SECONDS = 900

# What is installed beside a runtime, and with which Pythons its wheels exist (from, to, included).
# tflite-runtime was built against numpy 1 and crashes with 2.
_BESIDE = {
    "tflite-runtime": (("numpy==1.26.4",), (3, 9), (3, 11)),
    "ai-edge-litert": (("numpy>=1.23,<3",), (3, 10), (3, 14)),
}


Said = Callable[[str], None]  # gets each line that pip prints


@dataclass(frozen=True)
class Environment:
    """A managed environment on disk; `size_bytes` counts its files."""

    name: str
    folder: Path
    size_bytes: int

    @property
    def is_toolchain(self) -> bool:
        return self.name.startswith(TOOLCHAIN)


def runtime_python(name: str, version: str) -> Path:
    """The Python of an environment that has exactly `version` of the package `name`.

    It is this one if it has; otherwise an environment of its own, made if it is not there yet.

    Raises:
        PlanError: no suitable Python here, or the packages cannot be had.
        OutputError: the cache folder cannot be written.
    """
    if (ready := ready_python(name, version)) is not None:
        return ready
    beside, lowest, highest = _BESIDE.get(name, ((), (3, 9), (3, 14)))
    packages = [f"{name}=={version}", *beside]
    wanted = " ".join(f"'{package}'" for package in packages)
    return make_environment(
        environments_dir() / f"{name}-{version}",
        title=f"{name} {version}",
        install=["--only-binary=:all:", *packages],
        download=f"pip download {wanted}",
        pythons=(lowest, highest),
        marker={"packages": packages},
    )


def ready_python(name: str, version: str) -> Path | None:
    """The same, or None if it would have to be made first."""
    if _installed(name) == version:
        return Path(sys.executable)
    return made_python(environments_dir() / f"{name}-{version}")


def made_python(folder: Path) -> Path | None:
    """The Python of the environment in `folder`, or None if it was not made to the end."""
    python = folder / "bin" / "python"
    return python if (folder / MARKER).is_file() and python.exists() else None


def make_environment(
    folder: Path,
    *,
    title: str,
    install: Sequence[str],
    download: str,
    pythons: tuple[tuple[int, int], tuple[int, int]],
    marker: dict[str, Any],
    seconds: float = INSTALL_SECONDS,
    said: Said = lambda line: None,
) -> Path:
    """The Python of the environment in `folder`, which is made if it is not there.

    Args:
        title: what it holds, for people.
        install: arguments of ``pip install``.
        download: the command that fetches the same elsewhere, where there is no network here.
        pythons: the oldest and the newest version that will do.
        marker: what is noted of it.
        seconds: how long pip may take.
        said: called with each line that pip prints.

    Raises:
        PlanError: no suitable Python here, or the packages cannot be had.
        OutputError: the cache folder cannot be written.
    """
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    try:
        made = made_python(folder)
        if made is not None:  # another process was faster
            return made
        base = _find_python(*pythons, title)
        python = folder / "bin" / "python"
        shutil.rmtree(folder, ignore_errors=True)  # half-made by one that was interrupted
        try:
            # -I: a venv.py or a pip.py in the current folder is none of Python's.
            _run([str(base), "-Im", "venv", str(folder)], f"python -m venv for {title}", download)
            pip = [str(python), "-Im", "pip", "install", "--no-input", "--progress-bar=off"]
            _run([*pip, *install], f"pip install of {title}", download, seconds=seconds, said=said)
            noted = {**marker, "python": str(base), "size_bytes": _counted(folder)}
            write_json(folder / MARKER, noted)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return python
    finally:
        lock.release()


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
    """Remove the boards' runtimes, which the next use makes again; what was removed.

    Toolchains stay: nobody but the user makes them.
    """
    found = [environment for environment in environments() if not environment.is_toolchain]
    for environment in found:
        remove_environment(environment)
    return found


def remove_environment(environment: Environment) -> None:
    # The marker first: what is left after an interruption does not count as made.
    (environment.folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(environment.folder, ignore_errors=True)
    Path(f"{environment.folder}.lock").unlink(missing_ok=True)


def _run(
    argv: Sequence[str],
    what: str,
    download: str,
    *,
    seconds: float = INSTALL_SECONDS,
    said: Said = lambda line: None,
) -> None:
    try:
        process = subprocess.Popen(
            argv, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as exc:
        raise _cannot(what, str(exc.strerror or exc), download) from exc
    late = threading.Event()

    def end() -> None:  # with all that it has started
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(process.pid, signal.SIGKILL)

    def stop() -> None:
        late.set()
        end()

    timer = threading.Timer(seconds, stop)
    timer.start()
    lines = []
    try:
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                said(line.rstrip())
    except BaseException:  # Ctrl-C, or `said` failed: pip must not go on alone
        end()
        process.wait()
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise _cannot(what, f"took longer than {seconds:.0f} s", download)
    if process.returncode != 0:
        raise _cannot(what, last_error("".join(lines)), download)


def _cannot(what: str, why: str, download: str) -> PlanError:
    return PlanError(
        f"{what} failed: {why}",
        hint=f"without network: elsewhere run {download} -d DIR, bring DIR here "
        "and set PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR",
    )


def last_error(text: str) -> str:
    """What pip complained of last, without its mark."""
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
            [python, "-Ic", code], capture_output=True, text=True, timeout=PROBE_SECONDS,
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
    """In bytes, as noted when it was made; counted where it was not made to the end."""
    try:
        noted = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return int(noted["size_bytes"])
    except (OSError, ValueError, KeyError, TypeError):  # half-made, or by an older edgekit
        return _counted(folder)


def _counted(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except FileNotFoundError:  # another process removes it right now
            continue
    return total
