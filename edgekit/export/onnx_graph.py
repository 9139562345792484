"""Looking into ONNX graphs, running them, and telling whether two compute the same.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Runs in worker processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import Quantization, Signature, TensorSpec

FILE = "model.onnx"
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# What moves numbers without changing them.
MOVERS = frozenset(
    {"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Slice"}
)


def signature(proto: Any) -> Signature:
    """Inputs and outputs as the file has them; an integer border with the scale that it means."""
    constants = values(proto)
    readers: dict[str, list[Any]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    makers = {name: node for node in proto.graph.node for name in node.output}

    def scale(node: Any, kind: str) -> Quantization | None:
        if node is None or node.op_type != kind or node.input[1] not in constants:
            return None
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        return Quantization(
            scale=(float(constants[node.input[1]].reshape(-1)[0]),),
            zero_point=(0 if zero is None else int(zero.reshape(-1)[0]),),
        )

    def read(name: str) -> Quantization | None:
        nodes = readers.get(name, [])
        return scale(nodes[0], "DequantizeLinear") if len(nodes) == 1 else None

    return Signature(
        inputs=tuple(_spec(value, read(value.name)) for value in proto.graph.input),
        outputs=tuple(
            _spec(value, scale(makers.get(value.name), "QuantizeLinear"))
            for value in proto.graph.output
        ),
    )


def _spec(value: Any, quantization: Quantization | None) -> TensorSpec:
    import numpy as np
    from onnx import helper

    tensor = value.type.tensor_type
    return TensorSpec(
        name=value.name,
        shape=tuple(dim.dim_value or None for dim in tensor.shape.dim),
        dtype=np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name,
        quantization=quantization,
    )


def values(proto: Any) -> Mapping[str, Any]:
    """Constants by name, as arrays made when asked for."""
    return _Constants(proto)


class _Constants(Mapping[str, Any]):
    def __init__(self, proto: Any) -> None:
        self._tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        for node in proto.graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self._tensors[node.output[0]] = attribute.t

    def __getitem__(self, name: str) -> Any:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors


def copied(proto: Any) -> Any:
    return type(proto).FromString(proto.SerializeToString())


def at(proto: Any, sizes: Mapping[str, int]) -> Any:
    """A copy whose open dimensions have these `sizes`, by name; shapes inside are found anew."""
    import onnx

    made = copied(proto)
    del made.graph.value_info[:]
    for value in (*made.graph.input, *made.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    for value in made.graph.output:
        if any(dim.dim_value <= 0 for dim in value.type.tensor_type.shape.dim):
            value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def largest(proto: Any, made: Signature) -> Any:
    """`proto` at the largest sizes of its `made` signature; itself where nothing is open.

    With the shape of every value, found by running it: inference does not follow computed sizes.
    """
    from onnx import ValueInfoProto, helper

    ranges = made.dimensions()
    if not ranges:
        return proto
    fixed = at(proto, {name: high for name, (_, high) in ranges.items()})
    probe = copied(fixed)
    names = [name for node in fixed.graph.node for name in node.output if name]
    del probe.graph.output[:]
    probe.graph.output.extend(ValueInfoProto(name=name) for name in names)
    answers = session(probe).run(names, _made_up(fixed, 0, {}))
    del fixed.graph.value_info[:]
    outside = {value.name for value in fixed.graph.output}
    for name, answer in zip(names, answers, strict=True):
        if name not in outside:
            kind = helper.np_dtype_to_tensor_dtype(answer.dtype)
            fixed.graph.value_info.append(helper.make_tensor_value_info(name, kind, answer.shape))
    return fixed


def name_open(proto: Any, wanted: Signature) -> None:
    """Call the open dimensions of inputs as `wanted` does, wherever they stand."""
    names = {
        value.type.tensor_type.shape.dim[each.axis].dim_param: each.name
        for value, spec in zip(proto.graph.input, wanted.inputs, strict=True)
        for each in spec.open
    }
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


def opset(proto: Any) -> int:
    """Version of ONNX's own operators that the graph is written in."""
    return max((each.version for each in proto.opset_import if not each.domain), default=0)


def save(proto: Any, out: Path) -> None:
    """Write ``model.onnx``, weights inside.

    Raises:
        ConversionError: it is not valid ONNX, or larger than one file can be.
    """
    import onnx

    try:
        onnx.checker.check_model(proto, full_check=True)
        (out / FILE).write_bytes(proto.SerializeToString())
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ConversionError(f"the file is not valid ONNX: {line(exc)}") from exc
    except ValueError as exc:  # protobuf: "exceeds maximum protobuf size of 2GB"
        raise ConversionError(f"the model does not fit into one ONNX file: {line(exc)}") from exc


def name_nodes(proto: Any) -> None:
    """Give every node a name of its own; quantizers and reports go by them."""
    taken: set[str] = set()
    for node in proto.graph.node:
        base = name = node.name or (node.output[0] if node.output else node.op_type)
        count = 0
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        node.name = name


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Give tensors other names wherever they stand, in inner graphs too."""
    for node in graph.node:
        for part in (node.input, node.output):
            for index, name in enumerate(part):
                part[index] = names.get(name, name)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                rename(inner, names)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)


def rename_uses(graph: Any, old: str, new: str) -> None:
    """Have whatever reads the tensor `old` read `new`, in inner graphs too."""
    for node in all_nodes(graph):
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def sort(proto: Any) -> None:
    """Put every node after those whose results it reads; otherwise the order stays."""
    graph = proto.graph
    ready = {value.name for value in graph.input} | {t.name for t in graph.initializer} | {""}
    ready |= {sparse.values.name for sparse in graph.sparse_initializer}
    rest = [type(node).FromString(node.SerializeToString()) for node in graph.node]
    ordered: list[Any] = []
    while rest:
        later = []
        for node in rest:
            if _reads(node) <= ready:
                ready |= set(node.output)
                ordered.append(node)
            else:
                later.append(node)
        if len(later) == len(rest):
            raise ConversionError("the graph has a circle, or reads what nothing gives")
        rest = later
    del graph.node[:]
    graph.node.extend(ordered)


def _reads(node: Any) -> set[str]:
    """What a node reads, its inner graphs' reading from outside of them included."""
    found = set(node.input)
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            own = {value.name for value in inner.input} | {t.name for t in inner.initializer}
            own |= {name for each in inner.node for name in each.output}
            found |= {name for each in inner.node for name in _reads(each)} - own
    return found


def drop_unused_domains(proto: Any) -> None:
    """Name no operator sets that no node is of: other runtimes refuse those they do not know."""
    used = {node.domain for node in all_nodes(proto.graph)}
    kept = [each for each in proto.opset_import if not each.domain or each.domain in used]
    copies = [type(each).FromString(each.SerializeToString()) for each in kept]
    del proto.opset_import[:]
    proto.opset_import.extend(copies)


def all_nodes(graph: Any) -> Iterator[Any]:
    """Those of inner graphs, too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)


# ------------------------------------------------------------------------------ running


def session(proto: Any) -> Any:
    """Raises ConversionError if ONNX Runtime does not open the graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # its exceptions have no common class
        raise ConversionError(f"ONNX Runtime does not open the file: {line(exc)}") from exc


def difference(one: Any, other: Any, ranges: Mapping[str, tuple[int, int]] | None = None) -> str:
    """Where two graphs of the same signature differ on made-up inputs, in words; "" nowhere.

    `ranges` are those of open dimensions, by name: both ends are tried.
    """
    import numpy as np

    first, second = session(one), session(other)
    for seed in range(2):
        feeds = _made_up(one, seed, {name: ends[1 - seed] for name, ends in (ranges or {}).items()})
        try:
            answers = [first.run(None, feeds), second.run(None, feeds)]
        except Exception as exc:  # noqa: BLE001 - see `session`; either may refuse made-up numbers
            return f"they do not run on random numbers: {line(exc)}"
        for value, expected, given in zip(one.graph.output, *answers, strict=True):
            if expected.shape != given.shape or expected.dtype != given.dtype:
                return f"{value.name!r} is {given.dtype} {given.shape}"
            if expected.dtype.kind != "f":
                same = np.array_equal(expected, given)
            else:
                precision = 2e-2 if expected.dtype == np.float16 else 1e-4
                finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
                allowed = precision * float(finite.max(initial=0)) + 1e-7
                same = np.allclose(expected, given, rtol=0, atol=allowed, equal_nan=True)
            if not same:
                return f"{value.name!r} has other values"
    return ""


def _made_up(proto: Any, seed: int, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Normal numbers for one sample; zeros and ones where whole numbers may be indices."""
    import numpy as np

    rng = np.random.default_rng(seed)
    feeds = {}
    for spec in signature(at(proto, sizes) if sizes else proto).inputs:
        real = spec.dtype.startswith("float")
        shape = [size or 1 for size in spec.shape]
        numbers = rng.normal(size=shape) if real else rng.integers(0, 2, size=shape)
        feeds[spec.name] = np.asarray(numbers).astype(spec.dtype)
    return feeds


def line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())
    return text[:250] or type(exc).__name__
