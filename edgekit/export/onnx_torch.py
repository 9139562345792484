"""A program of torch.export → ``.onnx``, by torch's own exporter.

https://docs.pytorch.org/docs/stable/onnx_export.html. Runs in the worker of torch.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.files import sha256_file
from edgekit.core.tensor import Signature
from edgekit.export import onnx_graph
from edgekit.export.onnx_graph import FILE
from edgekit.work.cache import RESULT_FILE

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
    inputs = [f"{_BORDER}input_{index}" for index in range(len(wanted.inputs))]
    outputs = [f"{_BORDER}output_{index}" for index in range(len(wanted.outputs))]
    try:
        made = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    except (EdgekitError, MemoryError):
        raise
    except ImportError as exc:
        raise ConversionError(
            f"torch.onnx.export needs a package that is not installed: {exc.name or exc}",
            hint="pip install 'edgekit[onnx]'",
        ) from exc
    except Exception as exc:
        raise _explained(exc, exported) from exc
    if made is None:
        raise ConversionError("torch.onnx.export gave nothing")
    proto = made.model_proto
    _name_by_layers(proto)
    specs = (*wanted.inputs, *wanted.outputs)
    name_border(
        proto.graph, {o: spec.name for o, spec in zip([*inputs, *outputs], specs, strict=True)}
    )
    try:
        (out / FILE).write_bytes(proto.SerializeToString())
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


# The exporter calls values by their operators ("add", "relu") and does not look whether an input or
# an output that it is told to name is called like one; so it is given names that nothing has.
_BORDER = "edgekit border "
_SCOPES = "pkg.torch.onnx.name_scopes"


def _name_by_layers(proto: Any) -> None:
    """Put the user's layer in front of names: ``features.0.1/getitem``.

    The exporter keeps it in metadata, which simplifiers drop, beside paths of the user's computer.
    """
    graph = proto.graph
    outside = {value.name for value in (*graph.input, *graph.output)}
    changed: dict[str, str] = {}
    for node in graph.node:
        scopes = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
        path = ast.literal_eval(scopes[0])[:-1] if scopes else []
        layer = next((part for part in reversed(path) if part), "")
        if layer:
            node.name = f"{layer}/{node.name or node.op_type}"
            names = (name for name in node.output if name and name not in outside)
            changed.update({name: f"{layer}/{name}" for name in names})
        del node.metadata_props[:]
    onnx_graph.rename(graph, changed)
    for value in graph.value_info:
        del value.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    del graph.metadata_props[:], proto.metadata_props[:]


def name_border(graph: Any, names: Mapping[str, str]) -> None:
    """Give inputs and outputs their new `names`; what has one of these inside gets another."""
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    used = {value.name for value in values}
    used |= {name for node in onnx_graph.all_nodes(graph) for name in node.output}
    taken = used | set(names.values())
    changed = dict(names)
    for name in sorted(set(names.values()) & used - names.keys()):
        count = 1
        while f"{name}_{count}" in taken:
            count += 1
        changed[name] = f"{name}_{count}"
        taken.add(changed[name])
    onnx_graph.rename(graph, changed)


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
    found = _first(program.graph, operator)
    if found is None:
        try:  # the exporter has taken operators apart before it failed
            found = _first(program.run_decompositions().graph, operator)
        except Exception:  # noqa: BLE001 - the place is an extra; the error is told without it
            return ""
    if found is None:
        return ""
    layers = [path for path, _ in (found.meta.get("nn_module_stack") or {}).values()]
    lines = re.findall(r'File "([^"]+)", line (\d+)', found.meta.get("stack_trace") or "")
    parts = [f"layer {layers[-1]}"] if layers and layers[-1] else []
    parts += [f"{Path(lines[-1][0]).name}:{lines[-1][1]}"] if lines else []
    return ", ".join(parts)


def _first(graph: Any, operator: str) -> Any:
    return next((node for node in graph.nodes if str(node.target).startswith(operator)), None)
