"""`edgekit devices probe`: what a board is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit.core.board import Board, BoardPython, Cluster
    from edgekit.jobs.boards import Examined

MOST_SENSORS = 6  # of one kind; --json has them all


@click.command(name="probe")
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "-o",
    "out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.toml",
    help="Write a profile of this board, for --for FILE.toml.",
)
@click.option(
    "--like",
    default="",
    metavar="PROFILE",
    help="With -o: which kind of board it is, where several suit it.",
)
def command(target: str, as_json: bool, out: Path | None, like: str) -> None:
    """Say what the board at TARGET is, and which profile suits it.

    TARGET is what --on takes: local, ssh://[user@]host[:port], adb:SERIAL, or a board of yours. The
    board needs a POSIX shell, nothing else; it is only read. What cannot be known is said with the
    reason.
    """
    from edgekit.core.boards import target as board
    from edgekit.core.errors import UsageError
    from edgekit.jobs.boards import examine, write_draft
    from edgekit.reports.words import plain

    if out is not None and out.suffix != ".toml":
        raise UsageError(f"{str(out)!r} is not the name of a profile: it has to end in .toml")
    if like and out is None:
        raise UsageError("--like is for the profile that -o writes", hint="-o my-board.toml")
    found = examine(board(target).address)
    profile = write_draft(found, out, like) if out else None
    if as_json:
        import json

        click.echo(json.dumps(_as_json(found), indent=2, ensure_ascii=False))
        return
    for key, value in _lines(found):
        click.echo(plain(f"{key:<13}{value}"))
    if profile is not None:
        click.echo(plain(f"{out}: profile {profile.name}; edgekit convert MODEL --for {out} …"))


def _as_json(found: Examined) -> dict[str, object]:
    return {
        "board": found.board.to_json(),
        "profiles": [fit.to_json() for fit in found.fits],
        "installable": [
            {
                "runtime": each.wheel.name,
                "version": each.wheel.version,
                "python": each.python.called,
            }
            for each in found.choices
        ],
    }


def _lines(found: Examined) -> Iterator[tuple[str, str]]:
    from edgekit.core.files import readable_bytes

    board = found.board
    kernel = f"Linux {board.kernel}" if board.kernel else ""
    yield "board", board.model or _unknown(board, "model")
    yield "chip", board.soc or _unknown(board, "soc")
    yield "system", ", ".join(filter(None, (board.title, kernel, board.machine)))
    yield "programs", _programs(board)
    clusters = [_cluster(cluster) for cluster in board.cpu] or [_unknown(board, "cpu")]
    yield "processor", " + ".join(clusters)
    yield "memory", _memory(board)
    if board.emulated:
        yield "emulated", f"{board.emulated}: no time measured there means anything"
    if board.virtual:
        yield "virtual", board.virtual
    for python in board.pythons:
        yield "python", _python(python)
    if board.root:
        words = {"root": "logged in as root", "sudo": "sudo without a password"}
        yield "root", words.get(board.root, "not without a password")
    if board.store_free_bytes is not None:
        yield "room", f"{readable_bytes(board.store_free_bytes)} free in {board.store}"
    for part in board.accelerators:
        version = f" ({part.version})" if part.version else ""
        yield "accelerator", f"{part.name}{version}, seen at {part.seen}"
    yield from _sensors(board)
    if board.power_mode:
        yield "power mode", board.power_mode
    if board.throttled is not None:
        yield "throttled", _throttled(board.throttled)
    for key, why in board.unavailable.items():
        yield "unavailable", f"{key}: {why}"
    yield from _next(found)


def _unknown(board: Board, key: str) -> str:
    return f"unknown: {board.unavailable.get(key, 'not told')}"


def _programs(board: Board) -> str:
    bits = f"{board.userland_bits}-bit" if board.userland_bits else "of unknown width"
    text = ", ".join(filter(None, (board.userland_machine, bits, board.libc)))
    if board.userland_bits == 32 and board.machine in ("aarch64", "x86_64"):
        text += "; the kernel is 64-bit: a 64-bit system would run on this board"
    return text


def _cluster(cluster: Cluster) -> str:
    most = f" {cluster.max_mhz / 1000:.1f} GHz" if cluster.max_mhz else ""
    now = f"now {cluster.now_mhz / 1000:.1f} GHz" if cluster.now_mhz else ""
    more = ", ".join(filter(None, (cluster.governor, now)))
    return f"{cluster.cores} × {cluster.model}{most}" + (f" ({more})" if more else "")


def _memory(board: Board) -> str:
    from edgekit.core.files import readable_bytes

    if board.memory_bytes is None:
        return _unknown(board, "memory_bytes")
    text = readable_bytes(board.memory_bytes)
    if board.available_bytes is not None:
        text += f", {readable_bytes(board.available_bytes)} available"
    if board.swap_bytes is not None:
        text += f", {readable_bytes(board.swap_bytes)} of swap" if board.swap_bytes else ", no swap"
    return text


def _python(python: BoardPython) -> str:
    told = [f"{name} {version}" for name, version in python.runtimes.items()]
    text = f"{python.dotted} {python.called}: {', '.join(told) or 'no runtime'}"
    if python.bits != 64:
        text += f"; {python.bits}-bit"
    return text + ("; pip is kept out of it (PEP 668)" if python.managed else "")


def _sensors(board: Board) -> Iterator[tuple[str, str]]:
    for kind in dict.fromkeys(sensor.kind for sensor in board.sensors):
        names = list(dict.fromkeys(s.name for s in board.sensors if s.kind == kind))
        more = f" and {len(names) - MOST_SENSORS} more" if len(names) > MOST_SENSORS else ""
        yield "sensor", f"{kind}: {', '.join(names[:MOST_SENSORS])}{more}"


# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_BITS = ("under-voltage", "clock capped", "throttled", "soft temperature limit")


def _throttled(bits: int) -> str:
    now = [name for number, name in enumerate(_BITS) if bits >> number & 1]
    since = [name for number, name in enumerate(_BITS) if bits >> (16 + number) & 1]
    if not bits:
        return "never since it was started"
    return "; ".join(
        f"{when}: {', '.join(names) or 'nothing'}"
        for when, names in (("now", now), ("since", since))
    )


def _next(found: Examined) -> Iterator[tuple[str, str]]:
    from edgekit.jobs.boards import no_profile

    board = found.board
    if not found.fits:
        yield "profile", f"none: {no_profile(board)}"
        return
    names = " or ".join(f"{fit.profile} ({fit.title})" for fit in found.fits)
    yield "profile", f"{names}, {found.fits[0].words}"
    if len(found.fits) > 1:
        names = "|".join(fit.profile for fit in found.fits)
        yield "next", f"you know which it is: edgekit convert MODEL --for {names} …"
    else:
        yield "next", f"edgekit convert MODEL --for {found.fits[0].profile} …"
    has = {f"{n} {v}" for python in board.pythons for n, v in python.runtimes.items()}
    if found.choices and not has:
        first = found.choices[0]
        yield "", f"edgekit devices prepare {board.address} installs {first.wheel.title} there"
