"""A board behind a real OpenSSH server, and the faults of the link."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.leftovers import removed_after
from edgekit.devices.ssh import SSHDevice
from tests.contracts.device import RemoteDeviceContract, make_file
from tests.sshd import Proxy, SSHServer, make_key


class TestSsh(RemoteDeviceContract):
    waiting = "edgekit.devices.ssh.SSHDevice._feed"

    @pytest.fixture
    def store(self, board: SSHServer) -> Path:
        return board.store

    @pytest.fixture
    def device(self, board: SSHServer) -> Iterator[SSHDevice]:
        with SSHDevice("ssh://board") as device:
            yield device


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.devices.ssh._RECONNECT_PAUSES_SECONDS", (0, 0, 0))


@pytest.fixture
def proxies() -> Iterator[list[Proxy]]:
    made: list[Proxy] = []
    yield made
    for proxy in made:
        proxy.close()


@pytest.fixture
def through(board: SSHServer, proxies: list[Proxy]) -> Proxy:
    """A proxy that cuts nothing; the board is trusted behind it."""
    proxies.append(Proxy(board.port))
    board.trust(proxies[0].port)
    return proxies[0]


@pytest.mark.slow
def test_a_second_push_sends_next_to_nothing(
    board: SSHServer, through: Proxy, tmp_path: Path
) -> None:
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(1_000_000))
    with SSHDevice(f"ssh://127.0.0.1:{through.port}") as device:
        device.push(file, digest)
        assert through.sent > 1_000_000
        before = through.sent
        device.push(file, digest)
        assert through.sent - before < 2000  # a shell command, encrypted
        assert device.pushed_bytes == 1_000_000
    with SSHDevice(f"ssh://127.0.0.1:{through.port}") as device:
        before = through.sent
        device.push(file, digest)
        assert through.sent - before < 3000
        assert device.pushed_bytes == 0


@pytest.mark.slow
def test_a_cut_in_mid_upload_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: list[Proxy]
) -> None:
    server = SSHServer(tmp_path / "sshd")
    try:
        server.configure(monkeypatch)
        proxy = Proxy(server.port, cut_after=(8_000_000, 8_000_000))
        proxies.append(proxy)
        server.trust(proxy.port)
        data = os.urandom(20_000_000)
        file, digest = make_file(tmp_path / "model.tflite", data)
        with SSHDevice(f"ssh://127.0.0.1:{proxy.port}") as device:
            remote = device.push(file, digest)
            assert Path(remote).read_bytes() == data
        assert proxy.connections == 3
        assert proxy.sent < 30_000_000  # from the start each time it would be 36 MB
        assert [p.name for p in server.store.rglob("*") if p.is_file()] == [digest]
    finally:
        server.stop()


def test_a_login_shell_that_prints_by_itself(own_server: SSHServer, tmp_path: Path) -> None:
    """bash reads ~/.bashrc for a command over SSH too."""
    own_server.trust()
    (own_server.folder / "home" / ".bashrc").write_text("echo Welcome to the lab\n")
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(600_000))
    with SSHDevice("ssh://board") as device:
        assert device.run(["true"]).stdout == ""
        device.pull(device.push(file, digest), tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == file.read_bytes()
        with pytest.raises(
            DeviceError, match=r"cannot read '/none' on ssh://board: .*No such file"
        ):
            device.pull("/none", tmp_path / "back")


def test_a_link_that_stays_cut_is_a_clean_failure(
    board: SSHServer, proxies: list[Proxy], tmp_path: Path
) -> None:
    proxy = Proxy(board.port, cut_after=(1_000_000, 10, 10, 10, 10))
    proxies.append(proxy)
    board.trust(proxy.port)
    file, digest = make_file(tmp_path / "model.tflite", os.urandom(5_000_000))
    with (
        SSHDevice(f"ssh://127.0.0.1:{proxy.port}") as device,
        pytest.raises(TransientDeviceError),
    ):
        device.push(file, digest)
    assert not (board.store / "objects" / digest).exists()
    # and the next one works, although a part lies there
    with SSHDevice("ssh://board") as device:
        assert Path(device.push(file, digest)).read_bytes() == file.read_bytes()
        assert device.usage().entries == 1


def test_a_cut_during_a_command_is_said(
    board: SSHServer, proxies: list[Proxy], through: Proxy
) -> None:
    with (
        SSHDevice(f"ssh://127.0.0.1:{through.port}") as device,
        pytest.raises(TransientDeviceError, match="was lost while running sh -c"),
    ):
        # the shell's parent is the server's process for this connection
        device.run(["sh", "-c", "kill -KILL $PPID; sleep 5"], timeout_seconds=60)


def test_a_server_that_is_gone_before_a_command(own_server: SSHServer) -> None:
    own_server.trust()
    with SSHDevice("ssh://board") as device:
        ppid = device.run(["sh", "-c", "echo $PPID"]).stdout
        os.kill(int(ppid), 9)
        with pytest.raises(TransientDeviceError):
            device.run(["true"])


def test_what_broke_the_link_is_told_not_that_nothing_can_be_removed(
    own_server: SSHServer,
) -> None:
    own_server.trust()
    with SSHDevice("ssh://board") as device:
        left, server = device.scratch(), int(device.run(["sh", "-c", "echo $PPID"]).stdout)
        os.kill(server, 9)
        with pytest.raises(ValueError, match="first"), removed_after(device, [left]):
            raise ValueError("first")
        with pytest.raises(TransientDeviceError), removed_after(device, [left]):
            pass  # but that it stays there is told where nothing else is
    with SSHDevice("ssh://board") as device:
        added: list[str] = []
        with removed_after(device, added):
            added.append(device.scratch())
            assert device.run(["touch", added[0]]).exit_code == 0
        assert not Path(added[0]).exists()


def test_a_full_disk(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = SSHServer(tmp_path / "sshd", cache=small_disk / "cache")
    try:
        server.configure(monkeypatch)
        server.trust()
        file, digest = make_file(tmp_path / "model.tflite", os.urandom(6_000_000))
        with SSHDevice("ssh://board") as device:
            with pytest.raises(DeviceError, match=r"has 4\.\d MB free in .*, 6\.0 MB needed"):
                device.push(file, digest)
            assert device.pushed_bytes == 0
    finally:
        server.stop()


def test_a_disk_that_fills_up_meanwhile(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SSHServer(tmp_path / "sshd", cache=small_disk / "cache")
    try:
        server.configure(monkeypatch)
        server.trust()
        # df that cannot be read on the first look, so that the upload starts
        monkeypatch.setattr("edgekit.devices.scripts.LOOK", "echo 'df: no answer'", raising=True)
        file, digest = make_file(tmp_path / "model.tflite", os.urandom(6_000_000))
        with SSHDevice("ssh://board") as device:
            with pytest.raises(DeviceError, match=r"has 4\.\d MB free in .*, 6\.0 MB needed"):
                device.push(file, digest)
            assert device.run(["echo", "alive"]).stdout == "alive\n"
        assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    finally:
        server.stop()


def test_a_store_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, digest = make_file(tmp_path / "file")
    server = SSHServer(tmp_path / "sshd", cache=file / "cache")
    try:
        server.configure(monkeypatch)
        server.trust()
        with (
            SSHDevice("ssh://board") as device,
            pytest.raises(DeviceError, match=r"its store cannot be used: .*Not a directory"),
        ):
            device.push(file, digest)
    finally:
        server.stop()


def test_stale_parts_are_cleared_away(board: SSHServer) -> None:
    scratch = board.store / "scratch"
    scratch.mkdir(parents=True)
    for name, when in (("old", 1), ("young", None)):
        (scratch / name).write_bytes(b"part")
        if when is not None:
            os.utime(scratch / name, (when, when))
    with SSHDevice("ssh://board") as device:
        device.scratch()
    assert [path.name for path in scratch.iterdir()] == ["young"]


def test_a_login_that_is_refused(own_server: SSHServer) -> None:
    own_server.trust()
    make_key(own_server.user_key)  # not the one in authorized_keys any more
    with (
        pytest.raises(DeviceError, match=r"refused the login: 1 keys tried.*allows publickey"),
        SSHDevice("ssh://board"),
    ):
        raise AssertionError("entered")


def test_a_key_with_a_passphrase(own_server: SSHServer) -> None:
    own_server.trust()
    key = str(own_server.user_key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], check=True)
    with pytest.raises(DeviceError, match="has a passphrase") as caught, SSHDevice("ssh://board"):
        raise AssertionError("entered")
    assert caught.value.hint.startswith("ssh-add ")


def test_a_key_from_the_agent(own_server: SSHServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own_server.trust()
    started = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True)
    values = dict(part.split("=", 1) for part in started.stdout.split(";") if "=" in part)
    values = {key.strip(): value for key, value in values.items()}
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", values["SSH_AUTH_SOCK"])
        key = str(own_server.user_key)
        subprocess.run(["ssh-add", "-q", key], check=True)
        subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], check=True)
        with SSHDevice("ssh://board") as device:
            assert device.run(["echo", "in"]).stdout == "in\n"
    finally:
        os.kill(int(values["SSH_AGENT_PID"]), 15)


def test_a_file_that_is_no_key(own_server: SSHServer) -> None:
    own_server.trust()
    own_server.user_key.write_text("not a key")
    with pytest.raises(DeviceError, match="cannot be used as a private key"):
        SSHDevice("ssh://board").__enter__()


def test_nobody_listens(own_server: SSHServer) -> None:
    own_server.stop()
    with pytest.raises(TransientDeviceError, match="cannot be reached: Connection refused"):
        SSHDevice("ssh://board").__enter__()


def test_something_else_listens(own_server: SSHServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        with pytest.raises(TransientDeviceError, match="cannot be reached"):
            SSHDevice(f"ssh://127.0.0.1:{port}").__enter__()


def test_a_name_that_nobody_has(own_server: SSHServer) -> None:
    with pytest.raises(DeviceError, match=r"no-such-host\.invalid cannot be reached"):
        SSHDevice("ssh://no-such-host.invalid").__enter__()


def test_it_must_be_entered_first(own_server: SSHServer) -> None:
    with pytest.raises(DeviceError, match="is not connected"):
        SSHDevice("ssh://board").run(["true"])


def test_through_a_jump_host(own_server: SSHServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own_server.trust()
    user, port = own_server.user, own_server.port
    text = own_server.config.read_text()
    hops = f"{user}@127.0.0.1:{port},127.0.0.1:{port}"
    own_server.config.write_text(
        f"Host behind\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump {hops}\n" + text
    )
    with SSHDevice("ssh://behind") as device:
        result = device.run(["sh", "-c", "echo $SSH_CONNECTION"])
        assert result.exit_code == 0
    log = (own_server.folder / "sshd.log").read_text()
    assert log.count("Accepted publickey") == 3


def test_through_a_proxy_command(own_server: SSHServer) -> None:
    own_server.trust()
    program = own_server.folder / "relay.py"
    program.write_text(
        "import os, socket, sys, threading\n"
        "link = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def out():\n"
        "    while data := link.recv(65536):\n"
        "        os.write(1, data)\n"
        "threading.Thread(target=out, daemon=True).start()\n"
        "while data := os.read(0, 65536):\n"
        "    link.sendall(data)\n"
    )
    text = own_server.config.read_text()
    own_server.config.write_text(
        f"Host behind\n  HostName 127.0.0.1\n  Port {own_server.port}\n"
        f"  ProxyCommand {sys.executable} '{program}' %h %p\n" + text
    )
    with SSHDevice("ssh://behind") as device:
        assert device.run(["echo", "through"]).stdout == "through\n"


def test_a_proxy_command_that_is_not_there(own_server: SSHServer) -> None:
    text = own_server.config.read_text()
    own_server.config.write_text(f"Host behind\n  ProxyCommand /no/such/program %h\n{text}")
    with pytest.raises(DeviceError, match="behind cannot be reached: No such file"):
        SSHDevice("ssh://behind").__enter__()
