"""Which kind of board a board is, and a profile of its own for one that is none of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from edgekit.core.board import Board
from edgekit.core.errors import PlanError
from edgekit.core.noun import Noun
from edgekit.core.profile import DeviceProfile, Runtime

How = Literal["model", "module", "chip", "architecture"]

# Profiles that stand for whatever has that system and architecture.
GENERIC = {
    ("linux", "aarch64"): "linux-aarch64",
    ("linux", "x86_64"): "linux-x86_64",
    ("android", "aarch64"): "android-arm64",
}

_WORDS = {
    "model": "by its model",
    "module": "by its module",
    "chip": "by its chip, its model is another",
    "architecture": "by its architecture alone",
}


class Fit(Noun):
    """A profile, and by what it was found."""

    profile: str
    title: str
    how: How

    @property
    def words(self) -> str:
        return _WORDS[self.how]


def fits(board: Board, profiles: Sequence[DeviceProfile]) -> list[Fit]:
    """The profiles that suit `board`, all equally well; empty if none does.

    The model decides; else the module that the device tree names; else the chip, which several
    kinds of board may share; else the generic profile of its system and architecture.
    """
    if board.userland_bits == 32:
        return []  # the runtimes are 64-bit programs, whatever the processor could do
    same = [p for p in profiles if p.os == board.system and p.arch == board.arch]
    ways: tuple[tuple[How, Callable[[DeviceProfile, Board], bool]], ...] = (
        ("model", _same_model),
        ("module", _same_module),
        ("chip", _same_chip),
    )
    for how, is_one in ways:
        found = [profile for profile in same if is_one(profile, board)]
        if found:
            return [Fit(profile=p.name, title=p.title, how=how) for p in found]
    generic = GENERIC.get((board.system, board.arch))
    return [
        Fit(profile=p.name, title=p.title, how="architecture") for p in same if p.name == generic
    ]


def _same_model(profile: DeviceProfile, board: Board) -> bool:
    """Boards add revisions to their names; for phones more words mean another phone."""
    title = _plain(profile.title)
    names = [_plain(name) for name in (board.model, *board.names) if name]
    if profile.os == "android":
        return title in names
    return any(name == title or name.startswith(f"{title} ") for name in names)


def _same_module(profile: DeviceProfile, board: Board) -> bool:
    """A carrier board of another maker names itself, and the module beside it:
    ``nvidia,p3768-0000+p3767-0005-super``.
    """
    named = {word for name in board.names for word in re.split(r"[,+]", name.lower())}
    return any(
        word == module or word.startswith(f"{module}-")
        for module in profile.modules
        for word in named
    )


def _same_chip(profile: DeviceProfile, board: Board) -> bool:
    chips = {_joined(name) for name in (board.soc, *board.names) if name}
    chips |= {_joined(name.rpartition(",")[2]) for name in board.names}
    return bool(profile.soc) and _joined(profile.soc) in chips


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.lower()).split())


def _joined(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def draft(
    board: Board, base: DeviceProfile, versions: Mapping[str, Sequence[str]], *, own: bool
) -> DeviceProfile:
    """A profile for `board`, from the one that suits it best.

    Args:
        base: gives the variants, and what each runtime is known to load.
        versions: of each runtime that comes as a wheel, the versions that run there, best first.
        own: whether `base` is a profile of this very kind of board, so that its accelerators are
            the board's too.

    Raises:
        PlanError: no runtime of `base` runs there.
    """
    runtimes = [r for runtime in base.runtimes if (r := _runtime(board, runtime, versions))]
    if not runtimes:
        raise PlanError(
            f"no runtime that edgekit knows runs on {board.model or board.address}: "
            f"{board.libc or 'its C library is unknown'}, {board.arch}",
            hint=f"edgekit devices probe {board.address}",
        )
    known = {variant for runtime in runtimes for variant in runtime.variants}
    variants = tuple(v for v in base.variants if v in known) or runtimes[0].variants[:1]
    data: dict[str, Any] = {
        "schema": 1,
        "name": _slug(board.model) or "my-board",
        "title": board.model or f"a board at {board.address}",
        "page": base.page,
        "os": base.os,
        "arch": base.arch,
        "transport": _transport(board.address),
        "soc": board.soc,
        "memory_mb": board.memory_bytes // 2**20 if board.memory_bytes else None,
        "threads": min(base.threads if own else 4, sum(c.cores for c in board.cpu) or 1),
        "variants": variants,
        "notes": f"Probed at {board.address}: {board.title or board.system}, {board.libc}.",
        "cpu": [
            {"model": c.model, "cores": c.cores, **({"max_mhz": c.max_mhz} if c.max_mhz else {})}
            for c in board.cpu
        ],
        "runtimes": [runtime.to_json() for runtime in runtimes],
        "accelerators": [a.to_json() for a in base.accelerators] if own else [],
    }
    return DeviceProfile.from_json(data, where=f"the profile of {board.address}")


def _runtime(
    board: Board, runtime: Runtime, versions: Mapping[str, Sequence[str]]
) -> Runtime | None:
    """As the board can have it, or None."""
    if board.system != "linux":
        return runtime  # apps bring it along
    if runtime.name == "tensorrt":
        told = next((p.version for p in board.accelerators if p.name == "TensorRT"), None)
        found = re.match(r"\d+\.\d+", told or "")
        there = told is not None or "trtexec" in board.programs
        version = found[0] if found else runtime.version
        return runtime.model_copy(update={"version": version}) if there else None
    if runtime.name in versions:
        run = versions[runtime.name]
        if runtime.version in run:
            return runtime
        return runtime.model_copy(update={"version": run[0], "min_glibc": ""}) if run else None
    return runtime


def _transport(address: str) -> str:
    """ "ssh" for ``ssh://…``, "adb" for ``adb:SERIAL``, "local" for ``local``."""
    return re.split(r"[:/]", address, maxsplit=1)[0]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")


def as_toml(profile: DeviceProfile) -> str:
    """The profile as the TOML file that `edgekit.core.profile.load_profile` reads."""
    data = profile.to_json()
    lines = [
        "# Written by edgekit devices probe: what the board said. Change what you know better."
    ]
    tables = ("cpu", "runtimes", "accelerators")
    lines += [
        f"{key} = {_value(value)}"
        for key, value in data.items()
        if key not in tables and value not in ("", None, [])
    ]
    for table in tables:
        for row in data[table]:
            plain = {k: v for k, v in row.items() if v not in ("", None) and v != {}}
            lines += ["", f"[[{table}]]", *_pairs(plain)]
    return "\n".join(lines) + "\n"


def _pairs(row: Mapping[str, Any]) -> Iterable[str]:
    return (f"{key} = {_value(value)}" for key, value in row.items())


def _value(value: Any) -> str:
    """A value as TOML writes it; its basic strings have the escapes of JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
