"""A user's ``.tflite`` file as it is, or as the float file that quantized ones are made from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

from edgekit.core.errors import ConversionError, ModelError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.protocols import LoadedModel
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_transposes
from edgekit.export.tflite_float import FILE, name

WAY = "the file as it was given"


class TFLiteModel(LoadedModel, Protocol):
    """A loaded model that is a flatbuffer."""

    @property
    def content(self) -> bytes:
        """The flatbuffer, with no open dimension."""


def take(out: Path, *, model: dict[str, Any], original: bool) -> dict[str, Any]:
    """Write ``model.tflite``: the file's own bytes, unless it has no signature or open sizes.

    Args:
        original: takes any file, and keeps an open batch; otherwise only float ones are taken.

    Raises:
        ConversionError: it is quantized, and float was asked for.
        ModelError: it is no more what was loaded.
    """
    handle = Model.from_json(model)
    loaded: TFLiteModel = resolve(handle.loader)(handle)
    given = handle.file.read_bytes()
    if hashlib.sha256(given).hexdigest() != handle.digest:  # it may have been loaded long before
        raise ModelError(
            f"{handle.reference!r} was changed while it was being converted",
            hint="wait until it is written, then run the command again",
        )
    content = given if original and not handle.shapes else loaded.content
    tree = flatbuffer.read(content)
    if not original:
        refuse_quantized(tree)
    path = out / FILE
    changes = [] if content == given else ["with its shapes fixed"]
    if _is_signed(tree, loaded.signature):
        path.write_bytes(content)
    else:
        name(tree, loaded.signature)
        flatbuffer.write(tree, path)
        changes.append("with a signature added")
    return {
        "files": [FILE],
        "signature": loaded.signature.to_json(),
        "way": ", ".join([WAY, *changes]),
        "parent": handle.digest,
        "tools": ["ai-edge-litert"],
        "notes": [tflite_transposes.note(tree)],
        "sha256": sha256_file(path),
    }


def refuse_quantized(tree: Any) -> None:
    """Raise ConversionError where numbers of the file are not plain float, bool or whole ones."""
    kinds = set()
    for tensor in (tensor for graph in tree.subgraphs for tensor in graph.tensors):
        kind = flatbuffer.dtype(tensor)
        scales = None if tensor.quantization is None else tensor.quantization.scale
        scaled = scales is not None and len(scales) > 0 and kind != "float32"
        if scaled or kind == "float16":
            kinds.add(kind)
    if kinds:
        raise ConversionError(
            f"the file is quantized already ({', '.join(sorted(kinds))}); only a float32 file can "
            "be made into other variants",
            hint="take it as it is with --variant original, or convert the model it was made from",
        )


def _is_signed(tree: Any, wanted: Signature) -> bool:
    """Whether the file's first signature is the one that the source has read."""
    if not tree.signatureDefs or tree.signatureDefs[0].subgraphIndex != 0:
        return False
    own = flatbuffer.signature(tree)
    return own.name == wanted.name and _names(own) == _names(wanted)


def _names(signature: Signature) -> tuple[list[str], list[str]]:
    return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]
