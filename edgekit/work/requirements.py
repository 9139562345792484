"""Whether what a toolchain needs is on this computer. No framework is imported for it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

from edgekit.core.requirement import Requirement
from edgekit.work.environments import MARKER, environments_dir


def missing(requirement: Requirement) -> str:
    """Why it cannot be used, in a few words; empty if it is there."""
    return _CHECKS[requirement.kind](requirement.name)


def _package(name: str) -> str:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "it is not installed"
    return ""


def _toolchain(name: str) -> str:
    return "" if (environments_dir() / name / MARKER).is_file() else "it is not installed"


def _program(name: str) -> str:
    return "" if shutil.which(name) else "it is not on PATH"


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        return "it is not set"
    return "" if Path(value).is_dir() else f"it leads to {value!r}, which is no folder"


def _file(name: str) -> str:
    return "" if Path(name).exists() else "it is not there"


_CHECKS = {
    "package": _package,
    "toolchain": _toolchain,
    "program": _program,
    "variable": _variable,
    "file": _file,
}
