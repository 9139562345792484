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

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from edgekit.core.description import Coverage
from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate
from edgekit.export.delegates.vela_summary import rows, sentences

TOOLCHAIN = "executorch-ethos-u"
# Multiply-adds a cycle that each generation is built with (Vela's --accelerator-config).
TARGETS = {
    "u55": (32, 64, 128, 256),
    "u65": (256, 512),
    "u85": (128, 256, 512, 1024, 2048),
}
# A stream of blocks for ExecuTorch's driver (backends/arm/arm_vela.py there): a header with name,
# length and whether the content lies elsewhere, then the content, filled up to 16 bytes.
BLOCK = struct.Struct("<16sIB11x")
BLOCKS = (
    "vela_bin_stream", "cmd_data", "weight_data", "scratch_size", "inputs", "outputs",
    "vela_end_stream",
)  # fmt: skip
# With it begin the commands: the driver's "Custom Operator Payload 1".
# https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-core-driver
COMMANDS = b"COP1"


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
    tools = ("ethos-u-vela", "tosa-tools")
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

    def prepared(self, program: Any) -> Any:
        """Arm's quantizer knows a mean over a signal, and not the pooling that is the same."""
        import torch

        aten = torch.ops.aten
        for node in program.graph_module.graph.nodes:
            if node.target is aten.adaptive_avg_pool1d.default and list(node.args[1]) == [1]:
                node.target, node.args = aten.mean.dim, (node.args[0], [-1], True)
        program.graph_module.recompile()
        return program

    def lowered(self, program: Any, recipe: Recipe) -> Any:
        self._summaries: list[dict[str, str]] = []
        with _summaries(self._summaries):
            return super().lowered(program, recipe)

    def notes(self, recipe: Recipe, covered: Coverage) -> list[str]:
        from importlib.metadata import version

        tool = f"Vela {version('ethos-u-vela')}"
        return [said for summary in self._summaries for said in sentences(tool, summary)]

    def reopened(self, blobs: list[bytes]) -> None:
        for blob in blobs:
            found = blocks(blob)
            if tuple(found) != BLOCKS or not found["cmd_data"].startswith(COMMANDS):
                raise ConversionError(
                    f"the Ethos-U part of the file is no stream of Vela's commands: it holds "
                    f"{', '.join(found) or 'nothing that is known'}"
                )


def blocks(blob: bytes) -> dict[str, bytes]:
    """The blocks of a delegate's part of a file by name, in their order.

    Empty if a block says that it is longer than what is left: it is something else.
    """
    found: dict[str, bytes] = {}
    at = 0
    while at + BLOCK.size <= len(blob):
        name, length, _ = BLOCK.unpack_from(blob, at)
        at += BLOCK.size
        if at + length > len(blob) or not name.rstrip(b"\0").isascii():
            return {}
        found[name.rstrip(b"\0").decode("ascii")] = blob[at : at + length]
        if name.startswith(BLOCKS[-1].encode()):
            break
        at += -(-length // 16) * 16
    return found


@contextmanager
def _summaries(found: list[dict[str, str]]) -> Iterator[None]:
    """Read what Vela estimates each time that it compiles a piece; its folder is removed after."""
    from executorch.backends.arm import arm_vela

    compile_piece = arm_vela.vela.main

    def main(arguments: list[str]) -> Any:
        code = compile_piece(arguments)
        folder = next(Path(a.partition("=")[2]) for a in arguments if a.startswith("--output-dir="))
        for path in folder.glob("*_summary_*.csv"):
            found.extend(rows(path))
        return code

    arm_vela.vela.main = main
    try:
        yield
    finally:
        arm_vela.vela.main = compile_piece


def _spec(recipe: Recipe) -> Any:
    from executorch.backends.arm.ethosu import EthosUCompileSpec

    return EthosUCompileSpec(
        target=recipe.options["target"],
        system_config=recipe.options.get("system_config"),
        memory_mode=recipe.options.get("memory_mode"),
    )
