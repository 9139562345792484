"""How well answers fit their targets: metrics, and the paired interval of what a change costs.

A metric makes a row of numbers of each sample and its targets, and a value of weighted rows. What
is resampled is the rows, of the source and of what is compared with it together: a sample that is
drawn counts for both. So 2000 resamples cost no run of a model, and memory is that of the rows.

    name     value                                            targets of a sample
    top1     share whose label is the best answer             class number or one-hot
    top5     share whose label is among the five best         class number or one-hot
    f1       F1 of each class, averaged over classes          class number or one-hot
    miou     intersection over union, averaged over classes   (H, W) class numbers
    map      average precision, averaged over classes         (classes,) of 0 and 1
    box_map  the same of a detector's boxes: see `boxes`      (boxes, 5): corners and class
    mse      mean squared error                               what the output gives
    rmse     its square root                                  what the output gives
    wer      token errors in proportion to tokens             (tokens,) token numbers, -1 behind
    module:function   mean of its scores, one a sample        anything

Of shares a drop is told in percentage points; of ``mse``, ``rmse`` and functions of one's own in
percent of the source's value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.errors import DataError, EdgekitError, UnknownNameError
from edgekit.core.noun import json_digest
from edgekit.core.registry import code_beside, find_module, refuse_file, resolve_own
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.core.verdict import Score
from edgekit.verify.boxes import MeanBoxAP
from edgekit.verify.metric import (
    NO_TARGETS,
    OWN,
    Metric,
    sample_shape,
    sizes,
    whole,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Reals = NDArray[np.float64]

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95
CHUNK = 1 << 17  # weights at a time: few enough for the processor's cache
TOP = 5
IGNORED = 255  # in label maps, where the model has no such class


class _Mean(Metric):
    """A metric that is the mean of one number a sample."""

    def values(self, rows: Reals, weights: Reals) -> Reals:
        import numpy as np

        # Not `@`: BLAS shares so little work among threads that they wait for each other.
        found: Reals = np.einsum("ds,s->d", weights, rows[:, 0]) / weights.sum(axis=1)
        return found


class Top1(_Mean):
    """Share of samples whose label has the largest score, the first of equal ones.

    Of a single score: whether it is above the threshold is whether the label is 1.
    """

    title = "top-1"
    targets = "classes"

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (scores,) = answers.values()
        right: Reals = (decided(scores, self.threshold) == targets).astype(np.float64)[:, None]
        return right


class Top5(_Mean):
    """Share of samples whose label is among the five largest scores.

    Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, 2015, section 4.
    """

    title = "top-5"
    targets = "classes"

    def _classes(self, classes: int) -> None:
        if classes <= TOP:
            raise DataError(
                f"the metric top5 says nothing of {classes} classes: all are among the five best",
                hint="take top1 or f1",
            )

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (scores,) = answers.values()
        right: Reals = (ranks(scores, targets) < TOP).astype(np.float64)[:, None]
        return right


class MacroF1(Metric):
    """F1 = 2·TP / (2·TP + FP + FN) of each class that is a label or an answer, averaged.

    As scikit-learn's ``f1_score(average="macro")``; Opitz and Burst, Macro F1 and Macro F1, 2019,
    where it is the averaged F1.
    """

    title = "macro F1"
    targets = "classes"

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (scores,) = answers.values()
        both: Reals = np.stack([targets, decided(scores, self.threshold)], 1).astype(np.float64)
        return both

    def values(self, rows: Reals, weights: Reals) -> Reals:
        import numpy as np

        target, answer = rows.T.astype(np.int64)
        size = int(rows.max()) + 1
        first = size * np.arange(len(weights))[:, None]

        def counted(classes: Any, counts: Reals) -> Reals:
            places = (first + classes).ravel()
            found: Any = np.bincount(places, counts.ravel(), minlength=size * len(weights))
            return found.reshape(len(weights), size)  # type: ignore[no-any-return]

        right = counted(target, weights * (target == answer))
        return _averaged(2 * right, counted(target, weights) + counted(answer, weights))


class MeanIoU(Metric):
    """IoU = TP / (TP + FP + FN) over all pixels of each class that is a label or an answer,
    averaged.

    Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, 2015,
    section 2.2.3. The output gives scores, (H, W, classes) or (classes, H, W), or class numbers,
    (H, W); a single score is a yes above the threshold. Pixels whose target is negative, or 255
    where the model has no such class, are not counted.
    """

    title = "mIoU"
    fitting = "scores (H, W, classes) or (classes, H, W), or class numbers (H, W)"

    def _check(self, target: ArrayFacts) -> None:
        whole(target, "a label map of class numbers, (H, W)")
        if len(_plane(target.shape)) != 2:
            raise DataError(
                f"the metric miou takes a label map (H, W) of class numbers a sample, not "
                f"{sizes(target.shape)}",
                hint="one-hot maps become one with masks.argmax(-1)",
            )

    def _fits(self, output: TensorSpec, target: tuple[int, ...]) -> bool:
        return bool(self._layouts(sample_shape(output), target))

    @staticmethod
    def _layouts(output: tuple[int | None, ...], target: tuple[int, ...]) -> list[str]:
        plane = _plane(target)
        known = {"ids": output, "last": output[:-1], "first": output[1:]}
        return [
            name
            for name, shape in known.items()
            if shape == plane and len(output) == (2 if name == "ids" else 3)
        ]

    def _bind(self, output: TensorSpec, data: DataSet) -> None:
        assert data.target is not None
        shape = sample_shape(output)
        layouts = self._layouts(shape, data.target.shape)
        if len(layouts) > 1:
            raise DataError(
                f"the metric miou cannot tell which axis of {output.name} {sizes(shape)} is the "
                "classes",
                hint=OWN,
            )
        (self.layout,) = layouts
        scores = None if self.layout == "ids" else shape[-1 if self.layout == "last" else 0]
        self.single = scores == 1
        most = _most(data, IGNORED)
        # Of class numbers any may come that is no label; the last class here is for all of those.
        self.classes = most + 2 if scores is None else max(2, scores)
        if most >= self.classes:
            raise DataError(
                f"a label is {most}, the model's output {output.name} has classes 0 to "
                f"{self.classes - 1}",
                hint=f"labels count from 0; {IGNORED} and negative ones are not counted",
            )
        if most < 0:
            raise DataError("no pixel of the targets has a class", hint=NO_TARGETS)

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (answer,) = answers.values()
        found = self._decided(answer).reshape(len(answer), -1)
        wanted = targets.reshape(len(targets), -1).astype(np.int64)
        counted = (wanted >= 0) & ((wanted != IGNORED) | (self.classes > IGNORED))
        found = np.clip(found, 0, self.classes - 1)
        places = self.classes * np.arange(len(answer))[:, None]

        def counts(classes: Any, which: Any) -> Reals:
            at = (places + classes)[which]
            size = self.classes * len(answer)
            found: Reals = np.bincount(at, minlength=size).astype(np.float64)
            return found.reshape(len(answer), self.classes)

        both = counts(wanted, counted & (wanted == found))
        either = counts(wanted, counted) + counts(found, counted) - both
        found_rows: Reals = np.hstack([both, either])
        return found_rows

    def _decided(self, answer: Array) -> Any:
        import numpy as np

        if self.layout == "ids":
            return np.rint(np.asarray(answer, np.float64)).astype(np.int64)
        axis = -1 if self.layout == "last" else 1
        if self.single:
            return (np.squeeze(answer, axis) > self.threshold).astype(np.int64)
        return answer.argmax(axis=axis)

    def values(self, rows: Reals, weights: Reals) -> Reals:
        sums = weights @ rows
        return _averaged(sums[:, : self.classes], sums[:, self.classes :])


class MeanAP(Metric):
    """AP = Σ (Rₙ − Rₙ₋₁)·Pₙ over the falling scores of each class, averaged over classes.

    As scikit-learn's ``average_precision_score(average="macro")``, without interpolation, over the
    classes that any sample has; Zhu, Recall, Precision and Average Precision, 2004. A sample may
    have any number of classes. Of a detector's boxes it is `box_map`.
    """

    title = "mAP of classes"
    fitting = "scores (classes,)"

    def _check(self, target: ArrayFacts) -> None:
        if target.minimum < 0 or target.maximum > 1:
            raise DataError(
                f"the metric map takes 0 or 1 for each class, not {target.minimum:g} to "
                f"{target.maximum:g}",
                hint="a row of the targets has a 1 for every class that its sample has",
            )

    def _fits(self, output: TensorSpec, target: tuple[int, ...]) -> bool:
        return len(target) == 1 and sample_shape(output) == target

    def _bind(self, output: TensorSpec, data: DataSet) -> None:
        assert data.target is not None
        if data.target.maximum <= 0:
            raise DataError("no sample has any class", hint=NO_TARGETS)
        if not all(((part == 0) | (part == 1)).all() for part in _parts(data)):
            raise DataError("the metric map takes 0 or 1 for each class, not fractions")

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (scores,) = answers.values()
        return np.hstack([scores, targets]).astype(np.float64)

    def values(self, rows: Reals, weights: Reals) -> Reals:
        import numpy as np

        classes = rows.shape[1] // 2
        total, present = np.zeros(len(weights)), np.zeros(len(weights))
        drawn = np.ascontiguousarray(weights.T)  # so that samples are put in order as whole rows
        for at in range(classes):
            order = np.argsort(-rows[:, at], kind="stable")
            scores, hit = rows[order, at], np.flatnonzero(rows[order, classes + at])
            if not len(hit):
                continue
            # Equal scores are one step; steps without a hit add nothing.
            ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
            steps, firsts = np.unique(np.searchsorted(ends, hit), return_index=True)
            ordered = drawn[order]
            above = np.cumsum(ordered, axis=0)[ends[steps]]
            hits = np.add.reduceat(ordered[hit], firsts, axis=0)
            right = np.cumsum(hits, axis=0)
            gain = hits * np.divide(right, above, out=np.zeros_like(above), where=above > 0)
            every = right[-1]
            total += np.divide(gain.sum(0), every, out=np.zeros_like(every), where=every > 0)
            present += every > 0
        return np.divide(total, present, out=np.zeros_like(total), where=present > 0)


class MSE(_Mean):
    """Σ (answer − target)² / values, of each sample, averaged over samples."""

    title = "MSE"
    larger_is_better = False
    unit = "percent"
    fitting = "as many numbers as the targets, in their shape"

    def _fits(self, output: TensorSpec, target: tuple[int, ...]) -> bool:
        return [s for s in sample_shape(output) if s != 1] == [s for s in target if s != 1]

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (answer,) = answers.values()
        count = len(answer)
        error = answer.reshape(count, -1).astype(np.float64) - targets.reshape(count, -1)
        squared: Reals = np.square(error).mean(axis=1, keepdims=True)
        return squared


class RMSE(MSE):
    """The square root of the mean squared error over all samples and values."""

    title = "RMSE"

    def values(self, rows: Reals, weights: Reals) -> Reals:
        import numpy as np

        found: Reals = np.sqrt(super().values(rows, weights))
        return found


class WER(Metric):
    """(S + D + I) / N: the substitutions, deletions and insertions that lead from the answers to
    the targets, in proportion to the targets' tokens. Characters as tokens make it the CER.

    Morris, Maier and Green, From WER and RIL to MER and WIL, 2004; the distance is Levenshtein's.
    The output gives scores, (steps, tokens), of which the largest of each step is the answer, or
    token numbers, (steps,). -1 pads both. Where there are as many steps as places in the targets,
    steps at padded places are not counted. Blanks and repetitions of CTC stay in: decode in a
    function of your own for these.
    """

    title = "WER"
    larger_is_better = False
    fitting = "scores (steps, tokens) or token numbers (steps,)"

    def _check(self, target: ArrayFacts) -> None:
        whole(target, "token numbers, -1 behind them")
        if len(target.shape) != 1:
            raise DataError(
                f"the metric wer takes a row of token numbers a sample, not {sizes(target.shape)}"
            )
        if target.maximum < 0:
            raise DataError("no sample has any token", hint=NO_TARGETS)

    def _fits(self, output: TensorSpec, target: tuple[int, ...]) -> bool:
        numbers = len(sample_shape(output)) == 1 and "int" in output.dtype
        return numbers or len(sample_shape(output)) == 2

    def _bind(self, output: TensorSpec, data: DataSet) -> None:
        assert data.target is not None
        *steps, tokens = sample_shape(output)
        if steps and tokens is not None and data.target.maximum >= tokens:
            raise DataError(
                f"a token is {data.target.maximum:g}, the model's output {output.name} has tokens "
                f"0 to {tokens - 1}"
            )

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        (answer,) = answers.values()
        found = answer.argmax(axis=-1) if answer.ndim == 3 else answer.astype(np.int64)
        padded = targets < 0
        if found.shape == targets.shape:
            found = np.where(padded, -1, found)
        return np.array(
            [
                [edits(each[each >= 0], wanted[wanted >= 0]), (wanted >= 0).sum()]
                for each, wanted in zip(found, targets, strict=True)
            ],
            np.float64,
        )

    def values(self, rows: Reals, weights: Reals) -> Reals:
        import numpy as np

        errors, tokens = (weights @ rows).T
        found: Reals = np.divide(errors, tokens, out=np.zeros_like(errors), where=tokens > 0)
        return found


class Own(_Mean):
    """The mean of what a function of the user's gives: a score a sample, larger is better.

    It is called what the function is. It takes the outputs by name, a dict of arrays, and the
    targets, an array, of some samples, and gives an array of as many numbers.
    """

    unit = "percent"

    def __init__(self, name: str, signature: Signature, data: DataSet) -> None:
        if data.target is None and not data.labelled:
            raise DataError(f"the metric {name} needs targets", hint=NO_TARGETS)
        self.name, self.single, self.threshold = name, False, 0.0
        self.title = name.rpartition(":")[2]
        self.outputs = tuple(spec.name for spec in signature.outputs)
        self._function: Callable[..., Any] | None = None

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        import numpy as np

        if self._function is None:
            self._function = resolve_own(self.name)
        try:
            given = self._function(dict(answers), targets)
            scores = np.asarray(given, np.float64)
        except EdgekitError:
            raise
        except Exception as exc:  # the user's own code: whatever it raises is said as such
            raise DataError(f"the metric {self.name} raised {type(exc).__name__}: {exc}") from exc
        if scores.shape != (len(targets),):
            raise DataError(
                f"the metric {self.name} gave numbers of shape {scores.shape} for {len(targets)} "
                "samples; it must give one score a sample"
            )
        if not np.isfinite(scores).all():
            raise DataError(f"the metric {self.name} gave NaN or infinity")
        return scores[:, None]


METRICS: dict[str, type[Metric]] = {
    "top1": Top1,
    "top5": Top5,
    "f1": MacroF1,
    "miou": MeanIoU,
    "map": MeanAP,
    "box_map": MeanBoxAP,
    "mse": MSE,
    "rmse": RMSE,
    "wer": WER,
}


def metric_named(name: str) -> type[Metric]:
    """The class of metrics called `name`.

    Raises:
        UnknownNameError: there is none, and it is not ``package.module:function`` either.
        UsageError: there is no such module.
    """
    if name in METRICS:
        return METRICS[name]
    refuse_file(name)
    if ":" not in name:
        raise UnknownNameError("metric", name, METRICS, hint="or package.module:function")
    find_module(name)
    return Own


def make_metric(name: str, signature: Signature, data: DataSet) -> Metric:
    """The metric called `name` for a model and data.

    Raises:
        UsageError: there is no such metric.
        DataError: the targets do not fit it, or no output of the model does.
    """
    return metric_named(name)(name, signature, data)


def metric_identity(name: str) -> dict[str, str]:
    """What the values of a metric depend on: its name, and the code of a function of one's own."""
    if metric_named(name) is not Own:
        return {"metric": name}
    return {"metric": name, "code": json_digest(code_beside(name))}


def scored(metric: Metric, source: Reals, candidate: Reals) -> Score:
    """How far `candidate` falls below `source`, both rows of the same samples.

    The interval is the percentile one of a paired bootstrap: Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapters 8 and 13. Samples with equal rows are counted together. It is
    seeded: equal rows give equal figures.
    """
    import numpy as np

    both, places, counts = np.unique(
        np.hstack([source, candidate]), axis=0, return_inverse=True, return_counts=True
    )
    theirs, mine = both[:, : source.shape[1]], both[:, source.shape[1] :]
    samples, draw = len(source), np.random.default_rng(SEED)
    places = places.reshape(-1).astype(np.int32)
    drops = []
    size = max(1, CHUNK // samples)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        drawn = places[draw.integers(samples, size=(count, samples), dtype=np.int32)]
        drawn += len(both) * np.arange(count, dtype=np.int32)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * len(both)).reshape(count, -1)
        reals = weights.astype(np.float64)
        drops.append(metric.drop(metric.values(theirs, reals), metric.values(mine, reals)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(drops), [tail, 1 - tail])
    whole = counts[None].astype(np.float64)
    values = metric.values(theirs, whole), metric.values(mine, whole)
    return Score(
        metric=metric.name,
        title=metric.title,
        value=float(values[1][0]),
        source_value=float(values[0][0]),
        drop=float(metric.drop(*values)[0]),
        low=float(low) + 0.0,  # no -0.0
        high=float(high) + 0.0,
        samples=samples,
        larger_is_better=metric.larger_is_better,
        unit=metric.unit,
    )


def threshold_for(scores: Array) -> float:
    """Above what a single score is a yes: one half where all are shares, else 0."""
    low, high = float(scores.min()), float(scores.max())
    return 0.5 if low >= 0 and high <= 1 else 0.0


def decided(scores: Any, threshold: float) -> NDArray[np.int64]:
    """The class each row of (samples, scores) says: the first of the largest; a single score is a
    yes (1) above the threshold. A row with NaN says -1.
    """
    import numpy as np

    if scores.shape[1] == 1:
        answers = (scores[:, 0] > threshold).astype(np.int64)
    else:
        answers = scores.argmax(axis=1)
    return np.where(np.isnan(scores).any(axis=1), -1, answers)


def ranks(scores: Any, labels: Array) -> NDArray[np.int64]:
    """For each row, how many classes come before the labelled one; of equals the first does."""
    import numpy as np

    numbers = np.asarray(labels, dtype=np.int64)[:, None]
    own = np.take_along_axis(scores, numbers, axis=1)
    before = np.arange(scores.shape[1])[None, :] < numbers
    counts: NDArray[np.int64] = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return counts


def edits(answer: Any, target: Any) -> int:
    """Levenshtein's distance of two rows of numbers: insertions, deletions and substitutions.

    Wagner and Fischer, The String-to-String Correction Problem, 1974; a row of its table at a time.
    """
    import numpy as np

    places = np.arange(len(target) + 1)
    row = places
    for number, token in enumerate(answer, start=1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (target != token))
        # An insertion costs one more than the place before: a running minimum of row − place.
        row = np.minimum.accumulate(np.concatenate([[number], changed]) - places) + places
    return int(row[-1])


def _averaged(parts: Reals, wholes: Reals) -> Reals:
    """The mean over classes of parts / wholes, (draws, classes), where there is a whole."""
    import numpy as np

    shares = np.divide(parts, wholes, out=np.zeros_like(wholes), where=wholes > 0)
    found: Reals = shares.sum(axis=1) / np.maximum(1, (wholes > 0).sum(axis=1))
    return found


def _most(data: DataSet, ignored: int) -> int:
    """The largest target but for `ignored`."""
    import numpy as np

    assert data.target is not None
    if data.target.maximum != ignored:
        return int(data.target.maximum)
    parts = (part.astype(np.int64) for part in _parts(data))
    return max(int(part.max(initial=-1, where=part != ignored)) for part in parts)


def _parts(data: DataSet) -> Iterator[Array]:
    """The targets, a few samples at a time."""
    targets = data.targets()
    assert targets is not None
    size = max(1, CHUNK // max(1, math.prod(targets.shape[1:])))
    for start in range(0, data.count, size):
        yield targets[start : start + size]


def _plane(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
