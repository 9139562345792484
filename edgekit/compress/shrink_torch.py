"""Channels of PyTorch modules. Runs in a worker of torch.

torch-pruning follows the module's graph of gradients and tells which channels hang together:
https://github.com/VainF/Torch-Pruning. It takes what it does not know for elementwise, so each of
its answers is tried: a module without some channels has to give what the same module gives when
nothing reads them. Where it does not, these channels stay.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.channels import PINNED, Channels, Site, find_families, keep_along
from edgekit.core.errors import ConversionError

if TYPE_CHECKING:
    from edgekit.compress.channels import Family

REPLAY = "edgekit.compress.shrink_torch:replay"
NEAR = 1e-3  # of the largest output: apart by less are only roundings
EVERY = 3  # of a family's units one in so many goes when it is tried
NAMED = 6  # layers in a note

Side = Literal["out", "in"]


@dataclass(frozen=True)
class Heads:
    """Channels that only go as whole heads.

    Attributes:
        blocks: units as (heads, size of each).
        owner: the module that has the number of heads in `attribute`; None if it needs none.
    """

    blocks: Any
    owner: str = ""
    attribute: str | None = None


class TorchCutter:
    """See `Cutter`."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self._module = net.module
        self.channels = Channels()
        self.notes: list[str] = []
        self._labels: dict[tuple[str, Side], Any] = {}
        self._heads: list[Heads] = []
        self._find()
        self.sites = list(self._sites())
        self._try()

    # ----------------------------------------------------------------- what hangs together

    def _find(self) -> None:
        """Label the channels of every layer that torch-pruning has in a group."""
        import numpy as np
        from torch import nn

        graph = self._graph()
        names = {module: name for name, module in self._module.named_modules()}
        shared = _shared(self._module)
        unknown: dict[str, None] = {}
        for group in graph.get_all_groups(root_module_types=_roots()):
            labels = self.channels.fresh(len(group[0].idxs))
            for item in group:
                target = item.dep.target.module
                if target not in names:
                    if isinstance(target, nn.Parameter):
                        self.channels.pin(labels)
                        unknown["a parameter of the module's own"] = None
                    continue
                side: Side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
                name, sides = names[target], _sides(target)
                if set(sides.values()) == {"out"}:  # it gives the channels that it reads
                    side = "out"
                size = _size(target, side)
                if not sides or side not in sides.values() or name in shared or size is None:
                    if list(target.parameters(recurse=False)):
                        self.channels.pin(labels)
                        unknown[f"{name} ({type(target).__name__})"] = None
                    continue
                mine = self._labels.setdefault((name, side), np.full(size, PINNED))
                places, own = np.asarray(item.idxs), labels[np.asarray(item.root_idxs)]
                inside = places < size
                if not inside.all():  # more than it has: something in between was not followed
                    self.channels.pin(labels)
                    places, own = places[inside], own[inside]
                known = mine[places] != PINNED
                self.channels.tie(mine[places][known], own[known])
                mine[places] = np.where(known, mine[places], own)
        if unknown:
            self.notes.append(
                f"what {_listed(list(unknown))} is joined with kept all channels: it is grouped, "
                "shares its weights, or is no layer that can be cut"
            )

    def _graph(self) -> Any:
        import torch
        import torch_pruning
        from torch.utils import _pytree as pytree

        args, named = self._net.live.example
        frozen = [p for p in self._module.parameters() if not p.requires_grad]
        for parameter in frozen:  # it follows gradients
            parameter.requires_grad_(parameter.is_floating_point())
        try:
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")
                return torch_pruning.DependencyGraph().build_dependency(
                    self._module,
                    example_inputs=args,
                    forward_fn=lambda module, _: module(*args, **named),
                    output_transform=lambda outputs: [
                        leaf for leaf in pytree.tree_leaves(outputs) if leaf.grad_fn is not None
                    ],
                    verbose=False,
                )
        except Exception as exc:
            raise ConversionError(
                f"shrink: torch-pruning cannot follow this module: {type(exc).__name__}: {exc}",
                hint="leave shrink out of the recipe",
            ) from exc
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)

    def _sites(self) -> Iterator[Site]:
        positions = self._positions()
        for name, module in self._module.named_modules():
            sides = _sides(module)
            for own, parameter in module.named_parameters(recurse=False):
                axes = {}
                reads = None
                for axis, side in _axes(module, own).items():
                    labels = self._labels.get((name, side))
                    if sides and labels is not None:
                        axes[axis] = self.channels.roots(labels)
                        reads = axis if side == "in" else reads
                kind = _kind(module, own)
                yield Site(
                    f"{name}.{own}" if name else own,
                    name,
                    kind,
                    tuple(parameter.shape),
                    axes,
                    reads,
                    positions.get(name, 0.0) if kind == "kernel" else 0.0,
                )

    def _positions(self) -> dict[str, float]:
        """How often each number of a layer's kernel is multiplied in one inference."""
        import torch
        from torch import nn
        from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

        found: dict[str, float] = {}
        args, named = self._net.live.example
        batch = next((len(t) for t in [*args, *named.values()] if getattr(t, "ndim", 0)), 1)

        def hook_of(name: str) -> Any:
            def hook(module: Any, inputs: Any, output: Any) -> None:
                if isinstance(module, _ConvTransposeNd):
                    times = inputs[0].numel() / module.in_channels
                elif isinstance(module, _ConvNd):
                    times = output.numel() / module.out_channels
                elif isinstance(module, nn.Linear):
                    times = output.numel() / module.out_features
                else:
                    times = inputs[0].numel() / module.input_size
                found[name] = found.get(name, 0.0) + times / batch

            return hook

        handles = [
            module.register_forward_hook(hook_of(name))
            for name, module in self._module.named_modules()
            if isinstance(module, _ConvNd | nn.Linear | nn.RNNBase)
        ]
        try:
            with torch.no_grad():
                self._module.eval()(*args, **named)
        finally:
            for handle in handles:
                handle.remove()
        return found

    # --------------------------------------------------------------------------- trying

    def _try(self) -> None:
        """Pin the channels of every family that cannot do without some of them."""
        families = [f for f in find_families(self.channels, self.sites) if f.free.any()]
        stuck = [family for family in self._failing(families) if not self._in_heads(family)]
        for family in stuck:
            self.channels.pin(family.units)
        self.sites = list(self._sites())
        inner = [family.name for family in stuck if self._shaped(family)]
        if inner:
            self.notes.append(
                f"{_listed(inner)} kept all channels: the code around them does "
                "more with them than layers do, or needs their number"
            )

    def _failing(self, families: Sequence[Family]) -> list[Family]:
        """Those that fail, each by itself."""
        if not families or self._agrees(self._sample(families)):
            return []
        if len(families) == 1:
            return list(families)
        half = len(families) // 2
        return [*self._failing(families[:half]), *self._failing(families[half:])]

    def _in_heads(self, family: Family) -> bool:
        """Whether whole heads of it may go; joins their units if so."""
        import numpy as np

        for heads in self._guesses(family):
            kept = np.ones(len(self.channels), dtype=bool)
            kept[heads.blocks[:-1:2]] = False
            self._heads.append(heads)
            if self._agrees(kept):
                self.channels.join(heads.blocks)
                return True
            self._heads.pop()
        return False

    def _guesses(self, family: Family) -> Iterator[Heads]:
        """What numbers in the user's own modules around it may mean: heads, or the size of one."""
        modules = dict(self._module.named_modules())
        count = len(family.units)
        for name in dict.fromkeys(layer.rpartition(".")[0] for layer in family.layers):
            for attribute, value in vars(modules[name]).items():
                if type(value) is int and 1 < value < count and count % value == 0:
                    blocks = family.units.reshape(value, -1)
                    yield Heads(blocks, name, attribute)
                    yield Heads(blocks)
                    yield Heads(family.units.reshape(-1, value))

    def _sample(self, families: Sequence[Family]) -> Any:
        """A mask with some units of these families away: not the last ones, not evenly."""
        import numpy as np

        kept = np.ones(len(self.channels), dtype=bool)
        draw = np.random.default_rng(0)
        for family in families:
            count = max(1, len(family.units) // EVERY)
            if len(family.units) > 1:
                kept[draw.choice(family.units, count, replace=False)] = False
        return kept

    def _outputs(self, module: Any) -> list[Any] | None:
        """For the same drawn inputs each time; None if it does not run."""
        import torch
        from torch.utils import _pytree as pytree

        args, named = self._net.live.example
        draw = torch.Generator().manual_seed(0)

        def drawn(tensor: Any) -> Any:
            if not torch.is_tensor(tensor) or not tensor.is_floating_point():
                return tensor
            return torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype)

        given, words = pytree.tree_map(drawn, (args, named))
        try:
            with torch.no_grad():
                return list(pytree.tree_leaves(module.eval()(*given, **words)))
        except (RuntimeError, ValueError, IndexError, AssertionError, TypeError):
            return None

    def _agrees(self, kept: Any) -> bool:
        """Whether the module without these channels gives what it gives when nothing reads them."""
        import torch

        blind = copy.deepcopy(self._module)
        with torch.no_grad():
            for site in self.sites:
                if site.reads is not None:
                    parameter = blind.get_parameter(site.name)
                    stay = torch.zeros(parameter.shape[site.reads], dtype=torch.bool)
                    stay[keep_along(site.axes[site.reads], kept)] = True
                    parameter.movedim(site.reads, 0)[~stay] = 0
        for (name, _), labels in self._labels.items():
            layer = blind.get_submodule(name)
            if isinstance(layer, torch.nn.LayerNorm):
                _narrow(layer, keep_along(self.channels.roots(labels), kept))
        cut = replay(copy.deepcopy(self._module), self._edit(kept))
        one, other = self._outputs(blind), self._outputs(cut)
        if one is None or other is None or len(one) != len(other):
            return False
        return all(a.shape == b.shape and _near(a, b) for a, b in zip(one, other, strict=True))

    def _shaped(self, family: Family) -> bool:
        """Whether the outputs keep their shapes without some of it: else it is an output itself."""
        cut = replay(copy.deepcopy(self._module), self._edit(self._sample([family])))
        one, other = self._outputs(self._module), self._outputs(cut)
        if one is None or other is None:
            return True
        return [a.shape for a in one] == [b.shape for b in other]

    # -------------------------------------------------------------------------- for Shrink

    def array(self, site: Site) -> Any:
        """See `Cutter.array`."""
        return self._module.get_parameter(site.name).detach().float().numpy()

    def key(self, site: Site) -> int:
        """See `Cutter.key`."""
        return id(self._module.get_parameter(site.name))

    def activations(self, inputs: Sequence[Any]) -> list[tuple[Any, Any]]:
        """See `Cutter.activations`."""
        from torch.nn.modules.conv import _ConvNd

        readers = {site.layer: site for site in self.sites if site.reads is not None}
        sums: dict[str, Any] = {}

        def hook_of(name: str) -> Any:
            def hook(module: Any, given: Any) -> None:
                axis = 1 if isinstance(module, _ConvNd) else given[0].ndim - 1
                moved = given[0].detach().abs().movedim(axis, -1)
                mean = moved.reshape(-1, moved.shape[-1]).mean(dim=0)
                sums[name] = sums.get(name, 0) + mean.double().numpy()

            return hook

        handles = [
            self._module.get_submodule(name).register_forward_pre_hook(hook_of(name))
            for name in readers
        ]
        try:
            self._net.predict(inputs)
        finally:
            for handle in handles:
                handle.remove()
        return [
            (readers[name].axes[readers[name].reads or 0], values) for name, values in sums.items()
        ]

    def cut(self, kept: Any) -> None:
        """See `Cutter.cut`."""
        if not self._agrees(kept):
            raise ConversionError(
                "shrink: the module gives something else without channels that nothing reads",
                hint="leave layers out with exclude in the recipe, attention and reshapes first",
            )
        edit = self._edit(kept)
        self._net.live.module = replay(self._module, edit)
        self._net.live.edits.append(edit)

    def _edit(self, kept: Any) -> dict[str, Any]:
        """As JSON: the indices that stay, of each layer and side that loses some."""
        cuts = []
        for (name, side), labels in self._labels.items():
            stay = keep_along(self.channels.roots(labels), kept)
            if len(stay) < len(labels):
                cuts.append({"layer": name, "side": side, "stay": stay.tolist()})
        numbers = [
            [heads.owner, heads.attribute, int(kept[heads.blocks[:, 0]].sum())]
            for heads in self._heads
            if heads.attribute is not None
        ]
        return {"apply": REPLAY, "cuts": cuts, "heads": numbers}


def replay(module: Any, edit: dict[str, Any]) -> Any:
    """`module`, as the user's function makes it, without the channels that were cut away; see
    `LiveModel.save`.
    """
    for cut in edit["cuts"]:
        _cut(module.get_submodule(cut["layer"]), cut["side"], cut["stay"])
    for owner, attribute, count in edit["heads"]:
        setattr(module.get_submodule(owner), attribute, count)
    return module


def _cut(layer: Any, side: Side, stay: list[int]) -> None:
    import torch
    from torch import nn

    index = torch.as_tensor(stay)
    for own, tensor in [
        *layer.named_parameters(recurse=False),
        *layer.named_buffers(recurse=False),
    ]:
        for axis, place in _axes(layer, own).items():
            if place == side:
                values = tensor.detach().index_select(axis, index).clone()
                if isinstance(tensor, nn.Parameter):
                    values = nn.Parameter(values, requires_grad=tensor.requires_grad)
                setattr(layer, own, values)
    for attribute, place in _sides(layer).items():
        if place == side:
            whole = isinstance(getattr(layer, attribute), tuple)
            setattr(layer, attribute, (len(stay),) if whole else len(stay))


# -------------------------------------------------------------------------- the layers known


def _roots() -> list[Any]:
    import torch_pruning

    return [
        torch_pruning.ops.TORCH_CONV,
        torch_pruning.ops.TORCH_LINEAR,
        torch_pruning.ops.TORCH_EMBED,
    ]


def _sides(layer: Any) -> dict[str, Side]:
    """The attributes that hold a layer's numbers of channels, and of which side; none if it is not
    known how to cut it.
    """
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.conv import _ConvNd
    from torch.nn.modules.instancenorm import _InstanceNorm

    if any(own not in layer._parameters for own in _needed(layer)):
        return {}  # parametrized: its weight is computed from others
    if isinstance(layer, _ConvNd):
        if layer.groups == 1:
            return {"out_channels": "out", "in_channels": "in"}
        if layer.groups == layer.in_channels == layer.out_channels:
            return {"out_channels": "out", "in_channels": "out", "groups": "out"}
        return {}
    if isinstance(layer, nn.Linear):
        return {"out_features": "out", "in_features": "in"}
    if isinstance(layer, _BatchNorm | _InstanceNorm):
        return {"num_features": "out"}
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1:
        return {"normalized_shape": "out"}
    if isinstance(layer, nn.PReLU) and layer.num_parameters > 1:
        return {"num_parameters": "out"}
    if isinstance(layer, nn.Embedding):
        return {"embedding_dim": "out"}
    if isinstance(layer, nn.RNNBase):
        return {"input_size": "in"}
    return {}


def _needed(layer: Any) -> tuple[str, ...]:
    from torch import nn

    return () if isinstance(layer, nn.RNNBase) else ("weight",)


def _axes(layer: Any, own: str) -> dict[int, Side]:
    """Whose channels the axes of a layer's tensor are."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    tensor = getattr(layer, own)
    if tensor is None or not tensor.ndim:
        return {}  # a batch norm's number of batches
    if isinstance(layer, nn.RNNBase):
        return {1: "in"} if own in ("weight_ih_l0", "weight_ih_l0_reverse") else {}
    if isinstance(layer, nn.Embedding):
        return {1: "out"}
    if isinstance(layer, _ConvNd) and own == "weight" and layer.groups == 1:
        return {0: "in", 1: "out"} if layer.transposed else {0: "out", 1: "in"}
    if isinstance(layer, nn.Linear) and own == "weight":
        return {0: "out", 1: "in"}
    return {0: "out"} if _sides(layer) else {}


def _size(layer: Any, side: Side) -> int | None:
    found = [getattr(layer, name) for name, place in _sides(layer).items() if place == side]
    if not found:
        return None
    return int(found[0][0] if isinstance(found[0], tuple) else found[0])


def _kind(layer: Any, own: str) -> Literal["kernel", "norm", "rest"]:
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.conv import _ConvNd

    if isinstance(layer, _ConvNd | nn.Linear | nn.Embedding) and own == "weight":
        return "kernel"
    if isinstance(layer, nn.RNNBase) and own.startswith("weight"):
        return "kernel"
    if isinstance(layer, _BatchNorm) and own == "weight":
        return "norm"
    return "rest"


def _shared(module: Any) -> set[str]:
    """Layers with a tensor that is another layer's, too."""
    owners: dict[int, list[str]] = {}
    for name, layer in module.named_modules():
        for _, parameter in layer.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _narrow(layer: Any, stay: Any) -> None:
    """Let a layer norm measure only these channels: what goes cannot be measured."""
    import torch

    index = torch.as_tensor(stay)

    def forward(values: Any) -> Any:
        found = torch.nn.functional.layer_norm(
            values[..., index],
            (len(index),),
            None if layer.weight is None else layer.weight[index],
            None if layer.bias is None else layer.bias[index],
            layer.eps,
        )
        return torch.zeros_like(values).index_copy(values.ndim - 1, index, found)

    layer.forward = forward


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _near(one: Any, other: Any) -> bool:
    import torch

    if not one.is_floating_point():
        return bool(torch.equal(one, other))
    largest = float(one.abs().max()) if one.numel() else 0.0
    return float((one - other).abs().max() if one.numel() else 0.0) <= NEAR * largest + 1e-6
