"""Biases that do not fit: where ai-edge-quantizer lets them wrap around, this does not.

A bias is stored in steps of (scale of the input × scale of the weight's channel). Where inputs and
weights are tiny and the bias is not (the ``+ 3`` of a hard sigmoid, folded into a convolution), it
needs more steps than the sum has room for: 2³¹, or 2⁴⁷ with 16-bit activations (the kernels'
``MultiplyByQuantizedMultiplier`` on 64-bit sums). The channel's weights are then stored in coarser
steps, so that the bias fits: what they lose is nothing beside that bias. TFLiteConverter does the
same with the same bound for 32 bits (half the type's greatest value, ``kBiasMax``). Without it INT8
MobileNetV3Small has 4.2 dB less.
"""

from __future__ import annotations

import copy
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.export import flatbuffer

# By the types of input, weights and bias. Half of the room is left to the products.
MOST_STEPS = {("int8", "int8", "int32"): 2**30, ("int16", "int8", "int64"): 2**46}
WITH_BIAS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
INPUT, WEIGHTS, BIAS = 0, 1, 2


def fit(source: Any, made: Any) -> int:
    """Make every integer bias of `made` fit; how many operators were changed.

    Args:
        source: the float model's object tree.
        made: that of the model which was quantized from it; changed in place.
    """
    changed = 0
    for before, after in zip(source.subgraphs, made.subgraphs, strict=True):
        olds, news = biased(source, before), biased(made, after)
        if [name for name, _ in olds] != [name for name, _ in news]:
            raise ConversionError("the quantizer changed the order of the model's operators")
        for (_, old), (_, new) in zip(olds, news, strict=True):
            changed += _fit_one(source, before, old, made, after, new)
    return changed


def biased(tree: Any, graph: Any) -> list[tuple[str, Any]]:
    """The operators that may have a bias, with their kinds, in order."""
    described = flatbuffer.operators_of(tree, graph)
    return [
        (about.name, operator)
        for operator, about in zip(graph.operators, described, strict=True)
        if about.name in WITH_BIAS
    ]


def _fit_one(source: Any, before: Any, old: Any, made: Any, after: Any, new: Any) -> bool:
    import numpy as np

    if len(new.inputs) <= BIAS or new.inputs[BIAS] < 0:
        return False
    entry, weights, bias = (after.tensors[new.inputs[at]] for at in (INPUT, WEIGHTS, BIAS))
    types = flatbuffer.dtype(entry), flatbuffer.dtype(weights), flatbuffer.dtype(bias)
    if types not in MOST_STEPS:
        return False
    wanted = values_of(source, before.tensors[old.inputs[BIAS]], np.float32).astype(np.float64)
    step = float(entry.quantization.scale[0])
    scales = np.asarray(weights.quantization.scale, dtype=np.float64)
    needed = np.abs(wanted) / (MOST_STEPS[types] * step)
    if len(scales) == 1:
        needed = needed.max(keepdims=True)
    if not (needed > scales).any():
        return False
    coarser = np.maximum(scales, needed).astype(np.float32)
    original = before.tensors[old.inputs[WEIGHTS]]
    values = values_of(source, original, np.float32).reshape(tuple(original.shape))
    axis = weights.quantization.quantizedDimension if len(coarser) > 1 else 0
    shape = [-1 if at == axis and len(coarser) > 1 else 1 for at in range(values.ndim)]
    stored = np.clip(np.round(values / coarser.reshape(shape)), -127, 127).astype(np.int8)
    bias_scales = coarser * np.float32(step)
    steps = np.round(wanted / bias_scales.astype(np.float64)).astype(types[2])
    replace(made, after, new, WEIGHTS, stored, coarser)
    replace(made, after, new, BIAS, steps, bias_scales)
    return True


def values_of(tree: Any, tensor: Any, dtype: Any) -> Any:
    """Of a constant, flat."""
    import numpy as np

    data = tree.buffers[tensor.buffer].data
    if data is None:
        raise ConversionError("a bias or weight of the float model is not a constant")
    return np.frombuffer(bytes(data), dtype=dtype)


def replace(tree: Any, graph: Any, operator: Any, at: int, values: Any, scales: Any) -> None:
    """Give this operator's constant new values; another reader of the old ones keeps them."""
    import numpy as np

    index = operator.inputs[at]
    tensor = graph.tensors[index]
    if _readers(graph, index) > 1:
        tensor = copy.deepcopy(tensor)
        graph.tensors.append(tensor)
        operator.inputs[at] = len(graph.tensors) - 1
    if sum(each.buffer == tensor.buffer for g in tree.subgraphs for each in g.tensors) > 1:
        tree.buffers.append(copy.copy(tree.buffers[tensor.buffer]))
        tensor.buffer = len(tree.buffers) - 1
    tree.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), dtype=np.uint8)
    tensor.quantization.scale = np.asarray(scales, dtype=np.float32)


def _readers(graph: Any, index: int) -> int:
    return sum(int(each) == int(index) for op in graph.operators for each in op.inputs)
