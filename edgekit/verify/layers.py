"""Where an artifact leaves its source: inner tensors compared one by one. Runs in a LiteRT worker.

A quantized artifact is compared with the float32 artifact, tensor by tensor of the same name; the
float32 artifact with the source model's layers. What comes after a final softmax is left out: the
values that enter it are there already, and 8 bits of many small probabilities are all zeros.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import DataSet
from edgekit.verify.compare import Sums, centred_logits
from edgekit.verify.folders import artifact_file, load_arrays, result, signature
from edgekit.verify.reference import LAYERS_FOLDER
from edgekit.verify.session_litert import LiteRTSession

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

SAMPLES = 4  # spread over the set; enough to tell a broken layer, and a network's tensors are big
_NUMBER = re.compile(r"_\d+$")


def run(
    out: Path, data: dict[str, Any], artifact: str, reference: str, base: str = ""
) -> dict[str, Any]:
    """``layers`` in the order of execution: tensor, layer, and SNR in dB (None: equal).

    Tensors without a counterpart are not in the list. ``against`` says in words what the
    counterparts are.

    Raises:
        ConversionError: LiteRT does not run the artifact or the float32 artifact.
    """
    samples = DataSet.from_json(data)
    known = result(reference)["layers"]
    session = LiteRTSession(artifact_file(artifact), keep_all=True)
    if base:
        sums = _against_artifact(
            session, LiteRTSession(artifact_file(base), keep_all=True), samples, reference
        )
    else:
        sums = _against_source(session, samples, reference, known)
    return {
        "against": "the float32 artifact" if base else "the source model",
        "layers": [
            {"tensor": name, "layer": layer_of(name, known), "snr_db": each.snr_db}
            for name, each in sums.items()
        ],
    }


def _against_artifact(
    session: LiteRTSession, other: LiteRTSession, samples: DataSet, reference: str
) -> dict[str, Sums]:
    source = signature(reference)
    its = {name: index for index, name in other.graph.executed()}
    pairs = [(name, index, its[name]) for index, name in _inner(session) if name in its]
    sums: dict[str, Sums] = {}
    count = min(SAMPLES, samples.count)
    for row in (index * samples.count // count for index in range(count)):
        values = samples.rows(source, row, row + 1)
        for each in (session, other):
            inputs, _ = each.matched(source)
            each.invoke({port.index: port.store(values[name]) for name, port in inputs})
        for name, mine, theirs in pairs:
            _add(sums, name, _real(other, theirs), _real(session, mine))
    return sums


def _against_source(
    session: LiteRTSession, samples: DataSet, reference: str, known: Sequence[str]
) -> dict[str, Sums]:
    source = signature(reference)
    inputs, outputs = session.matched(source)
    values = samples.rows(source, 0, 1)
    session.invoke({port.index: port.store(values[name]) for name, port in inputs})
    layers = dict(zip(known, load_arrays(Path(reference) / LAYERS_FOLDER, len(known)), strict=True))
    answers = load_arrays(Path(reference), len(source.outputs))
    named = {port.index: name for name, port in outputs}
    softmaxes = {
        softmax.tensor: (answer[:1], softmax.beta)
        for (_, port), answer in zip(outputs, answers, strict=True)
        if (softmax := session.graph.final_softmax(port.index)) is not None
    }
    by_output = {name: answer[:1] for (name, _), answer in zip(outputs, answers, strict=True)}
    found: dict[str, list[tuple[str, Sums]]] = {}
    for index, tensor in _inner(session):
        given = _real(session, index)
        tried: dict[str, Sums] = {}
        for layer in layers_of(tensor, known):
            _add(tried, layer, layers[layer], given)
        if index in named:
            _add(tried, "", by_output[named[index]], given)
        if index in softmaxes and given is not None:
            answer, beta = softmaxes[index]
            shaped = given.reshape(answer.shape)
            _add(tried, "", *centred_logits(answer.astype("f8"), shaped.astype("f8") * beta))
        if tried:
            best = min(tried.values(), key=_noise)
            found.setdefault(_group(tensor, named.get(index), known), []).append((tensor, best))
    # A layer can be several operators: one of their results is the layer's, the others are on the
    # way to it. So the best match counts.
    return dict(min(each, key=lambda pair: _noise(pair[1])) for each in found.values())


def _group(tensor: str, output: str | None, known: Sequence[str]) -> str:
    """The layer that a tensor belongs to; an output is often called like its layer."""
    layers = layers_of(tensor, known)
    return layers[0] if layers else output or tensor


def _noise(sums: Sums) -> float:
    return -math.inf if sums.snr_db is None else -sums.snr_db


def _inner(session: LiteRTSession) -> list[tuple[int, str]]:
    """Operators' outputs in the order of execution, without a final softmax and what follows."""
    after = {index for port in session.outputs for index in session.graph.after_softmax(port.index)}
    return [(index, name) for index, name in session.graph.executed() if index not in after]


def _real(session: LiteRTSession, index: int) -> Array | None:
    stored = session.read(index)
    return None if stored is None else session.port(index).real(stored)


def _add(sums: dict[str, Sums], name: str, expected: Array | None, given: Array | None) -> None:
    """Add to the sums of `name`, if both are real numbers of the same shape."""
    import numpy as np

    if expected is None or given is None or expected.dtype.kind != "f":
        return
    if np.squeeze(expected).shape != np.squeeze(given).shape:
        return
    reals = [np.nan_to_num(a.astype(np.float64)).ravel() for a in (expected, given)]
    sums.setdefault(name, Sums()).add(reals[0], reals[1])


def layers_of(tensor: str, known: Sequence[str]) -> list[str]:
    """The layers of `known` that a converter's tensor name speaks of, the last executed first.

    ``functional_1/block_1_expand/Relu6;functional_1/Conv1_1/convolution`` names ``block_1_expand``
    and ``Conv1``: parts between slashes are scopes, and a number at the end may be TensorFlow's,
    put there because the name was taken. Layers of inner models are known as ``outer/inner``.
    """
    by_last: Mapping[str, str] = {layer.rpartition("/")[2]: layer for layer in reversed(known)}
    found: list[str] = []
    for place in tensor.split(";"):
        if place in known:  # the operations of a SavedModel
            found.append(place)
            continue
        for part in reversed(place.split("/")):
            layer = by_last.get(part) or by_last.get(_NUMBER.sub("", part))
            if layer is not None:
                found.append(layer)
                break
    return list(dict.fromkeys(found))


def layer_of(tensor: str, known: Sequence[str]) -> str:
    """The user's name for where a tensor comes from, as far as it can be told."""
    layers = layers_of(tensor, known)
    if layers:
        return layers[0]
    parts = tensor.split(";")[0].removesuffix(":0").split("/")
    return parts[-2] if len(parts) > 1 else parts[0]
