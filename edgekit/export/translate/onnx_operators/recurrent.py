"""RNN, LSTM and GRU, as torch's own over the whole sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from edgekit.export.translate.builder import Refusal, Value
from edgekit.export.translate.onnx_graph import Handler, Node

Tensor = torch.Tensor
# Rows of the weights are blocks of gates; torch's order from ONNX's: lstm i f g o from i o f c,
# gru r z n from z r h.
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_USUAL = {
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "RNN": ["Tanh"],
}


def recurrent(node: Node) -> list[Value]:
    kind, x = node.operator, node.x
    hidden = node.attribute("hidden_size")
    direction = node.attribute("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    batch_first = bool(node.attribute("layout", 0))
    activations = node.attribute("activations") or _USUAL[kind] * count
    relu = kind == "RNN" and activations == ["Relu"] * count
    if activations != _USUAL[kind] * count and not relu:
        raise Refusal(f"has the activations {', '.join(activations)}")
    if node.attribute("clip") is not None or node.attribute("input_forget", 0):
        raise Refusal("clips its cells or couples its gates")
    steps, batch = (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
    lengths = node.maybe(4)
    if lengths is not None and (not lengths.constant or (lengths.tensor != steps).any()):
        raise Refusal("takes sequences of several lengths")
    if kind == "LSTM" and node.maybe(7) is not None and bool(node.value(7).example().any()):
        raise Refusal("has peepholes")
    weights = _weights(node, kind, hidden, count)
    states = [node.maybe(5)] + ([node.maybe(6)] if kind == "LSTM" else [])
    zeros = torch.zeros(count, batch, hidden, dtype=x.dtype)
    given = [state if state is not None else Value(zeros, True, "zeros") for state in states]
    run = _runner(kind, relu, bool(node.attribute("linear_before_reset", 0)), count)
    backward = direction == "reverse"

    def compute(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        x = x.transpose(0, 1) if batch_first else x
        x = torch.flip(x, [0]) if backward else x
        state, flat = rest[: len(given)], rest[len(given) :]
        if batch_first:
            state = tuple(one.transpose(0, 1) for one in state)
        y, *last = run(x, state, flat)
        y = torch.flip(y, [0]) if backward else y
        if count == 1 and not batch_first:
            return (y.unsqueeze(1), *last)
        y = y.reshape(steps, batch, count, hidden)
        if batch_first:
            return (y.transpose(0, 1), *(one.transpose(0, 1) for one in last))
        return (y.transpose(1, 2), *last)

    suffixes = [""] if count == 1 else ["", "_reverse"]
    names = [f"{name}_l0{end}" for end in suffixes for name in _NAMES]
    return node.calls(compute, x, *given, *weights, names=("", *["h0", "c0"][: len(given)], *names))


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _weights(node: Node, kind: str, hidden: int, count: int) -> list[Tensor]:
    w, r = node.constant(1, "weights"), node.constant(2, "weights")
    gates = len(_ORDER[kind])
    biases = (
        node.constant(3, "biases")
        if node.maybe(3) is not None
        else torch.zeros(count, 2 * gates * hidden, dtype=w.dtype)
    )

    def ordered(rows: Tensor) -> Tensor:
        blocks = torch.split(rows, hidden)
        return torch.cat([blocks[at] for at in _ORDER[kind]])

    flat = []
    for at in range(count):
        inner, outer = torch.split(biases[at], gates * hidden)
        flat += [ordered(w[at]), ordered(r[at]), ordered(inner), ordered(outer)]
    return flat


Runner = Callable[[Tensor, Sequence[Tensor], Sequence[Tensor]], Any]


def _runner(kind: str, relu: bool, reset_after: bool, count: int) -> Runner:
    shared: tuple[Any, ...] = (True, 1, 0.0, False, count == 2, False)
    if kind == "LSTM":
        return lambda x, state, flat: torch.lstm(x, tuple(state), tuple(flat), *shared)
    if kind == "GRU" and not reset_after:
        return _reset_before
    function: Callable[..., Any] = (
        torch.gru if kind == "GRU" else torch.rnn_relu if relu else torch.rnn_tanh
    )
    return lambda x, state, flat: function(x, state[0], flat, *shared)


def _reset_before(x: Tensor, state: Sequence[Tensor], flat: Sequence[Tensor]) -> Any:
    """A GRU whose reset gate acts before the product (linear_before_reset 0): torch has none."""
    results, last = [], []
    for at in range(len(flat) // 4):
        w, r, inner, outer = flat[at * 4 : at * 4 + 4]
        size = r.shape[1]
        h = state[0][at]
        rows = list(x.unbind(0))
        outputs = []
        for row in reversed(rows) if at else rows:
            moved = F.linear(row, w, inner)
            gates = F.linear(h, r[: 2 * size], outer[: 2 * size])
            reset = torch.sigmoid(moved[:, :size] + gates[:, :size])
            update = torch.sigmoid(moved[:, size : 2 * size] + gates[:, size:])
            new = torch.tanh(
                moved[:, 2 * size :] + F.linear(reset * h, r[2 * size :], outer[2 * size :])
            )
            h = (1 - update) * new + update * h
            outputs.append(h)
        results.append(torch.stack(outputs[::-1] if at else outputs))
        last.append(h)
    return torch.cat(results, -1), torch.stack(last)


TABLE: dict[str, Handler] = dict.fromkeys(_ORDER, recurrent)
