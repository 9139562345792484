"""Core ML in ExecuTorch: CPU, GPU and Neural Engine of Apple's devices.

    # variants
    pte-coreml-float16  pte-coreml-float32  pte-coreml-int8

    # in a recipe file
    [options]
    compute_unit = "all"          # "cpu_only" | "cpu_and_gpu" | "cpu_and_ne" | "all"
    deployment_target = "iOS17"   # iOS15 to iOS18, or macOS12 to macOS15

int8 needs iOS 17 or macOS 14, and half a minute more: Core ML's quantizer exports some 400 patterns
before it looks at the model. The model inside is an ML program that Apple's device compiles when
it is first loaded; here it is opened again and checked, not run.
https://docs.pytorch.org/executorch/stable/backends/coreml/coreml-overview.html
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate

UNITS = ("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only")
TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "macOS12", "macOS13", "macOS14", "macOS15")
INTEGER_TARGETS = ("iOS17", "iOS18", "macOS14", "macOS15")


class CoreMLDelegate(ExecuTorchDelegate):
    """Apple's Core ML; lowering works on Linux, too."""

    name = "coreml"
    title = "Core ML"
    backend = "CoreMLBackend"
    quantizations = ("float16", "none", "int8")
    requirements = (
        Requirement(kind="package", name="coremltools", how="pip install 'edgekit[executorch]'"),
    )
    tools = ("coremltools",)
    known_options: ClassVar[dict[str, str]] = {
        "compute_unit": " | ".join(UNITS),
        "deployment_target": " | ".join(TARGETS),
    }

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        unit, target = _unit(recipe), _target(recipe)
        if unit not in UNITS:
            raise PlanError(f"{recipe.name}: compute_unit = {unit!r}; known: {', '.join(UNITS)}")
        allowed = INTEGER_TARGETS if recipe.quantization == "int8" else TARGETS
        if target not in allowed:
            raise PlanError(
                f"{recipe.name}: deployment_target = {target!r}; possible: {', '.join(allowed)}"
            )

    def prepared(self, program: Any) -> Any:
        from edgekit.export.executorch_rewrite import strided

        return strided(program)

    def partitioners(self, recipe: Recipe) -> list[Any]:
        ct = _coremltools()
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        full = recipe.quantization == "none"
        specs = CoreMLBackend.generate_compile_specs(
            compute_precision=ct.precision.FLOAT32 if full else ct.precision.FLOAT16,
            compute_unit=getattr(ct.ComputeUnit, _unit(recipe).upper()),
            minimum_deployment_target=getattr(ct.target, _target(recipe)),
        )
        return [CoreMLPartitioner(compile_specs=specs)]

    def quantizer(self, recipe: Recipe) -> Any:
        import torch

        _coremltools()
        from coremltools.optimize.torch.quantization import (
            LinearQuantizerConfig,
            ModuleLinearQuantizerConfig,
        )
        from executorch.backends.apple.coreml.quantizer import CoreMLQuantizer

        return CoreMLQuantizer(
            LinearQuantizerConfig(
                global_config=ModuleLinearQuantizerConfig(
                    quantization_scheme="symmetric",
                    activation_dtype=torch.quint8,
                    weight_dtype=torch.qint8,
                    weight_per_channel=True,
                )
            )
        )

    def reopened(self, blobs: list[bytes]) -> None:
        for blob in blobs:
            if not operators(blob):
                raise ConversionError("a Core ML program in the file has no operators")


def operators(blob: bytes) -> list[str]:
    """The operators of the ML program inside a blob, in the order of its text.

    The blob is a folder in one piece, of which ``model.mlpackage`` holds the program as a protobuf
    message: https://apple.github.io/coremltools/mlmodel/Format/MIL.html
    """
    _coremltools()
    from coremltools.proto import Model_pb2
    from executorch.backends.apple.coreml.executorchcoreml import unflatten_directory_contents

    with tempfile.TemporaryDirectory() as folder:
        if not unflatten_directory_contents(blob, folder):
            raise ConversionError("the Core ML part of the file is not a folder in one piece")
        (path,) = Path(folder).rglob("*.mlmodel")
        model = Model_pb2.Model.FromString(path.read_bytes())
    return [
        operation.type
        for function in model.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for operation in block.operations
        if operation.type != "const"
    ]


def _coremltools() -> Any:
    """coremltools without TensorFlow, which it loads where it finds it: not beside torch."""
    absent = "tensorflow" not in sys.modules
    if absent:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        import coremltools
    finally:
        if absent:
            del sys.modules["tensorflow"]
    return coremltools


def _unit(recipe: Recipe) -> str:
    return recipe.options.get("compute_unit", "all")


def _target(recipe: Recipe) -> str:
    return recipe.options.get(
        "deployment_target", "iOS17" if recipe.quantization == "int8" else "iOS16"
    )
