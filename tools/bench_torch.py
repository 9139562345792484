"""PyTorch MobileNetV2 to four TFLite variants and two .pte: one command, or the tools by hand.

    python tools/bench_torch.py [--rounds 3] [--samples 100] [--json FILE]

Each round runs both ways, in alternating order:

- edgekit: one `edgekit convert` with an empty cache, from the start of the process to its end. It
  verifies, too: every artifact is compared with the model and opened by the board's runtime.
- by hand: the scripts of tools/by_hand.py one after the other, a process each: litert-torch;
  ai-edge-quantizer for float16, dynamic and INT8; ExecuTorch for float32; PT2E for INT8, with the
  same calibration samples. No verification.

Printed: wall time, peak memory (as tools/bench_convert.py takes it) and the ratio of each. "work
alone" leaves out what the scripts take to start Python, import and build the model. Where others
use the machine, set OMP_NUM_THREADS=1 (threads that wait for each other crawl then) and look at the
CPU time, of which edgekit needs half or more as wall time on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.bench_convert import _Peak  # noqa: E402

MODEL = "tools.zoo.torch_models:mobilenet_v2"
VARIANTS = ("float32", "float16", "dynamic", "int8", "pte-float32", "pte-int8")
SCRIPTS = ("litert-torch", "quantizer", "executorch", "pt2e")
EVALUATED = 8
OVER_BUDGET = 6  # how `edgekit convert` ends where an artifact of random weights is too noisy


def make_inputs(folder: Path, samples: int) -> None:
    import numpy as np

    draw = np.random.default_rng(0)
    for name, count in (("calibration", samples), ("evaluation", EVALUATED)):
        rows = draw.random((count, 3, 224, 224), dtype=np.float32)
        np.save(folder / f"{name}.npy", rows)


def measured(command: list[str], *, ends: tuple[int, ...] = (0,), **env: str) -> dict[str, Any]:
    """Wall and CPU seconds, peak bytes of the process and its children, and what it printed."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env},
        text=True,
    )
    peak = _Peak(process.pid)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    found = {
        "wall_seconds": wall,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": peak.stop(),
        "said": said,
    }
    if process.returncode not in ends:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{said[-2000:]}")
    return found


def by_edgekit(folder: Path, out: Path) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "edgekit", "convert", MODEL, "--for", "host",
        "-o", str(out / "build"),
        "--calibration", str(folder / "calibration.npy"),
        "--evaluate", str(folder / "evaluation.npy"),
    ]  # fmt: skip
    for variant in VARIANTS:
        command += ["--variant", variant]
    found = measured(command, ends=(0, OVER_BUDGET), EDGEKIT_CACHE=str(out / "cache"))
    build = json.loads((out / "build" / "build.json").read_text())
    found["variants"] = {
        each["recipe"]["name"]: {
            "status": each["verdict"]["status"],
            "bytes": sum(f["size_bytes"] for f in each["artifact"]["files"]),
        }
        for each in build["variants"]
    }
    return found


def by_hand(folder: Path, out: Path) -> dict[str, Any]:
    script = str(ROOT / "tools" / "by_hand.py")
    data = str(folder / "calibration.npy")
    runs = {}
    for tool in SCRIPTS:
        runs[tool] = measured([sys.executable, script, tool, MODEL, data, str(out)])
        runs[tool]["work_seconds"] = json.loads(runs[tool]["said"].splitlines()[-1])["seconds"]
    return {
        "wall_seconds": sum(each["wall_seconds"] for each in runs.values()),
        "work_seconds": sum(each["work_seconds"] for each in runs.values()),
        "cpu_seconds": sum(each["cpu_seconds"] for each in runs.values()),
        "peak_bytes": max(each["peak_bytes"] for each in runs.values()),
        "scripts": {
            tool: {key: each[key] for key in ("wall_seconds", "work_seconds", "cpu_seconds")}
            for tool, each in runs.items()
        },
        "variants": {path.stem: {"bytes": path.stat().st_size} for path in sorted(out.glob("*.*"))},
    }


WAYS = {"edgekit": by_edgekit, "by hand": by_hand}


def report(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    median = statistics.median
    result: dict[str, Any] = {"rounds": rounds}
    for what, key, other in (
        ("wall time, s", "wall_seconds", "wall_seconds"),
        ("  work alone, s", "wall_seconds", "work_seconds"),
        ("CPU time, s", "cpu_seconds", "cpu_seconds"),
        ("peak memory, bytes", "peak_bytes", "peak_bytes"),
    ):
        mine = [each["edgekit"][key] for each in rounds]
        theirs = [each["by hand"][other] for each in rounds]
        ratio = median(a / b for a, b in zip(mine, theirs, strict=True))
        result[f"{what.split(',')[0].strip()} ratio"] = ratio
        print(f"{what:20s} edgekit {median(mine):<12.6g} by hand {median(theirs):<12.6g} "
              f"ratio {ratio:.3f}")  # fmt: skip
    for name, each in rounds[0]["by hand"]["scripts"].items():
        print(f"  {name:14s} {each['wall_seconds']:6.1f} s, work {each['work_seconds']:6.1f} s, "
              f"CPU {each['cpu_seconds']:6.1f} s")  # fmt: skip
    for name, variant in rounds[0]["edgekit"]["variants"].items():
        files = rounds[0]["by hand"]["variants"]
        theirs_bytes = files[name if name in files else f"{name}-io"]["bytes"]
        print(f"  {name:12s} {variant['status']:10s} {variant['bytes']:9d} bytes, "
              f"×{variant['bytes'] / theirs_bytes:.4f}")  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write all figures there")
    wanted = parser.parse_args()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_inputs(folder, wanted.samples)
        for index in range(wanted.rounds):
            order = ["edgekit", "by hand"] if index % 2 else ["by hand", "edgekit"]
            round_ = {}
            for way in order:
                out = folder / f"{way.replace(' ', '-')}-{index}"
                out.mkdir()
                round_[way] = WAYS[way](folder, out)
                print(f"round {index + 1}: {way} {round_[way]['wall_seconds']:.1f} s", flush=True)
            for each in round_.values():
                each.pop("said", None)
            rounds.append(round_)
    result = report(rounds)
    if wanted.json:
        wanted.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
