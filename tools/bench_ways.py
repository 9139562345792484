"""Every model of the zoo: edgekit's artifact beside the one that the same tool makes by hand.

    python tools/bench_ways.py [--only PATTERN …] [--again] [--markdown FILE]

The scripts of tools/by_hand.py make the references, from the same model and calibration samples.
For each pair: are the bytes the same; the ratio of sizes; the ratio of latencies, ours to theirs,
one thread, as the median over pairs of blocks that run one right after the other in alternating
order, with a 95 % bootstrap interval. Time is the thread's own CPU time, so that other work on the
machine delays both alike. Half of the processes open our file first, half theirs.

What is done is kept in build/ways, a JSON file a model; a run that was stopped goes on there.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from tools.zoo import run as zoo  # noqa: E402

# By the framework of the model: the tools in the order they run, and what each leaves.
REFERENCES: dict[str, dict[str, tuple[str, ...]]] = {
    "keras": {"tflite-converter": ("float32", "int8")},
    "torch": {
        "litert-torch": ("float32",),
        "quantizer": ("float16", "dynamic", "int8-io"),
        "executorch": ("pte-float32",),
        "pt2e": ("pte-int8",),
    },
    "onnx": {"onnx2tf": ("float32",)},
}
FAST_FIRST = (
    "mlp", "lenet", "multi_input", "ds_cnn", "lstm", "gru", "transformer", "detector", "unet",
    "mobilenet_v3", "mobilenet_v2", "resnet18", "efficientnet_b0", "vit_tiny",
)  # fmt: skip
KEYS = tuple(f"{framework}/{name}" for name in FAST_FIRST for framework in REFERENCES)
PROCESSES = 8
PAIRS = 12
BLOCK_SECONDS = 0.02
MOST_LARGER = 1.01

# Found causes, by (key, variant) patterns, of what is slower or larger than the tool's own file.
_UNROLLED = "unrolled: more operators than the loop by hand, in a fifth of its time"
KNOWN: dict[tuple[str, str], str] = {
    ("onnx/lstm", "float32*"): _UNROLLED,
    ("onnx/gru", "float32*"): _UNROLLED,
    ("onnx/unet", "float32, NHWC"): "its output is an image, which stays channels-first: one "
    "transpose more",
    ("torch/detector", "pte-int8"): "boxes and scores are quantized apart, so their join computes "
    "in float",
    ("torch/ds_cnn", "dynamic"): "depthwise weights have a scale for each channel and compute in "
    "float, so that XNNPACK takes the whole graph",
}


def compare(key: str, folder: Path) -> dict[str, Any]:
    """What came of each variant."""
    framework = key.split("/")[0]
    model, data = zoo.reference(key, folder), zoo.data(key, folder)
    theirs = folder / "by-hand" / key.replace("/", "-")
    wanted = [name for made in REFERENCES[framework].values() for name in made]
    ours = _build(key, model, data, wanted, folder)
    found: dict[str, Any] = {}
    for tool, variants in REFERENCES[framework].items():
        failure = _by_hand(tool, model, data, theirs)
        for variant in variants:
            path = theirs / f"{variant}.{'pte' if variant.startswith('pte') else 'tflite'}"
            if failure or not path.exists():
                found[variant] = {"tool": tool, "reason": f"by hand: {failure or 'no file'}"}
            elif "path" not in ours[variant]:
                found[variant] = {"tool": tool, "reason": ours[variant]["reason"]}
            else:
                found[variant] = {"tool": tool, **_sizes(Path(ours[variant]["path"]), path)}
    _latencies(found)
    if framework == "onnx" and _turned(found["float32"]):
        again = _build(key, model, data, ["float32"], folder, layout="nhwc")["float32"]
        name = "float32, NHWC"
        if "path" in again:
            sizes = _sizes(Path(again["path"]), theirs / "float32.tflite")
            more = {name: {"tool": "onnx2tf", **sizes}}
            _latencies(more)
            found |= more
        else:
            found[name] = {"tool": "onnx2tf", "reason": again["reason"]}
    return found


def _build(
    key: str, model: str, data: str, variants: list[str], folder: Path, layout: str | None = None
) -> dict[str, Any]:
    import edgekit
    from edgekit.core.errors import EdgekitError, RejectedError

    output = folder / "builds" / (key.replace("/", "-") + (f"-{layout}" if layout else ""))
    output.parent.mkdir(parents=True, exist_ok=True)
    # The samples are in the source's layout.
    more: dict[str, Any] = {"layout": layout} if layout else {"calibration": data}
    try:
        edgekit.convert(model, board=str(zoo.PROFILE), variants=variants, output=output, **more)
    except RejectedError:
        pass  # too noisy is no matter here: weights are random
    except EdgekitError as exc:
        if not (output / "build.json").exists():
            return {variant: {"reason": f"edgekit: {exc.message}"} for variant in variants}
    made: dict[str, Any] = {}
    for variant in edgekit.load_build(output).variants:
        if variant.artifact is None:
            made[variant.recipe.name] = {"reason": f"edgekit: {'; '.join(variant.verdict.reasons)}"}
        else:
            made[variant.recipe.name] = {"path": str(output / variant.artifact.files[0].path)}
    return made


def _by_hand(tool: str, model: str, data: str, out: Path) -> str:
    """Run the script; why it failed, if it did."""
    command = [sys.executable, str(HERE / "by_hand.py"), tool, model, data, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return said[-1][:200] if said else f"ended with {done.returncode}"


def _sizes(ours: Path, theirs: Path) -> dict[str, Any]:
    """A pair without its latency."""
    sizes = [ours.stat().st_size, theirs.stat().st_size]
    same = ours.read_bytes() == theirs.read_bytes()
    files = [str(ours), str(theirs)]
    program = same or _program(ours) == _program(theirs)
    return {
        "files": files,
        "same_program": program,
        "bytes": sizes,
        "size": sizes[0] / sizes[1],
        "identical": same,
    }


def _program(path: Path) -> str:
    """A digest of what the runtime computes: operators, their tensors, constants and options.

    Names, descriptions and the order of bytes in the file are not in it.
    """
    import hashlib

    from edgekit.export import executorch_file, flatbuffer

    if path.suffix == ".pte":
        file = executorch_file.read(path)
        said = [hashlib.sha256(blob).hexdigest() for blob in executorch_file.blobs(file)]
        return repr((said, executorch_file.plan(file).chains, executorch_file.kernels(file)))
    tree = flatbuffer.read(path)
    graph = tree.subgraphs[0]

    def tensor(index: int) -> Any:
        if index < 0:
            return None
        each = graph.tensors[index]
        data = tree.buffers[each.buffer].data
        scales = each.quantization.scale if each.quantization is not None else None
        return (
            tuple(each.shape) if each.shape is not None else (),
            each.type,
            None if scales is None else (tuple(scales), tuple(each.quantization.zeroPoint)),
            index if data is None else hashlib.sha256(bytes(data)).hexdigest(),
        )

    # Tensors are numbered by the order in which operators first touch them.
    numbers: dict[int, int] = {}
    operators = []
    for operator in graph.operators:
        touched = [*operator.inputs, *operator.outputs]
        for index in touched:
            numbers.setdefault(int(index), len(numbers))
        code = tree.operatorCodes[operator.opcodeIndex]
        options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
        tensors = []
        for index in touched:
            found = tensor(int(index))
            if found is not None and found[3] == int(index):
                found = (*found[:3], numbers[int(index)])
            tensors.append(found)
        said = sorted((name, str(value)) for name, value in options.items())
        operators.append((code.builtinCode, tensors, said))
    return hashlib.sha256(repr(operators).encode()).hexdigest()


def _latencies(found: dict[str, Any]) -> None:
    """Time all pairs of files that differ, those of one runtime in the same processes."""
    for suffix in (".tflite", ".pte"):
        pairs = {
            name: pair["files"]
            for name, pair in found.items()
            if pair.get("identical") is False and pair["files"][0].endswith(suffix)
        }
        if not pairs:
            continue
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pairs}
        for number in range(PROCESSES):
            order = "swapped" if number % 2 else "straight"
            command = [sys.executable, __file__, "--time", json.dumps(pairs), order]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
            for name, run in json.loads(done.stdout.splitlines()[-1]).items():
                runs[name].append(run)
        for name in pairs:
            refused = next((run["reason"] for run in runs[name] if "reason" in run), "")
            if refused:
                found[name]["reason"] = refused
            else:
                found[name] |= {"shapes": runs[name][0]["shapes"], "latency": _interval(runs[name])}


def _turned(found: dict[str, Any]) -> bool:
    """Whether the two files take their images in different layouts."""
    shapes = found.get("shapes")
    return shapes is not None and shapes[0] != shapes[1]


# --------------------------------------------------------------------------------- latency


def time_pair(ours: Path, theirs: Path, swapped: bool) -> dict[str, Any]:
    """Seconds a run, block by block: rows of [ours, theirs]; or why a file does not run."""
    import numpy as np

    openers = {".tflite": _litert, ".pte": _executorch}
    which = (1, 0) if swapped else (0, 1)
    opened: dict[int, Any] = {}
    for index in which:
        path = (ours, theirs)[index]
        try:
            opened[index] = openers[path.suffix](path)
            opened[index][0]()
        except (RuntimeError, ValueError) as exc:
            said = str(exc).splitlines()[0][:120]
            return {"reason": f"{('ours', 'by hand')[index]} does not run: {said}"}
    once = []
    for index in (0, 1):
        invoke = opened[index][0]
        invoke()
        started = time.thread_time()
        invoke()
        once.append(time.thread_time() - started)
    count = max(1, round(BLOCK_SECONDS / max(once)))
    for index in (0, 1):
        _block(opened[index][0], count)
    table = np.empty((PAIRS, 2))
    for row in range(PAIRS):
        for index in (0, 1) if row % 2 else (1, 0):
            table[row, index] = _block(opened[index][0], count) / count
    return {"seconds": table.tolist(), "shapes": [opened[index][1] for index in (0, 1)]}


def _block(invoke: Any, count: int) -> float:
    started = time.thread_time()
    for _ in range(count):
        invoke()
    return time.thread_time() - started


def _litert(path: Path) -> tuple[Any, Any]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path), num_threads=1)
    run.allocate_tensors()
    details = run.get_input_details()
    draw = np.random.default_rng(0)
    for detail in details:
        values = draw.random(detail["shape"])
        run.set_tensor(detail["index"], values.astype(detail["dtype"]))
    return run.invoke, sorted(detail["shape"].tolist() for detail in details)


def _executorch(path: Path) -> tuple[Any, Any]:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(1)
    program = Runtime.get().load_program(path)
    method = program.load_method("forward")
    described = method.metadata
    kinds = {1: torch.int8, 3: torch.int32, 4: torch.int64, 6: torch.float32}
    inputs = []
    for index in range(described.num_inputs()):
        meta = described.input_tensor_meta(index)
        inputs.append(torch.rand(*meta.sizes()).to(kinds[meta.dtype()]))
    # The method lives in the program's memory.
    return lambda program=program: method.execute(inputs), [list(each.shape) for each in inputs]


def _interval(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The median ratio, and its 95 % interval by drawing processes, and pairs in them, anew.

    Pairs of one process are no more independent than where that process put its tensors: files
    that compute the same differ by up to 1 % in a process, and not over many.
    """
    import numpy as np

    tables = np.stack([np.array(run["seconds"]) for run in runs])  # processes, pairs, files
    ratios = tables[..., 0] / tables[..., 1]
    draw = np.random.default_rng(0)
    medians = []
    for _ in range(2000):
        processes = draw.integers(0, len(ratios), len(ratios))
        pairs = draw.integers(0, ratios.shape[1], ratios.shape)
        medians.append(np.median(ratios[processes[:, None], pairs]))
    low, high = np.percentile(medians, [2.5, 97.5]).tolist()
    ours, theirs = (np.median(tables, axis=(0, 1)) * 1e3).tolist()
    ratio = float(np.median(ratios))
    return {"ours_ms": ours, "theirs_ms": theirs, "ratio": ratio, "low": low, "high": high}


# ---------------------------------------------------------------------------------- report


def verdict(key: str, variant: str, pair: dict[str, Any]) -> str:
    if "reason" in pair:
        return str(pair["reason"])
    if pair["identical"]:
        return "identical"
    slower, larger = pair["latency"]["low"] > 1, pair["size"] > MOST_LARGER
    if not slower and not larger:
        said = "no slower, no larger" if pair["size"] <= 1 else "no slower, at most 1 % larger"
        return f"{said}; same program" if pair.get("same_program") else said
    if slower and not larger and pair.get("same_program"):
        return "slower; same program: by chance, or by where its tensors lie in memory"
    known = cause(key, variant)
    if not known and _turned(pair):
        known = "takes its input as the source does, which costs a transpose at each such border"
    what = " and ".join(["slower"] * slower + ["larger"] * larger)
    return f"{what}: {known or 'cause not known'}"


def cause(key: str, variant: str) -> str:
    for (model, name), known in KNOWN.items():
        if fnmatch.fnmatch(key, model) and fnmatch.fnmatch(variant, name):
            return known
    return ""


def line(key: str, variant: str, pair: dict[str, Any]) -> list[str]:
    size = f"{pair['size']:.4f}" if "size" in pair else ""
    speed = pair.get("latency")
    latency = f"{speed['ratio']:.3f} [{speed['low']:.3f}, {speed['high']:.3f}]" if speed else ""
    return [key, variant, pair["tool"], size, latency, verdict(key, variant, pair)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", action="append", help="keys like torch/* (again for more)")
    parser.add_argument("--again", action="store_true", help="forget what was found before")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "ways")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    parser.add_argument("--time", nargs=2, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.time:
        pairs, order = json.loads(wanted.time[0]), wanted.time[1]
        timed = {
            name: time_pair(Path(ours), Path(theirs), order == "swapped")
            for name, (ours, theirs) in pairs.items()
        }
        print("\n" + json.dumps(timed))
        return 0
    rows, unknown = [], 0
    for key in KEYS:
        if wanted.only and not any(fnmatch.fnmatch(key, each) for each in wanted.only):
            continue
        kept = wanted.folder / "found" / f"{key.replace('/', '-')}.json"
        if kept.exists() and not wanted.again:
            found = json.loads(kept.read_text(encoding="utf-8"))
        else:
            found = compare(key, wanted.folder.resolve())
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        for variant, pair in found.items():
            rows.append(line(key, variant, pair))
            unknown += rows[-1][-1].endswith("cause not known")
            print(" | ".join(rows[-1]), flush=True)
    heads = ["model", "variant", "against", "size", "latency", "verdict"]
    lines = [heads, ["---"] * len(heads), *rows]
    text = "".join(f"| {' | '.join(each.replace('|', '/') for each in row)} |\n" for row in lines)
    print(f"{len(rows)} pairs, {unknown} of them slower or larger for causes not known")
    if wanted.markdown:
        wanted.markdown.write_text(text, encoding="utf-8")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
