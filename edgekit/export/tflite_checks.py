"""What a ``.tflite`` must not be before it is quantized, and has to be after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.layers import Labelled
from edgekit.core.recipe import Recipe
from edgekit.export import flatbuffer
from edgekit.export.tflite_instructions import FOUR_BITS

_QUANTIZED_ALREADY = ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT")
_MATH = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL",
     "UNIDIRECTIONAL_SEQUENCE_LSTM", "CONV_3D", "EMBEDDING_LOOKUP"}
)  # fmt: skip
_INTEGER = {"int8": "int8", "int16x8": "int16"}


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


def check_mixed(tree: Any, mixed: Sequence[tuple[Labelled, str]], recipe: Recipe) -> None:
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


def check_loads(path: Path, name: str, what: str = "the file") -> None:
    """Raises ConversionError if LiteRT refuses the file, with the variant's name."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_path=str(path), num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as exc:
        raise ConversionError(f"{name}: LiteRT does not load {what}: {first_line(exc)}") from exc


def first_line(exc: Exception) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[0][:250] if lines else type(exc).__name__
