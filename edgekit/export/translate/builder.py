"""A torch module put together call by call while a file's graph is walked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253 - see the package's docstring

Tensor = torch.Tensor
_RESERVED = frozenset(dir(torch.nn.Module()))


class Refusal(Exception):
    """An attribute or an input of an operator has no faithful translation; says which."""


@dataclass(eq=False)
class Value:
    """What flows between operators.

    Attributes:
        tensor: a constant's value; else an empty one (device meta) of the shape and type.
        constant: whether the value is known now.
        name: as in the file.
        channels_first: the last axis of the file's layout stands at 1 here (TFLite only).
        other: the same value in the other layout, once it was needed.
        origin: what made it, where a later operator may be joined with it.
        alias: the value that holds the elements, if this one only names their layout otherwise.
    """

    tensor: Tensor
    constant: bool
    name: str = ""
    channels_first: bool = False
    other: Value | None = None
    origin: tuple[Any, ...] = ()
    alias: Value | None = None

    @property
    def shape(self) -> list[int]:
        """Sizes as they are here, which is the file's order unless `channels_first`."""
        return list(self.tensor.shape)

    @property
    def rank(self) -> int:
        return self.tensor.ndim

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def example(self) -> Tensor:
        """The constant itself, or zeros of the shape."""
        if self.constant:
            return self.tensor
        return torch.zeros(self.tensor.shape, dtype=self.tensor.dtype)


class Operator(torch.nn.Module):
    """One call; holds the weights that it is the first to use."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


@dataclass
class _Weight:
    """A constant argument, and what the submodule shall call it."""

    name: str
    value: Value


@dataclass
class _Call:
    name: str
    arguments: list[Any]  # Value, _Weight, or what is passed as it is
    results: list[Value]
    several: bool


class Translated(torch.nn.Module):
    """Takes the graph's inputs in order, gives a tuple of its outputs in order."""

    def __init__(
        self,
        operators: Sequence[tuple[str, Operator]],
        plan: list[tuple[str, list[tuple[str, Any]], list[int], bool]],
        outputs: list[int],
    ) -> None:
        super().__init__()
        for name, operator in operators:
            self.add_module(name, operator)
        self._plan, self._outputs = plan, outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        slots: dict[int, Tensor] = dict(enumerate(inputs))
        for name, arguments, results, several in self._plan:
            made = getattr(self, name)(*[self._argument(slots, *given) for given in arguments])
            for slot, tensor in zip(results, made if several else [made], strict=True):
                slots[slot] = tensor
        return tuple(slots[slot] for slot in self._outputs)

    def _argument(self, slots: dict[int, Tensor], kind: str, what: Any) -> Any:
        if kind == "slot":
            return slots[what]
        if kind == "weight":
            return getattr(getattr(self, what[0]), what[1])
        return what


class Builder:
    """Collects calls; `module` makes the module of those that the outputs need."""

    def __init__(self) -> None:
        self._inputs: list[Value] = []
        self._calls: list[_Call] = []
        self._operators: dict[str, Operator] = {}

    def input(self, name: str, shape: Iterable[int], dtype: torch.dtype) -> Value:
        """The next of the module's inputs."""
        value = Value(torch.empty(tuple(shape), dtype=dtype, device="meta"), False, name)
        self._inputs.append(value)
        return value

    @torch.no_grad()
    def call(
        self, name: str, function: Callable[..., Any], *arguments: Any, names: Sequence[str] = ()
    ) -> list[Value]:
        """The values that a call gives; computed now if all arguments are known.

        Args:
            name: of the node in the file; a submodule gets it.
            arguments: values, tensors (which are constants), or anything else, passed as it is.
            names: what constants are called in the submodule, by position; "" is the default,
                "weight" for the second argument and "bias" for the third.
        """
        wrapped = [
            Value(given, True) if isinstance(given, Tensor) else _held(given) for given in arguments
        ]
        values = [given for given in wrapped if isinstance(given, Value)]
        known = all(value.constant for value in values)
        made = function(*[w.example() if isinstance(w, Value) else w for w in wrapped])
        several = not isinstance(made, Tensor)
        tensors = list(made) if several else [made]
        if known:
            return [Value(tensor, True, name) for tensor in tensors]
        results = [Value(_empty(tensor), False, name) for tensor in tensors]
        unique = self._unique(name)
        self._operators[unique] = Operator(function)
        named = [_named(at, given, names) for at, given in enumerate(wrapped)]
        self._calls.append(_Call(unique, named, results, several))
        return results

    def module(self, outputs: Sequence[Value]) -> Translated:
        """What computes `outputs`, without the calls that none of them needs."""
        # An output that is constant or an input is given as a copy: programs return what they made.
        outputs = [_held(value) for value in outputs]
        held = {id(value) for value in self._inputs}
        outputs = [
            self._copy(value) if value.constant or id(value) in held else value for value in outputs
        ]
        needed, calls = {id(value) for value in outputs}, []
        for call in reversed(self._calls):
            if any(id(result) in needed for result in call.results):
                calls.append(call)
                needed |= {id(given) for given in call.arguments if isinstance(given, Value)}
        calls.reverse()
        slots = {id(value): at for at, value in enumerate(self._inputs)}
        owners: dict[int, tuple[str, str]] = {}
        operators, plan = [], []
        for call in calls:
            operator = self._operators[call.name]
            operators.append((call.name, operator))
            arguments: list[tuple[str, Any]] = []
            for given in call.arguments:
                if isinstance(given, _Weight):
                    if id(given.value) not in owners:
                        _hold(operator, given.name, given.value.tensor)
                        owners[id(given.value)] = (call.name, given.name)
                    arguments.append(("weight", owners[id(given.value)]))
                elif isinstance(given, Value):
                    arguments.append(("slot", slots[id(given)]))
                else:
                    arguments.append(("as", given))
            for result in call.results:
                slots[id(result)] = len(slots)
            plan.append(
                (call.name, arguments, [slots[id(result)] for result in call.results], call.several)
            )
        return Translated(operators, plan, [slots[id(value)] for value in outputs])

    def _copy(self, value: Value) -> Value:
        if not value.constant:
            (copied,) = self.call(f"{value.name}_out", torch.clone, value)
            return copied
        # A call of constants alone would be folded: this one is recorded by hand.
        name = self._unique(f"{value.name}_out")
        made = Value(_empty(value.tensor), False, value.name)
        self._operators[name] = Operator(torch.clone)
        self._calls.append(_Call(name, [_named(0, value, ())], [made], False))
        return made

    def _unique(self, name: str) -> str:
        base = identifier(name)
        found, count = base, 1
        while found in self._operators:
            count += 1
            found = f"{base}_{count}"
        return found


def identifier(name: str) -> str:
    """A name that a submodule may have, as near to `name` as can be."""
    made = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "node"
    if made[0].isdigit():
        made = f"n{made}"
    return f"{made}_" if made in _RESERVED else made


def scalar(value: Value | None) -> Any:
    """The number of a constant with one element that broadcasts to nothing larger, else None."""
    if value is None or not value.constant or value.tensor.numel() != 1:
        return None
    return value.tensor.item()


def _held(given: Any) -> Any:
    return given.alias if isinstance(given, Value) and given.alias is not None else given


def _named(at: int, given: Any, names: Sequence[str]) -> Any:
    if not isinstance(given, Value) or not given.constant:
        return given
    default = {1: "weight", 2: "bias"}.get(at, f"constant{at}")
    return _Weight(names[at] if at < len(names) and names[at] else default, given)


def _empty(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _hold(operator: Operator, name: str, tensor: Tensor) -> None:
    # Contiguous, since backends read weights as the bytes that they are.
    tensor = tensor.detach().contiguous().clone()
    if tensor.is_floating_point():
        operator.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
    else:
        operator.register_buffer(name, tensor)
