"""Whether what a toolchain needs is on this computer; cheap, nothing of it is loaded."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from edgekit.core.requirement import Requirement
from edgekit.work.toolchains import is_installed


def missing(requirement: Requirement) -> str:
    """Why it cannot be used, in a few words ("it is not set"); empty if it is there."""
    name = requirement.name
    if requirement.kind == "package":
        return "" if package_version(name) else "it is not installed"
    if requirement.kind == "toolchain":
        return "" if is_installed(name) else "it is not installed"
    if requirement.kind == "program":
        return "" if shutil.which(name) else "it is not on PATH"
    if requirement.kind == "variable":
        return _missing_variable(name)
    return "" if find_file(name) else "it is not there"


def package_version(name: str) -> str:
    """Of the installed distribution; empty if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def find_file(name: str) -> Path | None:
    """A file by its path, or a shared library by its name in the usual folders."""
    if "/" in name:
        path = Path(name).expanduser()
        return path if path.exists() else None
    folders = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    multiarch = f"/usr/lib/{platform.machine()}-linux-gnu"  # Debian's place
    for folder in (*folders, "/usr/local/lib", multiarch, "/usr/lib64", "/usr/lib", "/lib"):
        if (found := Path(folder) / name).exists():
            return found
    return None


def _missing_variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        return "it is not set"
    return "" if Path(value).exists() else f"it leads to {value!r}, where nothing is"
