"""How large a graph becomes when every call of a function is replaced by what is in the function.

A file of a few hundred bytes can define functions that call each other ten times each, ten deep:
what is made of it does not fit into any memory. It is counted before it is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
MOST = 2**62  # larger numbers are of no use, and take longer and longer to compute


def unfolded(own: Mapping[Name, int], calls: Mapping[Name, Mapping[Name, int]], start: Name) -> int:
    """The size of `start` with all that it calls, directly or not, put in place; at most `MOST`.

    Args:
        own: size of each function without what it calls, and of `start`.
        calls: which others each of them calls, and how often; names that are not in `own` are no
            functions and take nothing.

    Raises:
        ValueError: a function calls itself, directly or not.
    """
    sizes: dict[Name, int] = {}
    opened: set[Name] = set()
    stack = [start]
    while stack:
        name = stack[-1]
        called = {each: count for each, count in calls.get(name, {}).items() if each in own}
        waiting = [each for each in called if each not in sizes]
        if not waiting:
            inside = sum(sizes[each] * count for each, count in called.items())
            sizes[name] = min(own[name] + inside, MOST)
            opened.discard(name)
            stack.pop()
            continue
        opened.add(name)
        if not opened.isdisjoint(waiting):
            raise ValueError("its functions call each other without end")
        stack.append(waiting[0])
    return sizes[start]
