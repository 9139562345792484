"""Activations, arithmetic, comparison, logic."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value, scalar
from edgekit.export.translate.onnx_graph import DTYPES, Handler, Node, binary


def _unary(function: Callable[..., Any]) -> Handler:
    return lambda node: node.call(function, node.x)


def _binary(function: Callable[..., Any]) -> Handler:
    return lambda node: binary(node, function)


def _several(function: Callable[..., Any]) -> Handler:
    def handler(node: Node) -> Value:
        made = node.x
        for at in range(1, len(node.inputs)):
            made = node.call(function, made, node.value(at))
        return made

    return handler


def add(node: Node) -> Value:
    """Joined with a linear layer in front of it that has no bias yet, as people write it."""
    for at, other in ((0, 1), (1, 0)):
        made, bias = node.value(at), node.value(other)
        if made.origin[:1] == ("linear",) and bias.constant and node.used_once(at):
            x, weight = made.origin[1:]
            if bias.tensor.ndim == 1 and bias.shape[0] == weight.shape[0]:
                return node.call(F.linear, x, weight, bias)
    made = binary(node, lambda a, b: a + b)
    for at, other in ((0, 1), (1, 0)):
        if node.value(at).origin[:1] == ("erf",) and scalar(node.value(other)) == 1:
            made.origin = ("erf1", node.value(at).origin[1])
    return made


def mul(node: Node) -> Value:
    """x · (1 + erf(x / √2)) · ½ in any order is GELU, which old operator sets write out."""
    origin: tuple[Any, ...] = ()
    for at, other in ((0, 1), (1, 0)):
        a, b = node.value(at), node.value(other)
        number, (kind, *rest) = scalar(b), a.origin or ("",)
        half = number == 0.5 and b.rank <= a.rank
        whole = kind == "halved" and b.origin[:1] == ("erf1",) and rest[0] is b.origin[1]
        if (half and kind == "doubled") or whole:
            return node.call(F.gelu, rest[0])
        if half:
            origin = ("halved", a)
        elif kind == "erf1" and rest[0] is b:
            origin = ("doubled", b)
        elif number is not None and abs(number - 0.5**0.5) < 1e-6:
            origin = ("root", a)
    made = binary(node, lambda a, b: a * b)
    made.origin = origin
    return made


def erf(node: Node) -> Value:
    made = node.call(torch.erf, node.x)
    if node.x.origin[:1] == ("root",):
        made.origin = ("erf", node.x.origin[1])
    return made


def div(node: Node) -> Value:
    if node.x.dtype.is_floating_point:
        number = scalar(node.value(1))
        made = binary(node, lambda a, b: a / b)
        if number is not None and abs(number - 2**0.5) < 1e-6 and node.value(1).rank <= node.x.rank:
            made.origin = ("root", node.x)
        return made
    return node.call(lambda a, b: torch.div(a, b, rounding_mode="trunc"), *node.inputs)


def power(node: Node) -> Value:
    dtype = node.x.dtype
    exponent = scalar(node.value(1))
    if exponent is not None and dtype.is_floating_point and node.value(1).rank <= node.x.rank:
        exponent = int(exponent) if float(exponent).is_integer() else exponent
        return node.call(lambda x: x**exponent, node.x)
    return node.call(lambda a, b: torch.pow(a, b).to(dtype), *node.inputs)


def mod(node: Node) -> Value:
    return binary(node, torch.fmod if node.attribute("fmod", 0) else torch.remainder)


def clip(node: Node) -> Value:
    low, high = node.maybe(1), node.maybe(2)
    if any(bound is not None and not bound.constant for bound in (low, high)):
        made = node.x
        if low is not None:
            made = node.call(torch.maximum, made, low)
        return made if high is None else node.call(torch.minimum, made, high)
    least, most = scalar(low), scalar(high)
    if node.x.dtype.is_floating_point:
        if (least, most) == (0.0, 6.0):
            return node.call(F.relu6, node.x)
        if least == 0.0 and most is None:
            return node.call(F.relu, node.x)
        if least is not None and most is not None and least < most:
            return node.call(lambda x: F.hardtanh(x, least, most), node.x)
    if least is None and most is None:
        return node.x
    return node.call(lambda x: torch.clamp(x, least, most), node.x)


def leaky_relu(node: Node) -> Value:
    slope = node.attribute("alpha", 0.01)
    return node.call(lambda x: F.leaky_relu(x, slope), node.x)


def prelu(node: Node) -> Value:
    x, slope = node.x, node.value(1)
    sizes = [1] * (x.rank - slope.rank) + slope.shape
    if slope.constant and x.rank > 1 and all(n == 1 for at, n in enumerate(sizes) if at != 1):
        return node.call(F.prelu, x, slope.tensor.reshape(-1))
    return node.call(lambda a, s: torch.where(a >= 0, a, a * s), x, slope)


def elu(node: Node) -> Value:
    alpha = node.attribute("alpha", 1.0)
    return node.call(lambda x: F.elu(x, alpha), node.x)


def celu(node: Node) -> Value:
    alpha = node.attribute("alpha", 1.0)
    return node.call(lambda x: F.celu(x, alpha), node.x)


def selu(node: Node) -> Value:
    alpha = node.attribute("alpha", 1.67326319217681884765625)
    gamma = node.attribute("gamma", 1.05070102214813232421875)
    return node.call(lambda x: gamma * F.elu(x, alpha), node.x)


def thresholded_relu(node: Node) -> Value:
    alpha = node.attribute("alpha", 1.0)
    return node.call(lambda x: F.threshold(x, alpha, 0.0), node.x)


def gelu(node: Node) -> Value:
    how = node.attribute("approximate", "none")
    return node.call(lambda x: F.gelu(x, approximate=how), node.x)


def hard_sigmoid(node: Node) -> Value:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return node.call(F.hardsigmoid, node.x)
    return node.call(lambda x: F.hardtanh(x * alpha + beta, 0.0, 1.0), node.x)


def softplus(node: Node) -> Value:
    return node.call(F.softplus, node.x)


def shrink(node: Node) -> Value:
    bias, lambd = node.attribute("bias", 0.0), node.attribute("lambd", 0.5)
    return node.call(
        lambda x: torch.where(
            x < -lambd, x + bias, torch.where(x > lambd, x - bias, torch.zeros_like(x))
        ),
        node.x,
    )


def _along(function: Callable[..., Any]) -> Handler:
    def handler(node: Node) -> Value:
        axis = node.attribute("axis", -1)
        return node.call(lambda x: function(x, dim=axis), node.x)

    return handler


def mean(node: Node) -> Value:
    count = len(node.inputs)
    return node.call(lambda *given: reduce(torch.add, given) / count, *node.inputs)


def where(node: Node) -> Value:
    return node.call(torch.where, *node.inputs)


def cast(node: Node) -> Value:
    if node.operator == "CastLike":
        dtype = node.value(1).dtype
    else:
        kind = node.attribute("to")
        if kind not in DTYPES:
            raise Refusal("casts to a type that torch does not have")
        dtype = DTYPES[kind]
    return node.x if node.x.dtype == dtype else node.call(lambda x: x.to(dtype), node.x)


def identity(node: Node) -> Value:
    return node.x


def dropout(node: Node) -> Value:
    training = node.maybe(2)
    if training is not None and (not training.constant or bool(training.tensor.item())):
        raise Refusal("is set to training")
    if node.wants(1):
        raise Refusal("gives its mask, which is of training")
    return node.x


TABLE: dict[str, Handler] = {
    "Relu": _unary(F.relu),
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Clip": clip,
    "Sigmoid": _unary(torch.sigmoid),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _unary(F.hardswish),
    "Tanh": _unary(torch.tanh),
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink,
    "Gelu": gelu,
    "Softmax": _along(torch.softmax),
    "LogSoftmax": _along(torch.log_softmax),
    "Softplus": softplus,
    "Softsign": _unary(F.softsign),
    "Mish": _unary(F.mish),
    "Add": add,
    "Sub": _binary(lambda a, b: a - b),
    "Mul": mul,
    "Div": div,
    "Pow": power,
    "Mod": mod,
    "Max": _several(torch.maximum),
    "Min": _several(torch.minimum),
    "Sum": _several(torch.add),
    "Mean": mean,
    "Equal": _binary(lambda a, b: a == b),
    "Less": _binary(lambda a, b: a < b),
    "LessOrEqual": _binary(lambda a, b: a <= b),
    "Greater": _binary(lambda a, b: a > b),
    "GreaterOrEqual": _binary(lambda a, b: a >= b),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(torch.logical_xor),
    "Not": _unary(torch.logical_not),
    "BitwiseAnd": _binary(torch.bitwise_and),
    "BitwiseOr": _binary(torch.bitwise_or),
    "BitwiseXor": _binary(torch.bitwise_xor),
    "BitwiseNot": _unary(torch.bitwise_not),
    "Where": where,
    "Cast": cast,
    "CastLike": cast,
    "Identity": identity,
    "Dropout": dropout,
    "IsNaN": _unary(torch.isnan),
    "IsInf": _unary(torch.isinf),
    "Reciprocal": _unary(torch.reciprocal),
    "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs),
    "Acos": _unary(torch.acos),
    "Acosh": _unary(torch.acosh),
    "Asin": _unary(torch.asin),
    "Asinh": _unary(torch.asinh),
    "Atan": _unary(torch.atan),
    "Atanh": _unary(torch.atanh),
    "Ceil": _unary(torch.ceil),
    "Cos": _unary(torch.cos),
    "Cosh": _unary(torch.cosh),
    "Erf": erf,
    "Exp": _unary(torch.exp),
    "Floor": _unary(torch.floor),
    "Log": _unary(torch.log),
    "Round": _unary(torch.round),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Sinh": _unary(torch.sinh),
    "Sqrt": _unary(torch.sqrt),
    "Tan": _unary(torch.tan),
}
