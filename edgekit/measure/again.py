"""What is tidied up on a board after the link to it broke."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.protocols import Device

_PAUSES_SECONDS = (0, 1, 3)  # before each try


@contextlib.contextmanager
def reached_again(device: Device, tidy: Callable[[], object] | None = None) -> Iterator[None]:
    """Where the link is lost in the block, reach `device` again for some seconds, and raise then.

    What the device was running at that time is ended there, and `tidy` is called. Where it cannot
    be reached, what runs there ends by itself when its time is over.
    """
    try:
        yield
    except TransientDeviceError as exc:
        if tidy is None and not device.left_running:
            raise
        now = None
        for pause in _PAUSES_SECONDS:
            time.sleep(pause)
            try:
                device.__enter__()
                if tidy is not None:
                    tidy()
            except DeviceError as again:
                now = again
            else:
                raise
        if now is None or isinstance(now, TransientDeviceError):
            raise
        # The link came back to something else than a board that is ready: that tells more.
        raise TransientDeviceError(f"{exc.message}; now: {now.message}", hint=now.hint) from exc
