"""What the step that makes the CPU's file has left for a compiler. Used in workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer
from edgekit.work.cache import RESULT_FILE


def result_of(folder: str) -> dict[str, Any]:
    """The result of the step whose folder this is; see `Exporter.step`."""
    found: dict[str, Any] = json.loads((Path(folder) / RESULT_FILE).read_text(encoding="utf-8"))
    return found


def with_signature(path: Path, wanted: Signature) -> Signature:
    """The signature of the compiled file at `path`, put back where the compiler has dropped it.

    Inputs and outputs keep their order in compilers, and `wanted` has the names of those before.

    Raises:
        ConversionError: the file's inputs and outputs are not those of `wanted`.
    """
    tree = flatbuffer.read(path)
    if not tree.signatureDefs:
        graph = tree.subgraphs[0]
        if (len(graph.inputs), len(graph.outputs)) != (len(wanted.inputs), len(wanted.outputs)):
            raise ConversionError("the compiler changed the number of inputs or outputs")
        flatbuffer.set_signature(
            tree,
            wanted.name,
            {spec.name: int(at) for spec, at in zip(wanted.inputs, graph.inputs, strict=True)},
            {spec.name: int(at) for spec, at in zip(wanted.outputs, graph.outputs, strict=True)},
        )
        flatbuffer.write(tree, path)
    found = flatbuffer.signature(tree)
    if found != wanted:
        raise ConversionError(
            "the compiler changed the signature: names, types or shapes are others"
        )
    return found
