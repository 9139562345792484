"""A float32 ``.tflite`` → quantized ones with ai-edge-quantizer, without TensorFlow.

    tflite_calibrate      the ranges of activations, from samples
    tflite_instructions   what the quantizer is told
    tflite_checks         whether it did it

and here what comes between: which layers get which numbers, and what it leaves wrong put right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.files import sha256_file
from edgekit.core.layers import Labelled, chosen
from edgekit.core.quantize import LayerNumbers
from edgekit.core.recipe import Recipe
from edgekit.core.tensor import Signature
from edgekit.export import (
    flatbuffer,
    tflite_bias,
    tflite_joins,
    tflite_pads,
    tflite_short,
    tflite_transposes,
)
from edgekit.export.kept import ranged
from edgekit.export.tflite_calibrate import FILE, RANGES, as_statistics
from edgekit.export.tflite_checks import (
    check,
    check_loads,
    check_mixed,
    first_line,
    refuse_loops,
    refuse_quantized,
)
from edgekit.export.tflite_instructions import instructions
from edgekit.export.tflite_layers import kept_layers, kept_result, labelled
from edgekit.work.cache import RESULT_FILE

WAY = "ai-edge-quantizer"
# What comes with this version of the operator is a dense layer with a float input and 8-bit weights
# that have a scale for each output channel (tflite/tools/versioning/op_version.cc).
# ai-edge-quantizer leaves the number as it was; older runtimes then take one scale for all channels
# and compute nonsense. With the right number they refuse the file.
PER_CHANNEL_DYNAMIC_DENSE = 12
_SLICERS = frozenset({"SPLIT", "SPLIT_V", "UNPACK"})


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
    told = instructions(wish, joins, spared, blocks.inside, mixed)
    known = None if ranges is None else Path(ranges) / RANGES
    (out / FILE).write_bytes(quantized(path.read_bytes(), told, known, wish))
    tree = flatbuffer.read(out / FILE)
    shortened = None
    if wish.quantize.scales == "short":
        shortened = tflite_short.shorten(source, tree)
    if _state_dense_version(tree) or shortened is not None:
        flatbuffer.write(tree, out / FILE)
    check(tree, wish, spared=[*spared, *(each for each, _ in mixed)])
    check_mixed(tree, mixed, wish)
    if wish.io == "float":
        tflite_joins.check(tree, joins)
    check_loads(out / FILE, wish.name)
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
        statistics = as_statistics(source, known, recipe)
    try:
        made = quantizer.Quantizer(content, told).quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
    except (RuntimeError, ValueError, KeyError, IndexError, NotImplementedError) as exc:
        raise ConversionError(f"ai-edge-quantizer failed: {first_line(exc)}") from exc
    tree = flatbuffer.read(bytes(made.quantized_model))
    changed = _settle_unread_outputs(tree) + tflite_bias.fit(source, tree)
    if not changed:
        return bytes(made.quantized_model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(tree))


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


def _uneven_joins(tree: Any, path: Path, recipe: Recipe) -> list[tflite_joins.Join]:
    """16 bits have room for a join of uneven parts, 8 have not."""
    if recipe.quantization != "int8":
        return []
    return tflite_joins.uneven(tree, json.loads(path.read_text(encoding="utf-8")))


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


def _way(folder: Path) -> str:
    """How the float file in a step's folder was made, and what comes after that."""
    kept = folder / RESULT_FILE
    if not kept.exists():  # a file that no step has made
        return WAY
    return f"{json.loads(kept.read_text(encoding='utf-8'))['way']}, then {WAY}"


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


def _said_mixed(mixed: Sequence[tuple[Labelled, str]]) -> list[str]:
    notes = []
    for numbers in dict.fromkeys(numbers for _, numbers in mixed):
        layers = list(dict.fromkeys(each.layer for each, its in mixed if its == numbers))
        more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
        notes.append(f"in {numbers}, as the recipe says: {', '.join(layers[:6])}{more}")
    return notes
