"""The reader of flatbuffers on content that is meant to harm it."""

from __future__ import annotations

import struct

import pytest

from edgekit.inspection.files import count_zeros
from edgekit.inspection.flatbuffer import DamagedError, File, Schema, pick

SCHEMA = Schema("table Root { number:int=7; many:[Root]; text:string; raw:[ubyte]; }")


def root_with(vtable: list[int], body: bytes) -> bytes:
    """A file of one table whose fields are at these offsets."""
    table = 4 + 4 + 2 * len(vtable)
    fields = struct.pack(f"<HH{len(vtable)}H", 4 + 2 * len(vtable), 4 + len(body), *vtable)
    return struct.pack("<I", table) + fields + struct.pack("<i", table - 4) + body


def test_defaults_and_what_is_not_there() -> None:
    root = File(SCHEMA, root_with([], b"")).root("Root")
    assert (root.number, root.many, root.text, bytes(root.raw)) == (7, (), "", b"")
    assert root.open("many", "Root") is None
    assert not hasattr(root, "unheard_of")


def test_a_number() -> None:
    assert File(SCHEMA, root_with([4], struct.pack("<i", -3))).root("Root").number == -3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (struct.pack("<II", 4, 2**31), "many"),  # more entries than there are bytes
        (struct.pack("<II", 2**31, 0), "many"),  # somewhere beyond the end
        (struct.pack("<II", 4, 2**32 - 1), "text"),
        (struct.pack("<II", 4, 2**32 - 1), "raw"),
    ],
)
def test_a_length_or_place_beyond_the_end(body: bytes, field: str) -> None:
    places = {"many": [0, 4], "text": [0, 0, 4], "raw": [0, 0, 0, 4]}
    root = File(SCHEMA, root_with(places[field], body)).root("Root")
    with pytest.raises(DamagedError, match="beyond"):
        getattr(root, field)


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 4, b"\0" * 64])
def test_a_root_that_is_none(content: bytes) -> None:
    with pytest.raises(DamagedError):
        File(SCHEMA, content).root("Root")


def test_the_same_bytes_are_not_read_without_end() -> None:
    """Thousands of entries may lead to one place: reading is bounded by the size of the file."""
    body = struct.pack("<II", 4, 10_000) + struct.pack("<I", 4) * 10_000
    file = File(SCHEMA, root_with([0, 0, 0, 4], body))
    root = file.root("Root")
    assert len(root.raw) == 10_000
    many = File(SCHEMA, root_with([0, 4], struct.pack("<II", 4, 0))).root("Root")
    assert many.many == ()

    def read_on() -> None:
        for _ in range(10_000):
            file.numbers("I", 4, root._follow(root._place(SCHEMA.tables["Root"]["raw"])))

    with pytest.raises(DamagedError, match="the same bytes over and over"):
        read_on()


def test_an_index_from_the_file() -> None:
    assert pick((1, 2), 1, "tensor") == 2
    for index in (-1, 2):
        with pytest.raises(DamagedError, match=f"there is no tensor {index}; it has 2"):
            pick((1, 2), index, "tensor")


@pytest.mark.parametrize(
    ("content", "dtype", "zero_point", "count", "zeros"),
    [
        (struct.pack("<4f", 0.0, -0.0, 1.0, 1e-30), "float32", 0, None, 2),
        (struct.pack("<3e", 0.0, -0.0, 1.0), "float16", 0, None, 2),
        (struct.pack("<3H", 0x0000, 0x8000, 0x3F80), "bfloat16", 0, None, 2),
        (bytes([3, 0, 3]), "int8", 3, None, 2),
        (struct.pack("<2b", -128, 0), "int8", -128, None, 1),
        (bytes([0x10, 0x00]), "int4", 0, 4, 3),
        (bytes([0x10, 0x00]), "int4", 0, 3, 2),  # half of the last byte is nothing
        (bytes([0xF0]), "int4", -1, 2, 1),
        (bytes([0x88]), "int4", 8, 2, 2),
        (bytes([0b11000001]), "int2", 0, 4, 2),
        (b"", "float32", 0, None, 0),
    ],
)
def test_counting_zeros(
    content: bytes, dtype: str, zero_point: int, count: int | None, zeros: int
) -> None:
    assert count_zeros(content, dtype, zero_point=zero_point, count=count) == zeros
