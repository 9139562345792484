"""Activations, arithmetic, comparison, logic: the same in either layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Value
from edgekit.export.translate.tflite_graph import Handler, Node, axis_of, elementwise

Tensor = torch.Tensor


def _unary(function: Callable[..., Any]) -> Handler:
    return lambda node: elementwise(node, function, node.value(0))


def _binary(function: Callable[..., Any]) -> Handler:
    def handler(node: Node) -> Value:
        activation = node.activation() if hasattr(node.options, _FUSED) else _same
        return elementwise(
            node, lambda a, b: activation(function(a, b)), node.value(0), node.value(1)
        )

    return handler


_FUSED = "fusedActivationFunction"


def _same(x: Tensor) -> Tensor:
    return x


def divide(a: Any, b: Any) -> Any:
    whole = any(isinstance(x, Tensor) and not x.is_floating_point() for x in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def floor_divide(a: Any, b: Any) -> Any:
    return torch.div(a, b, rounding_mode="floor")


def along_channels(function: Callable[..., Any]) -> Handler:
    """Over the file's last axis."""

    def handler(node: Node) -> Value:
        axis = axis_of(node.value(0), -1)
        beta = node.option("beta", 1.0) if node.operator == "SOFTMAX" else 1.0

        def compute(x: Tensor) -> Any:
            return function(x if beta == 1.0 else x * beta, axis)

        return elementwise(node, compute, node.value(0))

    return handler


def leaky_relu(node: Node) -> Value:
    alpha = float(node.option("alpha"))
    return elementwise(node, lambda x: F.leaky_relu(x, alpha), node.value(0))


def gelu(node: Node) -> Value:
    how = "tanh" if node.option("approximate", False) else "none"
    return elementwise(node, lambda x: F.gelu(x, approximate=how), node.value(0))


def prelu(node: Node) -> Value:
    x, slope = node.value(0), node.value(1)
    if x.channels_first and slope.constant and all(size == 1 for size in slope.shape[:-1]):
        made = node.call(F.prelu, x, slope.tensor.reshape(-1))
        made.channels_first = True
        return made
    return elementwise(node, lambda x, s: torch.where(x >= 0, x, x * s), x, slope)


def cast(node: Node) -> Value:
    dtype = node.output_dtype()
    x = node.value(0)
    return x if x.dtype == dtype else elementwise(node, lambda x: x.to(dtype), x)


def power(a: Any, b: Any) -> Any:
    if not isinstance(b, Tensor) and float(b).is_integer():
        b = int(b)
    return a**b


def add_all(node: Node) -> Value:
    given = [node.value(at) for at in range(len(node.inputs))]
    return elementwise(node, lambda *parts: reduce(lambda a, b: a + b, parts), *given)


def select(node: Node) -> Value:
    condition, a, b = (node.value(at) for at in range(3))
    if condition.rank == 1 and a.rank > 1 and node.operator == "SELECT":  # picks whole rows
        sizes = [condition.shape[0]] + [1] * (a.rank - 1)
        condition = node.call(lambda c: c.reshape(sizes), condition)
    return elementwise(node, torch.where, condition, a, b)


def zeros(node: Node) -> Value:
    x = node.plain()
    return Value(torch.zeros(x.shape, dtype=x.dtype), True, node.title)


def greater(a: Any, b: Any) -> Any:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(a, b)
    return torch.clamp(a, min=b) if isinstance(a, Tensor) else torch.clamp(b, min=a)


def lesser(a: Any, b: Any) -> Any:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(a, b)
    return torch.clamp(a, max=b) if isinstance(a, Tensor) else torch.clamp(b, max=a)


TABLE: dict[str, Handler] = {
    "RELU": _unary(F.relu),
    "RELU6": _unary(F.relu6),
    "RELU_N1_TO_1": _unary(lambda x: F.hardtanh(x, -1.0, 1.0)),
    "RELU_0_TO_1": _unary(lambda x: F.hardtanh(x, 0.0, 1.0)),
    "LEAKY_RELU": leaky_relu,
    "PRELU": prelu,
    "ELU": _unary(F.elu),
    "GELU": gelu,
    "HARD_SWISH": _unary(F.hardswish),
    "LOGISTIC": _unary(torch.sigmoid),
    "TANH": _unary(torch.tanh),
    "SOFTMAX": along_channels(torch.softmax),
    "LOG_SOFTMAX": along_channels(torch.log_softmax),
    "ADD": _binary(lambda a, b: a + b),
    "SUB": _binary(lambda a, b: a - b),
    "MUL": _binary(lambda a, b: a * b),
    "DIV": _binary(divide),
    "FLOOR_DIV": _binary(floor_divide),
    "FLOOR_MOD": _binary(torch.remainder),
    "POW": _binary(power),
    "MAXIMUM": _binary(greater),
    "MINIMUM": _binary(lesser),
    "SQUARED_DIFFERENCE": _binary(lambda a, b: (a - b) ** 2),
    "ATAN2": lambda node: node.call(torch.atan2, node.plain(0), node.plain(1)),
    "ADD_N": add_all,
    "EQUAL": _binary(lambda a, b: a == b),
    "NOT_EQUAL": _binary(lambda a, b: a != b),
    "LESS": _binary(lambda a, b: a < b),
    "LESS_EQUAL": _binary(lambda a, b: a <= b),
    "GREATER": _binary(lambda a, b: a > b),
    "GREATER_EQUAL": _binary(lambda a, b: a >= b),
    "LOGICAL_AND": _binary(torch.logical_and),
    "LOGICAL_OR": _binary(torch.logical_or),
    "LOGICAL_NOT": _unary(torch.logical_not),
    "SELECT": select,
    "SELECT_V2": select,
    "CAST": cast,
    "DEQUANTIZE": cast,  # of float16 weights; of integers it is refused before
    "ZEROS_LIKE": zeros,
    "ABS": _unary(torch.abs),
    "NEG": _unary(torch.neg),
    "EXP": _unary(torch.exp),
    "LOG": _unary(torch.log),
    "SQRT": _unary(torch.sqrt),
    "RSQRT": _unary(torch.rsqrt),
    "SQUARE": _unary(lambda x: x * x),
    "SIN": _unary(torch.sin),
    "COS": _unary(torch.cos),
    "FLOOR": _unary(torch.floor),
    "CEIL": _unary(torch.ceil),
    "ROUND": _unary(torch.round),
    "SIGN": _unary(torch.sign),
}
