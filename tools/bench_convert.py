"""Four TFLite variants of MobileNetV2: edgekit's way against TFLiteConverter's, side by side.

    python tools/bench_convert.py [--rounds 3] [--samples 100] [--json FILE]

Each round runs both ways as fresh processes, in alternating order:

- edgekit: the steps of the four exports through `edgekit.work`, worker processes and an empty
  cache, from the start of the process to its end. No verification.
- TFLiteConverter: one process that loads the same file and converts it four times.

Printed: wall time (of the whole process, and of the four conversions alone), peak memory (resident
bytes summed over the process tree, sampled every 20 ms; pages that processes share count in each,
which is to edgekit's disadvantage), sizes, signatures, and latency of each pair of artifacts, run
alternately, as the median ratio with a 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

VARIANTS = ("float32", "float16", "dynamic", "int8")
SAMPLE_SECONDS = 0.02
LATENCY_PAIRS = 200


# ------------------------------------------------------------------- what the processes do


def make_inputs(folder: Path, samples: int) -> None:
    """The model file and the calibration samples that both ways read."""
    import numpy as np
    from keras import utils
    from keras.applications import MobileNetV2

    utils.set_random_seed(0)
    MobileNetV2(weights=None).save(folder / "mobilenet_v2.keras")
    rows = np.random.default_rng(0).uniform(-1, 1, (samples, 224, 224, 3)).astype(np.float32)
    np.save(folder / "0.npy", rows)


def run_edgekit(folder: Path, samples: int, out: Path) -> dict[str, Any]:
    import shutil

    from edgekit.core.dataset import DataSet
    from edgekit.core.recipe import BUILTIN
    from edgekit.export import EXPORTERS
    from edgekit.sources import SOURCES
    from edgekit.work.cache import Cache
    from edgekit.work.pool import Pool
    from edgekit.work.steps import Done, run_steps

    source, exporter = SOURCES["keras"](), EXPORTERS["tflite"]()
    model = source.open(str(folder / "mobilenet_v2.keras"), trust_code=False, shapes={})
    data = DataSet(
        folder=str(folder), inputs=("",), count=samples, digest="bench", origin="", choice=""
    )
    steps = {name: exporter.step(model, BUILTIN[name], data) for name in VARIANTS}
    inspect = source.inspect(model)
    with Pool() as pool:
        outcomes = run_steps([inspect, *steps.values()], pool=pool, cache=Cache(out / "cache"))
    for name, step in steps.items():
        done = outcomes[step]
        if not isinstance(done, Done):
            raise done
        shutil.copyfile(done.folder / done.result["files"][0], out / f"{name}.tflite")
    return {}


def run_converter(folder: Path, samples: int, out: Path) -> dict[str, Any]:
    import numpy as np
    import tensorflow as tf

    model = tf.keras.models.load_model(folder / "mobilenet_v2.keras", compile=False)
    rows = np.load(folder / "0.npy", mmap_mode="r")[:samples]
    seconds = {}
    for name in VARIANTS:
        started = time.perf_counter()
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if name != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if name == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if name == "int8":
            converter.representative_dataset = lambda: ([np.asarray(row)[None]] for row in rows)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        (out / f"{name}.tflite").write_bytes(converter.convert())
        seconds[name] = time.perf_counter() - started
    return {"convert_seconds": seconds}


# ------------------------------------------------------------------------------ measuring


def measured(way: str, folder: Path, samples: int, out: Path) -> dict[str, Any]:
    """Run one way in a fresh process; wall seconds, peak bytes of the tree, what it says."""
    out.mkdir(parents=True)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, "--do", way, str(folder), str(samples), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
    )
    peak = _Peak(process.pid)
    said, _ = process.communicate()
    wall = time.perf_counter() - started
    peak_bytes = peak.stop()
    if process.returncode:
        raise SystemExit(f"{way} ended with {process.returncode}")
    return {"wall_seconds": wall, "peak_bytes": peak_bytes, **json.loads(said.splitlines()[-1])}


class _Peak(threading.Thread):
    """The largest sum of resident bytes over a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        import psutil

        self._psutil, self._root = psutil, psutil.Process(pid)
        self._ended, self._peak = threading.Event(), 0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            total = 0
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    total += process.memory_info().rss
            except self._psutil.NoSuchProcess:  # it ended between listing and looking
                continue
            self._peak = max(self._peak, total)

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self._peak


def latency_ratio(ours: Path, theirs: Path) -> dict[str, Any]:
    """Median of ours / theirs over alternating pairs of runs, one thread, with its interval."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    runs = []
    for path in (ours, theirs):
        run = Interpreter(model_path=str(path), num_threads=1)
        run.allocate_tensors()
        detail = run.get_input_details()[0]
        rows = np.random.default_rng(0).uniform(-1, 1, detail["shape"]).astype(detail["dtype"])
        run.set_tensor(detail["index"], rows)
        for _ in range(5):
            run.invoke()
        runs.append(run)
    pairs = np.empty((LATENCY_PAIRS, 2))
    for index in range(LATENCY_PAIRS):
        for which in (0, 1) if index % 2 else (1, 0):
            started = time.perf_counter()
            runs[which].invoke()
            pairs[index, which] = time.perf_counter() - started
    ratios = pairs[:, 0] / pairs[:, 1]
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    ours_ms, theirs_ms = (np.median(pairs, axis=0) * 1e3).tolist()
    return {
        "ours_ms": ours_ms,
        "theirs_ms": theirs_ms,
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
    }


def signatures(path: Path) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, Any] = Interpreter(model_path=str(path)).get_signature_list()
    return found


# --------------------------------------------------------------------------------- report


def report(rounds: list[dict[str, Any]], work: Path) -> dict[str, Any]:
    ours = [each["edgekit"] for each in rounds]
    theirs = [each["converter"] for each in rounds]
    walls = [a["wall_seconds"] for a in ours], [b["wall_seconds"] for b in theirs]
    alone = [sum(b["convert_seconds"].values()) for b in theirs]
    peaks = [a["peak_bytes"] for a in ours], [b["peak_bytes"] for b in theirs]
    median = statistics.median
    result: dict[str, Any] = {
        "rounds": rounds,
        "wall_ratio": statistics.median(a / b for a, b in zip(*walls, strict=True)),
        "wall_ratio_to_conversions_alone": statistics.median(
            a / b for a, b in zip(walls[0], alone, strict=True)
        ),
        "peak_ratio": statistics.median(a / b for a, b in zip(*peaks, strict=True)),
        "artifacts": {},
    }
    for what, mine, other, ratio in (
        ("wall time, s", walls[0], walls[1], "wall_ratio"),
        ("  conversions alone, s", walls[0], alone, "wall_ratio_to_conversions_alone"),
        ("peak memory, bytes", *peaks, "peak_ratio"),
    ):
        print(f"{what:23s} edgekit {median(mine):<11.6g} converter {median(other):<11.6g} "
              f"ratio {result[ratio]:.3f}")  # fmt: skip
    for name in VARIANTS:
        pair = [work / f"{way}-0" / f"{name}.tflite" for way in ("edgekit", "converter")]
        sizes = [path.stat().st_size for path in pair]
        speed = latency_ratio(*pair)
        names = [signatures(path) for path in pair]
        result["artifacts"][name] = {
            "bytes": sizes,
            "size_ratio": sizes[0] / sizes[1],
            "latency": speed,
            "signatures": names,
        }
        print(
            f"{name:8s} {sizes[0]:9d} B ×{sizes[0] / sizes[1]:.4f}   "
            f"{speed['ours_ms']:6.2f} ms vs {speed['theirs_ms']:6.2f} ms "
            f"×{speed['ratio']:.3f} [{speed['low']:.3f}, {speed['high']:.3f}]   "
            f"{names[0]} | {names[1]}"
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--do", nargs=4, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.do:
        way, folder, samples, out = wanted.do
        do = {"edgekit": run_edgekit, "converter": run_converter}.get(way)
        made = do(Path(folder), int(samples), Path(out)) if do else {}
        if do is None:
            make_inputs(Path(folder), int(samples))
        print("\n" + json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        measured("inputs", work, wanted.samples, work / "inputs")
        rounds = []
        for index in range(wanted.rounds):
            order = ["edgekit", "converter"] if index % 2 else ["converter", "edgekit"]
            rounds.append(
                {way: measured(way, work, wanted.samples, work / f"{way}-{index}") for way in order}
            )
            print(f"round {index + 1}: " + ", ".join(
                f"{way} {rounds[-1][way]['wall_seconds']:.1f} s" for way in order
            ), flush=True)  # fmt: skip
        result = report(rounds, work)
    if wanted.json:
        wanted.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
