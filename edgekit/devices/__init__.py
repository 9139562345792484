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
        "local": "edgekit.devices.local:LocalDevice",
        "ssh": "edgekit.devices.ssh:SSHDevice",
    },
)


def open_device(address: str) -> Device:
    """The device at `address`: ``local`` or ``ssh://[user@]host[:port]``; not yet connected.

    Use it as a context manager. `host` may be a name from ``~/.ssh/config``.

    Raises:
        UsageError: the address is not of that form, or there is no such transport.
    """
    scheme, _, rest = address.partition("://")
    if address != "local" and not rest:
        raise UsageError(
            f"{address!r} is not the address of a device; write local or ssh://[user@]host[:port]",
            hint=f"for a board that ssh knows: ssh://{address}" if address.isidentifier() else "",
        )
    device: Device = TRANSPORTS[scheme](address)
    return device
