"""An input or output of an artifact: its name, and how stored numbers become real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

Named = list[tuple[str, "Port"]]


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


def port(index: int, spec: TensorSpec) -> Port:
    """The port that a signature's entry describes; a dimension without a size counts as 1."""
    import numpy as np

    quantization = spec.quantization
    return Port(
        name=spec.name,
        index=index,
        shape=tuple(side or 1 for side in spec.shape),
        dtype=np.dtype(spec.dtype),
        scales=quantization.scale if quantization else (),
        zero_points=quantization.zero_point if quantization else (),
        axis=(quantization.axis or 0) if quantization else 0,
    )


def matched(
    signature: Signature, inputs: Sequence[Port], outputs: Sequence[Port]
) -> tuple[Named, Named]:
    """An artifact's inputs and outputs, each with the name it has in the source's `signature`.

    Raises:
        ConversionError: they are not the same in number, or neither names nor shapes agree.
    """
    return (
        _pairs([(s.name, s.shape) for s in signature.inputs], inputs, "input"),
        _pairs([(s.name, s.shape) for s in signature.outputs], outputs, "output"),
    )


def _pairs(
    wanted: list[tuple[str, tuple[int | None, ...]]], ports: Sequence[Port], what: str
) -> Named:
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
