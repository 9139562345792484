"""What each kind of Keras layer does with channels. See `edgekit.compress.shrink_keras`.

A rule is a function of the marks and the call of a layer; it gives the output with its labels, or
None where the layer cannot be followed. A layer gets one with a line in `RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from edgekit.compress.channels import PINNED, keep_along
from edgekit.compress.shrink_keras_graph import (
    BINARY,
    ELEMENTWISE,
    Call,
    Tensor,
    is_elementwise,
    operation_name,
    words,
)
from edgekit.compress.shrink_keras_marks import Marks

PASSING = words(
    """
    Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout
    GaussianNoise ActivityRegularization Identity ReLU LeakyReLU ELU ThresholdedReLU Masking
    UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D
    Cropping2D Cropping3D MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D
    AveragePooling3D
    """
)
GLOBAL = frozenset(
    f"Global{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)
)
CONVS = {f"Conv{rank}D": False for rank in (1, 2, 3)} | {
    f"Conv{rank}DTranspose": True for rank in (1, 2, 3)
}
RECURRENT = frozenset(["LSTM", "GRU", "SimpleRNN"])
MERGES = frozenset(["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])


def conv(marks: Marks, call: Call) -> Tensor | None:
    """Conv1D to 3D and their transposes."""
    layer, (tensor,) = call.layer, call.inputs
    transposed = CONVS[type(layer).__name__]
    axis = _channel_axis(layer, tensor)
    shape = call.shapes[0]
    places = _product(shape, axis)
    kernel = _variable(layer, "kernel")
    if kernel is None or getattr(layer, "groups", 1) != 1 or not _fits(tensor, axis):
        if kernel is not None:
            marks.mark(call, kernel, {}, kind="kernel", macs=places)
        return None
    reads, makes = (-1, -2) if transposed else (-2, -1)
    labels = marks.made(kernel, makes)
    macs = _product(tensor.shape, axis) if transposed else places
    marks.mark(
        call,
        kernel,
        {reads: tensor.labels, makes: labels},
        kind="kernel",
        reads=reads % len(kernel.shape),
        macs=macs,
    )
    marks.bias(call, labels)
    marks.read(call, tensor)
    marks.activated(layer, labels)
    marks.configs[id(layer)] = marks.count("filters", labels)
    return Tensor(shape, axis, labels)


def depthwise(marks: Marks, call: Call) -> Tensor | None:
    """DepthwiseConv1D and 2D."""
    import numpy as np

    layer, (tensor,) = call.layer, call.inputs
    axis = _channel_axis(layer, tensor)
    kernel = _variable(layer, "depthwise_kernel", "kernel")
    if kernel is None or not _fits(tensor, axis):
        return None
    marks.mark(
        call, kernel, {-2: tensor.labels}, kind="kernel", macs=_product(call.shapes[0], axis)
    )
    if tensor.labels is None:
        return Tensor(call.shapes[0])
    labels = np.repeat(tensor.labels, kernel.shape[-1])
    marks.bias(call, labels)
    marks.activated(layer, labels)
    return Tensor(call.shapes[0], axis, labels)


def separable(marks: Marks, call: Call) -> Tensor | None:
    """SeparableConv1D and 2D: a depthwise kernel, and one of 1×1."""
    import numpy as np

    layer, (tensor,) = call.layer, call.inputs
    axis = _channel_axis(layer, tensor)
    depthwise = _variable(layer, "depthwise_kernel")
    pointwise = _variable(layer, "pointwise_kernel")
    if depthwise is None or pointwise is None or not _fits(tensor, axis):
        return None
    places = _product(call.shapes[0], axis)
    marks.mark(call, depthwise, {-2: tensor.labels}, kind="kernel", macs=places)
    labels = marks.made(pointwise, -1)
    between = tensor.labels
    if between is not None:
        between = np.repeat(between, depthwise.shape[-1])
    marks.mark(
        call,
        pointwise,
        {-2: between, -1: labels},
        kind="kernel",
        reads=len(pointwise.shape) - 2,
        macs=places,
    )
    marks.bias(call, labels)
    marks.activated(layer, labels)
    marks.configs[id(layer)] = marks.count("filters", labels)
    return Tensor(call.shapes[0], axis, labels)


def dense(marks: Marks, call: Call) -> Tensor | None:
    """Dense: the last axis."""
    layer, (tensor,) = call.layer, call.inputs
    kernel = _variable(layer, "kernel")
    axis = tensor.rank - 1
    if kernel is None or not _fits(tensor, axis):
        return None
    labels = marks.made(kernel, 1)
    macs = _product(call.shapes[0], axis)
    axes = {0: tensor.labels, 1: labels}
    marks.mark(call, kernel, axes, kind="kernel", reads=0, macs=macs)
    marks.bias(call, labels)
    marks.read(call, tensor)
    marks.activated(layer, labels)
    marks.configs[id(layer)] = marks.count("units", labels)
    return Tensor(call.shapes[0], axis, labels)


def embedding(marks: Marks, call: Call) -> Tensor | None:
    """Embedding: rows of numbers, no sums."""
    table = _variable(call.layer, "embeddings")
    if table is None:
        return None
    labels = marks.made(table, 1)
    marks.mark(call, table, {1: labels}, kind="kernel")
    marks.configs[id(call.layer)] = marks.count("output_dim", labels)
    return Tensor(call.shapes[0], len(call.shapes[0]) - 1, labels)


def recurrent(marks: Marks, call: Call) -> Tensor | None:
    """LSTM, GRU, SimpleRNN, one way or both: what they read may lose channels, their own
    state does not.
    """
    layer = call.layer
    if len(call.inputs) != 1 or not _fits(call.inputs[0], 2):
        return None
    (tensor,) = call.inputs
    both = type(layer).__name__ == "Bidirectional"
    layers = [layer.forward_layer, layer.backward_layer] if both else [layer]
    if any(type(each).__name__ not in RECURRENT for each in layers):
        return None
    cells = [each.cell for each in layers]
    steps = float(tensor.shape[1] or 1)
    for cell in cells:
        marks.mark(call, cell.kernel, {0: tensor.labels}, kind="kernel", reads=0, macs=steps)
        marks.mark(call, cell.recurrent_kernel, {}, kind="kernel", macs=steps)
    marks.read(call, tensor)
    return Tensor(call.shapes[0])


def batch_norm(marks: Marks, call: Call) -> Tensor | None:
    """BatchNormalization: numbers for each channel."""
    layer, (tensor,) = call.layer, call.inputs
    if not _fits(tensor, _norm_axis(layer, tensor)):
        return None
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        variable = getattr(layer, name, None)
        if variable is not None:
            kind = "norm" if name == "gamma" else "rest"
            marks.mark(call, variable, {0: tensor.labels}, kind=kind)
    return Tensor(call.shapes[0], tensor.axis, tensor.labels)


def layer_norm(marks: Marks, call: Call) -> Tensor | None:
    """LayerNormalization over the channels: it measures them, so what goes is missed."""
    layer, (tensor,) = call.layer, call.inputs
    if not _fits(tensor, _norm_axis(layer, tensor)):
        return None
    for name in ("gamma", "beta"):
        variable = getattr(layer, name, None)
        if variable is not None:
            marks.mark(call, variable, {0: tensor.labels})
    marks.exact = marks.exact and tensor.labels is None
    return Tensor(call.shapes[0], tensor.axis, tensor.labels)


def prelu(marks: Marks, call: Call) -> Tensor | None:
    """PReLU: a slope for each channel, or for each number."""
    layer, (tensor,) = call.layer, call.inputs
    if tensor.labels is not None:
        assert tensor.axis is not None
        along = tensor.axis - 1
        if layer.alpha.shape[along] != len(tensor.labels):
            return None
        marks.mark(call, layer.alpha, {along: tensor.labels})
    return Tensor(call.shapes[0], tensor.axis, tensor.labels)


def passing(marks: Marks, call: Call) -> Tensor | None:
    """Layers that leave channels where they are."""
    layer, tensor = call.layer, call.inputs[0]
    if hasattr(layer, "data_format") and not _fits(tensor, _channel_axis(layer, tensor)):
        return None
    return Tensor(call.shapes[0], tensor.axis, tensor.labels)


def activation(marks: Marks, call: Call) -> Tensor | None:
    """Activation: only functions of each number alone."""
    (tensor,) = call.inputs
    if tensor.labels is not None and not is_elementwise(call.layer.activation):
        return None
    return Tensor(call.shapes[0], tensor.axis, tensor.labels)


def pooled(marks: Marks, call: Call) -> Tensor | None:
    """Global pooling."""
    layer, (tensor,) = call.layer, call.inputs
    axis = _channel_axis(layer, tensor)
    if not _fits(tensor, axis):
        return None
    last = len(call.shapes[0]) - 1
    after = None if tensor.axis is None else (last if axis == tensor.rank - 1 else 1)
    return Tensor(call.shapes[0], after, tensor.labels)


def flatten(marks: Marks, call: Call) -> Tensor | None:
    """Flatten: each channel stands there as often as there are places."""
    import numpy as np

    (tensor,) = call.inputs
    if tensor.labels is None:
        return Tensor(call.shapes[0])
    if tensor.rank == 2:
        return Tensor(call.shapes[0], 1, tensor.labels)
    first = getattr(call.layer, "data_format", "channels_last") == "channels_first"
    if first or tensor.places is None or len(call.shapes[0]) != 2:
        return None
    if tensor.axis == tensor.rank - 1:
        return Tensor(call.shapes[0], 1, np.tile(tensor.labels, tensor.places))
    if tensor.axis == 1:
        return Tensor(call.shapes[0], 1, np.repeat(tensor.labels, tensor.places))
    return None


def reshape(marks: Marks, call: Call) -> Tensor | None:
    """Reshape where the channels stay the last axis, or where it flattens or unflattens."""
    import numpy as np

    (tensor,), shape = call.inputs, call.shapes[0]
    labels = tensor.labels
    if labels is None:
        return Tensor(shape)
    if tensor.axis != tensor.rank - 1:
        return None
    size = shape[-1]
    if size == len(labels):
        after = labels
    elif len(shape) == 2 and tensor.places is not None:
        after = np.tile(labels, tensor.places)
    elif tensor.rank == 2 and size and (labels.reshape(-1, size) == labels[:size]).all():
        after = labels[:size]
    else:
        return None
    target = call.layer.target_shape

    def changed(kept: Any) -> dict[str, Any]:
        count = len(keep_along(marks.channels.roots(after), kept))
        return {"target_shape": [*target[:-1], -1 if target[-1] == -1 else count]}

    marks.configs[id(call.layer)] = changed
    return Tensor(shape, len(shape) - 1, after)


def permute(marks: Marks, call: Call) -> Tensor | None:
    """Permute: the channels go to another axis."""
    (tensor,) = call.inputs
    if tensor.axis is None:
        return Tensor(call.shapes[0])
    axis = list(call.layer.dims).index(tensor.axis) + 1
    return Tensor(call.shapes[0], axis, tensor.labels)


def repeat(marks: Marks, call: Call) -> Tensor | None:
    """RepeatVector."""
    (tensor,) = call.inputs
    return Tensor(call.shapes[0], 2 if tensor.labels is not None else None, tensor.labels)


def concatenate(marks: Marks, call: Call) -> Tensor | None:
    """Concatenate, along the channels or across them."""
    import numpy as np

    axis = call.layer.axis % len(call.shapes[0])
    known = [tensor for tensor in call.inputs if tensor.labels is not None]
    if not known:
        return Tensor(call.shapes[0])
    along = known[0].axis
    if any(tensor.axis != along for tensor in known):
        return None
    if axis != along:
        return marks.tied(call.shapes[0], call.inputs)
    if any(tensor.shape[axis] is None for tensor in call.inputs):
        return None
    parts = [
        np.full(tensor.shape[axis] or 0, PINNED) if tensor.labels is None else tensor.labels
        for tensor in call.inputs
    ]
    return Tensor(call.shapes[0], axis, np.concatenate(parts))


def merge(marks: Marks, call: Call) -> Tensor | None:
    """Add, Multiply and the like: what meets is tied."""
    return marks.tied(call.shapes[0], call.inputs)


def attention(marks: Marks, call: Call) -> Tensor | None:
    """MultiHeadAttention: whole heads go, and what it reads and gives."""
    layer = call.layer
    given = dict(zip(("query", "value", "key"), call.args, strict=False))
    given |= {k: v for k, v in call.kwargs.items() if k in ("query", "value", "key")}
    query, value = given.get("query"), given.get("value")
    key = given.get("key")
    key = value if key is None else key
    read = [each for each in (query, value, key) if isinstance(each, Tensor)]
    if len(read) < 3 or any(each.rank != 3 or not _fits(each, 2) for each in read):
        return None
    if any(each.rank > 3 for each in call.inputs):  # a mask with a place for each head
        return None
    if getattr(layer, "_use_gate", False) or call.shapes[0][-1] is None:
        return None
    out = layer._output_dense
    heads = marks.made(layer._query_dense.kernel, 1, heads=True)
    times = float(read[0].shape[1] or 1)
    dense = (layer._query_dense, layer._value_dense, layer._key_dense)
    for inner, tensor in zip(dense, read, strict=True):
        macs = float(tensor.shape[1] or 1)
        axes = {0: tensor.labels, 1: heads}
        marks.mark(call, inner.kernel, axes, kind="kernel", reads=0, macs=macs)
        if inner.bias is not None:
            marks.mark(call, inner.bias, {0: heads})
    labels = marks.made(out.kernel, 2)
    axes = {0: heads, 2: labels}
    marks.mark(call, out.kernel, axes, kind="kernel", reads=0, macs=times)
    if out.bias is not None:
        marks.mark(call, out.bias, {0: labels})

    def changed(kept: Any) -> dict[str, Any]:
        found = marks.count("num_heads", heads)(kept)
        width = marks.count("width", labels)(kept)["width"]
        return {**found, "output_shape": [width]}

    marks.configs[id(layer)] = changed
    return Tensor(call.shapes[0], 2, labels)


def operation(marks: Marks, call: Call) -> Tensor | None:
    """`keras.ops` and TensorFlow's own functions in the graph, where they are elementwise."""
    name = operation_name(call.layer)
    if name in BINARY and call.plain:
        return marks.tied(call.shapes[0], call.inputs)
    if name in ELEMENTWISE and len(call.inputs) == 1:
        (tensor,) = call.inputs
        return Tensor(call.shapes[0], tensor.axis, tensor.labels)
    return None


RULES: dict[str, Callable[[Marks, Call], Tensor | None]] = {
    **dict.fromkeys(CONVS, conv),
    **dict.fromkeys(["DepthwiseConv1D", "DepthwiseConv2D"], depthwise),
    **dict.fromkeys(["SeparableConv1D", "SeparableConv2D"], separable),
    "Dense": dense,
    "Embedding": embedding,
    **dict.fromkeys([*RECURRENT, "Bidirectional"], recurrent),
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "PReLU": prelu,
    **dict.fromkeys(PASSING, passing),
    "Activation": activation,
    **dict.fromkeys(GLOBAL, pooled),
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "RepeatVector": repeat,
    "Concatenate": concatenate,
    **dict.fromkeys(MERGES, merge),
    "MultiHeadAttention": attention,
}


def _variable(layer: Any, *names: str) -> Any:
    """The first of these kernels that is one: not with an adapter, not of integers."""
    for name in names:
        found = getattr(layer, name, None)
        if hasattr(found, "assign") and any(found is each for each in layer.weights):
            return found
    return None


def _channel_axis(layer: Any, tensor: Tensor) -> int:
    return 1 if getattr(layer, "data_format", "") == "channels_first" else tensor.rank - 1


def _norm_axis(layer: Any, tensor: Tensor) -> int:
    axes = list(layer.axis) if isinstance(layer.axis, list | tuple) else [layer.axis]
    return axes[0] % tensor.rank if len(axes) == 1 else -1


def _fits(tensor: Tensor, axis: int) -> bool:
    """Whether its channels are along that axis, or it has none that are known."""
    return tensor.labels is None or tensor.axis == axis


def _product(shape: Sequence[int | None], axis: int) -> float:
    """Places in one sample; open sizes count as 1."""
    return float(math.prod(size or 1 for i, size in enumerate(shape) if i and i != axis))
