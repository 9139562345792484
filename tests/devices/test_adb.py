"""A device behind a real adb server: a double of a phone's adbd, Debian's adbd, and the faults.

Nobody here had a phone. The double runs commands in this computer's shell, or in what a phone has:
mksh and toybox.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import (
    DeviceError,
    NoDeviceError,
    NotBootedError,
    OfflineError,
    SeveralDevicesError,
    TransientDeviceError,
    UnauthorizedError,
    UsageError,
)
from edgekit.devices import open_device
from edgekit.devices.adb import AdbDevice
from tests.adb_double import AdbDouble, RealServer, real_server
from tests.adbd import RealAdbd
from tests.contracts.device import DeviceContract, make_file


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


@pytest.fixture(scope="module")
def phone_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a phone has: toybox by all its names, and mksh as sh."""
    folder = tmp_path_factory.mktemp("system") / "bin"
    folder.mkdir()
    for package in ("mksh", "toybox"):
        if shutil.which(package) is None:
            pytest.skip(f"needs the shell or the programs of a phone: Debian package {package}")
    names = subprocess.run(["toybox"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        (folder / name).symlink_to(shutil.which("toybox") or "")
    (folder / "sh").unlink(missing_ok=True)
    (folder / "sh").symlink_to(shutil.which("mksh") or "")
    return folder


def run_by(server: RealServer, double: AdbDouble) -> Iterator[AdbDouble]:
    """The double for as long as a fixture lives; then the server forgets it."""
    yield double
    double.leave()
    if server.state(double.serial):
        server.ask(f"host:disconnect:{double.serial}")


@pytest.fixture
def double(server: RealServer) -> Iterator[AdbDouble]:
    yield from run_by(server, AdbDouble())


@pytest.fixture
def device(double: AdbDouble, store: Path) -> Iterator[AdbDevice]:
    with AdbDevice(f"adb:{double.serial}") as device:
        yield device


class TestAdb(DeviceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def double(cls, server: RealServer) -> Iterator[AdbDouble]:
        yield from run_by(server, AdbDouble())


class TestPhonesShell(DeviceContract):
    """mksh and toybox."""

    @pytest.fixture(scope="class")
    @classmethod
    def double(cls, server: RealServer, phone_programs: Path) -> Iterator[AdbDouble]:
        shell, path = str(phone_programs / "sh"), str(phone_programs)
        yield from run_by(server, AdbDouble(shell=shell, path=path))


class TestOldPhone(DeviceContract):
    """As before Android 7: no shell v2, and no setsid."""

    @pytest.fixture(scope="class")
    @classmethod
    def double(
        cls, server: RealServer, phone_programs: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[AdbDouble]:
        folder = tmp_path_factory.mktemp("old")
        for program in phone_programs.iterdir():
            if program.name != "setsid":
                (folder / program.name).symlink_to(program.readlink())
        double = AdbDouble(shell=str(folder / "sh"), path=str(folder))
        double.features = "cmd"
        yield from run_by(server, double)


class TestDebiansAdbd(DeviceContract):
    """Not a double: the daemon itself, as Debian 13 has it."""

    @pytest.fixture(scope="class")
    @classmethod
    def adbd(
        cls, server: RealServer, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[RealAdbd]:
        adbd = RealAdbd(tmp_path_factory.mktemp("adbd") / "log")
        yield adbd
        adbd.stop()
        server.ask(f"host:disconnect:{adbd.serial}")

    @pytest.fixture
    def device(self, adbd: RealAdbd, store: Path) -> Iterator[AdbDevice]:
        with AdbDevice(f"adb:{adbd.serial}") as device:
            yield device
