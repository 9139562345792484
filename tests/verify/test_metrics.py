"""Metrics against scikit-learn and by hand, and the intervals of what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.dataset import DataSet
from edgekit.core.errors import DataError, UnknownNameError, UsageError
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.core.verdict import Score
from edgekit.verify.metric import Metric
from edgekit.verify.metrics import METRICS, edits, make_metric, metric_named, scored
from tests.verify.conftest import facts_of

NUMBERS = [name for name in METRICS if name != "box_map"]  # boxes: see test_boxes.py
CASES = st.tuples(st.integers(0, 2**32), st.integers(1, 40), st.integers(2, 7))


def signature(*shapes: tuple[int, ...], dtype: str = "float32") -> Signature:
    names = ("y", "z")
    return Signature(
        inputs=(),
        outputs=tuple(
            TensorSpec(name=name, shape=(1, *shape), dtype=dtype)
            for name, shape in zip(names, shapes, strict=False)
        ),
    )


def made(name: str, targets: Any, *shapes: tuple[int, ...], dtype: str = "float32") -> Metric:
    """The metric for targets, class labels where it takes these, and outputs of these shapes."""
    classes = name in METRICS and METRICS[name].targets == "classes"
    with data_of(labels=targets) if classes else data_of(target=targets) as data:
        return make_metric(name, signature(*shapes, dtype=dtype), data)


@contextmanager
def data_of(*, labels: Any = None, target: Any = None) -> Iterator[DataSet]:
    """A data set of these labels or other targets, on the disk while it is looked at."""
    targets = target if labels is None else labels
    known: dict[str, Any] = {"target": facts_of(targets)}
    if labels is not None:
        known = {"labelled": True, "label_range": (int(labels.min()), int(labels.max()))}
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "targets.npy", targets)
        yield DataSet(
            folder=folder, inputs=("",), count=len(targets), digest="", origin="", choice="",
            **known,
        )  # fmt: skip


def value(name: str, answers: Any, targets: Any) -> float:
    """Of the whole set, its rows made in two parts."""
    metric = made(name, targets, answers.shape[1:])
    half = len(targets) // 2
    parts = [slice(0, half), slice(half, None)] if half else [slice(None)]
    rows = np.concatenate([metric.rows({"y": answers[p]}, targets[p]) for p in parts])
    found = metric.values(rows, np.ones((1, len(rows))))
    assert found.shape == (1,)
    return float(found[0])


def scores_of(draw: Any, samples: int, classes: int) -> Any:
    """With ties now and then."""
    return np.round(draw.normal(size=(samples, classes)), 1)


# ------------------------------------------------------------------------- against others


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_shares_of_classes_are_scikit_learns(case: Any) -> None:
    from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score

    seed, samples, classes = case
    draw = np.random.default_rng(seed)
    labels, scores = draw.integers(0, classes, samples), scores_of(draw, samples, classes)
    answers = scores.argmax(1)
    assert value("top1", scores, labels) == pytest.approx(accuracy_score(labels, answers))
    assert value("f1", scores, labels) == pytest.approx(f1_score(labels, answers, average="macro"))
    distinct = draw.permuted(np.tile(np.arange(classes + 5.0), (samples, 1)), axis=1)
    expected = top_k_accuracy_score(labels, distinct, k=5, labels=range(classes + 5))
    assert value("top5", distinct, labels) == pytest.approx(expected)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_average_precision_is_scikit_learns(case: Any) -> None:
    from sklearn.metrics import average_precision_score

    seed, samples, classes = case
    draw = np.random.default_rng(seed)
    targets, scores = draw.integers(0, 2, (samples, classes)), scores_of(draw, samples, classes)
    targets[0, 0] = 1
    present = targets.any(axis=0)
    expected = average_precision_score(targets[:, present], scores[:, present], average="macro")
    assert value("map", scores, targets) == pytest.approx(expected)


@given(CASES, st.sampled_from(["last", "first"]))
@settings(max_examples=60, deadline=None)
def test_intersection_over_union_is_scikit_learns(case: Any, layout: str) -> None:
    from sklearn.metrics import jaccard_score

    seed, samples, classes = case
    draw = np.random.default_rng(seed)
    targets = draw.integers(-1, classes, (samples, 4, 9))
    targets[0, 0, :2] = (0, 255)
    scores = draw.normal(size=(samples, 4, 9, classes))
    counted = (targets >= 0) & (targets != 255)
    expected = jaccard_score(targets[counted], scores.argmax(-1)[counted], average="macro")
    given_ = scores if layout == "last" else np.moveaxis(scores, -1, 1)
    metric = made("miou", np.where(targets == 255, -1, targets), given_.shape[1:])
    rows = metric.rows({"y": given_}, targets)
    assert metric.values(rows, np.ones((1, samples)))[0] == pytest.approx(expected)


def test_maps_of_class_numbers_and_of_one_score() -> None:
    targets = np.array([[[0, 1], [1, 2]]])
    numbers = np.array([[[0, 1], [2, 2]]])
    assert value("miou", numbers, targets) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert value("miou", np.array([[[0, 1], [7, 2]]]), targets) == pytest.approx(
        (1 + 1 / 2 + 1 + 0) / 4
    )
    binary = np.array([[[0, 1], [1, 1]]])
    one = np.array([[[-1.0, 2.0], [1.0, -3.0]]])[..., None]
    assert value("miou", one, binary) == pytest.approx((1 / 2 + 2 / 3) / 2)


@given(CASES)
@settings(max_examples=60, deadline=None)
def test_errors_are_scikit_learns(case: Any) -> None:
    from sklearn.metrics import mean_squared_error, root_mean_squared_error

    seed, samples, values = case
    draw = np.random.default_rng(seed)
    targets, answers = draw.normal(size=(2, samples, values))
    assert value("mse", answers, targets) == pytest.approx(mean_squared_error(targets, answers))
    expected = root_mean_squared_error(targets.ravel(), answers.ravel())
    assert value("rmse", answers[..., None], targets) == pytest.approx(expected)


def test_a_number_a_sample_may_have_an_axis_or_not() -> None:
    targets = np.array([1.0, 2.0])
    assert value("mse", np.array([[1.0], [4.0]]), targets) == 2
    assert value("mse", targets, targets[:, None]) == 0


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_edits_are_those_of_the_plain_recursion(first: list[int], second: list[int]) -> None:
    from functools import cache

    @cache
    def plain(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        changed = plain(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(changed, plain(i - 1, j) + 1, plain(i, j - 1) + 1)

    assert edits(np.array(first, int), np.array(second, int)) == plain(len(first), len(second))


def test_token_errors_are_in_proportion_to_all_tokens() -> None:
    targets = np.array([[1, 2, 3, -1], [2, -1, -1, -1]])
    scores = np.eye(4)[[[1, 2, 2, 0], [2, 3, 3, 3]]]
    assert value("wer", scores, targets) == pytest.approx(1 / 4)  # padded places say nothing
    longer = np.eye(4)[[[1, 2, 3, 0, 0], [2, 3, 3, 3, 3]]]
    assert value("wer", longer, targets) == pytest.approx((2 + 4) / 4)
    numbers = np.array([[1, 3, -1], [2, -1, -1]])
    metric = made("wer", targets, (3,), dtype="int64")
    assert metric.rows({"y": numbers}, targets).tolist() == [[1, 3], [0, 1]]


# ------------------------------------------------------------------------------ intervals


def all_metrics() -> dict[str, tuple[Any, Any]]:
    """Targets and fair answers of 150 samples each, by name."""
    draw = np.random.default_rng(3)
    labels, many = draw.integers(0, 7, 150), draw.integers(0, 2, (150, 7))
    maps, tokens = draw.integers(0, 7, (150, 5, 6)), draw.integers(0, 7, (150, 5))
    reals = draw.normal(size=(150, 3))

    def near(right: Any) -> Any:
        return 2.5 * right + draw.normal(size=right.shape)

    return {
        "top1": (labels, near(np.eye(7)[labels])),
        "top5": (labels, near(np.eye(7)[labels])),
        "f1": (labels, near(np.eye(7)[labels])),
        "miou": (maps, near(np.eye(7)[maps])),
        "map": (many, near(many)),
        "mse": (reals, near(reals) / 2.5),
        "rmse": (reals, near(reals) / 2.5),
        "wer": (tokens, near(np.eye(7)[tokens])),
    }


def score(name: str, targets: Any, source: Any, candidate: Any) -> Score:
    metric = made(name, targets, source.shape[1:])
    rows = [metric.rows({"y": answers}, targets) for answers in (source, candidate)]
    return scored(metric, *rows)


@pytest.mark.parametrize("name", NUMBERS)
def test_equal_answers_lose_nothing_for_sure(name: str) -> None:
    targets, answers = all_metrics()[name]
    found = score(name, targets, answers, answers.copy())
    assert (found.drop, found.low, found.high) == (0, 0, 0)
    assert found.within(0)
    assert found.value == found.source_value == pytest.approx(value(name, answers, targets))
    assert not found.blind(0)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_drop_lies_in_its_interval_and_turns_round(name: str) -> None:
    targets, answers = all_metrics()[name]
    worse = answers + 4 * np.random.default_rng(4).normal(size=answers.shape)
    found = score(name, targets, answers, worse)
    assert 0 < found.low < found.drop < found.high
    assert not found.within(found.low / 2)
    back = score(name, targets, worse, answers)
    assert back.drop < 0
    assert back.within(0)
    assert (back.value, back.source_value) == pytest.approx((found.source_value, found.value))
    if found.unit == "points":
        assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["top1", "f1", "rmse"])
def test_intervals_cover_the_true_drop(name: str) -> None:
    """Of 100 sets drawn from one source, about 95; below 88 is one in two hundred."""
    draw = np.random.default_rng(7)

    def drawn(samples: int) -> Score:
        if name == "rmse":
            targets = draw.normal(size=(samples, 1))
            source = targets + draw.normal(size=targets.shape)
            return score(name, targets, source, source + 0.5 * draw.normal(size=targets.shape))
        targets = draw.integers(0, 3, samples)
        source = 2 * np.eye(3)[targets] + draw.normal(size=(samples, 3))
        return score(name, targets, source, source + 0.5 * draw.normal(size=source.shape))

    true = drawn(30_000).drop
    assert sum(each.low <= true <= each.high for each in (drawn(200) for _ in range(100))) >= 88


def test_within_the_noise_is_no_drop() -> None:
    labels = np.zeros(100, int)

    def lost(count: int, gained: int = 0) -> Score:
        source, candidate = (np.tile([1.0, 0.0], (100, 1)) for _ in range(2))
        candidate[:count] = [0.0, 1.0]
        source[-gained or 100 :] = [0.0, 1.0]
        return score("top1", labels, source, candidate)

    assert (lost(2).drop, lost(2).low) == (pytest.approx(2), 0)
    assert lost(2).within(1)
    assert not lost(2).kept(1)
    assert not lost(9).within(1)
    assert lost(9).within(9)  # 9 of 100 is not more than 9 points, whatever floats say
    assert not lost(9).within(8.9)
    assert lost(9, gained=5).within(1)
    assert lost(9).low > 0 > lost(9, gained=5).low
    assert "too small to see drops below" in lost(9, gained=5).blind(1)
    assert lost(9).blind(1) == ""  # it is seen


def test_of_a_source_without_error_any_error_is_too_much() -> None:
    targets = np.arange(10.0)
    found = score("mse", targets, targets, targets + 1e-3)
    assert found.drop == found.low == found.high == 1e6
    assert not found.within(50)


def test_errors_are_told_in_percent_of_the_sources() -> None:
    targets = np.arange(10.0)
    found = score("rmse", targets, targets + 1, targets + 1.1)
    assert found.drop == pytest.approx(10)
    assert found.amount(found.drop) == "10.00 %"
    assert found.said(found.value) == "1.1"


# ----------------------------------------------------------------- a function of one's own


def distance(outputs: Any, targets: Any) -> Any:
    return -np.abs(outputs["y"][:, 0] + outputs["z"][:, 0] - targets)


def test_a_function_sees_all_outputs_by_name() -> None:
    targets = np.array([3.0, 5.0])
    metric = made("tests.verify.test_metrics:distance", targets, (1,), (1,))
    assert (metric.outputs, metric.title) == (("y", "z"), "distance")
    sides = [
        metric.rows({"y": targets[:, None] - 1, "z": np.full((2, 1), by)}, targets)
        for by in (2.0, 3.0)
    ]
    found = scored(metric, *sides)
    assert (found.source_value, found.value, found.drop) == (-1, -2, 100)


def too_many(outputs: Any, targets: Any) -> Any:
    return np.zeros((len(targets), 2))


def not_finite(outputs: Any, targets: Any) -> Any:
    return np.full(len(targets), np.nan)


def broken(outputs: Any, targets: Any) -> Any:
    return outputs["no such output"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("too_many", r"gave numbers of shape \(2, 2\) for 2 samples"),
        ("not_finite", "gave NaN or infinity"),
        ("broken", "raised KeyError: 'no such output'"),
    ],
)
def test_a_function_that_goes_wrong(name: str, said: str) -> None:
    metric = made(f"tests.verify.test_metrics:{name}", np.zeros(2), (1,))
    with pytest.raises(DataError, match=said):
        metric.rows({"y": np.zeros((2, 1))}, np.zeros(2))


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("miuo", UnknownNameError, "there is no metric called 'miuo'; did you mean miou"),
        ("nowhere:f", UsageError, "no module called 'nowhere'"),
        ("mine.py:f", UsageError, "names a file"),
    ],
)
def test_metrics_that_are_not_there(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        metric_named(name)


# -------------------------------------------------------------------- targets that do not fit


@pytest.mark.parametrize(
    ("name", "targets", "shapes", "said"),
    [
        ("top1", np.array([0, 3]), [(3,)], "a label is 3, the model's output y has classes 0 to 2"),
        ("f1", np.array([0, 1]), [(4, 4, 3)], "needs a single output of class scores.*y 4×4×3"),
        ("f1", np.array([0, 1]), [(3,), (3,)], "needs a single output of class scores"),
        ("top5", np.array([0, 1]), [(5,)], "top5 says nothing of 5 classes"),
        ("miou", np.zeros((2, 4, 4)), [(4, 4, 3)], "targets are float64"),
        ("miou", np.zeros((2, 4, 4, 3), int), [(4, 4, 3)], "takes a label map"),
        ("miou", np.zeros((2, 5, 4), int), [(4, 4, 3)], "targets 5×4; the model gives y 4×4×3"),
        ("miou", np.full((2, 4, 4), 3), [(4, 4, 3)], "a label is 3, .* classes 0 to 2"),
        ("miou", np.full((2, 4, 4), 2), [(4, 4, 1)], "a label is 2, .* classes 0 to 1"),
        ("miou", np.full((2, 4, 4), -1), [(4, 4, 3)], "no pixel of the targets has a class"),
        ("miou", np.zeros((2, 4, 4), int), [(4, 4, 4)], "cannot tell which axis of y 4×4×4"),
        ("map", np.full((2, 3), 2), [(3,)], "takes 0 or 1 for each class, not 2 to 2"),
        ("map", np.zeros((2, 3)), [(3,)], "no sample has any class"),
        ("map", np.array([[0, 1.0], [0.5, 0]]), [(2,)], "each class, not fractions"),
        ("map", np.ones((2, 3)), [(4,)], r"targets 3; the model gives y 4"),
        ("mse", np.zeros((2, 3)), [(4,)], "in their shape for targets 3; the model gives y 4"),
        ("rmse", np.zeros((2, 3)), [(3,), (3,)], "is of one output; y and z fit"),
        ("wer", np.zeros((2, 3)), [(5, 7)], "targets are float64"),
        ("wer", np.zeros((2, 3, 1), int), [(5, 7)], "a row of token numbers a sample, not 3×1"),
        ("wer", np.full((2, 3), 7), [(5, 7)], "a token is 7, .* tokens 0 to 6"),
        ("wer", np.full((2, 3), -1), [(5, 7)], "no sample has any token"),
        ("wer", np.zeros((2, 3), int), [(5,)], "needs an output of scores .*; the model gives y 5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_a_line(
    name: str, targets: Any, shapes: list[tuple[int, ...]], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        made(name, targets, *shapes)


def test_a_label_beside_ignored_ones_is_found() -> None:
    targets = np.full((2, 4, 4), 255, np.uint8)
    targets[1, 2, 2] = 3
    with pytest.raises(DataError, match="a label is 3"):
        made("miou", targets, (4, 4, 3))
    assert made("miou", targets, (4, 4, 5)).outputs == ("y",)


@pytest.mark.parametrize("name", [*METRICS, "tests.verify.test_metrics:distance"])
def test_without_targets_there_is_no_metric(name: str) -> None:
    data = DataSet(folder="", inputs=("",), count=1, digest="", origin="", choice="")
    with pytest.raises(DataError, match=f"the metric {name} needs"):
        make_metric(name, signature((3,)), data)


def test_the_help_of_convert_names_every_metric() -> None:
    from edgekit.cli.convert import command

    (option,) = (each for each in command.params if each.name == "metric")
    assert isinstance(option, click.Option)
    assert option.help is not None
    assert [name for name in METRICS if f" {name}," not in option.help] == []
