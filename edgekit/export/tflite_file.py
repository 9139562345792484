"""A user's ``.tflite`` file as it is, or as the float file that quantized ones are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError, ModelError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.export import flatbuffer, tflite_transposes
from edgekit.export.tflite_float import FILE

WAY = "the file as it was given"


def take(out: Path, *, model: dict[str, Any], original: bool) -> dict[str, Any]:
    """Write ``model.tflite``: the file's own bytes where it has a signature of fixed shapes.

    Args:
        original: takes any file; otherwise only one whose numbers are all float.

    Raises:
        ConversionError: it is quantized, and float was asked for; or LiteRT does not load it.
        ModelError: it was changed in the meantime.
    """
    handle = Model.from_json(model)
    content = handle.file.read_bytes()
    tree = flatbuffer.read(content)
    if not original:
        refuse_quantized(tree)
    path = out / FILE
    changes = _sign(tree) + ([] if original else _close(tree, handle))
    if changes:
        flatbuffer.write(tree, path)
    else:
        path.write_bytes(content)
    if handle.digest and sha256_file(handle.file) != handle.digest:
        raise ModelError(
            f"{handle.reference!r} was changed while it was being converted",
            hint="wait until it is written, then run the command again",
        )
    _load(path, handle)
    return {
        "files": [FILE],
        "signature": flatbuffer.signature(tree, fixed=True).to_json(),
        "way": ", ".join([WAY, *changes]),
        "parent": handle.digest,
        "tools": ["ai-edge-litert"],
        "notes": [tflite_transposes.note(tree)],
        "sha256": sha256_file(path),
    }


def refuse_quantized(tree: Any) -> None:
    """Raise ConversionError where numbers of the file are not plain float, bool or whole ones."""
    kinds = set()
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            kind = flatbuffer.dtype(tensor)
            scaled = tensor.quantization is not None and tensor.quantization.scale is not None
            if (scaled and len(tensor.quantization.scale) > 0 and kind != "float32") or (
                kind == "float16"
            ):
                kinds.add(kind)
    if kinds:
        raise ConversionError(
            f"the file is quantized already ({', '.join(sorted(kinds))}); only a float32 file can "
            "be made into other variants",
            hint="take it as it is with --variant original, or convert the model it was made from",
        )


def _sign(tree: Any) -> list[str]:
    """A signature for a file that has none, from its tensors' names."""
    if tree.signatureDefs:
        return []
    graph = tree.subgraphs[0]
    flatbuffer.set_signature(
        tree,
        "serving_default",
        _named(graph, graph.inputs),
        _named(graph, graph.outputs),
    )
    return ["with a signature added"]


def _named(graph: Any, indices: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for at, index in enumerate(indices):
        label = graph.tensors[int(index)].name
        text = label.decode() if isinstance(label, bytes) else str(label or "")
        text = text or f"tensor_{at}"
        found[text if text not in found else f"{text}_{at}"] = int(index)
    return found


def _close(tree: Any, handle: Model) -> list[str]:
    """Fix open dimensions: to the sizes that the user gave, or to those that the file carries."""
    changed = False
    wanted = dict(handle.shapes)
    definition = tree.signatureDefs[0]
    main = tree.subgraphs[definition.subgraphIndex]
    for entry in definition.inputs:
        tensor = main.tensors[entry.tensorIndex]
        label = entry.name.decode() if isinstance(entry.name, bytes) else str(entry.name)
        if label in wanted and list(tensor.shape) != list(wanted[label]):
            tensor.shape = type(tensor.shape)((len(wanted[label]),), dtype=tensor.shape.dtype)
            tensor.shape[:] = wanted[label]
            changed = True
    for graph in tree.subgraphs:
        for tensor in graph.tensors:
            if tensor.shapeSignature is not None and len(tensor.shapeSignature):
                tensor.shapeSignature = None
                changed = True
    return ["with its shapes fixed"] if changed else []


def _load(path: Path, handle: Model) -> None:
    """Raises ConversionError if LiteRT refuses the file."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_path=str(path), num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as exc:
        first = str(exc).strip().partition("\n")[0][:250]
        raise ConversionError(f"LiteRT does not load {handle.reference!r}: {first}") from exc
