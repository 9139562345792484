"""What is inside a model file: operators and where they run, sizes, types, and what is demanded.

A `Description` comes from the file itself (`edgekit inspect`, and after every conversion). Where an
operator runs is "cpu" until something better is known: a compiled file says it itself, a runtime
says it when the file is loaded.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from edgekit.core.noun import Noun
from edgekit.core.tensor import Signature

CPU = "cpu"  # the runtime's own kernels
PORTABLE = "portable"  # ExecuTorch's reference kernels: slow
# Operators that only move numbers about: the mark of a graph whose layout was changed on the way.
LAYOUT_CHANGES = frozenset(
    {"TRANSPOSE", "STATICTRANSPOSE", "PERMUTE", "PERMUTE_COPY", "TRANSPOSE_COPY", "DIM_ORDER_COPY"}
)
_NAMESPACES = frozenset({"aten", "edge", "dim_order_ops", "et_vk", "default", "out"})


class Node(Noun):
    """One operator of the graph.

    Attributes:
        operator: the format's own name ("CONV_2D", "aten.convolution.default", "Conv").
        where: "cpu", "portable", or the name of the delegate that takes it.
        macs: multiply-adds of one inference; 0 where it has none.
        layer: the user's own name for the layer that it comes from, or the nearest that the file
            keeps; empty if nothing is kept.
        dtype: of its first output.
        name: in the file, where operators have one and it is not that of the layer.
    """

    operator: str
    where: str = CPU
    macs: int = 0
    layer: str = ""
    dtype: str = ""
    name: str = ""


class Share(Noun):
    """A line of the table of operators: how many of a kind run where."""

    operator: str
    where: str
    count: int
    macs: int
    layers: tuple[str, ...] = ()


class Coverage(Noun):
    """Which operators run where.

    Attributes:
        nodes: every operator, in the order of execution.
        partitions: how many pieces the delegates' share is in; 0 if they take nothing.
        source: who says so ("the file", "LiteRT 2.3.0 with XNNPACK", "Vela's summary").
        fully_accelerated: what the runtime itself said when it loaded the file, if it did.
    """

    nodes: tuple[Node, ...]
    partitions: int = 0
    source: str = "the file"
    fully_accelerated: bool | None = None

    @property
    def table(self) -> tuple[Share, ...]:
        """Lines by operator and place, the most multiply-adds first."""
        groups: dict[tuple[str, str], list[Node]] = {}
        for node in self.nodes:
            groups.setdefault((node.operator, node.where), []).append(node)
        lines = [
            Share(
                operator=operator,
                where=where,
                count=len(nodes),
                macs=sum(node.macs for node in nodes),
                layers=tuple(dict.fromkeys(node.layer for node in nodes if node.layer)),
            )
            for (operator, where), nodes in groups.items()
        ]
        return tuple(sorted(lines, key=lambda line: (-line.macs, line.operator, line.where)))

    def delegated(self, delegate: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.where == delegate)

    def left(self, delegate: str) -> tuple[Node, ...]:
        """What `delegate` does not take."""
        return tuple(node for node in self.nodes if node.where != delegate)

    def share_of_operators(self, delegate: str) -> float:
        """From 0 to 1; 1 for a graph without operators."""
        return len(self.delegated(delegate)) / len(self.nodes) if self.nodes else 1.0

    def share_of_macs(self, delegate: str) -> float:
        """From 0 to 1; by operators where there is nothing to multiply."""
        total = sum(node.macs for node in self.nodes)
        if total == 0:
            return self.share_of_operators(delegate)
        return sum(node.macs for node in self.delegated(delegate)) / total

    @property
    def layout_changes(self) -> int:
        """How many operators only move numbers about."""
        return sum(_bare(node.operator) in LAYOUT_CHANGES for node in self.nodes)


def _bare(operator: str) -> str:
    """``aten.permute_copy.default`` → ``PERMUTE_COPY``, ``Transpose`` → ``TRANSPOSE``."""
    parts = [part for part in operator.split(".") if part not in _NAMESPACES]
    return (parts[0] if parts else operator).upper()


class Description(Noun):
    """A model file, as it describes itself.

    Attributes:
        format: "tflite", "executorch", "onnx", "keras", "pt2".
        signatures: its entries.
        coverage: its operators.
        parameters: numbers that were trained, or that take part like those.
        weight_bytes: what those take in the file; a dtype each in `weights`.
        weights: bytes of weights by their type ("int8", "float16").
        zeros: how many of the parameters are zero.
        quantization: in words ("int8 weights per channel, int8 activations"); empty for float.
        metadata: what else the file says of itself: who made it, versions, descriptions.
    """

    format: str
    size_bytes: int
    signatures: tuple[Signature, ...]
    coverage: Coverage
    parameters: int
    weights: dict[str, int] = Field(default_factory=dict)
    zeros: int = 0
    quantization: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-adds of one inference."""
        return sum(node.macs for node in self.coverage.nodes)

    @property
    def sparsity(self) -> float:
        """Share of the parameters that are zero, 0 to 1."""
        return self.zeros / self.parameters if self.parameters else 0.0
