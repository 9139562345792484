"""A TensorFlow function → a float32 ``.tflite`` with the batch fixed and the user's names.

Measured (see README.md beside this file): freezing the variables into a function of fixed shapes
and converting that takes a third of TFLiteConverter.from_keras_model's time, for the same
operators or fewer, because an open batch leaves shape arithmetic in the graph and the way through
a SavedModel writes and reads all variables. It loses the signature, which is put back here.

Freezing inlines functions, and with them the marks by which the converter knows Keras 2's LSTM as
one operator. A model with such marks goes through a SavedModel of fixed shapes instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.protocols import LoadedModel
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer

FILE = "model.tflite"
_COMPOSITE_MARKS = ("api_implements", "_implements")


class TensorFlowModel(LoadedModel, Protocol):
    """A loaded model that is made of TensorFlow functions."""

    @property
    def concrete(self) -> Any:
        """A ``ConcreteFunction`` with fixed shapes, inputs and outputs in the signature's order."""

    @property
    def trackable(self) -> Any:
        """What owns the function's variables."""


def convert(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Make ``model.tflite``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: the converter refuses the model; names the operators.
    """
    handle = Model.from_json(model)
    source: TensorFlowModel = resolve(handle.loader)(handle)
    fused = _has_composites(source.concrete)
    try:
        content = _through_saved_model(source, out) if fused else _frozen(source)
    except EdgekitError:
        raise
    except MemoryError:
        raise
    except Exception as exc:
        raise explained(exc) from exc
    tree = flatbuffer.read(content)
    _name(tree, source.signature, by_name=fused)
    path = out / FILE
    flatbuffer.write(tree, path)
    return {
        "files": [FILE],
        "signature": flatbuffer.signature(tree).to_json(),
        "way": "TFLiteConverter, " + ("SavedModel of fixed shapes" if fused else "frozen function"),
        "parent": handle.digest,
        "tools": ["tensorflow"],
        "sha256": sha256_file(path),
    }


def _has_composites(concrete: Any) -> bool:
    functions = concrete.graph.as_graph_def().library.function
    return any(mark in function.attr for function in functions for mark in _COMPOSITE_MARKS)


def _frozen(source: TensorFlowModel) -> bytes:
    import tensorflow as tf

    # Without `trackable_obj` on purpose: with it the converter goes through a SavedModel.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([source.concrete])
    content: bytes = converter.convert()
    return content


def _through_saved_model(source: TensorFlowModel, out: Path) -> bytes:
    import shutil

    import tensorflow as tf

    folder = out / "saved_model"
    try:
        tf.saved_model.save(
            source.trackable, str(folder), signatures={"serving_default": source.concrete}
        )
        content: bytes = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return content


def _name(tree: Any, wanted: Signature, *, by_name: bool) -> None:
    """Give the main graph the source's signature.

    The frozen way keeps the order of inputs and outputs. The other way has a signature whose
    inputs are named after the function's arguments, ``serving_<index>_…``, and whose outputs are
    ``output_<index>``.
    """
    graph = tree.subgraphs[0]
    if by_name:
        given = tree.signatureDefs[0]
        inputs = {_index(entry.name): entry.tensorIndex for entry in given.inputs}
        outputs = {_index(entry.name): entry.tensorIndex for entry in given.outputs}
    else:
        inputs = dict(enumerate(graph.inputs))
        outputs = dict(enumerate(graph.outputs))
    if len(inputs) != len(wanted.inputs) or len(outputs) != len(wanted.outputs):
        raise ConversionError(
            f"the converter made {len(inputs)} inputs and {len(outputs)} outputs of "
            f"{len(wanted.inputs)} and {len(wanted.outputs)}",
            hint="an input that no output depends on, or the same output twice, cannot be kept",
        )
    flatbuffer.set_signature(
        tree,
        wanted.name,
        {spec.name: int(inputs[index]) for index, spec in enumerate(wanted.inputs)},
        {spec.name: int(outputs[index]) for index, spec in enumerate(wanted.outputs)},
    )


def _index(name: bytes | str) -> int:
    text = name.decode() if isinstance(name, bytes) else name
    found = re.match(r"(?:serving|output)_(\d+)", text)
    if found is None:
        raise ConversionError(f"the converter renamed {text!r}")
    return int(found[1])


_UNSUPPORTED = re.compile(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)")
_LEGALIZE = re.compile(r"'(tf\.[A-Za-z0-9_]+)' op")


def explained(exc: Exception) -> ConversionError:
    """TensorFlow's pages of converter output as one line that names the operators."""
    text = str(exc)
    listed = [name for match in _UNSUPPORTED.findall(text) for name in match.split(", ")]
    names = sorted({name.strip() for name in listed} or set(_LEGALIZE.findall(text)))
    if names:
        return ConversionError(
            f"TFLite has no operator for {', '.join(names)}",
            hint="replace these in the model with operations that TFLite has",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0][:250] if lines else "no message"
    return ConversionError(f"TFLiteConverter failed: {type(exc).__name__}: {first}")
