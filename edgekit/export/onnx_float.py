"""A model → a float32 ``.onnx``: its own graph, sizes fixed or in ranges, simplified and checked.

Simplified by onnxslim (https://github.com/inisis/OnnxSlim), or by onnxsim where that fails or
changes the answers; both fold constants and batch normalization, and only a graph that gives the
same answers on made-up inputs is taken.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgekit.core.errors import ConversionError, ModelError
from edgekit.core.files import sha256_file, sha256_with
from edgekit.core.model import Model
from edgekit.core.protocols import LoadedModel
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature
from edgekit.export import onnx_coverage, onnx_graph
from edgekit.export.onnx_graph import FILE
from edgekit.export.onnx_pool import pad_inside
from edgekit.work.cache import RESULT_FILE

# Scales for each channel (QuantizeLinear with an axis) came with this operator set.
LEAST_OPSET = 13
TOOLS = ["onnx", "onnxruntime", "onnxslim", "onnxsim"]
# For an artifact whose own runtime is not on this computer.
STAND_IN = {"file": FILE, "format": "onnx", "what": "the same file in ONNX Runtime"}


Ranges = Mapping[str, tuple[int, int]]  # of open dimensions, by name


class GraphModel(LoadedModel, Protocol):
    """A loaded model that is an ONNX graph."""

    @property
    def proto(self) -> Any:
        """A ``ModelProto``, sizes fixed or in ranges, its border in the signature's order."""

    @property
    def files(self) -> Sequence[str]:
        """Names of the files beside the model that hold its weights."""


def convert(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Make ``model.onnx`` from an ONNX model; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: the graph does not fit into one file, or is not valid.
    """
    handle = Model.from_json(model)
    source: GraphModel = resolve(handle.loader)(handle)
    return finish(
        out, onnx_graph.copied(source.proto), source.signature, "ONNX", handle.digest, TOOLS
    )


def simplify(out: Path, *, exported: str) -> dict[str, Any]:
    """Make ``model.onnx`` from what another exporter wrote; see `convert`."""
    import onnx
    import onnx.inliner

    made = json.loads((Path(exported) / RESULT_FILE).read_text(encoding="utf-8"))
    proto = onnx.load(Path(exported) / made["files"][0])
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    wanted = Signature.from_json(made["signature"])
    tools = [*made["tools"], *TOOLS]
    return finish(out, proto, wanted, made["way"], made["parent"], tools)


def original(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """The user's own file as it is, with the files of its weights.

    Raises:
        ConversionError: one of those is called as the artifact is.
        ModelError: they are no more what was loaded.
    """
    handle = Model.from_json(model)
    source: GraphModel = resolve(handle.loader)(handle)
    names = list(source.files)
    if taken := {FILE, RESULT_FILE} & set(names):
        raise ConversionError(
            f"its weights are in a file called {taken.pop()!r}, which has another use here",
            hint="save the model again with its weights under another name",
        )
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(handle.file.parent / name, out / name)
    shutil.copyfile(handle.file, out / FILE)
    if sha256_with(out / FILE, names) != handle.digest:  # it may have been loaded long before
        raise ModelError(
            f"{handle.reference!r} was changed while it was being converted",
            hint="wait until it is written, then run the command again",
        )
    return {
        "files": [FILE, *names],
        "signature": source.signature.to_json(),
        "way": "the file as it is",
        "parent": handle.digest,
        "tools": [],
        "sha256": sha256_file(out / FILE),
    }


def noted(out: Path, *, made: str, notes: list[str]) -> dict[str, Any]:
    """The same file for a delegate that is not on this computer and has something to say of it.

    Raises:
        ConversionError: the delegate does not have one of its operators.
    """
    import onnx

    result: dict[str, Any] = json.loads((Path(made) / RESULT_FILE).read_text(encoding="utf-8"))
    coverage = onnx_coverage.tensorrt(onnx.load(Path(made) / result["files"][0]))
    for name in result["files"]:
        shutil.copyfile(Path(made) / name, out / name)
    result["notes"] = [*result.get("notes", []), *notes]
    return {**result, "stand_in": STAND_IN, "coverage": coverage.to_json()}


def finish(
    out: Path, proto: Any, wanted: Signature, way: str, parent: str, tools: list[str]
) -> dict[str, Any]:
    """Simplify, check and write; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: inputs or outputs are not those of the source.
    """
    _name_borders(proto, wanted)
    onnx_graph.name_open(proto, wanted)
    ranges = wanted.dimensions()
    notes: list[str] = []
    proto = _modern(proto, notes, ranges)
    proto, by = _simplified(proto, notes, ranges)
    pad_inside(proto)
    onnx_graph.name_nodes(proto)
    _lower_version(proto)
    proto = _with_shapes(proto)
    onnx_graph.save(proto, out)
    made = onnx_graph.signature(proto).opened(wanted)
    _refuse_other(made, wanted)
    counted = onnx_coverage.cpu(onnx_graph.largest(proto, made))
    notes += counted.pop("uncounted", [])
    return {
        **counted,
        "files": [FILE],
        "signature": made.to_json(),
        "way": f"{way}, {by}",
        "parent": parent,
        "sha256": sha256_file(out / FILE),
        "tools": tools,
        "notes": notes,
    }


# ---------------------------------------------------------------------------- simplifying


def _simplified(proto: Any, notes: list[str], ranges: Ranges) -> tuple[Any, str]:
    """The graph as the first tool leaves it that changes nothing but its form; how, in words."""
    for name, tool in (("onnxslim", _slim), ("onnxsim", _sim)):
        try:
            made = tool(onnx_graph.copied(proto))
            problem = _problem(proto, made, ranges)
        except ConversionError as exc:
            problem = exc.message
        except Exception as exc:  # noqa: BLE001 - whatever they raise, the graph itself is left
            problem = f"{type(exc).__name__}: {onnx_graph.line(exc)}"
        if not problem:
            return made, f"simplified by {name}"
        notes.append(f"{name} was not used: {problem}")
    return proto, "not simplified"


def _slim(proto: Any) -> Any:
    import onnxslim

    return onnxslim.slim(proto)


def _sim(proto: Any) -> Any:
    import onnxsim

    made, _ = onnxsim.simplify(proto)
    return made


def _problem(before: Any, after: Any, ranges: Ranges) -> str:
    import onnx

    if _borders(before) != _borders(after):
        return "it changed the inputs or outputs"
    onnx.checker.check_model(after, full_check=True)
    found = onnx_graph.difference(before, after, ranges)
    return f"it changed what the model computes: {found}" if found else ""


def _borders(proto: Any) -> list[Any]:
    made = onnx_graph.signature(proto)
    return [[(spec.name, spec.shape, spec.dtype) for spec in part]
            for part in (made.inputs, made.outputs)]  # fmt: skip


# --------------------------------------------------------------------------------- parts


def _name_borders(proto: Any, wanted: Signature) -> None:
    """Give inputs and outputs the source's names; their order was kept.

    Raises:
        ConversionError: there are more or fewer.
    """
    graph = proto.graph
    for what, found, specs in (
        ("inputs", graph.input, wanted.inputs),
        ("outputs", graph.output, wanted.outputs),
    ):
        if len(found) != len(specs):
            raise ConversionError(
                f"the exporter made {len(found)} {what} of {len(specs)}",
                hint="an input that no output depends on, or the same output twice, cannot be kept",
            )
    changed = {
        value.name: spec.name
        for value, spec in (
            *zip(graph.input, wanted.inputs, strict=True),
            *zip(graph.output, wanted.outputs, strict=True),
        )
        if value.name != spec.name
    }
    if not changed:
        return
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    for name in sorted((taken - set(changed)) & set(changed.values())):
        fresh = name + "_inner"
        while fresh in taken:
            fresh += "_"
        changed[name] = fresh
    onnx_graph.rename(graph, changed)


def _modern(proto: Any, notes: list[str], ranges: Ranges) -> Any:
    """The graph in an operator set that every runtime and quantizer here takes."""
    from onnx import version_converter

    before = onnx_graph.opset(proto)
    if before >= LEAST_OPSET:
        return proto
    try:
        made = version_converter.convert_version(proto, LEAST_OPSET)
        problem = _problem(proto, made, ranges)
    except ConversionError as exc:
        problem = exc.message
    except Exception as exc:  # noqa: BLE001 - the graph as it was is left
        problem = onnx_graph.line(exc)
    if problem:
        notes.append(f"it stays in operator set {before}: {problem}")
        return proto
    notes.append(f"written in operator set {LEAST_OPSET}; it was {before}")
    return made


def _lower_version(proto: Any) -> None:
    """Say the oldest version of the format that these operators need: older runtimes go by it."""
    from onnx import helper

    try:
        least = helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    except ValueError:  # an operator set that is newer than this onnx
        return
    proto.ir_version = min(proto.ir_version, max(least, 8))


def _with_shapes(proto: Any) -> Any:
    import onnx

    del proto.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(proto, data_prop=True)


def _refuse_other(made: Signature, wanted: Signature) -> None:
    pairs = zip((*made.inputs, *made.outputs), (*wanted.inputs, *wanted.outputs), strict=True)
    for one, other in pairs:
        if (one.name, one.shape, one.dtype) != (other.name, other.shape, other.dtype):
            raise ConversionError(f"the artifact has {one} where the model has {other}")
