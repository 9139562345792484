"""Compresses the benchmark's models with edgekit, and puts the results beside TF-MOT's by hand.

    python tools/compress/bench.py [FOLDER] [--only PATTERN] [--jobs N] [--check] [--markdown FILE]

PATTERN is matched with names like prune/keras/lenet/glyphs. FOLDER (build/compress) holds what
train.py and by_hand.py leave there; they are run first where they were not. Each recipe is one
`edgekit convert`; what came of it is FOLDER/edgekit/RECIPE-MODEL-SET-FRAMEWORK.json, and what is
there is not made again. --jobs makes so many models at the same time, each on a core of its own:
two trainings that share two cores wait for each other. --check (CI) takes one model of digits.

Every artifact is judged by measure.py, the same for all. Speed is a ratio: the compressed file and
the one it is compared with run in alternating blocks in one process, one thread.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import queue
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from tools.compress import data, measure, train  # noqa: E402 - found through the line above

PRUNE = '[[passes]]\npass = "prune"\nsparsity = 0.8\nepochs = {epochs}\n'
CLUSTER = '[[passes]]\npass = "cluster"\nclusters = 16\n'
QAT = '[[passes]]\npass = "qat"\n'
# The passes of recipes/smallest.toml with less training, most of which goes into pruning.
PCQAT = (
    '[[passes]]\npass = "prune"\nsparsity = 0.85\nepochs = {epochs}\n'
    '[[passes]]\npass = "cluster"\nclusters = 16\nepochs = 1\n'
    '[[passes]]\npass = "qat"\nepochs = 2\n'
)
SHRINK = '[[passes]]\npass = "shrink"\nremove = 0.5\n'
LOW_RANK = '[[passes]]\npass = "low-rank"\nenergy = 0.9\n'
DISTILL = "[training.distill]\ntemperature = 4\nweight = 0.7\n"
# For the zipped size of nets with few weights to spare, whatever it takes to train: see TABLE.md.
SHORT_SCALES = '[quantize]\nscales = "short"\n'
SMALLEST = {
    # Each channel costs its depthwise kernel, two scales and two biases, which zip badly.
    "ds_cnn": '[[passes]]\npass = "shrink"\nremove = 0.4\nepochs = 8\n'
    '[[passes]]\npass = "prune"\nsparsity = 0.81\nepochs = 40\n'
    "[passes.layers]\n{first} = 0.5\n{last} = 0.8\n"
    '[[passes]]\npass = "cluster"\nclusters = 12\ninclude = [{depthwise}]\nepochs = 6\n'
    "learning_rate = 0.001\n"
    '[[passes]]\npass = "qat"\nepochs = 6\nlearning_rate = 0.001\n' + SHORT_SCALES,
    "resnet": '[[passes]]\npass = "prune"\nsparsity = 0.87\nepochs = 40\n'
    '[[passes]]\npass = "cluster"\nclusters = 16\nepochs = 3\n'
    '[[passes]]\npass = "qat"\nepochs = 4\n' + SHORT_SCALES,
}
NAMES = {
    "keras": {"first": "conv2d", "last": "dense", "depthwise": '"depthwise*"'},
    "torch": {"first": "0", "last": "29", "depthwise": '"3", "9", "15", "21"'},
}
# Each: the kind of numbers, its passes, whether the whole model teaches.
RECIPES: dict[str, tuple[str, str, bool]] = {
    "float32": ("none", "", False),
    "float16": ("float16", "", False),
    "dynamic": ("dynamic-int8", "", False),
    "int4": ("dynamic-int4", "", False),
    "int16x8": ("int16x8", "", False),
    "int8": ("int8", "", False),
    "prune": ("int8", PRUNE, False),
    "cluster": ("int8", CLUSTER, False),
    "qat": ("int8", QAT, False),
    "low-rank": ("none", LOW_RANK, False),
    "shrink-float": ("none", SHRINK, True),
    "shrink-distilled": ("int8", SHRINK, True),
    "pcqat": ("int8", PCQAT, False),
    "smallest": ("int8", "", True),
}
UNTRAINED = tuple(
    name for name, (_, passes, taught) in RECIPES.items() if not passes and not taught
)
# The wide net is what structured pruning is timed on, which wants more than a millisecond; training
# it in every recipe would take as long as all the others together.
WIDE = (*UNTRAINED, "shrink-float", "shrink-distilled")
LEARNING_RATE = {"smallest": 0.004}  # others: 0.002
KEYS = tuple(
    f"{recipe}/{framework}/{model}/{name}"
    for name in reversed(data.SETS)
    for model in train.MODELS
    for framework in train.FRAMEWORKS
    for recipe in (WIDE if model == "resnet_wide" else RECIPES)
    if recipe != "smallest" or model in SMALLEST
)
CHECKED = tuple(f"{recipe}/keras/lenet/digits" for recipe in ("float32", "int8", "pcqat"))
# What a recipe's time is divided by.
FASTER_THAN = {"shrink-float": "float32", "shrink-distilled": "int8", "low-rank": "float32"}
LAYOUT = {"keras": "nhwc", "torch": "nchw"}
BLOCKS = 40  # of each file, in turns
BLOCK_SECONDS = 0.02


def toml(recipe: str, framework: str, model: str, name: str) -> str:
    """The recipe file: as many epochs a pass as half of the float training's, or as it says."""
    numbers, passes, taught = RECIPES[recipe]
    passes = SMALLEST[model] if recipe == "smallest" else passes
    whole = train.EPOCHS[model] * train.TIMES[name]
    passes, epochs = passes.format(epochs=whole, **NAMES[framework]), max(3, whole // 2)
    return (
        f'schema = 1\nname = "{recipe}-bench"\nquantization = "{numbers}"\n{passes}'
        f"[training]\nepochs = {epochs}\nbatch = {train.BATCH}\n"
        f"learning_rate = {LEARNING_RATE.get(recipe, 0.002)}\n"
        + (DISTILL if taught else "")
        + "[budget]\nmax_drop = 100\n"  # the figures are wanted, whatever they are
    )


def make(folder: Path, key: str) -> dict[str, Any]:
    """What came of one recipe; the artifact is FOLDER/edgekit/RECIPE-MODEL-SET-FRAMEWORK.tflite."""
    import edgekit
    from edgekit.core.errors import EdgekitError

    recipe, framework, model, name = key.split("/")
    out = folder / "edgekit"
    out.mkdir(exist_ok=True)
    stem = f"{recipe}-{model}-{name}-{framework}"
    (out / f"{stem}.toml").write_text(toml(recipe, framework, model, name))
    files = {
        split: str(data.path(folder / "data", name, LAYOUT[framework], split))
        for split in data.SPLITS
    }
    source = train.place(folder, framework, model, name)
    torch = framework == "torch"
    started = time.perf_counter()
    try:
        build = edgekit.convert(
            f"torch:tools.compress.torch_models:{model}_{name}" if torch else source,
            weights=source if torch else None,
            board="host",
            variants=[str(out / f"{stem}.toml")],
            train=None if recipe in UNTRAINED else files["train"],
            calibration=files["calibration"],
            evaluate=files["test"],
            output=out / f"{stem}.build",
            replace=True,
        )
    except EdgekitError as exc:
        return {"reason": str(exc)}
    seconds = time.perf_counter() - started
    variant = build.variants[0]
    artifact = build.folder / variant.artifact.files[0].path
    kept = out / f"{stem}.tflite"
    kept.write_bytes(artifact.read_bytes())
    found = measure.measure(kept, Path(files["test"]))
    found |= {
        "seconds": round(seconds, 1),
        "passes": [report.to_json() for report in variant.passes],
    }
    base = FASTER_THAN.get(recipe)
    if base:
        other = out / f"{base}-{model}-{name}-{framework}.tflite"
        found["time"] = ratio(kept, other)
        found["base_ms"] = found["time"].pop("base_ms")
    return found


def ratio(ours: Path, base: Path) -> dict[str, float]:
    """Our time by theirs: the median over pairs of blocks, with its quartiles."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    nets = [Interpreter(model_path=str(path), num_threads=1) for path in (ours, base)]
    for net in nets:
        net.allocate_tensors()
    draw = np.random.default_rng(0)
    for net in nets:
        (given,) = net.get_input_details()
        net.set_tensor(given["index"], draw.random(given["shape"], dtype=np.float32))

    def block(net: Any) -> float:
        count, started, used = 0, time.perf_counter(), time.thread_time()
        while time.perf_counter() - started < BLOCK_SECONDS:
            net.invoke()
            count += 1
        return (time.thread_time() - used) / count

    for net in nets:
        block(net)
    pairs = [
        [block(net) for net in (nets if turn % 2 else nets[::-1])][:: 1 if turn % 2 else -1]
        for turn in range(BLOCKS)
    ]
    ratios = np.array([mine / theirs for mine, theirs in pairs])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    base_ms = 1000 * float(np.median([theirs for _, theirs in pairs]))
    return {"ratio": float(middle), "low": float(low), "high": float(high), "base_ms": base_ms}


def table(folder: Path, keys: list[str]) -> str:
    """Markdown: a row a recipe, TF-MOT's by hand beside those that it has."""
    lines = [
        "| data | model | recipe | accuracy | against float32 | zipped | of float32 | not zero "
        "| time | TF-MOT by hand: accuracy | zipped |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in keys:
        recipe, framework, model, name = key.split("/")
        mine = _read(folder / "edgekit" / f"{recipe}-{model}-{name}-{framework}.json")
        base = _read(folder / "edgekit" / f"float32-{model}-{name}-{framework}.json")
        if mine is None or base is None:
            continue
        first = f"| {name} | {framework}/{model} | {recipe} "
        if "reason" in mine:
            lines.append(f"{first}| {mine['reason'].splitlines()[0]} | | | | | | | |")
            continue
        lost = 100 * (base["right"] - mine["right"]) / mine["samples"]
        hand = None
        if framework == "keras":
            hand = _read(folder / "by_hand" / f"{recipe}-{model}-{name}.json")
        said = "" if hand is None else _accuracy(hand)
        size = "" if hand is None else f"{hand['zipped'] / 1000:.1f} kB"
        timed = (
            f"×{mine['time']['ratio']:.2f} of {mine['base_ms']:.2f} ms" if "time" in mine else ""
        )
        lines.append(
            f"{first}| {_accuracy(mine)} | {-lost + 0.0:+.2f} | {mine['zipped'] / 1000:.1f} kB "
            f"| 1/{base['zipped'] / mine['zipped']:.1f} "
            f"| {100 * mine['nonzeros'] / max(1, mine['weights']):.0f} % "
            f"| {timed} | {said} | {size} |"
        )
    return "\n".join(lines)


def put(path: Path, table: str) -> None:
    """Write the table into a file, in the place of the one there; what is around it stays."""
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    head = table.splitlines()[0]
    first = known.index(head) if head in known else len(known)
    end = first
    while end < len(known) and known[end].startswith("|"):
        end += 1
    text = "\n".join([*known[:first], table, *known[end:]]) + "\n"
    path.write_text(text, encoding="utf-8")


def _accuracy(found: dict[str, Any]) -> str:
    return f"{100 * found['right'] / found['samples']:.2f} %"


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "compress")
    parser.add_argument("--only", action="append", metavar="PATTERN")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="models at the same time")
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="a small part, for CI")
    parser.add_argument("--by-hand", action="store_true", help="TF-MOT's as well")
    parser.add_argument("--markdown", type=Path, help="put the table there, too")
    asked = parser.parse_args()
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    folder = asked.folder.resolve()
    keys = [k for k in KEYS if not asked.only or any(fnmatch.fnmatch(k, p) for p in asked.only)]
    keys = list(CHECKED) if asked.check else keys
    data.write(folder / "data")
    if asked.jobs > 1:
        _side_by_side(folder, keys, asked.jobs, by_hand=asked.by_hand)
    for key in dict.fromkeys(key.partition("/")[2] for key in keys):
        _run("train.py", folder, key)
    parts = [key.partition("/") for key in keys]
    bases = {f"{FASTER_THAN[recipe]}/{rest}" for recipe, _, rest in parts if recipe in FASTER_THAN}
    keys = [key for key in KEYS if key in bases.union(keys)]  # a base stands before what needs it
    for key in keys:
        recipe, framework, model, name = key.split("/")
        kept = folder / "edgekit" / f"{recipe}-{model}-{name}-{framework}.json"
        if not kept.exists():
            found = make(folder, key)
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(found, indent=1) + "\n")
        found = json.loads(kept.read_text())
        said = found.get("reason") or f"{_accuracy(found)}, {found['zipped'] / 1000:.1f} kB zipped"
        print(f"{key}: {said}", flush=True)
        if asked.by_hand and framework == "keras":
            _run("by_hand.py", folder, f"{recipe}/{model}/{name}")
    text = table(folder, keys)
    print(text)
    if asked.markdown:
        put(asked.markdown, text)


def _side_by_side(folder: Path, keys: list[str], jobs: int, *, by_hand: bool) -> None:
    """Each model in a process of its own, so many at a time; what they leave is found again."""
    names = list(dict.fromkeys(key.partition("/")[2] for key in keys))
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    cores = sorted(os.sched_getaffinity(0))
    for index in range(jobs):
        free.put(cores[index % len(cores)])

    def make(name: str) -> None:
        core = free.get()
        own = [key for key in keys if key.partition("/")[2] == name]
        only = [part for key in own for part in ("--only", key)]
        command = [sys.executable, __file__, str(folder), "--core", str(core), *only]
        done = subprocess.run([*command, *(["--by-hand"] if by_hand else [])], cwd=ROOT)
        free.put(core)
        if done.returncode:
            sys.exit(f"{name}: exit status {done.returncode}")

    pool = ThreadPoolExecutor(jobs)
    try:
        list(pool.map(make, names))
    finally:
        pool.shutdown(cancel_futures=True)  # after a failure no other model is begun


def _run(script: str, folder: Path, pattern: str) -> None:
    """Another script of this folder, for one model; what is there it leaves."""
    command = [sys.executable, str(HERE / script), str(folder), "--only", pattern]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode and "there are" not in done.stderr:  # it knows no such recipe
        sys.exit(f"{script} {pattern}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
