"""What the native runner keeps in the cache folder: programs, libraries, and zig's own files."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgekit.core.eviction import StoreUsage
from edgekit.core.locate import cache_dir


def native_dir() -> Path:
    return cache_dir() / "native"


def native_usage() -> StoreUsage:
    """What it takes; each program and each library is an entry."""
    folders = [path for path in native_dir().glob("*") if path.is_dir()]
    files = [path for path in native_dir().rglob("*") if path.is_file()]
    return StoreUsage(entries=len(folders), size_bytes=sum(path.stat().st_size for path in files))


def remove_native() -> StoreUsage:
    """Remove it, which the next use builds and fetches again; what was removed."""
    held = native_usage()
    shutil.rmtree(native_dir(), ignore_errors=True)
    return held
