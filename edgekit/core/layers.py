"""Layers by the user's own names: which operators of a graph a pattern means."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.errors import UsageError
from edgekit.core.quantize import names_near

OPERATOR = "op:"


@dataclass(frozen=True)
class Labelled:
    """One operator of a graph.

    Attributes:
        kind: the operator's name, as the format has it ("CONV_2D", "Conv", "aten.conv2d.default").
        names: what it may be called by, the user's name of its layer first.
        key: what tells it from all others in its graph.
    """

    kind: str
    names: tuple[str, ...]
    key: str

    @property
    def layer(self) -> str:
        """The user's name of the layer, as far as it is known."""
        return self.names[0] if self.names else self.key


def chosen(patterns: Sequence[str], operators: Sequence[Labelled]) -> list[int]:
    """The places of the operators that one of `patterns` means, in order.

    ``op:NAME`` means operators of that kind; anything else, layers of that name. ``*`` and ``?``
    stand for other characters; case counts in names of layers, not in kinds of operators.

    Raises:
        UsageError: a pattern means none of them; says which are like it.
    """
    found: set[int] = set()
    for pattern in patterns:
        places = [at for at, each in enumerate(operators) if means(pattern, each)]
        if not places:
            raise _nothing(pattern, operators)
        found.update(places)
    return sorted(found)


def means(pattern: str, operator: Labelled) -> bool:
    """Whether `pattern` means that operator."""
    if pattern.startswith(OPERATOR):
        wanted = pattern.removeprefix(OPERATOR).strip().lower()
        kind = operator.kind.lower()
        # torch writes aten.softmax.int, where people think of softmax
        parts = {kind, *(kind.split(".")[1:2])}
        return any(fnmatch.fnmatchcase(part, wanted) for part in parts)
    return any(fnmatch.fnmatchcase(name, pattern) for name in operator.names)


def _nothing(pattern: str, operators: Sequence[Labelled]) -> UsageError:
    if pattern.startswith(OPERATOR):
        what, bare = "operator", pattern.removeprefix(OPERATOR)
        names = sorted({each.kind for each in operators})
        near = names_near(bare, names) or names[:8]
        near = [f"{OPERATOR}{name}" for name in near]
    else:
        what, bare = "layer", pattern
        names = list(dict.fromkeys(each.layer for each in operators))
        every = [name for each in operators for name in each.names]
        near = names_near(bare, every) or names[:8]
    return UsageError(
        f"no {what} of this model is called {bare!r}",
        hint=f"there are, among others: {', '.join(near) or 'none'}",
    )
