"""Devices behind a real adb server: Debian's adbd, and a double of a phone's.

Nobody here had a phone. The double runs commands in this computer's shell, or in what a phone has:
mksh and toybox.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.adb import AdbDevice
from tests.adb_double import AdbDouble, RealServer, known_to, link_phones_programs
from tests.adbd import RealAdbd
from tests.contracts.device import RemoteDeviceContract


@pytest.fixture(scope="module")
def phone_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a phone has: toybox by all its names, and mksh as sh."""
    return link_phones_programs(tmp_path_factory.mktemp("system") / "bin")


class OverAdb(RemoteDeviceContract):
    """Fixture to give: `serial`, of a device that the server need not know yet."""

    waiting = "edgekit.devices.adb_shell.Command.talk"

    @pytest.fixture
    def store(self, adb_store: Path) -> Path:
        return adb_store

    @pytest.fixture
    def device(self, adb: RealServer, serial: str, store: Path) -> Iterator[AdbDevice]:
        with AdbDevice(f"adb:{serial}") as device:
            yield device


class TestAdb(OverAdb):
    @pytest.fixture(scope="class")
    @classmethod
    def serial(cls, adb_server: RealServer) -> Iterator[str]:
        with known_to(adb_server, AdbDouble()) as double:
            yield double.serial


class TestPhonesShell(OverAdb):
    """mksh and toybox."""

    @pytest.fixture(scope="class")
    @classmethod
    def serial(cls, adb_server: RealServer, phone_programs: Path) -> Iterator[str]:
        double = AdbDouble(shell=str(phone_programs / "sh"), path=str(phone_programs))
        with known_to(adb_server, double):
            yield double.serial


class TestOldPhone(OverAdb):
    """As before Android 7: no shell v2, and no setsid."""

    @pytest.fixture(scope="class")
    @classmethod
    def serial(
        cls, adb_server: RealServer, phone_programs: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[str]:
        folder = tmp_path_factory.mktemp("old")
        for program in phone_programs.iterdir():
            if program.name != "setsid":
                (folder / program.name).symlink_to(program.readlink())
        double = AdbDouble(shell=str(folder / "sh"), path=str(folder))
        double.features = "cmd"
        with known_to(adb_server, double):
            yield double.serial


class TestDebiansAdbd(OverAdb):
    """Not a double: the daemon itself, as Debian 13 has it."""

    @pytest.fixture(scope="class")
    @classmethod
    def serial(
        cls, adb_server: RealServer, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[str]:
        adbd = RealAdbd(tmp_path_factory.mktemp("adbd") / "log")
        yield adbd.serial
        adbd.stop()
        adb_server.ask(f"host:disconnect:{adbd.serial}")
