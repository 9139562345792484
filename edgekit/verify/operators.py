"""The operators of a ``.tflite`` as LiteRT lists them, with shapes. Runs in a worker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.description import Node
from edgekit.core.errors import ConversionError
from edgekit.core.tflite import layer_name, multiply_adds
from edgekit.verify.graph import Graph


@dataclass(frozen=True)
class Operator:
    """One operator: its name, tensor indices, and what a `Node` says of it."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    macs: int
    layer: str
    dtype: str

    def node(self, where: str) -> Node:
        return Node(
            operator=self.name, where=where, macs=self.macs, layer=self.layer, dtype=self.dtype
        )


def interpreter(model: Path | bytes, *, delegates: bool) -> Any:
    """LiteRT's interpreter with the model in it, with XNNPACK or with kernels alone.

    Raises:
        ConversionError: LiteRT does not load it.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    given = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    try:
        made = Interpreter(**given, num_threads=1, experimental_op_resolver_type=kind)
        if delegates:
            made.allocate_tensors()
    except (RuntimeError, ValueError) as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        said = " ".join(lines)[:300] or type(exc).__name__
        raise ConversionError(f"LiteRT on this computer does not load it: {said}") from exc
    return made


def operators(model: Path | bytes) -> list[Operator]:
    """Those of the main graph, in the order of execution.

    Raises:
        ConversionError: LiteRT does not load it.
    """
    plain = interpreter(model, delegates=False)
    tensors = {tensor["index"]: tensor for tensor in plain.get_tensor_details()}
    # The only list of operators that LiteRT's Python interface has.
    return [_operator(entry, tensors) for entry in plain._get_ops_details()]


def graphs(path: Path) -> list[list[Operator]]:
    """Those of the main graph, then those of the bodies of loops and branches.

    Raises:
        ConversionError: LiteRT does not load it.
    """
    # LiteRT lists the main graph only, so each other one is made that of a copy.
    graph = Graph(path)
    return [operators(path), *(operators(graph.with_main(i)) for i in range(1, graph.count))]


def _operator(entry: dict[str, Any], tensors: dict[int, dict[str, Any]]) -> Operator:
    inputs = tuple(int(index) for index in entry["inputs"])
    outputs = tuple(int(index) for index in entry["outputs"] if index >= 0)
    first = tensors.get(outputs[0]) if outputs else None
    return Operator(
        name=entry["op_name"],
        inputs=inputs,
        outputs=outputs,
        macs=multiply_adds(
            entry["op_name"],
            [_shape(tensors.get(index)) for index in inputs],
            [_shape(tensors.get(index)) or () for index in outputs],
        ),
        layer=layer_name(first["name"]) if first else "",
        dtype=getattr(first["dtype"], "__name__", str(first["dtype"])) if first else "",
    )


def _shape(tensor: dict[str, Any] | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(int(side) for side in tensor["shape"])


def between(
    operators: Sequence[Operator], inputs: Iterable[int], outputs: Iterable[int]
) -> set[int]:
    """The operators that lead from the tensors `inputs` to the tensors `outputs`, by place."""
    makers = {
        tensor: place for place, operator in enumerate(operators) for tensor in operator.outputs
    }
    border, found = set(inputs), set()
    waiting = [tensor for tensor in outputs if tensor in makers]
    while waiting:
        place = makers[waiting.pop()]
        if place in found:
            continue
        found.add(place)
        waiting += [t for t in operators[place].inputs if t in makers and t not in border]
    return found


def partitions(operators: Sequence[Operator], wanted: Sequence[bool]) -> list[set[int]]:
    """How TFLite cuts a graph into pieces for a delegate that takes the `wanted` operators.

    A piece grows by whatever of its kind is ready, then the other kind has its turn: as in
    PartitionGraphIntoIndependentNodeSubsets, tflite/graph_info.cc. Given are the pieces of
    wanted operators, in the order of execution.
    """
    makers = {
        tensor: place for place, operator in enumerate(operators) for tensor in operator.outputs
    }
    needs = [{makers[t] for t in op.inputs if t in makers} for op in operators]
    done: set[int] = set()
    pieces: list[tuple[bool, set[int]]] = []
    while len(done) < len(operators):
        kind: bool | None = None
        piece: set[int] = set()
        grew = True
        while grew:
            grew = False
            for place in range(len(operators)):
                if place in done or not needs[place] <= done or kind not in (None, wanted[place]):
                    continue
                kind = wanted[place]
                piece.add(place)
                done.add(place)
                grew = True
        if kind is None:
            raise ConversionError("the file's operators wait for each other")
        pieces.append((kind, piece))
    return [piece for kind, piece in pieces if kind]
