"""The clean job: free what cached work takes, here and on boards."""

from __future__ import annotations

import shutil

from edgekit.core.noun import Noun
from edgekit.work.cache import Cache


class Cleaned(Noun):
    """What was removed."""

    entries: int
    size_bytes: int


def clean_here(*, keep_bytes: int = 0) -> Cleaned:
    """Remove finished steps used longest ago until at most `keep_bytes` are left; and old logs."""
    cache = Cache()
    removed = cache.trim(limit_bytes=keep_bytes)
    if keep_bytes == 0:
        shutil.rmtree(cache.root / "logs", ignore_errors=True)
    return Cleaned(entries=removed.entries, size_bytes=removed.size_bytes)
