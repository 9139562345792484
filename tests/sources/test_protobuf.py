"""The protobuf reader: real SavedModels, and bytes that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.sources.protobuf import (
    WireError,
    children,
    fields,
    saved_model_called,
    saved_model_ops,
    saved_model_signatures,
)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*parts: tuple[int, bytes]) -> bytes:
    """Length-delimited fields."""
    return b"".join(varint(number << 3 | 2) + varint(len(data)) + data for number, data in parts)


def saved_model(*ops: str, inside: str = "") -> bytes:
    nodes = [(1, message((2, op.encode()))) for op in ops]
    function = message((3, message((2, inside.encode()))))
    graph = message(*nodes, (2, message((1, function))))
    return message((2, message((2, graph), (5, message((1, b"serving_default"))))))


def test_finds_operations_of_the_graph_and_of_its_functions() -> None:
    content = saved_model("MatMul", "Relu", inside="ReadFile")

    assert saved_model_ops(content) == {"MatMul", "Relu", "ReadFile"}
    assert saved_model_signatures(content) == {"serving_default"}


def graph_with_functions(**calls: str) -> bytes:
    """A graph's library: functions that call another by an attribute, or save."""
    functions = []
    for name, called in calls.items():
        attribute = (5, message((2, message((10, message((1, called.encode())))))))
        op = (2, b"SaveV2" if called == "SaveV2" else b"PartitionedCall")
        node = message(op, *([] if called == "SaveV2" else [attribute]))
        functions.append((1, message((1, message((1, name.encode()))), (3, node))))
    return message(*functions)


@pytest.mark.parametrize(("start", "saves"), [("serve", True), ("other", False)])
def test_saving_counts_where_the_objects_lead_to_it(start: str, saves: bool) -> None:
    library = graph_with_functions(serve="helper", helper="save", save="SaveV2", other="gone")
    objects = message((2, message((1, start.encode()))))
    content = message((2, message((2, message((2, library))), (7, objects))))

    assert ("SaveV2" in saved_model_called(content)) is saves


@pytest.mark.parametrize(("needs", "saves"), [(b"^save", True), (b"x:0", False)])
def test_saving_counts_where_a_signature_of_a_graph_needs_it(needs: bytes, saves: bool) -> None:
    graph = message(
        (1, message((1, b"y"), (2, b"Identity"), (3, needs))),
        (1, message((1, b"x"), (2, b"Placeholder"))),
        (1, message((1, b"save"), (2, b"SaveV2"))),
    )
    output = message((1, b"out"), (2, message((1, b"y:0"))))
    signature = message((1, b"serving_default"), (2, message((2, output))))
    content = message((2, message((2, graph), (5, signature))))

    assert ("SaveV2" in saved_model_called(content)) is saves


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300)), max_size=20))
def test_fields_come_back_as_they_were_written(parts: list[tuple[int, bytes]]) -> None:
    read = [(number, bytes(value)) for number, _, value in fields(memoryview(message(*parts)))]

    assert read == parts


@given(st.integers(0, 2**64 - 1))
def test_numbers_come_back_as_they_were_written(value: int) -> None:
    (found,) = fields(memoryview(varint(3 << 3) + varint(value)))

    assert found == (3, 0, value)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        found = saved_model_ops(content)
    except WireError:
        return
    assert found


@given(st.data())
def test_a_cut_file_never_looks_whole(data: st.DataObject) -> None:
    content = saved_model("MatMul", "Relu", inside="Softmax")
    end = data.draw(st.integers(0, len(content) - 1))

    with pytest.raises(WireError):
        saved_model_ops(content[:end])


def test_children_follow_a_path_through_repeated_fields() -> None:
    content = message((1, message((2, b"a"), (2, b"b"))), (1, message((2, b"c"))))

    assert [bytes(c) for c in children(memoryview(content), 1, 2)] == [b"a", b"b", b"c"]


def test_a_real_saved_model(keras3: Path) -> None:
    ops = saved_model_ops((keras3 / "python" / "saved_model.pb").read_bytes())

    assert {"PyFunc", "StatefulPartitionedCall"} <= ops
