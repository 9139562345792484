"""The board of tools/arm64_board.py as a server of the tests: aarch64, a root folder of its own.

The folder of the tests is there under the same path, so that a test may look at what the board has
written. Needs root, and the Debian packages openssh-server, qemu-user-static and mmdebstrap.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.sshd import SSHServer, beside, end

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import arm64_board  # found through the line above

# $1: the board's root, $2: where sshd sees it, $3: what is shared with it; the rest is sshd.
_ENTER = """
root=$1 seen=$2 shared=$3; shift 3
mount --bind "$root" "$seen" && mount -t proc proc "$seen/proc" || exit 1
mount --bind "$root/cpuinfo" "$seen/proc/cpuinfo" && mkdir -p "$seen$shared" || exit 1
mount --bind "$shared" "$seen$shared" && exec "$@"
"""


class Arm64Board(SSHServer):
    """The board; its user is root.

    Args:
        folder: for its keys, home and log.
        shared: a folder above it that the board sees, too.
        root: the board's root folder; made where it is not there.
    """

    def __init__(self, folder: Path, shared: Path, root: Path) -> None:
        self.root, self._shared = root, shared
        # sshd takes a root only where all folders above it are root's.
        self._seen = Path("/run") / f"edgekit-test-board-{os.getpid()}"
        super().__init__(
            folder,
            extra=(f"ChrootDirectory {self._seen}", "Subsystem sftp internal-sftp"),
            environment={"QEMU_CPU": arm64_board.CPU},
        )

    def _refuse_without(self) -> None:
        super()._refuse_without()
        for program, package in (
            ("qemu-aarch64-static", "qemu-user-static"),
            ("mmdebstrap", "mmdebstrap"),
        ):
            if shutil.which(program) is None:
                pytest.skip(f"needs an aarch64 board: Debian package {package}")
        if os.geteuid() != 0:
            pytest.skip("a root folder of a board's own needs root")

    def _command(self, port: int) -> list[str]:
        arm64_board.register_qemu()
        if not self.root.exists():
            part = self.root.with_name(self.root.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            arm64_board.make_root(part)
            part.rename(self.root)
        self._seen.mkdir(exist_ok=True)
        places = map(str, (self.root, self._seen, self._shared))
        command = super()._command(port)
        return ["unshare", "--mount", "sh", "-c", _ENTER, "sh", *places, *command]

    def stop(self) -> None:
        """With its sessions and what they run: they hold the namespace."""
        running = beside(self._process.pid) if self._process is not None else []
        super().stop()
        end(running)
        self._seen.rmdir()
