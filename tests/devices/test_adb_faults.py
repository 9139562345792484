"""What goes wrong on the way to a phone, and what the user is told of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from edgekit.core.errors import (
    DeviceError,
    EdgekitError,
    NoDeviceError,
    NotBootedError,
    OfflineError,
    SeveralDevicesError,
    TransientDeviceError,
    UnauthorizedError,
    UsageError,
)
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.devices import open_device, scripts
from edgekit.devices.adb import FOLDER, AdbDevice
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import measure_together
from edgekit.measure.subject import Subject
from tests.adb_double import AdbDouble, RealServer, known_to
from tests.contracts.device import make_file
from tests.measure.test_session import subject
from tests.sshd import free_port
from tests.waiting import until


@pytest.fixture
def device(phone: AdbDouble, adb_store: Path) -> Iterator[AdbDevice]:
    with AdbDevice(f"adb:{phone.serial}") as device:
        yield device


def refused(address: str, error: type[EdgekitError], match: str) -> EdgekitError:
    with pytest.raises(error, match=match) as caught, AdbDevice(address):
        raise AssertionError("entered")
    assert len(str(caught.value).splitlines()) == 2  # what is wrong, and what to do
    return caught.value


# -- which device


@pytest.mark.parametrize("address", ["adb:{}", "adb://{}", "adb:", "adb://"])
def test_ways_to_name_it(adb: RealServer, phone: AdbDouble, address: str) -> None:
    if "{}" not in address:
        adb.ask(f"host:connect:{phone.serial}")
    with open_device(address.format(phone.serial)) as device:
        assert device.address == f"adb:{phone.serial}"
        assert device.run(["echo", "there"]).stdout == "there\n"


@pytest.mark.parametrize("address", ["adb", "adb: x", "adb:a/b", "adb:a\tb", "adbx:1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match=r"adb:SERIAL|no transport"):
        open_device(address)


def test_the_store_is_where_a_phone_lets_a_shell_write_and_run() -> None:
    assert FOLDER == "/data/local/tmp/edgekit"


def test_several_devices_and_none_named(
    adb: RealServer, phone: AdbDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known_to(adb, AdbDouble()) as other:
        for each in (phone, other):
            adb.ask(f"host:connect:{each.serial}")
        error = refused("adb:", SeveralDevicesError, "several devices are connected: ")
        assert f"adb:{phone.serial} (device)" in error.message
        assert f"adb:{other.serial} (device)" in error.message
        monkeypatch.setenv("ANDROID_SERIAL", other.serial)
        with AdbDevice("adb:") as device:
            assert device.address == f"adb:{other.serial}"


def test_no_device(adb: RealServer) -> None:
    error = refused("adb:", NoDeviceError, "no phone or board is connected to the adb server at")
    assert "USB debugging" in error.hint


def test_a_serial_that_nobody_has(adb: RealServer, phone: AdbDouble) -> None:
    adb.ask(f"host:connect:{phone.serial}")
    refused("adb:0123ABCD", NoDeviceError, rf"no device '0123ABCD'; it knows {phone.serial}")


# -- its state


def test_it_was_not_accepted(phone: AdbDouble) -> None:
    phone.lets_in = False
    error = refused(f"adb:{phone.serial}", UnauthorizedError, "has not accepted this computer")
    assert "press Allow" in error.hint


def test_it_does_not_answer(adb: RealServer, phone: AdbDouble) -> None:
    """Connected as an emulator is, since one on the network is connected to anew."""
    phone.answers = False
    serial = f"emulator-{phone.port - 1}"
    with socket.create_connection(("127.0.0.1", adb.port)) as link:
        command = f"host:emulator:{phone.port}"
        link.sendall(b"%04x" % len(command) + command.encode())
        assert until(lambda: adb.state(serial) == "offline")
    refused(f"adb:{serial}", OfflineError, r"does not answer \(offline\)")
    assert issubclass(OfflineError, TransientDeviceError)


@pytest.mark.parametrize("state", ["recovery", "sideload", "rescue", "bootloader"])
def test_it_runs_nothing(phone: AdbDouble, state: str) -> None:
    phone.kind = state
    error = refused(f"adb:{phone.serial}", NotBootedError, f"in .*{state}")
    assert "reboot" in error.hint


def test_nothing_answers_at_that_address(adb: RealServer, phone: AdbDouble) -> None:
    phone.leave()
    refused(f"adb:{phone.serial}", TransientDeviceError, r"cannot be reached: .*refused")


# -- the link


def test_a_cut_in_mid_upload_leaves_no_object(
    phone: AdbDouble, device: AdbDevice, adb_store: Path, tmp_path: Path
) -> None:
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(5_000_000))
    device.scratch()
    phone.cut_after = phone.received + 2_000_000
    with pytest.raises(TransientDeviceError):
        device.push(file, digest)
    assert list((adb_store / "objects").iterdir()) == []
    # and the next one works with the same object, although a part may lie there
    assert Path(device.push(file, digest)).read_bytes() == file.read_bytes()
    assert device.usage().entries == 1


def test_what_is_there_is_not_sent_again(
    phone: AdbDouble, device: AdbDevice, tmp_path: Path
) -> None:
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(1_000_000))
    device.push(file, digest)
    before = phone.received
    assert before > 1_000_000
    with AdbDevice(device.address) as again:
        again.push(file, digest)
        assert again.pushed_bytes == 0
    assert phone.received - before < 5000  # two commands


@pytest.mark.parametrize("features", ["shell_v2", ""])
def test_a_cut_in_mid_command_is_no_end(
    phone: AdbDouble, adb_store: Path, tmp_path: Path, features: str
) -> None:
    phone.features = features
    note = tmp_path / "started"

    def cut() -> None:
        assert until(lambda: note.exists() and note.read_text())
        phone.drop()

    with AdbDevice(f"adb:{phone.serial}") as device:
        threading.Thread(target=cut, daemon=True).start()
        words = ["sh", "-c", f"echo some output; echo $$ >'{note}'; exec sleep 1000"]
        with pytest.raises(TransientDeviceError, match="was lost while running sh -c"):
            device.run(words, timeout_seconds=120)
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_a_cut_in_mid_download_leaves_nothing(
    phone: AdbDouble, device: AdbDevice, tmp_path: Path
) -> None:
    big, _ = make_file(tmp_path / "big", os.urandom(20_000_000))
    phone.cut_after = phone.received + 2000  # what the host says to have taken counts
    with pytest.raises(TransientDeviceError):
        device.pull(str(big), tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


def test_one_on_the_network_that_was_gone_is_connected_to_again(
    adb: RealServer, phone: AdbDouble, device: AdbDevice
) -> None:
    phone.leave()
    assert until(lambda: adb.state(phone.serial) != "device")
    # The server may list it as offline for a while.
    with pytest.raises(TransientDeviceError, match=r"cannot be reached|does not answer"):
        device.run(["true"])
    until(lambda: adb.state(phone.serial) != "offline")
    phone.come_back()
    assert device.run(["echo", "back"]).stdout == "back\n"


# -- in mid-measurement


class Measuring:
    """A measurement of two launches on a phone, and a fault in the second one."""

    def __init__(self, store: Path, what: Subject) -> None:
        self.store, self._what = store, what
        self.kept: list[Measurement] = []

    def runners(self) -> list[psutil.Process]:
        """What runs out of the store there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = process.cmdline()
                if "-c" not in line and any(str(self.store / "objects") in word for word in line):
                    found.append(process)
        return found

    def run(self, device: AdbDevice, seconds: float, fault: Callable[[], object]) -> None:
        def strike() -> None:
            assert until(self.runners)
            fault()

        def progress(_: str, what: str, done: int, of: int) -> None:
            if (what, done) == ("measure", 1):
                threading.Thread(target=strike, daemon=True).start()

        settings = MeasureSettings(
            launches=2, runs=5, min_seconds=seconds, warmup_seconds=0, cooldown_seconds=0,
            timeout_seconds=60, sample_every=1000, max_runs=10**7,
        )  # fmt: skip
        wish = RunnerWish(python=sys.executable)
        measure_together(
            device, [self._what], settings, wish=wish, progress=progress, keep=self.kept.append
        )


@pytest.fixture
def measuring(adb_store: Path, tmp_path: Path) -> Measuring:
    return Measuring(adb_store, subject(tmp_path))


@pytest.mark.slow
def test_a_server_that_is_restarted_while_a_phone_is_measured(
    measuring: Measuring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RealServer(tmp_path / "adb")
    own = tmp_path / "bin" / "adb"  # none is started in its place
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n[ $1 = version ] || { echo it is being restarted >&2; exit 1; }\n")
    own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{own.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    monkeypatch.delenv("ADB_SERVER_SOCKET", raising=False)

    def restart() -> None:
        server.stop()
        assert server.start()

    try:
        with known_to(server, AdbDouble()) as phone:
            with (
                AdbDevice(f"adb:{phone.serial}") as device,
                pytest.raises(TransientDeviceError, match="was lost while running"),
            ):
                measuring.run(device, 5, restart)
            assert [len(each.launches) for each in measuring.kept] == [1]
            assert until(lambda: not measuring.runners())  # ended over the new server
            with AdbDevice(f"adb:{phone.serial}") as device:
                assert device.run(["echo", "back"]).stdout == "back\n"
    finally:
        server.stop()


@pytest.mark.slow
def test_a_phone_that_takes_its_yes_back_while_it_is_measured(
    measuring: Measuring, adb: RealServer, phone: AdbDouble, device: AdbDevice
) -> None:
    """As when "Revoke USB debugging authorisations" is pressed there."""

    def revoke() -> None:
        phone.lets_in = False
        phone.drop()

    with pytest.raises(
        TransientDeviceError, match=r"was lost while running .*; now: .*has not accepted"
    ) as caught:
        measuring.run(device, 4, revoke)
    assert "press Allow" in caught.value.hint
    assert [len(each.launches) for each in measuring.kept] == [1]
    assert until(lambda: not measuring.runners())  # by itself: its time is over
    phone.lets_in = True
    phone.drop()
    assert until(lambda: adb.state(phone.serial) != "unauthorized")
    with AdbDevice(device.address) as again:
        assert again.run(["echo", "back"]).stdout == "back\n"


# -- the device


def test_a_full_disk(
    small_disk: Path, phone: AdbDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(small_disk / "edgekit"))
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(6_000_000))
    with AdbDevice(f"adb:{phone.serial}") as device:
        with pytest.raises(DeviceError, match=r"has 4\.\d MB free in .*, 6\.0 MB needed"):
            device.push(file, digest)
        assert device.pushed_bytes == 0


def test_a_disk_that_fills_up_meanwhile(
    small_disk: Path, phone: AdbDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(small_disk / "edgekit"))
    # df that cannot be read on the first look, so that the upload starts
    monkeypatch.setattr("edgekit.devices.scripts.LOOK", "echo 'df: no answer'")
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(6_000_000))
    with AdbDevice(f"adb:{phone.serial}") as device:
        with pytest.raises(DeviceError, match=r"has 4\.\d MB free in .*, 6\.0 MB needed"):
            device.push(file, digest)
        assert device.run(["echo", "alive"]).stdout == "alive\n"
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


def test_a_store_that_cannot_be_made(
    phone: AdbDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, digest = make_file(tmp_path / "file")
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", f"{file}/edgekit")
    with (
        AdbDevice(f"adb:{phone.serial}") as device,
        pytest.raises(DeviceError, match=r"its store cannot be used: .*Not a directory"),
    ):
        device.push(file, digest)


def test_a_command_that_is_too_long(phone: AdbDouble, adb_store: Path) -> None:
    with AdbDevice(f"adb:{phone.serial}") as device:
        assert device.run(["echo", "x" * 50_000]).stdout == "x" * 50_000 + "\n"
        with pytest.raises(UsageError, match="more than adb takes"):
            device.run(["echo", "x" * 70_000])
    phone.features = ""
    phone.drop()
    with (
        AdbDevice(f"adb:{phone.serial}") as device,
        pytest.raises(DeviceError, match="too long for adb:"),
    ):
        device.run(["echo", "x" * 5000])


def test_without_shell_v2_nothing_is_left_and_nothing_else_removed(
    phone: AdbDouble, adb_store: Path
) -> None:
    assert "rm" not in scripts.RUN_OUTER.split()  # its standard input may be /dev/null
    phone.features = ""
    with AdbDevice(f"adb:{phone.serial}") as device:
        assert device.run(["cat"], stdin=b"given").stdout == "given"
        assert device.run(["cat"]).stdout == ""
        assert device.run(["sh", "-c", "echo told >&2"]).stderr == "told\n"
        with pytest.raises(DeviceError, match="longer than"):
            device.run(["sleep", "1000"], stdin=b"given", timeout_seconds=0.5)
    assert list((adb_store / "scratch").iterdir()) == []


def test_it_must_be_entered_first(adb: RealServer) -> None:
    with pytest.raises(DeviceError, match="is not connected"):
        AdbDevice("adb:0123ABCD").run(["true"])


# -- the server


@pytest.fixture
def port() -> int:
    return free_port()


def test_a_server_is_started(
    adb: RealServer,
    phone: AdbDouble,
    port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "adb"
    program.write_text(f'#!/bin/sh\nexec {adb.program} --one-device none "$@"\n')
    program.chmod(0o755)
    for name, value in adb.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    try:
        with AdbDevice(f"adb:{phone.serial}") as device:
            assert device.run(["echo", "there"]).stdout == "there\n"
    finally:
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(b"0009host:kill")
            assert link.recv(4) == b"OKAY"


def test_a_server_that_does_not_start(
    adb: RealServer, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "adb"
    program.write_text("#!/bin/sh\n[ $1 = version ] || { echo no such luck >&2; exit 1; }\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    error = refused("adb:", DeviceError, f"could not be started by '{program}': no such luck")
    assert str(program) in error.hint


def test_a_server_elsewhere_is_not_ours_to_start(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.2:{port}")
    refused("adb:", TransientDeviceError, f"the adb server at 127.0.0.2:{port} cannot be")


def test_the_socket_comes_before_the_port(
    adb: RealServer, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:{adb.port}")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    refused("adb:", NoDeviceError, f"the adb server at 127.0.0.1:{adb.port}")


@pytest.mark.parametrize(
    ("name", "value"),
    [("ADB_SERVER_SOCKET", "localfilesystem:/run/adb"), ("ANDROID_ADB_SERVER_PORT", "usb")],
)
def test_a_place_that_is_not_understood(
    adb: RealServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}='{value}' is not"):
        AdbDevice("adb:")


def test_something_else_listens(adb: RealServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
        with pytest.raises(DeviceError, match="is no adb server"):
            AdbDevice("adb:").__enter__()
