"""What each layer costs when a technique is applied to it alone, nothing trained. Runs in a worker
process of the model's framework.

The net is opened once. Each strength is applied to a view of it that shows one layer, the samples
are run, and its numbers are put back; only a technique that changes the net's form has it opened
anew. Outputs are compared with those of the net as it was. Of an output that sums to one, a final
softmax, the logarithm is compared: that is what entered it but for a constant.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from edgekit.compress import technique as made_of
from edgekit.compress.net import Net, Weight, open_net, taken
from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError, EdgekitError, UsageError
from edgekit.core.files import ZIP_LEVEL
from edgekit.core.model import Model
from edgekit.core.sensitivity import LayerTrials, TechniqueSensitivity, Trial
from edgekit.core.tensor import Signature
from edgekit.work.progress import tell

ALL = "all layers"


def measure(
    out: Path,
    *,
    name: str,
    strengths: list[tuple[str, dict[str, Any]]],
    opener: str,
    origin: dict[str, Any],
    model: dict[str, Any],
    samples: dict[str, Any],
    most: int,
) -> dict[str, Any]:
    """See `edgekit.compress.sensitivity_step`.

    Raises:
        ConversionError: the technique is for none of the layers.
    """
    data = DataSet.from_json(samples)
    tried = [(label, made_of(PassSpec.from_json(spec), label)) for label, spec in strengths]
    bench = _Bench(
        lambda: open_net(opener, Model.from_json(origin), Model.from_json(model)), data, most
    )
    layers: dict[str, list[Weight]] = {}
    for weight in bench.net.weights().values():
        layers.setdefault(weight.layer, []).append(weight)
    found, left_out, because = [], [], ""
    for index, (layer, kernels) in enumerate(layers.items()):
        tell(f"layer {index + 1} of {len(layers)}, {layer}")
        try:
            found.append(bench.tried(layer, kernels, tried))
        except UsageError as exc:
            left_out.append(layer)
            because = exc.message
    technique = PassSpec.from_json(strengths[0][1]).name
    if not found:
        raise ConversionError(f"{technique} is for none of this model's layers: {because}")
    tell("all layers at once")
    every = [weight for each in found for weight in layers[each.layer]]
    result = TechniqueSensitivity(
        model=name,
        technique=technique,
        strengths=tuple(label for label, _ in tried),
        samples=bench.count,
        accuracy=bench.accuracy(bench.wanted),
        zipped_bytes=bench.size.zipped,
        whole=bench.tried(ALL, every, tried),
        layers=tuple(sorted(found, key=lambda each: each.mean_db)),
        left_out=tuple(left_out),
        because=because,
        measured=(
            f"{technique} of each layer alone, nothing trained; outputs before a final softmax "
            f"against the source model's over {bench.count} samples; bytes are of all weights in "
            "float32, zipped"
        ),
    )
    return {"sensitivity": result.to_json()}


class OneLayer:
    """A net of which only some kernels are shown: a technique changes these alone.

    Everything else is the net's own.
    """

    def __init__(self, net: Net, names: Sequence[str]) -> None:
        self._net, self._names = net, frozenset(names)

    def weights(self) -> dict[str, Weight]:
        """See `Net.weights`."""
        return {name: w for name, w in self._net.weights().items() if name in self._names}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)


@dataclass(frozen=True)
class _Size:
    """Of numbers: how many are not zero, and their bytes when each array is zipped."""

    nonzeros: int
    zipped: int


@dataclass
class _Bench:
    """A net that is changed and put back again, and the samples that it is run on."""

    opened: Callable[[], Net]
    data: DataSet
    most: int
    known: dict[bytes, _Size] = field(default_factory=dict)  # by an array's digest

    def __post_init__(self) -> None:
        import numpy as np

        self._open()
        self.count = min(self.most, self.data.count)
        picked = np.arange(self.count) * self.data.count // self.count
        self.inputs = taken(self.data, self.net.live, picked)
        labels = self.data.labels()
        self.labels = None if labels is None else labels[picked]
        self.state = self.net.state()
        self.size = self._size(self.state)
        self.wanted = self.predict(self.inputs)
        self.softmaxes = [_sums_to_one(each) for each in self.wanted]

    def _open(self) -> None:
        self.net = self.opened()
        self.predict = self.net.predictor()

    def tried(
        self, layer: str, kernels: Sequence[Weight], strengths: Sequence[tuple[str, Technique]]
    ) -> LayerTrials:
        """The technique at each strength.

        Raises:
            UsageError: it is not for these kernels.
        """
        names = [weight.name for weight in kernels]
        numbers = sum(math.prod(weight.shape) for weight in kernels)
        return LayerTrials(
            layer=layer,
            kernels=tuple(names),
            weights=numbers,
            trials=tuple(self._trial(label, each, names, numbers) for label, each in strengths),
        )

    def _trial(self, label: str, technique: Technique, names: Sequence[str], numbers: int) -> Trial:
        net = self.net
        module, edits = net.live.module, len(net.live.edits)
        try:
            technique.apply(cast(Net, OneLayer(net, names)), None)
            reformed = net.live.module is not module or len(net.live.edits) != edits
            given = (net.predictor() if reformed else self.predict)(self.inputs)
            _check_finite(given, label)
            size = self._size(net.state())
        except UsageError:
            raise
        except EdgekitError as exc:
            return Trial(strength=label, failed=exc.message)
        finally:
            if net.live.module is not module or len(net.live.edits) != edits:
                self._open()
            else:
                net.restore(self.state)
        return Trial(
            strength=label,
            snr_db=self._snr(given),
            accuracy=self.accuracy(given),
            removed=(self.size.nonzeros - size.nonzeros) / numbers,
            saved_bytes=self.size.zipped - size.zipped,
        )

    def _size(self, state: Mapping[str, Any]) -> _Size:
        """Arrays that were seen before are not zipped again."""
        import numpy as np

        found = []
        for array in state.values():
            content = np.ascontiguousarray(array).tobytes()
            key = hashlib.sha256(content).digest()
            if key not in self.known:
                zipped = len(zlib.compress(content, ZIP_LEVEL))
                self.known[key] = _Size(int(np.count_nonzero(array)), zipped)
            found.append(self.known[key])
        return _Size(sum(each.nonzeros for each in found), sum(each.zipped for each in found))

    def _snr(self, given: Sequence[Any]) -> float | None:
        """Of the worst output, in dB; None where all are equal."""
        import numpy as np

        found = []
        reference: Any
        for reference, value, softmax in zip(self.wanted, given, self.softmaxes, strict=True):
            if reference.dtype.kind != "f":
                continue
            if softmax:
                reference, value = _logits(reference), _logits(value)
            noise = float(np.square(reference - value, dtype=np.float64).sum())
            signal = float(np.square(reference, dtype=np.float64).sum())
            if noise > 0:
                found.append(float(10 * np.log10(max(signal, 1e-30) / noise)))
        return min(found, default=None)

    def accuracy(self, answers: Sequence[Any]) -> float | None:
        """Of the scores of classes; None without labels or such an output."""
        index = _scored(self.net.live.signature)
        if self.labels is None or index is None:
            return None
        scores = answers[index]
        if scores.shape[1] == 1:
            wanted: Any = self.wanted[index]
            inside = bool((wanted >= 0).all() and (wanted <= 1).all())
            best = scores[:, 0] > (0.5 if inside else 0)
        else:
            best = scores.argmax(axis=1)
        return float((best == self.labels).mean())


def _check_finite(answers: Sequence[Any], label: str) -> None:
    """Raise ConversionError where one of them is no number."""
    import numpy as np

    if not all(np.isfinite(each).all() for each in answers if each.dtype.kind == "f"):
        raise ConversionError(f"at {label} the outputs are not finite")


def _scored(signature: Signature) -> int | None:
    output = signature.score_output()
    return None if output is None else signature.outputs.index(output)


def _sums_to_one(values: Any) -> bool:
    """Whether each row along the last axis is a distribution over several classes."""
    if values.dtype.kind != "f" or values.ndim < 2 or values.shape[-1] < 2:
        return False
    return bool((values >= 0).all() and (abs(values.sum(axis=-1) - 1) < 1e-3).all())


def _logits(probabilities: Any) -> Any:
    """What entered a softmax, with a mean of zero; see `edgekit.verify.compare.centred_logits`."""
    import numpy as np

    least = float(np.finfo(np.float32).tiny)
    found = np.log(np.maximum(probabilities, least))
    return found - found.mean(axis=-1, keepdims=True)
