"""Programs of torch.export: read as the archive of JSON and numbers that they are, without torch.

    edgekit inspect model.pt2

What is pickled in such a file is never opened, so nothing of it can run. Format:
https://docs.pytorch.org/docs/stable/export/pt2_archive.html, and
https://github.com/pytorch/pytorch/blob/main/torch/_export/serde/schema.py for the JSON.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.core.description import Coverage, Description, Node
from edgekit.core.files import readable_bytes
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.inspection import aten
from edgekit.inspection.files import (
    Weights,
    count_zeros,
    file_step,
    first_bytes,
    packed_bits,
    whole_file,
)
from edgekit.inspection.flatbuffer import DamagedError
from edgekit.inspection.words import Numbers
from edgekit.work.steps import Step

JSON_LIMIT_BYTES = 512 * 2**20
CHUNK_BYTES = 2**24
WORTH_A_WORD_BYTES = 1000
# A size that is open, not one that is computed from such: ``Symbol('s37', integer=True)``.
_SYMBOL = re.compile(r"(?:Symbol\(')?(\w+)(?:'[^()]*\))?$")
DEEPEST_GRAPH = 16
_TYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2",
}  # fmt: skip
# What costs nothing when a program runs: it only says what must hold.
_FREE = ("_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "alias")
_CONVERSIONS = ("quantize", "choose_qparams", "_to_copy", "to.dtype")


class Pt2Inspector:
    """Looks into ``.pt2`` files; an `Inspector`."""

    def accepts(self, path: str) -> bool:
        """By what is in the archive, or by its name where that is damaged."""
        if Path(path).suffix.lower() == ".pt2":
            return True
        if first_bytes(path, 4) != b"PK\x03\x04":
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                return _program_in(archive) is not None
        except (zipfile.BadZipFile, OSError, NotImplementedError):
            return False

    def step(self, path: str, *, trust_code: bool) -> Step:
        """See `Inspector.step`. What could run in such a file is not opened."""
        return file_step(path, "edgekit.inspection.pt2:describe", "plain")


def describe(out: Path, *, path: str) -> dict[str, Any]:
    """The step: the file's `Description`.

    Raises:
        InputError: it is not a whole program of torch.export.
    """
    with whole_file(path, ".pt2"):
        try:
            with zipfile.ZipFile(path) as archive:
                description = _Archive(archive).description(Path(path).stat().st_size)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as exc:
            # JSON of another form than a program's, wherever that shows
            raise DamagedError(f"its program is not as torch.export writes it ({exc!r})") from exc
        except (zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as exc:
            # OSError: a member that lies before the file's beginning
            raise DamagedError(str(exc)) from exc
    return {"description": description.to_json()}


def _program_in(archive: zipfile.ZipFile) -> str | None:
    """The member that holds the program's JSON; older versions of torch have it at the top."""
    for name in archive.namelist():
        folder, _, file = name.rpartition("/")
        if folder.rpartition("/")[2] == "models" and file.endswith(".json"):
            return name
        if file == "serialized_exported_program.json":
            return name
    return None


@dataclass
class _Found:
    nodes: list[Node] = field(default_factory=list)
    numbers: Numbers = field(default_factory=Numbers)
    uncounted: set[str] = field(default_factory=set)
    open_sizes: dict[str, int] = field(default_factory=dict)
    quantized: bool = False
    branches: bool = False
    used: set[str] = field(default_factory=set)


class _Archive:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        name = _program_in(archive)
        if name is None:
            raise DamagedError("there is no program in the archive")
        self.root = name.rpartition("models/")[0] if "models/" in name else ""
        self.program = self._json(name)
        self.module = self.program["graph_module"]

    def description(self, size_bytes: int) -> Description:
        graph, signature = self.module["graph"], self.module["signature"]
        found = _Found()
        constants = _constants(signature)
        found.quantized = any("quantize" in node["target"] for node in graph["nodes"])
        _walk(graph, constants, found, 0)
        weights, notes = self._weights(graph, _used(signature, found.used), constants & found.used)
        if found.open_sizes:
            sizes = ", ".join(f"{name} = {size}" for name, size in found.open_sizes.items())
            notes.append(f"open sizes are counted as the example has them: {sizes}")
        if found.uncounted:
            notes.append(f"multiply-adds not counted: {', '.join(sorted(found.uncounted))}")
        if found.branches:
            notes.append("every branch is counted, and what is inside a loop once")
        metadata = self._metadata()
        if notes:
            metadata["notes"] = notes
        return Description(
            format="pt2",
            size_bytes=size_bytes,
            signatures=(_signature(graph, signature),),
            coverage=Coverage(nodes=tuple(found.nodes)),
            parameters=weights.parameters,
            weights=weights.sorted(),
            zeros=weights.zeros,
            quantization=str(found.numbers),
            metadata=metadata,
        )

    def _metadata(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.program.get("torch_version"):
            found["torch_version"] = str(self.program["torch_version"])
        version = self.program["schema_version"]
        found["schema_version"] = f"{version['major']}.{version['minor']}"
        found["opsets"] = {str(k): v for k, v in self.program.get("opset_version", {}).items()}
        ranges = self.program.get("range_constraints") or {}
        if ranges:
            found["open_sizes"] = {
                str(name): f"{each['min_val']} to {each['max_val'] or 'any'}"
                for name, each in ranges.items()
            }
        return found

    # ---------------------------------------------------------------------------- content

    def _json(self, name: str) -> Any:
        size = self.archive.getinfo(name).file_size
        if size > JSON_LIMIT_BYTES:
            raise DamagedError(f"its {name} would unfold to {readable_bytes(size)}")
        return json.loads(self.archive.read(name))

    def _weights(
        self, graph: Any, used: set[str], constants: set[str]
    ) -> tuple[Weights, list[str]]:
        """Of those that the graph reads: `used` are the user's names, `constants` the graph's."""
        weights, listed = Weights(), False
        notes: list[str] = []
        idle = 0
        names = set(self.archive.namelist())
        for folder, config in (("weights", "model_weights"), ("constants", "model_constants")):
            list_name = f"{self.root}data/{folder}/{config}_config.json"
            if list_name not in names:
                continue
            listed = True
            done: set[str] = set()
            for name, entry in self._json(list_name)["config"].items():
                meta, file = entry.get("tensor_meta"), str(entry.get("path_name"))
                if name not in used:
                    idle += self.archive.getinfo(f"{self.root}data/{folder}/{file}").file_size
                    continue
                if meta is None or file in done:  # an object, or weights that layers share
                    continue
                done.add(file)
                self._weight(meta, f"{self.root}data/{folder}/{file}", entry, weights, notes)
        if not listed:
            notes.append("its weights are pickled, so their zeros are not counted")
            for name in constants & set(graph["tensor_values"]):
                meta = graph["tensor_values"][name]
                dtype, size = _dtype(meta), math.prod(_sizes(meta))
                if _is_weight(dtype, meta):
                    weights.add(dtype, size, size * packed_bits(dtype) // 8, 0)
        if idle >= WORTH_A_WORD_BYTES:
            notes.append(f"{readable_bytes(idle)} of its weights are used by nothing")
        return weights, notes

    def _weight(
        self, meta: Any, member: str, entry: Any, weights: Weights, notes: list[str]
    ) -> None:
        dtype = _dtype(meta)
        if not _is_weight(dtype, meta):
            return
        if entry.get("use_pickle"):
            note = "some weights are pickled, so their zeros are not counted"
            notes += [note] if note not in notes else []
            size = math.prod(_sizes(meta))
            weights.add(dtype, size, self.archive.getinfo(member).file_size, 0)
            return
        size = packed_bits(dtype) // 8
        held = self.archive.getinfo(member).file_size
        read = zeros = 0
        with self.archive.open(member) as content:
            while part := content.read(CHUNK_BYTES):
                read += len(part)
                if read > held:
                    raise DamagedError(f"its {member} unfolds to more than it says")
                zeros += count_zeros(part, dtype)
        weights.add(dtype, read // size, read, zeros)


# ------------------------------------------------------------------------------- graph


def _signature(graph: Any, signature: Any) -> Signature:
    inputs = [
        spec["user_input"]["arg"] for spec in signature["input_specs"] if "user_input" in spec
    ]
    outputs = [
        spec["user_output"]["arg"] for spec in signature["output_specs"] if "user_output" in spec
    ]
    return Signature(
        name="forward",
        inputs=tuple(_spec(graph, arg, f"input {n}") for n, arg in enumerate(inputs)),
        outputs=tuple(_spec(graph, arg, f"output {n}") for n, arg in enumerate(outputs)),
    )


def _spec(graph: Any, arg: Any, otherwise: str) -> TensorSpec:
    kind, value = next(iter(arg.items()))
    if kind != "as_tensor":
        dtype = {"as_int": "int64", "as_float": "float64", "as_bool": "bool"}.get(kind, "none")
        return TensorSpec(name=otherwise, shape=(), dtype=dtype)
    meta = graph["tensor_values"][value["name"]]
    sizes = tuple(size.get("as_int") for size in meta["sizes"])
    return TensorSpec(name=value["name"], shape=sizes, dtype=_dtype(meta))


def _constants(signature: Any) -> set[str]:
    """Names of parameters, buffers and constants among the graph's inputs."""
    found = set()
    for spec in signature["input_specs"]:
        for kind in ("parameter", "buffer", "tensor_constant"):
            if kind in spec:
                found.add(spec[kind]["arg"]["name"])
    return found


def _used(signature: Any, names: set[str]) -> set[str]:
    """The user's names of the parameters, buffers and constants that the graph calls `names`."""
    found = set()
    for spec in signature["input_specs"]:
        for kind in ("parameter", "buffer", "tensor_constant"):
            if kind in spec and spec[kind]["arg"]["name"] in names:
                found.add(spec[kind][f"{kind}_name"])
    return found


def _walk(graph: Any, constants: set[str], found: _Found, depth: int) -> None:
    if depth > DEEPEST_GRAPH:
        raise DamagedError("its graphs hold each other without end")
    values = graph["tensor_values"]
    for node in graph["nodes"]:
        target = aten.namespaced(str(node["target"]))
        inner = [each["arg"]["as_graph"]["graph"] for each in node["inputs"]
                 if "as_graph" in each["arg"]]  # fmt: skip
        for each in inner:  # of torch.cond and its like
            found.branches = True
            _walk(each, set(), found, depth + 1)
        found.used.update(name for given in node["inputs"] for name in _names(given["arg"]))
        outputs = [name for given in node["outputs"] for name in _names(given)]
        is_free = any(aten.bare(target) == free for free in _FREE)
        if inner or is_free or not outputs or not str(node["target"]).startswith("torch.ops."):
            continue
        output = values[outputs[0]]
        operands = _operands(node, values, found)
        count = aten.count(
            target,
            operands,
            _sizes(output, found),
            transposed=_argument(node, "transposed", "as_bool") is True,
            equation=_argument(node, "equation", "as_string") or "",
        )
        if count is None:
            found.uncounted.add(target)
        _note_numbers(target, node, values, constants, found)
        layer = str((node.get("metadata") or {}).get("nn_module_stack") or "")
        found.nodes.append(
            Node(operator=target, macs=count or 0, layer=_layer(layer), dtype=_dtype(output))
        )


def _names(argument: Any) -> list[str]:
    """The tensors that an argument stands for."""
    kind, value = next(iter(argument.items()))
    if kind == "as_tensor":
        return [value["name"]]
    if kind == "as_tensors":
        return [each["name"] for each in value]
    if kind == "as_optional_tensor" and "as_tensor" in value:
        return [value["as_tensor"]["name"]]
    if kind == "as_optional_tensors":
        return [each["as_tensor"]["name"] for each in value if "as_tensor" in each]
    return []


def _operands(node: Any, values: Any, found: _Found) -> list[Any]:
    operands: list[Any] = []
    for given in node["inputs"]:
        shapes = [_sizes(values[name], found) for name in _names(given["arg"])]
        if next(iter(given["arg"])) in ("as_tensors", "as_optional_tensors"):
            operands.append(shapes)
        elif shapes:
            operands.append(shapes[0])
    return operands


def _argument(node: Any, name: str, kind: str) -> Any:
    for given in node["inputs"]:
        if given["name"] == name:
            return given["arg"].get(kind)
    return None


def _note_numbers(target: str, node: Any, values: Any, constants: set[str], found: _Found) -> None:
    numbers, name = found.numbers, aten.bare(target)
    held = [name for given in node["inputs"] for name in _names(given["arg"]) if name in constants]
    if "dequantize" in name:
        first = _names(node["inputs"][0]["arg"])
        if first and first[0] in constants:
            meta = values[first[0]]
            scales = 2 if "channel" in name or "affine" in name else 1
            numbers.weight(_dtype(meta), math.prod(_sizes(meta)), scales)
        return
    if "choose_qparams" in name:
        numbers.dynamic = True
    if "quantize" in name:
        numbers.activation(_dtype(values[_names(node["outputs"][0])[0]]))
        return
    for each in held:
        dtype = _dtype(values[each])
        sizes = _sizes(values[each])
        if "float" in dtype and len(sizes) >= 2:
            numbers.weight(dtype, math.prod(sizes) * packed_bits(dtype) // 8)
    dtype = _dtype(values[_names(node["outputs"][0])[0]]) if _names(node["outputs"][0]) else ""
    if "float" in dtype and not found.quantized and not any(w in target for w in _CONVERSIONS):
        numbers.activation(dtype)


def _layer(stack: str) -> str:
    """``L__self__,,M;L__self__conv,conv,torch.nn.Conv2d`` → ``conv``."""
    parts = stack.rpartition(";")[2].split(",")
    return parts[1][:200] if len(parts) > 1 else ""


def _dtype(meta: Any) -> str:
    return _TYPES.get(meta["dtype"], f"type {meta['dtype']}")


def _sizes(meta: Any, found: _Found | None = None) -> tuple[int, ...]:
    """With the size of the example where one is open; which those are is noted in `found`."""
    sizes = []
    for size in meta["sizes"]:
        if "as_int" in size:
            sizes.append(max(int(size["as_int"]), 0))
            continue
        expression = size["as_expr"]
        hint = (expression.get("hint") or {}).get("as_int")
        sizes.append(1 if hint is None else int(hint))
        symbol = _SYMBOL.match(str(expression["expr_str"]))
        if found is not None and symbol:
            found.open_sizes[symbol[1]] = sizes[-1]
    return tuple(sizes)


def _is_weight(dtype: str, meta: Any) -> bool:
    """Floating-point, or 8 bits of two dimensions and more; the others count and index."""
    return "float" in dtype or (dtype in ("int8", "uint8") and len(meta["sizes"]) > 1)
