"""What reading sensors costs: a model's times with and without the sampler beside it.

    python tools/bench_sampler.py [--rounds 60] [--size 2500] [--seconds 0.5]

One process calls the model all the time. In each round it is timed for a while without sensors,
with them read 10 times a second, 100 times a second, and by a command 10 times a second; the order
turns from round to round, so that what else the machine does hits all alike. The sensors are files
and a script (four rails of a made-up INA3221, and a made-up ``vcgencmd``): what a real driver needs
to ask a chip over its bus comes on top.

Prints the ratio of medians and of 99th percentiles to those without sensors (the median of the
rounds' ratios with its 95 % interval, by order statistics, since a shared machine has rounds that
are far off), and how much of a core the sampler and its commands took.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.devices.local import LocalDevice
from edgekit.sensors.watch import SAMPLER, Watch
from tests.sensors.board import PI5, Board, jetson_orin
from tests.tiny_tflite import dense_model

WAYS = {"10 Hz": ("ina3221", 10.0), "100 Hz": ("ina3221", 100.0), "command": ("pi5_pmic", 10.0)}
WITHOUT = "none"


@contextmanager
def sampler(spec: dict[str, Any] | None, cores: list[float]) -> Iterator[None]:
    """It is ready inside the block; how much of a core it took goes into `cores`."""
    if spec is None:
        yield
        return
    with tempfile.TemporaryFile() as lines:
        process = subprocess.Popen(
            [sys.executable, str(SAMPLER)], stdin=subprocess.PIPE, stdout=lines
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
        while not os.fstat(lines.fileno()).st_size:
            time.sleep(0.01)
        yield
        process.stdin.close()
        process.wait()
        lines.seek(0)
        first, *_, last = lines.read().splitlines()
    cost, began = json.loads(last), json.loads(first)["began_ns"]
    spent = cost["cpu_seconds"] + cost["commands_cpu_seconds"]
    cores.append(spent * 1e9 / (cost["ended_ns"] - began))


def timed(invoke: Any, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile in ns."""
    clock = time.perf_counter_ns
    times = []
    end = clock() + int(seconds * 1e9)
    start = 0
    while start < end:
        start = clock()
        invoke()
        times.append(clock() - start)
    median, p99 = np.quantile(times, (0.5, 0.99))
    return float(median), float(p99)


def middle(ratios: list[float]) -> list[float]:
    """Median, and the order statistics that enclose it with 95 % (normal approximation)."""
    ordered = sorted(ratios)
    off = 1.96 * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - off))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + off))
    return [round(x, 4) for x in (float(np.median(ordered)), ordered[low], ordered[high])]


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of reading sensors")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--size", type=int, default=2500, help="inputs and outputs of the model")
    parser.add_argument("--seconds", type=float, default=0.5, help="timed in each way and round")
    options = parser.parse_args()
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, list[tuple[float, float]]] = {way: [] for way in (WITHOUT, *WAYS)}
    cores: dict[str, list[float]] = {way: [] for way in found}
    with tempfile.TemporaryDirectory() as folder:
        board = Board(Path(folder) / "board", jetson_orin())
        board.program("vcgencmd", f"cat <<'E'\n{PI5}E")
        os.environ.update(board.environment)
        specs: dict[str, Any] = {WITHOUT: None}
        with LocalDevice(root=Path(folder) / "store") as device:
            for way, (power, rate) in WAYS.items():
                watch = Watch.open(device, power=power, rate_hz=rate)
                specs[way] = watch.add({})["sensors"]["spec"]
        path = Path(folder) / "model.tflite"
        dense_model(path, inputs=options.size, outputs=options.size)
        model = Interpreter(str(path), num_threads=1)
        model.allocate_tensors()
        gc.disable()
        timed(model.invoke, options.seconds)
        ways = list(found)
        for index in range(options.rounds):
            at = index % len(ways)
            for way in ways[at:] + ways[:at]:
                with sampler(specs[way], cores[way]):
                    found[way].append(timed(model.invoke, options.seconds))
    bare = found[WITHOUT]
    answer: dict[str, Any] = {"median_ms": round(float(np.median([m for m, _ in bare])) / 1e6, 3)}
    for way in WAYS:
        pairs = list(zip(found[way], bare, strict=True))
        answer[way] = {
            "median": middle([a[0] / b[0] for a, b in pairs]),
            "p99": middle([a[1] / b[1] for a, b in pairs]),
            "cores": round(float(np.mean(cores[way])), 4),
        }
    print(json.dumps({**answer, "rounds": options.rounds}))


if __name__ == "__main__":
    main()
