"""How long `edgekit --help` and `import edgekit` take, beside Python itself.

    python tools/bench_startup.py [RUNS]

Wall time of whole processes in milliseconds, medians of ten unless RUNS says otherwise, the three
interleaved in one run so that a noisy machine disturbs all alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import edgekit": [sys.executable, "-c", "import edgekit"],
    "edgekit --help": [str(Path(sys.executable).parent / "edgekit"), "--help"],
}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(1000 * (time.perf_counter() - started))
    for name, values in times.items():
        print(f"{name:<16} {statistics.median(values[1:]):6.1f} ms")  # the first warms the disk


if __name__ == "__main__":
    main()
