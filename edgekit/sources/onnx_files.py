"""What can be told about an ONNX file without ONNX: whether it is whole, and what it leads to.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto and, for weights that lie in files
beside the model, https://onnx.ai/onnx/repo-docs/ExternalData.html.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.core.calls import unfolded
from edgekit.core.errors import ModelError
from edgekit.core.files import is_safe_relative, readable_bytes
from edgekit.sources.files import require_file
from edgekit.sources.protobuf import BYTES, VARINT, WireError, children, fields

# What one protobuf message can hold. Larger weights can be loaded, but no tool of the conversion
# can pass them on.
LIMIT_BYTES = 2**31 - 1
# Of ONNX itself, and the operators that ONNX Runtime brings along.
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

# ModelProto.ir_version=1, .graph=7, .opset_import=8, .functions=25
_IR_VERSION, _GRAPH, _OPSETS, _FUNCTIONS = 1, 7, 8, 25
# GraphProto.node=1, .initializer=5, .sparse_initializer=15
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
# NodeProto.op_type=4, .attribute=5, .domain=7, .overload=8
_OP_TYPE, _ATTRIBUTE, _DOMAIN, _OVERLOAD = 4, 5, 7, 8
# AttributeProto.t=5, .g=6, .tensors=10, .graphs=11, .sparse_tensor=22, .sparse_tensors=23
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSES = 5, 6, 10, 11, (22, 23)
# FunctionProto.name=1, .node=7, .domain=10, .overload=13
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN, _FUNCTION_OVERLOAD = 1, 7, 10, 13
# SparseTensorProto.values=1, .indices=2; TensorProto.external_data=13;
# StringStringEntryProto.key=1, .value=2
_SPARSE_PARTS, _EXTERNAL = (1, 2), 13
_DEEPEST = 64  # graphs within graphs
_NODE_BYTES = 1000  # about what a node takes in memory besides what it holds

_Function = tuple[str, str, str]  # domain, name, overload
_GRAPH_ITSELF: _Function = ("", "", "")


@dataclass
class Finding:
    """What is in a file.

    Attributes:
        operators: (domain, type) of every node.
        functions: (domain, name) of the functions that the file itself defines.
        external: (place, offset, length) of every tensor that lies in another file; the length is
            None where it goes to the file's end.
        unfolded_bytes: about what the nodes take with the functions put in place.
    """

    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    external: list[tuple[str, int, int | None]] = field(default_factory=list)
    unfolded_bytes: int = 0

    @property
    def files(self) -> list[str]:
        """Names of the files beside the model."""
        return sorted({place for place, _, _ in self.external})


def examine(path: Path) -> Finding:
    """Look into a model file, and at the files it leads to.

    Raises:
        ModelError: missing, not a model, truncated, too large, with weights in files that are not
            in its folder, or with operators that are not ONNX's.
    """
    content = _content(path)
    try:
        found = _read(memoryview(content))
    except (WireError, UnicodeDecodeError, ValueError) as exc:
        raise ModelError(
            f"{str(path)!r} is not a whole ONNX model: {exc}",
            hint="copy it again and compare the sizes, or export the model again",
        ) from exc
    if found.functions and found.unfolded_bytes > LIMIT_BYTES:
        raise ModelError(
            f"{str(path)!r} would unfold to {readable_bytes(found.unfolded_bytes)}: its functions "
            "call each other again and again",
            hint="export the model without functions",
        )
    _refuse_custom(path, found)
    _check_external(path, found, len(content))
    return found


def _content(path: Path) -> bytes:
    try:
        require_file(path)
        size = path.stat().st_size
        if size == 0:
            raise ModelError(f"{str(path)!r} is not an ONNX model: it is empty")
        _refuse_large(path, size)
        return path.read_bytes()
    except OSError as exc:
        raise ModelError(f"cannot read {str(path)!r}: {exc.strerror or exc}") from exc


def _refuse_large(path: Path, size: int) -> None:
    if size > LIMIT_BYTES:
        raise ModelError(
            f"{str(path)!r} takes {readable_bytes(size)} with its weights; "
            f"models up to {readable_bytes(LIMIT_BYTES)} can be converted"
        )


# ------------------------------------------------------------------------------ reading


def _read(model: memoryview) -> Finding:
    found = Finding()
    top = {(number, wire) for number, wire, _ in fields(model)}
    for number, wire, name in (
        (_IR_VERSION, VARINT, "version"),
        (_GRAPH, BYTES, "graph"),
        (_OPSETS, BYTES, "operator set"),
    ):
        if (number, wire) not in top:
            raise WireError(f"no {name} in it")
    sizes: Counter[_Function] = Counter({_GRAPH_ITSELF: 0})
    calls: dict[_Function, Counter[_Function]] = {}
    for function in children(model, _FUNCTIONS):
        domain = _string(function, _FUNCTION_DOMAIN)
        name = _string(function, _FUNCTION_NAME)
        found.functions.add((domain, name))
        own = _function(domain, name, _string(function, _FUNCTION_OVERLOAD))
        called = calls.setdefault(own, Counter())
        for node in children(function, _FUNCTION_NODE):
            _read_node(node, found, called, 0)
            sizes[own] += len(node)
        sizes[own] += _NODE_BYTES * called.total()
    called = calls.setdefault(_GRAPH_ITSELF, Counter())
    for graph in children(model, _GRAPH):
        _read_graph(graph, found, called, 0)
    sizes[_GRAPH_ITSELF] += _NODE_BYTES * called.total()
    if not found.operators:
        raise WireError("no operator in it")
    found.unfolded_bytes = unfolded(sizes, calls, _GRAPH_ITSELF)
    return found


def _read_graph(graph: memoryview, found: Finding, called: Counter[_Function], depth: int) -> None:
    if depth > _DEEPEST:
        raise WireError(f"graphs within graphs, more than {_DEEPEST} deep")
    for tensor in children(graph, _INITIALIZER):
        found.external += _external(tensor)
    for sparse in children(graph, _SPARSE):
        _read_sparse(sparse, found)
    for node in children(graph, _NODE):
        _read_node(node, found, called, depth)


def _read_node(node: memoryview, found: Finding, called: Counter[_Function], depth: int) -> None:
    kind, domain = _string(node, _OP_TYPE), _string(node, _DOMAIN)
    found.operators.add((domain, kind))
    called[_function(domain, kind, _string(node, _OVERLOAD))] += 1
    for attribute in children(node, _ATTRIBUTE):
        for number in (_TENSOR, _TENSORS):
            for tensor in children(attribute, number):
                found.external += _external(tensor)
        for number in _SPARSES:
            for sparse in children(attribute, number):
                _read_sparse(sparse, found)
        for number in (_SUBGRAPH, _SUBGRAPHS):
            for graph in children(attribute, number):
                _read_graph(graph, found, called, depth + 1)


def _function(domain: str, name: str, overload: str) -> _Function:
    return ("" if domain == "ai.onnx" else domain, name, overload)


def _read_sparse(sparse: memoryview, found: Finding) -> None:
    for part in _SPARSE_PARTS:
        for tensor in children(sparse, part):
            found.external += _external(tensor)


def _external(tensor: memoryview) -> Iterator[tuple[str, int, int | None]]:
    entries: dict[str, str] = {}
    for entry in children(tensor, _EXTERNAL):
        entries[_string(entry, 1)] = _string(entry, 2)
    if entries:
        length = entries.get("length")
        yield (
            entries.get("location", ""),
            int(entries.get("offset") or 0),
            int(length) if length else None,
        )


def _string(message: memoryview, number: int) -> str:
    """A field of text. Where it is written several times the last one counts, as for protobuf."""
    text = b""
    for part in children(message, number):
        text = bytes(part)
    return text.decode()


# ----------------------------------------------------------------------------- checking


def _refuse_custom(path: Path, found: Finding) -> None:
    custom = sorted(
        f"{domain}.{kind}"
        for domain, kind in found.operators - found.functions
        if domain not in DOMAINS
    )
    if custom:
        shown = ", ".join(custom[:4]) + (f" and {len(custom) - 4} more" if len(custom) > 4 else "")
        raise ModelError(
            f"{str(path)!r} uses operators that are not ONNX's own: {shown}",
            hint="export the model without them: no converter knows what they compute",
        )


def _check_external(path: Path, found: Finding, own_bytes: int) -> None:
    sizes = {name: _external_size(path, name) for name in found.files}
    total = own_bytes
    for name, offset, length in found.external:
        end = sizes[name] if length is None else offset + length
        if offset < 0 or end < offset or end > sizes[name]:
            raise ModelError(
                f"{str(path)!r}: its weights file {name!r} is cut off: it has {sizes[name]} bytes, "
                f"a tensor ends at {end}",
                hint="copy both files again and compare the sizes, or export the model again",
            )
        total += end - offset
    _refuse_large(path, total)  # also tensors that all lead to the same bytes


def _external_size(path: Path, name: str) -> int:
    """The size of a file beside the model, which has to be a plain file inside its folder."""
    if not is_safe_relative(name):
        raise ModelError(f"{str(path)!r}: its weights are outside of its folder: {name!r}")
    place = path.parent
    for part in Path(name).parts:
        place /= part
        try:
            kind = place.lstat().st_mode
        except OSError as exc:
            raise ModelError(
                f"{str(path)!r}: its weights file {name!r} cannot be read: {exc.strerror}",
                hint="keep the files of the export together, under their names",
            ) from exc
        if stat.S_ISLNK(kind):
            raise ModelError(f"{str(path)!r}: its weights file {name!r} is reached through a link")
    if not stat.S_ISREG(kind):
        raise ModelError(f"{str(path)!r}: its weights file {name!r} is not a plain file")
    return place.stat().st_size
