"""The clean job: free what cached work takes, here and on boards."""

from __future__ import annotations

import shutil

from edgekit.compress.checkpoints import checkpoints_usage, trim_checkpoints
from edgekit.core.bench import programs_dir
from edgekit.core.boards import target
from edgekit.core.eviction import StoreUsage
from edgekit.devices import open_device
from edgekit.measure.native_files import native_usage, remove_native
from edgekit.work import environments as managed
from edgekit.work.cache import Cache
from edgekit.work.wheelhouse import remove_wheels, wheels_usage


def usage_here() -> StoreUsage:
    """What cached steps, killed trainings, wheels for boards, runtimes' environments and native
    runners take; toolchains are not cached work.
    """
    held = [Cache().usage(), checkpoints_usage(), wheels_usage(), native_usage()]
    runtimes = [each for each in managed.environments() if not each.is_toolchain]
    return StoreUsage(
        entries=sum(each.entries for each in held) + len(runtimes),
        size_bytes=sum(each.size_bytes for each in held)
        + sum(each.size_bytes for each in runtimes),
    )


def clean_here(keep_bytes: int, *, environments: bool) -> StoreUsage:
    """Remove what was used longest ago until at most `keep_bytes` are left; what was removed.

    Steps go before what killed trainings have left, of which there is little that costs much.
    """
    cache = Cache()
    trainings = trim_checkpoints(keep_bytes)
    steps = cache.trim(limit_bytes=max(0, keep_bytes - checkpoints_usage().size_bytes))
    entries = trainings.entries + steps.entries
    size = trainings.size_bytes + steps.size_bytes
    if keep_bytes == 0:
        for folder in (cache.root / "logs", programs_dir()):
            shutil.rmtree(folder, ignore_errors=True)
        wheels = remove_wheels()
        entries += wheels.entries
        size += wheels.size_bytes
    if environments:
        gone = managed.remove_environments()
        native = remove_native()
        entries += len(gone) + native.entries
        size += sum(each.size_bytes for each in gone) + native.size_bytes
    return StoreUsage(entries=entries, size_bytes=size)


def usage_of_device(on: str) -> StoreUsage:
    """What was pushed to the device and is still there."""
    with open_device(target(on).address) as device:
        return device.usage()


def clean_device(on: str, keep_bytes: int) -> StoreUsage:
    """The same as `clean_here` for what was pushed to a device."""
    with open_device(target(on).address) as device:
        return device.trim(keep_bytes)
