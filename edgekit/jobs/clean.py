"""The clean job: free what cached work takes, here and on boards."""

from __future__ import annotations

import shutil

from edgekit.core.eviction import StoreUsage
from edgekit.devices import open_device
from edgekit.work import environments as managed
from edgekit.work.cache import Cache


def usage_here() -> StoreUsage:
    """What cached steps and runtimes' environments take; toolchains are not cached work."""
    steps = Cache().usage()
    runtimes = [each for each in managed.environments() if not each.is_toolchain]
    return StoreUsage(
        entries=steps.entries + len(runtimes),
        size_bytes=steps.size_bytes + sum(each.size_bytes for each in runtimes),
    )


def clean_here(keep_bytes: int, *, environments: bool) -> StoreUsage:
    """Remove steps used longest ago until at most `keep_bytes` are left; what was removed."""
    cache = Cache()
    removed = cache.trim(limit_bytes=keep_bytes)
    entries, size = removed.entries, removed.size_bytes
    if keep_bytes == 0:
        shutil.rmtree(cache.root / "logs", ignore_errors=True)
    if environments:
        gone = managed.remove_environments()
        entries += len(gone)
        size += sum(each.size_bytes for each in gone)
    return StoreUsage(entries=entries, size_bytes=size)


def usage_of_device(address: str) -> StoreUsage:
    """What was pushed to the device and is still there."""
    with open_device(address) as device:
        return device.usage()


def clean_device(address: str, keep_bytes: int) -> StoreUsage:
    """The same as `clean_here` for what was pushed to a device."""
    with open_device(address) as device:
        return device.trim(keep_bytes)
