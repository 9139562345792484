"""Bounded stores: what they hold, and removing what was used longest ago."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from edgekit.core.noun import Noun

T = TypeVar("T", bound=object)


class StoreUsage(Noun):
    """What a store holds, or what was removed from it."""

    entries: int
    size_bytes: int


def usage_of(held: Collection[tuple[float, int, T]]) -> StoreUsage:
    """Of entries given as in `evict`."""
    return StoreUsage(entries=len(held), size_bytes=sum(size for _, size, _ in held))


def evict(
    held: Iterable[tuple[float, int, T]],
    limit_bytes: int,
    *,
    in_use: Callable[[T], bool],
    remove: Callable[[T], None],
) -> StoreUsage:
    """Remove what was used longest ago until the rest is under the limit; what was removed.

    Args:
        held: time of last use in seconds, size in bytes and handle of each entry.
        in_use: entries that must stay.
    """
    entries = sorted(held, key=lambda entry: entry[0])
    left = sum(size for _, size, _ in entries)
    removed = freed = 0
    for _, size, handle in entries:
        if left - freed <= limit_bytes:
            break
        if in_use(handle):
            continue
        remove(handle)
        removed, freed = removed + 1, freed + size
    return StoreUsage(entries=removed, size_bytes=freed)
