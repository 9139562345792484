"""What `low_rank` needs of Keras. Runs in a worker of TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.compress.keras_graph import calls, own_class, rebuilt
from edgekit.compress.low_rank import Factors, Site, first_part, second_part

if TYPE_CHECKING:
    from edgekit.compress.keras_net import KerasNet

SPACE = {"Dense": 0, "Conv1D": 1, "Conv2D": 2, "Conv3D": 3}  # classes, with their spatial axes
NARROW = "{}_narrow"  # name of the first of two layers; the second has the user's


def sites(net: KerasNet) -> list[Site]:
    """Dense layers and convolutions of the model's graph, also those that cannot be replaced."""
    import numpy as np

    found: dict[int, Site] = {}
    for call in calls(net.model):
        layer = call.layer
        space = SPACE.get(own_class(layer))
        if space is None or id(layer) in found:
            continue
        found[id(layer)] = Site(
            call.path,
            np.asarray(layer.kernel, dtype=np.float32),
            tuple(getattr(layer, "strides", ())),
            _sizes(call.inputs[0], space),
            _sizes(call.outputs[0], space),
            _why_not(layer),
        )
    return list(found.values())


def _sizes(tensor: Any, space: int) -> tuple[int, ...] | None:
    """Of the spatial axes, channels being last; None where one is open."""
    sizes = tuple(tensor.shape)[1 : 1 + space]
    return None if None in sizes or not space else sizes


def _why_not(layer: Any) -> str:
    if getattr(layer, "groups", 1) != 1:
        return f"has {layer.groups} groups"
    if getattr(layer, "data_format", None) == "channels_first":
        return "has its channels first"
    if layer.kernel_constraint is not None:
        return "has a constraint on its kernel"
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return "is quantized or has adapters"
    return ""


def replace(net: KerasNet, found: Mapping[str, Factors]) -> None:
    """Put two layers into the place of each.

    Raises:
        ConversionError: the model is no graph.
    """
    names = {layer.name for _, layer in net.layers()}
    pairs: dict[int, list[Any]] = {}
    kernels = []
    for call in calls(net.model):
        factors = found.get(call.path)
        if factors is None or id(call.layer) in pairs:
            continue
        pair = _pair(call.layer, factors, _new(NARROW.format(call.layer.name), names))
        pairs[id(call.layer)] = pair
        kernels.append((call.layer, factors, pair))
    net.live.module = rebuilt(net.live.keras, net.model, pairs)
    for old, factors, (first, second) in kernels:
        first.kernel.assign(factors.first)
        second.kernel.assign(factors.second)
        if old.use_bias:
            second.bias.assign(old.bias)


def _pair(layer: Any, factors: Factors, name: str) -> list[Any]:
    config = layer.get_config()
    config.pop("batch_input_shape", None)  # tf_keras; the model's inputs stay what they are
    width = "units" if not factors.site.space else "filters"
    first = {
        **config,
        "name": name,
        width: factors.rank,
        "use_bias": False,
        "activation": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
    }
    second = dict(config)
    if factors.site.space:
        for each, part in ((first, first_part), (second, second_part)):
            for key in ("kernel_size", "strides", "dilation_rate"):
                each[key] = part(config[key], factors.at, 1)
    return [type(layer).from_config(each) for each in (first, second)]


def _new(name: str, names: set[str]) -> str:
    """`name`, or with a number if it is taken; it is taken then."""
    found, count = name, 1
    while found in names:
        count += 1
        found = f"{name}_{count}"
    names.add(found)
    return found
