"""A ``.tflite`` in LiteRT on this computer. Runs in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import ConversionError
from edgekit.core.failures import said
from edgekit.core.tensor import Signature
from edgekit.verify.graph import Graph, Softmax
from edgekit.verify.port import Named, Port, matched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class LiteRTSession:
    """A `edgekit.verify.sessions.Session` that can also show inner tensors.

    Args:
        path: of the ``.tflite`` file.
        extra: indices of tensors to read besides the outputs; a copy of the file is run then.
        keep_all: keep every tensor readable. Without XNNPACK, as delegates hide theirs.

    Raises:
        ConversionError: LiteRT does not load it.
    """

    def __init__(self, path: Path, *, extra: Sequence[int] = (), keep_all: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self._path = path
        self.graph = Graph(path)
        options: dict[str, Any] = {"num_threads": 1}
        if keep_all:
            options["experimental_preserve_all_tensors"] = True
            options["experimental_op_resolver_type"] = (
                OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        if extra:
            options["model_content"] = self.graph.with_outputs(extra)
        else:
            options["model_path"] = str(path)
        try:
            self._interpreter = Interpreter(**options)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as exc:
            raise ConversionError(f"LiteRT on this computer does not load it: {said(exc)}") from exc
        # With the indices of the file; what delegates add comes after those.
        self._details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        inputs, outputs = self.graph.names()
        self.inputs = [self.port(index, name) for name, index in inputs.items()]
        self.outputs = [self.port(index, name) for name, index in outputs.items()]
        self._shapes = {port.index: port.shape for port in self.inputs if self._is_open(port.index)}

    def port(self, index: int, name: str = "") -> Port:
        """The tensor at `index` of the file."""
        import numpy as np

        detail = self._details[index]
        parameters = detail["quantization_parameters"]
        return Port(
            name=name or detail["name"],
            index=index,
            shape=tuple(int(side) for side in detail["shape"]),
            dtype=np.dtype(detail["dtype"]),
            scales=tuple(float(v) for v in parameters["scales"]),
            zero_points=tuple(int(v) for v in parameters["zero_points"]),
            axis=int(parameters["quantized_dimension"]),
        )

    def _is_open(self, index: int) -> bool:
        return bool((self._details[index]["shape_signature"] < 0).any())

    def matched(self, signature: Signature) -> tuple[Named, Named]:
        """See `edgekit.verify.port.matched`."""
        return matched(signature, self.inputs, self.outputs)

    def final_softmax(self, index: int) -> Softmax | None:
        """See `edgekit.verify.graph.Graph.final_softmax`."""
        return self.graph.final_softmax(index)

    def ends_in_sigmoid(self, index: int) -> bool:
        """Whether the output at `index` is the result of a logistic function."""
        return self.graph.ends_in_sigmoid(index)

    def watching(self, tensors: Sequence[int]) -> LiteRTSession:
        """Another session of the same file in which these inner tensors can be read, too."""
        return LiteRTSession(self._path, extra=tensors)

    def invoke(self, stored: Mapping[int, Array]) -> None:
        """Run one sample; `stored` leads from tensor index to the value with its batch of 1.

        Raises:
            ConversionError: LiteRT fails.
        """
        try:
            other = {
                index: value.shape
                for index, value in stored.items()
                if value.shape != self._shapes.get(index, value.shape)
            }
            for index, shape in other.items():
                # Strictly: only dimensions that the file leaves open.
                self._interpreter.resize_tensor_input(index, shape, strict=True)
                self._shapes[index] = shape
            if other:
                self._interpreter.allocate_tensors()
            for index, value in stored.items():
                self._interpreter.set_tensor(index, value)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as exc:
            raise ConversionError(f"LiteRT fails to run it: {said(exc)}") from exc

    def read(self, index: int) -> Array | None:
        """A copy of a tensor's stored value after `invoke`; None if it has none."""
        try:
            value: Array = self._interpreter.get_tensor(index)
        except ValueError:  # optimised away or never written; only inner tensors can be
            return None
        return value


def open_session(path: Path, signature: Signature) -> LiteRTSession:
    """For `edgekit.verify.sessions`: names and types are read from the file itself."""
    return LiteRTSession(path)
