"""A device behind a real adb server: a double of a phone's adbd, and the faults of the link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.adb import AdbDevice
from tests.adb_double import AdbDouble, RealServer, real_server
from tests.contracts.device import DeviceContract


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with real_server(tmp_path_factory.mktemp("adb")) as server:
        yield server


@pytest.fixture(autouse=True)
def _our_server_alone(server: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADB_SERVER_SOCKET", "ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store is instead of below /data, which this computer has not."""
    folder = tmp_path_factory.mktemp("data") / "edgekit"
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(folder))
    return folder


class TestAdb(DeviceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def double(cls) -> Iterator[AdbDouble]:
        double = AdbDouble()
        yield double
        double.close()

    @pytest.fixture
    def device(self, double: AdbDouble, store: Path) -> Iterator[AdbDevice]:
        with AdbDevice(f"adb:{double.serial}") as device:
            yield device
