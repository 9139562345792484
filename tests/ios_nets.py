"""Builds for iOS: the signatures of `tests.android_nets` with what an iPhone runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgekit.core.build import Build
from tests.android_nets import CASES as ANDROID
from tests.android_nets import by, make_build, spec

CASES: dict[str, dict[str, Any]] = ANDROID | {
    "planes": {**ANDROID["planes"], "runs_on": ("executorch", "coreml")},
    # Fewer labels than scores, so MediaPipe's metadata do not go around what is no .tflite.
    "pixels": {**ANDROID["pixels"], "outputs": (spec("scores", "float32", 4),)},
    # The double of ExecuTorch answers with what it is given.
    "open": {
        **ANDROID["open"],
        "outputs": (ANDROID["open"]["inputs"][0].model_copy(update={"name": "out"}),),
    },
    "chain": {
        "inputs": (spec("image", "int16", 1, 9, 11, quantization=by(0.0001, -3)),),
        "outputs": (spec("scores", "float32", 3),),
        "steps": "resize-short-side=11:nearest,center-crop=9x11,color=gray,layout=CHW,"
        "normalize=0.1307/0.3081",
    },
}


# The variant that each case is in `build_of_all`.
VARIANTS = {case: re.sub("[^A-Za-z0-9]+", "-", case).strip("-") for case in CASES}


def build_of(case: str, folder: Path) -> Build:
    return make_build(folder, name=case, **CASES[case])


def build_of_all(folder: Path, **more: bytes) -> Build:
    """One build with a variant for each case; `more` has contents of files by case."""
    made = []
    for number, case in enumerate(CASES):
        net = {**CASES[case], "content": more.get(case, b"a model")}
        build = make_build(folder / str(number), name="all", **net)
        variant = build.variant("int8")
        assert variant.artifact is not None
        (file,) = variant.artifact.files
        moved = file.model_copy(update={"path": f"artifacts/{number}-{Path(file.path).name}"})
        (folder / "artifacts").mkdir(exist_ok=True)
        (folder / str(number) / file.path).rename(folder / moved.path)
        artifact = variant.artifact.model_copy(update={"files": (moved,)})
        recipe = variant.recipe.model_copy(update={"name": VARIANTS[case]})
        made.append(variant.model_copy(update={"artifact": artifact, "recipe": recipe}))
    labels = CASES["picture"]["labels"]
    return build.model_copy(update={"folder": folder, "variants": tuple(made), "labels": labels})
