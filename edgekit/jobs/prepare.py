"""The prepare job: a runtime onto a board, from wheels that are fetched here; and off it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from posixpath import normpath

from edgekit.core.board import Board
from edgekit.core.boards import target as board_named
from edgekit.core.errors import DeviceError, MismatchError, RuntimeMissingError
from edgekit.core.files import readable_bytes, sha256_file
from edgekit.core.protocols import Device
from edgekit.devices import prepare as boards
from edgekit.devices.limits import full_disk
from edgekit.jobs.boards import examined
from edgekit.jobs.hold import held
from edgekit.measure.runners.python import find_python
from edgekit.measure.wheels import Choice, choices, entry_module, reads, refusals
from edgekit.work.wheelhouse import Wanted, fetch

Say = Callable[[str], None]  # gets what was done, a line at a time

# Wheels are deflated; what ai-edge-litert and numpy need unpacked is three times as much.
UNPACKED = 4
VENV = boards.VENV


def prepare(
    target: str,
    *,
    runtime: str = "",
    folder: Path | None = None,
    dry_run: bool = False,
    say: Say = lambda line: None,
) -> None:
    """Install the runtime that fits the board at `target` into ``~/.edgekit/venv`` there.

    Args:
        runtime: ``name`` or ``name==version``; the best that fits if empty.
        folder: of wheels to use; they are fetched with pip otherwise, here and not on the board.
        dry_run: say what would be done, and do none of it.

    Raises:
        DeviceBusyError: somebody is using the board.
        UnknownNameError: no runtime of that name can be installed.
        RuntimeMissingError: none fits the board, or it has no Python.
        PlanError: the wheels cannot be had.
        DeviceError: the board cannot be reached, or the runtime does not start there.
    """
    with held(board_named(target), say=say) as (device, _):
        before = boards.state(device)
        found = examined(device)
        board = found.board
        say(f"{board.model or target}: {board.libc or 'C library unknown'}, {board.arch}")
        prefer = [choice.wheel.name for choice in found.choices]
        fitting = choices(board, runtime, list(dict.fromkeys(prefer)))
        if not fitting:
            raise _nothing_fits(board, runtime)
        if _is_there(device, board, before, fitting, runtime, say):
            return
        best = fitting[0]
        say(f"{best.wheel.title} for Python {best.python.dotted} ({best.python.executable})")
        if before.others:
            raise DeviceError(
                f"{VENV} on {target} holds what edgekit did not put there: {before.others[0]}",
                hint=f"move it away, or edgekit devices prepare {target} --undo, which leaves it",
            )
        if before.what == "made":
            say(f"replaces {before.record.get('runtime')} {before.record.get('version')}")
        wanted = _wanted(board, best)
        if dry_run:
            where = f"from {folder}" if folder else "fetched here with pip"
            say(f"would install {' '.join(wanted.packages)} into {VENV}, {where}; nothing was done")
            return
        say(f"takes the wheels from {folder}" if folder else "fetches the wheels here with pip …")
        wheels = fetch(wanted, folder)
        size = sum(wheel.stat().st_size for wheel in wheels)
        say(f"{len(wheels)} wheels, {readable_bytes(size)}: {_names(wheels)}")
        _check_room(board, size)
        say("sends them, unpacks them there, and starts the runtime …")
        version, python = boards.install(
            device,
            python=best.python.executable,
            wheels=wheels,
            module=entry_module(best.wheel.name),
            distribution=best.wheel.name,
            record={
                "runtime": best.wheel.name,
                "version": best.wheel.version,
                "python": best.python.executable,
                "wheels": {wheel.name: sha256_file(wheel) for wheel in wheels},
            },
            before=before,
        )
        say(f"sent {readable_bytes(device.pushed_bytes)}, unpacked into {VENV}")
        say(f"started there: {best.wheel.name} {version} in {python}")
        say(_taken(device, best, python))


def undo(target: str, *, dry_run: bool = False, say: Say = lambda line: None) -> None:
    """Remove what `prepare` made on the board, and nothing else.

    Raises:
        DeviceError: the board cannot be reached, or it cannot be removed.
    """
    with held(board_named(target), say=say) as (device, _):
        before = boards.state(device)
        if before.what == "none":
            boards.undo(device)  # what a call that was cut off has left
            say(f"there is no {VENV} on {target}: nothing to undo")
            return
        if before.what == "foreign":
            raise DeviceError(
                f"{VENV} on {target} was not made by edgekit: it stays",
                hint="remove it yourself if you do not need it",
            )
        what = f"{before.record.get('runtime')} {before.record.get('version')}"
        if dry_run:
            say(f"would remove {what} from {VENV}; nothing was done")
            return
        left = boards.undo(device)
        say(f"removed {what} from {VENV} on {target}")
        if left:
            say(f"left, since edgekit did not put it there: {', '.join(left)}")


def _is_there(
    device: Device,
    board: Board,
    before: boards.State,
    fitting: list[Choice],
    runtime: str,
    say: Say,
) -> bool:
    """Whether what is wanted lies at `VENV` and starts; says so.

    Raises:
        DeviceError: somebody else's environment lies there, without it.
    """
    venv = next((p for p in board.pythons if p.called.endswith("/.edgekit/venv/bin/python")), None)
    has = venv.runtimes if venv else {}
    names = [choice.wheel.name for choice in fitting]
    if before.what == "foreign":
        there = [name for name in names if name in has]
        if not there:
            install = " ".join(f"'{p}'" if "<" in p else p for p in fitting[0].wheel.packages)
            raise DeviceError(
                f"{VENV} on {device.address} was not made by edgekit, and has no {names[0]}",
                hint=f"install it there yourself: {VENV}/bin/python -m pip install {install}; "
                "or move that folder away",
            )
        say(f"{there[0]} {has[there[0]]} is there already, in a {VENV} that edgekit did not make")
        return True
    best = fitting[0].wheel
    same = (best.name, best.version) == (before.record.get("runtime"), before.record.get("version"))
    if before.what == "made" and same and has.get(best.name) == best.version and venv:
        started = device.run([venv.called, "-Ic", f"import {entry_module(best.name)}"])
        if started.exit_code == 0:
            say(f"{best.title} is there already, in {VENV}")
            return True
        say(f"{best.title} is in {VENV}, but does not start any more")
    return False


def _nothing_fits(board: Board, runtime: str) -> RuntimeMissingError:
    where = board.model or board.address
    if not board.pythons:
        return RuntimeMissingError(
            f"{where} has no Python: what prepare installs are packages of Python",
            hint="the native runner needs none and is used there; or install Python 3.8 or newer "
            "(Debian: sudo apt install python3-minimal)",
        )
    told = "; ".join(refusals(board, runtime)) or "no Python 3.8 or newer there"
    have = ", ".join(f"Python {python.dotted}" for python in board.pythons)
    return RuntimeMissingError(
        f"no runtime fits {where} ({board.libc or 'C library unknown'}, {have}): {told}",
        hint=f"edgekit devices probe {board.address} tells what is there"
        + ("; a 64-bit system would run there" if board.userland_bits == 32 else ""),
    )


def _wanted(board: Board, choice: Choice) -> Wanted:
    assert board.glibc is not None  # or nothing would fit
    return Wanted(
        packages=choice.wheel.packages,
        python=choice.python.version[:2],
        machine=board.arch,
        glibc=board.glibc,
    )


def _names(wheels: list[Path]) -> str:
    return ", ".join("-".join(wheel.name.split("-")[:2]) for wheel in wheels)


def _check_room(board: Board, size: int) -> None:
    free, needed = board.home_free_bytes, size * UNPACKED
    if free is not None and free < needed:
        raise full_disk(board.address, free, needed, board.home)


def _taken(device: Device, choice: Choice, python: str) -> str:
    """Which Python `edgekit profile` will use now, in words.

    Raises:
        MismatchError: it is not the one that was made.
    """
    name = choice.wheel.name
    taken = find_python(device, runtime=name, file_format=reads(name))
    if normpath(taken) == normpath(python):
        return f"edgekit profile BUILD --on {device.address} takes it; --undo removes it"
    if device.address == "local":  # the one that edgekit runs in comes first there
        return f"on this computer edgekit profile goes on taking {taken}, which has one too"
    raise MismatchError(f"{device.address}: {python} was made, but {taken} would be used")
