"""What a board tells of the memory that a runner may have; both forms of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.local import LocalDevice
from edgekit.measure.memory_limits import memory_facts, parse_facts

KILLED = "its control group may have 64.0 MB and has had 2 of its processes killed for that"


@pytest.mark.parametrize(
    ("own", "files", "said"),
    [
        (  # a limit of a group above
            "0::/user.slice/session-1.scope",
            {
                "cgroup.controllers": "memory pids",
                "user.slice/memory.max": "64000000",
                "user.slice/memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\n",
                "user.slice/session-1.scope/memory.max": "max",
            },
            KILLED,
        ),
        (
            "4:cpu,memory:/box\n0::/",
            {
                "memory/box/memory.limit_in_bytes": "64000000",
                "memory/box/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
            },
            "its control group may have 64.0 MB;",
        ),
        (  # no limit is a very large number in the first form
            "4:memory:/",
            {"memory/memory.limit_in_bytes": "9223372036854771712"},
            ": the board has",
        ),
    ],
)
def test_control_groups(tmp_path: Path, own: str, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    (tmp_path / "own").write_text(own + "\n")
    with LocalDevice(root=tmp_path / "store") as device:
        found = memory_facts(device, str(tmp_path / "groups"), str(tmp_path / "own"))
    assert said in found
    assert "the board has" in found
    assert ("control group" in found) == ("control group" in said)


@given(st.text())
def test_any_text(text: str) -> None:
    parse_facts(text)
