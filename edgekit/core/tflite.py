"""What TFLite's operators and tensor names mean: multiply-adds and the user's layers.

What counts as a multiply-add is said by `edgekit.core.macs`. Layouts of weights:
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core import macs
from edgekit.core.macs import Shape


def multiply_adds(name: str, inputs: Sequence[Shape | None], outputs: Sequence[Shape]) -> int:
    """Multiply-adds of one run of an operator; 0 for operators that sum no products.

    Args:
        name: as in the schema ("CONV_2D").
        inputs: shapes in the operator's order, None for an input that is left out.
        outputs: the same.
    """
    if not outputs or len(inputs) < 2:
        return 0
    first, weights, output = inputs[0], inputs[1], outputs[0]
    if first is None or weights is None:
        return 0
    if name in ("CONV_2D", "CONV_3D"):
        # OHWI, and DHWIO for three dimensions. Grouped ones hold the channels of a group only.
        kernel, channels = (
            (weights[1:-1], weights[-1]) if name == "CONV_2D" else (weights[:3], weights[3])
        )
        return macs.conv(output, kernel, channels)
    if name == "DEPTHWISE_CONV_2D":  # 1HWC
        return macs.depthwise_conv(output, weights[1:3])
    if name == "TRANSPOSE_CONV" and len(inputs) > 2 and inputs[2] is not None:  # OHWI, input third
        return macs.transposed_conv(inputs[2], weights[1:3], weights[0])
    if name == "FULLY_CONNECTED":
        return macs.fully_connected(output, weights[-1])
    if name == "BATCH_MATMUL":
        # Either side may be stored transposed: of the left one's last two sizes, one is the rows
        # of the result and the other what is summed over.
        summed = first[-2] * first[-1] // max(output[-2], 1)
        return macs.fully_connected(output, summed)
    if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        recurrent = inputs[6] if len(inputs) > 6 else None  # units × outputs
        hidden = weights[0]
        state = recurrent[-1] if recurrent is not None else hidden
        rows = first[0] * first[1]  # steps and batch, in either order
        return macs.lstm(rows, 1, first[-1], hidden, state if state != hidden else 0)
    return 0


def layer_name(tensor: str) -> str:
    """The nearest to the user's layer that a tensor's name tells: the first of what was fused.

    ``functional_1/conv2d_1/Relu;functional_1/conv2d_1/BiasAdd`` → ``functional_1/conv2d_1/Relu``
    """
    return tensor.partition(";")[0].strip()
