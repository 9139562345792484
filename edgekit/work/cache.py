"""Results of steps on disk, by content key. Safe to share between processes, bounded in size."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import UsageError
from edgekit.core.eviction import StoreUsage, evict, usage_of
from edgekit.core.files import unwritable
from edgekit.core.locate import cache_dir

RESULT_FILE = "_result.json"
HINT = "EDGEKIT_CACHE names another folder for cached work"
SPARED_SECONDS = 3600.0
DEFAULT_LIMIT_BYTES = 10 * 10**9


@dataclass(frozen=True)
class Entry:
    """A finished step on disk."""

    key: str
    folder: Path
    result: dict[str, Any]


class Cache:
    """A folder of finished steps.

    An entry appears under its key by one rename, so a reader never sees half of it. When the whole
    is over its limit, the entries used longest ago go, but none that this object has handed out.

    Args:
        root: where; the user's cache folder if not given.
        limit_bytes: EDGEKIT_CACHE_LIMIT_MB, or 10 GB, if not given.
    """

    def __init__(self, root: Path | None = None, limit_bytes: int | None = None) -> None:
        self.root = root or cache_dir()
        self.limit_bytes = _limit() if limit_bytes is None else limit_bytes
        self._in_use: set[str] = set()

    @property
    def _steps(self) -> Path:
        return self.root / "steps"

    def _folder(self, key: str) -> Path:
        return self._steps / key[:2] / key

    def find(self, key: str) -> Entry | None:
        """The finished step of that key, or None."""
        folder = self._folder(key)
        try:
            result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
            os.utime(folder / RESULT_FILE)  # the time of last use, for eviction
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise unwritable(folder, exc, hint=HINT) from exc
        except ValueError:  # cut off when the power went: as good as not there
            shutil.rmtree(folder, ignore_errors=True)
            return None
        self._in_use.add(key)
        return Entry(key, folder, result)

    def get_or_make(self, key: str, make: Callable[[Path], dict[str, Any]]) -> tuple[Entry, bool]:
        """The entry of `key`, and whether it was made just now.

        `make` fills a scratch folder and returns the result; if it raises, nothing stays. Another
        process that makes the same step is waited for.

        Raises:
            OutputError: the cache folder cannot be written.
        """
        from filelock import FileLock

        folder = self._folder(key)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.with_suffix(".lock"))
            lock.acquire()
        except OSError as exc:
            raise unwritable(folder.parent, exc, hint=HINT) from exc
        try:
            if (entry := self.find(key)) is not None:
                return entry, False
            scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key[:8]}."))
            try:
                result = make(scratch)
                (scratch / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")
                if (entry := self.find(key)) is not None:  # by one that held the lock's old file
                    return entry, False
                os.replace(scratch, folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        finally:
            lock.release()
            folder.with_suffix(".lock").unlink(missing_ok=True)
        self._in_use.add(key)
        return Entry(key, folder, result), True

    def is_being_made(self, key: str) -> bool:
        """Whether a process is at the step of that key now."""
        lock = self._folder(key).with_suffix(".lock")
        return lock.exists() and not _is_free(lock)

    def usage(self) -> StoreUsage:
        return usage_of(self._entries())

    def trim(self, limit_bytes: int | None = None) -> StoreUsage:
        """Remove what was used longest ago until the rest is under the limit; what was removed.

        What a killed process has left half-made goes, too. Without a limit given, the cache's own
        holds, and what was used in the last hour stays: another process may be at it.

        Args:
            limit_bytes: hold this one, and spare only what this object has handed out.
        """
        lately = time.time() - SPARED_SECONDS if limit_bytes is None else math.inf
        entries = self._entries()
        spared = self._in_use | {folder.name for used, _, folder in entries if used > lately}
        for scratch in self._steps.glob("*/.*"):
            locks = scratch.parent.glob(f"{scratch.name.split('.')[1]}*.lock")
            if all(_is_free(lock) for lock in locks):
                shutil.rmtree(scratch, ignore_errors=True)
        return evict(
            entries,
            self.limit_bytes if limit_bytes is None else limit_bytes,
            in_use=lambda folder: folder.name in spared,
            remove=lambda folder: shutil.rmtree(folder, ignore_errors=True),
        )

    def _entries(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size in bytes and folder of each entry."""
        found = []
        for marker in self._steps.glob(f"*/*/{RESULT_FILE}"):
            folder = marker.parent
            try:
                size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
                found.append((marker.stat().st_mtime, size, folder))
            except FileNotFoundError:  # another process has just removed it
                continue
        return found


def _is_free(lock: Path) -> bool:
    """Whether nobody makes what the lock stands for."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, blocking=False):
            return True
    except (OSError, Timeout):
        return False


def _limit() -> int:
    text = os.environ.get("EDGEKIT_CACHE_LIMIT_MB")
    if text is None:
        return DEFAULT_LIMIT_BYTES
    try:
        return int(text) * 10**6
    except ValueError as exc:
        raise UsageError(
            f"EDGEKIT_CACHE_LIMIT_MB={text!r} is not a whole number of megabytes"
        ) from exc
