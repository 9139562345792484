"""Small convolutional `.tflite` files, made without TensorFlow, and their quantized forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.dataset import DataSet
from edgekit.core.recipe import named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_calibrate, tflite_quantize

IMAGE = (1, 16, 16, 3)


@dataclass
class Graph:
    """A graph under construction; tensors are named by their index."""

    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    seed: int = 0

    def tensor(self, name: str, shape: Sequence[int], values: Any = None, kind: str = "") -> int:
        from ai_edge_litert import schema_py_generated as schema

        made, buffer = schema.TensorT(), schema.BufferT()
        made.name, made.shape = name, list(shape)
        kind = kind or (values.dtype.name if values is not None else "float32")
        made.type = getattr(schema.TensorType, kind.upper())
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.buffers.append(buffer)
        made.buffer = len(self.buffers)  # buffer 0 stays empty
        self.tensors.append(made)
        return len(self.tensors) - 1

    def weights(self, name: str, *shape: int) -> int:
        self.seed += 1
        fan_in = max(1, int(np.prod(shape[1:])))
        drawn = np.random.default_rng(self.seed).normal(0, (2 / fan_in) ** 0.5, shape)
        return self.tensor(name, shape, drawn.astype(np.float32))

    def operator(
        self, code: str, inputs: Sequence[int], output: tuple[str, Sequence[int]], **options: Any
    ) -> int:
        """Add an operator; the index of its output, which has the name and shape given.

        Keyword arguments are fields of the schema's options; ``options`` names their class.
        """
        from ai_edge_litert import schema_py_generated as schema

        if code not in self.codes:
            self.codes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs = self.codes.index(code), list(inputs)
        made.outputs = [self.tensor(*output)]
        if kind := options.pop("options", ""):
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(schema, kind + "T")()
            for key, value in options.items():
                setattr(made.builtinOptions, key, value)
        self.operators.append(made)
        return int(made.outputs[0])

    def conv(
        self, x: int, name: str, channels: int, kernel: int, stride: int = 1, relu6: bool = True
    ) -> int:
        _, height, width, before = self.tensors[x].shape
        inputs = [
            x,
            self.weights(f"{name}/w", channels, kernel, kernel, before),
            self.bias(name, channels),
        ]
        return self.operator(
            "CONV_2D", inputs, (name, (1, height // stride, width // stride, channels)),
            options="Conv2DOptions", strideH=stride, strideW=stride,
            fusedActivationFunction=3 * relu6,
        )  # fmt: skip

    def depthwise(self, x: int, name: str, stride: int = 1) -> int:
        _, height, width, channels = self.tensors[x].shape
        shape = (1, height // stride, width // stride, channels)
        inputs = [x, self.weights(f"{name}/w", 1, 3, 3, shape[-1]), self.bias(name, shape[-1])]
        return self.operator(
            "DEPTHWISE_CONV_2D", inputs, (name, shape), options="DepthwiseConv2DOptions",
            strideH=stride, strideW=stride, depthMultiplier=1, fusedActivationFunction=3,
        )  # fmt: skip

    def bias(self, name: str, count: int) -> int:
        return self.tensor(f"{name}/b", (count,), np.linspace(0, 0.1, count, dtype=np.float32))

    def constant(self, name: str, values: Sequence[int]) -> int:
        array = np.array(values, dtype=np.int32)
        return self.tensor(name, array.shape, array)

    def save(
        self,
        path: Path,
        inputs: dict[str, int],
        outputs: dict[str, int],
        bodies: Sequence[tuple[Graph, Sequence[int], Sequence[int]]] = (),
    ) -> Path:
        """Write the file; `bodies` are those of loops, with inputs and outputs, from index 1 on."""
        from ai_edge_litert import schema_py_generated as schema

        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.description = 3, "edgekit test model"
        model.buffers = [schema.BufferT(), *self.buffers]
        model.operatorCodes = [_code(name) for name in self.codes]
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        model.subgraphs = [graph]
        for body, enter, leave in bodies:
            made = schema.SubGraphT()
            made.tensors, made.operators = body.tensors, body.operators
            made.inputs, made.outputs = list(enter), list(leave)
            model.subgraphs.append(made)
        flatbuffer.set_signature(model, "serving_default", inputs, outputs)
        flatbuffer.write(model, path)
        return path


def _code(name: str) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorCodeT()
    made.builtinCode = getattr(schema.BuiltinOperator, name)
    made.deprecatedBuiltinCode, made.version = min(made.builtinCode, 127), 1
    return made


def cnn(path: Path) -> Path:
    """A small MobileNet: 16×16 image to ten scores; seven operators."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    first = graph.conv(image, "first", 8, 3, stride=2)
    second = graph.conv(graph.depthwise(first, "depth"), "point", 8, 1)
    total = graph.operator("ADD", [first, second], ("sum", (1, 8, 8, 8)), options="AddOptions")
    mean = graph.operator(
        "MEAN", [total, graph.constant("axes", [1, 2])], ("mean", (1, 8)),
        options="ReducerOptions", keepDims=False,
    )  # fmt: skip
    dense = [mean, graph.weights("dense/w", 10, 8), graph.bias("dense", 10)]
    scores = graph.operator(
        "FULLY_CONNECTED", dense, ("scores", (1, 10)), options="FullyConnectedOptions"
    )
    return graph.save(path, {"image": image}, {"scores": scores})


def mobilenet_v2(path: Path, size: int = 224) -> Path:
    """MobileNetV2 with random weights; for 224×224 images it has 300 million multiply-adds.

    https://arxiv.org/abs/1801.04381, table 2
    """
    graph = Graph()
    image = graph.tensor("image", (1, size, size, 3))
    x, blocks = graph.conv(image, "first", 32, 3, stride=2), 0
    for expand, channels, repeats, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            name, before = f"block{blocks}", x
            blocks += 1
            inside = graph.tensors[x].shape[-1] * expand
            if expand > 1:
                x = graph.conv(x, f"{name}/expand", inside, 1)
            x = graph.depthwise(x, f"{name}/depth", 1 if repeat else first_stride)
            x = graph.conv(x, f"{name}/project", channels, 1, relu6=False)
            if repeat:
                shape = graph.tensors[x].shape
                x = graph.operator("ADD", [before, x], (f"{name}/sum", shape), options="AddOptions")
    x = graph.conv(x, "last", 1280, 1)
    x = graph.operator(
        "MEAN", [x, graph.constant("axes", [1, 2])], ("mean", (1, 1280)),
        options="ReducerOptions", keepDims=False,
    )  # fmt: skip
    dense = [x, graph.weights("dense/w", 1000, 1280), graph.bias("dense", 1000)]
    scores = graph.operator(
        "FULLY_CONNECTED", dense, ("scores", (1, 1000)), options="FullyConnectedOptions"
    )
    return graph.save(path, {"image": image}, {"scores": scores})


CNN_MACS = 8 * 8 * 8 * 27 + 8 * 8 * 8 * 9 + 8 * 8 * 8 * 8 + 80


def six_dimensions(path: Path) -> Path:
    """Two convolutions with a shuffle in six dimensions between them, which no GPU takes."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    x = graph.conv(image, "before", 8, 3)
    inside = (2, 8, 4, 4, 4, 2)
    x = graph.operator(
        "RESHAPE", [x, graph.constant("inside", inside)], ("apart", inside),
        options="ReshapeOptions", newShape=list(inside),
    )  # fmt: skip
    order = (5, 0, 3, 1, 4, 2)
    x = graph.operator(
        "TRANSPOSE", [x, graph.constant("order", order)],
        ("shuffled", [inside[axis] for axis in order]), options="TransposeOptions",
    )  # fmt: skip
    x = graph.operator(
        "RESHAPE", [x, graph.constant("outside", (1, 16, 16, 8))], ("together", (1, 16, 16, 8)),
        options="ReshapeOptions", newShape=[1, 16, 16, 8],
    )  # fmt: skip
    return graph.save(path, {"image": image}, {"scores": graph.conv(x, "after", 8, 3)})


def running_sum(path: Path) -> Path:
    """A sum along the rows between two convolutions: neither XNNPACK nor Ethos-U has that."""
    graph = Graph()
    image = graph.tensor("image", IMAGE)
    x = graph.conv(image, "before", 8, 3)
    axis = graph.tensor("axis", (), np.array(1, dtype=np.int32))
    x = graph.operator("CUMSUM", [x, axis], ("summed", (1, 16, 16, 8)), options="CumsumOptions")
    return graph.save(path, {"image": image}, {"scores": graph.conv(x, "after", 8, 3)})


def loop(path: Path) -> Path:
    """Three rounds of a dense layer of 8 × 8 in a WHILE, and one of 8 × 4 after it."""
    graph = Graph()
    test, body = (Graph(buffers=graph.buffers, codes=graph.codes) for _ in range(2))
    one = np.array(1, dtype=np.int32)
    inner = test.tensor("count", (), kind="int32"), test.tensor("state", (1, 8))
    three = test.tensor("three", (), one * 3)
    goes_on = test.operator("LESS", [inner[0], three], ("goes_on", ()), options="LessOptions")
    test.tensors[goes_on].type = 6  # bool
    enter = body.tensor("count", (), kind="int32"), body.tensor("state", (1, 8))
    counted = body.operator(
        "ADD", [enter[0], body.tensor("one", (), one)], ("counted", ()), options="AddOptions"
    )
    body.tensors[counted].type = 2  # int32
    dense = [enter[1], body.weights("round/w", 8, 8), body.bias("round", 8)]
    options = "FullyConnectedOptions"
    state = body.operator("FULLY_CONNECTED", dense, ("round", (1, 8)), options=options)

    rows, start = graph.tensor("rows", (1, 8)), graph.tensor("start", (), one * 0)
    code = "WHILE"
    graph.operator(code, [start, rows], ("end", ()), options="WhileOptions", condSubgraphIndex=1)
    graph.operators[0].builtinOptions.bodySubgraphIndex = 2
    graph.tensors[-1].type = 2
    last = graph.tensor("last", (1, 8))
    graph.operators[0].outputs.append(last)
    dense = [last, graph.weights("dense/w", 4, 8), graph.bias("dense", 4)]
    scores = graph.operator("FULLY_CONNECTED", dense, ("scores", (1, 4)), options=options)
    return graph.save(
        path, {"rows": rows}, {"scores": scores},
        [(test, inner, [goes_on]), (body, enter, [counted, state])],
    )  # fmt: skip


def samples(folder: Path, count: int = 8) -> DataSet:
    """Normal numbers for the input called image."""
    folder.mkdir(exist_ok=True)
    drawn = np.random.default_rng(0).normal(size=(count, *IMAGE[1:]))
    np.save(folder / "0.npy", drawn.astype(np.float32))
    return DataSet(
        folder=str(folder), inputs=("image",), count=count, digest=f"images{count}",
        origin="test", choice="all",
    )  # fmt: skip


def quantized(source: Path, variant: str) -> Path:
    """`source`, which has to be called ``model.tflite``, quantized as the variant's name says.

    The folder beside it holds the file and the samples that were used.
    """
    recipe = named_recipe(variant)
    out = source.parent / variant
    out.mkdir()
    ranges = None
    if recipe.needs_calibration:
        ranges = str(source.parent)
        data = samples(source.parent / "samples")
        tflite_calibrate.calibrate(source.parent, samples=data.to_json(), float=str(source.parent))
    tflite_quantize.quantize(out, recipe=recipe.to_json(), float=str(source.parent), ranges=ranges)
    return out / "model.tflite"


def signature_of(path: Path) -> Signature:
    return flatbuffer.signature(flatbuffer.read(path))


FEATURES = 16


def sensitive(path: Path) -> Path:
    """Sixteen features to ten scores by three dense layers, of which 8 bits ruin ``middle`` alone.

    In each of its rows stands one huge weight, for an input that is always zero: it decides the
    step, in which all other weights are nothing.
    """
    graph = Graph()
    features = graph.tensor("features", (1, FEATURES))
    first = graph.weights("first/w", 24, FEATURES)
    dead = _floats(graph, first).reshape(24, FEATURES).copy()
    dead[0] = 0
    _replace(graph, first, dead)
    none = graph.tensor("first/b", (24,), np.zeros(24, np.float32))
    x = graph.operator(
        "FULLY_CONNECTED", [features, first, none], ("first", (1, 24)),
        options="FullyConnectedOptions", fusedActivationFunction=1,
    )  # fmt: skip
    middle = graph.weights("middle/w", 32, 24)
    huge = _floats(graph, middle).reshape(32, 24).copy()
    huge[:, 0] = 300
    _replace(graph, middle, huge)
    x = graph.operator(
        "FULLY_CONNECTED", [x, middle, graph.bias("middle", 32)], ("middle", (1, 32)),
        options="FullyConnectedOptions", fusedActivationFunction=1,
    )  # fmt: skip
    x = graph.operator(
        "FULLY_CONNECTED",
        [x, graph.weights("last/w", 10, 32), graph.bias("last", 10)],
        ("last", (1, 10)),
        options="FullyConnectedOptions",
    )
    return graph.save(path, {"features": features}, {"last": x})


def loud(path: Path) -> Path:
    """Three dense layers with room for the activations between ``first`` and ``middle`` in 16 bits
    only: one of them is always 3000, and nothing reads it.
    """
    graph = Graph()
    x = features = graph.tensor("features", (1, FEATURES))
    biases = [np.zeros(size, np.float32) for size in (24, 32, 10)]
    biases[0][0] = 3000
    for name, bias in zip(("first", "middle", "last"), biases, strict=True):
        size, before = len(bias), graph.tensors[x].shape[-1]
        weights = graph.weights(f"{name}/w", size, before)
        if name == "middle":
            deaf = _floats(graph, weights).reshape(size, before).copy()
            deaf[:, 0] = 0
            _replace(graph, weights, deaf)
        inputs = [x, weights, graph.tensor(f"{name}/b", (size,), bias)]
        x = graph.operator(
            "FULLY_CONNECTED", inputs, (name, (1, size)),
            options="FullyConnectedOptions", fusedActivationFunction=int(name != "last"),
        )  # fmt: skip
    return graph.save(path, {"features": features}, {"last": x})


def _floats(graph: Graph, tensor: int) -> Any:
    return np.frombuffer(graph.buffers[graph.tensors[tensor].buffer - 1].data.tobytes(), np.float32)


def _replace(graph: Graph, tensor: int, values: Any) -> None:
    data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
    graph.buffers[graph.tensors[tensor].buffer - 1].data = data
