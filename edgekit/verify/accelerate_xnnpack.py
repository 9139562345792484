"""Which operators XNNPACK takes, from LiteRT's own execution plan. Runs in a worker.

With a delegate, LiteRT puts one node in the place of each piece of the graph that the delegate has
taken, and keeps the operators themselves in its list. What lies between such a node's inputs and
its outputs is what it took.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit.core.description import CPU, Coverage, Node
from edgekit.verify.folders import artifact_file
from edgekit.verify.graph import Graph
from edgekit.verify.operators import between, interpreter, operators

XNNPACK = "xnnpack"


def run(out: Path, *, artifact: str) -> dict[str, Any]:
    """See `edgekit.verify.accelerate.xnnpack_step`."""
    return {"coverage": coverage(artifact_file(artifact)).to_json()}


def coverage(path: Path) -> Coverage:
    """What runs where when LiteRT loads `path` with its default delegate.

    Raises:
        ConversionError: it does not load it.
    """
    found, pieces = _main_graph(path)
    graph = Graph(path)
    for index in range(1, graph.count):
        # LiteRT shows the main graph only; a loop's body is asked for as the main one of a copy.
        body, more = _main_graph(graph.with_main(index))
        found += body
        pieces += more
    return Coverage(
        nodes=tuple(found),
        partitions=pieces,
        source=f"LiteRT {version('ai-edge-litert')} with XNNPACK",
        fully_accelerated=all(node.where == XNNPACK for node in found),
    )


def _main_graph(model: Path | bytes) -> tuple[list[Node], int]:
    listed = operators(model)
    plan = interpreter(model, delegates=True)._get_ops_details()
    delegates = plan[len(listed) :]
    taken: set[int] = set()
    for node in delegates:
        inputs = [int(index) for index in node["inputs"]]
        taken |= between(listed, inputs, [int(index) for index in node["outputs"]])
    nodes = [op.node(XNNPACK if place in taken else CPU) for place, op in enumerate(listed)]
    return nodes, len(delegates)
