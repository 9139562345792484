"""An authenticated SSH connection: socket, host key, login, jump hosts."""

from __future__ import annotations

import base64
import getpass
import logging
import os
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.core.errors import DeviceError, HostKeyError, TransientDeviceError
from edgekit.devices import known_hosts
from edgekit.devices.ssh_config import Address, SshOptions, load_options, parse_address
from edgekit.devices.ssh_errors import translated

_JUMPS = 8
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # as paramiko can read them


class Connection:
    """A transport to a host, and the jump hosts it goes through.

    Raises (when made):
        HostKeyError: the host key is unknown, has changed or is revoked.
        TransientDeviceError: it cannot be reached.
        DeviceError: it does not let us in.
    """

    def __init__(self, address: Address, *, depth: int = 0) -> None:
        if depth > _JUMPS:
            raise DeviceError(f"more than {_JUMPS} jump hosts on the way to {address.host}")
        _be_quiet()
        self.address = address
        self.options = load_options(address)
        self._through: list[Connection] = []
        self.transport: Any = None
        try:
            self._open(depth)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
        for connection in reversed(self._through):
            connection.close()
        self._through = []

    @property
    def alive(self) -> bool:
        return bool(self.transport is not None and self.transport.is_active())

    def _open(self, depth: int) -> None:
        options, name = self.options, self.address.host
        with translated(name, "cannot be reached"):
            link = self._link(depth)
        entries = _known(options)
        timeout = options.connect_timeout_seconds
        try:
            with translated(name, "cannot be reached"):
                self.transport = _transport_class()(link)
                self.transport.banner_timeout = self.transport.auth_timeout = max(timeout, 15)
                _prefer_known_types(self.transport, entries)
                self.transport.start_client(timeout=timeout)
                key = self.transport.get_remote_server_key()
        finally:
            if self.transport is None:
                link.close()
        _check_host_key(self.address, options, entries, key)
        with translated(name, "does not let us in"):
            _log_in(self.transport, self.address, options)
            self.transport.set_keepalive(options.alive_seconds)

    def _link(self, depth: int) -> Any:
        """What the transport speaks through: a socket, a tunnel or another program."""
        import paramiko

        options = self.options
        where = (options.host_name, options.port)
        if options.proxy_jump:
            before: Connection | None = None
            for text in options.proxy_jump:
                hop = parse_address(text)
                if before is None:
                    before = Connection(hop, depth=depth + 1)
                else:
                    before = _Hop(hop, before, depth=depth + 1)
                self._through.append(before)
            assert before is not None
            return before.tunnel(where)
        if options.proxy_command:
            return paramiko.ProxyCommand(options.proxy_command)
        link = socket.create_connection(where, timeout=options.connect_timeout_seconds)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # paramiko leaves Nagle on
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: a link that swallows everything is dead
            link.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, options.dead_seconds * 1000
            )
        return link

    def tunnel(self, where: tuple[str, int]) -> Any:
        """A channel through this host to another."""
        timeout = self.options.connect_timeout_seconds
        return self.transport.open_channel("direct-tcpip", where, ("127.0.0.1", 0), timeout=timeout)


class _Hop(Connection):
    """A jump host that is itself reached through the one before it."""

    def __init__(self, address: Address, before: Connection, *, depth: int) -> None:
        self._before = before
        super().__init__(address, depth=depth)

    def _link(self, depth: int) -> Any:
        return self._before.tunnel((self.options.host_name, self.options.port))


@cache
def _be_quiet() -> None:
    """Without a handler of its own, paramiko's log goes to stderr, tracebacks and all."""
    logging.getLogger("paramiko").addHandler(logging.NullHandler())


@cache
def _transport_class() -> Any:
    """paramiko's transport with AES-GCM first (twice as fast) and exit signals kept."""
    import paramiko
    from paramiko.common import MSG_CHANNEL_REQUEST

    def handle_request(channel: Any, message: Any) -> None:
        start = message.packet.tell()
        if message.get_text() == "exit-signal":  # RFC 4254, 6.10; paramiko drops it
            message.get_boolean()
            channel.exit_signal = message.get_text()
            channel.status_event.set()
            return
        message.packet.seek(start)
        paramiko.Channel._handle_request(channel, message)

    class Transport(paramiko.Transport):  # type: ignore[misc] # paramiko has no types
        _preferred_ciphers = (
            "aes128-gcm@openssh.com",
            "aes256-gcm@openssh.com",
            "aes128-ctr",
            "aes192-ctr",
            "aes256-ctr",
        )
        _channel_handler_table = {  # noqa: RUF012 - as in the class it overrides
            **paramiko.Transport._channel_handler_table,
            MSG_CHANNEL_REQUEST: handle_request,
        }

    return Transport


def _known(options: SshOptions) -> list[known_hosts.Entry]:
    try:
        return known_hosts.read(options.known_hosts_files, options.known_as)
    except OSError as exc:
        raise HostKeyError(f"cannot read {str(exc.filename)!r}: {exc.strerror}") from exc


def _prefer_known_types(transport: Any, entries: list[known_hosts.Entry]) -> None:
    """Ask for the kinds of key that are known first, or another kind would look like a change."""
    known = set()
    for entry in entries:
        if not entry.marker:
            rsa = entry.key_type == "ssh-rsa"
            known |= {"rsa-sha2-512", "rsa-sha2-256"} if rsa else {entry.key_type}
    security = transport.get_security_options()
    security.key_types = sorted(security.key_types, key=lambda kind: kind not in known)


def _check_host_key(
    address: Address, options: SshOptions, entries: list[known_hosts.Entry], key: Any
) -> None:
    """Raises HostKeyError unless `key` is the one that is known."""
    blob, kind = key.asbytes(), key.get_name()
    shown = f"{kind} {known_hosts.fingerprint(blob)}"
    revoked = [e for e in entries if e.marker == "revoked" and e.key == blob]
    if revoked:
        raise HostKeyError(f"{options.known_as}: its host key {shown} is revoked ({_at(revoked)})")
    plain = [entry for entry in entries if not entry.marker]
    if any(entry.key == blob for entry in plain):
        return
    connect = shlex.join([*address.ssh_command(), "exit"])
    if plain:
        old = plain[0]
        was = f"{old.key_type} {known_hosts.fingerprint(old.key)}"
        files = dict.fromkeys(entry.file for entry in plain)
        forget = [shlex.join(["ssh-keygen", "-R", options.known_as, "-f", f]) for f in files]
        raise HostKeyError(
            f"the host key of {options.known_as} has changed: known is {was} ({_at(plain)}), "
            f"now it is {shown}. Somebody may be listening in.",
            hint=f"only if you know why, accept it with: {' && '.join([*forget, connect])}",
        )
    authority = any(entry.marker == "cert-authority" for entry in entries)
    raise HostKeyError(
        f"{options.known_as} is not known: its host key is {shown}"
        + ("; only its certificate authority is, and edgekit compares keys" if authority else ""),
        hint=f"if the board shows the same fingerprint, accept it with: {connect}",
    )


def _at(entries: list[known_hosts.Entry]) -> str:
    return ", ".join(entry.where for entry in entries)


def _log_in(transport: Any, address: Address, options: SshOptions) -> None:
    """Try the key files, then the agent's keys, then a password. The host key was checked."""
    import paramiko

    allowed: list[str] = []
    try:
        transport.auth_none(options.user)
        return
    except paramiko.BadAuthenticationType as exc:
        allowed = list(exc.allowed_types)
    skipped: dict[Path, str] = {}
    tried = 0
    if "publickey" in allowed:
        for key in _keys(options, skipped):
            tried += 1
            try:
                left = transport.auth_publickey(options.user, key)
            except paramiko.AuthenticationException:
                continue
            if left:
                raise DeviceError(
                    f"{address.host} wants {' and '.join(left)} after the key; "
                    "edgekit can give a key or a password, not both"
                )
            return
    if PASSWORD_METHODS & set(allowed) and (password := _password(options)) is not None:
        try:
            # Servers with PAM often ask by "keyboard-interactive"; paramiko answers that with it.
            transport.auth_password(options.user, password, fallback=True)
        except paramiko.AuthenticationException as exc:
            _passwords.pop(_account(options), None)
            raise DeviceError(
                f"{options.user}@{options.host_name} refused the password",
                hint=f"check it with: {shlex.join(address.ssh_command())}",
            ) from exc
        return
    raise _refused(address, options, allowed, tried, skipped)


PASSWORD_METHODS = {"password", "keyboard-interactive"}
PASSWORD_VARIABLE = "EDGEKIT_SSH_PASSWORD"  # noqa: S105 - the variable's name

# What was typed once, so that a link that breaks comes back without asking. Only in this process.
_passwords: dict[tuple[str, str, int], str] = {}
_asking = threading.Lock()  # several boards may be connected to at the same time


def _account(options: SshOptions) -> tuple[str, str, int]:
    return options.user, options.host_name, options.port


def _password(options: SshOptions) -> str | None:
    """From the environment, or asked for once where somebody sits at a terminal; else None."""
    if (given := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return given
    if not sys.stdin.isatty():
        return None
    with _asking:
        account = _account(options)
        if account not in _passwords:
            prompt = f"password of {options.user}@{options.host_name}: "
            _passwords[account] = getpass.getpass(prompt)
        return _passwords[account]


def _refused(
    address: Address,
    options: SshOptions,
    allowed: list[str],
    tried: int,
    skipped: dict[Path, str],
) -> DeviceError:
    text = (
        f"{options.user}@{options.host_name} refused the login: {tried} keys tried, "
        f"it allows {', '.join(allowed) or 'nothing'}"
    )
    text += "".join(f"; {str(path)!r} {why}" for path, why in skipped.items())
    locked = [path for path, why in skipped.items() if why == _LOCKED]
    if locked:
        return DeviceError(text, hint=shlex.join(["ssh-add", *map(str, locked)]))
    command = shlex.join(["ssh-copy-id", *address.ssh_command()[1:]])
    instead = f", or give its password in {PASSWORD_VARIABLE}" * bool(
        PASSWORD_METHODS & set(allowed)
    )
    return DeviceError(text, hint=f"put a key there: {command}{instead}")


_LOCKED = "has a passphrase and is not in the agent"


def _keys(options: SshOptions, skipped: dict[Path, str]) -> Iterator[Any]:
    """Keys to try, in order; files that cannot be used are added to `skipped` with the reason."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    files = list(options.identity_files)
    if not files:
        home = Path("~/.ssh").expanduser()
        files = [home / name for name in _DEFAULT_KEYS]
    blobs = set()
    unusable = (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError)
    for path in files:
        if not path.is_file():
            continue
        try:
            key = paramiko.PKey.from_path(path)
        except (paramiko.PasswordRequiredException, TypeError):  # TypeError: cryptography's way
            skipped[path] = _LOCKED
            continue
        except (*unusable, UnsupportedAlgorithm, OSError) as exc:
            skipped[path] = f"cannot be used as a private key ({exc})"
            continue
        blobs.add(key.asbytes())
        yield key
    if not os.environ.get("SSH_AUTH_SOCK"):
        return
    named = {blob for path in files if (blob := _public_blob(path))}
    agent = paramiko.Agent()
    try:
        for key in agent.get_keys():
            blob = key.asbytes()
            if blob in blobs or (options.identities_only and blob not in named):
                continue
            skipped.pop(next((p for p in files if _public_blob(p) == blob), Path()), None)
            yield key
    finally:
        agent.close()


def _public_blob(private: Path) -> bytes | None:
    public = private.with_name(private.name + ".pub")
    if not public.is_file():
        return None
    fields = public.read_text(encoding="utf-8", errors="replace").split()
    return base64.b64decode(fields[1]) if len(fields) > 1 else None


def lost(address: str, doing: str) -> TransientDeviceError:
    """For a link that broke while something was going on."""
    return TransientDeviceError(
        f"the connection to {address} was lost while {doing}", hint="try again when it is back"
    )
