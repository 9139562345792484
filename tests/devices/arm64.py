"""The contract of devices with an aarch64 board under qemu: `make test-arm64`, not the others.

EDGEKIT_TEST_ARM64 names a folder that keeps the board's root for the next time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.devices.ssh import SSHDevice
from edgekit.measure.runners import native
from tests.boards_arm64 import Arm64Board
from tests.contracts.device import RemoteDeviceContract


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm64Board]:
    folder = tmp_path_factory.mktemp("arm64")
    kept = Path(os.environ.get("EDGEKIT_TEST_ARM64") or folder).absolute()
    kept.mkdir(parents=True, exist_ok=True)
    board = Arm64Board(folder / "server", tmp_path_factory.getbasetemp(), kept / "root")
    board.trust()
    yield board
    board.stop()


@pytest.fixture
def device(arm64: Arm64Board, monkeypatch: pytest.MonkeyPatch) -> Iterator[SSHDevice]:
    shutil.rmtree(arm64.cache, ignore_errors=True)
    arm64.configure(monkeypatch)
    with SSHDevice("ssh://board") as device:
        yield device


class TestArm64(RemoteDeviceContract):
    waiting = "edgekit.devices.ssh.SSHDevice._feed"

    @pytest.fixture
    def store(self, arm64: Arm64Board) -> Path:
        return arm64.store


def test_it_is_what_it_says(device: SSHDevice) -> None:
    assert device.run(["uname", "-m"]).stdout == "aarch64\n"
    assert "0xd0b" in device.run(["cat", "/proc/cpuinfo"]).stdout
    found = native.probe(device)
    assert (found.machine, found.libc, found.version) == ("aarch64", "glibc", (2, 36))
