"""Whom we talk to: known_hosts in all its forms, and what an unknown or changed key leads to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shlex
import subprocess
from pathlib import Path

import pytest

from edgekit.core.errors import HostKeyError
from edgekit.devices.known_hosts import Entry, fingerprint, parse
from edgekit.devices.ssh import SSHDevice
from tests.sshd import SSHServer, make_key, public_key


def connects(address: str = "ssh://board") -> bool:
    with SSHDevice(address) as device:
        return device.run(["echo", "in"]).stdout == "in\n"


def refusal(address: str = "ssh://board") -> HostKeyError:
    with pytest.raises(HostKeyError) as caught, SSHDevice(address):
        raise AssertionError("entered")
    return caught.value


def shown_by_ssh_keygen(key: Path) -> str:
    command = ["ssh-keygen", "-l", "-f", str(key)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


def accept(hint: str) -> None:
    """Run the command of a hint as a person would, who answers "yes" to ssh's question."""
    for part in hint.split("accept it with: ")[1].split(" && "):
        words = shlex.split(part)
        if words[0] == "ssh":
            words[1:1] = ["-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes"]
        subprocess.run(words, check=True, capture_output=True)


def test_an_unknown_key_is_refused_and_the_hint_accepts_it(own_server: SSHServer) -> None:
    error = refusal(own_server.address)
    assert "is not known" in error.message
    assert shown_by_ssh_keygen(own_server.host_key) in error.message
    accept(error.hint)
    assert connects(own_server.address)


def test_a_changed_key_is_refused_and_the_hint_accepts_it(own_server: SSHServer) -> None:
    own_server.trust()
    assert connects(own_server.address)
    before = shown_by_ssh_keygen(own_server.host_key)
    own_server.new_host_key()
    error = refusal(own_server.address)
    assert "has changed" in error.message
    assert before in error.message
    assert shown_by_ssh_keygen(own_server.host_key) in error.message
    assert f"{own_server.known_hosts}:1" in error.message
    accept(error.hint)
    assert connects(own_server.address)


def test_nothing_is_written_to_known_hosts(own_server: SSHServer) -> None:
    refusal()
    assert not own_server.known_hosts.exists()


def test_hashed_names(own_server: SSHServer) -> None:
    own_server.trust()
    subprocess.run(
        ["ssh-keygen", "-H", "-f", str(own_server.known_hosts)], check=True, capture_output=True
    )
    assert own_server.known_hosts.read_text().startswith("|1|")
    assert connects()
    own_server.new_host_key()
    error = refusal()
    assert "has changed" in error.message
    accept(error.hint)
    assert connects()


def test_marker_lines_do_not_get_in_the_way(own_server: SSHServer, tmp_path: Path) -> None:
    other = public_key(make_key(tmp_path / "other"))
    own_server.known_hosts.write_text(
        f"@cert-authority * {other}\n@revoked * {other}\n# a comment\n\nnonsense\n"
        "[127.0.0.1]:1 ssh-ed25519 not*base64\n"
    )
    error = refusal()
    assert "only its certificate authority is" in error.message
    own_server.trust()  # appends
    assert connects()


def test_a_revoked_key_is_refused_though_known(own_server: SSHServer) -> None:
    own_server.trust()
    with open(own_server.known_hosts, "a") as file:
        file.write(f"@revoked * {public_key(own_server.host_key)}\n")
    error = refusal()
    assert "is revoked" in error.message
    assert f"{own_server.known_hosts}:2" in error.message
    assert "accept" not in error.hint


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_kinds_of_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    server = SSHServer(tmp_path / "sshd", key_kind=kind)
    try:
        server.configure(monkeypatch)
        server.trust()
        assert connects()
    finally:
        server.stop()


@pytest.mark.slow
def test_the_kind_that_is_known_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with two keys, of which the one that paramiko likes less is known."""
    second = make_key(tmp_path / "rsa_key", "rsa")
    server = SSHServer(tmp_path / "sshd", extra=(f"HostKey {second}",))
    try:
        server.configure(monkeypatch)
        server.known_hosts.write_text(f"[127.0.0.1]:{server.port} {public_key(second)}\n")
        assert connects()
    finally:
        server.stop()


def test_host_key_alias(own_server: SSHServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own_server.configure(monkeypatch, "HostKeyAlias Kitchen-Board")
    assert "kitchen-board is not known" in refusal().message
    own_server.known_hosts.write_text(f"kitchen-board {public_key(own_server.host_key)}\n")
    assert connects()


def test_several_known_hosts_files(
    own_server: SSHServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_server.configure(monkeypatch)
    text = own_server.config.read_text()
    own_server.trust()
    first = tmp_path / "first"
    own_server.config.write_text(
        text.replace("UserKnownHostsFile ", f"UserKnownHostsFile {first} ")
    )
    assert connects()


KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIMAzW0gkcBVB0tgpWPl0zlVKQ6SCtvRCZbCOEhBZXvbJ"


@pytest.mark.parametrize(
    ("hosts", "name", "expected"),
    [
        ("pi", "pi", True),
        ("PI", "pi", True),
        ("pi,10.0.0.7", "10.0.0.7", True),
        ("pi", "pi2", False),
        ("10.0.0.?", "10.0.0.7", True),
        ("10.0.0.?", "10.0.0.77", False),
        ("*.lab", "a.lab", True),
        ("*.lab,!b.lab", "b.lab", False),
        ("!b.lab,*.lab", "a.lab", True),
        ("!b.lab", "a.lab", False),
        ("[pi]:2222", "[pi]:2222", True),
        ("[pi]:2222", "pi", False),
        ("pi", "[pi]:2222", False),
        ("[*]:2222", "[pi]:2222", True),
        ("|1|broken", "pi", False),
        ("|1|!!|!!", "pi", False),
        ("pi.x", "pixx", False),
    ],
)
def test_names(hosts: str, name: str, expected: bool) -> None:
    (entry,) = parse(f"{hosts} ssh-ed25519 {KEY}")
    assert entry.matches(name) is expected


def test_a_hashed_name_with_a_port() -> None:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, b"[pi]:22022", hashlib.sha1).digest()
    text = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    (entry,) = parse(f"{text} ssh-ed25519 {KEY}")
    assert entry.matches("[pi]:22022")
    assert not entry.matches("pi")


def test_where_an_entry_stands() -> None:
    text = f"# first\n\n@revoked pi ssh-ed25519 {KEY} comment words\npi ssh-ed25519\n"
    entries = list(parse(text, "file"))
    assert [(e.marker, e.hosts, e.where) for e in entries] == [("revoked", "pi", "file:3")]
    assert isinstance(entries[0], Entry)


def test_fingerprint_is_ssh_keygens(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    blob = base64.b64decode(public_key(key).split()[1])
    assert fingerprint(blob) == shown_by_ssh_keygen(key)
