"""`tools/boards.py`: boards to try by hand, and nothing left of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edgekit.devices.ssh import SSHDevice

ROOT = Path(__file__).parents[2]


def boards(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/boards.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_up_and_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = tmp_path / "lab"
    done = boards("up", str(lab))
    if re.search(r"needs? root$|Debian package", done.stderr.strip()):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert f"export EDGEKIT_SSH_CONFIG={lab}/ssh_config EDGEKIT_BOARDS={lab}/boards.toml" in (
        done.stdout
    )
    servers = json.loads((lab / "servers.json").read_text())
    try:
        monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(lab / "ssh_config"))
        for name in servers:
            with SSHDevice(f"ssh://{name}") as device:
                assert device.run(["echo", name]).stdout == f"{name}\n"
        assert "is there already" in boards("up", str(lab)).stderr
    finally:
        done = boards("down", str(lab))
    assert done.returncode == 0, done.stderr
    assert not lab.exists()
    assert not any(psutil.pid_exists(pid) for pid in servers.values())
    assert "holds no boards" in boards("down", str(lab)).stderr
