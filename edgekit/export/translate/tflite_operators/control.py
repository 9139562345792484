"""Loops and branches: only such as are decided now; they are written out."""

from __future__ import annotations

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.tflite_graph import MOST_STEPS, MOST_STEPS_IN_ALL, Handler, Node


def loop(node: Node) -> list[Value]:
    """WHILE over a count that does not depend on the data, one pass after the other."""
    condition, body = int(node.option("condSubgraphIndex")), int(node.option("bodySubgraphIndex"))
    values = [node.plain(at) for at in range(len(node.inputs))]
    for _ in range(MOST_STEPS):
        node.walk.file.steps += 1
        if node.walk.file.steps > MOST_STEPS_IN_ALL:
            raise Refusal(f"and other loops run more than {MOST_STEPS_IN_ALL} times together")
        (goes_on,) = node.walk.inner(condition, values)
        if not goes_on.constant:
            raise Refusal("runs as often as the data decide")
        if not bool(goes_on.tensor.item()):
            return values
        values = [node.to_plain(value) for value in node.walk.inner(body, values)]
    raise Refusal(f"runs more than {MOST_STEPS} times")


def branch(node: Node) -> list[Value]:
    chosen = bool(node.constant(0, "a condition").item())
    index = node.option("thenSubgraphIndex" if chosen else "elseSubgraphIndex")
    values = [node.plain(at) for at in range(1, len(node.inputs))]
    return node.walk.inner(int(index), values)


TABLE: dict[str, Handler] = {"WHILE": loop, "IF": branch}
