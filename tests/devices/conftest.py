"""Servers for the tests of devices."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contracts.device")

from tests.adb_double import AdbDouble, RealServer, known_to  # noqa: E402
from tests.sshd import SSHServer  # noqa: E402


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    """One server for tests that leave it as it was."""
    server = SSHServer(tmp_path_factory.mktemp("sshd") / "with space")
    server.trust()
    yield server
    server.stop()


@pytest.fixture
def board(shared_server: SSHServer, monkeypatch: pytest.MonkeyPatch) -> SSHServer:
    """The shared server, trusted, with an empty store."""
    shutil.rmtree(shared_server.cache, ignore_errors=True)
    shared_server.configure(monkeypatch)
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SSHServer]:
    """A server for this test alone; nobody trusts it yet."""
    server = SSHServer(tmp_path / "sshd")
    server.configure(monkeypatch)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A real adb server that knows no device."""
    server = RealServer(tmp_path_factory.mktemp("adb"))
    yield server
    server.stop()


@pytest.fixture
def adb(adb_server: RealServer, monkeypatch: pytest.MonkeyPatch) -> RealServer:
    """The same, and edgekit sees no other."""
    for name in ("ADB_SERVER_SOCKET", "ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    return adb_server


@pytest.fixture
def adb_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store is instead of below /data, which this computer has not."""
    folder = tmp_path_factory.mktemp("data") / "edgekit"
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(folder))
    return folder


@pytest.fixture
def phone(adb: RealServer) -> Iterator[AdbDouble]:
    """A double of a phone's adbd, which the server does not know yet."""
    with known_to(adb, AdbDouble()) as double:
        yield double
