"""ONNX → a torch module: https://onnx.ai/onnx/operators/, operator sets 13 and later."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import ConversionError, EdgekitError

if TYPE_CHECKING:
    import torch

FIRST_OPSET = 13
OTHER_WAY = "convert to the TFLite format instead, or replace it in the model"


def module(path: Path, sizes: Mapping[str, int] | None = None) -> torch.nn.Module:
    """The graph's inputs in their order → a tuple of its outputs; layout and types are the file's.

    `sizes` are those of open dimensions, by name: the module is made for them.

    Weights are parameters (buffers, if not floating-point) of submodules named after the nodes.

    Raises:
        ConversionError: not an ONNX file, an open shape, or operators without a translation;
            all of these are named at once.
    """
    import onnx

    from edgekit.export.translate.onnx_graph import translate

    try:
        model = onnx.load(str(path))
    except Exception as exc:
        raise ConversionError(f"{path.name} is not an ONNX file: {exc}"[:300]) from exc
    if sizes:
        from edgekit.export import onnx_graph

        model = onnx_graph.at(model, sizes)
    model = _prepared(model, path)
    return translate(model.graph, _opset(model))


def _prepared(model: Any, path: Path) -> Any:
    """With functions inlined and the operator set brought to 13 where it is older."""
    import onnx
    from onnx import inliner, version_converter

    if model.functions:
        model = inliner.inline_local_functions(model)
    opset = _opset(model)
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ConversionError(
            f"{path.name} uses operator set {opset}; the installed onnx knows up to {newest}",
            hint="export the model with an older operator set (13 to 21)",
        )
    if opset >= FIRST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, FIRST_OPSET)
    except Exception as exc:
        raise ConversionError(
            f"{path.name} uses operator set {opset}, which cannot be brought to {FIRST_OPSET}: "
            f"{str(exc)[:200]}",
            hint="export the model again with opset_version=17",
        ) from exc


def _opset(model: Any) -> int:
    for given in model.opset_import:
        if given.domain in ("", "ai.onnx"):
            return int(given.version)
    return 0


_SCOPES = "pkg.torch.onnx.name_scopes"


def title(node: Any) -> str:
    """The user's layer where the exporter keeps it, else the node's name, else its output's."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = [scope for scope in re.findall(r"'([^']*)'", entry.value) if scope]
            if len(scopes) > 1:  # the last one is the torch operation itself
                return str(scopes[-2])
    return str(node.name) or next((name for name in node.output if name), str(node.op_type))


def refused(found: list[tuple[str, str, str]]) -> EdgekitError:
    """One error for every operator that has no translation: (operator, node, reason)."""
    listed: dict[str, list[str]] = {}
    for operator, node, _ in found:
        listed.setdefault(operator, []).append(node)
    names = "; ".join(
        f"{operator} ({', '.join(repr(node) for node in nodes[:3])}"
        f"{f' and {len(nodes) - 3} more' if len(nodes) > 3 else ''})"
        for operator, nodes in listed.items()
    )
    reasons = sorted({reason for _, _, reason in found if reason})
    return ConversionError(
        f"no faithful translation to torch for the ONNX operators {names}",
        hint="; ".join(reasons) or OTHER_WAY,
    )
