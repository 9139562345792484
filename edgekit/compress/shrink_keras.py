"""Channels of Keras models, Keras 3 and tf_keras alike. Runs in a worker of TensorFlow.

The graph of layers is followed from the inputs with labels for the channels of every tensor. A
layer that is not known pins the channels it reads, and those it gives have no labels: it stays as
it is. The narrower model is made of layers with changed configs, and of the very same layers where
nothing about them changes; names and the form of inputs and outputs stay.

    shrink_keras_rules   what each kind of layer does with channels
    shrink_keras_marks   what the rules write down of variables
    shrink_keras_graph   tensors and calls in the graphs of both Kerases
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgekit.compress.channels import Site, keep_along, sliced
from edgekit.compress.shrink_keras_graph import (
    Call,
    Tensor,
    arguments_of,
    graph_of,
    input_again,
    is_graph,
    is_operation,
    is_plain,
    layer_of,
    leaves,
    nodes_of,
)
from edgekit.compress.shrink_keras_marks import Marks
from edgekit.compress.shrink_keras_rules import RULES, operation
from edgekit.core.errors import ConversionError

NEAR = 1e-3  # of the largest output: apart by less are only roundings
NAMED = 6  # layers in a note
ATTENTION_SHAPES = ("query_shape", "key_shape", "value_shape")


class KerasCutter:
    """See `Cutter`."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self._marks = Marks()
        self.channels = self._marks.channels
        self.notes: list[str] = []
        self._inner: dict[int, list[Tensor]] = {}  # of nested models, what they gave
        self._stopped: dict[str, None] = {}
        if not is_graph(net.model):
            raise ConversionError(
                f"shrink: {net.model.name!r} is a model of a class of its own; channels can only "
                "be followed through the layers of a functional or Sequential model",
                hint="build it with keras.Model(inputs, outputs), or leave shrink out",
            )
        for tensor in self._walk(net.model, ""):
            self._marks.stop(tensor)
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
        graph = graph_of(model)
        for tensor in graph.inputs:
            known[id(tensor)] = Tensor(tuple(tensor.shape))
        for node in nodes_of(graph):
            layer = layer_of(node)
            args, kwargs = arguments_of(node, known)
            inputs = [each for each in leaves((args, kwargs)) if isinstance(each, Tensor)]
            outputs = leaves(node.outputs)
            call = Call(
                layer,
                f"{before}{layer.name}",
                inputs,
                [tuple(each.shape) for each in outputs],
                all(is_plain(each) for each in leaves((args, kwargs))),
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
            self._marks.stop(tensor)
        if id(call.layer) not in self._inner:
            self._inner[id(call.layer)] = self._walk(call.layer, f"{call.path}/")
        return [
            Tensor(shape, inner.axis, inner.labels)
            for shape, inner in zip(call.shapes, self._inner[id(call.layer)], strict=True)
        ]

    def _follow(self, call: Call) -> list[Tensor]:
        """What a layer makes of labels."""
        name = type(call.layer).__name__
        rule = RULES.get(name)
        found = None
        if is_operation(call.layer):
            found = operation(self._marks, call)
        elif rule is not None and len(call.shapes) == 1:
            found = rule(self._marks, call)
        if found is not None:
            if not is_operation(call.layer):
                self._marks.configs.setdefault(id(call.layer), lambda kept: {})
            return [found]
        if any(tensor.labels is not None for tensor in call.inputs):
            self._stopped[f"{call.path} ({name})"] = None
        for tensor in call.inputs:
            self._marks.stop(tensor)
        return [Tensor(shape) for shape in call.shapes]

    # ------------------------------------------------------------------------- for Shrink

    def _sites(self) -> Iterator[Site]:
        seen: set[int] = set()
        for held in self._marks.held.values():
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

        return np.array(self._marks.held[int(site.name)].variable, dtype=np.float32)

    def key(self, site: Site) -> int:
        """See `Cutter.key`."""
        return int(site.name)

    def activations(self, inputs: Sequence[Any]) -> list[tuple[Any, Any]]:
        """See `Cutter.activations`."""
        import numpy as np
        import tensorflow as tf

        layers = [each for _, each in self._net.layers() if id(each) in self._marks.reading]
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
        return [(self.channels.roots(self._marks.reading[key]), mean) for key, mean in sums.items()]

    def cut(self, kept: Any) -> None:
        """See `Cutter.cut`."""
        import numpy as np

        draw = np.random.default_rng(0)
        samples = [_drawn(tensor, draw) for tensor in graph_of(self._net.model).inputs]
        known = self._marks.exact and all(array is not None for array in samples)
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
            variable = self._marks.held[int(site.name)].variable
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
                self._marks.held[int(name)].variable.assign(values)

    def _rebuilt(self, model: Any, kept: Any) -> Any:
        """The model without the units that go."""
        keras = self._net.live.keras
        made: dict[int, tuple[Any, Any]] = {}

        def cloned(graph: Any) -> Any:
            inputs = None
            if hasattr(keras, "tree") and not hasattr(graph, "_functional"):
                # Keras 3 would name inputs after tensors.
                inputs = keras.tree.map_structure(input_again, graph.input)
            return keras.models.clone_model(graph, inputs, clone_function=copied)

        def copied(layer: Any) -> Any:
            if id(layer) in made:
                return made[id(layer)][1]
            if is_graph(layer):
                new = cloned(layer)
            elif id(layer) in self._marks.configs:
                config = _unbuilt({**layer.get_config(), **self._marks.configs[id(layer)](kept)})
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
                held = self._marks.held.get(id(variable))
                axes = held.axes if held else {}
                roots = {axis: self.channels.roots(labels) for axis, labels in axes.items()}
                place.assign(sliced(_array(variable), roots, kept))
        return new


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
