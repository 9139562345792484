"""Looking for boards: an adb server's wire protocol, ssh configurations, a real mDNS responder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from zeroconf import DNSOutgoing, DNSPointer, IPVersion, ServiceInfo, Zeroconf

from edgekit.core.errors import UsageError
from edgekit.devices.scan import ADB_SERVICE, SSH_SERVICE, adb_devices, announced, ssh_hosts
from tests.sshd import free_port

LISTED = """\
0A1B2C device usb:1-1 product:shiba model:Pixel_8 device:shiba transport_id:1
R5CT unauthorized usb:1-2 transport_id:2
emulator-5554 offline
1234 no permissions (user in plugdev group); see [http://developer.android.com/tools/device.html]
"""


@contextmanager
def adb_server(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Answers one question; its port, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                size = int(link.recv(4), 16)
                asked.append(link.recv(size))
                link.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join()


def test_phones_that_an_adb_server_knows() -> None:
    with adb_server(b"OKAY" + f"{len(LISTED):04x}{LISTED}".encode()) as (port, asked):
        found = adb_devices(port)
    assert asked == [b"host:devices-l"]
    pixel, *others = found.seen
    assert (pixel.address, pixel.what, pixel.first) == ("adb:0A1B2C", "Pixel 8", "")
    assert [each.address for each in others] == ["", "", ""]
    assert [each.first.split()[0] for each in others] == ["allow", "it", "this"]


@pytest.mark.parametrize("answer", [b"", b"HTTP", b"OKAY00", b"OKAYzzzz", b"FAIL0003no!"])
def test_what_is_no_answer_of_adb(answer: bytes) -> None:
    with adb_server(answer) as (port, _):
        found = adb_devices(port)
    assert found.seen == ()
    assert "gives no answer" in found.note


def test_no_adb_server_is_started() -> None:
    port = free_port()
    assert "none is running" in adb_devices(port).note
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


def test_a_port_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "usb")
    with pytest.raises(UsageError, match="is not a port"):
        adb_devices()


def test_hosts_of_the_ssh_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "more").write_text("Host pi # in the kitchen\n  HostName 10.0.0.7\n  Port 2222\n")
    config = tmp_path / "config"
    config.write_text(
        f"Include {tmp_path}/more\nHost jetson *.lab !old\n  User nv\nHost=x`id` 'two words'\n"
        "Host *\n  User me\nMatch host jetson\n  Port 22\n"
    )
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(config))
    assert {each.address: each.what for each in ssh_hosts().seen} == {
        "ssh://pi": "me at 10.0.0.7, port 2222",
        "ssh://jetson": "nv at jetson",
    }


def test_a_configuration_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("Host 'open\n")
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(tmp_path / "config"))
    assert "cannot be used" in ssh_hosts().note


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All processes of a run of tests are on one network: no other announces anything meanwhile."""
    base = tmp_path_factory.getbasetemp()
    with FileLock((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "mdns.lock"):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_what_announces_itself_on_the_network() -> None:
    services = [
        ServiceInfo(
            SSH_SERVICE, f"kitchen $(id).{SSH_SERVICE}", port=2222, server="kitchen.local.",
            parsed_addresses=["127.0.0.1"],
        ),
        ServiceInfo(
            SSH_SERVICE, f"odd.{SSH_SERVICE}", port=22, server="a b;c.local.",
            parsed_addresses=["127.0.0.9"],
        ),
        ServiceInfo(
            ADB_SERVICE, f"adb-0A1B.{ADB_SERVICE}", port=41234, server="phone.local.",
            parsed_addresses=["127.0.0.1"],
        ),
    ]  # fmt: skip
    with Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only) as responder:
        for service in services:
            responder.register_service(service)
        for seconds in (1, 5, 30):  # a computer that is busy may not answer within the first
            found = announced(seconds, interfaces=["127.0.0.1"])
            if len(found.seen) == len(services):
                break
    by_address = {each.address: each for each in found.seen}
    assert set(by_address) == {"ssh://kitchen.local:2222", "ssh://127.0.0.9", ""}
    assert by_address["ssh://kitchen.local:2222"].what.startswith("kitchen $(id)")
    assert by_address[""].first.startswith("adb connect 127.0.0.1:41234")


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_a_name_that_no_service_may_have() -> None:
    out = DNSOutgoing(0x8400)  # a response
    out.add_answer_at_time(
        DNSPointer(SSH_SERVICE, 12, 1, 120, f"red \x1b[31m.{SSH_SERVICE}"), 0
    )  # fmt: skip
    with Zeroconf(interfaces=["127.0.0.1"], ip_version=IPVersion.V4Only) as responder:
        timer = threading.Timer(0.3, responder.send, [out])
        timer.start()
        found = announced(1, interfaces=["127.0.0.1"])
        timer.join()
    assert found.seen == ()


@pytest.mark.usefixtures("alone")
def test_nothing_that_announces_itself() -> None:
    assert "nothing announced SSH" in announced(0, interfaces=["127.0.0.1"]).note
    with pytest.raises(UsageError, match="is not an address"):
        announced(0, interfaces=["eth0"])


def test_without_zeroconf_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    assert announced(0).note == "not looked at: pip install 'edgekit[scan]'"


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text("")
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(config))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    command = [sys.executable, "-m", "edgekit", "devices", "scan", "--seconds", "0"]
    command += ["--interface", "127.0.0.1"]
    nothing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "No board was found" in nothing
    assert all(place in nothing for place in ("adb server", "ssh configuration", "mDNS"))
    config.write_text("Host pi\n")
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("ssh://pi  ")
    assert "none is running" in found.stderr
    places = json.loads(subprocess.check_output([*command, "--json"], text=True))
    assert places[1]["seen"][0]["address"] == "ssh://pi"
