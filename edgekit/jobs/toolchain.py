"""The toolchain jobs: what there is, made and removed by name."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.work.environments import environments
from edgekit.work.toolchains import (
    TOOLCHAINS,
    Toolchain,
    add_toolchain,
    is_installed,
    remove_toolchain,
)

__all__ = ["State", "add_toolchain", "remove_toolchain", "states"]


@dataclass(frozen=True)
class State:
    """A toolchain; `size_bytes` is what it takes here, or took when it was tried."""

    toolchain: Toolchain
    installed: bool
    size_bytes: int


def states() -> list[State]:
    """Of every toolchain that there is."""
    sizes = {environment.folder: environment.size_bytes for environment in environments()}
    found = []
    for toolchain in TOOLCHAINS.values():
        installed = is_installed(toolchain.name)
        size = sizes[toolchain.folder] if installed else toolchain.size_bytes
        found.append(State(toolchain, installed, size))
    return found
