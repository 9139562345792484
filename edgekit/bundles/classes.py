"""The Python module of a bundle: ``accessor.py``'s text, then one class for each of its models.

Names come from files that anybody may have made: all of them go into it as literals.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.bundles.manifest import BundledArtifact, Manifest
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import TensorSpec

HERE = Path(__file__).parent
# Modules that this one, the example or a runtime imports, and that it must not stand in for.
TAKEN = {"numpy", "PIL", "ai_edge_litert", "tflite_runtime", "tensorflow", "executorch", "torch"}
TAKEN |= {"onnxruntime", "example", "models", "test", "tests", "accessor"}
OWN = {"Model", "Tensor", "ExecuTorch", "Onnx", "TFLite", "Path", "Any", "Array", "NamedTuple"}
OWN |= {"InputProblem", "ModelProblem", "ByTensorName"}


def module_name(name: str) -> str:
    """What a program imports for the bundle called `name`."""
    text = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60] or "model"
    if text[0].isdigit():
        text = f"model_{text}"
    standard = text in sys.stdlib_module_names or text in {each.lower() for each in TAKEN}
    return f"{text}_model" if standard or keyword.iskeyword(text) else text


def class_names(variants: Sequence[str]) -> dict[str, str]:
    """A class for each variant: ``pte-int8`` is ``PteInt8``."""
    found: dict[str, str] = {}
    for variant in variants:
        words = re.findall(r"[A-Za-z0-9]+", variant)
        text = "".join(word[0].upper() + word[1:] for word in words) or "Variant"
        if text[0].isdigit() or text in OWN or keyword.iskeyword(text):
            text = f"Variant{text}"
        name, number = text, 2
        while name in found.values():
            name, number = f"{text}{number}", number + 1
        found[variant] = name
    return found


def accessor(manifest: Manifest) -> bytes:
    """The module's source."""
    text = (HERE / "accessor.py").read_text(encoding="utf-8")
    names = class_names([artifact.variant for artifact in manifest.artifacts])
    parts = [text.rstrip()]
    parts += [_class(names[a.variant], manifest, a) for a in manifest.artifacts]
    return ("\n\n\n".join(parts) + "\n").encode()


def example(module: str) -> bytes:
    """The source of ``example.py``, which imports `module`."""
    text = (HERE / "example.py").read_text(encoding="utf-8")
    line = "\nfrom accessor import "
    assert text.count(line) == 1
    return text.replace(line, f"\nfrom {module} import ").encode()


def _class(name: str, manifest: Manifest, artifact: BundledArtifact) -> str:
    said = f"{artifact.variant} ({artifact.format}) of {manifest.name} {manifest.version}"
    first, *others = artifact.signature.inputs
    inputs = [_input(first, artifact.preprocessing)]
    inputs += [_input(spec, Preprocessing()) for spec in others]
    outputs = [_output(spec) for spec in artifact.signature.outputs]
    return "\n".join(
        [
            f"class {name}(Model):",
            f"    {f'{said}: {artifact.verdict.status} by verification.'!r}",
            "",
            f"    VARIANT = {artifact.variant!r}",
            *_tensors("INPUTS", inputs),
            *_tensors("OUTPUTS", outputs),
        ]
    )


def _tensors(name: str, rows: Sequence[tuple[object, ...]]) -> list[str]:
    lines = [f"        Tensor({', '.join(map(repr, row))})," for row in rows]
    return [f"    {name} = (", *lines, "    )"]


def _input(spec: TensorSpec, preprocessing: Preprocessing) -> tuple[object, ...]:
    from edgekit.bundles.accessor import PICTURE_OPERATIONS, taken

    operations = preprocessing.to_json()["operations"]
    pictures = any(operation["op"] in PICTURE_OPERATIONS for operation in operations)
    unit = "pixel values, 0 to 255" if pictures else _unit(spec)
    return spec.name, _shape(spec), spec.dtype, taken(spec.to_json(), operations), unit


def _output(spec: TensorSpec) -> tuple[object, ...]:
    given = "float32" if spec.quantization else spec.dtype
    return spec.name, _shape(spec), spec.dtype, f"{given} {spec.sizes}", _unit(spec)


def _unit(spec: TensorSpec) -> str:
    """What is known of it: no model file says metres or degrees."""
    if spec.quantization is not None:
        return "real numbers, as the source model's"
    return "real numbers" if spec.dtype.startswith(("float", "bfloat")) else "whole numbers"


def _shape(spec: TensorSpec) -> tuple[object, ...]:
    ranges = {each.axis: f"{each.least}..{each.largest}" for each in spec.open}
    return tuple(ranges.get(axis, size) for axis, size in enumerate(spec.shape))
