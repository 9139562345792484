"""Builds for Android with signatures of every kind: few and many inputs, integers, odd names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.artifact import File
from edgekit.core.build import Build, load_build
from edgekit.core.files import sha256_file
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.tensor import OpenAxis, Quantization, Signature, TensorSpec
from tests.samples import write_build


def spec(name: str, dtype: str, *shape: int, **more: Any) -> TensorSpec:
    return TensorSpec(name=name, shape=(1, *shape), dtype=dtype, **more)


def by(scale: float, zero_point: int) -> Quantization:
    return Quantization(scale=(scale,), zero_point=(zero_point,))


def make_build(
    folder: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    name: str = "net",
    steps: str = "none",
    runs_on: tuple[str, str] = ("tflite", "xnnpack"),
    content: bytes = b"a model",
    labels: tuple[str, ...] = (),
) -> Build:
    """A build with one variant, ``int8``, of this signature."""
    write_build(folder, variants=("int8",), failures=False)
    build = load_build(folder)
    variant = build.variant("int8")
    assert variant.artifact is not None
    path = f"artifacts/net.{'pte' if runs_on[0] == 'executorch' else 'tflite'}"
    (folder / path).write_bytes(content)
    file = File(path=path, size_bytes=len(content), sha256=sha256_file(folder / path))
    artifact = variant.artifact.model_copy(
        update={
            "format": runs_on[0],
            "files": (file,),
            "signature": Signature(inputs=inputs, outputs=outputs),
            "preprocessing": parse_preprocessing(steps),
        }
    )
    recipe = variant.recipe.model_copy(update={"format": runs_on[0], "delegate": runs_on[1]})
    variant = variant.model_copy(update={"artifact": artifact, "recipe": recipe})
    return build.model_copy(update={"name": name, "variants": (variant,), "labels": labels})


IMAGE, SCORES = spec("image", "float32", 8, 8, 3), spec("scores", "float32", 3)
ODD = (
    "class",
    "serving_default_x:0",
    "",
    "a b",
    "a_b",
    "1st",
    "*/ \n\\u000a",
    "ünï",
    "x",
    "x:shape",
)
# What accessors are made for; the keyword arguments of `make_build`.
CASES: dict[str, dict[str, Any]] = {
    "picture": {
        "inputs": (IMAGE,),
        "outputs": (SCORES,),
        "steps": "resize-short-side=9:bilinear,center-crop=8x8,normalize=1:2:3/0.5:7:9",
        "labels": ("cat", 'a "dog"', "ü"),
    },
    "several": {
        "inputs": (
            spec("ids", "int32", 4),
            spec("mask", "bool", 4),
            spec("positions", "int64", 4),
            spec("gain", "float32"),
        ),
        "outputs": (
            spec("chosen", "int32"),
            spec("flags", "bool", 4),
            spec(
                "map",
                "int8",
                2,
                2,
                quantization=Quantization(scale=(0.5, 0.25), zero_point=(1, -1), axis=2),
            ),
            spec("count", "int64", 2),
            spec("raw", "uint8", 2),
        ),
    },
    "integer": {
        "inputs": (spec("image", "int8", 8, 8, 3, quantization=by(1 / 255, -128)),),
        "outputs": (spec("scores", "uint8", 3, quantization=by(1 / 256, 0)),),
        "steps": "resize=8x8:nearest,color=bgr,normalize=0.0/255.0",
    },
    "pixels": {"inputs": (spec("image", "uint8", 8, 8, 3),), "outputs": (SCORES,)},
    "planes": {
        "inputs": (spec("image", "float32", 3, 8, 8),),
        "outputs": (SCORES,),
        "steps": "resize=8x8,cast=float32,layout=CHW,normalize=1:2:3/4:5:6",
        "runs_on": ("executorch", "vulkan"),
    },
    "open": {
        "inputs": (
            spec("tokens", "int64", 128, open=(OpenAxis(axis=1, name="n", least=16, largest=128),)),
        ),
        "outputs": (
            spec("out", "float32", 128, open=(OpenAxis(axis=1, name="n", least=16, largest=128),)),
        ),
        "runs_on": ("executorch", "xnnpack"),
    },
    "odd names": {
        "inputs": tuple(spec(name, "float32", 2) for name in ODD),
        "outputs": tuple(
            spec(name, "float32", 2, 2) for name in (*ODD, "best", "top", "labels", "labels_")
        ),
    },
    "Tensor": {"inputs": (spec("fed", "float32", 2),), "outputs": (spec("made", "float32", 2),)},
    "3d; rm -rf ~": {"inputs": (IMAGE,), "outputs": (SCORES,), "runs_on": ("tflite", "gpu")},
}


def build_of(case: str, folder: Path) -> Build:
    return make_build(folder, name=case, **CASES[case])
