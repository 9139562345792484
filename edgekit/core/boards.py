"""The boards that one has, as opposed to the kinds of board that there are.

``boards.toml`` in the config folder, or what EDGEKIT_BOARDS names:

    schema = 1

    [boards.kitchen-pi]
    address = "ssh://pi@10.0.0.7"
    kind = "raspberry-pi-5"
    groups = ["pis", "kitchen"]
    python = "~/edge/bin/python"

``--on kitchen-pi`` and ``--on group:pis`` then stand for addresses.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.locate import config_dir
from edgekit.core.noun import Noun

LOCAL = "local"
GROUP = "group:"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_ADDRESS = re.compile(r"local|adb:\S*|[a-z][a-z0-9+.-]*://\S+")

Word = Annotated[str, StringConstraints(pattern=_NAME)]


class Target(Noun):
    """One board that one has.

    Attributes:
        name: what one calls it; its address where it has no entry.
        address: as `edgekit.devices.open_device` takes it.
        kind: the name of a device profile; "" where that is not told.
        groups: names by which several boards are meant at once.
        python, runtime: what to use there unless something else is asked for.
        meter: what measures its power; kept for what reads it.
    """

    name: str = Field(default="", exclude=True)
    address: str
    kind: str = ""
    groups: tuple[Word, ...] = ()
    python: str | None = None
    runtime: str | None = None
    meter: str | dict[str, Any] | None = None

    @model_validator(mode="after")
    def _address(self) -> Self:
        if not _ADDRESS.fullmatch(self.address):
            raise ValueError(
                f"address = {self.address!r} is not local, nor like ssh://[user@]host[:port] "
                "or adb:SERIAL"
            )
        return self


class _File(Noun):
    schema_version: Literal[1] = Field(alias="schema")
    boards: dict[Word, Target] = Field(default_factory=dict)


def boards_file() -> Path:
    """Where the boards are written down; it need not be there."""
    override = os.environ.get("EDGEKIT_BOARDS")
    return Path(override) if override else config_dir() / "boards.toml"


def known_boards() -> dict[str, Target]:
    """The boards in `boards_file` by name, in its order; none where there is no file.

    Raises:
        UsageError: it cannot be read, has an unknown key or a wrong value; or two boards have one
            address; or a board is called like an address.
        UnknownNameError: there is no such kind of board.
    """
    path = boards_file()
    if not path.exists():
        if os.environ.get("EDGEKIT_BOARDS"):
            raise UsageError(f"EDGEKIT_BOARDS={str(path)!r}: there is no such file")
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not valid TOML: {exc}") from exc
    entries = data.get("boards")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and "name" in entry:
            raise UsageError(f"{path}: boards.{name}: unknown key 'name': the table's is the name")
    found = _File.from_json(data, where=str(path)).boards
    boards = {name: board.model_copy(update={"name": name}) for name, board in found.items()}
    addresses: dict[str, str] = {}
    for name, board in boards.items():
        if name == LOCAL:
            raise UsageError(f"{path}: boards.{name}: {LOCAL} is this computer; use another name")
        if board.address in addresses:
            raise UsageError(
                f"{path}: {addresses[board.address]} and {name} have one address, {board.address}"
            )
        addresses[board.address] = name
        _check_kind(board, path)
    return boards


def _check_kind(board: Target, path: Path) -> None:
    from edgekit.core.profile import load_profile

    if not board.kind:
        return
    try:
        load_profile(board.kind)
    except UnknownNameError as exc:
        raise UsageError(
            f"{path}: boards.{board.name}: kind = {board.kind!r}: {exc.message}", hint=exc.hint
        ) from exc


def targets(on: Sequence[str]) -> tuple[Target, ...]:
    """The boards that ``--on`` means, each once: addresses, names of boards, ``group:NAME``.

    A board that is given by its address is the one that has an entry with that address.

    Raises:
        UsageError: the boards' file is not right; nothing is named.
        UnknownNameError: there is no such board or group.
    """
    boards = known_boards()
    by_address = {board.address: board for board in boards.values()}
    chosen: dict[str, Target] = {}
    for word in on:
        for board in _meant(word, boards, by_address):
            chosen.setdefault(board.address, board)
    if not chosen:
        raise UsageError(
            "no board is named",
            hint="--on local, --on ssh://[user@]host[:port], --on adb:SERIAL, or --on NAME",
        )
    return tuple(chosen.values())


def target(on: str) -> Target:
    """The only board that ``--on`` means. Raises as `targets`, and UsageError for several."""
    found = targets([on])
    if len(found) > 1:
        names = ", ".join(board.name for board in found)
        raise UsageError(f"{on} is {len(found)} boards, {names}; one is needed")
    return found[0]


def _meant(word: str, boards: dict[str, Target], by_address: dict[str, Target]) -> Sequence[Target]:
    if word == LOCAL or "://" in word or word.startswith("adb:"):
        return (by_address.get(word) or Target(name=word, address=word),)
    if word.startswith(GROUP):
        group = word.removeprefix(GROUP)
        members = [board for board in boards.values() if group in board.groups]
        if not members:
            groups = {each for board in boards.values() for each in board.groups}
            raise UnknownNameError("group of boards", group, groups, hint=_hint())
        return members
    if word not in boards:
        if "/" in word or ":" in word:  # an address, not quite
            hint = f"an address is ssh://[user@]host[:port], adb:SERIAL or local; {_hint()}"
        else:
            hint = f"for a host that ssh knows: ssh://{word}; {_hint()}"
        raise UnknownNameError("board", word, [*boards, LOCAL], hint=hint)
    return (boards[word],)


def _hint() -> str:
    return f"boards have their names in {boards_file()} (edgekit boards)"
