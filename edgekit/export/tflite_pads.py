"""Padding with −∞ in front of a maximum pooling, as litert-torch writes it, or with the least
number that float32 has, as onnx2tf does.

No window of a pooling lies in the padding alone, so the padding never wins, and any number that is
not above the image's least one does as well. A tensor that holds −∞ has no range and no scale: for
quantized files the padding takes the calibrated least number of the image instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.export import flatbuffer

POOLING = "MAX_POOL_2D"


@dataclass(frozen=True)
class Pad:
    """A padding: the names of the image and of what it becomes, and the buffer of its number."""

    image: str
    padded: str
    buffer: int


def pads(tree: Any) -> list[Pad]:
    """The paddings with −∞ that only maximum poolings read."""
    return [pad for graph in tree.subgraphs for pad in _pads(tree, graph)]


def _pads(tree: Any, graph: Any) -> Iterator[Pad]:
    import numpy as np

    kinds = [each.name for each in flatbuffer.operators_of(tree, graph)]
    readers: dict[int, set[str]] = {int(output): {"output"} for output in graph.outputs}
    for kind, operator in zip(kinds, graph.operators, strict=True):
        for index in operator.inputs:
            readers.setdefault(int(index), set()).add(kind)
    for kind, operator in zip(kinds, graph.operators, strict=True):
        if kind != "PADV2" or readers.get(int(operator.outputs[0])) != {POOLING}:
            continue
        image, _, number = (graph.tensors[int(index)] for index in operator.inputs)
        data = tree.buffers[number.buffer].data
        if data is None or flatbuffer.dtype(number) != "float32":
            continue
        if np.frombuffer(bytes(data), np.float32)[0] <= np.finfo(np.float32).min:
            padded = graph.tensors[int(operator.outputs[0])]
            yield Pad(flatbuffer.text(image.name), flatbuffer.text(padded.name), number.buffer)


def bounded(tree: Any, ranges: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """`ranges` in which a padded image has that of the image."""
    return {
        **ranges,
        **{pad.padded: ranges[pad.image] for pad in pads(tree) if pad.image in ranges},
    }


def fill(tree: Any, ranges: Mapping[str, Sequence[float]]) -> int:
    """Write the image's least number in place of −∞ into `tree`; how many numbers there were.

    Paddings that share a number take the least of theirs, which each of them cuts off at its own.
    """
    import numpy as np

    least: dict[int, float] = {}
    for pad in pads(tree):
        if pad.image in ranges:
            low = float(ranges[pad.image][0])
            least[pad.buffer] = min(low, least.get(pad.buffer, low))
    for buffer, low in least.items():
        tree.buffers[buffer].data = np.frombuffer(np.float32(low).tobytes(), np.uint8)
    return len(least)
