"""Channels of Keras models, Keras 3 and tf_keras alike. Runs in a worker of TensorFlow.

The graph of layers is followed from the inputs with labels for the channels of every tensor. A
layer that is not known pins the channels it reads, and those it gives have no labels: it stays as
it is. The narrower model is made of layers with changed configs, and of the very same layers where
nothing about them changes; names and the form of inputs and outputs stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.compress.channels import PINNED, Channels, Site, keep_along, sliced
from edgekit.core.errors import ConversionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]

NEAR = 1e-3  # of the largest output: apart by less are only roundings
NAMED = 6  # layers in a note


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions of each number alone, by their names in Keras, and as operations of a graph.
ELEMENTWISE = _words(
    """
    linear relu relu6 leaky_relu elu selu celu gelu silu swish sigmoid hard_sigmoid hard_silu
    hard_swish hard_tanh tanh tanh_shrink softplus softsign exponential exp mish log_sigmoid
    soft_shrink hard_shrink squareplus threshold sparse_plus sparse_sigmoid abs absolute square sqrt
    rsqrt negative log log1p identity cast
    """
)
BINARY = _words("add subtract multiply divide true_divide truediv sub mul maximum minimum add_v2")
PASSING = _words(
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
MERGES = frozenset(["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])


@dataclass
class Tensor:
    """Whose channels one axis of a tensor has.

    Attributes:
        axis: with the batch counted as 0; None if the channels are not known: they stay.
    """

    shape: tuple[int | None, ...]
    axis: int | None = None
    labels: Labels | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def places(self) -> int | None:
        """Of each channel in one sample; None if a size is open."""
        sizes = [s for i, s in enumerate(self.shape) if i and i != self.axis]
        return None if None in sizes else math.prod(s or 1 for s in sizes)


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        inputs: the tensors among its arguments, in order.
        plain: whether all other arguments are numbers of their own, nothing with channels.
        args, kwargs: as it was called, with `Tensor` where there was one.
    """

    layer: Any
    path: str
    inputs: list[Tensor]
    shapes: list[tuple[int | None, ...]]  # of the outputs
    plain: bool
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass
class Held:
    """A variable of a layer: whose channels its axes are."""

    variable: Any
    path: str
    kind: str
    axes: dict[int, Labels] = field(default_factory=dict)
    reads: int | None = None
    macs: float = 0.0


class KerasCutter:
    """See `Cutter`."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self.channels = Channels()
        self.notes: list[str] = []
        self._held: dict[int, Held] = {}
        # Of known layers, by `id`: what changes in the config when channels go.
        self._configs: dict[int, Callable[[Any], dict[str, Any]]] = {}
        self._reading: dict[int, Labels] = {}  # of what layers read, by the layer's `id`
        self._inner: dict[int, list[Tensor]] = {}  # of nested models, what they gave
        self._stopped: dict[str, None] = {}
        self._exact = True  # whether channels that nothing reads have no other effect
        if not is_graph(net.model):
            raise ConversionError(
                f"shrink: {net.model.name!r} is a model of a class of its own; channels can only "
                "be followed through the layers of a functional or Sequential model",
                hint="build it with keras.Model(inputs, outputs), or leave shrink out",
            )
        for tensor in self._walk(net.model, ""):
            self._stop(tensor)
        self.sites = list(self._sites())
        if self._stopped:
            names = list(self._stopped)
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            self.notes.append(
                f"what {', '.join(names[:NAMED])}{more} reads kept all channels: it is not known "
                "how to make it narrower"
            )

    # ------------------------------------------------------------------------- the graph

    def _walk(self, model: Any, before: str) -> list[Tensor]:
        """Label every tensor of the model; its outputs."""
        known: dict[int, Tensor] = {}
        graph = _graph(model)
        for tensor in graph.inputs:
            known[id(tensor)] = Tensor(tuple(tensor.shape))
        for node in _nodes(graph):
            layer = _layer(node)
            args, kwargs = _arguments(node, known)
            inputs = [each for each in _leaves((args, kwargs)) if isinstance(each, Tensor)]
            outputs = _flat(node.outputs)
            call = Call(
                layer,
                f"{before}{layer.name}",
                inputs,
                [tuple(each.shape) for each in outputs],
                all(_is_plain(each) for each in _leaves((args, kwargs))),
                args,
                kwargs,
            )
            given = self._nested(call) if is_graph(layer) else self._follow(call)
            for tensor, found in zip(outputs, given, strict=True):
                known[id(tensor)] = found
        return [known[id(tensor)] for tensor in graph.outputs]

    def _nested(self, call: Call) -> list[Tensor]:
        """A model in the model: what it reads keeps its channels, what it gives may lose some."""
        if any(tensor.labels is not None for tensor in call.inputs):
            self._stopped[f"{call.path} (a model of its own)"] = None
        for tensor in call.inputs:
            self._stop(tensor)
        if id(call.layer) not in self._inner:
            self._inner[id(call.layer)] = self._walk(call.layer, f"{call.path}/")
        return [
            Tensor(shape, inner.axis, inner.labels)
            for shape, inner in zip(call.shapes, self._inner[id(call.layer)], strict=True)
        ]

    def _follow(self, call: Call) -> list[Tensor]:
        """What a layer makes of labels."""
        name = type(call.layer).__name__
        rule = _RULES.get(name)
        found = None
        if _is_operation(call.layer):
            found = self._operation(call)
        elif rule is not None and len(call.shapes) == 1:
            found = rule(self, call)
        if found is not None:
            if not _is_operation(call.layer):
                self._configs.setdefault(id(call.layer), lambda kept: {})
            return [found]
        if any(tensor.labels is not None for tensor in call.inputs):
            self._stopped[f"{call.path} ({name})"] = None
        for tensor in call.inputs:
            self._stop(tensor)
        return [Tensor(shape) for shape in call.shapes]

    def _stop(self, tensor: Tensor) -> None:
        if tensor.labels is not None:
            self.channels.pin(tensor.labels)

    # ------------------------------------------------------------------- marks on variables

    def _mark(self, call: Call, variable: Any, axes: dict[int, Labels | None], **more: Any) -> None:
        """Say whose channels a variable's axes are; again where a layer is called again."""
        found = self._held.setdefault(
            id(variable), Held(variable, call.path, more.pop("kind", "rest"))
        )
        found.macs += more.pop("macs", 0.0)
        found.reads = more.pop("reads", found.reads)
        for axis, labels in axes.items():
            self._meet(found, axis % len(variable.shape), labels)

    def _meet(self, held: Held, axis: int, labels: Labels | None) -> None:
        import numpy as np

        size = held.variable.shape[axis]
        mine = np.full(size, PINNED) if labels is None else labels
        if axis in held.axes:
            self.channels.tie(held.axes[axis], mine)
        else:
            held.axes[axis] = mine

    def _made(self, variable: Any, axis: int, *, heads: bool = False) -> Labels:
        """Labels of what a layer gives: new ones when it is first called."""
        axis %= len(variable.shape)
        held = self._held.get(id(variable))
        if held is not None and axis in held.axes:
            return held.axes[axis]
        return self.channels.fresh(variable.shape[axis], single=heads)

    def _activated(self, layer: Any, labels: Labels) -> None:
        if not _is_elementwise(getattr(layer, "activation", None)):
            self.channels.pin(labels)

    def _read(self, call: Call, tensor: Tensor) -> None:
        if tensor.labels is not None:
            self._reading[id(call.layer)] = tensor.labels

    # --------------------------------------------------------------------------- the rules

    def conv(self, call: Call) -> Tensor | None:
        """Conv1D to 3D and their transposes."""
        layer, (tensor,) = call.layer, call.inputs
        transposed = CONVS[type(layer).__name__]
        axis = _channel_axis(layer, tensor)
        shape = call.shapes[0]
        places = _product(shape, axis)
        kernel = _variable(layer, "kernel")
        if kernel is None or getattr(layer, "groups", 1) != 1 or not _fits(tensor, axis):
            if kernel is not None:
                self._mark(call, kernel, {}, kind="kernel", macs=places)
            return None
        reads, makes = (-1, -2) if transposed else (-2, -1)
        labels = self._made(kernel, makes)
        macs = _product(tensor.shape, axis) if transposed else places
        self._mark(
            call,
            kernel,
            {reads: tensor.labels, makes: labels},
            kind="kernel",
            reads=reads % len(kernel.shape),
            macs=macs,
        )
        self._bias(call, labels)
        self._read(call, tensor)
        self._activated(layer, labels)
        self._configs[id(layer)] = self._count("filters", labels)
        return Tensor(shape, axis, labels)

    def _bias(self, call: Call, labels: Labels) -> None:
        bias = getattr(call.layer, "bias", None)
        if bias is not None:
            self._mark(call, bias, {0: labels})

    def _count(self, key: str, labels: Labels) -> Callable[[Any], dict[str, Any]]:
        return lambda kept: {key: len(keep_along(self.channels.roots(labels), kept))}

    def depthwise(self, call: Call) -> Tensor | None:
        """DepthwiseConv1D and 2D."""
        import numpy as np

        layer, (tensor,) = call.layer, call.inputs
        axis = _channel_axis(layer, tensor)
        kernel = _variable(layer, "depthwise_kernel", "kernel")
        if kernel is None or not _fits(tensor, axis):
            return None
        self._mark(
            call, kernel, {-2: tensor.labels}, kind="kernel", macs=_product(call.shapes[0], axis)
        )
        if tensor.labels is None:
            return Tensor(call.shapes[0])
        labels = np.repeat(tensor.labels, kernel.shape[-1])
        self._bias(call, labels)
        self._activated(layer, labels)
        return Tensor(call.shapes[0], axis, labels)

    def separable(self, call: Call) -> Tensor | None:
        """SeparableConv1D and 2D: a depthwise kernel, and one of 1×1."""
        import numpy as np

        layer, (tensor,) = call.layer, call.inputs
        axis = _channel_axis(layer, tensor)
        depthwise = _variable(layer, "depthwise_kernel")
        pointwise = _variable(layer, "pointwise_kernel")
        if depthwise is None or pointwise is None or not _fits(tensor, axis):
            return None
        places = _product(call.shapes[0], axis)
        self._mark(call, depthwise, {-2: tensor.labels}, kind="kernel", macs=places)
        labels = self._made(pointwise, -1)
        between = tensor.labels
        if between is not None:
            between = np.repeat(between, depthwise.shape[-1])
        self._mark(
            call,
            pointwise,
            {-2: between, -1: labels},
            kind="kernel",
            reads=len(pointwise.shape) - 2,
            macs=places,
        )
        self._bias(call, labels)
        self._activated(layer, labels)
        self._configs[id(layer)] = self._count("filters", labels)
        return Tensor(call.shapes[0], axis, labels)

    def dense(self, call: Call) -> Tensor | None:
        """Dense: the last axis."""
        layer, (tensor,) = call.layer, call.inputs
        kernel = _variable(layer, "kernel")
        axis = tensor.rank - 1
        if kernel is None or not _fits(tensor, axis):
            return None
        labels = self._made(kernel, 1)
        macs = _product(call.shapes[0], axis)
        axes = {0: tensor.labels, 1: labels}
        self._mark(call, kernel, axes, kind="kernel", reads=0, macs=macs)
        self._bias(call, labels)
        self._read(call, tensor)
        self._activated(layer, labels)
        self._configs[id(layer)] = self._count("units", labels)
        return Tensor(call.shapes[0], axis, labels)

    def embedding(self, call: Call) -> Tensor | None:
        """Embedding: rows of numbers, no sums."""
        table = _variable(call.layer, "embeddings")
        if table is None:
            return None
        labels = self._made(table, 1)
        self._mark(call, table, {1: labels}, kind="kernel")
        self._configs[id(call.layer)] = self._count("output_dim", labels)
        return Tensor(call.shapes[0], len(call.shapes[0]) - 1, labels)

    def recurrent(self, call: Call) -> Tensor | None:
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
            self._mark(call, cell.kernel, {0: tensor.labels}, kind="kernel", reads=0, macs=steps)
            self._mark(call, cell.recurrent_kernel, {}, kind="kernel", macs=steps)
        self._read(call, tensor)
        return Tensor(call.shapes[0])

    def batch_norm(self, call: Call) -> Tensor | None:
        """BatchNormalization: numbers for each channel."""
        layer, (tensor,) = call.layer, call.inputs
        if not _fits(tensor, _norm_axis(layer, tensor)):
            return None
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            variable = getattr(layer, name, None)
            if variable is not None:
                kind = "norm" if name == "gamma" else "rest"
                self._mark(call, variable, {0: tensor.labels}, kind=kind)
        return Tensor(call.shapes[0], tensor.axis, tensor.labels)

    def layer_norm(self, call: Call) -> Tensor | None:
        """LayerNormalization over the channels: it measures them, so what goes is missed."""
        layer, (tensor,) = call.layer, call.inputs
        if not _fits(tensor, _norm_axis(layer, tensor)):
            return None
        for name in ("gamma", "beta"):
            variable = getattr(layer, name, None)
            if variable is not None:
                self._mark(call, variable, {0: tensor.labels})
        self._exact = self._exact and tensor.labels is None
        return Tensor(call.shapes[0], tensor.axis, tensor.labels)

    def prelu(self, call: Call) -> Tensor | None:
        """PReLU: a slope for each channel, or for each number."""
        layer, (tensor,) = call.layer, call.inputs
        if tensor.labels is not None:
            assert tensor.axis is not None
            along = tensor.axis - 1
            if layer.alpha.shape[along] != len(tensor.labels):
                return None
            self._mark(call, layer.alpha, {along: tensor.labels})
        return Tensor(call.shapes[0], tensor.axis, tensor.labels)

    def passing(self, call: Call) -> Tensor | None:
        """Layers that leave channels where they are."""
        layer, tensor = call.layer, call.inputs[0]
        if hasattr(layer, "data_format") and not _fits(tensor, _channel_axis(layer, tensor)):
            return None
        return Tensor(call.shapes[0], tensor.axis, tensor.labels)

    def activation(self, call: Call) -> Tensor | None:
        """Activation: only functions of each number alone."""
        (tensor,) = call.inputs
        if tensor.labels is not None and not _is_elementwise(call.layer.activation):
            return None
        return Tensor(call.shapes[0], tensor.axis, tensor.labels)

    def pooled(self, call: Call) -> Tensor | None:
        """Global pooling."""
        layer, (tensor,) = call.layer, call.inputs
        axis = _channel_axis(layer, tensor)
        if not _fits(tensor, axis):
            return None
        last = len(call.shapes[0]) - 1
        after = None if tensor.axis is None else (last if axis == tensor.rank - 1 else 1)
        return Tensor(call.shapes[0], after, tensor.labels)

    def flatten(self, call: Call) -> Tensor | None:
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

    def reshape(self, call: Call) -> Tensor | None:
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
            count = len(keep_along(self.channels.roots(after), kept))
            return {"target_shape": [*target[:-1], -1 if target[-1] == -1 else count]}

        self._configs[id(call.layer)] = changed
        return Tensor(shape, len(shape) - 1, after)

    def permute(self, call: Call) -> Tensor | None:
        """Permute: the channels go to another axis."""
        (tensor,) = call.inputs
        if tensor.axis is None:
            return Tensor(call.shapes[0])
        axis = list(call.layer.dims).index(tensor.axis) + 1
        return Tensor(call.shapes[0], axis, tensor.labels)

    def repeat(self, call: Call) -> Tensor | None:
        """RepeatVector."""
        (tensor,) = call.inputs
        return Tensor(call.shapes[0], 2 if tensor.labels is not None else None, tensor.labels)

    def concatenate(self, call: Call) -> Tensor | None:
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
            return self._tied(call.shapes[0], call.inputs)
        if any(tensor.shape[axis] is None for tensor in call.inputs):
            return None
        parts = [
            np.full(tensor.shape[axis] or 0, PINNED) if tensor.labels is None else tensor.labels
            for tensor in call.inputs
        ]
        return Tensor(call.shapes[0], axis, np.concatenate(parts))

    def merge(self, call: Call) -> Tensor | None:
        """Add, Multiply and the like: what meets is tied."""
        return self._tied(call.shapes[0], call.inputs)

    def _tied(self, shape: tuple[int | None, ...], inputs: Sequence[Tensor]) -> Tensor | None:
        """Number by number, a size of 1 going with any other."""
        import numpy as np

        rank = len(shape)
        known = [tensor for tensor in inputs if tensor.labels is not None]
        if not known:
            return Tensor(shape)
        # Tensors of lower rank are aligned at the last axis.
        places = {
            (tensor.axis or 0) + (rank - tensor.rank)
            for tensor in known
            if tensor.rank == rank or tensor.axis == tensor.rank - 1
        }
        if len(places) != 1 or any(
            tensor.rank != rank and tensor.axis != tensor.rank - 1 for tensor in known
        ):
            return None
        (axis,) = places
        labels: Labels | None = None
        for tensor in inputs:
            own = axis - (rank - tensor.rank)
            size = tensor.shape[own] if own > 0 else 1
            if size != shape[axis]:
                if size != 1:
                    return None
                self._stop(tensor)
                continue
            mine = np.full(size or 0, PINNED) if tensor.labels is None else tensor.labels
            if labels is None:
                labels = mine
            else:
                self.channels.tie(labels, mine)
                labels = np.where(labels == PINNED, mine, labels)
        return Tensor(shape, axis, labels)

    def attention(self, call: Call) -> Tensor | None:
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
        heads = self._made(layer._query_dense.kernel, 1, heads=True)
        times = float(read[0].shape[1] or 1)
        dense = (layer._query_dense, layer._value_dense, layer._key_dense)
        for inner, tensor in zip(dense, read, strict=True):
            macs = float(tensor.shape[1] or 1)
            axes = {0: tensor.labels, 1: heads}
            self._mark(call, inner.kernel, axes, kind="kernel", reads=0, macs=macs)
            if inner.bias is not None:
                self._mark(call, inner.bias, {0: heads})
        labels = self._made(out.kernel, 2)
        axes = {0: heads, 2: labels}
        self._mark(call, out.kernel, axes, kind="kernel", reads=0, macs=times)
        if out.bias is not None:
            self._mark(call, out.bias, {0: labels})

        def changed(kept: Any) -> dict[str, Any]:
            found = self._count("num_heads", heads)(kept)
            width = self._count("width", labels)(kept)["width"]
            return {**found, "output_shape": [width]}

        self._configs[id(layer)] = changed
        return Tensor(call.shapes[0], 2, labels)

    def _operation(self, call: Call) -> Tensor | None:
        """`keras.ops` and TensorFlow's own functions in the graph, where they are elementwise."""
        name = _operation_name(call.layer)
        if name in BINARY and call.plain:
            return self._tied(call.shapes[0], call.inputs)
        if name in ELEMENTWISE and len(call.inputs) == 1:
            (tensor,) = call.inputs
            return Tensor(call.shapes[0], tensor.axis, tensor.labels)
        return None

    # ------------------------------------------------------------------------- for Shrink

    def _sites(self) -> Iterator[Site]:
        seen: set[int] = set()
        for held in self._held.values():
            seen.add(id(held.variable))
            yield Site(
                str(id(held.variable)),
                held.path,
                held.kind,  # type: ignore[arg-type]
                tuple(held.variable.shape),
                {axis: self.channels.roots(labels) for axis, labels in held.axes.items()},
                held.reads,
                held.macs,
            )
        for variable in self._net.model.weights:
            if id(variable) not in seen:
                yield Site(str(id(variable)), "", "rest", tuple(variable.shape))

    def array(self, site: Site) -> Any:
        """See `Cutter.array`."""
        import numpy as np

        return np.array(self._held[int(site.name)].variable, dtype=np.float32)

    def key(self, site: Site) -> int:
        """See `Cutter.key`."""
        return int(site.name)

    def activations(self, inputs: Sequence[Any]) -> list[tuple[Any, Any]]:
        """See `Cutter.activations`."""
        import numpy as np
        import tensorflow as tf

        layers = [each for _, each in self._net.layers() if id(each) in self._reading]
        sums: dict[int, Any] = {}

        def wrapped_of(layer: Any, call: Any) -> Any:
            axis = -1
            if getattr(layer, "data_format", "channels_last") == "channels_first":
                axis = 1

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                values = np.moveaxis(np.abs(np.asarray(args[0], np.float64)), axis, -1)
                mean = values.reshape(-1, values.shape[-1]).mean(axis=0)
                sums[id(layer)] = sums.get(id(layer), 0) + mean
                return call(*args, **kwargs)

            return wrapped

        # On the object itself, as where layers' outputs are recorded: it sees nested ones alike.
        for layer in layers:
            object.__setattr__(layer, "call", wrapped_of(layer, layer.call))
        try:
            for at in range(0, len(inputs[0]), 32):
                tensors = [tf.constant(array[at : at + 32]) for array in inputs]
                self._net.live.call(tensors, training=False)
        finally:
            for layer in layers:
                object.__delattr__(layer, "call")
        return [(self.channels.roots(self._reading[key]), mean) for key, mean in sums.items()]

    def cut(self, kept: Any) -> None:
        """See `Cutter.cut`."""
        import numpy as np

        draw = np.random.default_rng(0)
        samples = [_drawn(tensor, draw) for tensor in _graph(self._net.model).inputs]
        known = self._exact and all(array is not None for array in samples)
        wanted = self._blind(kept, samples) if known else None
        made = self._rebuilt(self._net.model, kept)
        self._net.live.module = made
        if wanted is None:
            return
        for one, other in zip(wanted, self._run(samples), strict=True):
            if one.shape != other.shape or not _near(one, other):
                raise ConversionError(
                    "shrink: the model gives something else without channels that nothing reads",
                    hint="leave layers out with exclude in the recipe",
                )

    def _run(self, samples: Sequence[Any]) -> list[Any]:
        """Outputs, computed layer by layer: for one batch that is faster than to trace them."""
        return [_array(output) for output in self._net.live.call(samples, training=False)]

    def _blind(self, kept: Any, samples: Sequence[Any]) -> Any:
        """What the model gives when nothing reads the channels that go."""
        import numpy as np

        before = {}
        for site in self.sites:
            if site.reads is None:
                continue
            variable = self._held[int(site.name)].variable
            values = np.array(variable)
            before[site.name] = values.copy()
            stay = np.zeros(values.shape[site.reads], dtype=bool)
            stay[keep_along(site.axes[site.reads], kept)] = True
            np.moveaxis(values, site.reads, 0)[~stay] = 0
            variable.assign(values)
        try:
            return self._run(samples)
        finally:
            for name, values in before.items():
                self._held[int(name)].variable.assign(values)

    def _rebuilt(self, model: Any, kept: Any) -> Any:
        """The model without the units that go."""
        keras = self._net.live.keras
        made: dict[int, tuple[Any, Any]] = {}

        def cloned(graph: Any) -> Any:
            inputs = None
            if hasattr(keras, "tree") and not hasattr(graph, "_functional"):
                # Keras 3 would name inputs after tensors.
                inputs = keras.tree.map_structure(_input_again, graph.input)
            return keras.models.clone_model(graph, inputs, clone_function=copied)

        def copied(layer: Any) -> Any:
            if id(layer) in made:
                return made[id(layer)][1]
            if is_graph(layer):
                new = cloned(layer)
            elif id(layer) in self._configs:
                config = _unbuilt({**layer.get_config(), **self._configs[id(layer)](kept)})
                # tf_keras builds attention at once if it has these.
                config |= {key: None for key in config if key in ATTENTION_SHAPES}
                new = type(layer).from_config(config)
            else:
                return layer
            made[id(layer)] = (layer, new)
            return new

        new = cloned(model)
        for old, other in made.values():
            if is_graph(old):
                continue
            for variable, place in zip(old.weights, other.weights, strict=True):
                held = self._held.get(id(variable))
                axes = held.axes if held else {}
                roots = {axis: self.channels.roots(labels) for axis, labels in axes.items()}
                place.assign(sliced(_array(variable), roots, kept))
        return new


ATTENTION_SHAPES = ("query_shape", "key_shape", "value_shape")
RECURRENT = frozenset(["LSTM", "GRU", "SimpleRNN"])

_RULES: dict[str, Callable[[KerasCutter, Call], Tensor | None]] = {
    **dict.fromkeys(CONVS, KerasCutter.conv),
    **dict.fromkeys(["DepthwiseConv1D", "DepthwiseConv2D"], KerasCutter.depthwise),
    **dict.fromkeys(["SeparableConv1D", "SeparableConv2D"], KerasCutter.separable),
    "Dense": KerasCutter.dense,
    "Embedding": KerasCutter.embedding,
    **dict.fromkeys([*RECURRENT, "Bidirectional"], KerasCutter.recurrent),
    "BatchNormalization": KerasCutter.batch_norm,
    "LayerNormalization": KerasCutter.layer_norm,
    "PReLU": KerasCutter.prelu,
    **dict.fromkeys(PASSING, KerasCutter.passing),
    "Activation": KerasCutter.activation,
    **dict.fromkeys(GLOBAL, KerasCutter.pooled),
    "Flatten": KerasCutter.flatten,
    "Reshape": KerasCutter.reshape,
    "Permute": KerasCutter.permute,
    "RepeatVector": KerasCutter.repeat,
    "Concatenate": KerasCutter.concatenate,
    **dict.fromkeys(MERGES, KerasCutter.merge),
    "MultiHeadAttention": KerasCutter.attention,
}


# ------------------------------------------------------------------- two Kerases, one graph


def is_graph(layer: Any) -> bool:
    """Whether it is a functional or a Sequential model with known inputs."""
    graph = _graph(layer)
    return hasattr(graph, "_nodes_by_depth") and bool(getattr(graph, "inputs", None))


def _graph(model: Any) -> Any:
    """A Keras 3 Sequential has its functional model inside."""
    return getattr(model, "_functional", None) or model


def _nodes(graph: Any) -> Iterator[Any]:
    """The calls of layers, in an order in which they can be made."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                yield node


def _layer(node: Any) -> Any:
    return node.operation if hasattr(node, "operation") else node.layer


def _arguments(node: Any, known: dict[int, Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """As the layer was called, with labelled tensors."""
    if hasattr(node, "arguments"):
        args, kwargs = node.arguments.args, node.arguments.kwargs
    else:
        args, kwargs = node.call_args, node.call_kwargs

    def switched(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [switched(each) for each in value]
        if isinstance(value, dict):
            return {key: switched(each) for key, each in value.items()}
        return known.get(id(value), value)

    return tuple(switched(each) for each in args), switched(dict(kwargs))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for each in value for leaf in _leaves(each)]
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    return [value]


def _input_again(tensor: Any) -> Any:
    layer = tensor._keras_history.operation
    return type(layer).from_config(layer.get_config()).output


def _flat(outputs: Any) -> list[Any]:
    return _leaves(outputs)


def _is_plain(value: Any) -> bool:
    """Whether an argument has no channels that are not followed."""
    return isinstance(value, Tensor | int | float | str | None) or getattr(value, "size", 2) == 1


def _is_operation(layer: Any) -> bool:
    module = type(layer).__module__
    return module.startswith("keras.src.ops.") or type(layer).__name__ == "TFOpLambda"


def _operation_name(layer: Any) -> str:
    """``Relu`` and ``nn.relu`` alike: relu."""
    if type(layer).__name__ == "TFOpLambda":
        return str(layer.get_config()["function"]).rpartition(".")[2].strip("_")
    name = type(layer).__name__
    return "".join(
        f"_{c.lower()}" if c.isupper() and i and not name[i - 1].isupper() else c.lower()
        for i, c in enumerate(name)
    )


def _variable(layer: Any, *names: str) -> Any:
    """The first of these kernels that is one: not with an adapter, not of integers."""
    for name in names:
        found = getattr(layer, name, None)
        if hasattr(found, "assign") and any(found is each for each in layer.weights):
            return found
    return None


def _is_elementwise(activation: Any) -> bool:
    if activation is None:
        return True
    name = getattr(activation, "__name__", "") or type(activation).__name__
    return name in ELEMENTWISE or name in ("ReLU", "LeakyReLU", "ELU")


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


def _unbuilt(config: Any) -> Any:
    """Without the shapes that layers inside of layers were built for."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    if isinstance(config, list):
        return [_unbuilt(value) for value in config]
    return config


def _array(variable: Any) -> Any:
    import numpy as np

    return np.array(variable)


def _drawn(tensor: Any, draw: Any) -> Any:
    """Numbers for an input; None for what is no input of numbers, or has open sizes."""
    import numpy as np
    import tensorflow as tf

    shape, dtype = tuple(tensor.shape)[1:], tf.as_dtype(tensor.dtype)
    if None in shape:
        return None
    if dtype.is_floating:
        return draw.standard_normal((2, *shape)).astype(dtype.as_numpy_dtype)
    return np.zeros((2, *shape), dtype.as_numpy_dtype) if dtype.is_integer else None


def _near(one: Any, other: Any) -> bool:
    import numpy as np

    largest = float(np.abs(one).max()) if one.size else 0.0
    return bool(np.abs(one - other).max(initial=0.0) <= NEAR * largest + 1e-6)
