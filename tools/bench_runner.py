"""What measuring costs: edgekit's median against a bare loop over the same runtime.

    python tools/bench_runner.py [--rounds 20] [--inputs 768] [--outputs 768]
    python tools/bench_runner.py --runner native [--model mobilenet-v2]

In each round the same small model is measured twice, each time in a process of its own: by
`edgekit.measure` on this computer as `edgekit profile --on local` does, and by a loop that does
nothing but call the runtime between two looks at the clock. The order changes from round to round,
so that what else the machine does hits both alike. Prints the ratio of the medians with its 95 %
interval (Student's t over the rounds' ratios); exits with 1 unless the ratio is within 5 %, for the
native runner 2 %. On a computer that others use, what a tenth of the calls stays below says more:
the median of calls of some milliseconds then tells how often they were interrupted.

The native runner is held against a loop in C (`bare_loop.c`) over the same libLiteRt.so. Python's
bare loop also runs 100 calls between two looks at the clock, to show what looking costs; a
block's mean holds every interruption, which a median of single calls leaves out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.core.files import sha256_file
from edgekit.core.measurement import MeasureSettings
from edgekit.core.result import Estimate
from edgekit.devices.local import LocalDevice
from edgekit.measure.native_library import library_for
from edgekit.measure.native_program import FLAGS, LIBRARIES, find_compiler
from edgekit.measure.session import measure
from edgekit.measure.stats import estimate, summarize
from edgekit.measure.subject import Subject
from tests.tflite_graphs import mobilenet_v2
from tests.tiny_tflite import dense_model

ALLOWED = {"python": 0.05, "native": 0.02}
SECONDS = 0.5

# Prints times of one call in ns: the median of single calls, what a tenth of them stays below, and
# the median of blocks of 100 divided by 100.
# Inputs as the runner makes them.
BARE = """
import gc, statistics, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(sys.argv[1], num_threads=1)
model.allocate_tensors()
detail = model.get_input_details()[0]
data = np.random.RandomState(0).uniform(0, 1, detail["shape"]).astype(detail["dtype"])
model.set_tensor(detail["index"], data)
invoke, clock, seconds = model.invoke, time.perf_counter_ns, float(sys.argv[2])
gc.disable()
def loop(calls):
    times = []
    end = clock() + int(seconds * 1e9)
    start = 0
    while start < end:
        start = clock()
        for _ in range(calls):
            invoke()
        times.append((clock() - start) / calls)
    return statistics.median(times)
def single():
    times = []
    end = clock() + int(seconds * 1e9)
    start = 0
    while start < end:
        start = clock()
        invoke()
        times.append(clock() - start)
    return statistics.median(times), statistics.quantiles(times, n=10)[0]
loop(100)
print(*single(), loop(100))
"""


def by_edgekit(device: LocalDevice, model: Path, runner: str) -> tuple[float, float]:
    """The median of single calls, and what a tenth of them stays below, in ns."""
    settings = MeasureSettings(launches=1, warmup_seconds=SECONDS, min_seconds=SECONDS)
    subject = Subject(model, sha256_file(model), "none", "bench", "float32")
    taken = measure(device, subject, settings, runner=runner)
    fast = statistics.quantiles(taken.launches[0].samples_ns, n=10)[0]
    return summarize(taken).median_ns.value, fast


def by_python_loop(model: Path) -> list[float]:
    """The median of single calls, what a tenth of them stays below, the median of blocks of 100."""
    return _medians([sys.executable, "-c", BARE, str(model), str(SECONDS)])


def by_c_loop(program: Path, model: Path) -> list[float]:
    """The median of single calls, and what a tenth of them stays below."""
    library = library_for(platform.machine()).path
    return _medians([str(program), str(library), str(model), str(SECONDS)])


def _medians(command: list[str]) -> list[float]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def build_c_loop(folder: Path) -> Path:
    """Built as the native runner is."""
    compiler, program = find_compiler(platform.machine()), folder / "bare_loop"
    source = Path(__file__).with_name("bare_loop.c")
    words = [*FLAGS, "-D_GNU_SOURCE", "-o", str(program), str(source), *LIBRARIES]
    subprocess.run([*compiler.command, *words], check=True)
    return program


def ratio(ours: Sequence[float], bare: Sequence[float]) -> Estimate:
    return estimate([a / b for a, b in zip(ours, bare, strict=True)])


def main() -> int:
    parser = argparse.ArgumentParser(description="the cost of measuring")
    parser.add_argument("--runner", choices=sorted(ALLOWED), default="python")
    parser.add_argument("--model", choices=["dense", "mobilenet-v2"], default="dense")
    parser.add_argument("--size", type=int, default=224, help="of MobileNetV2's images")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=768)
    parser.add_argument("--outputs", type=int, default=768)
    options = parser.parse_args()
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    blocks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.tflite"
        if options.model == "dense":
            dense_model(model, inputs=options.inputs, outputs=options.outputs)
        else:
            mobilenet_v2(model, options.size)
        loop: Callable[[Path], list[float]] = by_python_loop
        if options.runner == "native":
            loop = partial(by_c_loop, build_c_loop(Path(folder)))
        with LocalDevice(root=Path(folder) / "store") as device:
            for index in range(options.rounds):
                if index % 2:
                    ours.append(by_edgekit(device, model, options.runner))
                single, fast, *block = loop(model)
                if not index % 2:
                    ours.append(by_edgekit(device, model, options.runner))
                bare.append((single, fast))
                blocks += block
                in_blocks = f"   in blocks {block[0] / 1e3:7.2f} µs" if block else ""
                mine = ours[-1][0] / 1e3
                print(f"edgekit {mine:7.2f} µs   bare {single / 1e3:7.2f} µs{in_blocks}")
    (medians, tenths), (bare_medians, bare_tenths) = (
        zip(*ours, strict=True),
        zip(*bare, strict=True),
    )
    found, fast_found = ratio(medians, bare_medians), ratio(tenths, bare_tenths)
    told = {
        "runner": options.runner,
        "model": options.model,
        "edgekit_us": round(statistics.mean(medians) / 1e3, 2),
        "bare_us": round(statistics.mean(bare_medians) / 1e3, 2),
        "ratio": round(found.value, 4),
        "interval_95": [round(found.low or 0, 4), round(found.high or 0, 4)],
        "ratio_of_tenths": round(fast_found.value, 4),
        "interval_95_of_tenths": [round(fast_found.low or 0, 4), round(fast_found.high or 0, 4)],
        "rounds": options.rounds,
    }
    if blocks:
        by_block = statistics.median(a / b for a, b in zip(medians, blocks, strict=True))
        told["median_ratio_to_blocks"] = round(by_block, 4)
    print(json.dumps(told))
    return 0 if abs(found.value - 1) <= ALLOWED[options.runner] else 1


if __name__ == "__main__":
    sys.exit(main())
