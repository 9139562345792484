"""Four models of the zoo, every way in and out; `make zoo` does all of them and takes hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_four_models_have_no_empty_cell_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "tools/zoo/run.py", "--check", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "20 of 20 cells are figures.", done.stdout
    found = [json.loads(path.read_text()) for path in (tmp_path / "found").iterdir()]
    assert len(found) == 4
    for cells in found:
        assert all(cell["median_ns"] > 0 for cell in cells.values())
        assert all(cell["peak_bytes"] > 0 and cell["seconds"] > 0 for cell in cells.values())

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "variants" not in again.stderr  # nothing was converted
    assert again.stdout == done.stdout
