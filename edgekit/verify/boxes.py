"""COCO's mean average precision of a detector's boxes.

    AP = 1/101 · Σ over r in 0, 0.01, … 1 of the highest precision at any recall of r or more

of each class and each of the overlaps 0.5, 0.55, … 0.95, averaged over these and over the classes
that any sample has. Lin et al., Microsoft COCO: Common Objects in Context, 2014, and its
evaluation, https://cocodataset.org/#detection-eval ("AP"), of boxes of all sizes, at most 100 a
sample and class, none of them a crowd. The best boxes choose first; each takes the box of its class
that it overlaps most and that none has taken yet. Boxes of equal scores, as quantized detectors
give them, are one step of recall, whatever their order.

Targets are (boxes, 5) numbers a sample: two opposite corners as the model gives them (x first or y
first, pixels or shares) and the class; rows of the class −1 fill up. Of the model it takes what
comes out of non-maximum suppression:

``(N, 4)`` boxes, ``(N,)`` scores and ``(N,)`` classes
    as ``--nms inside`` and TFLite's detection operator have them: classes are the whole numbers, or
    the output with "class" in its name
``(N, 6)``
    two corners, score, class: as exporters of YOLO have them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.errors import DataError
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.verify.metric import NO_TARGETS, Metric, listed, sample_shape, sizes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Reals = NDArray[np.float64]

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = 101
MOST = 100  # boxes of a class in a sample that count
CORNERS = 4
ROW = 6  # two corners, score, class


class MeanBoxAP(Metric):
    """See above."""

    title = "mAP of boxes"
    fitting = "boxes (N, 4) with scores (N,) and classes (N,), or rows (N, 6)"

    def __init__(self, name: str, signature: Signature, data: DataSet) -> None:
        self.name, self.single, self.threshold = name, False, 0.0
        if data.target is None:
            raise DataError(f"the metric {name} needs targets", hint=NO_TARGETS)
        self._check(data.target)
        found = _joined(signature) or _apart(signature)
        if not found:
            raise DataError(
                f"the metric {name} needs an output of {self.fitting}, after non-maximum "
                f"suppression; the model gives {listed(signature)}",
                hint="convert it with --nms inside, where it has scores of classes; or "
                "package.module:function as metric takes any outputs",
            )
        self.outputs = found
        self.classes = 1 + max(int(part[..., CORNERS].max()) for part in _parts(data))
        if self.classes < 1:
            raise DataError("no sample has any box", hint=NO_TARGETS)

    def _check(self, target: ArrayFacts) -> None:
        if len(target.shape) != 2 or target.shape[-1] != CORNERS + 1:
            raise DataError(
                f"the metric {self.name} takes (boxes, 5) a sample, two corners and the class, not "
                f"{sizes(target.shape)}",
                hint="fill up with rows of the class -1",
            )

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        """Of each sample: its boxes' scores and classes (−1 for what does not count), at which
        overlaps they are right as the bits of a number, and how many boxes of each class there are.
        """
        import numpy as np

        boxes, scores, classes = _read([np.asarray(answers[name]) for name in self.outputs])
        wanted = np.asarray(targets, dtype=np.float64)
        size = boxes.shape[1]
        found = np.zeros((len(boxes), 3 * size + self.classes))
        for at, row in enumerate(found):
            known = wanted[at, :, CORNERS]
            row[3 * size :] = [(known == each).sum() for each in range(self.classes)]
            row[:size], row[size : 2 * size] = scores[at], -1
            for each in range(self.classes):
                mine = np.flatnonzero(classes[at] == each)
                best = mine[np.argsort(-scores[at, mine], kind="stable")][:MOST]
                overlaps = overlap(boxes[at, best], wanted[at, known == each, :CORNERS])
                row[size + best] = each
                row[2 * size + best] = right(overlaps)
        return found

    def values(self, rows: Reals, weights: Reals) -> Reals:
        import numpy as np

        size = (rows.shape[1] - self.classes) // 3
        scores, classes = rows[:, :size], rows[:, size : 2 * size]
        bits, counts = rows[:, 2 * size : 3 * size].astype(np.int64), rows[:, 3 * size :]
        total, present = np.zeros(len(weights)), np.zeros(len(weights))
        for each in range(self.classes):
            every = weights @ counts[:, each]
            sample, place = np.nonzero(classes == each)
            order = np.argsort(-scores[sample, place], kind="stable")
            sample, place = sample[order], place[order]
            hits = (bits[sample, place][:, None] >> np.arange(len(OVERLAPS))) & 1
            total += precision(scores[sample, place], hits, weights[:, sample].T, every)
            present += every > 0
        return np.divide(total, present, out=np.zeros_like(total), where=present > 0)


def overlap(boxes: Any, others: Any) -> Any:
    """Intersection over union of each with each, (boxes, others); both are (…, 4) corners."""
    import numpy as np

    one, two = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    lows = [np.minimum(each[..., :2], each[..., 2:]) for each in (one, two)]
    highs = [np.maximum(each[..., :2], each[..., 2:]) for each in (one, two)]
    sides = np.minimum(*highs) - np.maximum(*lows)
    both = np.clip(sides, 0, None).prod(axis=-1)
    either = sum((high - low).prod(axis=-1) for low, high in zip(lows, highs, strict=True)) - both
    return np.divide(both, either, out=np.zeros_like(both), where=either > 0)


def right(overlaps: Any) -> Any:
    """Whether each box is right at each of `OVERLAPS`, as bits from the lowest.

    Args:
        overlaps: of boxes, the best first, with those that are to be found, (boxes, others).
    """
    import numpy as np

    bits = np.zeros(len(overlaps), dtype=np.int64)
    if not overlaps.size:
        return bits
    for bit, least in enumerate(OVERLAPS):
        left = overlaps.copy()
        for box, row in enumerate(left):
            nearest = int(row.argmax())
            if row[nearest] >= least:
                bits[box] |= 1 << bit
                left[box + 1 :, nearest] = -1  # it is taken
    return bits


def precision(scores: Any, hits: Any, weights: Any, every: Any) -> Any:
    """AP of one class, averaged over overlaps, for each draw.

    Args:
        scores: of the boxes, falling.
        hits: 0 or 1, (boxes, overlaps).
        weights: how often each box's sample was drawn, (boxes, draws).
        every: boxes that are to be found, (draws,).
    """
    import numpy as np

    total = np.zeros(len(every))
    some = np.flatnonzero(hits.any(axis=1))  # precision only rises, and recall, where one is right
    if not len(some):
        return total
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # equal scores are one step
    steps = np.searchsorted(ends, some)
    above = np.cumsum(weights, axis=0)[ends[steps]]
    recalls = np.linspace(0, 1, RECALLS)
    for hit in hits[some].T:
        which = np.flatnonzero(hit)
        if not len(which):
            continue
        _, first = np.unique(steps[which], return_index=True)
        found = np.cumsum(np.add.reduceat(weights[some[which]], first), axis=0)
        counted = above[which[first]]
        share = np.divide(found, counted, out=np.zeros_like(found), where=counted > 0)
        highest = np.maximum.accumulate(share[::-1], axis=0)[::-1]
        recall = np.divide(found, every, out=np.zeros_like(found), where=every > 0)
        reached = np.searchsorted(recalls, recall, side="right")
        new = np.diff(reached, axis=0, prepend=0)  # points of recall that a step reaches first
        total += (highest * new).sum(axis=0) / RECALLS
    return np.where(every > 0, total / len(OVERLAPS), 0.0)


def _read(answers: list[Any]) -> tuple[Any, Any, Any]:
    """Boxes (samples, N, 4), scores and classes (samples, N)."""
    import numpy as np

    if len(answers) == 1:
        (rows,) = answers
        return rows[..., :CORNERS], rows[..., CORNERS], np.rint(rows[..., CORNERS + 1])
    boxes, scores, classes = answers
    return boxes, scores, np.rint(classes)


def _joined(signature: Signature) -> tuple[str, ...]:
    """The one output with rows of six, if there is one."""
    fit = [spec.name for spec in signature.outputs if _is(spec, ROW)]
    return tuple(fit) if len(fit) == 1 else ()


def _apart(signature: Signature) -> tuple[str, ...]:
    """Outputs for boxes, scores and classes."""
    boxes = [spec for spec in signature.outputs if _is(spec, CORNERS)]
    if len(boxes) != 1:
        return ()
    size = sample_shape(boxes[0])[0]
    numbers = [spec for spec in signature.outputs if sample_shape(spec) == (size,)]
    classes = [spec for spec in numbers if "int" in spec.dtype]
    classes = classes or [spec for spec in numbers if "class" in spec.name.lower()]
    scores = [spec for spec in numbers if spec not in classes]
    if len(classes) != 1 or len(scores) != 1:
        return ()
    return boxes[0].name, scores[0].name, classes[0].name


def _is(spec: TensorSpec, columns: int) -> bool:
    shape = sample_shape(spec)
    return len(shape) == 2 and shape[1] == columns


def _parts(data: DataSet) -> Any:
    targets = data.targets()
    assert targets is not None
    return (targets[start : start + 1024] for start in range(0, data.count, 1024))
