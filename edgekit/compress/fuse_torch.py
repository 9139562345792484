"""What `fuse` needs of torch. Runs in a worker of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.compress.fuse import Pair
from edgekit.compress.torch_edits import put_module

if TYPE_CHECKING:
    from edgekit.compress.torch_net import TorchNet

FOLDED = "edgekit.compress.fuse_torch:folded"
DROPPED = "edgekit.compress.fuse_torch:dropped"
NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
TRANSPOSED = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
DROPOUTS = (
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout",
)  # fmt: skip


def pairs(net: TorchNet) -> tuple[list[Pair], dict[str, str]]:
    """What can be folded, and the other batch norms with reasons.

    Which layer a batch norm follows is read from the program that torch.export makes of the module:
    there every use of a result and of a weight is seen, whatever the code does.
    """
    import torch

    args, kwargs = net.live.example
    with torch.no_grad():
        program = torch.export.export(net.module.eval(), args, kwargs or None, strict=False)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    found: list[Pair] = []
    left: dict[str, str] = {}
    known = _of(net.module, NORMS)
    uses: dict[str, list[Any]] = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.batch_norm.default:
            tensor = node.args[3]
            owner = names[tensor.name].rpartition(".")[0] if tensor is not None else ""
            uses.setdefault(owner, []).append(node)
    for norm in known:
        nodes = uses.get(norm, [])
        layer = _before(net.module, nodes[0], names) if len(nodes) == 1 else None
        if layer is None:
            left[norm] = (
                "is used more than once"
                if len(nodes) > 1
                else "follows no layer that only it uses"
                if nodes
                else "is not called, or takes its averages from what it is given"
            )
        else:
            found.append(_pair(net.module, layer, norm))
    return found, left


def _before(module: Any, node: Any, names: Mapping[str, str]) -> str | None:
    """The layer whose results, used by nothing else, are what a batch norm takes."""
    import torch

    made = node.args[0]
    if made.op != "call_function" or len(made.users) > 1 or len(made.args) < 2:
        return None
    weight = made.args[1]
    name = names.get(getattr(weight, "name", ""), "")
    layer, _, own = name.rpartition(".")
    if own != "weight" or len(weight.users) > 1 or layer not in _of(module, LAYERS + TRANSPOSED):
        return None
    dense = isinstance(module.get_submodule(layer), torch.nn.Linear)
    if dense and made.meta["val"].ndim != 2:
        return None  # channels of the batch norm are another axis
    return layer


def _of(module: Any, classes: Sequence[str]) -> list[str]:
    """Names of the modules of just these classes of torch's, nothing hooked to them."""
    from torch import nn

    kinds = [getattr(nn, name) for name in classes]
    return [
        name
        for name, each in module.named_modules()
        if name and type(each) in kinds and not (each._forward_hooks or each._forward_pre_hooks)
    ]


def _pair(module: Any, layer: str, norm: str) -> Pair:
    before, after = module.get_submodule(layer), module.get_submodule(norm)
    kernel, mean = _array(before.weight), _array(after.running_mean)
    view, rest = kernel.shape, (1,) * (kernel.ndim - 2)
    channels: tuple[int, ...] = (-1, 1, *rest)
    if type(before).__name__ in TRANSPOSED:  # (inputs, outputs of a group, *spatial)
        view = (before.groups, kernel.shape[0] // before.groups, *kernel.shape[1:])
        channels = (before.groups, 1, kernel.shape[1], *rest)
    return Pair(
        layer=layer,
        norm=norm,
        seen=norm,
        kernel=kernel,
        bias=None if before.bias is None else _array(before.bias),
        view=tuple(view),
        channels=channels,
        scale=_array(after.weight) if after.affine else mean * 0 + 1,
        shift=_array(after.bias) if after.affine else mean * 0,
        mean=mean,
        variance=_array(after.running_var),
        epsilon=after.eps,
    )


def _array(tensor: Any) -> Any:
    import torch

    return tensor.detach().to("cpu", torch.float32).numpy().copy()


def dropouts(net: TorchNet) -> list[str]:
    """Layers of dropout."""
    return _of(net.module, DROPOUTS)


def fold(net: TorchNet, found: Sequence[Pair], dropouts: Sequence[str]) -> None:
    """Fold these, and take these layers of dropout out."""
    import torch

    edits = [{"apply": FOLDED, "layer": pair.layer, "norm": pair.norm} for pair in found]
    edits += [{"apply": DROPPED, "layer": name} for name in dropouts]
    for edit, pair in zip(edits, [*found, *(None for _ in dropouts)], strict=True):
        net.live.module = (folded if pair else dropped)(net.live.module, edit)
        net.live.edits.append(edit)
        if pair is not None:
            layer = net.module.get_submodule(pair.layer)
            with torch.no_grad():
                for own, values in zip((layer.weight, layer.bias), pair.folded(), strict=True):
                    own.copy_(torch.from_numpy(values))


def folded(module: Any, edit: Mapping[str, Any]) -> Any:
    """`module` with a bias in the edit's layer and nothing in place of its batch norm; the weights
    are still to be set.
    """
    import torch

    layer, norm = (module.get_submodule(str(edit[key])) for key in ("layer", "norm"))
    if layer.bias is None:
        zeros = torch.zeros(norm.num_features, dtype=layer.weight.dtype, device=layer.weight.device)
        layer.bias = torch.nn.Parameter(zeros, requires_grad=layer.weight.requires_grad)
    return put_module(module, str(edit["norm"]), torch.nn.Identity())


def dropped(module: Any, edit: Mapping[str, Any]) -> Any:
    """`module` with nothing in place of the edit's layer."""
    import torch

    return put_module(module, str(edit["layer"]), torch.nn.Identity())
