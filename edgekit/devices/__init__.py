"""Ways to reach a board. Adding one is a file with a class that implements `Device`, and a line.

A transport is found by what stands before ``://`` in the address and called with the address.
"""

from __future__ import annotations

from edgekit.core.errors import UsageError
from edgekit.core.protocols import Device
from edgekit.core.registry import Registry

TRANSPORTS = Registry(
    "transport",
    {
        "adb": "edgekit.devices.adb:AdbDevice",
        "local": "edgekit.devices.local:LocalDevice",
        "ssh": "edgekit.devices.ssh:SSHDevice",
    },
)


def open_device(address: str) -> Device:
    """The device at `address`; not yet connected. Use it as a context manager.

    Args:
        address: ``local``; ``ssh://[user@]host[:port]``, where `host` may be a name from
            ``~/.ssh/config``; ``adb:SERIAL`` or ``adb://SERIAL`` with a serial that ``adb devices``
            lists, ``adb:`` for the only device there is.

    Raises:
        UsageError: the address is not of that form, or there is no such transport.
    """
    scheme, _, rest = address.partition("://")
    if address.startswith("adb:"):
        scheme = "adb"
    elif address != "local" and not rest:
        hint = ""
        if address == "adb":
            hint = "for the only phone that is connected: adb:"
        elif address.isidentifier():
            hint = f"for a board that ssh knows: ssh://{address}"
        raise UsageError(
            f"{address!r} is not the address of a device; "
            "write local, ssh://[user@]host[:port] or adb:SERIAL",
            hint=hint,
        )
    device: Device = TRANSPORTS[scheme](address)
    return device
