"""A board for the time of a job: found by its name, reached, and held against everybody else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from edgekit.core.boards import Target
from edgekit.core.protocols import Device
from edgekit.devices import open_device
from edgekit.devices.lock import Lease, Pause, Say, device_lock, host_lock

WAIT_SECONDS = 300.0


@contextlib.contextmanager
def held(
    board: Target,
    *,
    wait_seconds: float = WAIT_SECONDS,
    say: Say = lambda _: None,
    pause: Pause = time.sleep,
) -> Iterator[tuple[Device, Lease]]:
    """`board`, open and ours until the block ends.

    Args:
        wait_seconds: how long to wait for whoever has it.
        say: is told who that is, and of what is taken over.
        pause: waits so many seconds between two looks; may raise to give up.

    Raises:
        DeviceBusyError: somebody has it for longer; says who.
        DeviceError: it cannot be reached or locked.
    """
    with (
        host_lock(board.address, board.name, wait_seconds=wait_seconds, say=say, pause=pause),
        open_device(board.address) as device,
        device_lock(device, board.name, wait_seconds=wait_seconds, say=say, pause=pause) as lease,
    ):
        yield device, lease
