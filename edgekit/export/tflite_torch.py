"""A PyTorch module → a float32 ``.tflite`` with litert-torch, under the model's own names.

litert-torch keeps 32 bits: 64-bit inputs and outputs become 32-bit ones, since few runtimes and no
accelerator take more; the result says so. https://github.com/google-ai-edge/litert-torch
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.failures import place
from edgekit.core.model import Model
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_transposes
from edgekit.export.executorch_coverage import layer
from edgekit.export.program import FILE as PROGRAM
from edgekit.export.program import TorchModel, dynamic_shapes, untraceable
from edgekit.export.tflite_float import finished, give_back, name, narrowed
from edgekit.work.cache import RESULT_FILE

WAY = "litert-torch"


def convert(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Make ``model.tflite``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: litert-torch cannot; names the operator and the user's line.
    """
    handle = Model.from_json(model)
    loaded: TorchModel = resolve(handle.loader)(handle)
    return _made(out, loaded.module, tuple(loaded.example), loaded.signature, WAY, handle.digest)


def convert_program(out: Path, *, parent: str, program: str) -> dict[str, Any]:
    """The same from a ``program.pt2``, for models of other frameworks."""
    import torch

    folder = Path(program)
    result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    traced = torch.export.load(folder / PROGRAM)
    args, _ = traced.example_inputs
    way = f"{result['way']} → {WAY}"
    signature = Signature.from_json(result["signature"])
    return _made(out, traced.module(), tuple(args), signature, way, parent)


def _made(
    out: Path, module: Any, example: tuple[Any, ...], wanted: Signature, way: str, parent: str
) -> dict[str, Any]:
    try:
        import litert_torch
    except ImportError as exc:
        raise ConversionError(
            f"litert-torch cannot be imported: {exc}", hint="pip install 'edgekit[torch]'"
        ) from exc
    _name_by_layers(module)
    try:
        content = litert_torch.convert(
            module, example, dynamic_shapes=dynamic_shapes(wanted)
        ).model_content()
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise explained(exc) from exc
    tree = flatbuffer.read(content)
    _in_order(tree)
    name(tree, wanted)
    tflite_transposes.fold(tree)
    result = finished(
        out,
        tree,
        wanted,
        way=way,
        parent=parent,
        tools=["litert-torch", "torch"],
        notes=narrowed(tree, wanted),
    )
    del content, tree
    give_back()
    return result


def _name_by_layers(module: Any) -> None:
    """Have litert-torch call tensors by the user's layer, ``features.0/node_conv2d``, as in ONNX.

    It would put the classes of all modules around an operation into its name, our own among them:
    those that hold a graph from elsewhere, or turn an input into the form that the user asks for.
    """
    graphs = [part.graph for part in module.modules() if hasattr(part, "graph")]
    nodes = [node for graph in graphs for node in graph.nodes if node.op == "call_function"]
    layers = [layer(node) for node in nodes]
    for node, known in zip(nodes, layers, strict=True):
        own = f"node_{node.name}" if any(layers) else node.name  # a layer may be called relu, too
        name = f"{known}/{own}" if known else own
        node.meta["nn_module_stack"] = {name: ("", name)}


_NUMBERED = re.compile(r"(?:args|output)_(\d+)$")


def _in_order(tree: Any) -> None:
    """Put the graph's inputs and outputs into the order of the module's own."""
    import numpy as np

    definition, graph = tree.signatureDefs[0], tree.subgraphs[0]
    for listed, attribute in ((definition.inputs, "inputs"), (definition.outputs, "outputs")):
        numbered = {}
        for entry in listed:
            label = entry.name.decode() if isinstance(entry.name, bytes) else entry.name
            found = _NUMBERED.search(label)
            if found is None:
                raise ConversionError(f"litert-torch calls an input or output {label!r}")
            numbered[int(found[1])] = int(entry.tensorIndex)
        if sorted(numbered) == list(range(len(getattr(graph, attribute)))):
            order = [numbered[at] for at in sorted(numbered)]
            setattr(graph, attribute, np.array(order, dtype=np.int32))


_EXECUTING = re.compile(r"While executing .*?target=torch\.ops\.([\w.]+)")
_LOWERED = re.compile(r"([^\s:]+\.py):(\d+):\d+: error: ([^\n]+)")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\n\s*([^\n]*)')


def explained(exc: Exception) -> ConversionError:
    """litert-torch's words as one line: the operator, and the user's line that it came from."""
    text = str(exc)
    operator = _EXECUTING.search(text)
    lowered = _LOWERED.search(text)
    if operator is None and lowered is not None:
        file, line, said = lowered.groups()
        return ConversionError(
            f"litert-torch cannot lower the model to TFLite: {said[:200]} "
            f"(at {Path(file).name}:{line})",
            hint="write it with other operations, or give the model as ONNX",
        )
    if operator is None and (
        "torch.export" in text or type(exc).__module__.startswith(("torch._export", "torch.fx"))
    ):
        return untraceable(exc)
    first = re.sub(r"\s+", " ", text.partition("\n")[0])[:200] or type(exc).__name__
    frames = [found for found in _FRAME.findall(text) if "site-packages" not in found[0]]
    at = place(exc)
    if frames:
        file, line, function, code = frames[-1]
        at = f"{Path(file).name}:{line} in {function}: {code.strip()[:80]}"
    where = f" (at {at})" if at else ""
    if operator is None:
        return ConversionError(
            f"litert-torch failed: {type(exc).__name__}: {first}{where}",
            hint="give the model as ONNX, which is converted in another way",
        )
    called = operator[1].removesuffix(".default")
    if first.startswith("Lowering not found"):
        return ConversionError(
            f"litert-torch has no way to do {called}{where}",
            hint="write it with other operations, or give the model as ONNX",
        )
    return ConversionError(
        f"litert-torch failed at {called}: {first}{where}",
        hint="write it with other operations, or give the model as ONNX",
    )
