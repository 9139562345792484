"""What Vela left in a ``.pte``, read block by block. Real ones: tests/export/test_toolchains.py."""

from __future__ import annotations

import pytest

from edgekit.core.errors import ConversionError
from edgekit.export.delegates.executorch_ethos_u import BLOCK, BLOCKS, EthosUDelegate, blocks

COMMANDS = b"COP1" + bytes(30)


def block(name: str, content: bytes = b"") -> bytes:
    padding = bytes(-len(content) % 16)
    return BLOCK.pack(name.encode()[:15], len(content), 0) + content + padding


def stream(commands: bytes = COMMANDS, without: str = "") -> bytes:
    content = {"cmd_data": commands, "weight_data": b"w" * 5, "scratch_size": bytes(4)}
    return b"".join(block(name, content.get(name, b"")) for name in BLOCKS if name != without)


def test_blocks_have_names_and_exact_lengths() -> None:
    found = blocks(stream() + bytes(12))

    assert tuple(found) == BLOCKS
    assert found["cmd_data"] == COMMANDS
    assert found["weight_data"] == b"wwwww"
    EthosUDelegate().reopened([stream(), stream() + bytes(12)])


@pytest.mark.parametrize(
    ("blob", "holds"),
    [
        (b"", "nothing that is known"),
        (b"\xff" * 64, "nothing that is known"),
        (stream()[:60], "it holds vela_bin_stream$"),  # cut off inside a header
        (stream()[:80], "nothing that is known"),  # and inside a block
        (stream(without="weight_data"), "cmd_data, scratch_size"),
        (stream(without="vela_end_stream"), "inputs, outputs"),
        (stream(commands=b"something else"), "cmd_data, weight_data"),
    ],
    ids=["empty", "other", "half-a-header", "half-a-block", "no-weights", "no-end", "no-commands"],
)
def test_what_is_no_stream_of_commands_is_refused(blob: bytes, holds: str) -> None:
    with pytest.raises(ConversionError, match=holds):
        EthosUDelegate().reopened([stream(), blob])
