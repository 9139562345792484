"""A small board: dropbear without SFTP, busybox for a shell and all programs, no Python.

Its root folder holds busybox by all its names, dropbear, the GNU C library and libstdc++, and
nothing else of this computer but /proc, /dev and /sys; as on boards whose system was made with
Yocto or Buildroot. dropbear runs in it by chroot, in a mount namespace of its own, so that its
mounts go with it. The folder of the tests is there under the same path, so that a test may look at
what the board has written.

Needs root, and the Debian packages dropbear-bin and busybox-static.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.sshd import SSHServer, beside, end, may

_PATH = os.environ.get("PATH", "") + ":/usr/sbin"
DROPBEAR = shutil.which("dropbear", path=_PATH)
BUSYBOX = shutil.which("busybox", path=_PATH)

# $1: the board's root, $2: what is shared with it; the rest is what runs in it.
_ENTER = """
root=$1 shared=$2; shift 2
mount -t proc proc "$root/proc" && mkdir -p "$root$shared" || exit 1
for folder in /dev /sys "$shared"; do mount --rbind "$folder" "$root$folder" || exit 1; done
exec chroot "$root" "$@"
"""


class BusyboxBoard(SSHServer):
    """The board; its user is root.

    Args:
        folder: for its root folder, home, keys and log.
        shared: a folder above it that the board sees, too.
    """

    def __init__(self, folder: Path, shared: Path) -> None:
        self.root, self.home, self._shared = folder / "root", folder / "home", shared
        super().__init__(folder, cache=self.home / ".cache")

    def _refuse_without(self) -> None:
        for program, package in ((DROPBEAR, "dropbear-bin"), (BUSYBOX, "busybox-static")):
            if program is None:
                pytest.skip(f"needs a small board's programs: Debian package {package}")
        if os.geteuid() != 0:
            pytest.skip("a root folder of a board's own needs root")
        if not may("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"):
            pytest.skip("root may mount nothing on this machine, as in a container")

    def _command(self, port: int) -> list[str]:
        if not self.root.exists():
            make_root(self.root, self.home)
        (self.home / ".ssh").mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / "authorized_keys", self.home / ".ssh" / "authorized_keys")
        key = self.folder / "dropbear_key"
        subprocess.run(
            ["dropbearconvert", "openssh", "dropbear", str(self.host_key), str(key)],
            check=True,
            capture_output=True,
        )
        enter = ["unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.root), str(self._shared)]
        where = f"{self.host}:{port}"
        return [*enter, "/sbin/dropbear", "-F", "-E", "-s", "-r", str(key), "-p", where, "-P", ""]

    def stop(self) -> None:
        """With its sessions and what they run: they hold the namespace."""
        running = beside(self._process.pid) if self._process is not None else []
        super().stop()
        end(running)


def make_root(root: Path, home: Path) -> None:
    """A board's root folder; `home` is root's, a path on the board."""
    for folder in ("bin", "sbin", "etc", "proc", "dev", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # dropbear reads no keys where others might have written them
    assert BUSYBOX is not None
    assert DROPBEAR is not None
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    shutil.copy(DROPBEAR, root / "sbin" / "dropbear")
    needs_cpp = Path(sysconfig.get_path("platlib")) / "ai_edge_litert" / "libLiteRt.so"
    for library in libraries(Path(DROPBEAR)) | libraries(needs_cpp):
        there = root / library.relative_to("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, there)
    (root / "etc" / "passwd").write_text(f"root:x:0:0:root:{home}:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")


def libraries(program: Path) -> set[Path]:
    """The shared libraries that a program or library needs, and what loads them."""
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    return {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(", told.stdout, re.MULTILINE)}
