"""Scales and biases that zip: numbers of few digits in the place of random ones.

    [quantize]
    scales = "short"

A file of INT8 weights has two 32-bit numbers for each output channel beside them that are as good
as random, the scale of the channel's weights and that of its bias (the product of the input's scale
and the weights'), and a third, the bias, of which two bytes are. In a small network whose weights
zip well that is half of the zipped file. Here

    activations   scales are rounded up to `ACTIVATION_BITS` bits after the leading one: ranges grow
                  by a quarter at most, by a tenth on average
    weights       scales are rounded up to `WEIGHT_BITS` such bits, and the weights are quantized
                  again with them: steps grow by 1/16 at most. Where a kernel has few values
                  (clusters), which would be other ones in each channel then, the integers stay and
                  scales are rounded to the nearest: 1/32 of a channel's weights at most
    biases        are rounded to 1/`PARTS` of a step of the output, or finer, in powers of two; the
                  output itself is rounded to whole steps

    names         of constants become numbers; operators are known by the names of what they give.
                  What the converter wrote about itself goes

so that a bias' scale is still exactly the product that the format demands, with few digits, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekit.export import flatbuffer
from edgekit.export.tflite_bias import BIAS, INPUT, WEIGHTS, biased, replace, values_of

ACTIVATION_BITS = 2
WEIGHT_BITS = 4
PARTS = 2
CLUSTERED = 64  # values, at most, of a kernel whose weights share few
MOST = 127
ABOUT_THE_CONVERTER = b"CONVERSION_METADATA"
_BIASES = {"int32", "int64"}
_INTEGERS = {"int8", "int16"}


@dataclass
class Shortened:
    """How many operators have short scales now, and of how many the weights kept their integers."""

    operators: int = 0
    kept: int = 0

    @property
    def note(self) -> str:
        """A sentence for the report."""
        kept = f", {self.kept} of them with the same integers" if self.kept else ""
        return f"{self.operators} operators have scales and biases of few digits{kept}"


def rounded(numbers: Any, bits: int, *, up: bool) -> Any:
    """Positive `numbers` with so many binary digits after the leading one, as float32."""
    import numpy as np

    mantissa, exponent = np.frexp(np.asarray(numbers, dtype=np.float64))
    steps = mantissa * 2.0 ** (bits + 1)
    # A scale that is short already may be off by float32's rounding.
    steps = np.ceil(steps * (1 - 1e-6)) if up else np.rint(steps)
    return np.ldexp(steps / 2.0 ** (bits + 1), exponent).astype(np.float32)


def shorten(source: Any, made: Any) -> Shortened:
    """Make the scales and biases of `made` short.

    Args:
        source: the float model's object tree.
        made: that of the model which was quantized from it; changed in place.
    """
    done = Shortened()
    for before, after in zip(source.subgraphs, made.subgraphs, strict=True):
        olds, news = biased(source, before), biased(made, after)
        wanted = [_wanted_bias(made, after, new) for _, new in news]
        _activations(made, after)
        for (_, old), (_, new), bias in zip(olds, news, wanted, strict=True):
            _operator(source, before, old, made, after, new, bias, done)
        _number_constants(made, after)
    made.metadata = [each for each in made.metadata or () if each.name != ABOUT_THE_CONVERTER]
    return done


def _number_constants(made: Any, graph: Any) -> None:
    ends = {int(index) for index in (*graph.inputs, *graph.outputs)}
    for index, tensor in enumerate(graph.tensors):
        if flatbuffer.is_constant(made, tensor) and index not in ends:
            tensor.name = str(index).encode()


def _activations(made: Any, graph: Any) -> None:
    """Round the scales of all activations up; equal ones stay equal, as operators demand it."""
    import numpy as np

    tensors = [each for each in graph.tensors if _scales(each) is not None]
    constants = [each for each in tensors if flatbuffer.is_constant(made, each)]
    # A constant that is joined with an activation, or added to it, has its scale.
    shared = {float(scale) for each in constants for scale in _scales(each)}
    for each in tensors:
        scale = float(_scales(each)[0])
        if flatbuffer.dtype(each) in _INTEGERS and each not in constants and scale not in shared:
            each.quantization.scale = np.atleast_1d(rounded(scale, ACTIVATION_BITS, up=True))


def _scales(tensor: Any) -> Any:
    about = tensor.quantization
    return None if about is None or about.scale is None or not len(about.scale) else about.scale


def _parts(made: Any, graph: Any, operator: Any) -> tuple[Any, Any, Any, Any] | None:
    """Its input, weights, bias (or None) and output; None where it is not one of integers."""
    entry, weights = (graph.tensors[operator.inputs[at]] for at in (INPUT, WEIGHTS))
    output = graph.tensors[operator.outputs[0]]
    has_bias = len(operator.inputs) > BIAS and operator.inputs[BIAS] >= 0
    bias = graph.tensors[operator.inputs[BIAS]] if has_bias else None
    fits = (
        flatbuffer.dtype(weights) == "int8"
        and flatbuffer.is_constant(made, weights)
        and all(flatbuffer.dtype(each) in _INTEGERS for each in (entry, output))
        and (bias is None or flatbuffer.dtype(bias) in _BIASES)
    )
    return (entry, weights, bias, output) if fits else None


def _wanted_bias(made: Any, graph: Any, operator: Any) -> Any:
    """The numbers that the integers of its bias stand for; None without one."""
    import numpy as np

    parts = _parts(made, graph, operator)
    if parts is None or parts[2] is None:
        return None
    bias = parts[2]
    integers = values_of(made, bias, flatbuffer.dtype(bias)).astype(np.float64)
    return integers * np.asarray(bias.quantization.scale, dtype=np.float64)


def _operator(
    source: Any,
    before: Any,
    old: Any,
    made: Any,
    after: Any,
    new: Any,
    wanted: Any,
    done: Shortened,
) -> None:
    import numpy as np

    parts = _parts(made, after, new)
    if parts is None:
        return
    entry, weights, bias, output = parts
    stored = values_of(made, weights, np.int8).reshape(tuple(weights.shape))
    scales = np.asarray(weights.quantization.scale, dtype=np.float64)
    few = len(np.unique(stored)) <= CLUSTERED
    short = rounded(scales, WEIGHT_BITS, up=not few)
    if few:
        done.kept += 1
    else:
        original = before.tensors[old.inputs[WEIGHTS]]
        numbers = values_of(source, original, np.float32).reshape(tuple(original.shape))
        axis = weights.quantization.quantizedDimension
        shape = [-1 if at == axis and len(short) > 1 else 1 for at in range(stored.ndim)]
        stored = np.clip(np.rint(numbers / short.reshape(shape)), -MOST, MOST).astype(np.int8)
    replace(made, after, new, WEIGHTS, stored, short)
    done.operators += 1
    if bias is None:
        return
    steps = short * np.float32(entry.quantization.scale[0])
    units = float(output.quantization.scale[0]) / steps.astype(np.float64) / PARTS
    units = 2.0 ** np.maximum(0, np.floor(np.log2(units)))
    kind = flatbuffer.dtype(bias)
    limits = np.iinfo(kind)
    integers = np.rint(wanted / steps / units) * units
    replace(made, after, new, BIAS, np.clip(integers, limits.min, limits.max).astype(kind), steps)
