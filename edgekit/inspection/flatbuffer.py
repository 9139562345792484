"""Reading flatbuffers that anybody may have written, without generated code and without trust.

Every position and length is checked against the file before it is used, and no honest file makes a
reader go over the same bytes again and again, so that what is read in all is bounded by its size.
Wire format: https://flatbuffers.dev/internals/. A schema is the part of the ``.fbs`` that is read;
fields that are left out at the end of a table do not matter, as new ones are only ever added there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# What a schema calls it: struct's code and the size in bytes.
_SCALARS = {
    "bool": ("?", 1),
    "byte": ("b", 1),
    "ubyte": ("B", 1),
    "short": ("h", 2),
    "ushort": ("H", 2),
    "int": ("i", 4),
    "uint": ("I", 4),
    "long": ("q", 8),
    "ulong": ("Q", 8),
    "float": ("f", 4),
    "double": ("d", 8),
}
READINGS = 8  # how many times over its size a file may be read
ALWAYS_FINE_BYTES = 2**20


class DamagedError(Exception):
    """The content is not what its format says; the message says where."""


@dataclass(frozen=True)
class _Field:
    slot: int
    kind: str
    default: Any


class Schema:
    """Tables by name, from text in the language of ``.fbs`` files.

    A union is written as its two slots: ``options_type:ubyte; options:union;`` and opened with
    `Table.open`, which is told the table's name.
    """

    def __init__(self, text: str) -> None:
        self.tables = {
            match[1]: _fields(match[2]) for match in re.finditer(r"table (\w+) \{([^}]*)\}", text)
        }


def _fields(body: str) -> dict[str, _Field]:
    found = {}
    for slot, line in enumerate(re.findall(r"[^;]+(?=;)", body)):
        name, _, kind = line.strip().partition(":")
        kind, _, default = kind.partition("=")
        found[name] = _Field(slot, kind.strip(), int(default or 0))
    return found


class Budget:
    """How much may be read of a file of `size` bytes, all that lies inside it together."""

    def __init__(self, size: int) -> None:
        self._left = READINGS * size + ALWAYS_FINE_BYTES

    def spend(self, size: int) -> None:
        """Count `size` bytes as read.

        Raises:
            DamagedError: more was read than an honest file has.
        """
        self._left -= size
        if self._left < 0:
            raise DamagedError("its parts are the same bytes over and over")


class File:
    """A flatbuffer of a schema; `root` opens it.

    Args:
        data: the flatbuffer alone, without what stands before or behind it.
        budget: of the file that it is a part of; its own if not given.
    """

    def __init__(
        self, schema: Schema, data: bytes | memoryview, budget: Budget | None = None
    ) -> None:
        self.schema = schema
        self.data = memoryview(data)
        self.budget = budget or Budget(len(self.data))

    def root(self, name: str) -> Table:
        """The table that the file begins with.

        Raises:
            DamagedError: it is not there; so does everything that is read later.
        """
        return Table(self, name, self.number("I", 4, 0))

    def number(self, code: str, size: int, at: int) -> Any:
        return struct.unpack_from("<" + code, self._part(at, size))[0]

    def numbers(self, code: str, size: int, at: int) -> tuple[Any, ...]:
        count, start = self.length(at), at + 4
        return struct.unpack(f"<{count}{code}", self._part(start, count * size))

    def length(self, at: int) -> int:
        return int(self.number("I", 4, at))

    def content(self, at: int) -> memoryview:
        """The bytes of a ``[ubyte]``, not copied."""
        count, start = self.length(at), at + 4
        if start + count > len(self.data):
            raise DamagedError(f"{count} bytes at {start} reach beyond its end")
        return self.data[start : start + count]

    def _part(self, at: int, size: int) -> memoryview:
        if at < 0 or at + size > len(self.data):
            raise DamagedError(f"something at {at} lies beyond its end, {len(self.data)}")
        self.budget.spend(size)
        return self.data[at : at + size]


class Table:
    """One table; its fields are attributes: numbers, text, tuples of those, and other tables.

    Text that is not there is "", a table None, a vector (), ``[ubyte]`` an empty memoryview.
    """

    def __init__(self, file: File, name: str, at: int) -> None:
        self._file, self._name, self._at = file, name, at
        self._fields = file.schema.tables[name]
        vtable = at - file.number("i", 4, at)
        size = file.number("H", 2, vtable)
        if size < 4 or size % 2:
            raise DamagedError(f"a {name} at {at} has no proper list of fields")
        self._offsets = struct.unpack(f"<{size // 2 - 2}H", file._part(vtable + 4, size - 4))

    def __getattr__(self, name: str) -> Any:
        try:
            field = self._fields[name]
        except KeyError:
            raise AttributeError(name) from None
        at = self._place(field)
        if field.kind in _SCALARS:
            return field.default if at is None else self._file.number(*_SCALARS[field.kind], at)
        if field.kind == "[ubyte]":
            return memoryview(b"") if at is None else self._file.content(self._follow(at))
        if field.kind == "string":
            return "" if at is None else _text(self._file.content(self._follow(at)))
        if field.kind.startswith("["):
            return () if at is None else self._vector(field.kind[1:-1], self._follow(at))
        return None if at is None else Table(self._file, field.kind, self._follow(at))

    def open(self, name: str, kind: str) -> Table | None:
        """The union called `name` as a table of that kind; None if it is not there."""
        at = self._place(self._fields[name])
        return None if at is None else Table(self._file, kind, self._follow(at))

    def has(self, name: str) -> bool:
        return self._place(self._fields[name]) is not None

    def _place(self, field: _Field) -> int | None:
        offset = self._offsets[field.slot] if field.slot < len(self._offsets) else 0
        return self._at + offset if offset else None

    def _follow(self, at: int) -> int:
        return at + int(self._file.number("I", 4, at))

    def _vector(self, kind: str, at: int) -> tuple[Any, ...]:
        if kind in _SCALARS:
            return self._file.numbers(*_SCALARS[kind], at)
        places = enumerate(self._file.numbers("I", 4, at))
        starts = [at + 4 + 4 * index + offset for index, offset in places]
        if kind == "string":
            return tuple(_text(self._file.content(start)) for start in starts)
        return tuple(Table(self._file, kind, start) for start in starts)


def pick(items: tuple[Any, ...] | list[Any], index: int, what: str) -> Any:
    """``items[index]``, which the file says.

    Raises:
        DamagedError: there is no such item.
    """
    if not 0 <= index < len(items):
        raise DamagedError(f"there is no {what} {index}; it has {len(items)}")
    return items[index]


def picked(items: tuple[Any, ...], indices: tuple[int, ...], what: str) -> Iterator[Any]:
    """The items of those indices, without those that are left out (−1)."""
    return (pick(items, index, what) for index in indices if index >= 0)


LONGEST_TEXT = 1000


def _text(content: memoryview) -> str:
    return bytes(content[:LONGEST_TEXT]).decode("utf-8", "replace")
