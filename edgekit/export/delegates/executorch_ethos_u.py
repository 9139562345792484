"""Arm Ethos-U in ExecuTorch: NPUs beside Cortex-M cores (U55, U65, U85), by TOSA and Vela.

    # variants
    pte-ethos-u-int8  pte-ethos-u-int8-io

    # in a recipe file
    [options]
    target = "ethos-u55-128"      # ethos-u55-32 … 256, ethos-u65-256|512, ethos-u85-128 … 2048
    system_config = "Ethos_U55_High_End_Embedded"
    memory_mode = "Shared_Sram"

int8-io leaves the conversion from and to real numbers to the application, so that nothing runs on
the Cortex-M; with float at the border two small operators do. Its packages pin other versions than
ours, so they live in an environment of their own (``edgekit toolchain add executorch-ethos-u``):
executorch[ethos-u]==1.5.1, torch==2.13.0.
https://docs.pytorch.org/executorch/stable/backends/arm-ethos-u/arm-ethos-u-overview.html
"""

from __future__ import annotations

from typing import Any, ClassVar

from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate

TOOLCHAIN = "executorch-ethos-u"
# Multiply-adds a cycle that each generation is built with (Vela's --accelerator-config).
TARGETS = {
    "u55": (32, 64, 128, 256),
    "u65": (256, 512),
    "u85": (128, 256, 512, 1024, 2048),
}
# How a stream of blocks for ExecuTorch's driver begins and ends (backends/arm/arm_vela.py there).
VELA_MARK, VELA_END = b"vela_bin_stream", b"vela_end_stream"


class EthosUDelegate(ExecuTorchDelegate):
    """Arm's microNPU."""

    name = "ethos-u"
    title = "Arm Ethos-U"
    backend = "EthosUBackend"
    quantizations = ("int8",)
    requirements = (
        Requirement(
            kind="toolchain", name=TOOLCHAIN, how=f"run: edgekit toolchain add {TOOLCHAIN}"
        ),
    )
    worker = TOOLCHAIN
    integer_io = True
    known_options: ClassVar[dict[str, str]] = {
        "target": "ethos-u55-128 and its like",
        "system_config": "of Vela's configuration file",
        "memory_mode": "of Vela's configuration file",
    }

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        names = [f"ethos-{kind}-{macs}" for kind, sizes in TARGETS.items() for macs in sizes]
        target = recipe.options.get("target", "")
        if target not in names:
            what = f"target = {target!r}" if target else "which Ethos-U is it for?"
            raise PlanError(
                f"{recipe.name}: {what}; possible: {', '.join(names)}",
                hint="take a device profile with one, or give target in [options]",
            )

    def partitioners(self, recipe: Recipe) -> list[Any]:
        from executorch.backends.arm.ethosu import EthosUPartitioner

        return [EthosUPartitioner(_spec(recipe))]

    def quantizer(self, recipe: Recipe) -> Any:
        from executorch.backends.arm.quantizer import (
            EthosUQuantizer,
            get_symmetric_quantization_config,
        )

        return EthosUQuantizer(_spec(recipe)).set_global(get_symmetric_quantization_config())

    def reopened(self, blobs: list[bytes]) -> None:
        for blob in blobs:
            if not blob.startswith(VELA_MARK) or not blob.rstrip(b"\0").endswith(VELA_END):
                raise ConversionError("the Ethos-U part of the file is not a stream of Vela's")


def _spec(recipe: Recipe) -> Any:
    from executorch.backends.arm.ethosu import EthosUCompileSpec

    return EthosUCompileSpec(
        target=recipe.options["target"],
        system_config=recipe.options.get("system_config"),
        memory_mode=recipe.options.get("memory_mode"),
    )
