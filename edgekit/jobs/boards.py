"""The jobs about one board: what it is, and which profile and runtimes suit it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.board import Board, BoardPython
from edgekit.core.boards import target as board_named
from edgekit.core.errors import OutputError, PlanError, UnknownNameError
from edgekit.core.files import check_file, write_text
from edgekit.core.fitting import Fit, as_toml, draft, fits
from edgekit.core.profile import DeviceProfile, all_profiles, load_profile
from edgekit.core.protocols import Device
from edgekit.devices import open_device
from edgekit.devices.probe import probe
from edgekit.measure.runners.python import PYTHONS
from edgekit.measure.wheels import Choice, choices, modules, wheels

# After those that `edgekit profile` looks at: Pythons that a runtime can be installed for.
MORE_PYTHONS = tuple(f"python3.{minor}" for minor in range(14, 7, -1))


@dataclass(frozen=True)
class Examined:
    """A board, the profiles that suit it equally well, and what can be installed, best first."""

    board: Board
    fits: list[Fit]
    choices: list[Choice]

    def draft(self, like: str = "") -> DeviceProfile:
        """A profile of the board's own, made from the one called `like` if several suit it.

        Raises:
            PlanError: nothing that edgekit knows runs there, or several kinds of board suit it
                equally well; says why.
            UnknownNameError: `like` does not suit it.
        """
        if not self.fits:
            raise PlanError(no_profile(self.board), hint="edgekit devices lists the kinds of board")
        names = [fit.profile for fit in self.fits]
        if like and like not in names:
            raise UnknownNameError(f"profile that suits {self.board.address}", like, names)
        if not like and len(names) > 1:
            raise PlanError(
                f"{self.board.address} may be any of {', '.join(names)}: they have its chip, "
                f"{self.board.soc}, and neither its model nor its module tells which it is",
                hint=f"say which: --like {names[0]}",
            )
        best = self.fits[names.index(like) if like else 0]
        own = best.how != "architecture"
        return draft(self.board, load_profile(best.profile), _versions(self.board), own=own)


def examine(target: str) -> Examined:
    """What the board at `target` is.

    Raises:
        UsageError, UnknownNameError: `target` is no address, and no board's name.
        DeviceError: it cannot be reached, or does not answer.
    """
    with open_device(board_named(target).address) as device:
        return examined(device)


def examined(device: Device) -> Examined:
    """The same, of a device that is connected."""
    here = (sys.executable,) if device.address == "local" else ()  # the first that is taken there
    board = probe(device, (*here, *PYTHONS, *MORE_PYTHONS), modules())
    found = fits(board, [p for p in all_profiles() if p.page])  # not this computer's
    prefer = [r.name for r in load_profile(found[0].profile).runtimes] if found else []
    return Examined(board, found, choices(board, prefer=prefer))


def write_draft(target: Examined, file: Path, like: str = "") -> DeviceProfile:
    """Write the board's own profile to `file`, which may not be there yet.

    Raises:
        PlanError, UnknownNameError: see `Examined.draft`.
        OutputError: it cannot be written.
    """
    if file.exists():
        raise OutputError(
            f"{str(file)!r} is there already; it may hold what you know of the board",
            hint="name another file, or remove it",
        )
    check_file(file, hint="name a file: -o my-board.toml")
    profile = target.draft(like)
    write_text(file, as_toml(profile))
    load_profile(str(file))  # what was written is what can be read
    return profile


def no_profile(board: Board) -> str:
    """Why no profile suits a board."""
    if board.userland_bits == 32:
        kernel = ", although its kernel is 64-bit" if board.machine == "aarch64" else ""
        return f"the programs there are 32-bit{kernel}; the runtimes that edgekit knows are 64-bit"
    what = f"{board.system or 'an unknown system'} on {board.arch or 'an unknown machine'}"
    return f"edgekit has no profile for {what}"


def _versions(board: Board) -> dict[str, list[str]]:
    """Of each runtime that comes as a wheel, the versions that run on `board`, best first."""
    pythons: list[BoardPython | None] = [p for p in board.pythons if p.version >= (3, 8, 0)]
    found: dict[str, list[str]] = {}
    for wheel in wheels():
        run = found.setdefault(wheel.name, [])
        if any(not wheel.refuses(board, python) for python in pythons or [None]):
            run.append(wheel.version)
    return found
