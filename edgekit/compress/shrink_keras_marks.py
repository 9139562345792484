"""Whose channels the axes of a Keras model's variables are. See `edgekit.compress.shrink_keras`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.compress.channels import PINNED, Channels, keep_along
from edgekit.compress.shrink_keras_graph import Call, Tensor, is_elementwise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]


@dataclass
class Held:
    """A variable of a layer: whose channels its axes are."""

    variable: Any
    path: str
    kind: str
    axes: dict[int, Labels] = field(default_factory=dict)
    reads: int | None = None
    macs: float = 0.0


class Marks:
    """What the rules for layers write down.

    Attributes:
        held: variables by `id`.
        configs: of known layers, by `id`: what changes in the config when channels go.
        reading: labels of what layers read, by the layer's `id`.
        exact: whether channels that nothing reads have no other effect.
    """

    def __init__(self) -> None:
        self.channels = Channels()
        self.held: dict[int, Held] = {}
        self.configs: dict[int, Callable[[Any], dict[str, Any]]] = {}
        self.reading: dict[int, Labels] = {}
        self.exact = True

    def stop(self, tensor: Tensor) -> None:
        if tensor.labels is not None:
            self.channels.pin(tensor.labels)

    def mark(self, call: Call, variable: Any, axes: dict[int, Labels | None], **more: Any) -> None:
        """Say whose channels a variable's axes are; again where a layer is called again."""
        found = self.held.setdefault(
            id(variable), Held(variable, call.path, more.pop("kind", "rest"))
        )
        found.macs += more.pop("macs", 0.0)
        found.reads = more.pop("reads", found.reads)
        for axis, labels in axes.items():
            self._meet(found, axis % len(variable.shape), labels)

    def _meet(self, held: Held, axis: int, labels: Labels | None) -> None:
        import numpy as np

        size = held.variable.shape[axis]
        mine = np.full(size, PINNED) if labels is None else labels
        if axis in held.axes:
            self.channels.tie(held.axes[axis], mine)
        else:
            held.axes[axis] = mine

    def made(self, variable: Any, axis: int, *, heads: bool = False) -> Labels:
        """Labels of what a layer gives: new ones when it is first called."""
        axis %= len(variable.shape)
        held = self.held.get(id(variable))
        if held is not None and axis in held.axes:
            return held.axes[axis]
        return self.channels.fresh(variable.shape[axis], single=heads)

    def activated(self, layer: Any, labels: Labels) -> None:
        if not is_elementwise(getattr(layer, "activation", None)):
            self.channels.pin(labels)

    def read(self, call: Call, tensor: Tensor) -> None:
        if tensor.labels is not None:
            self.reading[id(call.layer)] = tensor.labels

    def bias(self, call: Call, labels: Labels) -> None:
        bias = getattr(call.layer, "bias", None)
        if bias is not None:
            self.mark(call, bias, {0: labels})

    def count(self, key: str, labels: Labels) -> Callable[[Any], dict[str, Any]]:
        return lambda kept: {key: len(keep_along(self.channels.roots(labels), kept))}

    def tied(self, shape: tuple[int | None, ...], inputs: Sequence[Tensor]) -> Tensor | None:
        """Number by number, a size of 1 going with any other."""
        import numpy as np

        rank = len(shape)
        known = [tensor for tensor in inputs if tensor.labels is not None]
        if not known:
            return Tensor(shape)
        # Tensors of lower rank are aligned at the last axis.
        places = {
            (tensor.axis or 0) + (rank - tensor.rank)
            for tensor in known
            if tensor.rank == rank or tensor.axis == tensor.rank - 1
        }
        if len(places) != 1 or any(
            tensor.rank != rank and tensor.axis != tensor.rank - 1 for tensor in known
        ):
            return None
        (axis,) = places
        labels: Labels | None = None
        for tensor in inputs:
            own = axis - (rank - tensor.rank)
            size = tensor.shape[own] if own > 0 else 1
            if size != shape[axis]:
                if size != 1:
                    return None
                self.stop(tensor)
                continue
            mine = np.full(size or 0, PINNED) if tensor.labels is None else tensor.labels
            if labels is None:
                labels = mine
            else:
                self.channels.tie(labels, mine)
                labels = np.where(labels == PINNED, mine, labels)
        return Tensor(shape, axis, labels)
