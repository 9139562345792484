"""Files on a device that go when what they were for is over."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from edgekit.core.errors import DeviceError
from edgekit.core.protocols import Device


@contextlib.contextmanager
def removed_after(device: Device, remotes: Collection[str]) -> Iterator[None]:
    """Remove `remotes` from `device` after the block; more may be added to them inside.

    An error in the block is the one to tell: over a link that it has broken nothing is removed, and
    what is left of scratch files goes when it is stale.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(DeviceError):
            _remove(device, remotes)
        raise
    _remove(device, remotes)


def _remove(device: Device, remotes: Collection[str]) -> None:
    for remote in dict.fromkeys(remotes):
        device.remove(remote)
