"""What trainings that were killed have left in the cache: a folder each, to go on from."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from edgekit.core.eviction import StoreUsage, evict, usage_of
from edgekit.core.locate import cache_dir
from edgekit.work.cache import Cache

OLD_SECONDS = 30 * 24 * 3600.0


def checkpoint_folder(key: str) -> Path:
    """That of the step of this key, so that it is only gone on with by the very same training."""
    return cache_dir() / "training" / key


def checkpoints_usage() -> StoreUsage:
    """What they take."""
    return usage_of(_left())


def trim_checkpoints(keep_bytes: int) -> StoreUsage:
    """Remove those left longest ago until at most `keep_bytes` are left; what was removed.

    What a training writes now, in whatever process, stays.
    """
    cache = Cache()
    return evict(
        _left(),
        keep_bytes,
        in_use=lambda folder: cache.is_being_made(folder.name),
        remove=lambda folder: shutil.rmtree(folder, ignore_errors=True),
    )


def forget_old_checkpoints() -> None:
    """Remove those that nobody has gone on with for a month."""
    cache = Cache()
    for changed, _, folder in _left():
        if changed < time.time() - OLD_SECONDS and not cache.is_being_made(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _left() -> list[tuple[float, int, Path]]:
    """Time of the last change, size in bytes and folder of each."""
    found = []
    for folder in checkpoint_folder("").glob("*/"):
        try:
            facts = [path.stat() for path in [folder, *folder.iterdir()]]
        except FileNotFoundError:  # the training has just ended
            continue
        size = sum(each.st_size for each in facts[1:])
        found.append((max(each.st_mtime for each in facts), size, folder))
    return found
