"""A small part of `make compress-bench`: one network, pruned, clustered and trained for INT8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_pruned_clustered_network_is_a_tenth_as_large_and_answers_as_well(tmp_path: Path) -> None:
    command = [sys.executable, "tools/compress/bench.py", str(tmp_path / "bench"), "--check"]
    places = {"EDGEKIT_CACHE": str(tmp_path / "cache"), "EDGEKIT_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | places, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "bench" / "edgekit"
    whole, small = (
        json.loads((kept / f"{recipe}-lenet-digits-keras.json").read_text())
        for recipe in ("float32", "pcqat")
    )
    assert whole["zipped"] / small["zipped"] >= 10
    assert 100 * (whole["right"] - small["right"]) / whole["samples"] <= 2
    assert small["nonzeros"] / small["weights"] < 0.25
    assert small["distinct"] <= 16
    assert [each["spec"]["name"] for each in small["passes"]] == ["prune", "cluster", "qat"]
    assert "| digits | keras/lenet | pcqat |" in done.stdout
