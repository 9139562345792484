"""What `fuse` needs of Keras. Runs in a worker of TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.fuse import Pair
from edgekit.compress.keras_graph import Call, calls, graph_of, own_class, rebuilt, struct_of

if TYPE_CHECKING:
    from edgekit.compress.keras_net import KerasNet

NORMS = ("BatchNormalization", "SyncBatchNormalization")
DROPOUTS = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout",
    "GaussianDropout",
)  # fmt: skip
CONSTRAINED = ("kernel", "depthwise", "pointwise", "bias")
# Classes, with the name of the kernel that has the output channels and their axes in it.
LAYERS: dict[str, tuple[str, tuple[int, ...]]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D"), ("kernel", (-1,))),
    **{f"Conv{n}DTranspose": ("kernel", (-2,)) for n in (1, 2, 3)},
    **{f"SeparableConv{n}D": ("pointwise_kernel", (-1,)) for n in (1, 2)},
    # Keras 3 calls it a kernel, tf_keras a depthwise one; a channel's outputs stand together.
    **{f"DepthwiseConv{n}D": ("depthwise_kernel kernel", (-2, -1)) for n in (1, 2)},
}


def pairs(net: KerasNet) -> tuple[list[Pair], dict[str, str]]:
    """What can be folded, and the other batch norms with reasons."""
    every = list(calls(net.model))
    uses = Counter(id(tensor) for call in every for tensor in call.inputs)
    for owner in {id(call.owner): call.owner for call in every}.values():
        uses.update(id(tensor) for tensor in graph_of(owner).outputs)
    times = Counter(id(call.layer) for call in every)
    makers = {id(tensor): call for call in every for tensor in call.outputs}
    naming = _naming(net.model)
    found: list[Pair] = []
    left: dict[str, str] = {}
    for call in every:
        if own_class(call.layer) not in NORMS:
            continue
        before = makers.get(id(call.inputs[0]))
        if times[id(call.layer)] > 1:
            left[call.path] = "is used more than once"
        elif id(call.outputs[0]) in naming:
            left[call.path] = "gives an output its name"
        elif (
            before is None
            or before.owner is not call.owner
            or own_class(before.layer) not in LAYERS
            or times[id(before.layer)] > 1
            or uses[id(call.inputs[0])] > 1
        ):
            left[call.path] = "follows no layer that only it uses"
        elif why := _why_not(before.layer, call):
            left[call.path] = f"{why}: {before.path}"
        else:
            found.append(_pair(before, call))
    return found, left


def _naming(model: Any) -> set[int]:
    """Tensors from whose layers the model's outputs have their names."""
    graph = graph_of(model)
    return (
        set()
        if isinstance(struct_of(graph, "outputs"), dict)
        else {id(tensor) for tensor in graph.outputs}
    )


def _why_not(layer: Any, norm: Call) -> str:
    if getattr(layer.activation, "__name__", "") != "linear":
        return "follows a layer with an activation"
    if any(getattr(layer, f"{what}_constraint", None) for what in CONSTRAINED):
        return "follows a layer with a constraint on its weights"
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return "follows a layer that is quantized or has adapters"
    rank = len(norm.outputs[0].shape)
    axis = norm.layer.axis
    axis = (axis if isinstance(axis, int) else axis[0]) % rank
    first = getattr(layer, "data_format", "") == "channels_first"
    return "" if axis == (1 if first else rank - 1) else "has another axis than the channels"


def _kernel(layer: Any) -> tuple[str, tuple[int, ...]]:
    """The attribute that holds the kernel of the output channels, and their axes in it."""
    names, axes = LAYERS[type(layer).__name__]
    return next(name for name in names.split() if getattr(layer, name, None) is not None), axes


def _pair(before: Call, after: Call) -> Pair:
    import numpy as np

    layer, norm = before.layer, after.layer
    attribute, axes = _kernel(layer)
    kernel = np.asarray(getattr(layer, attribute), dtype=np.float32)
    mean = np.asarray(norm.moving_mean, dtype=np.float32)
    places = [axis % kernel.ndim for axis in axes]
    return Pair(
        layer=before.path,
        norm=after.path,
        seen=before.path,
        kernel=kernel,
        bias=np.asarray(layer.bias, dtype=np.float32) if layer.use_bias else None,
        view=kernel.shape,
        channels=tuple(n if axis in places else 1 for axis, n in enumerate(kernel.shape)),
        scale=np.asarray(norm.gamma, dtype=np.float32) if norm.scale else np.ones_like(mean),
        shift=np.asarray(norm.beta, dtype=np.float32) if norm.center else np.zeros_like(mean),
        mean=mean,
        variance=np.asarray(norm.moving_variance, dtype=np.float32),
        epsilon=float(norm.epsilon),
    )


def dropouts(net: KerasNet) -> list[str]:
    """Layers of dropout in the model's graph; not one that gives an output its name."""
    naming = _naming(net.model)
    found = [
        call.path
        for call in calls(net.model)
        if own_class(call.layer) in DROPOUTS and id(call.outputs[0]) not in naming
    ]
    return list(dict.fromkeys(found))


def fold(net: KerasNet, found: Sequence[Pair], dropouts: Sequence[str]) -> None:
    """Fold these, and take these layers of dropout out."""
    gone = {*(pair.norm for pair in found), *dropouts}
    by_layer = {pair.layer: pair for pair in found}
    instead: dict[int, list[Any]] = {}
    made: dict[str, tuple[Any, Any]] = {}
    for call in calls(net.model):
        if call.path in gone:
            instead[id(call.layer)] = []
        elif call.path in by_layer:
            config = {**call.layer.get_config(), "use_bias": True}
            config.pop("batch_input_shape", None)  # tf_keras; the inputs stay what they are
            new = type(call.layer).from_config(config)
            instead[id(call.layer)] = [new]
            made[call.path] = (call.layer, new)
    net.live.module = rebuilt(net.live.keras, net.model, instead)
    for path, (old, new) in made.items():
        attribute, _ = _kernel(old)
        kernel, bias = by_layer[path].folded()
        if attribute == "pointwise_kernel":
            new.depthwise_kernel.assign(old.depthwise_kernel)
        getattr(new, attribute).assign(kernel)
        new.bias.assign(bias)
