"""Logging in by password, at a test double of a server: paramiko's own, which speaks the real
protocol. A real one would need an account of this computer.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from edgekit.core.errors import DeviceError, HostKeyError
from edgekit.devices import ssh_connection
from edgekit.devices.ssh_config import parse_address
from edgekit.devices.ssh_connection import Connection

SECRET = "correct horse"


class Gate(paramiko.ServerInterface):
    """Lets in who knows the secret, by password or when asked for it."""

    def __init__(self, methods: str) -> None:
        self._methods = methods
        self.tried: list[str] = []

    def get_allowed_auths(self, username: str) -> str:
        return self._methods

    def check_auth_password(self, username: str, password: str) -> int:
        self.tried.append(password)
        if "password" not in self._methods.split(","):
            return paramiko.AUTH_FAILED
        return paramiko.AUTH_SUCCESSFUL if password == SECRET else paramiko.AUTH_FAILED

    def check_auth_interactive(
        self, username: str, submethods: str
    ) -> int | paramiko.server.InteractiveQuery:
        return paramiko.server.InteractiveQuery("", "", ("Password: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        good = list(responses) == [SECRET]
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED


class PasswordServer:
    """A double of an SSH server on a free port; each connection is served by a thread."""

    def __init__(self, folder: Path, methods: str) -> None:
        self.gate = Gate(methods)
        self._key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.known = folder / "known_hosts"
        name = f"[127.0.0.1]:{self.port} {self._key.get_name()} {self._key.get_base64()}"
        self.known.write_text(name + "\n")
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:  # closed by stop
                return
            transport = paramiko.Transport(link)
            transport.add_server_key(self._key)
            transport.start_server(server=self.gate)
            self._transports.append(transport)

    def stop(self) -> None:
        """With its thread: one that goes on would take connections of the next server's socket,
        which gets the number of this one's.
        """
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for transport in self._transports:
            transport.close()


@pytest.fixture(params=["password", "keyboard-interactive"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PasswordServer]:
    server = PasswordServer(tmp_path, request.param)
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n  User pi\n  IdentityFile none\n  GlobalKnownHostsFile none\n"
        f'  UserKnownHostsFile "{server.known}"\n'
    )
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(config))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv(ssh_connection.PASSWORD_VARIABLE, raising=False)
    monkeypatch.setattr(ssh_connection, "_passwords", {})
    yield server
    server.stop()


def connect(server: PasswordServer) -> Connection:
    return Connection(parse_address(f"ssh://127.0.0.1:{server.port}"))


def test_a_password_of_the_environment(
    server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ssh_connection.PASSWORD_VARIABLE, SECRET)
    connection = connect(server)
    assert connection.alive
    connection.close()


def test_a_password_is_asked_for_once(
    server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or SECRET)
    connect(server).close()
    connect(server).close()
    assert asked == ["password of pi@127.0.0.1: "]


def test_a_wrong_one_is_told_without_repeating_it(
    server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ssh_connection.PASSWORD_VARIABLE, "wrong battery")
    with pytest.raises(DeviceError, match=r"pi@127\.0\.0\.1 refused the password") as caught:
        connect(server)
    assert "battery" not in str(caught.value)


def test_nobody_to_ask(server: PasswordServer) -> None:
    with pytest.raises(DeviceError, match="refused the login") as caught:
        connect(server)
    assert "EDGEKIT_SSH_PASSWORD" in caught.value.hint


def test_no_password_goes_to_a_host_that_is_not_known(
    server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ssh_connection.PASSWORD_VARIABLE, SECRET)
    server.known.write_text("")
    with pytest.raises(HostKeyError):
        connect(server)
    assert server.gate.tried == []
