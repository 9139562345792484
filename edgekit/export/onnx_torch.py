"""A program of torch.export → ``.onnx``, by torch's own exporter.

https://docs.pytorch.org/docs/stable/onnx_export.html
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.files import sha256_file
from edgekit.core.tensor import Signature
from edgekit.work.cache import RESULT_FILE

FILE = "model.onnx"
# Taken by ONNX Runtime from 1.14, by TensorRT from 10.0, and by onnx2tf.
OPSET = 18


def export(out: Path, *, program: str) -> dict[str, Any]:
    """Make ``model.onnx``, not simplified yet; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: the exporter does not know an operator; names it and the user's line.
    """
    import torch

    before = json.loads((Path(program) / RESULT_FILE).read_text(encoding="utf-8"))
    wanted = Signature.from_json(before["signature"])
    exported = torch.export.load(Path(program) / before["files"][0])
    try:
        made = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=[spec.name for spec in wanted.inputs],
            output_names=[spec.name for spec in wanted.outputs],
            verbose=False,
        )
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise _explained(exc, exported) from exc
    if made is None:
        raise ConversionError("torch.onnx.export gave nothing")
    try:
        (out / FILE).write_bytes(made.model_proto.SerializeToString())
    except ValueError as exc:  # protobuf: more than 2 GB
        raise ConversionError(
            f"the model does not fit into one ONNX file: {str(exc)[:200]}"
        ) from exc
    return {
        "files": [FILE],
        "signature": wanted.to_json(),
        "way": f"{before['way']} → torch.onnx.export",
        "parent": before["parent"],
        "tools": sorted({*before["tools"], "torch", "onnxscript", "onnx"}),
        "sha256": sha256_file(out / FILE),
    }


_OPERATOR = re.compile(r"(?:op=|<OpOverload\(op=)'(\w+)\.(\w+)'|\b(aten)[.:]+(\w+)")


def _explained(exc: BaseException, program: Any) -> ConversionError:
    """The innermost reason, with the operator and the line of the user's that it came from."""
    reasons = [exc]
    while reasons[-1].__cause__ is not None:
        reasons.append(reasons[-1].__cause__)
    text = " ".join(" ".join(str(each) for each in reversed(reasons)).split())
    found = _OPERATOR.search(text)
    if found is None:
        lines = str(reasons[-1]).strip().splitlines()
        said = lines[0][:250] if lines else type(reasons[-1]).__name__
        return ConversionError(
            f"torch.onnx.export failed: {said}", hint="a .pte takes another way: try a pte variant"
        )
    name = ".".join(part for part in found.groups() if part)
    where = _place(program, name)
    return ConversionError(
        f"torch.onnx.export cannot convert {name}" + (f" ({where})" if where else ""),
        hint="write that part of the model with other operations, or take a pte variant, which "
        "goes another way",
    )


def _place(program: Any, operator: str) -> str:
    """The user's layer and line of the first node with that operator, as far as it is kept."""
    for node in program.graph.nodes:
        if not str(node.target).startswith(operator):
            continue
        layers = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
        lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
        parts = [f"layer {layers[-1]}"] if layers else []
        parts += [f"{Path(lines[-1][0]).name}:{lines[-1][1]}"] if lines else []
        return ", ".join(parts)
    return ""
