"""Converts every model of the zoo to every format and delegate, and prints what came of it.

    python tools/zoo/run.py [--only PATTERN] [--variants NAME…] [--again] [--markdown FILE]

Each model is one `edgekit.convert`, each accepted artifact that runs here one `edgekit.profile`.
What is done is kept in FOLDER (build/zoo), a JSON file a model, so that a run that was stopped goes
on where it was; conversions themselves come from edgekit's cache. Takes hours for everything. The
results in tools/zoo/found count as done; --again forgets both.

A cell of the table is a number or a reason. Latency is this computer's, one thread; other work on
it shows there.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from tools.zoo.samples import like  # noqa: E402 - found through the line above

MODELS = (
    "mlp", "lenet", "mobilenet_v2", "mobilenet_v3", "resnet18", "efficientnet_b0", "unet",
    "detector", "lstm", "gru", "ds_cnn", "transformer", "vit_tiny", "multi_input",
)  # fmt: skip
KEYS = (
    *(f"{framework}/{name}" for name in MODELS for framework in ("keras", "torch", "onnx")),
    "torch/dynamic_batch",
    "onnx/dynamic_batch",
)
# What people do first with each format; `make zoo-check` (CI) takes these four models.
CHECKED = ("keras/lenet", "torch/ds_cnn", "onnx/multi_input", "torch/lstm")

CPU = (
    "float32", "float16", "dynamic", "int8",
    "pte-float32", "pte-float16", "pte-dynamic", "pte-int8",
    "onnx-float32", "onnx-float16", "onnx-dynamic", "onnx-int8",
)  # fmt: skip
DELEGATED = (
    "gpu-float32", "gpu-float16", "ethos-u-int8-io", "pte-portable-float32", "pte-vulkan-float32",
    "pte-vulkan-float16", "pte-coreml-float16", "pte-coreml-int8", "pte-openvino-float32",
    "pte-openvino-int8", "pte-ethos-u-int8", "onnx-tensorrt-int8",
)  # fmt: skip
SAMPLES = 16
PROFILE = HERE / "everything.toml"
FOUND = HERE / "found"  # results that came with this file


def reference(key: str, folder: Path) -> str:
    """What `edgekit convert` takes for the model."""
    framework, name = key.split("/")
    if framework != "onnx" and name in MODELS:
        return f"{framework}:tools.zoo.{framework}_models:{name}"
    path = folder / "models" / framework / f"{name}.{'onnx' if framework == 'onnx' else 'pt2'}"
    if not path.exists():
        command = [sys.executable, str(HERE / "files.py"), str(path.parent), key]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return str(path)


def data(key: str, folder: Path) -> str:
    """Random samples in the model's shapes, made once. A single input needs no name."""
    import numpy as np

    framework, name = key.split("/")
    several = name == "multi_input"
    path = folder / "data" / f"{framework}-{name}.{'npz' if several else 'npy'}"
    if path.exists():
        return str(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "transformer":
        draw = np.random.default_rng(0)
        np.save(path, draw.integers(0, 100, (SAMPLES, 32), dtype=np.int32))
        return str(path)
    first = framework != "keras"
    samples = like(SAMPLES, _shape(framework, name), seed=9, first=first)
    if several:
        np.savez(path, image=samples, facts=like(SAMPLES, (6,), seed=9, first=first))
    else:
        np.save(path, samples)
    return str(path)


def _shape(framework: str, name: str) -> tuple[int, ...]:
    """Of the first input, without the batch."""
    flat = {"mlp": (64,), "lstm": (20, 16), "gru": (20, 16)}
    if name in flat:
        return flat[name]
    if name == "ds_cnn":
        return (100, 40) if framework == "keras" else (40, 100)
    small = {"lenet": (28, 1), "dynamic_batch": (28, 1), "multi_input": (32, 3)}
    side, channels = {**small, "unet": (128, 3), "detector": (160, 3)}.get(name, (224, 3))
    return (side, side, channels) if framework == "keras" else (channels, side, side)


def convert(key: str, variants: tuple[str, ...], folder: Path, pool: Any) -> dict[str, Any]:
    """What came of each variant: figures, or a reason. `pool` keeps its workers for the next."""
    import edgekit
    from edgekit.core.errors import EdgekitError
    from edgekit.core.measurement import MeasureSettings
    from edgekit.jobs.convert import convert as job
    from edgekit.jobs.plan import Wish, make_plan

    output = folder / "builds" / key.replace("/", "-")
    output.parent.mkdir(parents=True, exist_ok=True)
    model, samples = reference(key, folder), data(key, folder)
    cells = {variant: _impossible(model, variant, samples) for variant in variants}
    possible = tuple(variant for variant, cell in cells.items() if not cell)
    if not possible:
        return cells
    wish = Wish(
        model=model, profile=str(PROFILE), variants=possible, calibration=samples,
        evaluation=samples,
    )  # fmt: skip
    try:
        build = job(make_plan(wish), output, pool=pool)
    except EdgekitError as exc:
        said = {"status": "failed", "reason": exc.message}
        return cells | dict.fromkeys(possible, said)
    for variant in build.variants:
        coverage, delegate = variant.coverage, variant.recipe.delegate
        cells[variant.recipe.name] = {
            "status": variant.verdict.status,
            "reason": "; ".join(variant.verdict.reasons),
            "snr_db": variant.verdict.worst_snr_db,
            "compared": bool(variant.verdict.parity),
            "stand_in": variant.verdict.stand_in,
            "share": coverage.share_of_macs(delegate) if coverage else None,
            "transposes": coverage.layout_changes if coverage else None,
            "bytes": variant.size_bytes or None,
            "seconds": variant.convert_seconds,
            "peak_bytes": variant.convert_peak_bytes,
            "way": variant.artifact.way if variant.artifact else "",
            "notes": list(variant.artifact.notes) if variant.artifact else [],
        }
    settings = MeasureSettings(launches=2, runs=20, min_seconds=0.2, warmup_seconds=0.2, threads=1)
    runnable = [name for name in possible if _runs_here(name, cells[name])]
    for name in runnable:
        try:
            (result,) = edgekit.profile(build, on="local", variants=[name], settings=settings)
            cells[name]["median_ns"] = result.summary.median_ns.value
        except EdgekitError as exc:
            cells[name]["latency_reason"] = str(exc)
    return cells


def _impossible(model: str, variant: str, samples: str) -> dict[str, Any]:
    """Why the variant cannot even be planned here; empty if it can."""
    from edgekit.core.errors import EdgekitError
    from edgekit.jobs.plan import Wish, make_plan

    try:
        make_plan(Wish(model=model, profile=str(PROFILE), variants=[variant], calibration=samples))
    except EdgekitError as exc:
        return {"status": "not here", "reason": exc.message}
    return {}


def _runs_here(name: str, cell: dict[str, Any]) -> bool:
    needs_more = ("gpu-", "pte-openvino")  # a GPU; an environment of its own
    return cell["status"] == "accepted" and not cell["stand_in"] and not name.startswith(needs_more)


def words(cell: dict[str, Any] | None) -> str:
    """The cell as text: figures, or the reason."""
    if cell is None:
        return "not run"
    if cell.get("status") != "accepted":
        return f"{cell.get('status', 'not planned')}: {cell['reason']}"
    snr = "equal" if cell["snr_db"] is None else f"{cell['snr_db']:.0f} dB"
    parts = [snr, f"{cell['bytes'] / 1000:.0f} kB"]
    if cell["share"] is not None:
        parts.append(f"{100 * cell['share']:.0f} %")
    if "median_ns" in cell:
        parts.append(f"{cell['median_ns'] / 1e6:.3g} ms")
    if cell["seconds"] is not None:
        peak = f", {cell['peak_bytes'] / 1e6:.0f} MB" if cell["peak_bytes"] else ""
        parts.append(f"{cell['seconds']:.1f} s{peak}")
    return " · ".join(parts)


def table(found: dict[str, dict[str, Any]], variants: tuple[str, ...]) -> str:
    """Markdown: a row a model and variant, and a count below."""
    lines = [
        "| model | variant | signal to noise · size · delegated · latency · made in |",
        "| --- | --- | --- |",
    ]
    good = asked = 0
    for key, cells in found.items():
        for variant in variants:
            cell = cells.get(variant)
            asked += 1
            good += bool(cell) and cell.get("status") == "accepted"
            text = words(cell).replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {key} | {variant} | {text} |")
    return "\n".join([*lines, "", f"{good} of {asked} cells are figures."])


def _known(name: str, places: Sequence[Path]) -> dict[str, Any]:
    """The cells of one model that files in these folders hold; of equals the last counts."""
    found: dict[str, Any] = {}
    for path in (place / name for place in places):
        if path.exists():
            found |= json.loads(path.read_text(encoding="utf-8"))
    return found


def run(
    keys: list[str], variants: tuple[str, ...], folder: Path, places: Sequence[Path]
) -> dict[str, dict[str, Any]]:
    """Convert what no file in `places` tells of, one model after the other; cells by model."""
    from edgekit.work.pool import Pool

    found: dict[str, dict[str, Any]] = {}
    with Pool() as pool:
        for key in keys:
            kept = folder / "found" / f"{key.replace('/', '-')}.json"
            cells = _known(kept.name, places)
            todo = tuple(variant for variant in variants if variant not in cells)
            if todo:
                print(f"{key}: {len(todo)} variants", file=sys.stderr, flush=True)
                cells |= convert(key, todo, folder, pool)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(cells, indent=1))
            found[key] = cells
            for variant in variants:
                print(f"{key:24} {variant:22} {words(cells.get(variant))}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", action="append", help="keys like torch/* (again for more)")
    parser.add_argument("--variants", nargs="*", help="instead of all")
    parser.add_argument("--cpu", action="store_true", help="only what runs on the CPU")
    parser.add_argument(
        "--check", action="store_true", help="the four models of CI, float32 and int8"
    )
    parser.add_argument("--again", action="store_true", help="forget what was found before")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "zoo")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    options = parser.parse_args()
    variants = tuple(options.variants or (CPU if options.cpu else (*CPU, *DELEGATED)))
    keys = [
        key
        for key in KEYS
        if not options.only or any(fnmatch.fnmatch(key, p) for p in options.only)
    ]
    if options.check:
        keys, variants = (
            list(CHECKED),
            ("float32", "int8", "pte-float32", "pte-int8", "onnx-float32"),
        )
    mine = options.folder / "found"
    places = [] if options.again else [mine] if options.check else [FOUND, mine]
    found = run(keys, variants, options.folder, places)
    text = table(found, variants)
    print(text.splitlines()[-1])
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")
    empty = [key for key, cells in found.items() if any(v not in cells for v in variants)]
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
