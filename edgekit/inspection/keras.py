"""Keras models and SavedModels: counted in the graph that TensorFlow traces of them.

    edgekit inspect model.keras

Their operators are the user's layers; a SavedModel has lost those and shows TensorFlow's. The
model's source checks that nothing in it runs, and loads it: a step here is made from its handle.
Formats: https://keras.io/api/models/model_saving_apis/.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core import macs
from edgekit.core.description import Coverage, Description, Node
from edgekit.core.files import readable_bytes
from edgekit.core.model import Model
from edgekit.core.registry import resolve
from edgekit.inspection.files import Weights, first_bytes
from edgekit.inspection.flatbuffer import DamagedError
from edgekit.inspection.words import Numbers
from edgekit.work.steps import Step

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
JSON_LIMIT_BYTES = 64 * 2**20
DEEPEST_GRAPH = 16
TOOLS = ("tensorflow", "keras", "tf-keras")

# What a graph holds besides operators.
_FREE = frozenset(
    {"Const", "Identity", "IdentityN", "NoOp", "Placeholder", "ReadVariableOp", "StopGradient"}
)
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_LOOPS = ("While", "StatelessWhile")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")


class KerasInspector:
    """Looks into ``.keras`` and ``.h5`` files and SavedModel folders; an `Inspector`."""

    source = "keras"

    def accepts(self, path: str) -> bool:
        """By its name, or by what a folder or an archive holds."""
        file = Path(path)
        if file.is_dir():
            return (file / "saved_model.pb").exists()
        if file.suffix.lower() in (".keras", ".h5", ".hdf5"):
            return True
        return first_bytes(path, 8) == HDF5_MAGIC

    def step_of(self, model: Model) -> Step:
        """The step for a model that its source has opened; see `Inspector.step`."""
        return Step(
            title=f"{model.name}: look inside",
            function="edgekit.inspection.keras:describe",
            worker=model.worker,
            arguments={"model": model.to_json()},
            identity=model.identity(),
            tools=TOOLS,
        )


def describe(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """The step: the model's `Description`.

    Raises:
        ModelError: it cannot be loaded; see its source.
    """
    handle = Model.from_json(model)
    loaded = resolve(handle.loader)(handle)
    concrete = loaded.concrete
    found = _Found()
    _walk(concrete.graph, 1, found, 0)
    path = Path(handle.path)
    layers, metadata = _architecture(handle, path)
    nodes = _by_layer(layers, found) if layers else [node for node, _ in found.operators]
    weights, numbers = _weights(concrete)
    for node, _ in found.operators:
        if "float" in node.dtype and node.macs:
            numbers.activation(node.dtype)
    notes = list(dict.fromkeys(found.notes))
    if notes:
        metadata["notes"] = notes
    description = Description(
        format="keras",
        size_bytes=_size(path),
        signatures=(loaded.signature,),
        coverage=Coverage(nodes=tuple(nodes)),
        parameters=weights.parameters,
        weights=weights.sorted(),
        zeros=weights.zeros,
        quantization=str(numbers),
        metadata=metadata,
    )
    return {"description": description.to_json()}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def _weights(concrete: Any) -> tuple[Weights, Numbers]:
    """Floating-point variables that the graph reads; the others count or are seeds."""
    import numpy as np

    weights, numbers = Weights(), Numbers()
    done: set[int] = set()
    for variable in concrete.variables:
        if id(variable) in done or not variable.dtype.is_floating:
            continue
        done.add(id(variable))
        values = variable.numpy()
        dtype = variable.dtype.name
        weights.add(dtype, values.size, values.nbytes, int(np.count_nonzero(values == 0)))
        if values.ndim >= 2:
            numbers.weight(dtype, values.nbytes)
    return weights, numbers


# ------------------------------------------------------------------------- architecture


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    path: str
    dtype: str


def _architecture(model: Model, path: Path) -> tuple[list[_Layer], dict[str, Any]]:
    """The layers by what the file says, inner models' as ``outer/inner``; none for a SavedModel."""
    metadata: dict[str, Any] = {"kind": model.kind}
    if model.kind == "savedmodel":
        metadata["tensorflow_version"] = _tensorflow_version(path)
        return [], metadata
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            config = _json(archive, "config.json")
            saved = _json(archive, "metadata.json")
        metadata["keras_version"] = str(saved.get("keras_version", ""))
        metadata["saved"] = str(saved.get("date_saved", ""))
    else:
        import h5py

        with h5py.File(path, "r") as file:
            config = json.loads(file.attrs["model_config"])
            metadata["keras_version"] = str(file.attrs.get("keras_version", ""))
            metadata["backend"] = str(file.attrs.get("backend", ""))
    return list(_layers(config, "", 0)), {key: value for key, value in metadata.items() if value}


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    size = archive.getinfo(name).file_size
    if size > JSON_LIMIT_BYTES:
        raise DamagedError(f"its {name} would unfold to {readable_bytes(size)}")
    return json.loads(archive.read(name))


def _tensorflow_version(path: Path) -> str:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    return str(saved.meta_graphs[0].meta_info_def.tensorflow_version)


def _layers(entry: Any, outer: str, depth: int) -> Iterator[_Layer]:
    config = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(config, dict) or depth > DEEPEST_GRAPH:
        return
    inner = config.get("layers")
    name = str(config.get("name", entry.get("name", "")))
    path = f"{outer}/{name}" if outer else name
    if isinstance(inner, list):
        for each in inner:
            yield from _layers(each, path if depth else "", depth + 1)
        return
    dtype = config.get("dtype")
    if isinstance(dtype, dict):  # a policy of Keras 3
        dtype = (dtype.get("config") or {}).get("name")
    yield _Layer(str(entry.get("class_name", "")), name, path, str(dtype or ""))


def _by_layer(layers: list[_Layer], found: _Found) -> list[Node]:
    """One node a layer, with the multiply-adds of the operators that were traced in its name."""
    counts = [0] * len(layers)
    left: list[Node] = []
    places: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        places.setdefault(layer.name, []).append(index)
    for node, scope in found.operators:
        place = _layer_of(scope.split("/"), places, layers)
        if place is not None:
            counts[place] += node.macs
        elif node.macs:
            left.append(node)
    made = [
        Node(operator=layer.kind, macs=count, layer=layer.path, dtype=layer.dtype)
        for layer, count in zip(layers, counts, strict=True)
        if layer.kind != "InputLayer"
    ]
    return made + left


_AGAIN = re.compile(r"_\d+$")


def _layer_of(scope: list[str], places: dict[str, list[int]], layers: list[_Layer]) -> int | None:
    """The innermost layer in a scope. A layer's second call has ``_1`` behind its name."""
    for part in reversed(scope):
        for name in (part, _AGAIN.sub("", part)):
            indices = places.get(name, [])
            for index in indices:
                outer = layers[index].path.split("/")[:-1]
                if len(indices) == 1 or all(
                    any(part in (each, _AGAIN.sub("", each)) for each in scope) for part in outer
                ):
                    return index
    return None


# ------------------------------------------------------------------------------- graph


@dataclass
class _Found:
    operators: list[tuple[Node, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _walk(graph: Any, times: int, found: _Found, depth: int) -> None:
    if depth > DEEPEST_GRAPH:
        raise DamagedError("its functions call each other without end")
    for op in _live(graph):
        if op.type in _CALLS:
            _walk(_function(graph, op, op.get_attr("f").name), times, found, depth + 1)
        elif op.type in _LOOPS:
            passes = _passes(op)
            if passes is None:
                found.notes.append("a loop whose number of passes is not known is counted once")
            body = _function(graph, op, op.get_attr("body").name)
            _walk(body, times * (passes or 1), found, depth + 1)
        elif op.type in _BRANCHES:
            found.notes.append("every branch of a condition is counted")
            for name in _branches(op):
                _walk(_function(graph, op, name), times, found, depth + 1)
        elif op.type not in _FREE and op.outputs:
            scope = re.sub(r"^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/)+", "", op.name)
            node = Node(
                operator=op.type,
                macs=_macs(op, found) * times,
                layer=scope[:200],
                dtype=op.outputs[0].dtype.name,
            )
            found.operators.append((node, scope))


def _branches(op: Any) -> list[str]:
    """The names of the functions that a condition chooses from."""
    if op.type.endswith("Case"):
        return [each.name for each in op.get_attr("branches")]
    return [op.get_attr(name).name for name in ("then_branch", "else_branch")]


def _function(graph: Any, op: Any, name: str) -> Any:
    """The graph of a function; one that was loaded may have its definition alone."""
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    definition = graph._get_function(name)
    if (traced := getattr(definition, "graph", None)) is not None:
        return traced
    content = getattr(definition, "definition", None) or definition.function_def
    # A condition's first input chooses, and is not handed over.
    inputs = list(op.inputs)[1 if op.type in _BRANCHES else 0 :]
    with graph.as_default():
        return function_def_to_graph(content, [tensor.shape for tensor in inputs])


def _live(graph: Any) -> list[Any]:
    """The operations that the outputs need, in order: tracing leaves others behind."""
    needed: set[Any] = set()
    queue = [tensor.op for tensor in graph.outputs]
    while queue:
        op = queue.pop()
        if op not in needed:
            needed.add(op)
            queue += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return [op for op in graph.get_operations() if op in needed]


def _passes(op: Any) -> int | None:
    """How often a loop runs: its second input is the greatest number of passes, if it has one."""
    import tensorflow as tf

    tensor = op.inputs[1] if len(op.inputs) > 1 else None
    if tensor is not None and tensor.op.type == "Max":  # of one number, as Keras writes it
        tensor = tensor.op.inputs[0]
    value = None if tensor is None else tf.get_static_value(tensor)
    return int(value) if value is not None and value.ndim == 0 and value > 0 else None


def _macs(op: Any, found: _Found) -> int:
    count = _COUNTS.get(op.type)
    if count is None:
        return 0
    try:
        shapes = [_shape(tensor, found) for tensor in op.inputs]
        return int(count(op, shapes, _shape(op.outputs[0], found)))
    except (IndexError, ValueError):  # a rank that is not known
        found.notes.append(f"shapes unknown, so not counted: {op.type}")
        return 0


def _shape(tensor: Any, found: _Found) -> tuple[int, ...]:
    """With 1 for what is open; ValueError if there is no telling how many sizes there are."""
    sizes = tensor.shape.as_list()
    if None in sizes[1:]:
        found.notes.append("open sizes inside the graph are counted as 1")
    return tuple(size or 1 for size in sizes)


def _conv(op: Any, shapes: Any, output: Any) -> int:
    """Kernel: sizes, input channels of a group, output channels."""
    kernel = shapes[1]
    return macs.conv(output, kernel[:-2], kernel[-2])


def _depthwise(op: Any, shapes: Any, output: Any) -> int:
    """Kernel: sizes, channels, multiplier."""
    return macs.depthwise_conv(output, shapes[1][:-2])


def _transposed(op: Any, shapes: Any, output: Any) -> int:
    """Inputs: the output's shape, kernel (sizes, output channels, input channels), input."""
    kernel = shapes[1]
    return macs.transposed_conv(shapes[2], kernel[:-2], kernel[-2])


def _matmul(op: Any, shapes: Any, output: Any) -> int:
    turned = op.get_attr("transpose_a")
    return macs.fully_connected(output, shapes[0][-2 if turned else -1])


def _batch_matmul(op: Any, shapes: Any, output: Any) -> int:
    turned = op.get_attr("adj_x")
    return macs.fully_connected(output, shapes[0][-2 if turned else -1])


def _einsum(op: Any, shapes: Any, output: Any) -> int:
    return macs.einsum(op.get_attr("equation").decode(), shapes)


_COUNTS: dict[str, Any] = {
    "Conv2D": _conv,
    "Conv3D": _conv,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "MatMul": _matmul,
    "BatchMatMul": _batch_matmul,
    "BatchMatMulV2": _batch_matmul,
    "BatchMatMulV3": _batch_matmul,
    "Einsum": _einsum,
}
