"""Looking into a ``.tflite`` flatbuffer, and adding outputs to a copy of it. Runs in a worker.

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs, in
the Python form that ai-edge-litert ships.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError

IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class Softmax:
    """A final softmax: index of the tensor that enters it, and what that is multiplied with."""

    tensor: int
    beta: float


class Graph:
    """The main graph of a file.

    Args:
        path: of the ``.tflite`` file.

    Raises:
        ConversionError: not a TFLite flatbuffer.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        content = path.read_bytes()
        if content[4:8] != IDENTIFIER:
            raise ConversionError(f"{path.name} is not a TFLite file")
        self._schema = schema
        try:
            self._model: Any = schema.ModelT.InitFromPackedBuf(content, 0)
            self._inline(content)
            self._graph = self._model.subgraphs[0]
        except (struct.error, ValueError, TypeError, IndexError) as exc:  # by where it is cut off
            raise ConversionError(f"{path.name} is not a whole TFLite file") from exc
        self._codes = [
            max(code.builtinCode, code.deprecatedBuiltinCode) for code in self._model.operatorCodes
        ]
        self._makers = {
            int(index): operator for operator in self._graph.operators for index in operator.outputs
        }

    def _inline(self, content: bytes) -> None:
        """Take in what lies behind the flatbuffer (ai-edge-quantizer writes weights there).

        Their places are counted from the file's start, so they would be lost in a copy.
        """
        import numpy as np

        for buffer in self._model.buffers:
            if buffer.offset > 1:
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        for operator in (op for graph in self._model.subgraphs for op in graph.operators):
            if operator.largeCustomOptionsOffset > 1:
                size, start = operator.largeCustomOptionsSize, operator.largeCustomOptionsOffset
                operator.customOptions = np.frombuffer(content, np.uint8, size, start)
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0

    @property
    def count(self) -> int:
        """How many graphs the file has: the main one, and the bodies of loops and branches."""
        return len(self._model.subgraphs)

    def with_main(self, index: int) -> bytes:
        """The file with the graph at `index` as the main one, and without signatures."""
        graphs, signatures = self._model.subgraphs, self._model.signatureDefs
        order = [index, *(other for other in range(self.count) if other != index)]
        place = {old: new for new, old in enumerate(order)}
        options = [
            operator.builtinOptions
            for graph in graphs
            for operator in graph.operators
            if operator.builtinOptions is not None
        ]
        named = [
            (option, name, getattr(option, name))
            for option in options
            for name in vars(option)
            if name.lower().endswith("subgraphindex")
        ]
        self._model.subgraphs = [graphs[old] for old in order]
        self._model.signatureDefs = None
        try:
            for option, name, old in named:
                setattr(option, name, place.get(old, old))
            return self._packed()
        finally:
            for option, name, old in named:
                setattr(option, name, old)
            self._model.subgraphs, self._model.signatureDefs = graphs, signatures

    def names(self) -> tuple[dict[str, int], dict[str, int]]:
        """Tensor index by input name and by output name, as the file's signature has them."""
        graph = self._graph
        if self._model.signatureDefs:
            only = self._model.signatureDefs[0]
            return _mapped(only.inputs), _mapped(only.outputs)
        return (
            {self._name(index): int(index) for index in graph.inputs},
            {self._name(index): int(index) for index in graph.outputs},
        )

    def executed(self) -> list[tuple[int, str]]:
        """Index and name of every operator's outputs, in the order of execution."""
        return [
            (int(index), self._name(index))
            for operator in self._graph.operators
            for index in operator.outputs
        ]

    def final_softmax(self, output: int) -> Softmax | None:
        """The softmax that the output tensor comes from; None if it comes from something else."""
        operator = self._way_back(output)[-1:]
        if not operator or self._code(operator[0]) != self._schema.BuiltinOperator.SOFTMAX:
            return None
        made_by = operator[0]
        if self._last_side(output) != self._last_side(made_by.outputs[0]):
            return None
        return Softmax(int(made_by.inputs[0]), float(made_by.builtinOptions.beta))

    def after_softmax(self, output: int) -> set[int]:
        """The tensors from a final softmax's own output to `output`; none without a softmax."""
        if self.final_softmax(output) is None:
            return set()
        return {int(index) for operator in self._way_back(output) for index in operator.outputs}

    def ends_in_sigmoid(self, output: int) -> bool:
        """Whether the output tensor is the result of a logistic function."""
        operator = self._way_back(output)[-1:]
        return bool(operator) and (self._code(operator[0]) == self._schema.BuiltinOperator.LOGISTIC)

    def with_outputs(self, tensors: Iterable[int]) -> bytes:
        """The file with these tensors as further outputs of the main graph."""
        import numpy as np

        graph = self._graph
        before = graph.outputs
        graph.outputs = np.array([*before, *tensors], dtype=np.int32)
        try:
            return self._packed()
        finally:
            graph.outputs = before

    def _packed(self) -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _way_back(self, tensor: int) -> list[Any]:
        """The operators from `tensor` back through changes of type and shape, and the one before.

        Empty if the tensor is an input or a constant.
        """
        kinds = self._schema.BuiltinOperator
        copies = (kinds.DEQUANTIZE, kinds.QUANTIZE, kinds.RESHAPE)
        way: list[Any] = []
        operator = self._makers.get(int(tensor))
        while operator is not None:
            way.append(operator)
            if self._code(operator) not in copies:
                break
            operator = self._makers.get(int(operator.inputs[0]))
        return way

    def _code(self, operator: Any) -> int:
        return int(self._codes[operator.opcodeIndex])

    def _last_side(self, tensor: int) -> int:
        shape = self._graph.tensors[int(tensor)].shape
        return int(shape[-1]) if shape is not None and len(shape) else 1

    def _name(self, tensor: int) -> str:
        return _text(self._graph.tensors[int(tensor)].name)


def _mapped(entries: Any) -> dict[str, int]:
    return {_text(entry.name): int(entry.tensorIndex) for entry in entries or ()}


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
