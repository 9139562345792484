"""A board with busybox and dropbear, and neither SFTP nor Python."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceBusyError
from edgekit.devices.lock import device_lock
from edgekit.devices.ssh import SSHDevice
from edgekit.measure.runners import native
from tests.boards_busybox import BusyboxBoard
from tests.contracts.device import RemoteDeviceContract


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BusyboxBoard]:
    board = BusyboxBoard(tmp_path_factory.mktemp("busybox"), tmp_path_factory.getbasetemp())
    board.trust()
    yield board
    board.stop()


@pytest.fixture
def device(busybox: BusyboxBoard, monkeypatch: pytest.MonkeyPatch) -> Iterator[SSHDevice]:
    shutil.rmtree(busybox.cache, ignore_errors=True)
    busybox.configure(monkeypatch)
    with SSHDevice("ssh://board") as device:
        yield device


class TestBusybox(RemoteDeviceContract):
    waiting = "edgekit.devices.ssh.SSHDevice._feed"

    @pytest.fixture
    def store(self, busybox: BusyboxBoard) -> Path:
        return busybox.store


def test_it_is_what_it_says(device: SSHDevice) -> None:
    assert device.run(["readlink", "/bin/sh"]).stdout == "busybox\n"
    for missing in ("python3", "bash", "getconf", "ldd", "sftp-server"):
        assert device.run([missing]).exit_code == 127


def test_its_lock_says_who_has_it(device: SSHDevice) -> None:
    with device_lock(device, "board", wait_seconds=0, say=print) as lease:
        with (
            pytest.raises(DeviceBusyError, match=f"board is in use by .*process {os.getpid()}"),
            device_lock(device, "board", wait_seconds=0, say=print),
        ):
            raise AssertionError
        lease.check()
    assert device.run(["ls", device.scratch().rpartition("/")[0]]).stdout == ""


def test_its_c_library_is_known_without_getconf_and_ldd(device: SSHDevice) -> None:
    name, version = platform.libc_ver()
    found = native.probe(device)
    assert (found.machine, found.libc) == (platform.machine(), name)
    assert found.version == tuple(map(int, version.split(".")))
