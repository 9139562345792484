"""Changing the modules inside a module, and seeing what they compute. Runs in a worker of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Called:
    """What a module was called with by position, and what it returned."""

    inputs: tuple[Any, ...]
    output: Any


def put_module(module: Any, name: str, new: Any) -> Any:
    """`module` with `new` in place of the one called `name`, under whatever other names it has.

    The module itself is called "".
    """
    old = module.get_submodule(name)
    if old is module:
        return new
    names = [n for n, each in module.named_modules(remove_duplicate=False) if each is old]
    for each in names:
        owner, _, own = each.rpartition(".")
        setattr(module.get_submodule(owner), own, new)
    return module


@contextmanager
def watched(module: Any, names: Sequence[str]) -> Iterator[dict[str, Called]]:
    """Note the first call of each of these modules while the block runs."""
    found: dict[str, Called] = {}

    def note(name: str) -> Any:
        def hook(_: Any, inputs: tuple[Any, ...], output: Any) -> None:
            found.setdefault(name, Called(inputs, output))

        return hook

    handles = [module.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
