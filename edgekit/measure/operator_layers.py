"""The user's layers behind the operators that a runtime's profiler tells of.

LiteRT numbers what it runs by itself as the file does (``[output]:7``), and ONNX Runtime keeps the
names of nodes. Delegates and ExecuTorch's kernels keep no link to the file: nothing is guessed for
these, they stay unmapped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgekit.core.description import CPU, Node
from edgekit.core.measurement import OperatorTime, OperatorTimes
from edgekit.core.recipe import Format

_NUMBER = re.compile(r".*\]:(\d{1,6})", re.DOTALL)


def with_layers(times: OperatorTimes, nodes: Sequence[Node], file_format: Format) -> OperatorTimes:
    """`times` with the layer of each operator, as far as the runtime keeps the link.

    Args:
        nodes: the file's, in its order; empty where they are not known.
    """
    known = nodes if file_format == "onnx" else ()
    names = {name: node for node in known if (name := node.name or node.layer)}
    found = []
    for each in times.operators:
        node = names.get(each.name)
        if file_format == "tflite" and each.where == CPU:
            node = _numbered(each, nodes)
        found.append(each.model_copy(update={"layer": node.layer}) if node else each)
    return times.model_copy(update={"operators": tuple(found)})


def _numbered(operator: OperatorTime, nodes: Sequence[Node]) -> Node | None:
    """The node of that number, if it is of that kind: a delegate's own have numbers behind it."""
    match = _NUMBER.fullmatch(operator.name)
    number = int(match[1]) if match else len(nodes)
    if number >= len(nodes) or nodes[number].operator != operator.kind:
        return None
    return nodes[number]
