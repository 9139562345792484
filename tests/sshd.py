"""A real OpenSSH server on loopback with its own keys and configuration, and things to break it."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil
import pytest

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens at, below those that the kernel gives to connections.

    A connection of another test could get one of those between this look and the start of a server,
    or a server's while that is restarted.
    """
    ports = range(10_000, 32_000)  # net.ipv4.ip_local_port_range begins at 32768
    while True:
        port = random.SystemRandom().choice(ports)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((host, port))
            return port


def make_key(path: Path, kind: str = "ed25519") -> Path:
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def public_key(path: Path) -> str:
    """``type base64`` of the public half."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def beside(pid: int) -> list[psutil.Process]:
    """What else runs in the namespaces (net, mnt) that the server `pid` has for itself."""
    try:
        kinds = [k for k in ("net", "mnt") if _namespace(pid, k) != _namespace("self", k)]
    except OSError:  # the server has ended by itself
        return []
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            same = [_namespace(process.pid, kind) == _namespace(pid, kind) for kind in kinds]
            if process.pid != pid and any(same):
                found.append(process)
    return found


def _namespace(pid: int | str, kind: str) -> Path:
    return Path(f"/proc/{pid}/ns/{kind}").readlink()


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill them, and wait until they are gone."""
    gone = list(processes)
    for process in gone:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(gone, timeout=60)


def may(*argv: str) -> bool:
    """Whether the command succeeds."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


class SSHServer:
    """A server whose users' cache folder is `cache`, so that the store lands there.

    Args:
        folder: for keys, configuration and log.
        environment: more variables of the users'; sshd's own are replaced.
        extra: more lines for sshd_config.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        *,
        cache: Path | None = None,
        extra: tuple[str, ...] = (),
        key_kind: str = "ed25519",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._refuse_without()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cache = cache or folder / "device cache"
        self.user = getpass.getuser()
        self.host_key = make_key(folder / "host_key", key_kind)
        self.user_key = make_key(folder / "user_key")
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "ssh_config"
        self._log = folder / "sshd.log"
        self._extra = extra
        # A login shell of bash reads ~/.bashrc before each command: not this person's.
        home = folder / "home"
        home.mkdir(exist_ok=True)
        own = {"XDG_CACHE_HOME": str(self.cache), "HOME": str(home)}
        self._environment = own | (environment or {})
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "authorized_keys").write_text(public_key(self.user_key) + "\n")
        self.start()

    def _refuse_without(self) -> None:
        """Skip the test where something is not installed."""
        if SSHD is None:
            pytest.skip("needs a server: Debian package openssh-server")

    def start(self) -> None:
        for _ in range(5):  # another test may take the port between the look and the start
            port = self.port or free_port()
            with open(self._log, "ab") as log:
                self._process = subprocess.Popen(
                    self._command(port), stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._started()
            if self._answers(port):
                self.port = port
                return
            self.stop()
        raise AssertionError(f"the server does not start: {self._log.read_text()}")

    def _command(self, port: int) -> list[str]:
        """What starts a server that stays in the foreground and listens at `port`."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        return [str(SSHD), "-D", "-f", str(self._write_config(port)), "-E", str(self._log)]

    def _started(self) -> None:
        """The command runs; it may not listen yet."""

    def _write_config(self, port: int) -> Path:
        path = self.folder / "sshd_config"
        lines = [
            f"Port {port}",
            f"ListenAddress {self.host}",
            f'HostKey "{self.host_key}"',
            f'AuthorizedKeysFile "{self.folder / "authorized_keys"}"',
            f'PidFile "{self.folder / "sshd.pid"}"',
            "UsePAM no",
            "StrictModes no",
            "UseDNS no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "MaxStartups 100",
            "SetEnv " + " ".join(f'"{key}={value}"' for key, value in self._environment.items()),
            *self._extra,
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def _answers(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection((self.host, port), timeout=5) as probe:
                    # another server at the port would answer, too, and this one then end
                    return probe.recv(4) == b"SSH-" and self._process.poll() is None
            except OSError:
                time.sleep(0.05)
        return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def new_host_key(self) -> None:
        """As after a reinstallation of the board."""
        self.stop()
        make_key(self.host_key)
        self.start()

    def trust(self, port: int | None = None) -> None:
        """Put the server's key into known_hosts, under the port of a proxy if one is given."""
        with open(self.known_hosts, "a") as file:
            file.write(f"[{self.host}]:{port or self.port} {public_key(self.host_key)}\n")

    def configure(self, monkeypatch: pytest.MonkeyPatch, *lines: str, name: str = "board") -> None:
        """Make `ssh://<name>` and `ssh://<host>:<port>` use this server's keys alone."""
        self.config.write_text(self.config_text(name, *lines, others="Host *\n"))
        monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(self.config))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def config_text(self, name: str, *lines: str, others: str = "") -> str:
        """A section of an ssh_config for `name`; `others` is put before what holds for more."""
        return (
            f"Host {name}\n  HostName {self.host}\n  Port {self.port}\n{others}"
            f'  User {self.user}\n  IdentityFile "{self.user_key}"\n  IdentitiesOnly yes\n'
            f'  UserKnownHostsFile "{self.known_hosts}"\n  GlobalKnownHostsFile none\n'
        ) + "".join(f"  {line}\n" for line in lines)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        return f"ssh://{self.user}@{self.host}:{self.port}"

    @property
    def store(self) -> Path:
        return self.cache / "edgekit"

    def runners(self) -> list[int]:
        """Process ids of what runs out of the store: a runner, as Python's or by itself.

        Not of `find` and the like, which are given the store's folder to look after it.
        """
        objects, found = f"{self.store / 'objects'}/", []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                by_python = Path(words[0]).name.startswith("python")
                if any(word.startswith(objects) for word in (words if by_python else words[:1])):
                    found.append(int(process.name))
        return found


class Proxy:
    """Passes TCP connections on; counts what goes to the server, and cuts after so many bytes.

    Args:
        cut_after: bytes towards the server after which a connection is closed; one entry for each
            connection that is to be cut, in order. None cuts none.
    """

    def __init__(self, port: int, cut_after: tuple[int | None, ...] = ()) -> None:
        self._target = port
        self._cuts = list(cut_after)
        self.sent = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._passing: list[threading.Thread] = []
        self._accepts = threading.Thread(target=self._accept, daemon=True)
        self._accepts.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            cut = self._cuts.pop(0) if self._cuts else None
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for source, sink, limit, count in (
                (client, server, cut, True),
                (server, client, None, False),
            ):
                arguments = (source, sink, limit, count)
                self._passing.append(
                    threading.Thread(target=self._pass, args=arguments, daemon=True)
                )
                self._passing[-1].start()

    def _pass(
        self, source: socket.socket, sink: socket.socket, limit: int | None, count: bool
    ) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 14):
                sink.sendall(data)
                passed += len(data)
                if count:
                    self.sent += len(data)
                if limit is not None and passed >= limit:
                    break
        except OSError:
            pass  # the other direction has closed it
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def cut(self) -> None:
        """Break every connection there is; new ones are let through."""
        for end in list(self._open):  # one that comes meanwhile is new
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepts.join()  # it would take connections of a socket that gets the same number
        self._listener.close()
        self.cut()
        for thread in self._passing:
            thread.join()
        for end in self._open:
            end.close()
