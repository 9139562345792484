"""A program → ``model.pte``: the delegate takes what it can, kernels the rest; it is read back.

Measured for MobileNetV2 on two slow cores (see README.md): the verification of the program's own
notation and the patterns that XNNPACK prepares for operators that the model does not have are left
out, the file stays the same to the byte.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.core.description import PORTABLE, Coverage, Node
from edgekit.core.errors import ConversionError
from edgekit.core.files import sha256_file
from edgekit.core.recipe import Recipe
from edgekit.core.tensor import Signature
from edgekit.export import executorch_file
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate
from edgekit.export.executorch_border import integer_border
from edgekit.export.executorch_coverage import coverage
from edgekit.export.executorch_errors import HINT, stage
from edgekit.export.executorch_quantize import check, dynamic, said_spared
from edgekit.export.program import FILE as PROGRAM
from edgekit.export.program import load

FILE = "model.pte"


def lower(out: Path, *, recipe: dict[str, Any], program: str) -> dict[str, Any]:
    """Make ``model.pte``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: a compiler fails, the delegate takes nothing, or ExecuTorch has no kernel
            for an operator that is left to it; names operator and layer.
    """
    import torch

    from edgekit.export.executorch import delegate_of

    warnings.filterwarnings("ignore", category=FutureWarning)
    wish = Recipe.from_json(recipe)
    delegate = delegate_of(wish)
    if wish.needs_calibration:
        # Registers the operators of quantized programs, which another process may have made.
        import torchao.quantization.pt2e  # noqa: F401
    traced, facts = load(Path(program))
    before = Path(program) / PROGRAM
    notes = list(facts.get("notes", ()))
    with stage("quantizing", delegate.title, traced):
        if not wish.needs_calibration:
            traced = delegate.prepared(traced)
        if wish.quantization == "float16":
            traced = delegate.half(traced)
        elif wish.quantization == "dynamic-int8":
            traced, spared = dynamic(traced, delegate.quantizer(wish), wish)
            notes += [
                *said_spared(spared),
                *check(traced, delegate.title, spared=set(spared.values())),
            ]
    with stage("lowering", delegate.title, traced), _shared_origins():
        manager = delegate.lowered(traced, wish)
        names = Signature.from_json(facts["signature"])
        if wish.io == "integer":
            manager, names = integer_border(manager, names)
        covered = coverage(manager, delegate.name, _source(delegate))
    with stage("planning memory", delegate.title, traced), _shared_origins():
        made = delegate.finished(manager, wish)
    path = out / FILE
    with path.open("wb") as file:
        made.write_to_file(file)
    read = executorch_file.read(path)
    _check(read, covered, delegate)
    with stage("opening the file again", delegate.title, traced):
        delegate.reopened(executorch_file.blobs(read))
    result: dict[str, Any] = {
        "files": [FILE],
        "signature": executorch_file.signature(read, names).to_json(),
        "way": f"{facts['way']} → ExecuTorch, {delegate.title}",
        "parent": sha256_file(before),
        "sha256": sha256_file(path),
        "tools": [
            "executorch",
            "torch",
            *(["torchao"] if "int8" in wish.quantization else []),
            *delegate.tools,
        ],
        "coverage": covered.to_json(),
        "notes": notes + _left(covered, delegate) + delegate.notes(wish, covered),
    }
    if not delegate.runs_here:
        if wish.quantization == "dynamic-int8":
            torch.export.save(traced, out / PROGRAM)
        else:
            shutil.copyfile(before, out / PROGRAM)
        what = "quantized program" if "int8" in wish.quantization else "program"
        result["stand_in"] = {
            "file": PROGRAM, "format": "pt2", "what": f"the {what} before lowering",
        }  # fmt: skip
    return result


@contextmanager
def _shared_origins() -> Iterator[None]:
    """Let torch share what it notes of where nodes come from, instead of copying it every time.

    The notes of a node grow with each of some fifty passes, and are never changed once written;
    copying them took a sixth of the whole. The file stays the same to the byte.
    """
    from torch.fx.traceback import NodeSource

    kind: Any = NodeSource
    kind.__deepcopy__ = lambda self, memo: self
    try:
        yield
    finally:
        del kind.__deepcopy__


def _source(delegate: ExecuTorchDelegate) -> str:
    from importlib.metadata import version

    return f"ExecuTorch {version('executorch')}'s compiler for {delegate.title}"


def _check(read: Any, covered: Coverage, delegate: ExecuTorchDelegate) -> None:
    """Raise ConversionError unless the file is what was asked for and a runtime can have it."""
    registered = _registered() if executorch_file.kernels(read) else set()
    missing = [name for name in executorch_file.kernels(read) if name not in registered]
    if missing:
        raise ConversionError(
            f"{delegate.title} and ExecuTorch's portable kernels have no {', '.join(missing)}"
            + _needed_by(missing[0], covered),
            hint=HINT,
        )
    if delegate.backend and delegate.backend not in executorch_file.delegates(read):
        operators = list(dict.fromkeys(node.operator for node in covered.nodes))
        raise ConversionError(
            f"{delegate.title} takes no operator of this model ({', '.join(operators[:6])})",
            hint="pte-portable-float32 runs it on portable kernels, slowly; TFLite may do better",
        )


def _needed_by(kernel: str, covered: Coverage) -> str:
    kind = kernel.partition(".")[0].replace("::", ".")
    layers = [node.layer for node in covered.nodes if node.operator.startswith(kind + ".")]
    where = next(filter(None, layers), "")
    return f", which layer {where} needs" if where else ""


def _registered() -> set[str]:
    """The operators that ExecuTorch's own runtime has kernels for."""
    from executorch.runtime import Runtime

    logging.getLogger("executorch").setLevel(logging.ERROR)
    return set(Runtime.get().operator_registry.operator_names)


def _left(covered: Coverage, delegate: ExecuTorchDelegate) -> list[str]:
    """A sentence about what runs on portable kernels although a delegate was asked for."""
    left = [node for node in covered.nodes if node.where == PORTABLE]
    if not left or not delegate.backend:
        return []
    kinds = dict.fromkeys(node.operator for node in left)
    return [
        f"{len(left)} of {len(covered.nodes)} operators are left to portable kernels: "
        f"{', '.join(_line(kind, left) for kind in kinds)}"
    ]


def _line(kind: str, left: list[Node]) -> str:
    mine = [node for node in left if node.operator == kind]
    layers = list(dict.fromkeys(node.layer for node in mine if node.layer))
    where = f" ({', '.join(layers[:3])}{', …' if len(layers) > 3 else ''})" if layers else ""
    return f"{len(mine)} × {kind}{where}"
