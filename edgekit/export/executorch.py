"""ExecuTorch, for phones, boards and microcontrollers: https://docs.pytorch.org/executorch/

    # in a recipe file
    format = "executorch"
    delegate = "xnnpack"          # or another of edgekit.export.delegates
    quantization = "none" | "float16" | "dynamic-int8" | "int8"
    [options]                     # what the delegate's compiler is told

The model is traced once into a program; a calibrated variant quantizes that with the delegate's own
quantizer (PT2E); then the delegate takes what it can, and the rest is left to portable kernels,
which the report names.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.quantize import Quantize
from edgekit.core.recipe import Recipe
from edgekit.export import nms
from edgekit.export.delegates import DELEGATES
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate
from edgekit.export.program import program_step
from edgekit.work.steps import Step

TOOLS = ("executorch", "torch", "torchao")


class ExecuTorchExporter:
    """Makes ``.pte`` files; an `Exporter`."""

    def step(self, model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
        """See `Exporter.step`."""
        nms.check(model, recipe)
        delegate = delegate_of(recipe)
        delegate.check(recipe)
        program = program_step(model)
        needs = {"program": program}
        if recipe.needs_calibration:
            if calibration is None:
                raise PlanError(
                    f"{recipe.name} needs calibration data",
                    hint="give typical inputs with --calibration",
                )
            needs = {"program": _quantized(recipe, delegate, program, calibration)}
        return Step(
            title=f"{recipe.name}: lower to {delegate.title}",
            function="edgekit.export.executorch_lower:lower",
            worker=delegate.worker,
            arguments={"recipe": _asked(recipe)},
            identity={"recipe": _asked(recipe), "delegate": _what(delegate)},
            needs=needs,
            tools=(*TOOLS, *delegate.tools),
        )


def delegate_of(recipe: Recipe) -> ExecuTorchDelegate:
    """What `recipe` names.

    Raises:
        PlanError: ExecuTorch has no such delegate.
    """
    name = f"executorch/{recipe.delegate}"
    known = DELEGATES.names()
    if name not in known:
        ours = [each.partition("/")[2] for each in known if each.startswith("executorch/")]
        raise PlanError(
            f"{recipe.name}: ExecuTorch has no delegate {recipe.delegate!r}; "
            f"it has {', '.join(ours)}"
        )
    found: ExecuTorchDelegate = DELEGATES[name]()
    return found


def _quantized(
    recipe: Recipe, delegate: ExecuTorchDelegate, program: Step, calibration: DataSet
) -> Step:
    """Variants that differ only in their border share it."""
    asked = {**_asked(recipe), "io": "float", "name": "int8"}
    return Step(
        title=f"{recipe.name}: calibrate on {calibration.count} samples",
        function="edgekit.export.executorch_quantize:quantize",
        worker=delegate.worker,
        arguments={"recipe": asked, "samples": calibration.to_json()},
        identity={"recipe": asked, "samples": calibration.digest, "delegate": _what(delegate)},
        needs={"program": program},
        tools=(*TOOLS, *delegate.tools),
    )


def _asked(recipe: Recipe) -> dict[str, object]:
    """What of the recipe decides the file."""
    keys = ("format", "delegate", "options", "quantization", "io")
    whole = recipe.to_json()
    asked = {"name": recipe.variant, **{key: whole[key] for key in keys}}
    return asked if recipe.quantize == Quantize() else {**asked, "quantize": whole["quantize"]}


def _what(delegate: ExecuTorchDelegate) -> list[str]:
    """Digests of the delegate's own file and its base's, which lie beside no step's function, and
    its compiler.
    """
    files = [inspect.getfile(cls) for cls in type(delegate).__mro__[:-1]]
    return [*(sha256_file(Path(file)) for file in files), delegate.compiler()]
