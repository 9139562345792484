"""An artifact's answers against its source model's, over all samples. Runs in a worker.

Memory stays flat: samples and reference answers are memory-mapped, and only sums are kept, and of
each sample what the metric needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError
from edgekit.verify.folders import chunks, cut, load_arrays, said, signature
from edgekit.verify.graph import Softmax
from edgekit.verify.metrics import TOP, decided, ranks, threshold_for
from edgekit.verify.port import Port
from edgekit.verify.score import ROWS_FILE, Measure
from edgekit.verify.sessions import Session, open_artifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Reals = NDArray[np.float64]

SMALLER = "give a narrower range or one size with --dim, or take another format"
SNR_FLOOR_DB = -200.0  # where there is no signal at all, only error
# Of log p for a float32 p: half a unit in the last place (2⁻²⁴ of p), from the exponential, from
# the sum and from the division, each.
RESOLUTION = 2.0**-22
# Of an answer of a deep network in float32, as a share of its largest value: what differs by less
# from sample to sample is no answer.
ROUNDING = 2.0**-20


def run(
    out: Path,
    data: dict[str, Any],
    file_format: str,
    artifact: str,
    reference: str,
    sizes: dict[str, int] | None = None,
    metric: str = "",
) -> dict[str, Any]:
    """The figures that `edgekit.verify.judge` decides by; ``rows.npz`` of the metric, if any.

    Args:
        sizes: of open dimensions, by name; the largest where there are none.
        metric: what the answers and the data's labels are measured by; nothing if empty.

    Raises:
        ConversionError: the runtime does not run it, or its inputs and outputs are others.
    """
    try:
        return _figures(out, data, file_format, artifact, reference, sizes, metric)
    except ConversionError as exc:
        if not sizes:
            raise
        raise ConversionError(f"{said(sizes).strip()}: {exc.message}", hint=SMALLER) from exc


def _figures(
    out: Path,
    data: dict[str, Any],
    file_format: str,
    artifact: str,
    reference: str,
    sizes: dict[str, int] | None,
    metric: str,
) -> dict[str, Any]:
    samples = DataSet.from_json(data)
    source = signature(reference)
    expected = load_arrays(Path(reference), len(source.outputs))
    labels = samples.labels() if samples.label_range is not None else None
    scored = source.score_output()
    session = open_artifact(artifact, file_format)
    _, outputs = session.matched(source)
    softmaxes = [session.final_softmax(port.index) for _, port in outputs]
    if any(softmaxes):
        session = session.watching([s.tensor for s in softmaxes if s])
    inputs, outputs = session.matched(source)
    measure = Measure.of(metric, source, samples)
    watchers = [
        Watcher(
            name=name,
            port=port,
            softmax=softmax,
            logits=session.port(softmax.tensor) if softmax else None,
            vector=len(expected[index].shape) == 2,
            threshold=0.5 if session.ends_in_sigmoid(port.index) else 0.0,
            labelled=labels is not None and scored is not None and scored.name == name,
        )
        for index, ((name, port), softmax) in enumerate(zip(outputs, softmaxes, strict=True))
    ]
    for watcher, array in zip(watchers, expected, strict=True):
        if watcher.labelled and array.shape[1] == 1:  # few formats tell of a sigmoid
            watcher.threshold = max(watcher.threshold, threshold_for(array))
        if measure is not None and measure.metric.single and measure.reads(watcher.name):
            measure.metric.threshold = max(watcher.threshold, threshold_for(array))
    for start, stop in chunks(samples, [*source.inputs, *source.outputs, *source.outputs]):
        rows = cut(samples.rows(source, start, stop), source, sizes)
        for row in range(stop - start):
            session.invoke({port.index: port.store(rows[name][row][None]) for name, port in inputs})
            for watcher in watchers:
                watcher.take(session)
        known = None if labels is None else labels[start:stop]
        answers = {
            watcher.name: (array[start:stop], watcher.settle(array[start:stop], known))
            for watcher, array in zip(watchers, expected, strict=True)
        }
        # An artifact that gives NaN is rejected whatever it would score.
        if measure is not None and any(watcher.not_finite for watcher in watchers):
            measure = None
        if measure is not None:
            measure.take(answers, start, stop)
    if measure is not None:
        measure.save(out / ROWS_FILE)
    return {
        "samples": samples.count,
        "outputs": [
            {**watcher.figures(), "measured": measure is not None and measure.reads(watcher.name)}
            for watcher in watchers
        ],
        "score": None if measure is None else measure.score().to_json(),
        "constant": None if measure is None else measure.constant(),
        "classes": _classes(watchers),
        "commonest": None if labels is None else _share_of_commonest(labels),
    }


@dataclass
class Sums:
    """Running sums over reference `r` and artifact `a`: of r², a², r·a, (r − a)²; max |r − a|."""

    reference: float = 0.0
    artifact: float = 0.0
    product: float = 0.0
    error: float = 0.0
    worst: float = 0.0

    def add(self, reference: Reals, artifact: Reals) -> None:
        import numpy as np

        error = reference - artifact
        self.reference += float(np.square(reference).sum())
        self.artifact += float(np.square(artifact).sum())
        self.product += float((reference * artifact).sum())
        self.error += float(np.square(error).sum())
        self.worst = max(self.worst, float(np.abs(error).max(initial=0.0)))

    @property
    def snr_db(self) -> float | None:
        """10·log10(Σ r² / Σ (r − a)²) in dB; None if there is no error."""
        if self.error == 0:
            return None
        if self.reference == 0:
            return SNR_FLOOR_DB
        return max(SNR_FLOOR_DB, 10 * (math.log10(self.reference) - math.log10(self.error)))

    @property
    def cosine(self) -> float:
        """Σ r·a / √(Σ r² · Σ a²); 1 if both are zero, 0 if one is."""
        if self.reference == 0 or self.artifact == 0:
            return 1.0 if self.reference == self.artifact else 0.0
        # Rounding may carry equal vectors a hair above 1.
        return max(
            -1.0, min(1.0, self.product / math.sqrt(self.reference) / math.sqrt(self.artifact))
        )


@dataclass
class Variation:
    """What of a source's answers differs between samples, and how much of that the error drowns.

    A large offset (a price, a temperature in kelvin) makes any ratio to the whole signal look fine
    while 8 bits no longer resolve what the model has to say; so can large numbers beside small ones
    in one output (boxes beside scores).
    """

    signal: Reals | None = None  # Σ (r − shift)² of each element of a sample
    error: Reals | None = None  # Σ (r − a)²
    sums: Reals | None = None  # Σ (r − shift)
    shift: Reals | None = None  # the first sample: keeps the sums small
    count: int = 0

    def add(self, reference: Reals, artifact: Reals) -> None:
        """Take in (samples, …) of both."""
        import numpy as np

        if not len(reference):
            return
        reference, artifact = (values.reshape(len(values), -1) for values in (reference, artifact))
        if self.shift is None:
            self.shift = reference[0].copy()
            self.signal, self.error, self.sums = (np.zeros_like(self.shift) for _ in range(3))
        moved = reference - self.shift
        self.signal += np.square(moved).sum(axis=0)
        self.error += np.square(reference - artifact).sum(axis=0)
        self.sums += moved.sum(axis=0)
        self.count += len(reference)

    @property
    def constant(self) -> bool:
        """Whether the source says the same to every sample, as far as float32 tells."""
        return self.count > 1 and not self._varying().any()

    def _varying(self) -> Reals:
        """Σ (r − mean)² of each element of a sample; 0 where it is no more than rounding."""
        import numpy as np

        if self.signal is None or self.sums is None or self.shift is None or self.count < 2:
            return np.zeros(0)
        found = np.maximum(0.0, self.signal - np.square(self.sums) / self.count)
        rounding = self.count * (ROUNDING * float(np.abs(self.shift).max(initial=0.0))) ** 2
        varying: Reals = np.where(found > rounding, found, 0.0)
        return varying

    def figures(self, columns: int) -> dict[str, Any] | None:
        """The ratio of what varies to the error in dB, and which of the `columns` (of the last
        axis) the error drowns. None if the samples do not differ, or there is no error.
        """
        import numpy as np

        varying = self._varying()
        if self.error is None or not varying.any() or not self.error.any():
            return None
        ratio = math.log10(float(varying.sum())) - math.log10(float(self.error.sum()))
        each, noise = (v.reshape(-1, columns).sum(axis=0) for v in (varying, self.error))
        lost = np.flatnonzero((each > 0) & (noise >= each))
        return {"snr_db": 10 * ratio, "lost": lost.tolist(), "columns": columns}


@dataclass
class Watcher:
    """One output, watched over all samples."""

    name: str
    port: Port
    softmax: Softmax | None
    logits: Port | None
    vector: bool
    threshold: float
    labelled: bool
    sums: Sums = field(default_factory=Sums)
    logit_sums: Sums = field(default_factory=Sums)
    variation: Variation = field(default_factory=Variation)
    columns: int = 1
    count: int = 0
    agreed: int = 0
    not_finite: int = 0
    blank: int = 0
    values: int = 0  # of an output of whole numbers (class ids, counts): how many,
    equal: int = 0  # and how many of them are the source's
    top1: list[int] = field(default_factory=lambda: [0, 0])  # of the source, of the artifact
    top5: list[int] = field(default_factory=lambda: [0, 0])
    scores: int = 0
    _answers: list[Array] = field(default_factory=list)
    _logits: list[Array] = field(default_factory=list)

    def take(self, session: Session) -> None:
        """Read this output after a run."""
        self._answers.append(self._real(session, self.port))
        if self.logits is not None:
            self._logits.append(self._real(session, self.logits))

    def _real(self, session: Session, port: Port) -> Array:
        stored = session.read(port.index)
        if stored is None:
            raise ConversionError(f"the runtime gives no value for {port.name!r}")
        return port.real(stored)

    def settle(self, reference: Array, labels: Array | None) -> Reals:
        """Compare what was taken since the last time with the source's answers (samples, …); what
        was taken, in their shape.
        """
        import numpy as np

        expected = reference.astype(np.float64)
        given = np.stack(self._answers).astype(np.float64)
        if given.size != expected.size:
            raise ConversionError(
                f"output {self.name!r} is {given.shape[1:]} where the source gives "
                f"{(1, *expected.shape[1:])}"
            )
        given = given.reshape(expected.shape)
        finite = np.isfinite(given).reshape(len(given), -1).all(axis=1)
        self.not_finite += int((~finite).sum())
        self.count += len(given)
        if reference.dtype.kind in "iub":
            self.values += expected.size
            self.equal += int((expected == given).sum())
        self.sums.add(expected[finite], given[finite])
        self.columns = expected.shape[-1] if expected.ndim > 1 else 1
        self.variation.add(expected[finite], given[finite])
        if self.softmax is not None and self._logits:
            logits = np.stack(self._logits).astype(np.float64).reshape(expected.shape)
            self.logit_sums.add(*centred_logits(expected, logits * self.softmax.beta))
        if self.vector:
            self._settle_scores(expected, given, labels)
        self._answers.clear()
        self._logits.clear()
        return given

    def _settle_scores(self, expected: Reals, given: Reals, labels: Array | None) -> None:
        import numpy as np

        self.scores = expected.shape[1]
        answers = [decided(scores, self.threshold) for scores in (expected, given)]
        self.agreed += int((answers[0] == answers[1]).sum())
        if self.scores > 1:
            told = [np.ptp(scores, axis=1) > 0 for scores in (expected, given)]
            self.blank += int((told[0] & ~told[1]).sum())
        if labels is None or not self.labelled:
            return
        for side, scores in enumerate((expected, given)):
            self.top1[side] += int((answers[side] == labels).sum())
            if self.scores > TOP:
                sound = np.nan_to_num(scores, nan=-np.inf)
                self.top5[side] += int((ranks(sound, labels) < TOP).sum())

    def _tells_classes(self) -> bool:
        """Whether "the same class" means something; one number may be anything but a score."""
        return self.vector and (self.scores > 1 or self.threshold > 0 or self.labelled)

    def figures(self) -> dict[str, Any]:
        """All that was found, as JSON."""
        accuracy = None
        if self.labelled:
            accuracy = {
                side: {
                    "top1": self.top1[index] / self.count,
                    "top5": self.top5[index] / self.count if self.scores > TOP else None,
                }
                for index, side in enumerate(("source", "artifact"))
            }
        before = self.softmax is not None and self.logit_sums.reference > 0
        return {
            "not_finite": self.not_finite,
            "blank": self.blank,
            "equal": self.equal / self.values if self.values else None,
            "flat": self.logit_sums.reference < self.count * RESOLUTION**2
            if before
            else self.variation.constant,
            "accuracy": accuracy,
            "variation": None if before else self.variation.figures(self.columns),
            "parity": {
                "name": self.name,
                "max_abs_error": self.sums.worst,
                "cosine": self.sums.cosine,
                "snr_db": (self.logit_sums if before else self.sums).snr_db,
                "top1_agreement": self.agreed / self.count if self._tells_classes() else None,
                "before_softmax": before,
            },
        }


def centred_logits(probabilities: Reals, logits: Reals) -> tuple[Reals, Reals]:
    """The source's logits from its softmax output, and the artifact's, made comparable.

    A softmax p = exp(x − log Σ exp x) determines x but for a constant a row: x = log p + c. So the
    mean of each row (along the last axis) is taken off both. Of a probability too small for a
    normal float32 only that is known: both sides are cut off there, so that it may be as small as
    it likes in the artifact, but not large. A difference below `RESOLUTION` is none: float32
    probabilities do not resolve it.
    """
    import numpy as np

    least = float(np.finfo(np.float32).tiny)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    expected, given = np.log(np.maximum(probabilities, least)), np.maximum(shifted, np.log(least))
    expected = expected - expected.mean(axis=-1, keepdims=True)
    given = given - given.mean(axis=-1, keepdims=True)
    return expected, np.where(np.abs(expected - given) < RESOLUTION, expected, given)


def _share_of_commonest(labels: Array) -> float:
    """How right one is who always says the same."""
    import numpy as np

    return int(np.unique(labels, return_counts=True)[1].max()) / len(labels)


def _classes(watchers: list[Watcher]) -> int | None:
    return next((max(2, w.scores) for w in watchers if w.labelled), None)
