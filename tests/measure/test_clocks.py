"""Clocks that are held and given back: on this computer, with files in the place of sysfs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.protocols import CommandResult
from edgekit.devices import scripts
from edgekit.devices.local import LocalDevice
from edgekit.devices.ssh import SSHDevice
from edgekit.measure import clocks
from edgekit.measure.clocks import held
from tests.boards_busybox import BusyboxBoard
from tests.contracts.device import ends
from tests.measure.conftest import StoppedTime
from tests.waiting import until


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "the store") as device:
        yield device


@pytest.fixture
def governors(tmp_path: Path) -> list[Path]:
    """What two clusters' scaling_governor files hold."""
    found = []
    for number, governor in enumerate(("schedutil", "ondemand")):
        folder = tmp_path / f"cpu{number}"
        folder.mkdir()
        (folder / "scaling_governor").write_text(f"{governor}\n")
        found.append(folder / "scaling_governor")
    return found


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    return f"{tmp_path}/cpu[0-9]*/scaling_governor"


def words(files: list[Path]) -> list[str]:
    return [file.read_text().strip() for file in files]


def become(files: list[Path], expected: list[str]) -> bool:
    """Whether they hold that within a minute."""
    return until(lambda: words(files) == expected)


@pytest.mark.slow
def test_they_are_held_inside_and_given_back(
    device: LocalDevice, governors: list[Path], pattern: str, tmp_path: Path
) -> None:
    with held(device, 5, governors=pattern) as found:
        assert words(governors) == ["performance", "performance"]
        assert found.changed == ("schedutil", "ondemand")
        found.renew()
    assert words(governors) == ["schedutil", "ondemand"]
    assert list((tmp_path / "the store" / "scratch").iterdir()) == []


@pytest.mark.slow
def test_an_error_gives_them_back_and_is_the_one_to_tell(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    with pytest.raises(ZeroDivisionError), held(device, 5, governors=pattern):
        _ = 1 / 0
    assert words(governors) == ["schedutil", "ondemand"]


@pytest.mark.slow
def test_a_lost_link_gives_them_back_over_a_new_one(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    with pytest.raises(TransientDeviceError), held(device, 5, governors=pattern):
        raise TransientDeviceError("the cable")
    assert words(governors) == ["schedutil", "ondemand"]


@pytest.mark.slow
def test_a_link_that_is_lost_while_they_are_set_gives_them_back(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    class Loses(LocalDevice):
        """Its answer to the first command does not arrive."""

        answers = 0

        def run(self, *argv: Any, **more: Any) -> CommandResult:
            result = super().run(*argv, **more)
            self.answers += 1
            if self.answers == 1:
                assert words(governors) == ["performance", "performance"]
                raise TransientDeviceError("the cable")
            return result

    with (
        Loses(root=Path(device.scratch()).parent.parent) as losing,
        pytest.raises(TransientDeviceError, match="the cable"),
        held(losing, 600, governors=pattern),
    ):
        raise AssertionError
    assert words(governors) == ["schedutil", "ondemand"]


def test_the_board_gives_them_back_when_nobody_renews(
    device: LocalDevice,
    governors: list[Path],
    pattern: str,
    stopped: StoppedTime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", stopped.path)
    holding = held(device, 1, governors=pattern)
    found = holding.__enter__()  # and the computer that measures is gone
    assert words(governors) == ["performance", "performance"]
    found.renew()
    stopped.go_on()
    assert become(governors, ["schedutil", "ondemand"])
    assert until(lambda: not Path(found.folder).exists())
    with pytest.raises(DeviceError, match="clocks were given back before"):
        found.renew()


@pytest.mark.slow
def test_a_link_that_is_lost_while_they_are_given_back(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    class Loses(LocalDevice):
        """The command after the first does not arrive."""

        asked = 0

        def run(self, *argv: Any, **more: Any) -> CommandResult:
            self.asked += 1
            if self.asked == 2:
                raise TransientDeviceError("the cable")
            return super().run(*argv, **more)

    with (
        Loses(root=Path(device.scratch()).parent.parent) as losing,
        pytest.raises(TransientDeviceError, match="the cable"),
        held(losing, 600, governors=pattern),
    ):
        assert words(governors) == ["performance", "performance"]
    assert words(governors) == ["schedutil", "ondemand"]


@pytest.mark.slow
def test_what_a_crash_left_is_given_back_first(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    held(device, 600, governors=pattern).__enter__()
    with held(device, 5, governors=pattern) as found:
        assert found.changed == ("schedutil", "ondemand")  # not "performance"
    assert words(governors) == ["schedutil", "ondemand"]


def test_clocks_that_are_fixed_already(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    for file in governors:
        file.write_text("performance\n")
    with held(device, 5, governors=pattern) as found:
        assert (found.changed, found.why) == ((), "")


class Jetson:
    """A double of nvpmodel and jetson_clocks: scripts that keep their state in files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modes, self._mode, self._log = (folder / name for name in ("conf", "mode", "log"))
        folder.mkdir()
        self.modes.write_text("< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=15W >\n")
        self._mode.write_text("0\n")
        self._program(
            "nvpmodel",
            f"""case $1 in
            -q) echo 'NVPM WARN: fan mode is not set!'; echo 'NV Power Mode: X'; cat {self._mode};;
            -m) echo "$2" >>{self._log}; [ -e {folder}/reboot ] || echo "$2" >{self._mode};;
            esac""",
        )
        self._program(
            "jetson_clocks",
            f"""echo "jetson_clocks $1" >>{self._log}; if [ "$1" = --store ]; then : >"$2"; fi""",
        )
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def _program(self, name: str, script: str) -> None:
        path = self.modes.parent / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def mode(self) -> str:
        return self._mode.read_text().strip()

    @property
    def calls(self) -> list[str]:
        return [line.strip() for line in self._log.read_text().splitlines()]


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    if os.geteuid() != 0:
        pytest.skip("needs root: nvpmodel is set as root or through sudo")
    return Jetson(tmp_path / "jetson", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["15W", "2"])
def test_a_power_mode_is_set_before_the_clocks_and_given_back(
    device: LocalDevice, jetson: Jetson, governors: list[Path], pattern: str, wanted: str
) -> None:
    with held(
        device, 5, governors=pattern, power_mode=wanted, power_modes=str(jetson.modes)
    ) as found:
        assert jetson.mode == "2"
        assert found.changed[0] == "power mode 0"
        assert words(governors) == ["performance", "performance"]
    assert jetson.mode == "0"
    assert words(governors) == ["schedutil", "ondemand"]
    assert jetson.calls == [
        "2", "jetson_clocks --store", "jetson_clocks", "jetson_clocks --restore", "0",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_power_mode_alone(
    device: LocalDevice, jetson: Jetson, governors: list[Path], pattern: str
) -> None:
    with held(
        device, 5, fix=False, governors=pattern, power_mode="15W", power_modes=str(jetson.modes)
    ):
        assert words(governors) == ["schedutil", "ondemand"]
        assert jetson.mode == "2"
    assert jetson.calls == ["2", "0"]


def test_a_power_mode_that_needs_a_reboot(
    device: LocalDevice, jetson: Jetson, governors: list[Path], pattern: str
) -> None:
    (jetson.modes.parent / "reboot").touch()
    holding = held(device, 5, governors=pattern, power_mode="2", power_modes=str(jetson.modes))
    with pytest.raises(DeviceError, match=r"power mode '2' cannot be set: .*reboot"), holding:
        raise AssertionError("entered")
    assert become(governors, ["schedutil", "ondemand"])


def test_a_power_mode_that_there_is_not(device: LocalDevice, jetson: Jetson) -> None:
    holding = held(device, 5, power_mode="40W", power_modes=str(jetson.modes))
    with pytest.raises(DeviceError, match="'40W' cannot be set: it knows 0 MAXN 2 15W"), holding:
        raise AssertionError("entered")
    (jetson.modes.parent / "nvpmodel").unlink()
    with pytest.raises(DeviceError, match="there is no nvpmodel"), held(device, 5, power_mode="2"):
        raise AssertionError("entered")


def test_a_kernel_without_clocks_says_so(device: LocalDevice, tmp_path: Path) -> None:
    with held(device, 5, governors=f"{tmp_path}/none/*") as found:
        assert found.changed == ()
        assert found.why == "the kernel offers no clocks to set"


@pytest.mark.slow
def test_a_disk_that_turns_read_only_meanwhile(
    small_disk: Path, governors: list[Path], pattern: str
) -> None:
    """As a worn-out card does: the guard is told to go on and to stop without a file."""
    with LocalDevice(root=small_disk / "store") as device:
        with held(device, 600, governors=pattern) as found:
            subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
            found.renew()
            assert words(governors) == ["performance", "performance"]
        assert words(governors) == ["schedutil", "ondemand"]
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        with held(device, 5, governors=pattern):  # what is left there is in nobody's way
            assert words(governors) == ["performance", "performance"]
        assert list((small_disk / "store" / "scratch").iterdir()) == []


def test_a_full_disk_changes_nothing(small_disk: Path, governors: list[Path], pattern: str) -> None:
    with LocalDevice(root=small_disk / "store") as device:
        device.scratch()
        fill(small_disk)
        with (
            pytest.raises(DeviceError, match=r"No space left on device") as caught,
            held(device, 5, governors=pattern),
        ):
            raise AssertionError
        assert "--clocks as-is" in caught.value.hint
    assert words(governors) == ["schedutil", "ondemand"]


@pytest.mark.slow
def test_the_files_of_a_clock_that_jumps_are_not_needed(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    """A board without a battery gets the time from the network: all its files are days old then,
    and who connects clears old ones away."""
    with held(device, 600, governors=pattern) as found:
        store = Path(found.folder).parent.parent
        for path in Path(found.folder).iterdir():
            os.utime(path, (1, 1))
        assert device.run(["sh", "-c", scripts.STORE, "sh", "1440", str(store)]).exit_code == 0
        found.renew()
    assert words(governors) == ["schedutil", "ondemand"]


def test_a_guard_that_is_ended_is_told(
    device: LocalDevice, governors: list[Path], pattern: str
) -> None:
    def measure() -> None:
        with held(device, 600, governors=pattern) as found:
            guard = int((Path(found.folder) / "pid").read_text())
            os.kill(guard, signal.SIGKILL)
            assert ends(guard)

    with pytest.raises(DeviceError, match="what shall give them back was ended"):
        measure()


@pytest.mark.slow
def test_on_a_board_with_busybox(
    tmp_path: Path, governors: list[Path], pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "GRACE_SECONDS", 0)
    board = BusyboxBoard(tmp_path / "busybox", tmp_path)
    try:
        board.trust()
        board.configure(monkeypatch)
        with SSHDevice("ssh://board") as device:
            with held(device, 600, governors=pattern) as found:
                assert words(governors) == ["performance", "performance"]
                guard = int((Path(found.folder) / "pid").read_text())
                # Ending the command that has started it, by its mark or its group, spares it.
                assert b"EDGEKIT_RUN" not in Path(f"/proc/{guard}/environ").read_bytes()
                assert os.getpgid(guard) == guard
                found.renew()
            assert words(governors) == ["schedutil", "ondemand"]
            assert list((board.store / "scratch").iterdir()) == []
            held(device, 8, governors=pattern).__enter__()  # and nobody renews
            assert become(governors, ["schedutil", "ondemand"])
    finally:
        board.stop()


def fill(disk: Path) -> None:
    """Write until nothing fits any more."""
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
