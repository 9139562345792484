"""One at a time on a board: two processes here, two computers, and what is left by the killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceBusyError
from edgekit.devices import lock as module
from edgekit.devices.local import LocalDevice
from edgekit.devices.lock import Owner, device_lock, host_lock
from edgekit.devices.ssh import SSHDevice
from tests.sshd import SSHServer

BOOT, UPTIME = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/uptime")
ADDRESS = "ssh://pi@10.0.0.7"
ANA = Owner("ana", "elsewhere", 4711, "2026-03-14T09:26:53+00:00", "4711@99@another boot")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


@pytest.fixture
def folder(device: LocalDevice) -> Path:
    return Path(device.scratch()).parent / "lock"


def held_by(folder: Path, owner: Owner | None, *, age: float = 0) -> None:
    """What somebody else's edgekit leaves on a board."""
    folder.mkdir()
    (folder / "nonce").write_text("theirs")
    if owner is not None:
        (folder / "owner").write_text(json.dumps(vars(owner)))
    os.utime(folder / "nonce", (time.time() - age,) * 2)


def test_the_device_lock_says_who_and_goes_with_the_block(
    device: LocalDevice, folder: Path
) -> None:
    said: list[str] = []
    with device_lock(device, "pi", wait_seconds=0, say=said.append) as lease:
        owner = Owner.from_text((folder / "owner").read_text())
        assert owner is not None
        assert owner.pid == os.getpid()
        lease.check()
        with (
            pytest.raises(DeviceBusyError, match=f"pi is in use by .*process {os.getpid()}"),
            device_lock(device, "pi", wait_seconds=0.2, say=said.append),
        ):
            raise AssertionError
    assert not folder.exists()
    assert len(said) == 1
    assert "waiting up to 0 s" in said[0]


def test_an_error_and_ctrl_c_give_it_back(device: LocalDevice, folder: Path) -> None:
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), device_lock(device, "pi", wait_seconds=0, say=print):
            raise error
        assert not folder.exists()


def test_the_one_that_waits_gets_it(device: LocalDevice, folder: Path) -> None:
    held_by(folder, ANA)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        for file in folder.iterdir():  # ana is done just now
            file.unlink()
        folder.rmdir()

    with device_lock(device, "pi", wait_seconds=30, say=say):
        pass
    assert said == [
        "pi is in use by ana@elsewhere (process 4711, since 2026-03-14T09:26:53 UTC); "
        "waiting up to 30 s"
    ]


@pytest.mark.parametrize("owner", [ANA, None])
def test_a_lock_whose_lease_is_over_is_taken_over_with_a_word(
    device: LocalDevice, folder: Path, owner: Owner | None
) -> None:
    held_by(folder, owner, age=module.LEASE_SECONDS + 1)
    said: list[str] = []
    with device_lock(device, "pi", wait_seconds=0, say=said.append) as lease:
        lease.check()
    who = str(owner) if owner else "somebody"
    assert said[0].startswith(f"pi was held by {who}, not heard of for 15")
    assert list(folder.parent.iterdir()) == []


def test_a_process_of_ours_that_was_killed_holds_nothing(device: LocalDevice, folder: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "from edgekit.core.process import me; print(me())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    held_by(folder, replace(ANA, process=process))
    said: list[str] = []
    with device_lock(device, "pi", wait_seconds=0, say=said.append):
        pass
    assert "whose process has ended: taken over" in said[0]


def test_a_lease_that_lives_is_kept_alive_and_one_that_is_lost_is_told(
    device: LocalDevice, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    with device_lock(device, "pi", wait_seconds=0, say=print) as lease:
        os.utime(folder / "nonce", (0, 0))
        (folder / "beat").write_text("")
        while (folder / "nonce").stat().st_mtime == 0 or not (folder / "beat").read_text():
            time.sleep(0.02)
        (folder / "nonce").write_text("another")
        with pytest.raises(DeviceBusyError, match="what was measured does not count"):
            lease.check()
    assert (folder / "nonce").read_text() == "another"  # it is not ours to remove


def test_a_wall_clock_that_is_set_meanwhile_takes_no_board_away(
    device: LocalDevice, folder: Path
) -> None:
    """A board without a battery starts in the past and is told the time once it has a network."""
    with device_lock(device, "pi", wait_seconds=0, say=print) as lease:
        for path in (folder, *folder.iterdir()):
            os.utime(path, (time.time() - 36_000,) * 2)
        with (
            pytest.raises(DeviceBusyError, match="pi is in use by"),
            device_lock(device, "pi", wait_seconds=0, say=print),
        ):
            raise AssertionError
        lease.check()


def test_a_lease_that_is_over_by_the_time_since_the_start(
    device: LocalDevice, folder: Path
) -> None:
    for beat, told in (
        (
            f"{BOOT.read_text().strip()} {float(UPTIME.read_text().split()[0]) - 200:.0f}",
            "not heard of for",
        ),
        ("another-start 7", "before it was started anew"),
    ):
        held_by(folder, ANA)
        (folder / "beat").write_text(f"{beat}\n")
        said: list[str] = []
        with device_lock(device, "pi", wait_seconds=0, say=said.append):
            assert told in said[0]


def test_who_was_seen_as_stale_and_is_not_any_more_keeps_it(
    device: LocalDevice, folder: Path
) -> None:
    """Two take over at once: the slower one finds another lock in the place of the stale one."""
    held_by(folder, ANA)
    code, _ = module._script(device, module._PUT_OUT, str(folder), "an older one", "mine")
    assert code == 0
    assert (folder / "nonce").read_text() == "theirs"
    assert [path.name for path in folder.parent.iterdir()] == ["lock"]


def test_two_computers_at_one_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two data folders stand for two computers: their host locks do not meet."""
    server = SSHServer(tmp_path / "sshd")
    server.trust()
    server.configure(monkeypatch)
    said: list[str] = []
    try:
        with ExitStack() as stack:
            first = stack.enter_context(SSHDevice("ssh://board"))
            second = stack.enter_context(SSHDevice("ssh://board"))
            stack.enter_context(host_lock("ssh://board", "pi", wait_seconds=0, say=print))
            stack.enter_context(device_lock(first, "pi", wait_seconds=0, say=print))
            monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "other"))
            stack.enter_context(host_lock("ssh://board", "pi", wait_seconds=0, say=print))
            with (
                pytest.raises(DeviceBusyError, match="in use by"),
                device_lock(second, "pi", wait_seconds=0.1, say=said.append),
            ):
                raise AssertionError
        assert not (server.store / "scratch" / "lock").exists()
    finally:
        server.stop()
    assert len(said) == 1


HOLD = f"""
import time
from edgekit.devices.lock import host_lock
with host_lock({ADDRESS!r}, "pi", wait_seconds=0, say=print):
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_here_waits_and_a_killed_one_is_no_hindrance() -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    said: list[str] = []
    try:
        with (
            pytest.raises(DeviceBusyError, match=f"process {other.pid}, since .*; waited 0 s"),
            host_lock(ADDRESS, "pi", wait_seconds=0.1, say=said.append),
        ):
            raise AssertionError
        with host_lock("ssh://another", "another", wait_seconds=0, say=said.append):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    assert len(said) == 1
    with host_lock(ADDRESS, "pi", wait_seconds=0, say=said.append):
        pass
