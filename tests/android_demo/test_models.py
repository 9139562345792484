"""What the Android app reads out of model files itself, as runtimes there do not tell it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit_bench.model_executorch import planned_bytes
from tests.tflite_graphs import cnn
from tests.tiny_tflite import dense_model

# A model with two inputs and outputs of two types, by ExecuTorch's own kernels.
MAKE = """
import sys, torch
from executorch.exir import to_edge_transform_and_lower

class Both(torch.nn.Module):
    def forward(self, a, b):
        return a - b, (a * b).to(torch.int64)

given = (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
program = torch.export.export(Both().eval(), given)
with open(sys.argv[1], "wb") as file:
    to_edge_transform_and_lower(program, partitioner=[]).to_executorch().write_to_file(file)
"""


@pytest.mark.slow
def test_integers_have_their_scales(ask: Callable[..., list[Any]], tmp_path: Path) -> None:
    (told,) = ask("describe", dense_model(tmp_path / "int8.tflite", quantized=True))
    assert told["inputs"][0]["dtype"] == "int8"
    assert told["inputs"][0]["scales"] == [1 / 32]
    assert told["inputs"][0]["zero_points"] == [0]


@pytest.mark.slow
def test_a_pte(ask: Callable[..., list[Any]], tmp_path: Path) -> None:
    path = tmp_path / "both.pte"
    subprocess.run([sys.executable, "-c", MAKE, str(path)], check=True, capture_output=True)
    (told,) = ask("describe", path)
    for side in ("inputs", "outputs"):
        assert [each["shape"] for each in told[side]] == [[1, 2, 3], [1, 2, 3]]
        assert [each["name"] for each in told[side]] == [f"{side[:-1]}_0", f"{side[:-1]}_1"]
    assert [each["dtype"] for each in told["outputs"]] == ["float32", "int64"]
    assert told["arena_bytes"] == planned_bytes(str(path), "forward") > 0


def test_damaged_files_are_refused_or_read(ask: Callable[..., list[Any]], tmp_path: Path) -> None:
    whole = cnn(tmp_path / "whole.tflite").read_bytes()
    drawn = random.Random(0)
    files = []
    for number in range(300):
        data = bytearray(whole[: drawn.randrange(8, len(whole))] if number % 3 == 0 else whole)
        for _ in range(drawn.randrange(1, 30)):
            # Offsets and sizes stand near the ends; the middle is weights.
            near = drawn.choice((drawn.randrange(200), -1 - drawn.randrange(1500)))
            data[near % len(data)] = drawn.choice((0, 1, 127, 128, 255, drawn.randrange(256)))
        data[4:8] = b"TFL3"
        files.append(tmp_path / f"{number}.tflite")
        files[-1].write_bytes(data)
    told = ask("describe", tmp_path / "whole.tflite", *files)  # anything thrown ends it with 1
    assert told[0]["outputs"][0]["shape"] == [1, 10]
    assert any("damaged" in each.get("refused", "") for each in told)
