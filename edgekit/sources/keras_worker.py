"""The worker's side of Keras models: load them, describe them, run them.

TensorFlow, Keras 3 and Keras 2 are only imported inside the functions here, which run in a worker
process of the kind "tensorflow". A model stays loaded there for the next step on it.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.core.errors import (
    EdgekitError,
    ModelError,
    UntrustedModelError,
    UsageError,
    WorkerError,
)
from edgekit.core.failures import named
from edgekit.core.files import sha256_file, sha256_path
from edgekit.core.model import InputForm, Model
from edgekit.core.registry import resolve_own
from edgekit.core.tensor import OpenAxis, Signature, TensorSpec
from edgekit.sources.keras_files import refuse_other_files

MODULES = {"keras3": "keras", "keras2": "tf_keras"}
BATCH = 32  # samples at a time in `run`: bounds the memory, not the result
_loaded: dict[str, KerasModel | SavedModel] = {}


# ------------------------------------------------------------------------------- steps


def inspect(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Load the model; `Source.inspect` says what comes back."""
    return {"signature": load(Model.from_json(model)).signature.to_json()}


def materialise(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Call the user's function and save what it returns; `Source.materialise` says what comes back.

    Raises:
        ModelError: it cannot be imported or called, or returns something that is no Keras model.
    """
    handle = Model.from_json(model)
    function = resolve_own(handle.reference)
    try:
        made = function()
    except EdgekitError:
        raise
    except Exception as exc:
        raise ModelError(
            f"{handle.reference} raised {named(exc)}",
            hint="it is called without arguments and has to return a Keras model",
        ) from exc
    kind = _generation_of(made)
    if kind is None:
        raise ModelError(
            f"{handle.reference} returned a {type(made).__name__}, not a Keras model",
            hint="it is called without arguments and has to return a Keras model",
        )
    path = out / "model.keras"
    with translated(handle.reference):
        made.save(path)
    repeatable(path)
    digest = sha256_file(path)
    # It is the user's own code that has just run, so what it made may run again.
    update = {"path": path.name, "kind": kind, "digest": digest, "trusted": True}
    saved = handle.model_copy(update=update)
    _remember(saved, KerasModel(made, saved))  # the next steps need not read it again
    return {"model": saved.to_json()}


def repeatable(path: Path) -> None:
    """Write a ``.keras`` file again so that the same model gives the same bytes.

    Keras puts the time and addresses of objects into it. What is kept for a model is kept under the
    digest of its file: one that a function makes anew would never be known again.
    """
    numbers: dict[str, int] = {}

    def renumbered(found: re.Match[str]) -> str:
        return f'"shared_object_id": {numbers.setdefault(found[1], len(numbers))}'

    half = path.with_name(f"half-{path.name}")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(half, "w") as again:
        for name in sorted(archive.namelist()):
            content = archive.read(name)
            if name == "config.json":
                text = content.decode("utf-8")
                text = re.sub(r'"shared_object_id": (\d+)', renumbered, text)
                content = text.encode("utf-8")
            elif name == "metadata.json":
                content = json.dumps(json.loads(content) | {"date_saved": ""}).encode("utf-8")
            again.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    half.replace(path)


def load(model: Model) -> KerasModel | SavedModel:
    """The live model; a `LoadedModel`. The one loaded last in this process is kept.

    Raises:
        ModelError: its weights do not fit its architecture, its dimensions are open, …
        UntrustedModelError: it needs code, and the handle is not trusted.
    """
    key = model.fingerprint() if not model.digest else _key(model)
    if key not in _loaded:
        loaded = (
            SavedModel(model)
            if model.kind == "savedmodel"
            else KerasModel(read_keras(model), model)
        )
        _refuse_changed(model)
        _remember(model, loaded)
    return _loaded[key]


def _refuse_changed(model: Model) -> None:
    """What is made from the file is kept under the digest that it had: it must still have it."""
    if model.digest and sha256_path(Path(model.path)) != model.digest:
        raise ModelError(
            f"{model.reference!r} was changed while it was being converted",
            hint="wait until it is written, then run the command again",
        )


def _key(model: Model) -> str:
    return model.model_copy(update={"path": "", "reference": "", "name": ""}).fingerprint()


def _remember(model: Model, loaded: KerasModel | SavedModel) -> None:
    _loaded.clear()  # one at a time: models are large
    _loaded[_key(model)] = loaded


def read_keras(model: Model) -> Any:
    """The Keras model itself, read anew. Raises as `load`."""
    keras = import_keras(MODULES[model.kind])
    custom = _classes_beside(model)
    refuse_other_files(Path(model.path))
    with translated(model.reference):
        return keras.models.load_model(
            model.path, custom_objects=custom, compile=False, safe_mode=not model.trusted
        )


def _classes_beside(model: Model) -> dict[str, Any] | None:
    """For a model made by a function: what stands in the function's module, under its name.

    Keras writes only the name of a class into the file.
    """
    if ":" not in model.reference or Path(model.reference).exists():
        return None
    module = sys.modules[resolve_own(model.reference).__module__]
    return {name: found for name, found in vars(module).items() if callable(found)}


def _generation_of(live: object) -> str | None:
    for cls in type(live).__mro__:
        if cls.__name__ == "Model" and cls.__module__.startswith(("keras.", "tf_keras.")):
            return "keras3" if cls.__module__.startswith("keras.") else "keras2"
    return None


def import_keras(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as exc:
        package = name.replace("_", "-")
        raise WorkerError(
            f"this model needs {package}, which cannot be imported: {exc}",
            hint="pip install 'edgekit[keras]'",
        ) from exc


# ------------------------------------------------------------------------------ models


class KerasModel:
    """A Keras 2 or Keras 3 model with known inputs; a `LoadedModel` that can be frozen.

    Attributes:
        fronts: an input each, from the artifact's form of it to the model's own.
    """

    def __init__(self, live: Any, model: Model) -> None:
        import tensorflow as tf

        self._live = live
        inputs, outputs = getattr(live, "inputs", None), getattr(live, "outputs", None)
        if not inputs or not outputs:
            raise ModelError(
                f"{model.reference!r} is a subclassed model without fixed inputs",
                hint="export it with a signature (model.export('folder')) and convert that folder",
            )
        input_struct = struct_of(live, "inputs")
        self._input_struct = inputs[0] if input_struct is None else input_struct
        self._output_names = _output_names(live, outputs)
        names = _unique([_layer_name(tensor) for tensor in inputs])
        given = [(tuple(tensor.shape), tf.as_dtype(tensor.dtype).name) for tensor in inputs]
        specs = _fixed(model, [(name, *spec) for name, spec in zip(names, given, strict=True)])
        specs, self.fronts = _in_forms(model, names, specs)
        self._input_specs = specs
        with translated(model.reference):
            self.concrete = _trace(self._call, specs)
        self.signature = _signature(model, names, specs, self._output_names, self.concrete)
        self._batched: Any = None

    def _call(self, *tensors: Any) -> list[Any]:
        import tensorflow as tf

        taken = [front(tensor) for front, tensor in zip(self.fronts, tensors, strict=True)]
        packed = tf.nest.pack_sequence_as(self._input_struct, taken)
        answer = self._live(packed, training=False)
        return [tf.convert_to_tensor(tensor) for tensor in tf.nest.flatten(answer)]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, float32 as the model gives them; `inputs` of shape (samples, …)."""
        import tensorflow as tf

        if self._batched is None:
            batched = [
                tf.TensorSpec((None, *spec.shape[1:]), spec.dtype) for spec in self._input_specs
            ]
            self._batched = tf.function(self._call, input_signature=batched)
        arrays = _ordered(inputs, self.signature)
        return _in_batches(self._batched, arrays, self._output_names, BATCH)

    @property
    def layer_names(self) -> list[str]:
        """Of every layer, inner models' layers as ``outer/inner``."""
        return _names_of_layers(self._live)

    def layers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The output of each layer, inner models' layers as ``outer/inner``, as they execute."""
        arrays = _ordered(inputs, self.signature)
        with _recorded(self._live) as found:
            self._call(*arrays)
        return found


class SavedModel:
    """The ``serving_default`` signature of a SavedModel; a `LoadedModel` that can be frozen."""

    def __init__(self, model: Model) -> None:
        import tensorflow as tf

        with translated(model.reference):
            self._owner = tf.saved_model.load(model.path)  # its variables live as long as it
            self._function = self._owner.signatures["serving_default"]
        _, given = self._function.structured_input_signature
        self._names = sorted(given)
        open_specs = [(n, _shape(given[n]), given[n].dtype.name) for n in self._names]
        specs = _fixed(model, open_specs)
        self._input_specs, self._fronts = _in_forms(model, self._names, specs)
        self._output_names = sorted(self._function.structured_outputs)
        self._takes_batches = all(shape[0] is None for _, shape, _ in open_specs if shape)
        with translated(model.reference):
            self.concrete = _trace(self._call, self._input_specs)
        self.signature = _signature(
            model, self._names, self._input_specs, self._output_names, self.concrete
        )

    def _call(self, *tensors: Any) -> list[Any]:
        taken = [front(tensor) for front, tensor in zip(self._fronts, tensors, strict=True)]
        answer = self._function(**dict(zip(self._names, taken, strict=True)))
        return [answer[name] for name in self._output_names]

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name; `inputs` of shape (samples, …)."""
        import tensorflow as tf

        arrays = [tf.constant(array) for array in _ordered(inputs, self.signature)]
        size = BATCH if self._takes_batches else 1
        return _in_batches(self._call, arrays, self._output_names, size)

    # A SavedModel has lost its layers.
    layer_names: tuple[str, ...] = ()

    def layers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The result of each floating-point operation of the graph, by the operation's name.

        A SavedModel has lost its layers; its operations' names still tell where they came from.
        """
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        arrays = _ordered(inputs, self.signature)
        # Loops stay whole: what is inside one has no single value.
        frozen = convert_variables_to_constants_v2(self.concrete, lower_control_flow=False)
        kept = [
            op.outputs[0]
            for op in frozen.graph.get_operations()
            if op.inputs
            and op.outputs
            and op.type not in _NO_LAYERS
            and op.outputs[0].dtype.is_floating
        ]
        probe = frozen.prune(frozen.inputs, kept)
        answers = probe(*[tf.constant(array[:1]) for array in arrays])
        pairs = zip(kept, answers, strict=True)
        return {tensor.op.name: answer.numpy() for tensor, answer in pairs}


_NO_LAYERS = frozenset({"Identity", "Const", "Placeholder", "Reshape", "NoOp"})


# ---------------------------------------------------------------------------- signature


def struct_of(live: Any, what: str) -> Any:
    """The nest that the user gave as inputs or outputs; Keras 3 and 2 keep it in other places."""
    functional = getattr(live, "_functional", None) or live  # a Keras 3 Sequential wraps one
    for attribute in (f"_{what}_struct", f"_nested_{what}"):
        found = getattr(functional, attribute, None)
        if found is not None:
            return found
    return None


def _output_names(live: Any, outputs: Sequence[Any]) -> list[str]:
    """Keys of a dict of outputs in flattening order; otherwise the names of the last layers.

    TFLiteConverter calls the outputs of a Keras 3 model output_0, output_1, …, whatever the user
    has called them; the user's names are kept here, as Keras 2 does.
    """
    struct = struct_of(live, "outputs")
    if isinstance(struct, dict) and len(struct) == len(outputs):
        return [str(key) for key in sorted(struct)]
    return _unique([_layer_name(tensor) for tensor in outputs])


def _layer_name(tensor: Any) -> str:
    history = getattr(tensor, "_keras_history", None)  # Keras 3: operation; Keras 2: layer
    maker = getattr(history, "operation", None) or getattr(history, "layer", None)
    return str(maker.name) if maker is not None else str(tensor.name).partition(":")[0]


def _unique(names: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        count = 0
        unique = name
        while unique in found:
            count += 1
            unique = f"{name}_{count}"
        found.append(unique)
    return found


def _shape(spec: Any) -> tuple[int | None, ...]:
    return tuple(spec.shape) if spec.shape.rank is not None else ()


def _fixed(model: Model, inputs: Sequence[tuple[str, tuple[int | None, ...], str]]) -> list[Any]:
    """TensorSpecs without open dimensions: the batch is 1, others are as the user said.

    Those that keep a range stay open.

    Raises:
        ModelError: an open dimension has no size, or a size is given that does not fit.
    """
    import tensorflow as tf

    dims = _dims(model, inputs)
    unknown = sorted(set(model.shapes) - {name for name, _, _ in inputs})
    if unknown:
        raise ModelError(
            f"{model.reference!r} has no input called {unknown[0]!r}; "
            f"its inputs: {', '.join(name for name, _, _ in inputs)}"
        )
    specs = []
    for index, (name, shape, dtype) in enumerate(inputs):
        sizes = list(shape)
        if sizes and sizes[0] is None:
            sizes[0] = 1
        given = model.shapes.get(name)
        if given is not None:
            wanted: list[int | None] = list(given) if len(given) == len(sizes) else [1, *given]
            if len(wanted) != len(sizes) or any(
                size not in (None, want) for size, want in zip(sizes, wanted, strict=True)
            ):
                raise ModelError(
                    f"input {name!r} is {_words_of(shape)}; it cannot be {_words_of(given)}"
                )
            sizes = wanted
        for axis, (_, largest) in dims.get(name, {}).items():
            sizes[axis] = largest
        example = ",".join(str(size or 224) for size in sizes)
        if None in sizes:
            raise ModelError(
                f"input {name!r} of {model.reference!r} has open dimensions: {_words_of(shape)}",
                # Quoted, as people paste it into a shell.
                hint=f"give its size, for example --shape {shlex.quote(f'{name}={example}')}",
            )
        if sizes and sizes[0] != 1:
            raise ModelError(
                f"input {name!r} of {model.reference!r} has a fixed batch of {sizes[0]}: "
                f"{_words_of(shape)}",
                hint="edgekit makes artifacts for a batch of 1; save the model with an open batch",
            )
        for axis, (least, largest) in dims.get(name, {}).items():
            if least < largest:
                sizes[axis] = None
        label = re.sub(r"[^A-Za-z0-9_.]", "_", name)
        # The index keeps names apart that differ only in letters TensorFlow does not allow.
        specs.append(tf.TensorSpec(sizes, tf.as_dtype(dtype), name=f"serving_{index}_{label}"))
    return specs


def _dims(
    model: Model, inputs: Sequence[tuple[str, tuple[int | None, ...], str]]
) -> dict[str, dict[int, tuple[int, int]]]:
    """Least and largest size by input and axis; ``--dim`` names both (``ids.1``), as Keras has no
    names for dimensions.

    Raises:
        UsageError: it names no open dimension, or a form of the inputs does not go with a range.
    """
    opened = [
        f"{name}.{axis}"
        for name, shape, _ in inputs
        for axis, size in enumerate(shape)
        if size is None and axis
    ]
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for place, ends in sorted(model.dims.items()):
        if place not in opened:
            raise UsageError(
                f"--dim {place}: {model.reference!r} has no such open dimension; it has "
                f"{', '.join(opened) or 'none'}",
                hint="the dimensions of a Keras model have no names: write INPUT.AXIS, as in "
                "--dim ids.1=16..128, where axis 0 is the batch",
            )
        name, _, axis = place.rpartition(".")
        found.setdefault(name, {})[int(axis)] = ends
    if model.ranges and model.forms:
        raise UsageError(
            "--layout and --raw-pixels do not go with a range of sizes of a Keras model",
            hint=f"give one size: --dim {min(model.ranges)}={model.ranges[min(model.ranges)][1]}",
        )
    return found


def _trace(call: Any, specs: list[Any]) -> Any:
    """The call as one concrete function of fixed shapes, or some open."""
    import tensorflow as tf

    return tf.function(call, input_signature=specs).get_concrete_function()


def _signature(
    model: Model, input_names: list[str], specs: list[Any], output_names: list[str], concrete: Any
) -> Signature:
    inputs = tuple(
        _input_spec(model, name, spec) for name, spec in zip(input_names, specs, strict=True)
    )
    shapes = [_shape(tensor) for tensor in concrete.outputs]
    least = shapes
    if model.ranges:
        lows = {name: low for name, (low, _) in model.ranges.items()}
        least, shapes = (
            [tuple(answer.shape) for answer in _on_zeros(model, concrete, inputs, sizes)]
            for sizes in (lows, {})
        )
    return Signature(
        inputs=inputs,
        outputs=tuple(
            TensorSpec(
                name=name, shape=shape, dtype=tensor.dtype.name, open=_opened(model, low, shape)
            )
            for name, tensor, low, shape in zip(
                output_names, concrete.outputs, least, shapes, strict=True
            )
        ),
    )


def _input_spec(model: Model, name: str, spec: Any) -> TensorSpec:
    opened = tuple(
        OpenAxis(axis=axis, name=f"{name}.{axis}", least=ends[0], largest=ends[1])
        for axis, size in enumerate(spec.shape)
        if size is None and (ends := model.ranges.get(f"{name}.{axis}"))
    )
    largest = {each.axis: each.largest for each in opened}
    shape = tuple(largest.get(axis, size) for axis, size in enumerate(spec.shape))
    return TensorSpec(name=name, shape=shape, dtype=spec.dtype.name, open=opened)


def _on_zeros(
    model: Model, concrete: Any, inputs: Sequence[TensorSpec], sizes: Mapping[str, int]
) -> list[Any]:
    import numpy as np
    import tensorflow as tf

    zeros = [np.zeros([size or 0 for size in spec.at(sizes)], spec.dtype) for spec in inputs]
    with translated(model.reference):
        return list(tf.nest.flatten(concrete(*[tf.constant(array) for array in zeros])))


def _opened(
    model: Model, least: tuple[int | None, ...], largest: tuple[int | None, ...]
) -> tuple[OpenAxis, ...]:
    """Axes of an output whose size differs; with the name of the input's that has such a range."""
    names = {ends: name for name, ends in sorted(model.ranges.items(), reverse=True)}
    return tuple(
        OpenAxis(axis=axis, name=names.get((low, high), ""), least=low, largest=high)
        for axis, (low, high) in enumerate(zip(least, largest, strict=True))
        if low is not None and high is not None and low != high
    )


# -------------------------------------------------------------------------------- forms


def _in_forms(
    model: Model, names: Sequence[str], specs: Sequence[Any]
) -> tuple[list[Any], list[Callable[[Any], Any]]]:
    """The specs of the inputs in the user's forms, and what turns each into the model's own.

    Raises:
        UsageError: a form that an input cannot take.
    """
    unknown = sorted(set(model.forms) - {"", *names})
    if unknown:
        raise UsageError(
            f"{model.reference!r} has no input called {unknown[0]!r}; "
            f"its inputs: {', '.join(names)}"
        )
    pairs = [
        _in_form(name, spec, model.form(name, len(spec.shape)))
        for name, spec in zip(names, specs, strict=True)
    ]
    return [spec for spec, _ in pairs], [front for _, front in pairs]


def _in_form(name: str, spec: Any, form: InputForm | None) -> tuple[Any, Callable[[Any], Any]]:
    import numpy as np
    import tensorflow as tf

    if form is None:
        return spec, lambda tensor: tensor
    shape = [int(size) for size in spec.shape]
    if form.layout and len(shape) != 4:
        raise UsageError(
            f"input {name!r} has {len(shape)} dimensions; a layout goes with images, "
            "which have four"
        )
    own = _layout(shape)
    outside = form.layout or own
    turned = len(shape) == 4 and outside != own
    if turned:
        order = [0, 3, 1, 2] if outside == "nchw" else [0, 2, 3, 1]
        shape = [shape[axis] for axis in order]
    channel = 1 if len(shape) == 4 and outside == "nchw" else len(shape) - 1
    _check_numbers(name, spec.dtype, shape, channel, form)

    def along(numbers: tuple[float, ...]) -> Any:
        sizes = [1] * len(shape)
        if len(numbers) > 1:
            sizes[channel] = len(numbers)
        return np.array(numbers, dtype=np.float32).reshape(sizes)

    def front(tensor: Any) -> Any:
        if form.mean or form.std:
            tensor = tf.cast(tensor, tf.float32)
        if form.mean:
            tensor = tensor - along(form.mean)
        if form.std:
            tensor = tensor / along(form.std)
        tensor = tf.cast(tensor, spec.dtype)
        if turned:
            tensor = tf.transpose(tensor, [0, 2, 3, 1] if own == "nhwc" else [0, 3, 1, 2])
        return tensor

    outer = tf.uint8 if form.dtype == "uint8" else spec.dtype
    return tf.TensorSpec(shape, outer, name=spec.name), front


def _layout(shape: Sequence[int]) -> str:
    """Of an image input: Keras' own is NHWC; one with its few channels first is NCHW."""
    few = (1, 3, 4)
    is_first = len(shape) == 4 and shape[1] in few and shape[3] not in few
    return "nchw" if is_first else "nhwc"


def _check_numbers(
    name: str, dtype: Any, shape: Sequence[int], channel: int, form: InputForm
) -> None:
    if (form.mean or form.std or form.dtype) and not dtype.is_floating:
        raise UsageError(
            f"input {name!r} takes {dtype.name}, not real numbers: it cannot take raw pixels, a "
            "mean or a standard deviation"
        )
    for what, numbers in (("mean", form.mean), ("standard deviation", form.std)):
        channels = shape[channel] if shape else 0
        if len(numbers) > 1 and len(numbers) != channels:
            raise UsageError(
                f"input {name!r} has {channels} channels; {len(numbers)} numbers are given for the "
                f"{what}"
            )
    if 0 in form.std:
        raise UsageError(f"input {name!r}: a standard deviation of 0 cannot be divided by")


def _words_of(shape: Sequence[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) or "scalar"


# ------------------------------------------------------------------------------ running


def _ordered(inputs: Mapping[str, Any], signature: Signature) -> list[Any]:
    import numpy as np

    missing = [spec.name for spec in signature.inputs if spec.name not in inputs]
    if missing:
        raise ModelError(f"no data for input {missing[0]!r}; given: {', '.join(inputs) or 'none'}")
    return [np.asarray(inputs[spec.name], dtype=spec.dtype) for spec in signature.inputs]


def _in_batches(
    call: Any, arrays: Sequence[Any], names: Sequence[str], size: int
) -> dict[str, Any]:
    import numpy as np

    count = len(arrays[0])
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for start in range(0, count, size):
        answers = call(*[array[start : start + size] for array in arrays])
        for name, answer in zip(names, answers, strict=True):
            parts[name].append(answer.numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def _names_of_layers(live: Any) -> list[str]:
    found = []
    for layer in getattr(live, "layers", ()):
        found.append(layer.name)
        found += [f"{layer.name}/{inner}" for inner in _names_of_layers(layer)]
    return found


@contextmanager
def _recorded(live: Any) -> Iterator[dict[str, Any]]:
    """Note what every layer returns while the block runs the model eagerly.

    Wrapping `call` on each layer object sees nested and shared layers alike, in the order of
    execution, and needs no second model. A layer that is called several times (an RNN's cell)
    is noted the first time.
    """
    found: dict[str, Any] = {}
    path: list[str] = []

    def wrap(layer: Any, call: Any) -> Any:
        @functools.wraps(call)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            path.append(layer.name)
            try:
                answer = call(*args, **kwargs)
            finally:
                name = "/".join(path)
                path.pop()
            if hasattr(answer, "numpy") and name not in found:
                found[name] = answer.numpy()
            return answer

        return wrapped

    layers = list(live._flatten_layers(include_self=False))
    for layer in layers:
        object.__setattr__(layer, "call", wrap(layer, layer.call))
    try:
        yield found
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


# ------------------------------------------------------------------------------- errors


@contextmanager
def translated(reference: str) -> Iterator[None]:
    """Turn what Keras and TensorFlow raise while loading or tracing into errors of ours."""
    try:
        yield
    except EdgekitError:
        raise
    except MemoryError:
        raise
    except Exception as exc:
        raise _explained(reference, exc) from exc


_UNKNOWN = re.compile(
    r"(?:Unknown (?:layer|activation function|object|\w+)|Could not locate (?:class|function))"
    r":? *['\"]?([\w>.]+)"
)
_WEIGHTS = re.compile(
    r"weights?|variables?.*(?:shape|match)|Layer count mismatch|expected \d+ variables|object path|"
    r"shape mismatch|not compatible|cannot be loaded|was never loaded|A total of",
    re.IGNORECASE,
)
_LAMBDA = re.compile(r"lambda|safe_mode|unsafe", re.IGNORECASE)


def _explained(reference: str, exc: Exception) -> ModelError:
    text = str(exc)
    unknown = _UNKNOWN.search(text)
    if unknown:
        return UntrustedModelError(
            f"{reference!r} needs code that is not in the file: {unknown[1]}",
            hint="export it with model.export('folder') where that code is, and convert the folder",
        )
    if _LAMBDA.search(text) and "safe_mode" in text:
        return UntrustedModelError(
            f"{reference!r} holds code that would run when it is loaded: {named(exc)}",
            hint="if you trust where it comes from, give --trust-code",
        )
    if _WEIGHTS.search(text):
        return ModelError(
            f"{reference!r}: its weights do not fit its architecture: {named(exc)}",
            hint="save architecture and weights together with model.save('model.keras')",
        )
    return ModelError(
        f"{reference!r} cannot be loaded: {named(exc)}",
        hint="check that it loads with the Keras it was saved with, and save it again",
    )
