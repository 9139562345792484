"""What ai-edge-quantizer is told, as its recipe of regular expressions and operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgekit.core.layers import Labelled
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.export import tflite_joins

# What LiteRT's kernels take 4-bit weights in; ai-edge-quantizer's policy agrees. A lookup is only
# in the dynamic kind.
FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP")


def instructions(
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


def for_operators(recipe: Recipe, keys: Sequence[str]) -> Any:
    """What ai-edge-quantizer is told to quantize the operators with these keys and no others."""
    mine = "|".join(_exactly(key) for key in keys)
    # The borders, which come last and stay in float, have the names of operators, too.
    return [
        each if each["operation"] in ("INPUT", "OUTPUT") else {**each, "regex": mine}
        for each in _for_all(recipe, ())
        if keys or each["operation"] in ("INPUT", "OUTPUT")  # an empty expression means all
    ]


def for_mix(recipe: Recipe, keys: Sequence[str], mixed: Sequence[tuple[Labelled, str]]) -> Any:
    """What ai-edge-quantizer is told to quantize the operators with these keys as `recipe` says,
    those of `mixed` as these numbers say, and no others."""
    rounded = [(each, numbers) for each, numbers in mixed if numbers != "float32"]
    return _with_mixed(for_operators(recipe, keys), rounded)


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


def _exactly(key: str) -> str:
    return f"^{re.escape(key)}$"


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
