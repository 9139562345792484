"""Keras' own graphs, of Keras 3 and tf_keras alike: which layer is called with what, a model with
other layers in it, and a model that gives layers' outputs too. Runs in a worker of TensorFlow.

Functional and Sequential models are graphs, also inside each other. Of a layer that holds layers
(TimeDistributed, one of the user's own) nothing is known here but its name. New models share the
layers of the old ones: of a layer that is in both there is one set of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.core.errors import ConversionError

GRAPHS = ("Functional", "Sequential")


@dataclass(frozen=True)
class Call:
    """One use of a layer.

    Attributes:
        path: the user's name, inner models' layers as ``outer/inner``.
        inputs, outputs: symbolic tensors.
        owner: the graph that it is in.
    """

    path: str
    layer: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    owner: Any


def graph_of(layer: Any) -> Any:
    """The Functional that a model is or wraps; None of what is no graph of Keras' own."""
    if own_class(layer) not in GRAPHS:
        return None
    graph = getattr(layer, "_functional", None) or layer  # a Keras 3 Sequential wraps one
    return graph if getattr(graph, "_nodes_by_depth", None) else None


def own_class(layer: Any) -> str:
    """The name of its class, where that is Keras' own; otherwise empty."""
    kind = type(layer)
    return kind.__name__ if kind.__module__.startswith(("keras.", "tf_keras.")) else ""


def _refuse_other(model: Any) -> None:
    if graph_of(model) is None:
        raise ConversionError(
            f"{model.name!r} is a {type(model).__name__}: only Sequential and functional models "
            "can be looked into and changed",
            hint="make it from inputs and outputs: keras.Model(inputs, outputs)",
        )


def calls(model: Any) -> Iterator[Call]:
    """Every use of a layer in the model, in the order of execution; of a model first what is in it.

    A model that is used several times is looked into once.

    Raises:
        ConversionError: the model is no graph.
    """
    _refuse_other(model)
    seen: set[int] = set()

    def walk(owner: Any, before: str) -> Iterator[Call]:
        for node in _nodes(graph_of(owner)):
            path = f"{before}{node.layer.name}"
            if graph_of(node.layer) is not None and id(node.layer) not in seen:
                seen.add(id(node.layer))
                yield from walk(node.layer, f"{path}/")
            yield Call(path, node.layer, node.inputs, node.outputs, owner)

    yield from walk(model, "")


def rebuilt(keras: Any, model: Any, instead: Mapping[int, Sequence[Any]]) -> Any:
    """The model with other layers in it.

    Args:
        instead: by ``id`` of a layer the layers that are called one after the other in its place;
            none of them hands its input on.

    Raises:
        ConversionError: the model is no graph.
    """
    known: dict[int, list[Any]] = {}

    def chain(layer: Any) -> list[Any]:
        if id(layer) in instead:
            return list(instead[id(layer)])
        if id(layer) not in known:
            known[id(layer)] = [layer if graph_of(layer) is None else remade(layer)]
        return known[id(layer)]

    def remade(owner: Any) -> Any:
        graph = graph_of(owner)
        nodes = list(_nodes(graph))
        if all(chain(node.layer) == [node.layer] for node in nodes):
            return owner
        if type(owner).__name__ == "Sequential":
            layers = [each for node in nodes for each in chain(node.layer)]
            made = keras.Sequential([_source(graph.inputs[0]), *layers], name=owner.name)
        else:
            outputs = _run(
                graph, lambda node, args, kwargs: _chained(chain(node.layer), args, kwargs)
            )
            made = keras.Model(struct_of(graph, "inputs"), outputs, name=owner.name)
        if not owner.trainable:
            made.trainable = False
        return made

    _refuse_other(model)
    return remade(model)


def exposed(keras: Any, model: Any, paths: Sequence[str]) -> Any:
    """A model of the same layers and inputs; its outputs are a list, the flat outputs of `model`
    and then what the layers of `paths` return, each the first time that it is called.

    Raises:
        ConversionError: the model is no graph.
    """
    import tensorflow as tf

    found: dict[str, Any] = {}

    def run(graph: Any, before: str, inputs: Sequence[Any] | None, passed: dict[str, Any]) -> Any:
        def call(node: _Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            path = f"{before}{node.layer.name}"
            inner = graph_of(node.layer)
            if inner is not None and any(each.startswith(f"{path}/") for each in paths):
                answer = run(inner, f"{path}/", tf.nest.flatten(args), {**passed, **kwargs})
            else:
                answer = node.layer(*args, **{**_taken(node.layer, passed), **kwargs})
            if path in paths:
                found.setdefault(path, answer)
            return answer

        return _run(graph, call, inputs)

    _refuse_other(model)
    graph = graph_of(model)
    outputs = tf.nest.flatten(run(graph, "", None, {}))
    return keras.Model(struct_of(graph, "inputs"), [*outputs, *(found[path] for path in paths)])


@dataclass(frozen=True)
class _Node:
    """One call in a graph. `fill` gives its arguments with other tensors in them, by ``id`` of the
    graph's own.
    """

    layer: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    fill: Callable[[Mapping[int, Any]], tuple[tuple[Any, ...], dict[str, Any]]]


def _nodes(graph: Any) -> Iterator[_Node]:
    """In the order of execution, as both Keras run them: by depth."""
    import tensorflow as tf

    for _, nodes in sorted(graph._nodes_by_depth.items(), reverse=True):
        for node in nodes:
            if node.is_input:
                continue
            if hasattr(node, "arguments"):
                inputs, fill = node.input_tensors, node.arguments.fill_in
                layer = node.operation
            else:  # tf_keras
                inputs, fill, layer = tf.nest.flatten(node.keras_inputs), _filled(node), node.layer
            yield _Node(layer, tuple(inputs), tuple(tf.nest.flatten(node.outputs)), fill)


def _filled(node: Any) -> Any:
    """As a node of Keras 3 has it; here each use of a tensor takes one from a list."""

    def fill(tensors: Mapping[int, Any]) -> Any:
        uses = len(node._keras_inputs_ids_and_indices)
        return node.map_arguments({str(key): [value] * uses for key, value in tensors.items()})

    return fill


def _run(
    graph: Any,
    call: Callable[[_Node, tuple[Any, ...], dict[str, Any]], Any],
    inputs: Sequence[Any] | None = None,
) -> Any:
    """The outputs, in the model's own nest, for other symbolic inputs or its own."""
    import tensorflow as tf

    given = graph.inputs if inputs is None else inputs
    tensors = {id(own): tensor for own, tensor in zip(graph.inputs, given, strict=True)}
    for node in _nodes(graph):
        args, kwargs = node.fill(tensors)
        answers = tf.nest.flatten(call(node, args, kwargs))
        tensors |= {id(own): answer for own, answer in zip(node.outputs, answers, strict=True)}
    flat = [tensors[id(tensor)] for tensor in graph.outputs]
    return tf.nest.pack_sequence_as(struct_of(graph, "outputs"), flat)


def _chained(layers: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not layers:
        return args[0]
    answer = layers[0](*args, **kwargs)
    for layer in layers[1:]:
        answer = layer(answer)
    return answer


def struct_of(graph: Any, what: str) -> Any:
    """The nest of inputs or outputs; Keras 3 and tf_keras keep it in other places."""
    for attribute in (f"_{what}_struct", f"_nested_{what}"):
        if (found := getattr(graph, attribute, None)) is not None:
            return found
    flat = getattr(graph, what)
    return flat[0] if len(flat) == 1 else list(flat)


def packed(model: Any, inputs: Sequence[Any]) -> Any:
    """The inputs in the nest that the model is called with."""
    import tensorflow as tf

    return tf.nest.pack_sequence_as(struct_of(graph_of(model), "inputs"), list(inputs))


def _source(tensor: Any) -> Any:
    """The input layer of a graph's input."""
    history = tensor._keras_history  # Keras 3: operation; tf_keras: layer
    return getattr(history, "operation", None) or history.layer


def _taken(layer: Any, passed: Mapping[str, Any]) -> dict[str, Any]:
    """What a model that was called with ``training=…`` hands on to a layer."""
    flags = ("_call_has_training_arg", "_expects_training_arg")
    takes = any(getattr(layer, flag, False) for flag in flags)
    training = passed.get("training")
    return {"training": training} if takes and training is not None else {}
