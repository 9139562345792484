"""Puts the padding in front of a maximum pooling into the pooling itself.

Where the pooling of another framework pads its two sides differently, exporters write a Pad with −∞
and a pooling without padding. ONNX's MaxPool pads each side by itself and lets no padding win, so
one operator does the same; and a tensor that holds −∞ has no range that a quantizer could take.
https://onnx.ai/onnx/operators/onnx__MaxPool.html
"""

from __future__ import annotations

from typing import Any

from edgekit.export import onnx_graph

# What exporters write for the lowest number there is, if not −∞ itself: float32's or float16's.
LOWEST = -65504.0


def pad_inside(proto: Any) -> int:
    """Change `proto`'s graph; how many Pads are gone."""
    from onnx import helper

    graph = proto.graph
    values = onnx_graph.values(proto)
    readers: dict[str, list[Any]] = {}
    for node in onnx_graph.all_nodes(graph):
        for name in node.input:
            readers.setdefault(name, []).append(node)
    given = {value.name for value in graph.output}
    count = 0
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        made = pad.output[0]
        users = readers.get(made, [])
        begins_ends = _image_padding(pad, values)
        if begins_ends is None or made in given or not users:
            continue
        wanted = [_padded(pool, begins_ends) for pool in users]
        if not all(wanted):
            continue
        for pool, pads in zip(users, wanted, strict=True):
            kept = [each for each in pool.attribute if each.name not in ("pads", "auto_pad")]
            del pool.attribute[:]
            pool.attribute.extend([*kept, helper.make_attribute("pads", pads)])
            pool.input[0] = pad.input[0]
        graph.node.remove(pad)
        count += 1
    return count


def _image_padding(pad: Any, values: Any) -> list[int] | None:
    """How much is put before and after each spatial axis; None if that is not all it does."""
    mode = next((each.s for each in pad.attribute if each.name == "mode"), b"constant")
    known = [name in values for name in pad.input[1:3]]
    if mode != b"constant" or known != [True, True] or any(pad.input[3:]):
        return None
    sizes = [int(size) for size in values[pad.input[1]]]
    rank = len(sizes) // 2
    begins, ends = sizes[:rank], sizes[rank:]
    if float(values[pad.input[2]]) > LOWEST or any(begins[:2] + ends[:2]) or min(sizes) < 0:
        return None
    return [*begins[2:], *ends[2:]]


def _padded(pool: Any, more: list[int]) -> list[int]:
    """The pads of `pool` with those in front of it; empty if it cannot have them."""
    from onnx import helper

    said = {each.name: helper.get_attribute_value(each) for each in pool.attribute}
    before = said.get("pads", [0] * len(more))
    alone = said.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    if pool.op_type != "MaxPool" or not alone or len(pool.output) > 1 or said.get("ceil_mode"):
        return []
    pads = [one + other for one, other in zip(before, more, strict=True)]
    # A window that lies in the padding alone has no greatest value: runtimes refuse it.
    fits = all(pad < size for pad, size in zip(pads, [*said["kernel_shape"]] * 2, strict=True))
    return pads if fits else []
