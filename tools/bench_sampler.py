"""What reading sensors costs: a model's times with and without the sampler beside it.

    python tools/bench_sampler.py [--rounds 10] [--size 2000]

In each round the same model is measured without sensors, with them read 10 times a second, 100
times a second, and by a command 10 times a second, each in a process of its own as `edgekit
profile --on local` does it; the order turns from round to round, so that what else the machine
does hits all alike. The sensors are files and a script (four rails of a made-up INA3221, and a
made-up ``vcgencmd``): what a real driver needs to ask a chip over its bus comes on top.

Prints the ratio of medians and of 99th percentiles to those without sensors, each with its 95 %
interval (Student's t over the rounds' ratios), and the processor time that the sampler took.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.core.files import sha256_file
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.devices.local import LocalDevice
from edgekit.measure.session import measure
from edgekit.measure.stats import estimate, summarize
from edgekit.measure.subject import Subject
from edgekit.sensors.watch import Watch
from tests.sensors.board import PI5, Board, jetson_orin
from tests.tiny_tflite import dense_model

SETTINGS = MeasureSettings(launches=1, warmup_seconds=0.3, min_seconds=2.0)
WAYS = {"10 Hz": ("ina3221", 10.0), "100 Hz": ("ina3221", 100.0), "command": ("pi5_pmic", 10.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of reading sensors")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--size", type=int, default=2000, help="inputs and outputs of the model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        board = Board(Path(folder) / "board", jetson_orin())
        board.program("vcgencmd", f"cat <<'E'\n{PI5}E")
        os.environ.update(board.environment)
        path = dense_model(Path(folder) / "model.tflite", inputs=options.size, outputs=options.size)
        subject = Subject(path, sha256_file(path), "none", "bench", "float32")
        with LocalDevice(root=Path(folder) / "store") as device:
            watches = {
                way: Watch.open(device, power=power, rate_hz=rate)
                for way, (power, rate) in WAYS.items()
            }
            taken: dict[str, list[Measurement]] = {way: [] for way in ("none", *WAYS)}
            for index in range(options.rounds):
                ways = list(taken)
                turned = ways[index % len(ways) :] + ways[: index % len(ways)]
                for way in turned:
                    sensing = watches.get(way)
                    taken[way].append(measure(device, subject, SETTINGS, sensing=sensing))
                print(f"round {index + 1}:", *(_told(way, taken[way][-1]) for way in ways))
    print(json.dumps({way: _compared(taken["none"], taken[way]) for way in WAYS}, indent=2))


def _told(way: str, found: Measurement) -> str:
    return f"{way} {summarize(found).median_ns.value / 1e6:.3f} ms "


def _compared(without: list[Measurement], beside: list[Measurement]) -> dict[str, object]:
    pairs = [(summarize(a), summarize(b)) for a, b in zip(without, beside, strict=True)]
    median = estimate([b.median_ns.value / a.median_ns.value for a, b in pairs])
    p99 = estimate([b.p99_ns.value / a.p99_ns.value for a, b in pairs])
    return {
        "median": [round(x or 0, 4) for x in (median.value, median.low, median.high)],
        "p99": [round(x or 0, 4) for x in (p99.value, p99.low, p99.high)],
        "sampler_cores": round(statistics.mean(map(_cores, beside)), 5),
    }


def _cores(found: Measurement) -> float:
    """Processor time of the sampler and its commands, as a share of the time it ran."""
    sensed = found.launches[0].sensed
    assert sensed is not None
    cost = sensed.cost
    spent = float(cost["cpu_seconds"]) + float(cost["commands_cpu_seconds"])
    turns = float(cost["turns"]) + float(cost["missed"])
    return spent * sensed.rate_hz / turns


if __name__ == "__main__":
    main()
