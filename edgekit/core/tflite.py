"""What TFLite's operators and tensor names mean: multiply-adds and the user's layers.

What counts as a multiply-add is said by `edgekit.core.macs`. Layouts of weights, as in the schema's
comments and LiteRT's kernels:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from edgekit.core import macs
from edgekit.core.macs import Shape

Shapes = Sequence[Shape]
LONGEST_NAME = 200


def multiply_adds(name: str, inputs: Sequence[Shape | None], outputs: Sequence[Shape]) -> int:
    """Multiply-adds of one run of an operator; 0 for operators that sum no products.

    Args:
        name: as in the schema ("CONV_2D").
        inputs: shapes in the operator's order, None for an input that is left out.
        outputs: the same.

    Raises:
        ValueError: it has fewer inputs or dimensions than the operator takes.
    """
    count = _COUNTS.get(name)
    if count is None or not outputs:
        return 0
    try:
        return count([() if shape is None else shape for shape in inputs], outputs[0])
    except IndexError as exc:
        raise ValueError(f"{name} has too few inputs or dimensions") from exc


def layer_name(tensor: str) -> str:
    """The nearest to the user's layer that a tensor's name tells: the first of what was fused.

    ``functional_1/conv2d_1/Relu;functional_1/conv2d_1/BiasAdd`` → ``functional_1/conv2d_1/Relu``
    """
    return tensor.partition(";")[0].strip()[:LONGEST_NAME]


def _conv(shapes: Shapes, output: Shape) -> int:
    """Kernel: output channels, spatial sizes, input channels of a group."""
    kernel = shapes[1]
    return macs.conv(output, kernel[1:-1], kernel[-1])


def _conv_3d(shapes: Shapes, output: Shape) -> int:
    """Kernel: depth, height, width, input channels, output channels."""
    kernel = shapes[1]
    return macs.conv(output, kernel[:-2], kernel[-2])


def _depthwise(shapes: Shapes, output: Shape) -> int:
    """Kernel: 1, height, width, output channels."""
    return macs.depthwise_conv(output, shapes[1][1:-1])


def _transposed(shapes: Shapes, output: Shape) -> int:
    """Inputs: the output's shape, kernel (output channels, sizes, input channels), input."""
    kernel = shapes[1]
    return macs.transposed_conv(shapes[2], kernel[1:-1], kernel[0])


def _transposed_3d(shapes: Shapes, output: Shape) -> int:
    """Inputs: the output's shape, kernel (sizes, output channels, input channels), input."""
    kernel = shapes[1]
    return macs.transposed_conv(shapes[2], kernel[:-2], kernel[-2])


def _fully_connected(shapes: Shapes, output: Shape) -> int:
    """Kernel: outputs, inputs."""
    return macs.fully_connected(output, shapes[1][-1])


def _batch_matmul(shapes: Shapes, output: Shape) -> int:
    """Either side may be stored transposed.

    Of the left one's last two sizes, one is the rows of the result and the other what is summed.
    """
    first = shapes[0]
    return macs.fully_connected(output, first[-2] * first[-1] // max(output[-2], 1))


def _lstm_sequence(shapes: Shapes, output: Shape) -> int:
    """Steps and batch in either order; weights (units, features) of four gates at inputs 1 to 4."""
    first, weights = shapes[0], shapes[2]
    return macs.lstm(first[0] * first[1], 1, weights[1], weights[0], _projection(shapes))


def _lstm_both_ways(shapes: Shapes, output: Shape) -> int:
    """Weights of the forward layer at inputs 1 to 17, of the backward one after them."""
    return 2 * _lstm_sequence(shapes, output)


def _projection(shapes: Shapes) -> int:
    """Of an LSTM, whose projection is input 16 in all of TFLite's kinds; 0 without."""
    projection = shapes[16] if len(shapes) > 16 else ()
    return projection[0] if projection else 0


def _lstm_cell(shapes: Shapes, output: Shape) -> int:
    """One step; the basic form has five inputs: input, state, kernel, bias, cell."""
    batch, inputs = shapes[0][0], shapes[0][-1]
    if len(shapes) >= 20:
        return macs.lstm(1, batch, inputs, shapes[2][0], _projection(shapes))
    return macs.lstm(1, batch, inputs, shapes[1][-1])


def _rnn_sequence(shapes: Shapes, output: Shape) -> int:
    """As of an LSTM, with one gate."""
    first, weights = shapes[0], shapes[1]
    return macs.rnn(first[0] * first[1], 1, weights[1], weights[0])


def _rnn_cell(shapes: Shapes, output: Shape) -> int:
    return macs.rnn(1, shapes[0][0], shapes[1][1], shapes[1][0])


def _svdf(shapes: Shapes, output: Shape) -> int:
    """Features (filters, inputs) on each frame, then time (filters, memory) on what was kept."""
    features, time = shapes[1], shapes[2]
    return shapes[0][0] * (math.prod(features) + math.prod(time))


_COUNTS: Mapping[str, Callable[[Shapes, Shape], int]] = {
    "CONV_2D": _conv,
    "CONV_3D": _conv_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D_TRANSPOSE": _transposed_3d,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm_sequence,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _lstm_both_ways,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _rnn_sequence,
    "LSTM": _lstm_cell,
    "RNN": _rnn_cell,
    "SVDF": _svdf,
}
