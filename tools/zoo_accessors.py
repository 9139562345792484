"""Makes the accessors of every model of the zoo, compiles the Java ones and runs the Python ones.

    .venv/bin/python tools/zoo_accessors.py FOLDER [--only PATTERN] [--variants NAME…]

The 42 models of tools/zoo and the small ones of the tests (several inputs and outputs, integers and
booleans, open sizes, names that differ in nothing) become TFLite in float32, ExecuTorch and ONNX by
real conversions, those of tools/zoo int8 at both ends, too: their inputs and outputs matter. Each
artifact is bundled for Linux and for Android. The Java class is compiled against the declarations
of the tests (a JDK is needed); the Python class predicts once from zeros. Prints a line for each
artifact; a bundle that is refused says why. Exit code 1 if one does not compile or run. An hour; a
run that was stopped goes on, as conversions are cached.

    .venv/bin/python tools/zoo_accessors.py FOLDER --signatures tests/bundles/zoo_signatures.json

writes the inputs and outputs of all builds in FOLDER, each that is like no other, for the tests.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgekit.bundles import bundle_android, bundle_linux  # noqa: E402 - through the line above
from edgekit.core.build import Build, load_build  # noqa: E402
from edgekit.core.errors import ConversionError, EdgekitError  # noqa: E402
from edgekit.core.model import ModelOptions  # noqa: E402
from edgekit.jobs.convert import convert  # noqa: E402
from edgekit.jobs.plan import Wish, make_plan  # noqa: E402
from edgekit.work.pool import Pool  # noqa: E402
from tests.java import api_jar  # noqa: E402
from tools.zoo.run import KEYS, PROFILE, data, reference  # noqa: E402

KERAS = (
    "cnn", "dict", "list", "nested", "lstm", "unrolled", "residual", "open", "no_weights",
)  # fmt: skip
TORCH = ("mlp", "cnn", "sound", "lstm", "two_by_two", "masked", "pooled", "named", "attention")
ONNX = ("mlp", "cnn", "two", "open", "sequence", "detector", "softmax", "recurrent", "half")
SHAPES = {"small-keras/open": {"image": (1, 16, 12, 3)}}
DIMS = {
    "small-torch/pooled": {"length": (2, 16)},
    "small-onnx/sequence": {"seq": (2, 16)},
}
VARIANTS = ("float32", "int8-io", "pte-float32", "onnx-float32")

# Run with the bundle as its argument: every class of it predicts from zeros of its inputs' shapes.
PROGRAM = """
import importlib.util, json, pathlib, sys
import numpy as np

sys.dont_write_bytecode = True
folder = pathlib.Path(sys.argv[1])
(place,) = [path for path in folder.glob("*.py") if path.name != "example.py"]
spec = importlib.util.spec_from_file_location(place.stem, place)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
classes = [each for each in vars(module).values()
           if isinstance(each, type) and issubclass(each, module.Model) and each.VARIANT]
assert classes
for kind in classes:
    with kind(folder) as model:
        samples = []
        for spec in kind.INPUTS:
            size = [int(str(n).rpartition("..")[2]) for n in spec.shape[1:]]
            dtype = spec.takes.split()[0]
            samples.append(np.zeros(size, dtype))
        answers = model.predict(*samples)
        assert list(answers) == [spec.name for spec in kind.OUTPUTS], list(answers)
"""


def models(only: str) -> list[str]:
    """The keys that fit the pattern."""
    small = {"small-keras": KERAS, "small-torch": TORCH, "small-onnx": ONNX}
    keys = [*KEYS, *(f"{kind}/{name}" for kind, names in small.items() for name in names)]
    return fnmatch.filter(keys, only)


def model_of(key: str, folder: Path) -> str:
    """What `convert` takes for the model; made where it is a file."""
    kind, name = key.split("/")
    if key in KEYS:
        return reference(key, folder)
    if kind == "small-torch":
        return f"torch:tests.torch_zoo:{name}"
    if kind == "small-onnx":
        from tests.onnx_zoo import write

        (folder / "onnx").mkdir(exist_ok=True)
        return str(write(name, folder / "onnx"))
    path = folder / "keras" / f"{name}.keras"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "tests.keras_zoo", str(path.parent), "keras3"],
            check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return str(path)


def converted(key: str, model: str, wanted: Sequence[str], folder: Path, pool: Pool) -> Build | str:
    """The build with all variants that can be made; a reason where there is none."""
    samples = data(key, folder) if key in KEYS else None
    variants, reason = [], ""
    for variant in wanted:
        try:
            make_plan(wish(key, model, samples, (variant,)))
            variants.append(variant)
        except EdgekitError as exc:
            reason = exc.message
    if not variants:
        return reason
    try:
        plan = make_plan(wish(key, model, samples, tuple(variants)))
        return convert(plan, folder / "builds" / key.replace("/", "-"), pool=pool)
    except EdgekitError as exc:
        return exc.message


def wish(key: str, model: str, samples: str | None, variants: tuple[str, ...]) -> Wish:
    options = ModelOptions(shapes=SHAPES.get(key, {}), dims=DIMS.get(key, {}))
    return Wish(
        model=model, profile=str(PROFILE), variants=variants, calibration=samples,
        evaluation=samples, options=options,
    )  # fmt: skip


def python(build: Build, variant: str, out: Path) -> str:
    bundle_linux(build, out, variants=[variant])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out)], capture_output=True, text=True, check=False
    )
    return "ok" if done.returncode == 0 else f"FAILED {done.stderr.strip().splitlines()[-1]}"


def java(build: Build, variant: str, out: Path, api: Path) -> str:
    try:
        bundle_android(build, out, variants=[variant], classpath=[api])
    except ConversionError as exc:
        return f"FAILED {exc.message}"
    except EdgekitError as exc:
        return f"refused: {exc.message}"
    return "ok"


def signatures(folder: Path) -> list[dict[str, Any]]:
    """Of every artifact in the builds of `folder`; one for all that differ in nothing."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("builds/*/build.json")):
        for variant in load_build(path.parent).variants:
            if variant.artifact is not None:
                made = {
                    "format": variant.artifact.format,
                    "delegate": variant.recipe.delegate,
                    "signature": variant.artifact.signature.to_json(),
                }
                name = f"{path.parent.name} {variant.recipe.name}"
                found.setdefault(json.dumps(made, sort_keys=True), {"model": name, **made})
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=lambda text: Path(text).absolute())
    parser.add_argument("--only", default="*", help="keys like torch/*")
    parser.add_argument("--variants", nargs="*", default=VARIANTS)
    parser.add_argument("--signatures", type=Path, metavar="FILE")
    asked = parser.parse_args()
    folder = asked.folder
    if asked.signatures:
        lines = ",\n".join(json.dumps(each) for each in signatures(folder))
        asked.signatures.write_text(f"[\n{lines}\n]\n")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    api = api_jar(folder)
    with Pool() as pool:
        for key in models(asked.only):
            build = converted(key, model_of(key, folder), asked.variants, folder, pool)
            if isinstance(build, str):
                print(f"{key}: no artifact: {build}", flush=True)
                counts["models without an artifact"] += 1
                continue
            counts["models"] += 1
            for each in build.variants:
                name = each.recipe.name
                if each.artifact is None:
                    print(f"{key} {name}: not made: {each.verdict.reasons[0]}", flush=True)
                    counts["artifacts not made"] += 1
                    continue
                out = folder / "bundles" / f"{key.replace('/', '-')}-{name}"
                out.mkdir(parents=True, exist_ok=True)
                said = {
                    "Python": python(build, name, out / "linux"),
                    "Java": java(build, name, out / "android", api),
                }
                print(f"{key} {name}: {json.dumps(said, ensure_ascii=False)}", flush=True)
                counts["artifacts"] += 1
                for language, text in said.items():
                    counts[f"{language} {text.partition(' ')[0].rstrip(':')}"] += 1
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if any("FAILED" in what for what in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
