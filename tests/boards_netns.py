"""Boards with addresses of their own: each an OpenSSH server in a network namespace with a cable.

The cable is a veth pair: one end here, the other one in the namespace. It can be pulled out and put
in again. The namespace has no name; it, and the cable with it, goes away with the last process in
it. The addresses are of 198.18.0.0/15, which is for tests of networks (RFC 2544).

Needs root, and the Debian packages openssh-server and iproute2.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.sshd import SSHServer, beside, end, may

IP = shutil.which("ip", path=os.environ.get("PATH", "") + ":/usr/sbin")
_CABLE = "ek"  # its name is that and the number of its net
_NETS = (1 << 17) // 4  # of four addresses each: the net, this computer, the board, broadcast

# $1: the board's address; the rest is what runs there when the cable is in.
_PLUG = """
address=$1; shift
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip address add "$address/30" dev eth0 && ip link set lo up && ip link set eth0 up && exec "$@"
"""


class NamespaceBoard(SSHServer):
    """The board; its user is root, its disk is this computer's."""

    def __init__(self, folder: Path) -> None:
        number = _free_net()
        self.cable = f"{_CABLE}{number}"
        net = number * 4 + (198 << 24) + (18 << 16)
        self._here, self.host = (_dotted(net + host) for host in (1, 2))
        super().__init__(folder)

    def _refuse_without(self) -> None:
        super()._refuse_without()
        if IP is None:
            pytest.skip("needs network namespaces: Debian package iproute2")
        if os.geteuid() != 0:
            pytest.skip("network namespaces need root")
        try_cable = [IP, "link", "add", "here", "type", "veth", "peer", "name", "there"]
        if not may("unshare", "--net", *try_cable):
            pytest.skip("root may make no network namespace on this machine, as in a container")

    def _command(self, port: int) -> list[str]:
        return ["unshare", "--net", "sh", "-c", _PLUG, "sh", self.host, *super()._command(port)]

    def _started(self) -> None:
        """Plugs the cable in, as soon as the process is in its namespace."""
        assert self._process is not None
        there = Path(f"/proc/{self._process.pid}/ns/net")
        while there.readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        peer = ("peer", "name", "eth0", "netns", str(self._process.pid))
        ip("link", "add", self.cable, "type", "veth", *peer)
        ip("address", "add", f"{self._here}/30", "dev", self.cable)
        ip("link", "set", self.cable, "up")

    def pull_cable(self) -> None:
        ip("link", "set", self.cable, "down")

    def plug_cable(self) -> None:
        ip("link", "set", self.cable, "up")

    def stop(self) -> None:
        """With all that runs there: it would hold the namespace, and that the cable."""
        running = beside(self._process.pid) if self._process is not None else []
        super().stop()
        end(running)
        subprocess.run([str(IP), "link", "del", self.cable], capture_output=True, check=False)


def _free_net() -> int:
    """The number of a net that no board of another test has."""
    while True:
        number = random.SystemRandom().randrange(_NETS)
        if not Path(f"/sys/class/net/{_CABLE}{number}").exists():
            return number


def ip(*words: str) -> None:
    subprocess.run([str(IP), *words], check=True)


def _dotted(address: int) -> str:
    return ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
