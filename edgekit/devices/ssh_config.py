"""What ``~/.ssh/config`` says about a host.

EDGEKIT_SSH_CONFIG names another file to read instead, as ``ssh -F`` does.
"""

from __future__ import annotations

import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgekit.core.errors import UsageError

_USER_CONFIG = "~/.ssh/config"
_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
_INCLUDE_DEPTH = 16  # as in OpenSSH
ALIVE_SECONDS, ALIVE_COUNT = 15, 4  # where ServerAliveInterval and ServerAliveCountMax say nothing


@dataclass(frozen=True)
class Address:
    """What was typed: ``ssh://[user@]host[:port]``."""

    host: str
    user: str | None
    port: int | None

    def ssh_command(self) -> list[str]:
        """The `ssh` call that reaches the same place."""
        override = os.environ.get("EDGEKIT_SSH_CONFIG")
        words = ["ssh"]
        if override:
            words += ["-F", override]
        if self.port is not None:
            words += ["-p", str(self.port)]
        return [*words, f"{self.user}@{self.host}" if self.user else self.host]


@dataclass(frozen=True)
class SshOptions:
    """How to reach a host.

    Attributes:
        proxy_jump: the hosts on the way, the nearest first.
        alive_seconds: how often something is sent over a link that is quiet; 0: never.
        dead_seconds: a link on which nothing was acknowledged for so long is dead; 0: whenever
            the system says so.
    """

    host_name: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    known_hosts_files: tuple[Path, ...]
    host_key_alias: str | None
    proxy_jump: tuple[str, ...]
    proxy_command: str | None
    connect_timeout_seconds: float
    alive_seconds: int = ALIVE_SECONDS
    dead_seconds: int = ALIVE_SECONDS * ALIVE_COUNT

    @property
    def known_as(self) -> str:
        """The name under which the host's key is known."""
        if self.host_key_alias:
            return self.host_key_alias
        name = self.host_name.lower()
        return name if self.port == 22 else f"[{name}]:{self.port}"


def parse_address(address: str) -> Address:
    """Take ``ssh://[user@]host[:port]`` or ``[user@]host[:port]`` apart.

    Raises:
        UsageError: it is not of that form.
    """
    shown = re.sub(r":[^/@]*@", ":…@", address)  # what may be a password is not repeated
    form = UsageError(f"{shown!r} is not of the form ssh://[user@]host[:port]")
    if any(character.isspace() or not character.isprintable() for character in address):
        raise form  # urlsplit would drop some of them and name another host
    text = address if "://" in address else f"ssh://{address}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise form from exc
    host = parts.netloc.rpartition("@")[2]
    host = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    extra = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme != "ssh" or extra or parts.password is not None:
        raise form
    # These go into command lines of ProxyCommand and of hints.
    if not re.fullmatch(r"[A-Za-z0-9_%:.][A-Za-z0-9_%:.-]*", host):
        raise form
    if parts.username is not None and not re.fullmatch(r"[\w.][\w.\\$+-]*", parts.username):
        raise form
    return Address(host, parts.username, port)


def load_options(address: Address) -> SshOptions:
    """The address, filled in from the configuration files.

    Raises:
        UsageError: a file cannot be read or understood.
    """
    import paramiko

    try:
        config = paramiko.SSHConfig.from_text("\n".join(_config_lines()))
        found: dict[str, Any] = dict(config.lookup(address.host))
    except (paramiko.SSHException, ImportError, ValueError) as exc:
        raise UsageError(
            f"the ssh configuration cannot be used: {exc}",
            hint="EDGEKIT_SSH_CONFIG=FILE reads another file instead of ~/.ssh/config",
        ) from exc
    port = address.port if address.port is not None else _number(found, "port", 22)
    alias = found.get("hostkeyalias")
    alive = int(_number(found, "serveraliveinterval", ALIVE_SECONDS))
    lives = int(_number(found, "serveralivecountmax", ALIVE_COUNT))
    return SshOptions(
        host_name=found["hostname"],
        port=int(port),
        user=address.user or found.get("user") or getpass.getuser(),
        identity_files=tuple(Path(p).expanduser() for p in found.get("identityfile", ())),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        known_hosts_files=_known_hosts_files(found),
        host_key_alias=alias.lower() if alias else None,
        proxy_jump=_list_or_none(found.get("proxyjump")),
        proxy_command=_unless_none(found.get("proxycommand")),
        connect_timeout_seconds=_number(found, "connecttimeout", 15),
        alive_seconds=alive,
        dead_seconds=alive * lives,
    )


def host_names() -> list[str]:
    """The hosts that the configuration files name, in their order; patterns are not names.

    Raises:
        UsageError: a file cannot be read or understood.
    """
    names: dict[str, None] = {}
    for line in _config_lines():
        found = re.match(r"\s*host[\s=]+(.*)", line, re.IGNORECASE)
        if found is None:
            continue
        try:
            words = shlex.split(found[1], comments=True)
        except ValueError as exc:
            raise UsageError(
                f"the ssh configuration cannot be used: {line.strip()!r}: {exc}"
            ) from exc
        names.update(dict.fromkeys(word for word in words if not set(word) & set("*?!")))
    return list(names)


def _number(found: dict[str, Any], key: str, default: float) -> float:
    text = str(found.get(key, default))
    try:
        return float(text)
    except ValueError as exc:
        raise UsageError(f"ssh configuration: {key} {text!r} is not a number") from exc


def _unless_none(text: str | None) -> str | None:
    return None if text is None or text.lower() == "none" else text


def _list_or_none(text: str | None) -> tuple[str, ...]:
    value = _unless_none(text)
    return tuple(part.strip() for part in value.split(",")) if value else ()


def _known_hosts_files(found: dict[str, Any]) -> tuple[Path, ...]:
    user = found.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    system = found.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
    return tuple(path for text in (user, system) for path in _paths(text))


def _paths(text: str) -> Iterator[Path]:
    if Path(text).expanduser().is_file():  # one path with spaces, its quotes already taken off
        yield Path(text).expanduser()
        return
    for word in shlex.split(text):
        if word.lower() != "none":
            yield Path(word).expanduser()


def _config_lines() -> Iterator[str]:
    override = os.environ.get("EDGEKIT_SSH_CONFIG")
    if override:
        if not Path(override).is_file():
            raise UsageError(f"EDGEKIT_SSH_CONFIG={override!r}: there is no such file")
        yield from _lines(Path(override), Path("~/.ssh").expanduser(), 0)
        return
    user = Path(_USER_CONFIG).expanduser()
    if user.is_file():
        yield from _lines(user, user.parent, 0)
        yield "Host *"  # ends the last section of the user's file
    if _SYSTEM_CONFIG.is_file():
        yield from _lines(_SYSTEM_CONFIG, _SYSTEM_CONFIG.parent, 0)


def _lines(path: Path, base: Path, depth: int) -> Iterator[str]:
    """The lines of a file with what it includes put in place, since paramiko ignores Include."""
    if depth > _INCLUDE_DEPTH:
        raise UsageError(f"{path}: more than {_INCLUDE_DEPTH} levels of Include")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise UsageError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
    section = "Host *"
    for line in text.splitlines():
        keyword = re.match(r"\s*(\w+)[\s=]+(.*)", line)
        word = keyword.group(1).lower() if keyword else ""
        if word in ("host", "match"):
            section = line
        if word != "include" or keyword is None:
            yield line
            continue
        for pattern in shlex.split(keyword.group(2)):
            where = os.path.join(base, os.path.expanduser(pattern))  # noqa: PTH111, PTH118
            for name in sorted(glob.glob(where)):  # noqa: PTH207 - an absolute pattern
                yield from _lines(Path(name), base, depth + 1)
        yield section  # what follows belongs to where Include stood
