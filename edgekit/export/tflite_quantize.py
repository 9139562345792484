"""A float32 ``.tflite`` → quantized ones with ai-edge-quantizer, without TensorFlow.

Ranges of activations are the least and greatest value over all samples, as TFLiteConverter takes
them, collected by LiteRT's own profiler while it runs (2 to 4 ms a sample for MobileNetV2, where
keeping all tensors and looking at them from Python takes 20). Where a recipe asks for narrower
ones, a second pass keeps all tensors and counts their values (`edgekit.export.ranges`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError, DataError, EdgekitError
from edgekit.core.files import sha256_file
from edgekit.core.layers import Labelled, chosen
from edgekit.core.quantize import LayerNumbers, RangeMethod
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import (
    flatbuffer,
    tflite_bias,
    tflite_joins,
    tflite_pads,
    tflite_products,
    tflite_short,
    tflite_transposes,
)
from edgekit.export.kept import ranged
from edgekit.export.ranges import Histogram, averaged, span
from edgekit.export.tflite_layers import kept_layers, kept_result, labelled
from edgekit.work.cache import RESULT_FILE

FILE = "model.tflite"
RANGES = "ranges.json"
WAY = "ai-edge-quantizer"
THREADS = 2
_QUANTIZED_ALREADY = ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT")

# A range narrower than this is widened around zero. A dead layer would otherwise get a scale so
# small that 6/scale, the bound of a ReLU6, leaves int32, and the kernel refuses the file
# ("no_integer_overflow_from_quantization"). For 8 bits it is what TFLiteConverter does, too
# (kNearZeroTolerance in mlir/lite/quantization). For 16 bits: 6 · 2¹⁶ / 2³¹ = 1.8e-4.
LEAST_RANGE = {8: 1e-6, 16: 2e-4}


def calibrate(
    out: Path,
    *,
    samples: dict[str, Any],
    float: str,  # noqa: A002 - the name of the need
    method: RangeMethod = "min-max",
    percentile: Any = 100,
    levels: int = 256,
) -> dict[str, Any]:
    """Run the samples and write ``ranges.json``: tensor name to [least, greatest].

    Args:
        method, percentile: how wide a range is, see `edgekit.export.ranges`.
        levels: how many values the integers will have; 2¹⁶ are without a zero point.

    Raises:
        DataError: an activation is not finite for these samples.
        ConversionError: LiteRT cannot run the float model.
    """
    path = Path(float) / FILE
    tree = flatbuffer.read(path)
    refuse_quantized(tree)
    signature = flatbuffer.signature(tree)
    data = DataSet.from_json(samples)
    rows = _Rows(data, signature)
    try:
        found = _ranges(path, signature.name, rows, moving=method == "moving-average")
        ranges = tflite_pads.bounded(tree, found)
    except EdgekitError:
        raise
    except (RuntimeError, ValueError) as exc:
        raise ConversionError(f"LiteRT cannot run the float model: {_line(exc)}") from exc
    for name, (least, greatest) in ranges.items():
        if not (math.isfinite(least) and math.isfinite(greatest)):
            raise DataError(
                f"the calibration samples drive {name!r} to {least} … {greatest}",
                hint="look for NaN, infinity or missing normalisation in --calibration",
            )
    if method not in ("min-max", "moving-average"):
        padded = {pad.padded for pad in tflite_pads.pads(tree)}
        within = {name: range_ for name, range_ in ranges.items() if name not in padded}
        seen = _histograms(path, signature, rows, within)
        ranges |= {
            name: span(each, method, percentile=percentile, levels=levels, symmetric=levels > 2**8)
            for name, each in seen.items()
        }
        ranges = tflite_pads.bounded(tree, ranges)
    (out / RANGES).write_text(json.dumps(ranges), encoding="utf-8")
    return {"samples": len(rows), "tensors": len(ranges)}


def quantize(
    out: Path,
    *,
    recipe: dict[str, Any],
    float: str,  # noqa: A002 - the name of the need
    ranges: str | None = None,
    selected: str | None = None,
) -> dict[str, Any]:
    """Make ``model.tflite`` as `recipe` says; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: nothing was quantized, or an operator could not be.
    """
    wish = Recipe.from_json(recipe)
    path = Path(float) / FILE
    source = flatbuffer.read(path)
    refuse_quantized(source)
    if wish.needs_calibration:
        refuse_loops(source, wish)
    joins = [] if ranges is None else _uneven_joins(source, Path(ranges) / RANGES, wish)
    operators = labelled(source, kept_layers(Path(float)))
    spared = [operators[at] for at in chosen(wish.quantize.patterns, operators)]
    blocks = _in_blocks(source, wish)
    found: dict[str, LayerNumbers] | None = None
    said = []
    if selected is not None:
        picked = kept_result(Path(selected))
        found, said = picked["layers"], [picked["said"]]
        settled = wish.quantize.settled().model_copy(update={"layers": found})
        wish = wish.model_copy(update={"quantize": settled})
    mixed = _mixed(wish, operators, found)
    in_float = [each for each, numbers in mixed if numbers == "float32"]
    mixed = [(each, numbers) for each, numbers in mixed if each not in (*spared, *in_float)]
    told_of = [*spared, *(in_float if found is None else [])]
    spared += in_float
    told = _instructions(wish, joins, spared, blocks.inside, mixed)
    known = None if ranges is None else Path(ranges) / RANGES
    (out / FILE).write_bytes(quantized(path.read_bytes(), told, known, wish))
    tree = flatbuffer.read(out / FILE)
    shortened = None
    if wish.quantize.scales == "short":
        shortened = tflite_short.shorten(source, tree)
    if _state_dense_version(tree) or shortened is not None:
        flatbuffer.write(tree, out / FILE)
    check(tree, wish, spared=[*spared, *(each for each, _ in mixed)])
    _check_mixed(tree, mixed, wish)
    if wish.io == "float":
        tflite_joins.check(tree, joins)
    _open(out / FILE, wish)
    return {
        "files": [FILE],
        "signature": _in_order(flatbuffer.signature(tree), flatbuffer.signature(source))
        .opened(ranged(path.parent, flatbuffer.signature(source)))
        .to_json(),
        "way": _way(Path(float)),
        "parent": sha256_file(path),
        "tools": ["ai-edge-quantizer", "ai-edge-litert"],
        "notes": [
            tflite_transposes.note(tree),
            *tflite_joins.notes(joins, wish),
            *_said(wish, told_of, blocks, tree),
            *(said or _said_mixed(mixed)),
            *([shortened.note] if shortened is not None else []),
        ],
        "sha256": sha256_file(out / FILE),
    }


# A dense layer with a float input and 8-bit weights that have a scale for each output channel came
# with this version of the operator (tflite/tools/versioning/op_version.cc). ai-edge-quantizer
# leaves the number as it was; older runtimes then take one scale for all channels and compute
# nonsense. With the right number they refuse the file.
PER_CHANNEL_DYNAMIC_DENSE = 12


def _state_dense_version(tree: Any) -> int:
    """Say in the file that it needs that version, if it does; how many entries were changed."""
    needy = {
        operator.opcodeIndex
        for graph in tree.subgraphs
        for operator in graph.operators
        if _is_per_channel_dynamic_dense(tree, graph, operator)
    }
    codes = [tree.operatorCodes[index] for index in needy]
    behind = [code for code in codes if code.version < PER_CHANNEL_DYNAMIC_DENSE]
    for code in behind:
        code.version = PER_CHANNEL_DYNAMIC_DENSE
    return len(behind)


def _is_per_channel_dynamic_dense(tree: Any, graph: Any, operator: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    if (
        tree.operatorCodes[operator.opcodeIndex].builtinCode
        != schema.BuiltinOperator.FULLY_CONNECTED
    ):
        return False
    data, weights = (graph.tensors[index] for index in operator.inputs[:2])
    scales = weights.quantization.scale if weights.quantization is not None else None
    return (
        flatbuffer.dtype(data) == "float32"
        and flatbuffer.dtype(weights) == "int8"
        and scales is not None
        and len(scales) > 1
    )


# --------------------------------------------------------------------------- calibration


class _Rows(Sequence[Any]):
    """The samples one by one as the signature's inputs, each read from disk when asked for."""

    def __init__(self, data: DataSet, signature: Signature) -> None:
        self._data, self._signature = data, signature

    def __len__(self) -> int:
        return self._data.count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._data.rows(self._signature, index, index + 1)


def _ranges(
    path: Path, signature_name: str, rows: Sequence[Any], *, moving: bool
) -> dict[str, tuple[float, float]]:
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    run = calibrator.Calibrator(
        path.read_bytes(),
        num_threads=THREADS,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=_averaged if moving else qsv_utils.min_max_update,
    )
    run.calibrate({signature_name: rows}, recipe_manager.RecipeManager())
    return {
        name: (float(values["min"].min()), float(values["max"].max()))
        for name, values in run.get_model_qsvs().items()
        if values
    }


def _averaged(before: Any, new: Any) -> Any:
    if not before:
        return new
    return {end: averaged(before[end], new[end]) for end in ("min", "max")}


def _histograms(
    path: Path, signature: Signature, rows: Sequence[Any], ranges: dict[str, tuple[float, float]]
) -> dict[str, Histogram]:
    """The values of every tensor that has a range, over all samples."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_path=str(path), num_threads=THREADS, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner(signature.name)
    places = {
        each["name"]: each["index"]
        for each in interpreter.get_tensor_details()
        if each["name"] in ranges and each["dtype"].__name__ == "float32"
    }
    found = {name: Histogram(*ranges[name]) for name in places}
    for row in rows:
        interpreter.reset_all_variables()
        run(**row)
        for name, index in places.items():
            found[name].add(interpreter.get_tensor(index))
    return found


def _joined_ranks(tree: Any) -> dict[str, int]:
    """The number of axes of what CONCATENATION makes, by tensor.

    ai-edge-quantizer gives its scale to constants that are joined, and wants that many axes then.
    """
    found = {}
    for graph in tree.subgraphs:
        kinds = (each.name for each in flatbuffer.operators_of(tree, graph))
        for kind, operator in zip(kinds, graph.operators, strict=True):
            if kind == "CONCATENATION":
                made = graph.tensors[int(operator.outputs[0])]
                found[flatbuffer.text(made.name)] = 1 if made.shape is None else len(made.shape)
    return found


def _statistics(tree: Any, ranges: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    import numpy as np

    if recipe.quantization == "int8":  # 16 bits are symmetric in any case
        ranges = tflite_products.symmetric(tree, ranges)
    wide = "int16x8" in (recipe.quantization, *recipe.quantize.numbers.values())
    least = LEAST_RANGE[16 if wide else 8]
    ranks = _joined_ranks(tree)
    found = {}
    for name, (low, high) in ranges.items():
        if high - low < least:
            low, high = min(low, -least / 2), max(high, least / 2)
        shape = (1,) * ranks.get(name, 1)
        found[name] = {
            "min": np.full(shape, low, dtype=np.float32),
            "max": np.full(shape, high, dtype=np.float32),
        }
    return found


# -------------------------------------------------------------------------- instructions


def _instructions(
    recipe: Recipe,
    joins: Sequence[tflite_joins.Join],
    spared: Sequence[Labelled] = (),
    in_blocks: Sequence[str] = (),
    mixed: Sequence[tuple[Labelled, str]] = (),
) -> Any:
    """What ai-edge-quantizer is told, as its recipe of regular expressions and operations.

    Args:
        joins: what is joined in float.
        spared: the operators that stay in float.
        in_blocks: keys of the dense layers whose weights have a scale for each block.
        mixed: operators in other numbers than the rest.
    """
    from ai_edge_quantizer.recipe_manager import RecipeManager

    told = _for_all(recipe, joins)
    if not spared and not in_blocks and not mixed:
        return told
    from ai_edge_quantizer import algorithm_manager, qtyping

    # What comes later counts, and an operator's scope is the names of its outputs, each with ";".
    manager = RecipeManager()
    manager.load_quantization_recipe(_with_mixed(told, mixed))
    size = recipe.quantize.weights.replace("block-", "BLOCKWISE_")
    for key in in_blocks:
        manager.add_dynamic_config(
            _exactly(key),
            qtyping.TFLOperationName.FULLY_CONNECTED,
            num_bits=4,
            granularity=qtyping.QuantGranularity(size),
        )
    for each in spared:
        manager.add_quantization_config(
            regex=_exactly(each.key),
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=None,
            algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
        )
    return manager.get_quantization_recipe()


def _with_mixed(told: Any, mixed: Sequence[tuple[Labelled, str]]) -> Any:
    """`told`, and that these operators are in numbers of their own."""
    if not mixed:
        return told
    borders = [each for each in told if each["operation"] in ("INPUT", "OUTPUT")]
    for numbers in dict.fromkeys(numbers for _, numbers in mixed):
        keys = [each.key for each, its in mixed if its == numbers]
        told = [*told, *for_operators(named_recipe(numbers), keys)]
    # A rule's place is that of its first expression: the borders need another to be last.
    told = [each for each in told if each not in borders]
    return [*told, *({**each, "regex": "^.*$"} for each in borders)]


def for_mix(recipe: Recipe, keys: Sequence[str], mixed: Sequence[tuple[Labelled, str]]) -> Any:
    """What ai-edge-quantizer is told to quantize the operators with these keys as `recipe` says,
    those of `mixed` as these numbers say, and no others."""
    rounded = [(each, numbers) for each, numbers in mixed if numbers != "float32"]
    return _with_mixed(for_operators(recipe, keys), rounded)


def _mixed(
    recipe: Recipe, operators: Sequence[Labelled], by_layer: Mapping[str, str] | None
) -> list[tuple[Labelled, str]]:
    """The operators that have numbers of their own, with these: by the recipe's patterns, or by
    what was found for each layer."""
    if by_layer is not None:
        return [(each, by_layer[each.layer]) for each in operators if each.layer in by_layer]
    found: dict[int, str] = {}
    for pattern, numbers in recipe.quantize.numbers.items():
        found |= dict.fromkeys(chosen([pattern], operators), numbers)
    return [(operators[at], found[at]) for at in sorted(found)]


def _check_mixed(tree: Any, mixed: Sequence[tuple[Labelled, str]], recipe: Recipe) -> None:
    """Raise ConversionError where a layer is not in the numbers that it was given."""
    made = {each.location: each for each in flatbuffer.operators(tree)}
    for asked, numbers in mixed:
        found = made.get(asked.key.removesuffix(";"))
        if found is None or found.name not in _MATH:
            continue
        kind = _INTEGER.get(numbers)
        right = found.inputs[:1] == (kind,) if kind else "float32" not in found.constants
        if not right:
            raise ConversionError(f"{recipe.name}: {asked.layer} did not become {numbers}")


def _said_mixed(mixed: Sequence[tuple[Labelled, str]]) -> list[str]:
    notes = []
    for numbers in dict.fromkeys(numbers for _, numbers in mixed):
        layers = list(dict.fromkeys(each.layer for each, its in mixed if its == numbers))
        more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
        notes.append(f"in {numbers}, as the recipe says: {', '.join(layers[:6])}{more}")
    return notes


def _exactly(key: str) -> str:
    return f"^{re.escape(key)}$"


def for_operators(recipe: Recipe, keys: Sequence[str]) -> Any:
    """What ai-edge-quantizer is told to quantize the operators with these keys and no others."""
    mine = "|".join(_exactly(key) for key in keys)
    # The borders, which come last and stay in float, have the names of operators, too.
    return [
        each if each["operation"] in ("INPUT", "OUTPUT") else {**each, "regex": mine}
        for each in _for_all(recipe, ())
        if keys or each["operation"] in ("INPUT", "OUTPUT")  # an empty expression means all
    ]


def quantized(content: bytes, told: Any, ranges: Path | None, recipe: Recipe) -> bytes:
    """`content` as ai-edge-quantizer is told, with what it leaves wrong put right.

    Raises:
        ConversionError: it fails.
    """
    from ai_edge_litert.tools import flatbuffer_utils
    from ai_edge_quantizer import quantizer

    statistics = None
    source = flatbuffer.read(content)
    if ranges is not None:
        known = json.loads(ranges.read_text(encoding="utf-8"))
        if tflite_pads.fill(source, known):
            content = bytes(flatbuffer_utils.convert_object_to_bytearray(source))
        statistics = _statistics(source, known, recipe)
    try:
        made = quantizer.Quantizer(content, told).quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
    except (RuntimeError, ValueError, KeyError, IndexError, NotImplementedError) as exc:
        raise ConversionError(f"ai-edge-quantizer failed: {_line(exc)}") from exc
    tree = flatbuffer.read(bytes(made.quantized_model))
    changed = _settle_unread_outputs(tree) + tflite_bias.fit(source, tree)
    if not changed:
        return bytes(made.quantized_model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(tree))


# What LiteRT's kernels take 4-bit weights in; ai-edge-quantizer's policy agrees. A lookup is only
# in the dynamic kind.
FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")


def _for_all(recipe: Recipe, joins: Sequence[tflite_joins.Join]) -> Any:
    """What holds for the whole model."""
    from ai_edge_quantizer import algorithm_manager, qtyping
    from ai_edge_quantizer.algorithms.nonlinear_quantize import float_casting
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    if recipe.quantization == "float16":
        for operation in sorted(float_casting.SUPPORTED_WEIGHT_QUANT_OPS):
            manager.add_quantization_config(
                regex=".*",
                operation_name=operation,
                op_config=qtyping.OpQuantizationConfig(
                    weight_tensor_config=qtyping.TensorQuantizationConfig(
                        num_bits=16, dtype=qtyping.TensorDataType.FLOAT
                    ),
                    compute_precision=qtyping.ComputePrecision.FLOAT,
                ),
                algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
            )
        return manager.get_quantization_recipe()
    per_tensor = recipe.quantize.weights == "per-tensor"
    spread = qtyping.QuantGranularity
    scales = spread.TENSORWISE if per_tensor else spread.CHANNELWISE
    every = qtyping.TFLOperationName.ALL_SUPPORTED
    four = FOUR_BITS if recipe.weight_bits == 4 else ()
    if recipe.quantization in ("dynamic-int8", "dynamic-int4"):
        manager.add_dynamic_config(".*", every, num_bits=8, granularity=scales)
        # XNNPACK has no depthwise convolution with float input and 8-bit weights; LiteRT's own is
        # slow and splits the graph. Weights in 8 bits and arithmetic in float keep it whole.
        manager.add_weight_only_config(
            ".*", qtyping.TFLOperationName.DEPTHWISE_CONV_2D, num_bits=8, granularity=scales
        )
        for name in four:
            manager.add_dynamic_config(
                ".*", qtyping.TFLOperationName(name), num_bits=4, granularity=scales
            )
        return manager.get_quantization_recipe()
    bits = {"int8": 8, "int16x8": 16}[recipe.quantization]
    manager.add_static_config(
        ".*", every, activation_num_bits=bits, weight_num_bits=8, weight_granularity=scales
    )
    for name in four[:2]:
        manager.add_static_config(
            ".*",
            qtyping.TFLOperationName(name),
            activation_num_bits=bits,
            weight_num_bits=4,
            weight_granularity=scales,
        )
    if recipe.needs_calibration and recipe.io == "float":
        for border in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
            manager.add_quantization_config(
                regex=".*",
                operation_name=border,
                op_config=None,
                algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
            )
        for name in {name for join in joins for name in join.operators}:
            manager.add_quantization_config(
                regex=f"^{re.escape(name)};?$",  # the names of an operator's outputs, each with ;
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                op_config=None,
                algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
            )
    return manager.get_quantization_recipe()


@dataclass(frozen=True)
class _Blocks:
    """Dense layers by whether their weights can be in blocks of the size asked for.

    Attributes:
        inside: keys of those whose rows are so many whole blocks.
        others: how many have other rows; they have a scale for each output.
    """

    inside: tuple[str, ...] = ()
    others: int = 0


def _in_blocks(tree: Any, recipe: Recipe) -> _Blocks:
    """LiteRT's kernels take blocks in dense layers; ai-edge-quantizer wants whole ones.

    Raises:
        ConversionError: blocks were asked for, and no dense layer can have them.
    """
    wanted = recipe.quantize.weights
    if not wanted.startswith("block-"):
        return _Blocks()
    size = int(wanted.removeprefix("block-"))
    graph = tree.subgraphs[0]
    rows = {
        each.key: int(graph.tensors[operator.inputs[1]].shape[-1])
        for operator, each in zip(graph.operators, labelled(tree), strict=True)
        if each.kind == "FULLY_CONNECTED"
        and flatbuffer.is_constant(tree, graph.tensors[operator.inputs[1]])
    }
    inside = tuple(key for key, length in rows.items() if length % size == 0)
    if not inside:
        had = (
            f"; rows are {', '.join(map(str, sorted(set(rows.values()))[:6]))} long" if rows else ""
        )
        raise ConversionError(
            f"{recipe.name}: no dense layer's weights are whole blocks of {size}{had}",
            hint='take weights = "per-channel", or a smaller block',
        )
    return _Blocks(inside, len(rows) - len(inside))


def _said(recipe: Recipe, spared: Sequence[Labelled], blocks: _Blocks, tree: Any) -> list[str]:
    """What was done other than usual, as sentences for the report."""
    notes = []
    if spared:
        layers = list(dict.fromkeys(each.layer for each in spared))
        more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
        notes.append(f"in float, as the recipe says: {', '.join(layers[:6])}{more}")
    if blocks.inside:
        notes.append(
            f"{len(blocks.inside)} of {len(blocks.inside) + blocks.others} dense layers have a "
            f"scale for each {recipe.quantize.weights.replace('-', ' of ')} weights"
            + ("" if not blocks.others else "; the others' rows are not whole blocks")
        )
    if recipe.weight_bits == 4:
        kinds = [op.constants for op in flatbuffer.operators(tree)]
        four = sum("int4" in each for each in kinds)
        eight = sum("int8" in each for each in kinds)
        notes.append(
            f"{four} of {four + eight} operators with quantized weights have them in 4 bits"
            + ("; LiteRT has no such kernel for the others, which have 8" if eight else "")
        )
    return notes


def _way(folder: Path) -> str:
    """How the float file in a step's folder was made, and what comes after that."""
    kept = folder / RESULT_FILE
    if not kept.exists():  # a file that no step has made
        return WAY
    return f"{json.loads(kept.read_text(encoding='utf-8'))['way']}, then {WAY}"


def _uneven_joins(tree: Any, path: Path, recipe: Recipe) -> list[tflite_joins.Join]:
    """16 bits have room for a join of uneven parts, 8 have not."""
    if recipe.quantization != "int8":
        return []
    return tflite_joins.uneven(tree, json.loads(path.read_text(encoding="utf-8")))


# -------------------------------------------------------------------------------- checks


def refuse_quantized(tree: Any) -> None:
    """ai-edge-quantizer does nothing, without a word, to a model trained with quantization.

    Raises:
        ConversionError: there are quantization operators in the float model.
    """
    found = sorted({op.name for op in flatbuffer.operators(tree) if op.name in _QUANTIZED_ALREADY})
    if found:
        raise ConversionError(
            f"the float model already holds {', '.join(found)} operators: it was trained with "
            "quantization, and quantizing it once more would be wrong",
            hint="strip the quantization wrappers before saving, or convert it with float32",
        )


_SLICERS = frozenset({"SPLIT", "SPLIT_V", "UNPACK"})


def _settle_unread_outputs(tree: Any) -> int:
    """Give outputs that nobody reads the type of their siblings; how many there were.

    ai-edge-quantizer leaves them in float, and LiteRT then refuses the operator. The first step of
    an unrolled LSTM has one: it forgets nothing yet, so its forget gate is not read.
    """
    count = 0
    for graph in tree.subgraphs:
        read = {int(index) for operator in graph.operators for index in operator.inputs}
        read |= {int(index) for index in graph.outputs}
        for operator, described in zip(
            graph.operators, flatbuffer.operators_of(tree, graph), strict=True
        ):
            outputs = [graph.tensors[index] for index in operator.outputs]
            whole = [tensor for tensor in outputs if flatbuffer.dtype(tensor) != "float32"]
            if described.name not in _SLICERS or not whole:
                continue
            for index, tensor in zip(operator.outputs, outputs, strict=True):
                if flatbuffer.dtype(tensor) == "float32" and int(index) not in read:
                    tensor.type, tensor.quantization = whole[0].type, whole[0].quantization
                    count += 1
    return count


def refuse_loops(tree: Any, recipe: Recipe) -> None:
    """Loops have no integer form: TFLiteConverter aborts on them, ai-edge-quantizer makes a file
    whose loop body has another type than its caller, which no runtime loads.

    Raises:
        ConversionError: the model has a WHILE or IF operator.
    """
    found = sorted({op.name for op in flatbuffer.operators(tree)} & {"WHILE", "IF"})
    if found:
        raise ConversionError(
            f"{recipe.name}: {' and '.join(found)} operators (recurrent layers become loops) "
            "have no integer form in TFLite",
            hint="take dynamic or float16 instead, or give the recurrent layers unroll=True",
        )


def _open(path: Path, recipe: Recipe) -> None:
    """Raises ConversionError if LiteRT refuses the file."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_path=str(path), num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as exc:
        raise ConversionError(
            f"{recipe.name}: LiteRT does not load the file: {_line(exc)}"
        ) from exc


_MATH = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL",
     "UNIDIRECTIONAL_SEQUENCE_LSTM", "CONV_3D", "EMBEDDING_LOOKUP"}
)  # fmt: skip
_INTEGER = {"int8": "int8", "int16x8": "int16"}


def check(tree: Any, recipe: Recipe, *, spared: Sequence[Labelled] = ()) -> None:
    """The file must hold what was asked for, not a float model in disguise.

    Args:
        spared: operators that stay in float.

    Raises:
        ConversionError: an operator with weights is not in the type asked for; names it.
    """
    operators = list(flatbuffer.operators(tree))
    left = {each.key.removesuffix(";") for each in spared}  # such operators have one output
    heavy = [op for op in operators if op.name in _MATH and op.location not in left]
    if recipe.quantization in ("float16", "dynamic-int8", "dynamic-int4"):
        wrong = [op for op in heavy if "float32" in op.constants]
    else:
        kind = _INTEGER[recipe.quantization]
        # A lookup multiplies nothing: its table may stay in float, its ids are integers anyhow.
        heavy = [op for op in heavy if op.name != "EMBEDDING_LOOKUP"]
        wrong = [op for op in heavy if op.inputs[:1] != (kind,) or op.outputs[:1] != (kind,)]
    if wrong or not heavy:
        names = sorted({op.name for op in wrong}) or sorted({op.name for op in operators})
        what = f"{', '.join(names)} stayed in float" if wrong else "it has no operator with weights"
        where = f" ({wrong[0].location})" if wrong else ""
        raise ConversionError(f"{recipe.name}: {what}{where}")
    if recipe.weight_bits == 4 and not any("int4" in op.constants for op in operators):
        raise ConversionError(
            f"{recipe.name}: no operator of this model takes 4-bit weights in LiteRT",
            hint=f"{', '.join(FOUR_BITS)} do; take dynamic or int8",
        )
    if recipe.needs_calibration:
        _check_border(tree, recipe)


def _check_border(tree: Any, recipe: Recipe) -> None:
    signature = flatbuffer.signature(tree)
    kind = _INTEGER[recipe.quantization]
    unwanted = "float32" if recipe.io == "integer" else kind
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype == unwanted:
            raise ConversionError(f"{recipe.name}: {spec.name!r} is {spec.dtype} in the artifact")


def _in_order(made: Signature, wanted: Signature) -> Signature:
    """The artifact's specs in the source's order; every name has to be there.

    Raises:
        ConversionError: the quantizer lost or renamed an input or output.
    """
    inputs = {spec.name: spec for spec in made.inputs}
    outputs = {spec.name: spec for spec in made.outputs}
    if (set(inputs), set(outputs), made.name) != (
        {spec.name for spec in wanted.inputs},
        {spec.name for spec in wanted.outputs},
        wanted.name,
    ):
        raise ConversionError("the quantizer changed the names in the signature")
    return Signature(
        name=made.name,
        inputs=tuple(inputs[spec.name] for spec in wanted.inputs),
        outputs=tuple(outputs[spec.name] for spec in wanted.outputs),
    )


def _line(exc: Exception) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0][:250] if lines else type(exc).__name__
