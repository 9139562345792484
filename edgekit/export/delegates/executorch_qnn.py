"""Qualcomm's AI Engine Direct (QNN) in ExecuTorch: the Hexagon NPU of Snapdragon chips.

    # variants
    pte-qnn-float16  pte-qnn-int8

    # in a recipe file
    [options]
    soc = "SM8650"                # Snapdragon 8 Gen 3; SM8750 is the 8 Elite

Needs Qualcomm's SDK, which is theirs to hand out:
https://www.qualcomm.com/developer/software/qualcomm-ai-engine-direct-sdk
and what ExecuTorch says of it: https://docs.pytorch.org/executorch/stable/backends-qualcomm.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from edgekit.core.errors import PlanError
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate
from edgekit.work.requirements import sdk_version

VARIABLE = "QNN_SDK_ROOT"
PAGE = "https://www.qualcomm.com/developer/software/qualcomm-ai-engine-direct-sdk"
HOW = f"install Qualcomm's AI Engine Direct SDK ({PAGE}) and set {VARIABLE} to its folder"
LIBRARY = "lib/x86_64-linux-clang/libQnnHtp.so"  # the compiler, for this computer


class QnnDelegate(ExecuTorchDelegate):
    """Qualcomm's NPU."""

    name = "qnn"
    title = "Qualcomm QNN"
    backend = "QnnBackend"
    quantizations = ("float16", "int8")
    requirements = (Requirement(kind="variable", name=VARIABLE, how=HOW),)
    known_options: ClassVar[dict[str, str]] = {"soc": "Qualcomm's number of the chip (SM8650)"}

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        root = os.environ.get(VARIABLE, "")
        if not root:
            raise PlanError(f"{recipe.name}: {VARIABLE} is not set", hint=HOW)
        if not (Path(root) / LIBRARY).is_file():
            raise PlanError(f"{recipe.name}: {VARIABLE}={root!r} holds no {LIBRARY}", hint=HOW)
        if "soc" not in recipe.options:
            raise PlanError(
                f"{recipe.name}: which chip is it for?",
                hint='take a device profile with one, or give soc = "SM8650" in [options]',
            )

    def compiler(self) -> str:
        libraries = f"{Path(LIBRARY).parent}/*.so"
        root = Path(os.environ[VARIABLE])
        return sdk_version(root, said_in="sdk.yaml", compiler=libraries)

    def partitioners(self, recipe: Recipe) -> list[Any]:
        from executorch.backends.qualcomm.partition.qnn_partitioner import QnnPartitioner

        return [QnnPartitioner(self._specs(recipe))]

    def quantizer(self, recipe: Recipe) -> Any:
        from executorch.backends.qualcomm.quantizer.quantizer import QnnQuantizer

        return QnnQuantizer()

    def lowered(self, program: Any, recipe: Recipe) -> Any:
        """Qualcomm's own way: its passes have to run over the program first."""
        from executorch.backends.qualcomm.utils.utils import to_edge_transform_and_lower_to_qnn

        example = tuple(program.example_inputs[0])
        return to_edge_transform_and_lower_to_qnn(program.module(), example, self._specs(recipe))

    def _specs(self, recipe: Recipe) -> Any:
        from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
        from executorch.backends.qualcomm.utils.utils import (
            generate_htp_compiler_spec,
            generate_qnn_executorch_compiler_spec,
        )

        chips = {chip.name for chip in QcomChipset}
        soc = recipe.options["soc"]
        if soc not in chips:
            raise PlanError(f"QNN knows no chip {soc!r}; it knows {', '.join(sorted(chips))}")
        return generate_qnn_executorch_compiler_spec(
            soc_model=getattr(QcomChipset, soc),
            backend_options=generate_htp_compiler_spec(use_fp16=recipe.quantization == "float16"),
        )
