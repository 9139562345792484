"""The decision, by accuracy where there are labels and by noise where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.recipe import Budget
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.core.verdict import Score, Verdict
from edgekit.verify.judge import judge, run
from edgekit.verify.metrics import make_metric, scored
from edgekit.work.cache import RESULT_FILE


def output(snr_db: float | None = 30, **more: Any) -> dict[str, Any]:
    parity = {
        "name": "scores",
        "max_abs_error": 0.1,
        "cosine": 0.99,
        "snr_db": snr_db,
        "top1_agreement": 0.9,
        "before_softmax": True,
    }
    found = {
        "not_finite": 0,
        "blank": 0,
        "equal": None,
        "accuracy": None,
        "measured": more.get("accuracy") is not None,
        "flat": False,
        "variation": None,
    }
    return {"parity": parity, **found, **more}


def decide(
    *outputs: dict[str, Any],
    samples: int = 100,
    commonest: float = 0.1,
    score: Score | None = None,
    constant: dict[str, Any] | None = None,
    **budget: Any,
) -> Verdict:
    labelled = next((each["accuracy"] for each in outputs if each["accuracy"]), None)
    if labelled and score is None:
        score = top1(labelled["source"]["top1"], labelled["artifact"]["top1"], samples)
    figures = {
        "samples": samples,
        "outputs": list(outputs),
        "score": score.to_json() if score else None,
        "constant": constant,
        "classes": 10,
        "commonest": commonest,
    }
    return judge(figures, [], Budget(**budget), "digits: all")


def top1(source: float, artifact: float, samples: int) -> Score:
    """Where the artifact is wrong wherever the source is, or the other way round."""
    right = [round(share * samples) for share in (source, artifact)]
    rows = np.zeros((2, samples, 1))
    rows[0, : right[0]] = 1
    rows[1, : right[1]] = 1
    data = DataSet(folder="", inputs=(), count=samples, digest="", origin="", choice="",
                   labelled=True, label_range=(0, 9))  # fmt: skip
    output = TensorSpec(name="scores", shape=(1, 10), dtype="float32")
    return scored(make_metric("top1", Signature(inputs=(), outputs=(output,)), data), *rows)


def accuracy(source: float, artifact: float) -> dict[str, Any]:
    return {
        "source": {"top1": source, "top5": None},
        "artifact": {"top1": artifact, "top5": None},
    }


@pytest.mark.parametrize(
    ("samples", "source", "artifact", "max_drop", "status", "said"),
    [
        (100, 0.97, 0.96, 1.0, "accepted", r"1.00 points lost \(1 of 100 samples\), 1.00 allowed"),
        (100, 0.97, 0.92, 1.0, "rejected", r"5.00 points lost \(5 of 100 samples\), 1.00 allowed"),
        (100, 0.97, 0.98, 1.0, "accepted", r"1.00 points gained \(1 of 100 samples\)"),
        (100, 0.97, 0.97, 0.0, "accepted", "no drop seen; 100 samples show none below 1.00 points"),
        (2000, 0.9, 0.897, 0.2, "rejected", r"0.30 points lost \(6 of 2000"),
    ],
)
def test_with_labels_accuracy_decides(
    samples: int, source: float, artifact: float, max_drop: float, status: str, said: str
) -> None:
    noisy_all_the_same = output(snr_db=-5, accuracy=accuracy(source, artifact))
    verdict = decide(noisy_all_the_same, samples=samples, max_drop=max_drop)
    assert verdict.status == status
    import re

    assert re.search(said, verdict.reasons[0])
    assert verdict.drop_points == pytest.approx(100 * (source - artifact))


def test_a_budget_finer_than_one_sample_is_pointed_out() -> None:
    verdict = decide(output(accuracy=accuracy(0.9, 0.9)), samples=50, max_drop=1.0)
    assert "finer than one sample (2.00 points)" in verdict.reasons[1]


def test_a_drop_within_the_noise_is_accepted_and_said() -> None:
    found = output(-5, accuracy=accuracy(0.97, 0.95))
    verdict = decide(found, max_drop=1.0)
    assert verdict.status == "accepted"
    assert verdict.score is not None
    assert "95 % interval of the drop 0.00 to 5.00" in verdict.reasons[0]
    assert verdict.reasons[1] == (
        "2.00 points are over the budget of 1.00, but no more than noise: the interval, 0.00 to "
        "5.00, includes 0"
    )
    assert verdict.reasons[2] == (
        "the evaluation set is too small to see drops below 2.50 points: give more samples"
    )


def test_too_few_samples_are_not_blamed_for_a_drop_that_they_show() -> None:
    verdict = decide(output(-5, accuracy=accuracy(0.97, 0.55)), max_drop=1.0)
    assert verdict.status == "rejected"
    assert verdict.score is not None
    assert (verdict.score.high - verdict.score.low) / 2 > 1.0
    assert not [reason for reason in verdict.reasons if "too small" in reason]


def error_of(source: float, artifact: float, **more: Any) -> Score:
    fields = {"metric": "rmse", "title": "RMSE", "drop": 100 * (artifact / source - 1)}
    ends = {"low": 1.0, "high": 50.0, "samples": 100, "larger_is_better": False, "unit": "percent"}
    return Score(source_value=source, value=artifact, **{**fields, **ends, **more})


@pytest.mark.parametrize(("artifact", "status"), [(2.08, "accepted"), (2.3, "rejected")])
def test_another_metric_decides_in_its_own_unit(artifact: float, status: str) -> None:
    verdict = decide(
        output(-5, measured=True),
        score=error_of(2, artifact),
        constant={"value": 9.0, "no_better": []},
        max_drop=5,
    )
    assert verdict.status == status
    assert verdict.accuracy is None
    assert verdict.reasons[0].startswith(f"RMSE {artifact:g}, source 2: {50 * artifact - 100:.2f} ")
    assert "% lost, 5.00 allowed; 95 % interval of the drop 1.00 to 50.00" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("who", "said"), [("source", "the source model itself (2)"), ("artifact", "the artifact (2)")]
)
@pytest.mark.parametrize(("snr_db", "status"), [(30, "accepted"), (3, "rejected")])
def test_where_a_constant_does_as_well_noise_decides_too(
    who: str, said: str, snr_db: float, status: str
) -> None:
    verdict = decide(
        output(snr_db, measured=True),
        score=error_of(2, 2, low=-1.0),
        constant={"value": 2.1, "no_better": [who]},
    )
    assert verdict.status == status
    assert f"{said} is not surely better than the same answer to every sample (2.1)" in "".join(
        verdict.reasons
    )


def test_an_output_that_the_metric_does_not_read_is_judged_by_noise() -> None:
    read = output(-5, measured=True)
    for snr_db, status in ((30, "accepted"), (3, "rejected")):
        found = decide(read, output(snr_db), score=error_of(2, 2), constant=None)
        assert found.status == status


@pytest.mark.parametrize(("snr_db", "status"), [(30, "accepted"), (-3, "rejected")])
def test_where_the_source_only_guesses_noise_decides_too(snr_db: float, status: str) -> None:
    """Otherwise any artifact would pass: there is no accuracy that it could lose."""
    verdict = decide(output(snr_db, accuracy=accuracy(0.11, 0.11)))
    assert verdict.status == status
    assert "(11.0 %) is not better than guessing (10.0 %)" in verdict.reasons[1]
    assert f"{snr_db}.0 dB" in verdict.reasons[2]


@pytest.mark.parametrize(
    ("samples", "top1", "guesses"), [(100, 0.15, True), (100, 0.17, False), (5000, 0.12, False)]
)
def test_guessing_is_told_by_the_number_of_samples(
    samples: int, top1: float, guesses: bool
) -> None:
    verdict = decide(output(-3, accuracy=accuracy(top1, top1)), samples=samples)
    assert (verdict.status == "rejected") == guesses


@pytest.mark.parametrize(
    ("snr_db", "status", "said"),
    [
        (10.0, "accepted", "scores before its softmax: 10.0 dB, at least 10.0 dB are needed"),
        (9.9, "rejected", "scores before its softmax: 9.9 dB, less than the 10.0 dB needed"),
        (None, "accepted", "every output equals the source's to rounding"),
    ],
)
def test_without_labels_noise_decides(snr_db: float | None, status: str, said: str) -> None:
    verdict = decide(output(snr_db), min_snr_db=10)
    assert verdict.status == status
    assert verdict.reasons[0].startswith(said)
    assert (verdict.data, verdict.samples) == ("digits: all", 100)


def test_the_worst_output_decides() -> None:
    assert decide(output(50), output(None), output(3), min_snr_db=10).status == "rejected"


def test_nan_is_rejected_whatever_the_budget() -> None:
    verdict = decide(output(None, not_finite=3), min_snr_db=-100)
    assert verdict.status == "rejected"
    assert verdict.reasons == ("scores is NaN or infinite for 3 of 100 samples",)


def test_scores_that_are_all_alike_prove_nothing() -> None:
    assert "it proves nothing" in decide(output(None, flat=True)).reasons[-1]


@pytest.mark.parametrize(
    ("source", "artifact", "who"),
    [(0.965, 0.96, "the source model itself (96.5 %)"), (0.98, 0.971, "the artifact (97.1 %)")],
)
def test_saying_the_commonest_class_always_is_guessing(
    source: float, artifact: float, who: str
) -> None:
    """An artifact that is a constant would pass where one class is 96 of 100 samples."""
    found = accuracy(source, artifact)
    verdict = decide(output(-3, accuracy=found), samples=1000, commonest=0.96)
    assert verdict.status == "rejected"
    assert verdict.reasons[1].startswith(f"{who} is not better than guessing (96.0 %)")
    assert decide(output(30, accuracy=found), samples=1000, commonest=0.96).status == "accepted"


def test_one_sample_is_no_proof() -> None:
    found = accuracy(1, 1)
    assert decide(output(-3, accuracy=found), samples=1, commonest=1).status == "rejected"


@pytest.mark.parametrize(("snr_db", "status"), [(30, "accepted"), (0, "rejected")])
def test_an_output_that_labels_say_nothing_of_is_judged_by_noise(
    snr_db: float, status: str
) -> None:
    scored = output(-5, accuracy=accuracy(0.97, 0.97))
    assert decide(scored, output(snr_db)).status == status


@pytest.mark.parametrize(("ratio", "status"), [(0.0, "rejected"), (0.1, "accepted")])
def test_an_output_that_may_as_well_be_a_constant_is_rejected(ratio: float, status: str) -> None:
    offset = output(60, variation={"snr_db": ratio, "lost": [], "columns": 1})
    assert decide(offset).status == status


def test_columns_that_the_error_drowns_are_named() -> None:
    found = {"snr_db": 30.0, "lost": [4, 5, 6, 7, 8], "columns": 9}
    verdict = decide(output(40, variation=found))
    assert verdict.status == "accepted"
    assert "in 5 of 9 columns of its last axis (from 0: 4, 5, 6, 7, …)" in verdict.reasons[1]


def test_scores_below_the_smallest_step_are_pointed_out() -> None:
    assert "same value everywhere for 7 of 100 samples" in decide(output(30, blank=7)).reasons[-1]


@pytest.mark.parametrize(("equal", "status"), [(0.99, "accepted"), (0.98, "rejected")])
def test_whole_numbers_are_right_or_wrong_however_near(equal: float, status: str) -> None:
    verdict = decide(output(snr_db=60, equal=equal), max_drop=1.0)
    assert verdict.status == status
    assert f"{100 * equal:.2f} % of its whole numbers are the source's" in verdict.reasons[0]


def test_a_size_of_a_range_that_is_over_budget_is_named(tmp_path: Path) -> None:
    def folder(name: str, snr_db: float) -> str:
        (tmp_path / name).mkdir()
        figures = {"samples": 9, "outputs": [output(snr_db)], "score": None}
        (tmp_path / name / RESULT_FILE).write_text(json.dumps(figures), encoding="utf-8")
        return str(tmp_path / name)

    def decided(least: float, middle: float) -> Verdict:
        case = f"{least}-{middle}"
        found = run(
            tmp_path,
            "data",
            Budget(min_snr_db=10).to_json(),
            folder(f"whole{case}", 40),
            sizes=[{"seq": 16}, {"seq": 73}],
            figures_0=folder(f"least{case}", least),
            figures_1=folder(f"middle{case}", middle),
        )
        return Verdict.from_json(found["verdict"])

    fine = decided(30, 35)
    assert fine.status == "accepted"
    assert fine.reasons[1:] == ("also at seq = 16: 30.0 dB; at seq = 73: 35.0 dB",)
    bad = decided(30, 5)
    assert bad.status == "rejected"
    assert bad.reasons[0].startswith("at seq = 73: scores")
    assert bad.reasons[1] == "also at seq = 16: 30.0 dB"
