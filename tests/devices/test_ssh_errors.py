"""Every exception of paramiko and of the socket has a class of ours."""

from __future__ import annotations

import inspect
import socket

import paramiko
import pytest
from paramiko import ssh_exception
from paramiko.pkey import UnknownKeyType

from edgekit.core.errors import DeviceError, EdgekitError, TransientDeviceError, UsageError
from edgekit.devices.ssh_errors import translate, translated

_KEY = paramiko.RSAKey.generate(2048)

EXPECTED: list[tuple[BaseException, type[EdgekitError]]] = [
    (paramiko.SSHException("Error reading SSH protocol banner"), TransientDeviceError),
    (paramiko.AuthenticationException("Authentication failed."), DeviceError),
    (paramiko.PasswordRequiredException("Private key file is encrypted"), DeviceError),
    (paramiko.BadAuthenticationType("Bad type", ["password"]), DeviceError),
    (ssh_exception.PartialAuthentication(["keyboard-interactive"]), DeviceError),
    (ssh_exception.UnableToAuthenticate("none worked"), DeviceError),
    (paramiko.ChannelException(1, "Administratively prohibited"), DeviceError),
    (paramiko.BadHostKeyException("pi", _KEY, _KEY), DeviceError),
    (ssh_exception.IncompatiblePeer("no acceptable kex"), DeviceError),
    (paramiko.ProxyCommandFailure("ssh gate", "Broken pipe"), TransientDeviceError),
    (ssh_exception.NoValidConnectionsError({("pi", 22): OSError("x")}), TransientDeviceError),
    (ssh_exception.CouldNotCanonicalize("pi"), UsageError),
    (ssh_exception.ConfigParseError("Unparsable line"), UsageError),
    (ssh_exception.MessageOrderError("out of order"), DeviceError),
    (UnknownKeyType("ssh-x", b""), DeviceError),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), DeviceError),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), TransientDeviceError),
    (TimeoutError(), TransientDeviceError),
    (ConnectionRefusedError(111, "Connection refused"), TransientDeviceError),
    (ConnectionResetError(104, "Connection reset by peer"), TransientDeviceError),
    (BrokenPipeError(32, "Broken pipe"), TransientDeviceError),
    (OSError(113, "No route to host"), TransientDeviceError),
    (FileNotFoundError(2, "No such file or directory"), DeviceError),
    (PermissionError(13, "Permission denied"), DeviceError),
    (EOFError(), TransientDeviceError),
]


@pytest.mark.parametrize(
    ("theirs", "ours"), EXPECTED, ids=[type(theirs).__name__ for theirs, _ in EXPECTED]
)
def test_each(theirs: BaseException, ours: type[EdgekitError]) -> None:
    error = translate(theirs, "ssh://pi", "cannot be reached")
    assert type(error) is ours
    assert error.message.startswith("ssh://pi cannot be reached: ")
    assert len(str(error).splitlines()) <= 2
    with pytest.raises(ours) as caught, translated("ssh://pi", "cannot be reached"):
        raise theirs
    assert caught.value.__cause__ is theirs


def test_none_is_forgotten() -> None:
    """A class that a later paramiko adds must be given a place here."""
    known = {type(theirs) for theirs, _ in EXPECTED}
    there = {
        cls
        for _, cls in inspect.getmembers(ssh_exception, inspect.isclass)
        if issubclass(cls, BaseException) and cls.__module__ == ssh_exception.__name__
    }
    assert there <= known


def test_our_own_errors_pass() -> None:
    with pytest.raises(UsageError), translated("ssh://pi", "x"):
        raise UsageError("mine")
