"""This computer as a device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceError, UsageError
from edgekit.devices import open_device
from edgekit.devices.local import LocalDevice
from tests.contracts.device import DeviceContract, make_file


class TestLocal(DeviceContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        return tmp_path / "local store"

    @pytest.fixture
    def device(self, store: Path) -> Iterator[LocalDevice]:
        with LocalDevice(root=store) as device:
            yield device


def test_its_store_is_in_the_cache(fresh_cache: Path, tmp_path: Path) -> None:
    file, digest = make_file(tmp_path / "model.tflite")
    with open_device("local") as device:
        assert Path(device.push(file, digest)).is_relative_to(fresh_cache)


def test_a_program_that_is_none(tmp_path: Path) -> None:
    file, _ = make_file(tmp_path / "no program")
    with LocalDevice(root=tmp_path / "store") as device:
        assert device.run([str(file)]).exit_code == 126


def test_a_closed_folder_in_path_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look into every folder")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    monkeypatch.setenv("PATH", f"{closed}:{os.environ['PATH']}")
    with LocalDevice(root=tmp_path / "store") as device:
        assert device.run(["no such program"]).exit_code == 127
        assert device.run(["true"]).exit_code == 0


def test_a_command_that_is_too_long(tmp_path: Path) -> None:
    with (
        LocalDevice(root=tmp_path / "store") as device,
        pytest.raises(DeviceError, match="cannot run"),
    ):
        device.run(["/bin/true", "x" * 10**7])


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    file, _ = make_file(tmp_path / "file")
    with (
        pytest.raises(DeviceError, match="cannot make"),
        LocalDevice(root=file / "store"),
    ):
        raise AssertionError("entered")


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(6_000_000))
    with LocalDevice(root=small_disk / "store") as device:
        with pytest.raises(DeviceError, match=r"has 4\.\d MB free in .*, 6\.0 MB needed"):
            device.push(file, digest)
        assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_up_meanwhile(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(6_000_000))
    with LocalDevice(root=small_disk / "store") as device:
        plenty = os.statvfs_result((4096, 4096, 10**6, 10**6, 10**6, 0, 0, 0, 0, 255))
        real = os.statvfs
        answers = iter([plenty])
        monkeypatch.setattr(os, "statvfs", lambda path: next(answers, None) or real(path))
        with pytest.raises(DeviceError, match=r"has 4\.\d MB free in .*, 6\.0 MB needed"):
            device.push(file, digest)
        assert [path for path in small_disk.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("pi", "not the address of a device"),
        ("", "not the address of a device"),
        ("local://x", "called local and nothing else"),
        ("usb://x", "there is no transport called 'usb'"),
        ("ssh://", "not the address of a device"),
        ("ssh://a b", "not of the form"),
        ("ssh://-oProxyCommand=x", "not of the form"),
        ("ssh://pi:port", "not of the form"),
        ("ssh://pi:99999", "not of the form"),
        ("ssh://pi/folder", "not of the form"),
        ("ssh://pi:secret@board", "not of the form"),
        ("ssh://$(x)@board", "not of the form"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_device(address)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        open_device("ssh://pi:secret@board")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["-1", "much", ""])
def test_a_store_limit_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DEVICE_STORE_MB", text)
    with pytest.raises(UsageError, match="EDGEKIT_DEVICE_STORE_MB"):
        LocalDevice()
