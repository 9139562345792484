"""A model → a program of torch.export: its sizes fixed or in ranges, outputs as a tuple in the
signature's order.

Everything that starts from torch (ExecuTorch, ONNX) starts from this file, so a model is traced
once. A PyTorch model is traced itself; the graphs of other frameworks are first rebuilt as modules
from a file that says exactly what is computed: an ONNX model from its own, a Keras model from its
float32 ``.tflite``. https://pytorch.org/docs/stable/export.html
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, Protocol

from edgekit.core.errors import ConversionError, EdgekitError, PlanError
from edgekit.core.failures import is_library, place, size_constraint
from edgekit.core.files import sha256_file, write_json
from edgekit.core.model import Model
from edgekit.core.protocols import LoadedModel
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.export.kept import ranged
from edgekit.work.steps import Step

FILE = "program.pt2"
FACTS = "program.json"  # the step's result beside it, for the steps that start from the program


class TorchModel(LoadedModel, Protocol):
    """A loaded model that is a torch module."""

    @property
    def module(self) -> Any:
        """An ``nn.Module`` in eval mode: the signature's inputs by position, a tuple of outputs."""

    @property
    def example(self) -> tuple[Any, ...]:
        """Tensors of the signature's shapes and types."""


def program_step(model: Model) -> Step:
    """The step that makes ``program.pt2``; its result holds signature, way, parent and tools.

    Raises:
        PlanError: there is no way from this framework.
    """
    needs: dict[str, Step] = {}
    arguments: dict[str, Any] = {"model": model.to_json()}
    identity = model.identity()
    if model.framework == "onnx":
        from edgekit.export.onnx import onnx_step  # which needs this module for a torch model

        needs["graph"] = onnx_step(model)
    elif model.framework in ("keras", "tflite"):
        from edgekit.core.recipe import named_recipe
        from edgekit.export.tflite import TFLiteExporter

        needs["graph"] = TFLiteExporter().step(model, named_recipe("float32"), None)
    elif model.framework != "torch":
        raise PlanError(f"there is no way from a {model.framework} model to a torch program")
    return Step(
        title="torch program: export",
        function="edgekit.export.program:program",
        worker="torch",
        arguments=arguments,
        identity=identity,
        needs=needs,
        tools=("torch",),
    )


def program(out: Path, *, model: dict[str, Any], graph: str | None = None) -> dict[str, Any]:
    """Make ``program.pt2``.

    Raises:
        ConversionError: torch.export cannot trace the model; names its line.
    """
    handle = Model.from_json(model)
    if graph is None:
        loaded: TorchModel = resolve(handle.loader)(handle)
        module, example, signature = loaded.module, tuple(loaded.example), loaded.signature
        way, parent, tools = "torch.export", handle.digest, ["torch"]
    else:
        path, module, signature, way = _translated(Path(graph), handle)
        example = tuple(_example(spec) for spec in signature.inputs)
        parent, tools = sha256_file(path), ["torch"]
    _row_major(module)
    traced = _traced(module, example, dynamic_shapes(signature))
    return save(traced, out, signature=signature.to_json(), way=way, parent=parent, tools=tools)


def save(traced: Any, out: Path, **facts: Any) -> dict[str, Any]:
    """Write ``program.pt2`` and what is known of it; the result of the step."""
    import torch

    torch.export.save(traced, out / FILE)
    result = {"files": [FILE], "sha256": sha256_file(out / FILE), **facts}
    write_json(out / FACTS, result)
    return result


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The ``ExportedProgram`` that a step left in `folder`, and that step's result."""
    import torch

    return torch.export.load(folder / FILE), json.loads((folder / FACTS).read_text("utf-8"))


def _translated(folder: Path, handle: Model) -> tuple[Path, Any, Signature, str]:
    """The file, its graph as a module, its signature, and the way in words."""
    if handle.framework == "onnx":
        path = folder / "model.onnx"
        signature = ranged(folder, _onnx_signature(path))
        sizes = {name: largest for name, (_, largest) in signature.dimensions().items()}
        module = resolve("edgekit.export.translate.onnx:module")(path, sizes)
        return path, module, signature, "ONNX graph rebuilt in torch → torch.export"
    from edgekit.export import flatbuffer

    path = folder / "model.tflite"
    module = resolve("edgekit.export.translate.tflite:module")(path)
    signature = flatbuffer.signature(flatbuffer.read(path))
    before = "float32 TFLite" if handle.framework == "keras" else "TFLite"
    return path, module, signature, f"{before} graph rebuilt in torch → torch.export"


def _onnx_signature(path: Path) -> Signature:
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return Signature(
        inputs=tuple(_onnx_spec(value) for value in graph.input if value.name not in constants),
        outputs=tuple(_onnx_spec(value) for value in graph.output),
    )


def _onnx_spec(value: Any) -> TensorSpec:
    from onnx import helper

    tensor = value.type.tensor_type
    return TensorSpec(
        name=value.name,
        shape=tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
        ),
        dtype=helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
    )


def _example(spec: TensorSpec) -> Any:
    import torch

    if None in spec.shape:
        raise ConversionError(f"the input {spec} has no fixed size")
    return torch.zeros([size or 0 for size in spec.shape], dtype=getattr(torch, spec.dtype))


def _row_major(module: Any) -> None:
    """Lay the module's constants out in memory in the order of their axes.

    Those of one with ``channels_last`` weights, or that were moved about as 1×1×1×C, are not.
    ExecuTorch takes such strides for another layout: XNNPACK refuses to run a product with a
    constant for each channel then, or to compile it. ``contiguous()`` leaves a constant of which
    all but one size is 1 as it is.
    """
    import torch

    held = [part for each in module.modules() for part in vars(each).values()]
    for tensor in (*module.parameters(), *module.buffers(), *held):
        if not isinstance(tensor, torch.Tensor):
            continue
        plain = torch.empty(tensor.shape, device="meta").stride()
        if tensor.layout is torch.strided and tensor.stride() != plain:
            tensor.data = tensor.detach().clone(memory_format=torch.contiguous_format)


def dynamic_shapes(signature: Signature) -> tuple[dict[int, Any], ...] | None:
    """What torch.export is told of the open axes of the inputs; None where there are none."""
    from torch.export import Dim

    dims = {
        name: Dim(f"d{at}", min=least, max=largest)
        for at, (name, (least, largest)) in enumerate(signature.dimensions().items())
    }
    if not dims:
        return None
    return tuple({each.axis: dims[each.name] for each in spec.open} for spec in signature.inputs)


def dynamic_shapes_of(program: Any) -> tuple[dict[int, Any], ...] | None:
    """The same of a program, for one that is made from it."""
    from torch.export import Dim

    dims: dict[Any, Any] = {}
    found = []
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in names:
            continue
        axes = {}
        for axis, size in enumerate(node.meta["val"].shape):
            if not isinstance(size, int):
                symbol = size.node.expr
                if symbol not in dims:
                    bounds = program.range_constraints[symbol]
                    low, high = int(bounds.lower), int(bounds.upper)
                    dims[symbol] = Dim(f"d{len(dims)}", min=low, max=high)
                axes[axis] = dims[symbol]
        found.append(axes)
    return tuple(found) if dims else None


def _traced(
    module: Any, example: tuple[Any, ...], dynamic: tuple[dict[int, Any], ...] | None
) -> Any:
    import torch

    if not isinstance(module, torch.fx.GraphModule):  # a program's module refuses eval()
        module.eval()
    shapes: tuple[Any, ...] | None = dynamic
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    if dynamic is not None and kinds == [inspect.Parameter.VAR_POSITIONAL]:
        shapes = (dynamic,)
    try:
        with torch.no_grad():
            return torch.export.export(module, example, dynamic_shapes=shapes, strict=False)
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise untraceable(exc) from exc


def untraceable(exc: Exception) -> ConversionError:
    """What torch.export said, as one line with the line of the user's code that it came from."""
    text = str(exc)
    if refused := size_constraint(text):
        return ConversionError(f"the graph cannot be traced for that range of sizes: {refused}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if not line.startswith(("from user code", "("))), "")
    first = re.sub(r"\s+", " ", first)[:250] or type(exc).__name__
    where = place(exc) or _said_place(text)
    data = "data-dependent" in text.lower() or "GuardOnData" in type(exc).__name__
    return ConversionError(
        f"torch.export cannot trace the model: {first}" + (f" (at {where})" if where else ""),
        hint="the model decides by the numbers it computes; write that with torch.where or "
        "torch.cond"
        if data
        else "give the model as ONNX or .pt2 if another exporter can trace it",
    )


def _said_place(text: str) -> str:
    found = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', text)
    own = [each for each in found if not is_library(each[0])]
    return f"{Path(own[-1][0]).name}:{own[-1][1]} in {own[-1][2]}" if own else ""
