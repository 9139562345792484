"""Whether what a toolchain needs is on this computer; cheap, nothing of it is loaded."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
from pathlib import Path

from edgekit.core.files import sha256_file
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


def sdk_version(root: Path, *, said_in: str = "", compiler: str = "**/*.so*") -> str:
    """What tells the SDK in `root` from another, for the identity of steps that it decides.

    The version that its file `said_in` says in a line ``version: …``; else a digest of the files of
    its compiler, those of the pattern `compiler`. `root` may be a file itself.
    """
    told = root / said_in
    if said_in and told.is_file():
        text = told.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"(?m)^\s*version:\s*(\S+)", text):
            return found[1]
    files = [root] if root.is_file() else sorted(p for p in root.glob(compiler) if p.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.name}\0{sha256_file(file)}\n".encode())
    return total.hexdigest()


def _missing_variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        return "it is not set"
    return "" if Path(value).exists() else f"it leads to {value!r}, where nothing is"
