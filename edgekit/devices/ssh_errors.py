"""What paramiko and the socket raise, in edgekit's words. Only this place knows both."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from edgekit.core.errors import DeviceError, EdgekitError, TransientDeviceError, UsageError


@contextlib.contextmanager
def translated(address: str, doing: str) -> Iterator[None]:
    """Turn any error of the SSH layer inside the block into one of ours.

    Args:
        doing: what was tried, after the address: "cannot be reached", "broke off during upload".
    """
    import paramiko

    try:
        yield
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, OSError, EOFError) as exc:
        raise translate(exc, address, doing) from exc


def translate(exc: BaseException, address: str, doing: str) -> EdgekitError:
    """The error of ours for one of theirs; see `translated`."""
    from paramiko import ssh_exception as theirs
    from paramiko.pkey import UnknownKeyType

    text = f"{address} {doing}"
    why = _reason(exc)
    if isinstance(exc, theirs.PasswordRequiredException):
        return DeviceError(f"{text}: the key has a passphrase", hint="ssh-add it first")
    if isinstance(exc, theirs.PartialAuthentication):
        return DeviceError(f"{text}: the login needs a second factor, which edgekit cannot give")
    if isinstance(exc, theirs.AuthenticationException):
        return DeviceError(f"{text}: the login was refused ({why})")
    if isinstance(exc, (theirs.ConfigParseError, theirs.CouldNotCanonicalize)):
        return UsageError(f"{text}: the ssh configuration is not understood: {why}")
    if isinstance(exc, (theirs.IncompatiblePeer, theirs.MessageOrderError)):
        return DeviceError(f"{text}: the two sides speak no common SSH: {why}")
    if isinstance(exc, theirs.BadHostKeyException):
        return DeviceError(f"{text}: {why}")
    if isinstance(exc, UnknownKeyType):
        return DeviceError(f"{text}: a key of an unknown type: {why}")
    if isinstance(exc, theirs.ChannelException):
        return DeviceError(f"{text}: refused by the server: {why}")
    if isinstance(exc, socket.gaierror):
        if exc.errno == socket.EAI_AGAIN:
            return TransientDeviceError(f"{text}: {why}", hint=_CHECK)
        return DeviceError(f"{text}: no host of that name ({why})", hint=_CHECK)
    if isinstance(exc, (FileNotFoundError, PermissionError)):  # a ProxyCommand, a key file
        return DeviceError(f"{text}: {why}")
    # What is left is the link: refused, unreachable, reset, timed out, cut off.
    return TransientDeviceError(f"{text}: {why}", hint=_CHECK)


_CHECK = "is it on, and does plain ssh reach it?"


def _reason(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if isinstance(exc, EOFError):
        return "the connection was closed"
    text = (exc.strerror or "") if isinstance(exc, OSError) else ""
    lines = (text or str(exc)).splitlines()
    return lines[0].rstrip(".") if lines and lines[0] else type(exc).__name__
