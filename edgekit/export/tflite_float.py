"""A TensorFlow function → a float32 ``.tflite`` with the batch fixed and the user's names.

Measured (see README.md beside this file): freezing the variables into a function of fixed shapes
and converting that takes a third of TFLiteConverter.from_keras_model's time, for the same
operators or fewer, because an open batch leaves shape arithmetic in the graph and the way through
a SavedModel writes and reads all variables. It loses the signature, which is put back here.

Freezing also inlines the marks by which the converter makes one UNIDIRECTIONAL_SEQUENCE_LSTM of a
Keras 2 LSTM. That is wanted: this operator keeps its state from one call to the next, so that the
second answer of a stateless model would be wrong. A loop (WHILE) takes its place, as in Keras 3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.protocols import LoadedModel
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_transposes

FILE = "model.tflite"
WAY = "TFLiteConverter, from a frozen function of fixed shapes"
OPEN_WAY = "TFLiteConverter, from a frozen function with open sizes"


class TensorFlowModel(LoadedModel, Protocol):
    """A loaded model that is made of TensorFlow functions."""

    @property
    def concrete(self) -> Any:
        """A ``ConcreteFunction``, sizes fixed or in ranges, its border in the signature's order."""

    @property
    def layer_names(self) -> Sequence[str]:
        """The layers' names, inner models' as ``outer/inner``; empty where they are lost."""


def convert(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Make ``model.tflite``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: the converter refuses the model; names the operators.
    """
    handle = Model.from_json(model)
    source: TensorFlowModel = resolve(handle.loader)(handle)
    try:
        content = converted(source.concrete)
    except EdgekitError:
        raise
    except MemoryError:
        raise
    except Exception as exc:
        raise explained(exc) from exc
    tree = flatbuffer.read(content)
    name(tree, source.signature)
    way = OPEN_WAY if source.signature.dimensions() else WAY
    result = finished(
        out, tree, source.signature, way=way, parent=handle.digest, tools=["tensorflow"]
    )
    result["layers"] = list(source.layer_names)
    del content, tree
    give_back()
    return result


def finished(
    out: Path,
    tree: Any,
    wanted: Signature,
    *,
    way: str,
    parent: str,
    tools: Sequence[str],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write ``model.tflite``; the result of the step, with what is to be said of transposes.

    Raises:
        ConversionError: it holds to one size where `wanted` is open.
    """
    path = out / FILE
    signature = flatbuffer.signature(tree).opened(wanted)
    if wanted.dimensions():
        flatbuffer.settle_largest(tree, wanted)
    flatbuffer.write(tree, path)
    return {
        "files": [FILE],
        "signature": signature.to_json(),
        "way": way,
        "parent": parent,
        "tools": list(tools),
        "notes": [tflite_transposes.note(tree), *notes],
        "sha256": sha256_file(path),
    }


def converted(concrete: Any) -> bytes:
    """The flatbuffer of a ``ConcreteFunction`` with fixed shapes, as TFLiteConverter makes it."""
    import tensorflow as tf

    # Without `trackable_obj` on purpose: with it the converter goes through a SavedModel.
    content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    return content


def name(tree: Any, wanted: Signature) -> None:
    """Give the main graph the source's signature; the order of inputs and outputs was kept."""
    graph = tree.subgraphs[0]
    if len(graph.inputs) != len(wanted.inputs) or len(graph.outputs) != len(wanted.outputs):
        raise ConversionError(
            f"the converter made {len(graph.inputs)} inputs and {len(graph.outputs)} outputs of "
            f"{len(wanted.inputs)} and {len(wanted.outputs)}",
            hint="an input that no output depends on, or the same output twice, cannot be kept",
        )
    flatbuffer.set_signature(
        tree,
        wanted.name,
        {spec.name: int(at) for spec, at in zip(wanted.inputs, graph.inputs, strict=True)},
        {spec.name: int(at) for spec, at in zip(wanted.outputs, graph.outputs, strict=True)},
    )


def narrowed(tree: Any, wanted: Signature) -> list[str]:
    """Inputs and outputs whose type is another one in the artifact, as sentences."""
    made = flatbuffer.signature(tree)
    pairs = zip((*wanted.inputs, *wanted.outputs), (*made.inputs, *made.outputs), strict=True)
    return [
        f"{after.name} is {after.dtype} in the artifact and {before.dtype} in the model"
        for before, after in pairs
        if before.dtype != after.dtype
    ]


def give_back() -> None:
    """Hand what the conversion has freed back to the system: the worker stays while others start.

    For MobileNetV2 it is 250 MB of a process of 950 that C's allocator would keep.
    """
    import ctypes
    import gc

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it; musl and macOS do not
    if trim is not None:
        trim(0)


_UNSUPPORTED = re.compile(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)")
_LEGALIZE = re.compile(r"'(tf\.[A-Za-z0-9_]+)' op")


def explained(exc: Exception) -> ConversionError:
    """TensorFlow's pages of converter output as one line that names the operators."""
    text = str(exc)
    listed = [name for match in _UNSUPPORTED.findall(text) for name in match.split(", ")]
    names = sorted({name.strip() for name in listed} or set(_LEGALIZE.findall(text)))
    if "tf.TensorListReserve" in names:
        return ConversionError(
            "a recurrent layer of this model was traced with an open batch, which TFLite's loops "
            "cannot have",
            hint="convert the .keras or .h5 file instead of the exported folder",
        )
    if names:
        return ConversionError(
            f"TFLite has no operator for {', '.join(names)}",
            hint="replace these in the model with operations that TFLite has",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0][:250] if lines else "no message"
    return ConversionError(f"TFLiteConverter failed: {type(exc).__name__}: {first}")
