"""Google Coral's Edge TPU, through its own compiler.

    # variants
    edgetpu-int8-io  edgetpu-int8

    # in a recipe file; in a device profile under [[accelerators]]
    [options]
    min_runtime_version = "14"        # the oldest runtime that shall open it

The compiler is a program for x86-64 Linux, edgetpu_compiler, which Google gives out:
https://coral.ai/docs/edgetpu/compiler/. It takes 8-bit numbers only, signed or not, and every
operator up to the first one that it has not: https://coral.ai/docs/edgetpu/models-intro/. With
float at the border one QUANTIZE and one DEQUANTIZE stay on the CPU. What is read from its words
was published for version 16; it was not here to be tried.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import ClassVar

from edgekit.core.errors import PlanError
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.tflite_base import TFLiteDelegate
from edgekit.work.steps import Step

PROGRAM = "edgetpu_compiler"
PAGE = "https://coral.ai/docs/edgetpu/compiler/"
VERSION_SECONDS = 30


class EdgeTpuDelegate(TFLiteDelegate):
    """Coral's Edge TPU."""

    name = "edgetpu"
    title = "Coral's Edge TPU"
    quantizations = ("int8", "original")
    requirements = (
        Requirement(kind="program", name=PROGRAM, how=f"install Google's compiler as {PAGE} says"),
    )
    known_options: ClassVar[dict[str, str]] = {
        "min_runtime_version": "the oldest Edge TPU runtime that shall open it, a number"
    }

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        oldest = recipe.options.get("min_runtime_version", "10")
        if not oldest.isdigit():
            raise PlanError(
                f"{recipe.name}: min_runtime_version = {oldest!r} is not a number, as in 14"
            )

    def step(self, made: Step, recipe: Recipe) -> Step:
        """See `TFLiteDelegate.step`."""
        self.check(recipe)
        program = shutil.which(PROGRAM)
        assert program is not None  # the check has seen it
        asked = {"oldest": recipe.options.get("min_runtime_version", "")}
        version = _version(program)
        return Step(
            title=f"{recipe.name}: compile for the Edge TPU",
            function="edgekit.export.delegates.tflite_edgetpu_worker:compile_model",
            worker="plain",
            arguments={**asked, "program": program, "version": version},
            identity={**asked, "version": version},
            needs={"made": made},
            tools=("ai-edge-litert",),
        )


def _version(program: str) -> str:
    """As the program says it ("16.0.384591198").

    Raises:
        PlanError: it does not run, or says something else.
    """
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace",
            timeout=VERSION_SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PlanError(f"{program} does not run: {exc}", hint=f"see {PAGE}") from exc
    found = re.search(r"Edge TPU Compiler version (\S+)", done.stdout + done.stderr)
    if found is None:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise PlanError(
            f"{program} --version does not tell its version: {''.join(said)[:200]}",
            hint=f"see {PAGE}",
        )
    return found[1]
