"""How fast files get to a board: `Device.push` against OpenSSH's own scp, over loopback.

    python tools/bench_push.py [--rounds 5] [--megabytes 50] [--files 500]

A private sshd is started on a free port. In each round one large file, and then many small ones,
are sent by scp and by edgekit, in turns and each time with new content; edgekit's digests are
checked over there, which scp does not do. Prints the ratios of the times (below 1: edgekit is
faster), and how long it takes to find out that everything is there already.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.devices.ssh import SSHDevice
from tests.sshd import SSHServer

SMALL_BYTES = 10_000


def make(folder: Path, count: int, size: int) -> list[tuple[Path, str]]:
    """Files of random content, each with its SHA-256."""
    folder.mkdir(parents=True)
    found = []
    for number in range(count):
        data = os.urandom(size)
        path = folder / f"file{number}"
        path.write_bytes(data)
        found.append((path, hashlib.sha256(data).hexdigest()))
    return found


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description="pushing against scp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--files", type=int, default=500)
    options = parser.parse_args()
    ratios: dict[str, list[float]] = {"large": [], "small": []}
    again: list[float] = []
    with (
        tempfile.TemporaryDirectory() as name,
        contextlib.ExitStack() as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(name)
        server = SSHServer(folder / "sshd", extra=("Subsystem sftp internal-sftp",))  # for scp
        stack.callback(server.stop)
        server.configure(patch)
        server.trust()
        device = stack.enter_context(SSHDevice("ssh://board"))
        for round_ in range(options.rounds):
            for kind, count, size in (
                ("large", 1, options.megabytes * 10**6),
                ("small", options.files, SMALL_BYTES),
            ):
                theirs = make(folder / f"{round_}-{kind}-scp", count, size)
                ours = make(folder / f"{round_}-{kind}-push", count, size)
                target = f"board:{folder}/arrived-{round_}-{kind}"
                command = ["scp", "-q", "-r", "-F", str(server.config), str(theirs[0][0].parent)]
                runs = {
                    "scp": lambda c=command, t=target: subprocess.run([*c, t], check=True),
                    "push": lambda files=ours: device.push_all(files),
                }
                order = list(runs) if round_ % 2 else list(reversed(runs))
                times = {each: seconds(runs[each]) for each in order}
                ratios[kind].append(times["push"] / times["scp"])
                sent = device.pushed_bytes
                again.append(seconds(lambda files=ours: device.push_all(files)))
                assert device.pushed_bytes == sent
                print(f"{kind}: push {times['push']:.3f} s, scp {times['scp']:.3f} s")
    for kind, found in ratios.items():
        print(
            f"{kind}: x{statistics.median(found):.2f} of scp's time "
            f"({min(found):.2f} to {max(found):.2f})"
        )
    print(f"all there already: {statistics.median(again):.3f} s")
    return 0 if max(statistics.median(found) for found in ratios.values()) <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
