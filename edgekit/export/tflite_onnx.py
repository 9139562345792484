"""An ONNX file → a float32 ``.tflite`` with onnx2tf and TFLiteConverter, offline.

https://github.com/PINTO0309/onnx2tf. It is used as a library, for its Keras model alone; the
flatbuffer is then made as from any Keras model, by a function of fixed shapes (`tflite_float`).
What it does by itself and what is done about it:

- It wants a file of sample images in the current folder, and downloads one if there is none: it
  runs in a scratch folder that has one, and with sockets that refuse.
- It turns channels-first inputs and outputs into channels-last ones: an input that goes into a
  convolution is turned inside the graph, any other is left alone, and an output that came out
  turned is turned back. Which outputs those are is found by comparing numbers with ONNX Runtime's.
- Some graphs it changes into wrong ones, without a word: the same comparison refuses those.
- An LSTM, GRU or RNN without bias or initial states, or with an output that has no name, fails
  inside it: they are given zeros, which is what ONNX says they are then, and the output a name.
  Recurrences of up to 256 steps are unrolled, as litert-torch does it: loops have no integer form
  in TFLite.
- It ends the process when it does not like something (`SystemExit`), and sets the limit of
  recursion to what the stack cannot hold: both stay inside.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.export import flatbuffer, tflite_transposes
from edgekit.export.kept import ranged
from edgekit.export.tflite_float import converted, explained, finished, give_back, name, narrowed

FILE = "model.onnx"
SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"
WAYS = {"torch": "torch.onnx → onnx2tf → TFLiteConverter"}
WAY = "onnx2tf → TFLiteConverter"
MOST_STEPS = 256  # of a recurrence that is unrolled
# Of the largest number of an output: what rounding in float32 may leave is far below.
TOLERANCE = 1e-3
# By operator: gates, and which inputs are initial states.
_RECURRENT: dict[str, tuple[int, tuple[int, ...]]] = {
    "LSTM": (4, (5, 6)),
    "GRU": (3, (5,)),
    "RNN": (1, (5,)),
}
_BIAS = 3  # input of every recurrent operator
# What reads its input as channels and space, at the first operator that is no mere arithmetic.
_SPATIAL = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
     "BatchNormalization", "InstanceNormalization", "GroupNormalization", "Resize", "Upsample",
     "DepthToSpace", "SpaceToDepth", "LRN", "LpPool", "PRelu", "QLinearConv", "ConvInteger"}
)  # fmt: skip
_ELEMENTWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Cast", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Neg",
     "Abs", "Sqrt", "Exp", "Identity", "Pad", "Pow", "Elu", "HardSwish", "HardSigmoid", "Dropout",
     "QuantizeLinear", "DequantizeLinear"}
)  # fmt: skip


def convert(out: Path, *, parent: str, framework: str, onnx: str) -> dict[str, Any]:
    """Make ``model.tflite`` from the ``model.onnx`` in the folder `onnx`.

    Raises:
        ConversionError: onnx2tf cannot, or what it makes computes something else.
    """
    import onnx as onnx_package

    source = Path(onnx) / FILE
    graph = onnx_package.load(str(source))
    wanted = ranged(Path(onnx), signature(graph))
    inputs = _inputs(wanted)
    reference = _reference(source, wanted, inputs)
    notes = _prepare(graph)
    spatial = _spatial_inputs(graph)
    tries = [spatial]
    ranked = {f"in_{at}" for at, spec in enumerate(wanted.inputs) if len(spec.shape) in (3, 4, 5)}
    if ranked - spatial:
        tries.append(ranked)
    if spatial:
        tries.append(set())
    failures: list[ConversionError] = []
    for channels_first in tries:
        try:
            keras = _rebuilt(graph, ranked, channels_first)
            concrete = _function(keras, wanted, inputs, reference)
        except ConversionError as exc:
            failures.append(exc)
            continue
        tree = flatbuffer.read(_flatbuffer(concrete))
        name(tree, wanted)
        tflite_transposes.fold(tree)
        result = finished(
            out,
            tree,
            wanted,
            way=WAYS.get(framework, WAY),
            parent=parent,
            tools=["onnx2tf", "onnxsim", "tensorflow"],
            notes=[*notes, *narrowed(tree, wanted)],
        )
        del keras, concrete, tree
        give_back()
        return result
    raise failures[0]


def _flatbuffer(concrete: Any) -> bytes:
    try:
        return converted(concrete)
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise explained(exc) from exc


# ------------------------------------------------------------------------- the ONNX side


def signature(graph: Any) -> Signature:
    """Inputs and outputs of an ONNX model, in its order; initializers are no inputs.

    Raises:
        ConversionError: a dimension has no size, or a value is no tensor.
    """
    constants = {tensor.name for tensor in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in constants]
    return Signature(
        inputs=tuple(_spec(value) for value in inputs),
        outputs=tuple(_spec(value) for value in graph.graph.output),
    )


def _spec(value: Any) -> TensorSpec:
    from onnx import helper

    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ConversionError(f"{value.name!r} of the ONNX model is no tensor")
    return TensorSpec(
        name=value.name,
        shape=tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
        ),
        dtype=helper.tensor_dtype_to_np_dtype(tensor.elem_type).name,
    )


def _inputs(wanted: Signature) -> list[Any]:
    """One sample: normal numbers; zeros and ones for whole numbers, which may be indices."""
    import numpy as np

    rng = np.random.default_rng(0)
    made = []
    for spec in wanted.inputs:
        if None in spec.shape:
            raise ConversionError(
                f"the input {spec} of the ONNX model has an open dimension",
                hint=f"give its size with --shape {spec.name}=…",
            )
        sizes = [size or 0 for size in spec.shape]
        numbers = rng.normal(size=sizes) if "float" in spec.dtype else rng.integers(0, 2, sizes)
        made.append(np.asarray(numbers).astype(spec.dtype))
    return made


def _reference(source: Path, wanted: Signature, inputs: Sequence[Any]) -> list[Any]:
    """What ONNX Runtime computes for the sample."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
        names = [spec.name for spec in wanted.outputs]
        given = {spec.name: array for spec, array in zip(wanted.inputs, inputs, strict=True)}
        found: list[Any] = session.run(names, given)
    except Exception as exc:
        raise ConversionError(f"ONNX Runtime does not run the model: {_line(exc)}") from exc
    return found


def _prepare(graph: Any) -> list[str]:
    """Make the graph one that onnx2tf takes, in place; what there is to say of it."""
    notes = []
    try:
        import onnxsim

        simple, _ = onnxsim.simplify(graph)
        graph.CopyFrom(simple)
    except Exception as exc:  # noqa: BLE001 - it is C++ behind; the graph is right without it, too
        notes.append(f"onnxsim could not simplify the ONNX graph: {_line(exc)}")
    _complete_recurrent(graph)
    constants = {tensor.name for tensor in graph.graph.initializer}
    new = {}
    inputs = [value for value in graph.graph.input if value.name not in constants]
    for at, value in enumerate(inputs):
        new[value.name] = f"in_{at}"
    for at, value in enumerate(graph.graph.output):
        new.setdefault(value.name, f"out_{at}")
    _rename(graph.graph, new)
    for at, node in enumerate(graph.graph.node):
        node.name = node.name or f"node_{at}"
    return notes


def _rename(graph: Any, new: dict[str, str]) -> None:
    """Plain names for what TensorFlow would not take ("a:0", "my input"), inner graphs too."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [new.get(each, each) for each in node.input]
        node.output[:] = [new.get(each, each) for each in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _rename(inner, new)


def _complete_recurrent(graph: Any) -> None:
    """Zeros for the bias and the initial states that a recurrent node does not have, and names."""
    import numpy as np
    from onnx import numpy_helper, shape_inference

    if not any(node.op_type in _RECURRENT for node in graph.graph.node):
        return

    for at, node in enumerate(graph.graph.node):
        attributes = {each.name: each for each in node.attribute}
        if node.op_type not in _RECURRENT or "hidden_size" not in attributes:
            continue
        gates, states = _RECURRENT[node.op_type]
        hidden = attributes["hidden_size"].i
        direction = attributes["direction"].s if "direction" in attributes else b"forward"
        ways = 2 if direction == b"bidirectional" else 1
        first = "layout" in attributes and attributes["layout"].i == 1  # the batch, then
        state_shape = (1, ways, hidden) if first else (ways, 1, hidden)
        wanted = {_BIAS: (ways, 2 * gates * hidden), **dict.fromkeys(states, state_shape)}
        for index, shape in wanted.items():
            if len(node.input) > index and node.input[index]:
                continue
            node.input.extend([""] * (index + 1 - len(node.input)))
            label = f"edgekit_zeros_{at}_{index}"
            zeros = np.zeros(shape, np.float32)
            graph.graph.initializer.append(numpy_helper.from_array(zeros, label))
            node.input[index] = label
        names = [name or f"edgekit_unread_{at}_{index}" for index, name in enumerate(node.output)]
        node.output[:] = names
    graph.CopyFrom(shape_inference.infer_shapes(graph))


def _spatial_inputs(graph: Any) -> set[str]:
    """Inputs of three or more dimensions that go, after mere arithmetic, into a convolution."""
    readers: dict[str, list[Any]] = {}
    for node in graph.graph.node:
        for each in node.input:
            readers.setdefault(each, []).append(node)
    found = set()
    for value in graph.graph.input:
        if not 3 <= len(value.type.tensor_type.shape.dim) <= 5:
            continue
        queue, seen = [value.name], set()
        while queue:
            current = queue.pop()
            for node in readers.get(current, []):
                if node.op_type in _SPATIAL and node.input[0] == current:
                    found.add(value.name)
                elif node.op_type in _ELEMENTWISE and node.output[0] not in seen:
                    seen.add(node.output[0])
                    queue.append(node.output[0])
    return found


def _most_steps(graph: Any) -> int:
    """The length of the longest sequence that a recurrent node reads; 0 without one."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(graph)
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.input)
    }
    found = [sizes.get(n.input[0], [0])[0] for n in graph.graph.node if n.op_type in _RECURRENT]
    return max(found, default=0)


# --------------------------------------------------------------------------- onnx2tf


def _rebuilt(graph: Any, ranked: set[str], channels_first: set[str]) -> Any:
    """onnx2tf's Keras model of `graph`; the inputs `ranked` keep the shape that they have.

    Raises:
        ConversionError: it cannot; names the node.
    """
    import numpy as np
    import onnx

    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch), _contained():
        try:
            import onnx2tf
        except ImportError as exc:
            raise ConversionError(
                f"onnx2tf cannot be imported: {exc}", hint="pip install 'edgekit[onnx]'"
            ) from exc
        with offline():
            onnx.save(graph, "model.onnx")
            # Any image will do: onnx2tf compares its own layers with ONNX Runtime's on them.
            images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
            np.save(SAMPLES, images)
            # Without this file it looks for one by itself when it fails, for minutes.
            Path("none.json").write_text('{"operations": []}', encoding="utf-8")
            said = io.StringIO()
            try:
                return _call(
                    said,
                    onnx2tf.convert,
                    input_onnx_file_path="model.onnx",
                    output_folder_path="made",
                    keep_ncw_or_nchw_or_ncdhw_input_names=sorted(channels_first) or None,
                    keep_shape_absolutely_input_names=sorted(ranked - channels_first) or None,
                    # Otherwise it fills up what was not found with the first box.
                    output_nms_with_dynamic_tensor=True,
                    enable_rnn_unroll=0 < _most_steps(graph) <= MOST_STEPS,
                    param_replacement_file="none.json",
                    not_use_onnxsim=True,
                    disable_model_save=True,
                    verbosity="warn",
                )
            except (EdgekitError, MemoryError):
                raise
            except (Exception, SystemExit) as exc:
                raise refused(exc, graph, said.getvalue()) from exc


def _call(said: io.StringIO, function: Any, **arguments: Any) -> Any:
    """Call it, with what it prints in `said` and in the log."""
    try:
        with contextlib.redirect_stdout(said):
            return function(**arguments)
    finally:
        sys.stderr.write(said.getvalue())


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No connection can be made and no name looked up while the block runs.

    Raises:
        ConversionError: something tried; in its place.
    """
    import socket

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise ConversionError(f"onnx2tf tried to reach the network: {args[-1]!r}")

    names = ("getaddrinfo", "create_connection", "gethostbyname")
    kept = {label: getattr(socket, label) for label in names}
    for label in names:
        setattr(socket, label, refuse)
    setattr(socket.socket, "connect", refuse)  # noqa: B010 - hides what its base class has
    try:
        yield
    finally:
        del socket.socket.connect
        for label, function in kept.items():
            setattr(socket, label, function)


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """What onnx2tf sets for the whole process is set back."""
    limit = sys.getrecursionlimit()
    kept = {key: os.environ.get(key) for key in ("TF_USE_LEGACY_KERAS", "CUDA_VISIBLE_DEVICES")}
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        for key, value in kept.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


_NO_OPERATOR = re.compile(r"No module named 'onnx2tf\.ops\.(\w+)'")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def refused(exc: BaseException, graph: Any, said: str = "") -> ConversionError:
    """onnx2tf's failure as one line that names the node, and the layer that it came from.

    Where it ends the process, the reason is only in what it has printed before.
    """
    lines = [line.strip() for line in _COLOUR.sub("", said).splitlines()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    named = [
        line.rpartition("onnx_op_name:")[2].strip() for line in lines if "onnx_op_name:" in line
    ]
    label = getattr(exc, "onnx_op_name", None) or (named[-1] if named else None)
    node = next((each for each in graph.graph.node if each.name == label), None)
    missing = _NO_OPERATOR.search(str(exc))
    layer = _layer(node)
    if missing is not None:
        return ConversionError(f"onnx2tf has no operator {missing[1]}{layer}")
    where = f" at {node.op_type} {label!r}{layer}" if node is not None else ""
    words = _line(exc)
    if isinstance(exc, SystemExit) and errors:
        words = next((line for line in errors if "trace log" not in line), errors[0])[7:207]
    return ConversionError(f"onnx2tf failed{where}: {words}")


def _layer(node: Any) -> str:
    """torch.onnx says in a node's metadata which module and line it comes from."""
    if node is None:
        return ""
    said = {entry.key: entry.value for entry in node.metadata_props}
    trace = said.get("pkg.torch.onnx.stack_trace", "")
    lines = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', trace)
    if lines:
        file, line, function = lines[-1]
        return f" ({Path(file).name}:{line} in {function})"
    scopes = said.get("pkg.torch.onnx.name_scopes", "")
    return f" ({scopes[:100]})" if scopes else ""


# ------------------------------------------------------------------------ what it made


def border(dtype: str) -> str:
    """The type at the artifact's border: TFLite's operators compute floats in 32 bits."""
    return "float32" if dtype.startswith("float") else dtype


def _function(keras: Any, wanted: Signature, inputs: Sequence[Any], reference: list[Any]) -> Any:
    """A concrete function with the source's inputs and outputs, layouts and types around `keras`.

    Raises:
        ConversionError: it computes something else than ONNX Runtime.
    """
    import tensorflow as tf

    specs = [
        tf.TensorSpec(_open_shape(spec), tf.as_dtype(border(spec.dtype)), name=f"serving_{at}")
        for at, spec in enumerate(wanted.inputs)
    ]
    given = [tensor.dtype for tensor in keras.inputs]
    types = [tf.as_dtype(border(spec.dtype)) for spec in wanted.outputs]

    def call(*tensors: Any) -> list[Any]:
        ready = [tf.cast(tensor, kind) for tensor, kind in zip(tensors, given, strict=True)]
        answer = keras(ready if len(ready) > 1 else ready[0], training=False)
        return [tf.convert_to_tensor(tensor) for tensor in tf.nest.flatten(answer)]

    try:
        taken = [tf.cast(array, spec.dtype) for array, spec in zip(inputs, specs, strict=True)]
        answers = [t.numpy() for t in tf.function(call, input_signature=specs)(*taken)]
    except MemoryError:
        raise
    except Exception as exc:
        raise ConversionError(f"what onnx2tf made does not run: {_line(exc)}") from exc
    if len(answers) != len(reference):
        raise ConversionError(
            f"onnx2tf made {len(answers)} outputs of {len(reference)}",
            hint="an output that depends on no input cannot be kept",
        )
    orders = [
        _order(spec.name, answer, expected)
        for spec, answer, expected in zip(wanted.outputs, answers, reference, strict=True)
    ]

    def like_source(*tensors: Any) -> list[Any]:
        found = [
            tensor if order is None else tf.transpose(tensor, order)
            for tensor, order in zip(call(*tensors), orders, strict=True)
        ]
        return [tf.cast(tensor, kind) for tensor, kind in zip(found, types, strict=True)]

    return tf.function(like_source, input_signature=specs).get_concrete_function()


def _open_shape(spec: TensorSpec) -> list[int | None]:
    opened = {each.axis for each in spec.open}
    return [None if axis in opened else size for axis, size in enumerate(spec.shape)]


def _order(label: str, answer: Any, expected: Any) -> list[int] | None:
    """How the axes of what onnx2tf gives have to be turned to be the source's; None: not at all."""
    import numpy as np

    rank = expected.ndim
    turned = [0, rank - 1, *range(1, rank - 1)]
    orders: list[list[int] | None] = [None, turned] if rank >= 3 else [None]
    worst = ""
    for order in orders:
        found = answer if order is None or answer.ndim != rank else np.transpose(answer, order)
        if found.shape != expected.shape:
            continue
        if expected.dtype.kind != "f":
            if (found == expected).all():
                return order
            continue
        error = np.abs(found.astype(np.float64) - expected)
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        allowed = TOLERANCE * (10 if expected.dtype == np.float16 else 1) * scale + 1e-5
        if np.allclose(found, expected, rtol=0, atol=allowed, equal_nan=True):
            return order
        worst = worst or f": off by {np.nanmax(error):.3g}, its largest number is {scale:.3g}"
    shapes = "" if worst else f": of shape {answer.shape} instead of {expected.shape}"
    raise ConversionError(
        f"what onnx2tf made gives something else than ONNX Runtime in {label!r}{worst or shapes}"
    )


def _line(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return f"{type(exc).__name__}: {lines[0][:200]}" if lines else type(exc).__name__
