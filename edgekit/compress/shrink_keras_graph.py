"""Calls of layers in a Keras model, with labels for their tensors' channels: Keras 3 and tf_keras
alike. See `edgekit.compress.shrink_keras`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions of each number alone, by their names in Keras, and as operations of a graph.
ELEMENTWISE = words(
    """
    linear relu relu6 leaky_relu elu selu celu gelu silu swish sigmoid hard_sigmoid hard_silu
    hard_swish hard_tanh tanh tanh_shrink softplus softsign exponential exp mish log_sigmoid
    soft_shrink hard_shrink squareplus threshold sparse_plus sparse_sigmoid abs absolute square sqrt
    rsqrt negative log log1p identity cast
    """
)
BINARY = words("add subtract multiply divide true_divide truediv sub mul maximum minimum add_v2")


@dataclass
class Tensor:
    """Whose channels one axis of a tensor has.

    Attributes:
        axis: with the batch counted as 0; None if the channels are not known: they stay.
    """

    shape: tuple[int | None, ...]
    axis: int | None = None
    labels: Labels | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def places(self) -> int | None:
        """Of each channel in one sample; None if a size is open."""
        sizes = [s for i, s in enumerate(self.shape) if i and i != self.axis]
        return None if None in sizes else math.prod(s or 1 for s in sizes)


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        inputs: the tensors among its arguments, in order.
        plain: whether all other arguments are numbers of their own, nothing with channels.
        args, kwargs: as it was called, with `Tensor` where there was one.
    """

    layer: Any
    path: str
    inputs: list[Tensor]
    shapes: list[tuple[int | None, ...]]  # of the outputs
    plain: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def is_graph(layer: Any) -> bool:
    """Whether it is a functional or a Sequential model with known inputs."""
    graph = graph_of(layer)
    return hasattr(graph, "_nodes_by_depth") and bool(getattr(graph, "inputs", None))


def graph_of(model: Any) -> Any:
    """A Keras 3 Sequential has its functional model inside."""
    return getattr(model, "_functional", None) or model


def nodes_of(graph: Any) -> Iterator[Any]:
    """The calls of layers, in an order in which they can be made."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def layer_of(node: Any) -> Any:
    return node.operation if hasattr(node, "operation") else node.layer


def arguments_of(node: Any, known: dict[int, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """As the layer was called, with labelled tensors."""
    if hasattr(node, "arguments"):
        args, kwargs = node.arguments.args, node.arguments.kwargs
    else:
        args, kwargs = node.call_args, node.call_kwargs

    def switched(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [switched(each) for each in value]
        if isinstance(value, dict):
            return {key: switched(each) for key, each in value.items()}
        return known.get(id(value), value)

    return tuple(switched(each) for each in args), switched(dict(kwargs))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for each in value for leaf in leaves(each)]
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [value]


def input_again(tensor: Any) -> Any:
    layer = tensor._keras_history.operation
    return type(layer).from_config(layer.get_config()).output


def is_plain(value: Any) -> bool:
    """Whether an argument has no channels that are not followed."""
    return isinstance(value, Tensor | int | float | str | None) or getattr(value, "size", 2) == 1


def is_operation(layer: Any) -> bool:
    module = type(layer).__module__
    return module.startswith("keras.src.ops.") or type(layer).__name__ == "TFOpLambda"


def operation_name(layer: Any) -> str:
    """``Relu`` and ``nn.relu`` alike: relu."""
    if type(layer).__name__ == "TFOpLambda":
        return str(layer.get_config()["function"]).rpartition(".")[2].strip("_")
    name = type(layer).__name__
    return "".join(
        f"_{c.lower()}" if c.isupper() and i and not name[i - 1].isupper() else c.lower()
        for i, c in enumerate(name)
    )


def is_elementwise(activation: Any) -> bool:
    if activation is None:
        return True
    name = getattr(activation, "__name__", "") or type(activation).__name__
    return name in ELEMENTWISE or name in ("ReLU", "LeakyReLU", "ELU")
