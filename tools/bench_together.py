"""Two PyTorch trainings side by side, each with its share of the cores, by each with all of them.

    python tools/bench_together.py

Each is a process that trains DS-CNN (tools/compress/torch_models.py) with as many threads as it is
told. Wall seconds until both are done, the ways in turns; "alone" is one training with all cores,
which edgekit gives it where no other runs beside it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STEPS = 60
TURNS = 5
TRAINING = """
import sys, torch
from tools.compress import torch_models
threads, steps = map(int, sys.argv[1:])
torch.set_num_threads(threads)
net = torch_models.build("ds_cnn", 16).to(memory_format=torch.channels_last)
adam = torch.optim.Adam(net.parameters())
x = torch.rand(64, 1, 28, 28).to(memory_format=torch.channels_last)
labels = torch.randint(0, 16, (64,))
def step():
    adam.zero_grad()
    torch.nn.functional.cross_entropy(net(x), labels).backward()
    adam.step()
step()
print("ready", flush=True)
sys.stdin.readline()
for _ in range(steps):
    step()
print("done", flush=True)
"""


def seconds(count: int, threads: int) -> float:
    command = [sys.executable, "-c", TRAINING, str(threads), str(STEPS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    made = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for each in made:
        each.stdout.readline()
    started = time.perf_counter()
    for each in made:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in made:
        each.stdout.readline()
    taken = time.perf_counter() - started
    for each in made:
        each.communicate()
    return taken


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    ways = {
        "alone, all cores": (1, cores),
        "two, half of the cores each": (2, max(1, cores // 2)),
        "two, all cores each": (2, cores),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            found[name].append(seconds(*way))
    for name, taken in found.items():
        print(f"{name}: {statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main()
