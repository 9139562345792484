"""PyTorch modules that round as the integers of their export do. Runs in a worker of torch.

The module's graph is taken by torch.export with the number of samples open, and rounding is put
between its operators; parameters and buffers in it are the module's own, so that whatever trains
the graph trains the module. It is traced as it is exported later, for inference, and then dropout
and batch norms are switched to training in the graph. So ``if self.training`` in a user's module
means inference here.

Why not `prepare_qat_pt2e` of torchao, which does the same for one delegate's quantizer: its weights
are rounded over a moving average of their ranges, which is not what the export takes, so pruned and
clustered weights would not stay on their steps; scales below 2⁻¹² are widened; it knows neither 4
nor 16 bits, nor TFLite's places for rounding (no pooling, softmax, sigmoid); and it computes every
convolution with its batch norm folded in and out again, which changes nothing where scales are per
channel: folding multiplies a channel and its scale by the same number, and the integers stay.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from edgekit.compress.net import matching
from edgekit.compress.rounding import (
    GIVEN,
    LEAST_RANGE,
    NORM,
    PASSING,
    Ends,
    Op,
    block,
    levels,
    means,
    places,
    plan,
)
from edgekit.compress.torch_net import TorchNet
from edgekit.core.errors import ConversionError
from edgekit.core.fx import modules
from edgekit.core.quantize import AVERAGING

if TYPE_CHECKING:
    from edgekit.compress.qat import QuantizeAware

Looking = Literal["", "all", "average"]

# Words of `rounding` by operators of aten; others are their own word.
WORDS = {
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit", "native_batch_norm"), NORM),
    **dict.fromkeys(
        ("view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "squeeze",
         "unsqueeze", "slice", "select", "expand", "repeat", "split", "split_with_sizes", "chunk",
         "unbind", "getitem", "narrow", "roll", "flip", "pad", "constant_pad_nd", "max_pool1d",
         "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "movedim",
         "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "index", "expand_as", "view_as",
         "_unsafe_view", "swapaxes", "numpy_T", "max_pool2d_with_indices", "gather", "tile"),
        "reshape",
    ),
    **dict.fromkeys(
        ("contiguous", "clone", "alias", "detach", "to", "_to_copy", "lift_fresh_copy", "type_as",
         "_assert_tensor_metadata"),
        "identity",
    ),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "native_dropout"), "dropout"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), "averagepooling"),
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d",
                     "upsample_bicubic2d"), "upsampling"),
    "sub": "subtract", "mul": "multiply", "_softmax": "softmax",
}  # fmt: skip
# Where operators have their kernel: the argument, and the axis of its output channels.
KERNELS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (1, 0)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), (1, 1)),
    "linear": (1, 0), "addmm": (2, 1), "mm": (1, 1), "matmul": (1, -1), "bmm": (1, -1),
}  # fmt: skip
# Where operators say whether they train.
TRAINS = {"batch_norm": 5, "dropout": 2, "feature_dropout": 2, "alpha_dropout": 2}
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def symmetric(values: Any, steps: int, axes: Sequence[int]) -> Any:
    """`values` rounded to whole steps of the largest magnitude / `steps`; gradients go through.

    Args:
        steps: in each direction: 127 for 8 bits, 7 for 4.
        axes: over which a scale is shared.
    """
    import torch

    largest = values.detach().abs().amax(dim=tuple(axes), keepdim=True)
    step = torch.where(largest > 0, largest, torch.ones_like(largest)) / steps
    return values + (torch.round(values / step) * step - values).detach()


def blocks(values: Any, steps: int, size: int) -> Any:
    """`symmetric` of a dense kernel (outputs, inputs) with a scale for `size` inputs in a row."""
    parts = values.reshape(values.shape[0], -1, size)
    return symmetric(parts, steps, [2]).reshape(values.shape)


def kernel_module(steps: int, axes: Sequence[int], size: int) -> Any:
    """A module that rounds a kernel: `blocks` where it has a size of them, else `symmetric`.

    While its ``looking`` is "all" it does nothing.
    """
    import torch

    class Kernel(torch.nn.Module):
        looking: Looking = ""

        def forward(self, values: Any) -> Any:
            if self.looking == "all":
                return values
            return blocks(values, steps, size) if size else symmetric(values, steps, axes)

    return Kernel()


def range_module(bits: int, fixed: Ends | None) -> Any:
    """A module that rounds what it is given over a range.

    Its ``ends`` are that range. Its ``looking`` says whether it moves towards the values' own
    ("average"), is widened to hold them while nothing is rounded ("all"), or stays.

    Args:
        fixed: the range, where it never changes.
    """
    import torch

    class Range(torch.nn.Module):
        ends: Any
        seen: bool
        looking: Looking

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ends", torch.zeros(2))
            self.seen, self.looking, self.fixed = False, "", fixed
            if fixed is not None:
                low, high = fixed
                self.ends.copy_(torch.tensor([low, high - (high - low) / 2**bits]))

        def forward(self, values: Any) -> Any:
            if self.looking and fixed is None:
                self._look(values.detach())
            if self.looking == "all":
                return values
            low, high = (float(end) for end in self.ends)
            if bits == 16:  # 16-bit integers have no zero point
                scale = max(-low, high, LEAST_RANGE) / (2**15 - 1)
                return torch.fake_quantize_per_tensor_affine(values, scale, 0, -(2**15), 2**15 - 1)
            scale = max(high - low, LEAST_RANGE) / 255
            zero = max(-128, min(127, round(-128 - low / scale)))
            return torch.fake_quantize_per_tensor_affine(values, scale, zero, -128, 127)

        def _look(self, values: Any) -> None:
            # Integers here always have an exact zero.
            new = torch.stack([values.amin().clamp_max(0), values.amax().clamp_min(0)]).float()
            if not self.seen:
                self.ends.copy_(new)
            elif self.looking == "all":
                self.ends[0] = torch.minimum(self.ends[0], new[0])
                self.ends[1] = torch.maximum(self.ends[1], new[1])
            else:
                self.ends += AVERAGING * (new - self.ends)
            self.seen = True

    return Range()


class RoundingTorchNet(TorchNet):
    """See `edgekit.compress.qat.Rounding`. It shares the weights with the net it is made of."""

    may_mix = False  # bfloat16 has fewer digits than what the weights are rounded to

    def __init__(self, net: TorchNet, how: QuantizeAware, example: Sequence[Any]) -> None:
        super().__init__(net.live)
        self.cores = net.cores
        spared = {w.layer for w in matching(self.weights().values(), how.exclude, "exclude")}
        graph = _Graph(traced(net.live, example), how, spared)
        share(graph.module, net.module)
        self.live = _RoundingLive(net.live, graph)

    @property
    def weights_rounded(self) -> int:
        """Kernels, shared ones once."""
        return len(self.live.graph.kernels)

    @property
    def activations_rounded(self) -> int:
        """Tensors, those with a fixed scale too."""
        return len(self.live.graph.ranges)

    def calibrate(self, inputs: Sequence[Any]) -> None:
        """See `Rounding.calibrate`."""
        self.live.looking = "all"
        for each in self.live.graph.ranges:
            each.seen = False
        try:
            self.predict(inputs)
        finally:
            self.live.looking = ""

    def freeze(self) -> None:
        """See `Rounding.freeze`."""
        self.live.frozen = True

    def move(self, device: Any) -> None:
        """See `TorchNet.move`: the graph too."""
        super().move(device)
        self.live.graph.move(device)
        share(self.live.graph.module, self.module)  # a moved buffer is another one

    def state(self) -> dict[str, Any]:
        """See `Net.state`: ranges too."""
        ranges = self.live.graph.ranges
        return {
            **{f"net/{name}": array for name, array in super().state().items()},
            **{f"range/{i}": each.ends.cpu().numpy().copy() for i, each in enumerate(ranges)},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Net.restore`."""
        import torch

        mine = {k.removeprefix("net/"): v for k, v in state.items() if k.startswith("net/")}
        super().restore(mine)
        for index, each in enumerate(self.live.graph.ranges):
            each.ends.copy_(torch.from_numpy(state[f"range/{index}"]))
            each.seen = True


class _RoundingLive:
    """A `LiveModel` whose calls round.

    Attributes:
        looking: how ranges change while nothing is trained: see `range_module`.
        frozen: whether ranges and batch norms stay as they are.
    """

    def __init__(self, live: Any, graph: _Graph) -> None:
        self.module, self.signature, self.edits = live.module, live.signature, live.edits
        self.take, self.save = live.take, live.save
        self.graph = graph
        self.looking: Looking = ""
        self.frozen = False
        self.example = live.example

    def call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """See `LiveModel.call`."""
        from torch.utils import _pytree as pytree

        looking = self.looking or ("average" if training and not self.frozen else "")
        self.graph.switch(norms=training and not self.frozen, drops=training, looking=looking)
        args, kwargs = self.example
        count = len(args)
        named = dict(zip(kwargs, inputs[count:], strict=True))
        return list(pytree.tree_leaves(self.graph.module(*inputs[:count], **named)))


# ----------------------------------------------------------------------------------- its graph


def traced(live: Any, example: Sequence[Any]) -> Any:
    """The module's graph for inference, for any number of samples.

    Args:
        example: a few samples, as the module itself takes them.

    Raises:
        ConversionError: torch.export cannot do that.
    """
    import torch

    export: Any = torch.export  # says less of its types than it takes
    tensors = [torch.from_numpy(array) for array in example]
    args, kwargs = live.example
    given = tuple(tensors[: len(args)])
    named = dict(zip(kwargs, tensors[len(args) :], strict=True))
    shapes = export.ShapesCollection()
    for tensor in tensors:
        shapes[tensor] = {0: export.Dim.DYNAMIC}
    try:
        with torch.no_grad():
            program = export.export(
                live.module.eval(), given, named or None, dynamic_shapes=shapes, strict=False
            )
    except Exception as exc:  # whatever the user's code meets when it is traced
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        raise ConversionError(
            f"qat: torch.export cannot trace {type(live.module).__name__} with the number of "
            f"samples open: {lines[0][:200] if lines else type(exc).__name__}",
            hint="take sizes from the inputs (x.shape[0]) where the module fixes them, or leave "
            "the pass out",
        ) from exc
    return program.module(check_guards=False)  # they hold to the sizes of the example


def functional(graph: Any) -> None:
    """Make operators that change a tensor in place give a new one, which later readers take."""
    import torch

    order = {node: index for index, node in enumerate(graph.nodes)}
    for node, at in order.items():
        parts = str(node.target).split(".")
        if node.op != "call_function" or len(parts) < 3 or not parts[1].endswith("_"):
            continue
        packet = getattr(getattr(torch.ops, parts[0]), parts[1].rstrip("_"), None)
        if packet is None or parts[2] not in packet.overloads():
            continue
        changed = node.args[0]
        changed.replace_all_uses_with(node, lambda reader, at=at: order[reader] > at)
        node.target = getattr(packet, parts[2])


def share(graph: Any, module: Any) -> None:
    """Let the graph have the module's own parameters and buffers."""
    for name, parameter in module.named_parameters(remove_duplicate=False):
        _put(graph, name, parameter, "_parameters")
    for name, buffer in module.named_buffers(remove_duplicate=False):
        _put(graph, name, buffer, "_buffers")


def _put(graph: Any, name: str, tensor: Any, where: str) -> None:
    path, _, own = name.rpartition(".")
    try:
        owner = graph.get_submodule(path)
    except AttributeError:  # the graph does not use it
        return
    if own in getattr(owner, where):
        getattr(owner, where)[own] = tensor


class _Graph:
    """A traced module with rounding put in.

    Attributes:
        module: the ``GraphModule``.
        kernels: names of the parameters that are rounded.
        ranges: modules that round activations.
    """

    def __init__(self, module: Any, how: QuantizeAware, spared: set[str]) -> None:
        self.module, self._how, self._spared = module, how, spared
        self.kernels: set[str] = set()
        self.ranges: list[Any] = []
        self._rounding: list[Any] = []  # kernels' and activations'
        self._names: dict[Any, str] = {}
        functional(module.graph)
        self._nodes = list(module.graph.nodes)
        self._numbers = {node: index for index, node in enumerate(self._nodes)}
        self._constants = self._find_constants()
        self._shown = [node for node in self._nodes if node.op == "call_function"]
        self._switched = (False, False)
        ops = {node: self._op(node) for node in self._shown if node not in self._constants}
        self._round_kernels(ops)
        if how.activations:
            self._round_activations({node: op for node, op in ops.items() if op.outputs})
        module.graph.lint()
        module.recompile()

    def move(self, device: Any) -> None:
        """Put all of its numbers there, and what it makes while it runs."""
        import torch

        self.module.to(device)
        for owner in self.module.modules():
            for name, value in list(vars(owner).items()):
                if isinstance(value, torch.Tensor):  # a constant of the graph
                    setattr(owner, name, value.to(device))
        for node in self.module.graph.nodes:
            if node.kwargs.get("device") is not None:
                node.update_kwarg("device", torch.device(device))
        self.module.recompile()

    def switch(self, *, norms: bool, drops: bool, looking: Looking) -> None:
        """Whether batch norms and dropout train, and what ranges do."""
        for each in self._rounding:
            each.looking = looking
        if (norms, drops) == self._switched:
            return
        self._switched = (norms, drops)
        for node in self._shown:
            place = TRAINS.get(_name(node))
            # A batch norm without averages always takes the batch's own.
            if place is None or (_name(node) == "batch_norm" and node.args[3] is None):
                continue
            node.update_arg(place, norms if _name(node) == "batch_norm" else drops)
        self.module.recompile()

    def _find_constants(self) -> set[Any]:
        """Parameters, and what is computed of nothing else."""
        found: set[Any] = set()
        for node in self._nodes:
            inner = node.all_input_nodes
            alone = node.op == "call_function" and all(each in found for each in inner)
            if node.op == "get_attr" or alone:
                found.add(node)
        return found

    def _op(self, node: Any) -> Op:
        inputs = [each for each in node.all_input_nodes if each not in self._constants]
        word, last = _word(node), ""
        if self._kernel(node) is not None:
            word, last = "product", "linear"
        return Op(
            key=(node.name, 0),
            word=word,
            inputs=[self._numbers[each] for each in inputs if _is_float(each)],
            outputs=[self._numbers[node]] if _is_float(node) else [],
            last=last,
            spared=self._is_spared(node),
        )

    def _is_spared(self, node: Any) -> bool:
        names = modules(node)
        own = bool(names) and names[0] in self._spared
        return own or means(self._how.in_float, [*names, node.name])

    def _kernel(self, node: Any) -> Any:
        """The constant that it multiplies with; None if there is none."""
        place = KERNELS.get(_name(node))
        if place is None or len(node.args) <= place[0]:
            return None
        found = node.args[place[0]]
        return found if found in self._constants else None

    def _round_kernels(self, ops: dict[Any, Op]) -> None:
        made: dict[tuple[Any, int], Any] = {}
        for node, op in ops.items():
            kernel = self._kernel(node)
            if kernel is None or op.spared:
                continue
            argument, axis = KERNELS[_name(node)]
            if (kernel, axis) not in made:
                made[kernel, axis] = self._rounded_kernel(node, kernel, axis)
            node.update_arg(argument, made[kernel, axis])
            self.kernels.add(kernel.name)

    def _rounded_kernel(self, node: Any, kernel: Any, axis: int) -> Any:
        name, shape = _name(node), self._shape(kernel)
        kind = "dense"
        if "conv" in name:  # others than plain ones have 8 bits as depthwise ones have
            plain = "transpose" not in name and (_groups(node) == 1 or _groups(node) < shape[0])
            kind = "conv" if plain else "depthwise"
        steps = levels(kind, self._how.bits)
        axes = list(range(len(shape)))
        if self._how.weights != "per-tensor":
            axes.remove(axis % len(shape))
        graph = self.module.graph
        with graph.inserting_after(kernel):
            size = block(self._how.weights, kind, shape, 1) if axis == 0 else 0
            made = kernel_module(steps, axes, size)
            self._rounding.append(made)
            return graph.call_module(self._added(made), (kernel,))

    def _shape(self, constant: Any) -> list[int]:
        found = constant.meta.get("val")
        if found is None:
            path, _, own = str(constant.target).rpartition(".")
            found = getattr(self.module.get_submodule(path), own)
        return [int(size) for size in found.shape]

    def _round_activations(self, ops: dict[Any, Op]) -> None:
        given = [node for node in self._nodes if node.op == "placeholder" and _is_float(node)]
        left = [
            self._numbers[each]
            for node in self._nodes
            if node.op == "output"
            for each in node.all_input_nodes
        ]
        listed = list(ops.values())
        decided = plan(listed, left)
        found = places(listed, [self._numbers[node] for node in given], decided)
        own: dict[Any, Any] = {}  # the module that rounds what a node gives
        for index, node in enumerate(given):
            own[node] = self._range(found[GIVEN, f"in {index}"])
            self._insert(node, own[node])
        for node, op in ops.items():
            inputs = [self._nodes[number] for number in op.inputs]
            for index, each in enumerate(inputs):
                if (op.key, f"in {index}") in found:
                    self._insert(each, self._range(None), only=node)
            if (op.key, "out 0") in found:
                own[node] = self._range(found[op.key, "out 0"])
                self._insert(node, own[node])
            elif inputs and inputs[0] in own and op.word in PASSING:
                own[node] = own[inputs[0]]  # it is on its input's scale
            elif decided.get(op.key) == "same" and inputs and inputs[0] in own:
                self._insert(node, own[inputs[0]])

    def _range(self, fixed: Ends | None) -> Any:
        made = range_module(self._how.activations, fixed)
        self.ranges.append(made)
        self._rounding.append(made)
        self._names[made] = self._added(made)
        return made

    def _added(self, made: Any) -> str:
        name = f"rounding_{len(self._rounding)}"
        self.module.add_submodule(name, made)
        return name

    def _insert(self, node: Any, made: Any, only: Any = None) -> None:
        """Round `node` before what reads it, or before `only`."""
        name = self._names[made]
        graph = self.module.graph
        readers = (
            [only]
            if only is not None
            else [each for each in node.users if each.op == "output" or _is_float(each)]
        )
        if only is not None:
            place = graph.inserting_before(only)
        elif node.op == "placeholder":  # not between two of them
            place = graph.inserting_before(self._shown[0])
        else:
            place = graph.inserting_after(node)
        with place:
            rounded = graph.call_module(name, (node,))
        for reader in readers:
            reader.replace_input_with(node, rounded)


def _name(node: Any) -> str:
    """The operator's bare name: "conv2d" for aten.conv2d.default, "relu" for aten.relu_."""
    if node.op != "call_function":
        return ""
    if node.target is operator.getitem:
        return "getitem"
    parts = str(node.target).split(".")
    return parts[1].rstrip("_") if len(parts) > 1 else str(node.target)


def _word(node: Any) -> str:
    name = _name(node)
    if name == "getitem" and _name(node.args[0]) in RECURRENT:
        return "recurrent"
    if name in ("hardtanh", "clamp", "relu6"):
        bounds = [*node.args[1:3], *node.kwargs.values()]
        default = [0, 6] if name == "relu6" else [-1, 1]
        return "relu6" if [float(b) for b in (bounds or default)] == [0.0, 6.0] else name
    if name == "clamp_min" and float(node.args[1]) == 0:
        return "relu"
    return WORDS.get(name, name)


def _groups(node: Any) -> int:
    return int(node.args[6]) if len(node.args) > 6 else int(node.kwargs.get("groups", 1))


def _is_float(node: Any) -> bool:
    """Whether it is one tensor of floating-point numbers, or several (which are picked later)."""
    value = node.meta.get("val")
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    kind = getattr(first, "dtype", None)
    return bool(kind is not None and kind.is_floating_point)
