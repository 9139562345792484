"""An artifact in LiteRT on this computer, fed and read in real numbers. Runs in a worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import Signature
from edgekit.verify.graph import Graph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


@dataclass(frozen=True)
class Port:
    """A tensor of the artifact: its name in the signature, and how stored numbers become real."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int

    def store(self, values: Array) -> Array:
        """Real numbers as the artifact takes them: round half to even, saturate.

        Raises:
            ConversionError: fractions for an integer tensor without a scale.
        """
        import numpy as np

        if self.dtype.kind not in "iu" or values.dtype.kind != "f":
            return np.ascontiguousarray(values, dtype=self.dtype)
        if len(self.scales) != 1:
            raise ConversionError(
                f"the artifact's input {self.name!r} is {self.dtype} without a scale; "
                "the source model takes real numbers there"
            )
        info = np.iinfo(self.dtype)
        steps = np.rint(values.astype(np.float32) / np.float32(self.scales[0]))
        stored = steps.astype(np.float64) + self.zero_points[0]
        saturated: Array = np.clip(stored, info.min, info.max).astype(self.dtype)
        return saturated

    def real(self, stored: Array) -> Array:
        """Stored numbers as real ones, float32; numbers that mean themselves stay as they are."""
        import numpy as np

        if not self.scales or stored.dtype.kind not in "iu":
            return stored
        shape = [1] * stored.ndim
        if len(self.scales) > 1:
            shape[self.axis] = len(self.scales)
        scale = np.array(self.scales, dtype=np.float32).reshape(shape)
        zero = np.array(self.zero_points, dtype=np.int64).reshape(shape)
        return (stored.astype(np.int64) - zero).astype(np.float32) * scale


class Session:
    """One artifact, ready to run.

    Args:
        path: of the ``.tflite`` file.
        extra: indices of tensors to read besides the outputs; a copy of the file is run then.
        keep_all: keep every tensor readable. Without XNNPACK, as delegates hide theirs.

    Raises:
        ConversionError: LiteRT does not load it.
    """

    def __init__(self, path: Path, *, extra: Sequence[int] = (), keep_all: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

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
            raise ConversionError(
                f"LiteRT on this computer does not load it: {_line(exc)}"
            ) from exc
        # With the indices of the file; what delegates add comes after those.
        self._details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        inputs, outputs = self.graph.names()
        self.inputs = [self.port(index, name) for name, index in inputs.items()]
        self.outputs = [self.port(index, name) for name, index in outputs.items()]

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

    def matched(
        self, signature: Signature
    ) -> tuple[list[tuple[str, Port]], list[tuple[str, Port]]]:
        """The artifact's inputs and outputs, each with the name it has in the source's signature.

        Raises:
            ConversionError: they are not the same in number, or neither names nor shapes agree.
        """
        return (
            _pairs([(s.name, s.shape) for s in signature.inputs], self.inputs, "input"),
            _pairs([(s.name, s.shape) for s in signature.outputs], self.outputs, "output"),
        )

    def invoke(self, stored: Mapping[int, Array]) -> None:
        """Run one sample; `stored` leads from tensor index to the value with its batch of 1.

        Raises:
            ConversionError: LiteRT fails.
        """
        try:
            for index, value in stored.items():
                self._interpreter.set_tensor(index, value)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as exc:
            raise ConversionError(f"LiteRT fails to run it: {_line(exc)}") from exc

    def read(self, index: int) -> Array | None:
        """A copy of a tensor's stored value after `invoke`; None if it has none."""
        try:
            value: Array = self._interpreter.get_tensor(index)
        except ValueError:  # optimised away or never written; only inner tensors can be
            return None
        return value


def _pairs(
    wanted: list[tuple[str, tuple[int | None, ...]]], ports: list[Port], what: str
) -> list[tuple[str, Port]]:
    by_name = {port.name: port for port in ports}
    if set(by_name) == {name for name, _ in wanted}:
        return [(name, by_name[name]) for name, _ in wanted]
    alike = len(wanted) == len(ports) and all(
        shape == port.shape for (_, shape), port in zip(wanted, ports, strict=True)
    )
    if not alike:
        raise ConversionError(
            f"the artifact's {what}s are {_said([(p.name, p.shape) for p in ports])}, "
            f"the source model's {_said(wanted)}"
        )
    return [(name, port) for (name, _), port in zip(wanted, ports, strict=True)]


def _said(named: Sequence[tuple[str, tuple[int | None, ...]]]) -> str:
    return ", ".join(
        f"{name} {'×'.join(str(side or '?') for side in shape)}" for name, shape in named
    )


def _line(exc: Exception) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return " ".join(lines)[:300] if lines else type(exc).__name__
