"""mAP of boxes against COCO's own evaluation, and by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import DataError
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.verify.boxes import MeanBoxAP, overlap
from edgekit.verify.metrics import make_metric, scored
from tests.verify.test_metrics import data_of

CLASSES, BOXES = 3, 12


def signature(**outputs: tuple[int, ...]) -> Signature:
    return Signature(
        inputs=(),
        outputs=tuple(
            TensorSpec(name=name, shape=(1, *shape), dtype="float32")
            for name, shape in outputs.items()
        ),
    )


APART = signature(boxes=(BOXES, 4), scores=(BOXES,), classes=(BOXES,))


def corners(draw: Any, *shape: int) -> Any:
    low = draw.uniform(0, 60, (*shape, 2))
    return np.concatenate([low, low + draw.uniform(5, 40, (*shape, 2))], axis=-1)


def case(seed: int, samples: int) -> tuple[dict[str, Any], Any]:
    """Boxes to find, and what a detector of middling skill finds: some near them, some anywhere."""
    draw = np.random.default_rng(seed)
    targets = np.full((samples, 6, 5), -1.0)
    boxes, classes = corners(draw, samples, BOXES), draw.integers(0, CLASSES, (samples, BOXES))
    for at in range(samples):
        count = int(draw.integers(0, 7))
        targets[at, :count, :4] = corners(draw, count)
        targets[at, :count, 4] = draw.integers(0, CLASSES, count)
        for index in range(count):
            if draw.random() < 0.7:
                near = targets[at, index, :4] + draw.normal(0, 2, 4)
                near[2:] = np.maximum(near[2:], near[:2] + 1)
                boxes[at, index] = near
                classes[at, index] = targets[at, index, 4]
    targets[0, 0] = [0, 0, 10, 10, CLASSES - 1]
    scores = draw.permutation(samples * BOXES).reshape(samples, BOXES) / (samples * BOXES)
    return {"boxes": boxes, "scores": scores, "classes": classes}, targets


def made(targets: Any, given_: Signature = APART) -> MeanBoxAP:
    with data_of(target=targets) as data:
        found = make_metric("box_map", given_, data)
    assert isinstance(found, MeanBoxAP)
    return found


def value(answers: dict[str, Any], targets: Any, given_: Signature = APART) -> float:
    metric = made(targets, given_)
    rows = metric.rows(answers, targets)
    return float(metric.values(rows, np.ones((1, len(rows))))[0])


def cocos(answers: dict[str, Any], targets: Any) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def box(at: int, corner: Any, kind: float, **more: Any) -> dict[str, Any]:
        x, y, right, low = (float(each) for each in corner)
        sides = [x, y, right - x, low - y]
        return {
            "image_id": at, "category_id": int(kind), "bbox": sides,
            "area": sides[2] * sides[3], "iscrowd": 0, **more,
        }  # fmt: skip

    truth = [
        box(at, row[:4], row[4]) for at, rows in enumerate(targets) for row in rows if row[4] >= 0
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": at} for at in range(len(targets))],
            "annotations": [{**each, "id": 1 + index} for index, each in enumerate(truth)],
            "categories": [{"id": each} for each in range(CLASSES)],
        }
        known.createIndex()
        found = known.loadRes(
            [
                box(at, corner, kind, score=float(score))
                for at in range(len(targets))
                for corner, kind, score in zip(
                    answers["boxes"][at], answers["classes"][at], answers["scores"][at], strict=True
                )
            ]
        )
        judge = COCOeval(known, found, "bbox")
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]  # all sizes, 100 boxes a sample
    return float(precision[precision > -1].mean())


@given(st.integers(0, 2**32), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_it_is_cocos(seed: int, samples: int) -> None:
    answers, targets = case(seed, samples)
    assert value(answers, targets) == pytest.approx(cocos(answers, targets), abs=1e-9)


def test_rows_of_six_are_the_same() -> None:
    answers, targets = case(1, 8)
    columns = [answers["boxes"], answers["scores"][..., None], answers["classes"][..., None]]
    joined = {"found": np.concatenate(columns, axis=-1)}
    assert value(joined, targets, signature(found=(BOXES, 6))) == value(answers, targets)


def test_y_may_come_first() -> None:
    answers, targets = case(2, 8)
    turned = np.concatenate([targets[..., [1, 0, 3, 2]], targets[..., 4:]], axis=-1)
    other = {**answers, "boxes": answers["boxes"][..., [1, 0, 3, 2]]}
    assert value(other, turned) == pytest.approx(value(answers, targets))


def test_all_found_is_one_and_none_is_zero() -> None:
    _, targets = case(3, 6)
    boxes = np.zeros((6, BOXES, 4))
    boxes[:, :6] = targets[..., :4]
    classes = np.full((6, BOXES), -1)
    classes[:, :6] = targets[..., 4]
    answers = {"boxes": boxes, "scores": np.ones((6, BOXES)), "classes": classes}
    assert value(answers, targets) == pytest.approx(1)
    assert value({**answers, "classes": np.full_like(classes, -1)}, targets) == 0


def test_a_second_box_on_the_same_place_is_wrong() -> None:
    targets = np.array([[[0, 0, 10, 10, 0], [50, 50, 60, 60, 0]]], float)
    boxes = np.array([[[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]], float)
    answers = {"boxes": boxes, "scores": np.array([[0.9, 0.8, 0.7]]), "classes": np.zeros((1, 3))}
    given_ = signature(boxes=(3, 4), scores=(3,), classes=(3,))
    # Precision 1 up to a recall of ½ (51 points), 2/3 behind it (50).
    assert value(answers, targets, given_) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_equal_scores_are_one_step_in_any_order() -> None:
    answers, targets = case(4, 10)
    answers["scores"] = np.round(answers["scores"], 1)
    order = np.random.default_rng(0).permutation(10)
    turned = {name: array[order] for name, array in answers.items()}
    assert value(turned, targets[order]) == pytest.approx(value(answers, targets))


def test_draws_weigh_samples() -> None:
    """A sample drawn twice is the sample twice."""
    answers, targets = case(5, 6)
    metric = made(targets)
    rows = metric.rows(answers, targets)
    weights = np.array([[2.0, 0, 1, 0, 0, 3], [0, 0, 0, 0, 0, 0.0]])
    twice = np.repeat(np.arange(6), weights[0].astype(int))
    again = {name: array[twice] for name, array in answers.items()}
    expected = metric.values(metric.rows(again, targets[twice]), np.ones((1, len(twice))))
    assert metric.values(rows, weights) == pytest.approx([expected[0], 0])


def test_the_interval_holds_the_drop() -> None:
    answers, targets = case(6, 40)
    worse = {**answers, "boxes": answers["boxes"] + 3}
    metric = made(targets)
    found = scored(metric, metric.rows(answers, targets), metric.rows(worse, targets))
    assert found.low <= found.drop <= found.high
    assert found.low > 0
    same = scored(metric, metric.rows(answers, targets), metric.rows(answers, targets))
    assert (same.drop, same.low, same.high) == (0, 0, 0)


def test_overlaps_by_hand() -> None:
    found = overlap(np.array([[0, 0, 2, 2], [2, 2, 0, 0]]), np.array([[1, 1, 3, 3], [5, 5, 6, 6]]))
    np.testing.assert_allclose(found, [[1 / 7, 0], [1 / 7, 0]])
    empty = np.zeros((1, 4))
    assert overlap(empty, empty) == 0  # a box without area overlaps nothing


@pytest.mark.parametrize(
    ("targets", "given_", "says"),
    [
        (np.zeros((2, 3, 4)), APART, r"takes \(boxes, 5\) a sample, two corners and .*, not 3×4"),
        (np.full((2, 3, 5), -1.0), APART, "no sample has any box"),
        (np.zeros((2, 3, 5)), signature(boxes=(9, 4), scores=(9, 3)), "needs an output of boxes"),
        (np.zeros((2, 3, 5)), signature(y=(10,)), "after non-maximum suppression; the model gives"),
    ],
)
def test_what_does_not_fit_is_said(targets: Any, given_: Signature, says: str) -> None:
    with pytest.raises(DataError, match=says):
        made(targets, given_)
