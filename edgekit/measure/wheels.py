"""Which runtime can be installed on which board, as ``runtime_bench/edgekit_bench`` knows it.

The tables stand there, in wheels.py, and nowhere else, since the runner has to tell it on the board
itself.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgekit.core.bench import PACKAGE
from edgekit.core.board import Board, BoardPython
from edgekit.core.errors import UnknownNameError
from edgekit.measure.runners.python import OLDEST_PYTHON

_ARCHES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Wheel:
    """A runtime of one version.

    Attributes:
        packages: what pip is told to install.
        pythons: the oldest and the newest version that there are wheels for.
        glibc: the oldest that they run with.
    """

    name: str
    version: str
    packages: tuple[str, ...]
    pythons: tuple[tuple[int, int], tuple[int, int]]
    glibc: tuple[int, int]

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    def refuses(self, board: Board, python: BoardPython | None) -> str:
        """Why it does not run on `board` with `python`; empty if it does."""
        if board.arch not in _ARCHES:
            return f"{self.title} has no wheel for {board.arch or 'an unknown machine'}"
        if board.glibc is None:
            return f"{self.title} needs glibc, not {board.libc or 'an unknown C library'}"
        if board.glibc < self.glibc:
            return f"{self.title} needs glibc {_dotted(self.glibc)}"
        if python is None:
            return ""
        if python.implementation != "cpython" or python.bits != 64:
            return f"{self.title} needs a 64-bit CPython"
        if not self.pythons[0] <= python.version[:2] <= self.pythons[1]:
            return f"{self.title} needs Python {_dotted(self.pythons[0])} to " + _dotted(
                self.pythons[1]
            )
        return ""


@dataclass(frozen=True)
class Choice:
    """A runtime to install and the Python to install it for."""

    wheel: Wheel
    python: BoardPython


@cache
def wheels() -> tuple[Wheel, ...]:
    """All of them, the preferred first."""
    found = []
    for packages, oldest, newest, glibc in _tables().WHEELS:
        words = shlex.split(packages)
        name, _, version = words[0].partition("==")
        found.append(Wheel(name, version, tuple(words), (oldest, newest), glibc))
    return tuple(found)


def modules() -> dict[str, str]:
    """The module by which a runtime is recognised, by the runtime's name."""
    return {name: module.partition(".")[0] for name, module, _ in _tables().RUNTIMES}


def entry_module(name: str) -> str:
    """The module that is imported to use the runtime `name`."""
    return str(next(module for known, module, _ in _tables().RUNTIMES if known == name))


def reads(name: str) -> str:
    """The format that the runtime `name` reads."""
    return str(next(kind for known, _, kind in _tables().RUNTIMES if known == name))


def choices(board: Board, wanted: str = "", prefer: Sequence[str] = ()) -> list[Choice]:
    """What can be installed on `board`, the best first.

    Args:
        wanted: ``name`` or ``name==version``; any if empty.
        prefer: names of runtimes in the order in which the board's profile has them.

    Raises:
        UnknownNameError: no runtime of that name is known.
    """
    known = wheels()
    named = [w for w in known if not wanted or wanted in (w.name, f"{w.name}=={w.version}")]
    if not named:
        names = [name for w in known for name in (w.name, f"{w.name}=={w.version}")]
        raise UnknownNameError("runtime that can be installed", wanted, names)
    rank = {name: number for number, name in enumerate(prefer)}
    named.sort(key=lambda wheel: rank.get(wheel.name, len(rank)))
    # Not an environment: it may go away, and what is made from it with it.
    pythons = [p for p in board.pythons if p.version[:2] >= OLDEST_PYTHON and not p.environment]
    pythons += [p for p in board.pythons if p.version[:2] >= OLDEST_PYTHON and p.environment]
    return [
        Choice(wheel, python)
        for wheel in named
        for python in pythons
        if not wheel.refuses(board, python)
    ]


def refusals(board: Board, wanted: str = "") -> list[str]:
    """Of each runtime why it cannot be installed with the first Python of `board`."""
    python = board.pythons[0] if board.pythons else None
    reasons = (
        wheel.refuses(board, python)
        for wheel in wheels()
        if wanted.startswith(wheel.name) or not wanted
    )
    return list(dict.fromkeys(reason for reason in reasons if reason))


@cache
def _tables() -> Any:
    spec = importlib.util.spec_from_file_location("edgekit_bench_wheels", PACKAGE / "wheels.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
