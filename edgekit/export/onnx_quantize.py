"""A float32 ``.onnx`` → quantized ones with ONNX Runtime's quantizer.

Ranges of activations are the least and greatest value over all samples, or narrower ones where a
recipe asks for them (`edgekit.export.ranges`). How a delegate wants its file quantized comes from
the delegate's own file, as plain data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError, DataError, EdgekitError
from edgekit.core.files import sha256_file
from edgekit.core.layers import Labelled, chosen
from edgekit.core.quantize import RangeMethod
from edgekit.core.recipe import Recipe
from edgekit.core.tensor import Signature
from edgekit.export import onnx_coverage, onnx_graph
from edgekit.export.kept import ranged
from edgekit.export.onnx_float import LEAST_OPSET, STAND_IN
from edgekit.export.onnx_graph import FILE, MOVERS, WEIGHTED
from edgekit.export.ranges import Histogram, averaged, span

PREPARED = "prepared.onnx"
RANGES = "ranges.json"
# Joined tensors whose ranges differ by more than this lose 3 bits and more of the narrow one in a
# scale that fits both.
FAR_APART = 8
_QUANTIZED_ALREADY = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger", "DynamicQuantizeLinear"}
)  # fmt: skip
_MAKES_FLOAT = ("Softmax", "LogSoftmax")


def calibrate(
    out: Path,
    *,
    samples: dict[str, Any],
    float: str,  # noqa: A002 - the name of the need
    method: RangeMethod = "min-max",
    percentile: Any = 100,
    levels: int = 256,
    symmetric: bool = False,
) -> dict[str, Any]:
    """Write the graph as it will be quantized, and the range of each of its tensors.

    ONNX Runtime's own calibrator passes over NaN without a word, so the ranges are taken here.

    Args:
        method, percentile: how wide a range is, see `edgekit.export.ranges`.
        levels: how many values the integers will have.
        symmetric: whether they will have no zero point.

    Raises:
        DataError: an activation is not finite for these samples.
        ConversionError: the model is quantized already, or ONNX Runtime cannot run it.
    """
    import numpy as np
    from onnxruntime.quantization.calibrate import (
        CalibrationMethod,
        TensorData,
        TensorsData,
        save_tensors_data,
    )

    proto = _prepared(Path(float) / FILE, out / PREPARED)
    data = DataSet.from_json(samples)
    signature = ranged(Path(float), onnx_graph.signature(proto))
    found: dict[str, tuple[Any, Any]] = {}
    moving = method == "moving-average"
    for name, value in _seen(proto, data, signature):
        low, high = value.min(), value.max()
        old = found.get(name)
        if old is None:
            found[name] = low, high
        elif moving:
            found[name] = averaged(old[0], low), averaged(old[1], high)
        else:  # numpy's minimum is NaN if one of two is
            found[name] = np.minimum(old[0], low), np.maximum(old[1], high)
    for name, (low, high) in found.items():
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(
                f"the calibration samples drive {name!r} to {low} … {high}",
                hint="look for NaN, infinity or missing normalisation in --calibration",
            )
    if method != "min-max" and not moving:
        counted = {name: Histogram(*_reals(ends)) for name, ends in found.items()}
        for name, value in _seen(proto, data, signature):
            counted[name].add(value)
        for name, each in counted.items():
            kind = found[name][0].dtype.type
            low, high = span(
                each, method, percentile=percentile, levels=levels, symmetric=symmetric
            )
            found[name] = kind(low), kind(high)
    ranges = {name: TensorData(lowest=low, highest=high) for name, (low, high) in found.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, ranges), out / RANGES)
    return {"samples": data.count, "tensors": len(found)}


def _reals(ends: tuple[Any, Any]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])


def quantize(
    out: Path,
    *,
    recipe: dict[str, Any],
    quantizer: dict[str, Any],
    notes: list[str],
    runs_here: bool,
    float: str,  # noqa: A002 - the name of the need
    ranges: str | None = None,
) -> dict[str, Any]:
    """Make ``model.onnx`` as `recipe` says; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: nothing was quantized, or an operator could not be.
    """
    import onnx

    wish, path = Recipe.from_json(recipe), Path(float) / FILE
    source = onnx.load(path)
    said: list[str] = []
    if wish.quantization == "float16":
        spared = _spared(source, wish)
        made, way = _half(source, set(spared)), "onnxruntime.transformers.float16"
        said = _said(spared)
    elif wish.quantization == "dynamic-int8":
        (made, said), way = _dynamic(source, wish), "onnxruntime quantize_dynamic"
    else:
        assert ranges is not None
        made, said = _static(Path(ranges), wish, quantizer)
        way = "onnxruntime quantize_static (Q/DQ)"
    made.ir_version = max(source.ir_version, min(made.ir_version, 10))
    onnx_graph.name_nodes(made)
    onnx_graph.save(made, out)
    onnx_graph.session(made)
    before = onnx_graph.signature(source)
    signature = onnx_graph.signature(made)
    _check_border(signature, before, wish)
    signature = signature.opened(ranged(path.parent, before))
    result = {
        "files": [FILE],
        "signature": signature.to_json(),
        "way": way,
        "parent": sha256_file(path),
        "tools": ["onnx", "onnxruntime"],
        "sha256": sha256_file(out / FILE),
        "notes": [*said, *notes],
    }
    if runs_here:
        counted = onnx_coverage.cpu(onnx_graph.largest(made, signature))
        result["notes"] += counted.pop("uncounted", [])
        return {**result, **counted}
    coverage = onnx_coverage.tensorrt(made)
    return {**result, "stand_in": STAND_IN, "coverage": coverage.to_json()}


# -------------------------------------------------------------------------- calibration


def _prepared(path: Path, target: Path) -> Any:
    """The graph as ONNX Runtime's own optimizer leaves it, so that ranges fit what will run.

    onnxruntime's ``quant_pre_process`` does the same, but goes on without a word if it fails.
    """
    import onnx
    import onnxruntime as ort

    proto = onnx.load(path)
    _refuse_quantized(proto)
    if onnx_graph.opset(proto) < LEAST_OPSET:
        raise ConversionError(
            f"the model is written in operator set {onnx_graph.opset(proto)}, which has no scales "
            f"for each channel; that needs {LEAST_OPSET}",
            hint="export it with a newer operator set",
        )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    with _translated("ONNX Runtime's optimizer"):
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        made = onnx.load(target)
        _part_outputs(made)
        made = onnx.shape_inference.infer_shapes(made, data_prop=True)
    onnx_graph.name_nodes(made)
    onnx_graph.drop_unused_domains(made)
    onnx.save(made, target)
    return made


def _part_outputs(proto: Any) -> None:
    """Give an output that a Relu or Clip reads, too, a tensor of its own.

    The quantizer takes the range after such an operator for the tensor before it, which would cut
    off what the model gives out.
    """
    from onnx import helper

    graph = proto.graph
    kinds: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            kinds.setdefault(name, set()).add(node.op_type)
    for value in graph.output:
        if kinds.get(value.name, set()) & {"Relu", "Clip"}:
            inner = f"{value.name}_inside"
            onnx_graph.rename_uses(graph, value.name, inner)
            for node in graph.node:
                node.output[:] = [inner if name == value.name else name for name in node.output]
            graph.node.append(helper.make_node("Identity", [inner], [value.name], value.name))


def _refuse_quantized(proto: Any) -> None:
    found = sorted({node.op_type for node in proto.graph.node} & _QUANTIZED_ALREADY)
    if found:
        raise ConversionError(
            f"the model already holds {', '.join(found)} operators: quantizing it once more would "
            "be wrong",
            hint="take onnx-float32, which keeps them, or give the model as it was before",
        )


def _seen(proto: Any, data: DataSet, signature: Signature) -> Iterator[tuple[str, Any]]:
    """For each sample and each tensor of real numbers: its name and its values."""
    from onnx import TensorProto, helper

    probe = onnx_graph.copied(proto)
    graph = probe.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    del graph.output[:]
    for name in (name for node in graph.node for name in node.output):
        if kinds.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16):
            graph.output.append(helper.make_tensor_value_info(name, kinds[name], None))
    session = onnx_graph.session(probe)
    names = [value.name for value in session.get_outputs()]
    read = {name for node in onnx_graph.all_nodes(graph) for name in node.input}
    for row in range(data.count):
        rows = data.rows(signature, row, row + 1)
        feeds = {
            spec.name: rows[spec.name].reshape([size or 0 for size in spec.shape])
            for spec in signature.inputs
        }
        with _translated("ONNX Runtime's run on the calibration samples"):
            answers = session.run(names, feeds)
        for name, value in (*feeds.items(), *zip(names, answers, strict=True)):
            if value.dtype.kind == "f" and value.size and (name in read or name not in feeds):
                yield name, value


def _bounds(ranges: Any) -> Mapping[str, tuple[float, float]]:
    """Least and greatest value by tensor."""
    return {
        name: (float(low.min()), float(high.max()))
        for name, (low, high) in ((name, each.range_value) for name, each in ranges.items())
    }


# ---------------------------------------------------------------------------- the kinds


def _spared(proto: Any, recipe: Recipe) -> dict[str, str]:
    """The nodes that the recipe leaves in float: name to layer."""
    operators = labelled(proto)
    places = chosen(recipe.quantize.patterns, operators)
    return {operators[at].key: operators[at].layer for at in places}


def _said(spared: Mapping[str, str]) -> list[str]:
    layers = list(dict.fromkeys(spared.values()))
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return [f"in float, as the recipe says: {', '.join(layers[:6])}{more}"] if layers else []


def labelled(proto: Any) -> list[Labelled]:
    """The nodes of the main graph by the names that exporters left.

    Nodes have their own; PyTorch's exporter numbers them and keeps the module's in the weights'
    (``features.0.weight``).
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    found = []
    for node in proto.graph.node:
        modules = [
            name.rpartition(".")[0]
            for name in node.input
            if name in weights and name.rpartition(".")[2] in ("weight", "bias")
        ]
        names = (*modules, node.name, *node.output)
        found.append(Labelled(node.op_type, tuple(dict.fromkeys(filter(None, names))), node.name))
    return found


def _half(source: Any, kept: set[str]) -> Any:
    """float16 inside, float32 at the border and in the nodes `kept`."""
    from onnx import TensorProto
    from onnxruntime.transformers import float16

    with _translated("the float16 conversion"):
        made = float16.convert_float_to_float16(
            onnx_graph.copied(source),
            keep_io_types=True,
            **({"node_block_list": sorted(kept)} if kept else {}),
        )
    kinds = [tensor.data_type for tensor in made.graph.initializer if len(tensor.dims) > 1]
    if TensorProto.FLOAT16 not in kinds:
        raise ConversionError("float16: the model has no weights to store in 16 bits")
    onnx_graph.sort(made)  # it appends the casts of the inputs at the end
    del made.graph.value_info[:]  # of what was there before
    return made


def _dynamic(source: Any, recipe: Recipe) -> tuple[Any, list[str]]:
    """8-bit weights; activations of dense and recurrent layers are quantized as they come.

    Convolutions compute in float with their 8-bit weights: ONNX Runtime's ConvInteger took eleven
    times as long as float for MobileNetV2 on one thread, this two and a half times.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _refuse_quantized(source)
    kinds = {tensor.data_type for tensor in source.graph.initializer}
    if onnx.TensorProto.FLOAT16 in kinds:
        raise ConversionError(
            "dynamic: the model's weights are float16; only float32 can be quantized this way",
            hint="export the model in float32",
        )
    spared = _spared(source, recipe)
    with tempfile.TemporaryDirectory() as scratch, _translated("ONNX Runtime's quantizer"):
        target = Path(scratch) / FILE
        turned = Path(scratch) / "turned"
        turned.mkdir()
        onnx_graph.save(_turned(source), turned)
        quantize_dynamic(
            turned / FILE,
            target,
            op_types_to_quantize=["MatMul", "Gather", "LSTM"],  # a Gemm becomes a MatMul
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(spared),
        )
        made = onnx.load(target)
    notes = _store_in_8_bits(made, ("Conv", "ConvTranspose"), set(spared)) + _said(spared)
    if not {node.op_type for node in made.graph.node} & _QUANTIZED_ALREADY:
        raise ConversionError("dynamic: the model has no operator whose weights can be in 8 bits")
    return made, notes


def _turned(proto: Any) -> Any:
    """A copy in which no Gemm turns its weights.

    ONNX Runtime's quantizer makes a MatMul of a Gemm and turns the weights for it, once for each
    Gemm: where several share them (a recurrent layer, written out), it turns them back again.
    """
    import numpy as np
    from onnx import numpy_helper

    made = onnx_graph.copied(proto)
    weights = {tensor.name: tensor for tensor in made.graph.initializer}
    turned: dict[str, str] = {}
    for node in made.graph.node:
        turns = [a for a in node.attribute if a.name == "transB" and a.i]
        if node.op_type != "Gemm" or not turns or node.input[1] not in weights:
            continue
        name = node.input[1]
        if name not in turned:
            values = np.ascontiguousarray(numpy_helper.to_array(weights[name]).T)
            turned[name] = f"{name}_turned"
            made.graph.initializer.append(numpy_helper.from_array(values, turned[name]))
        node.input[1] = turned[name]
        turns[0].i = 0
    used = {name for node in made.graph.node for name in node.input}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made


def _store_in_8_bits(proto: Any, kinds: tuple[str, ...], kept: set[str]) -> list[str]:
    """Weights of these operators, but for those `kept`, as 8-bit numbers with a scale for each
    output channel."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    count = 0
    for node in list(graph.node):
        if node.op_type not in kinds or node.name in kept:
            continue
        count += 1
        name = node.input[1]
        if name not in weights:  # shared with one that was before it, or computed
            continue
        tensor = weights.pop(name)
        values = numpy_helper.to_array(tensor)
        axis = 0 if node.op_type == "Conv" else 1
        others = tuple(index for index in range(values.ndim) if index != axis)
        widest = np.abs(values).max(axis=others, keepdims=True)
        scale = np.where(widest > 0, widest / 127, 1).astype(np.float32)
        stored = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        graph.initializer.remove(tensor)
        names = (f"{name}_8_bit", f"{name}_scale")
        graph.initializer.append(numpy_helper.from_array(stored, names[0]))
        graph.initializer.append(numpy_helper.from_array(scale.reshape(-1), names[1]))
        graph.node.append(helper.make_node("DequantizeLinear", names, [name], name, axis=axis))
    onnx_graph.sort(proto)
    if not count:
        return []
    return ["convolutions keep 8-bit weights and compute in float: that is faster than integers"]


def _static(ranges: Path, recipe: Recipe, quantizer: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """8-bit weights and activations as QuantizeLinear and DequantizeLinear; notes about it."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import load_tensors_data

    prepared = onnx.load(ranges / PREPARED)
    bounds = _bounds(load_tensors_data(ranges / RANGES))
    kept, notes = _left_out(prepared, bounds, recipe)
    if recipe.io == "integer" and notes:
        raise ConversionError(
            f"{recipe.name}: an output cannot be 8-bit integers with one scale: {notes[0]}",
            hint="take onnx-int8, or export the model with one output for each kind of number",
        )
    kept |= _bias_additions(prepared) if quantizer["symmetric"] else set()
    spared = _spared(prepared, recipe)
    kept |= set(spared)
    with tempfile.TemporaryDirectory() as scratch, _translated("ONNX Runtime's quantizer"):
        target = Path(scratch) / FILE
        quantize_static(
            ranges / PREPARED,
            target,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(quantizer["operators"]),
            per_channel=recipe.quantize.weights == "per-channel",
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=sorted(kept),
            extra_options=dict(quantizer["options"]),
            calibration_cache_path=ranges / RANGES,
        )
        made = onnx.load(target)
    notes += _check(made, recipe, quantizer, kept) + _said(spared)
    if recipe.io == "integer":
        _open_borders(made, bounds)
    return made, notes


def _left_out(
    proto: Any, ranges: Mapping[str, tuple[float, float]], recipe: Recipe
) -> tuple[set[str], list[str]]:
    """Nodes at the end of the graph that stay in float, and why.

    A detector joins boxes (0 to 640, say) and scores (0 to 1) in one tensor: one scale for both
    would leave one step for all scores. A final softmax over many classes has results below a step.
    """
    makers = {name: node for node in proto.graph.node for name in node.output}
    kept: set[str] = set()
    notes: list[str] = []
    for output in proto.graph.output:
        way: list[str] = []
        names = [output.name]
        while names:
            node = makers.get(names.pop())
            if node is None:
                continue
            if node.op_type in MOVERS:
                way.append(node.name)
                names.append(node.input[0])
            elif node.op_type == "Concat":
                way.append(node.name)
                widest = {name: max(map(abs, ranges.get(name, (0, 0)))) for name in node.input}
                real = [value for value in widest.values() if value > 0]
                if real and max(real) > FAR_APART * min(real):
                    kept |= set(way)
                    notes.append(
                        f"{node.name} joins numbers up to {max(real):.3g} with numbers up to "
                        f"{min(real):.3g}; it stays in float, so that each has a scale of its own"
                    )
                names += node.input
            elif node.op_type in _MAKES_FLOAT and recipe.io == "float":
                kept |= {node.name, *way}
    return kept, notes


def _bias_additions(proto: Any) -> set[str]:
    """Additions of constants: part of the operator before them, not an operator of their own."""
    constants = onnx_graph.values(proto)
    return {
        node.name
        for node in proto.graph.node
        if node.op_type == "Add" and any(name in constants for name in node.input)
    }


def _open_borders(proto: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Make inputs and outputs 8-bit integers.

    Where there is a QuantizeLinear after an input, or a DequantizeLinear before an output, it is
    taken off; where there is none, its opposite is put there.

    Raises:
        ConversionError: an input is not read at all, so that it has no range.
    """
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    for value in graph.input:
        if not _is_float(value):
            continue
        readers = [node for node in onnx_graph.all_nodes(graph) if value.name in node.input]
        if readers and all(node.op_type == "QuantizeLinear" for node in readers):
            for node in readers:
                onnx_graph.rename_uses(graph, node.output[0], value.name)
                graph.node.remove(node)
        else:
            inner = f"{value.name}_real"
            onnx_graph.rename_uses(graph, value.name, inner)
            _add(graph, "DequantizeLinear", value.name, inner, _ends(ranges, value.name))
        _make_integer(value)
    for value in graph.output:
        if not _is_float(value):
            continue
        maker = makers[value.name]
        inner = f"{value.name}_real"
        stored = makers.get(maker.input[0]) if maker.op_type == "DequantizeLinear" else None
        maker.output[list(maker.output).index(value.name)] = inner
        onnx_graph.rename_uses(graph, value.name, inner)
        if stored is None:
            _add(graph, "QuantizeLinear", inner, value.name, _ends(ranges, value.name))
        else:
            onnx_graph.rename_uses(graph, stored.output[0], value.name)
            stored.output[0] = value.name
            if not any(inner in node.input for node in graph.node):
                graph.node.remove(maker)
        _make_integer(value)
    del graph.value_info[:]
    onnx_graph.sort(proto)


def _ends(ranges: Mapping[str, tuple[float, float]], name: str) -> tuple[float, float]:
    if name not in ranges:
        raise ConversionError(
            f"{name!r} is not read by the model, so nothing tells its scale",
            hint="take onnx-int8, whose inputs and outputs are float",
        )
    return ranges[name]


def _add(graph: Any, kind: str, source: str, target: str, ends: tuple[float, float]) -> None:
    """A QuantizeLinear or DequantizeLinear for numbers of the range `ends`; 0 is exact."""
    import numpy as np
    from onnx import helper, numpy_helper

    low, high = min(0.0, ends[0]), max(0.0, ends[1])
    scale = (high - low) / 255 or 1.0
    zero = round(-128 - low / scale)
    names = (f"{target}_scale", f"{target}_zero_point")
    numbers = (np.float32(scale), np.int8(max(-128, min(127, zero))))
    for name, number in zip(names, numbers, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.asarray(number), name))
    graph.node.append(helper.make_node(kind, [source, *names], [target], f"{target}_{kind}"))


def _is_float(value: Any) -> bool:
    from onnx import TensorProto

    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _make_integer(value: Any) -> None:
    from onnx import TensorProto

    value.type.tensor_type.elem_type = TensorProto.INT8


# -------------------------------------------------------------------------------- checks


def _check(proto: Any, recipe: Recipe, quantizer: Mapping[str, Any], kept: set[str]) -> list[str]:
    """The file must hold what was asked for; what stayed in float, in words.

    Raises:
        ConversionError: an operator with weights is not quantized; names it.
    """
    import numpy as np

    constants = onnx_graph.values(proto)
    makers = {name: node for node in proto.graph.node for name in node.output}
    quantized, wrong = [], []
    for node in proto.graph.node:
        if node.op_type not in WEIGHTED or node.name in kept:
            continue
        before = [makers.get(name) for name in node.input[:2]]
        if all(each is not None and each.op_type == "DequantizeLinear" for each in before):
            quantized.append(node.name)
        elif node.input[1] in constants:
            wrong.append(f"{node.op_type} {node.name!r}")
    if wrong or not quantized:
        what = ", ".join(wrong[:4]) or "every operator"
        raise ConversionError(f"{recipe.name}: {what} stayed in float")
    if quantizer["symmetric"]:
        for node in proto.graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
                zero = constants[node.input[2]]
                if zero.dtype != np.int8 or zero.any():
                    raise ConversionError(
                        f"{recipe.name}: {node.name!r} has a zero point or {zero.dtype} numbers, "
                        "which this runtime does not take"
                    )
    floats = sorted(
        {node.op_type for node in proto.graph.node if node.op_type in ("LSTM", "GRU", "RNN")}
    )
    return [
        f"{name} stays in float: ONNX Runtime's quantizer has no integer form" for name in floats
    ]


def _check_border(made: Signature, wanted: Signature, recipe: Recipe) -> None:
    pairs = list(zip((*made.inputs, *made.outputs), (*wanted.inputs, *wanted.outputs), strict=True))
    for one, other in pairs:
        dtype = other.dtype
        if recipe.io == "integer" and dtype == "float32":
            dtype = "int8"
        if (one.name, one.shape, one.dtype) != (other.name, other.shape, dtype):
            raise ConversionError(f"{recipe.name}: the artifact has {one} in place of {other}")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Whatever ONNX and ONNX Runtime raise becomes a ConversionError."""
    try:
        yield
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise ConversionError(
            f"{what} failed: {type(exc).__name__}: {onnx_graph.line(exc)}"
        ) from exc
