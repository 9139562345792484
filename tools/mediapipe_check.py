"""Whether MediaPipe's own ImageClassifier reads a bundle's models and answers as the bundle does.

    python3 -m venv mp && mp/bin/pip install mediapipe
    .venv/bin/python tools/mediapipe_check.py BUNDLE PICTURE... --mediapipe mp/bin/python

Pictures have the model's own size, so that nobody scales them. mediapipe is 650 MB with what it
needs, and lives in an environment of its own. Exit code 1 where labels or scores differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# MediaPipe normalizes with a multiplication and an addition where edgekit subtracts and divides:
# another last bit, which in a quantized model may be a step of its input.
TOLERANCE, QUANTIZED_TOLERANCE = 1e-5, 1.5 / 256

CLASSIFIER = """
import json, sys
import mediapipe as mp
import numpy as np
from PIL import Image

base = mp.tasks.BaseOptions(model_asset_path=sys.argv[1])
vision = mp.tasks.vision
found = []
with vision.ImageClassifier.create_from_options(vision.ImageClassifierOptions(base)) as model:
    for path in sys.argv[2:]:
        pixels = np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB")))
        picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels)
        (head,) = model.classify(picture).classifications
        found.append({each.category_name: each.score for each in head.categories})
print(json.dumps(found))
"""


def answers(bundle: Path, variant: str, pictures: list[str]) -> list[dict[str, float]]:
    """By the bundle's own module: the score of each label, for each picture."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    (place,) = [
        bundle / file["path"]
        for file in manifest["files"]
        if file["path"].endswith(".py") and file["path"] != "example.py"
    ]
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = []
    with module.Model(bundle, variant) as model:
        for path in pictures:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            (scores,) = model.predict(pixels).values()
            found.append(dict(zip(model.labels, scores.ravel().tolist(), strict=True)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--mediapipe", required=True, metavar="PYTHON")
    asked = parser.parse_args()
    manifest = json.loads((asked.bundle / "manifest.json").read_text())
    bad = False
    for artifact in manifest["artifacts"]:
        said = [note for note in artifact["notes"] if "MediaPipe" in note]
        if not any("reads it as it is" in note for note in said):
            print(f"{artifact['variant']}: not for MediaPipe: {said or 'nothing is said'}")
            continue
        model = str(asked.bundle / artifact["files"][0])
        done = subprocess.run(
            [asked.mediapipe, "-c", CLASSIFIER, model, *asked.pictures],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{artifact['variant']}: MediaPipe ended with {done.returncode}: {done.stderr}")
            bad = True
            continue
        theirs = json.loads(done.stdout.splitlines()[-1])
        ours = answers(asked.bundle, artifact["variant"], asked.pictures)
        worst, order = 0.0, True
        for one, other in zip(ours, theirs, strict=True):
            if one.keys() != other.keys():
                sys.exit(f"{artifact['variant']}: labels {list(one)} and {list(other)}")
            worst = max(worst, *(abs(one[label] - other[label]) for label in one))
            order &= max(one, key=one.__getitem__) == max(other, key=other.__getitem__)
        floats = artifact["recipe"]["quantization"] in ("none", "float16", "original")
        ok = worst <= (TOLERANCE if floats else QUANTIZED_TOLERANCE) and order
        bad |= not ok
        print(
            f"{artifact['variant']}: {len(ours)} pictures, the same labels, the best one "
            f"{'the same' if order else 'ANOTHER'}, scores differ by {worst:.2g} at most: "
            f"{'ok' if ok else 'NOT OK'}"
        )
    sys.exit(bad)


if __name__ == "__main__":
    main()
