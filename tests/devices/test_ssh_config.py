"""The user's ssh configuration, as ssh(1) reads it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.devices.ssh_config import SshOptions, load_options, parse_address


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("EDGEKIT_SSH_CONFIG", raising=False)
    monkeypatch.setattr("edgekit.devices.ssh_config._SYSTEM_CONFIG", tmp_path / "system_config")
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def options(address: str) -> SshOptions:
    return load_options(parse_address(address))


def write(home: Path, text: str, name: str = "config") -> None:
    path = home / ".ssh" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_without_a_file_the_defaults_count(home: Path) -> None:
    found = options("ssh://pi@10.0.0.7")
    assert (found.host_name, found.port, found.user) == ("10.0.0.7", 22, "pi")
    assert found.known_hosts_files[0] == home / ".ssh" / "known_hosts"
    assert found.known_as == "10.0.0.7"
    assert found.proxy_jump == ()
    assert found.proxy_command is None
    assert (found.alive_seconds, found.dead_seconds) == (15, 60)


def test_how_soon_a_link_is_given_up(home: Path) -> None:
    write(home, "Host pi\n ServerAliveInterval 5\n ServerAliveCountMax 2\n")
    assert (options("ssh://pi").alive_seconds, options("ssh://pi").dead_seconds) == (5, 10)
    write(home, "Host pi\n ServerAliveInterval 0\n")
    assert (options("ssh://pi").alive_seconds, options("ssh://pi").dead_seconds) == (0, 0)
    write(home, "Host pi\n ServerAliveInterval soon\n")
    with pytest.raises(UsageError, match="serveraliveinterval 'soon' is not a number"):
        options("ssh://pi")


def test_an_alias(home: Path) -> None:
    write(
        home,
        "Host pi\n HostName raspberrypi.local\n User someone\n Port 2222\n"
        " IdentityFile ~/.ssh/pi_key\n IdentitiesOnly yes\n ConnectTimeout 3\n",
    )
    found = options("ssh://pi")
    assert (found.host_name, found.port, found.user) == ("raspberrypi.local", 2222, "someone")
    assert found.identity_files == (home / ".ssh" / "pi_key",)
    assert found.identities_only
    assert found.connect_timeout_seconds == 3
    assert found.known_as == "[raspberrypi.local]:2222"


def test_the_address_wins(home: Path) -> None:
    write(home, "Host pi\n User someone\n Port 2222\n")
    found = options("ssh://me@pi:23")
    assert (found.user, found.port) == ("me", 23)


def test_ipv6(home: Path) -> None:
    found = options("ssh://pi@[fe80::1%eth0]:2222")
    assert (found.host_name, found.port) == ("fe80::1%eth0", 2222)


def test_jumps(home: Path) -> None:
    write(home, "Host a\n ProxyJump me@gate:2200, inner\nHost b\n ProxyJump none\nHost *\n")
    assert options("ssh://a").proxy_jump == ("me@gate:2200", "inner")
    assert options("ssh://b").proxy_jump == ()


def test_known_hosts_files(home: Path) -> None:
    write(
        home,
        'Host a\n UserKnownHostsFile "~/my hosts" /b\n GlobalKnownHostsFile none\n'
        "Host c\n UserKnownHostsFile ~/one\n",
    )
    assert options("ssh://a").known_hosts_files == (home / "my hosts", Path("/b"))
    assert options("ssh://c").known_hosts_files[0] == home / "one"


def test_include_belongs_to_where_it_stands(home: Path) -> None:
    write(home, "Host inside\n Include part.d/*\n User outer\nHost other\n User other\n")
    write(home, " Port 2201\n", "part.d/1")
    write(home, "Host deep\n Port 2202\n", "part.d/2")
    assert options("ssh://inside").port == 2201
    assert options("ssh://inside").user == "outer"
    assert options("ssh://other").user == "other"
    assert options("ssh://other").port == 22


def test_an_endless_include(home: Path) -> None:
    write(home, "Include config\n")
    with pytest.raises(UsageError, match="levels of Include"):
        options("ssh://pi")


def test_the_system_file_comes_last(home: Path) -> None:
    write(home, "Host pi\n User mine\n")
    (home / "system_config").write_text("User system\nPort 2022\n")
    assert (options("ssh://pi").user, options("ssh://pi").port) == ("mine", 2022)


def test_another_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, "Host pi\n User mine\n")
    write(home, "Host pi\n User theirs\n", "other")
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(home / ".ssh" / "other"))
    assert options("ssh://pi").user == "theirs"
    assert parse_address("ssh://pi").ssh_command()[1:3] == ["-F", str(home / ".ssh" / "other")]


def test_another_file_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(home / "missing"))
    with pytest.raises(UsageError, match="there is no such file"):
        options("ssh://pi")


@pytest.mark.parametrize("text", ["Host pi\n Port many\n", "= = =\n"])
def test_what_is_not_understood(home: Path, text: str) -> None:
    write(home, text)
    with pytest.raises(UsageError, match="ssh configuration"):
        options("ssh://pi")


def test_as_ssh_itself_sees_it(home: Path) -> None:
    """The same file through `ssh -G`."""
    if shutil.which("ssh") is None:
        pytest.skip("needs ssh: Debian package openssh-client")
    write(
        home,
        "Include more\nHost p* !prod\n User someone\n Port 2222\n HostName %h.lab\n"
        "Host prod\n User nobody\nHost *\n Port 2223\n ConnectTimeout 7\n",
    )
    write(home, "Host pi\n HostKeyAlias the-pi\n", "more")
    config = home / ".ssh" / "config"
    for host in ("pi", "prod", "else"):
        found = options(f"ssh://{host}")
        # -F makes Include relative to ~/.ssh of the password file: copy it in
        flat = home / "flat"
        flat.write_text(config.read_text().replace("Include more", f"Include {home}/.ssh/more"))
        told = subprocess.run(
            ["ssh", "-G", "-F", str(flat), host], capture_output=True, text=True, check=True
        ).stdout
        seen = dict(line.split(" ", 1) for line in told.splitlines())
        assert found.host_name == seen["hostname"]
        assert str(found.port) == seen["port"]
        assert found.user == seen["user"]
        assert found.connect_timeout_seconds == float(seen["connecttimeout"])
        assert found.host_key_alias == seen.get("hostkeyalias")


@pytest.mark.parametrize("address", ["ssh://h\n-x", "ssh://h -x", "ssh://h\t", "ssh://h\x00"])
def test_an_address_with_blanks_is_no_other_host(address: str) -> None:
    with pytest.raises(UsageError, match="not of the form"):
        parse_address(address)
