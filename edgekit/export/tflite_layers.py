"""The user's names of a ``.tflite`` file's operators, as far as the converters kept them.

Converters write where an operator comes from into the names of its tensors, each in its own way:

    TensorFlow      net_1/relu_1/Relu;net_1/conv_1/convolution       scopes are called like layers
    litert-torch    my.Net/torch.nn…Sequential_stem/torch.nn…Conv2d_0;2      classes and attributes

Several places, joined by ``;``, were fused. TensorFlow puts a number behind a scope's name that was
taken, so that ``conv_1`` may be the layer ``conv`` or the layer ``conv_1``: the names of the
model's layers, which the step that made the file keeps as ``layers``, tell which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.layers import Labelled
from edgekit.export import flatbuffer
from edgekit.work.cache import RESULT_FILE

_NUMBER = re.compile(r"_\d+$")
# What the part of a place is called where the weights are.
_WITH_WEIGHTS = re.compile(
    r"conv|depthwise|matmul|linear|dense|einsum|embedding|gather|lstm|gru", re.I
)
_TORCH = re.compile(r"^(?:[A-Za-z_]\w*\.)+[A-Za-z]\w*$")


def labelled(tree: Any, known: Sequence[str] = ()) -> list[Labelled]:
    """The operators of the main graph, in its order.

    Args:
        tree: the file's object tree.
        known: the names of the model's layers, inner models' as ``outer/inner``; empty if unknown.
    """
    graph = tree.subgraphs[0]
    outputs = {
        int(entry.tensorIndex): _text(entry.name)
        for definition in (tree.signatureDefs or [])[:1]
        for entry in definition.outputs
    }
    raw = []
    for operator, about in zip(graph.operators, flatbuffer.operators_of(tree, graph), strict=True):
        ins = [graph.tensors[index] for index in operator.inputs if index >= 0]
        constants = [_text(t.name) for t in ins if flatbuffer.is_constant(tree, t)]
        made = [_text(graph.tensors[index].name) for index in operator.outputs if index >= 0]
        ends = [outputs[int(index)] for index in operator.outputs if int(index) in outputs]
        raw.append((about.name, [*made, *constants], ends, made))
    layers = _Layers(known, [name for _, names, _, _ in raw for name in names])
    found = []
    for kind, names, ends, made in raw:
        own = layers.of(names)
        # Where a name was lost to the output's own: that is often the layer's, too.
        own += [end for end in ends if not known or end in layers.paths_of(end)]
        whole = [name for name in names[:1] if not name.startswith("Identity")]
        key = "".join(f"{name};" for name in made)
        found.append(Labelled(kind, tuple(dict.fromkeys([*own, *whole, *ends])), key))
    return found


def kept_layers(folder: Path) -> list[str]:
    """The names of the model's layers, as the step with that folder kept them."""
    if not (folder / RESULT_FILE).exists():  # a file that no step has made
        return []
    names: list[str] = kept_result(folder).get("layers", [])
    return names


def kept_result(folder: Path) -> dict[str, Any]:
    """What the step with that folder returned."""
    kept: dict[str, Any] = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    return kept


def _places(name: str) -> list[list[str]]:
    """The parts of each place that a tensor's name speaks of: the one with the weights first."""
    places = [place.strip("/").split("/") for place in name.split(";")]
    places = [parts for parts in places if parts != [""] and not parts[0].isdecimal()]
    return sorted(places, key=lambda parts: not _WITH_WEIGHTS.search(parts[-1]))


class _Layers:
    """Which layer a place in a tensor's name is.

    Args:
        known: names of the model's layers.
        tensors: names of all tensors that may speak of layers.
    """

    def __init__(self, known: Sequence[str], tensors: Iterable[str]) -> None:
        self._paths: dict[str, list[str]] = {}
        for path in known:
            self._paths.setdefault(path.rpartition("/")[2], []).append(path)
        # Either TensorFlow has numbered every scope, or it has numbered none.
        scopes = {part for name in tensors for parts in _places(name) for part in parts[:-1]}
        mine = {scope for scope in scopes if self._is_known(scope)}
        self._numbered = bool(mine) and all(_bare(scope) in self._paths for scope in mine)

    def _is_known(self, scope: str) -> bool:
        return scope in self._paths or _bare(scope) in self._paths

    def paths_of(self, scope: str) -> list[str]:
        """The layers that a scope may be; empty if it is none."""
        names = [_bare(scope), scope] if self._numbered else [scope, _bare(scope)]
        return next((self._paths[name] for name in names if name in self._paths), [])

    def of(self, tensors: Iterable[str]) -> list[str]:
        """What the layers behind an operator's tensors are called, the one with weights first."""
        places = [parts for name in tensors for parts in _places(name)]
        places.sort(key=lambda parts: not _WITH_WEIGHTS.search(parts[-1]))
        found: list[str] = []
        for parts in places:
            if _TORCH.match(parts[0]):
                # What was fused lies side by side; litert-torch names inputs of a fusion as well.
                beside = not found or _around(found[0]) == _around(_module(parts))
                found += [_module(parts)] if len(parts) > 1 and beside else []
            elif self._paths:
                found += self._named(parts)
            elif len(parts) > 1:
                found += ["/".join(parts[:-1]), parts[-2]]
        return list(dict.fromkeys(found))

    def _named(self, parts: Sequence[str]) -> list[str]:
        for at in range(len(parts) - 1, -1, -1):
            paths = self.paths_of(parts[at])
            if len(paths) > 1:  # the same name in several inner models: what is around it tells
                around = {_bare(part) for part in parts[:at]} | set(parts[:at])
                inside = [path for path in paths if set(path.split("/")[:-1]) <= around]
                paths = sorted(inside, key=len)[-1:] or paths[:1]
            if paths:
                return [paths[0], paths[0].rpartition("/")[2]]
        return []


def _module(parts: Sequence[str]) -> str:
    """``my.Net``, ``torch.nn…Sequential_stem``, ``torch.nn…Conv2d_0`` → ``stem.0``."""
    return ".".join(part.rpartition(".")[2].partition("_")[2] for part in parts[1:])


def _around(module: str) -> str:
    return module.rpartition(".")[0]


def _bare(scope: str) -> str:
    return _NUMBER.sub("", scope)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
