"""Small networks of dense layers, as `.tflite` files and as source models, without TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.model import Model
from edgekit.core.tensor import Signature, TensorSpec

IN, OUT = "features", "scores"


@dataclass(frozen=True)
class Dense:
    """y = relu(W x + b), or without relu for the last layer; W with shape (outputs, inputs)."""

    name: str
    weights: Any
    bias: Any
    relu: bool = True


def network(*sides: int, seed: int = 0) -> list[Dense]:
    """Layers ``dense_0``, ``dense_1``, …, of the sizes given, the input's first."""
    draw = np.random.default_rng(seed)
    return [
        Dense(
            name=f"dense_{index}",
            weights=draw.normal(0, (2 / inputs) ** 0.5, (outputs, inputs)).astype(np.float32),
            bias=draw.normal(0, 0.1, outputs).astype(np.float32),
            relu=index < len(sides) - 2,
        )
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sides))
    ]


def noisy(layers: Sequence[Dense], name: str, amount: float) -> list[Dense]:
    """The same network with noise in the weights of one layer, `amount` in their own size."""
    draw = np.random.default_rng(1)

    def changed(layer: Dense) -> Dense:
        noise = draw.normal(0, amount * layer.weights.std(), layer.weights.shape)
        return replace(layer, weights=(layer.weights + noise).astype(np.float32))

    return [changed(layer) if layer.name == name else layer for layer in layers]


def signature_of(layers: Sequence[Dense]) -> Signature:
    return Signature(
        inputs=(TensorSpec(name=IN, shape=(1, layers[0].weights.shape[1]), dtype="float32"),),
        outputs=(TensorSpec(name=OUT, shape=(1, layers[-1].weights.shape[0]), dtype="float32"),),
    )


# ---------------------------------------------------------------------------- source model


def save(path: Path, layers: Sequence[Dense], last: str = "softmax") -> Model:
    """The network as a model file that `load` reads."""
    arrays = {}
    for layer in layers:
        arrays[f"{layer.name}/w"], arrays[f"{layer.name}/b"] = layer.weights, layer.bias
    np.savez(path, **arrays)
    return Model(
        name=path.stem,
        reference=str(path),
        path=str(path),
        framework="numpy",
        kind=last,
        digest=f"{path.stem}-{last}",
        loader="tests.verify.networks:load",
        worker="plain",
    )


def load(model: Model) -> NumpyModel:
    with np.load(model.path) as file:
        names = list(dict.fromkeys(key.partition("/")[0] for key in file.files))
        layers = [Dense(n, file[f"{n}/w"], file[f"{n}/b"], n != names[-1]) for n in names]
    return NumpyModel(layers, model.kind)


class NumpyModel:
    """A `LoadedModel`; `last` is "softmax", "sigmoid", "none", "nan" or "raise"."""

    def __init__(self, layers: Sequence[Dense], last: str) -> None:
        self._layers, self._last = layers, last

    @property
    def signature(self) -> Signature:
        return signature_of(self._layers)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {OUT: list(self.layers(inputs).values())[-1]}

    def layers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        value = inputs[IN]
        for layer in self._layers:
            value = value @ layer.weights.T + layer.bias
            value = np.maximum(value, 0) if layer.relu else value
            if layer is self._layers[-1]:
                value = self._finish(value)
            found[layer.name] = value
        return found

    def _finish(self, value: Any) -> Any:
        if self._last == "softmax":
            grown = np.exp(value - value.max(axis=1, keepdims=True))
            return (grown / grown.sum(axis=1, keepdims=True)).astype(np.float32)
        if self._last == "sigmoid":
            return (1 / (1 + np.exp(-value))).astype(np.float32)
        if self._last == "raise":
            raise ZeroDivisionError("by zero")
        return np.full_like(value, np.nan) if self._last == "nan" else value


# -------------------------------------------------------------------------------- artifact


def write(path: Path, layers: Sequence[Dense], last: str = "softmax") -> Path:
    """The network as TensorFlow's converter would write it: tensors named by scope and operator."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors, graph.operators = [], []
    kinds = [schema.BuiltinOperator.FULLY_CONNECTED]
    if last != "none":
        kinds.append(getattr(schema.BuiltinOperator, _FINISH[last]))
    model.operatorCodes = [_code(kind) for kind in kinds]

    def tensor(name: str, shape: Sequence[int], values: Any = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), schema.TensorType.FLOAT32
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], output: int, options: Any, kind: int) -> None:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, [output]
        made.builtinOptions, made.builtinOptionsType = options, kind
        graph.operators.append(made)

    first = at = tensor(f"serving_default_{IN}:0", (1, layers[0].weights.shape[1]))
    for layer in layers:
        weights = tensor(f"net_1/{layer.name}_1/MatMul", layer.weights.shape, layer.weights)
        bias = tensor(f"net_1/{layer.name}_1/Bias", layer.bias.shape, layer.bias)
        what = "Relu;net_1/" + layer.name + "_1/MatMul" if layer.relu else "BiasAdd"
        result = tensor(f"net_1/{layer.name}_1/{what}", (1, len(layer.bias)))
        options = schema.FullyConnectedOptionsT()
        if layer.relu:
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        operator(
            0, [at, weights, bias], result, options, schema.BuiltinOptions.FullyConnectedOptions
        )
        at = result
    if last != "none":
        result = tensor("StatefulPartitionedCall:0", (1, len(layers[-1].bias)))
        options, kind = None, schema.BuiltinOptions.NONE
        if last == "softmax":
            options, kind = schema.SoftmaxOptionsT(), schema.BuiltinOptions.SoftmaxOptions
            options.beta = 1.0
        operator(1, [at], result, options, kind)
        at = result
    graph.inputs, graph.outputs = [first], [at]
    model.subgraphs = [graph]
    definition = schema.SignatureDefT()
    definition.signatureKey, definition.subgraphIndex = "serving_default", 0
    definition.inputs, definition.outputs = [_named(IN, first)], [_named(OUT, at)]
    model.signatureDefs = [definition]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


_FINISH = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}


def _code(kind: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorCodeT()
    made.builtinCode, made.deprecatedBuiltinCode, made.version = kind, min(kind, 127), 1
    return made


def _named(name: str, index: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorMapT()
    made.name, made.tensorIndex = name, index
    return made


def export(out: Path, path: str, signature: dict[str, Any]) -> dict[str, Any]:
    """The function of a step that stands for an exporter: the file that is there already."""
    (out / "model.tflite").write_bytes(Path(path).read_bytes())
    return {"files": ["model.tflite"], "signature": signature, "way": "by hand", "parent": ""}
