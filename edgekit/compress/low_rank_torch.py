"""What `low_rank` needs of torch. Runs in a worker of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.compress.low_rank import Factors, Site, first_part, second_part
from edgekit.compress.torch_edits import put_module, watched
from edgekit.core.errors import ConversionError
from edgekit.core.failures import named

if TYPE_CHECKING:
    from edgekit.compress.torch_net import TorchNet

APPLY = "edgekit.compress.low_rank_torch:factored"
SPACE = {"Linear": 0, "Conv1d": 1, "Conv2d": 2, "Conv3d": 3}  # classes, with their spatial axes


def sites(net: TorchNet) -> list[Site]:
    """Dense layers and convolutions, also those that cannot be replaced."""
    import torch
    from torch import nn

    owners: dict[int, list[str]] = {}
    for name, parameter in net.module.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    kinds = tuple(getattr(nn, name) for name in SPACE)
    layers = {
        name: module for name, module in net.module.named_modules() if isinstance(module, kinds)
    }
    args, kwargs = net.live.example
    with torch.no_grad(), watched(net.module, list(layers)) as calls:
        net.live.call([*args, *kwargs.values()], training=False)
    found = []
    for name, module in layers.items():
        if 1 < getattr(module, "groups", 1) == module.in_channels:
            continue  # depthwise
        call = calls.get(name)
        space = SPACE.get(type(module).__name__, 0)
        found.append(
            Site(
                name,
                _kernel(module.weight),
                tuple(getattr(module, "stride", ())),
                tuple(call.inputs[0].shape[-space:]) if call and space else None,
                tuple(call.output.shape[-space:]) if call and space else None,
                _why_not(module, kinds, owners, called=call is not None),
            )
        )
    return found


def _kernel(weight: Any) -> Any:
    """(outputs, inputs, *spatial) as (*spatial, inputs, outputs)."""
    import torch

    array = weight.detach().to("cpu", torch.float32).numpy()
    return array.transpose([*range(2, array.ndim), 1, 0])


def _why_not(module: Any, kinds: Any, owners: Mapping[int, list[str]], *, called: bool) -> str:
    if type(module) not in kinds or "weight" not in module._parameters:
        return "is a class of its own"
    if getattr(module, "groups", 1) != 1:
        return f"has {module.groups} groups"
    if module._forward_hooks or module._forward_pre_hooks:
        return "has hooks"
    if len(names := owners[id(module.weight)]) > 1:
        return f"shares its weight: {', '.join(names)}"
    return "" if called else "is never called"


def replace(net: TorchNet, found: Mapping[str, Factors]) -> None:
    """Put two layers into the place of each.

    Raises:
        ConversionError: the module's code uses a layer in another way than by calling it.
    """
    import torch

    for layer, factors in found.items():
        edit = {"apply": APPLY, "layer": layer, "rank": factors.rank, "at": factors.at}
        net.live.module = factored(net.live.module, edit)
        net.live.edits.append(edit)
        pair = net.module.get_submodule(layer) if layer else net.module
        with torch.no_grad():
            for module, kernel in zip(pair, (factors.first, factors.second), strict=True):
                axes = kernel.ndim
                turned = kernel.transpose([axes - 1, axes - 2, *range(axes - 2)])
                module.weight.copy_(torch.from_numpy(turned.copy()))
    args, kwargs = net.live.example
    try:
        with torch.no_grad():
            net.live.call([*args, *kwargs.values()], training=False)
    except Exception as exc:
        raise ConversionError(
            f"low-rank: the model's code uses a layer other than by calling it: {named(exc)}",
            hint='leave that layer out: exclude = ["LAYER"]',
        ) from exc


def factored(module: Any, edit: Mapping[str, Any]) -> Any:
    """`module` with the layer of the edit as two; their weights are still to be set.

    The bias stays what it was, under the second layer's name.
    """
    from torch import nn

    layer = str(edit["layer"])
    old = module.get_submodule(layer) if layer else module
    rank, at = int(edit["rank"]), int(edit["at"])
    made = {"device": old.weight.device, "dtype": old.weight.dtype}
    if isinstance(old, nn.Linear):
        first: Any = nn.Linear(old.in_features, rank, bias=False, **made)
        second: Any = nn.Linear(rank, old.out_features, bias=old.bias is not None, **made)
    else:
        first = _convolution(old, first_part, at, (old.in_channels, rank), bias=False, made=made)
        second = _convolution(
            old, second_part, at, (rank, old.out_channels), bias=old.bias is not None, made=made
        )
    if old.bias is not None:
        second.bias = old.bias
    for each in (first, second):
        each.weight.requires_grad_(old.weight.requires_grad)
        each.train(old.training)
    return put_module(module, layer, nn.Sequential(first, second))


def _convolution(
    old: Any, part: Any, at: int, channels: tuple[int, int], *, bias: bool, made: dict[str, Any]
) -> Any:
    padding = old.padding
    return type(old)(
        *channels,
        part(old.kernel_size, at, 1),
        stride=part(old.stride, at, 1),
        padding=padding if isinstance(padding, str) else part(padding, at, 0),
        dilation=part(old.dilation, at, 1),
        bias=bias,
        padding_mode=old.padding_mode,
        **made,
    )
