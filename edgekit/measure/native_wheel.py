"""Wheels for boards of another kind than this computer, fetched by pip for their libraries."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from edgekit.core.errors import RuntimeMissingError

DOWNLOAD_SECONDS = 600

# Machines for which there are wheels, with the platform tags that pip shall take.
PLATFORMS = {
    machine: tuple(f"manylinux_2_{glibc}_{machine}" for glibc in (27, 28, 34))
    for machine in ("x86_64", "aarch64")
}


def download_command(package: str, version: str, machine: str) -> list[str]:
    """The pip command that fetches the wheel for `machine` into the current folder."""
    tags = [word for tag in PLATFORMS[machine] for word in ("--platform", tag)]
    return [
        *(sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--no-deps"),
        *tags,
        *("--python-version", "3.11", f"{package}=={version}"),
    ]


def fetched_wheel(package: str, version: str, machine: str, scratch: Path, *, then: str) -> Path:
    """The wheel for `machine`, a key of `PLATFORMS`, in the folder `scratch`.

    Args:
        then: what to do with it by hand, for the hint of an error.

    Raises:
        RuntimeMissingError: pip cannot fetch it.
    """
    command = download_command(package, version, machine)
    try:
        done = subprocess.run(
            [*command, "--dest", str(scratch), "--no-input", "--progress-bar=off"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
        words = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        why = "" if done.returncode == 0 else words[-1].strip()[:300]
    except subprocess.TimeoutExpired:
        why = f"pip took longer than {DOWNLOAD_SECONDS} s"
    wheels = sorted(scratch.glob("*.whl"))
    if why or not wheels:
        raise RuntimeMissingError(
            f"cannot fetch {package} {version} for {machine}: {why or 'pip left no wheel'}",
            hint=f"where there is a network: {shlex.join(command)}; {then}",
        )
    return wheels[0]
