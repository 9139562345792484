"""Statistics: against scipy, and their coverage on made-up launches whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.measurement import Launch, Memory
from edgekit.measure.stats import estimate, steady, student_quantile, summarize, trend, two_speeds
from edgekit.reports.words import memory_facts
from tests.measure.made_up import measurement


def launches(samples: list[list[int]], **more: int) -> list[Launch]:
    values = {"load_ns": 1000, "first_ns": 500, "peak_rss_bytes": 10**6} | more
    return [Launch(warmup_ns=(), samples_ns=tuple(s), **values) for s in samples]


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 29, 100])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_student_quantile_is_scipys(degrees: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student_quantile(degrees, confidence) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_the_interval_covers_the_truth_as_often_as_it_says(count: int, quantile: float) -> None:
    """Launches differ by a factor of their own (3 %), samples are skewed inside each."""
    rng = np.random.default_rng(7)
    experiments, runs = 2000, 200
    factors = np.exp(rng.normal(0, 0.03, (experiments, count)))
    noise = rng.gamma(2.0, 0.02, (experiments, count, runs))
    per_launch = np.quantile(factors[..., None] * (1 + noise), quantile, axis=-1)
    truth = per_launch.mean()
    intervals = [estimate(list(row)) for row in per_launch]
    covered = sum(i.low <= truth <= i.high for i in intervals if i.low and i.high) / experiments
    assert 0.935 <= covered <= 0.965


def test_pooling_the_samples_would_not() -> None:
    """Why the launch is the unit: taking samples for independent covers next to nothing."""
    rng = np.random.default_rng(7)
    experiments, count, runs = 500, 5, 200
    factors = np.exp(rng.normal(0, 0.03, (experiments, count)))
    samples = factors[..., None] * (1 + rng.gamma(2.0, 0.02, (experiments, count, runs)))
    flat = samples.reshape(experiments, -1)
    half = 1.96 * flat.std(axis=1) / math.sqrt(count * runs)
    covered = np.mean(np.abs(flat.mean(axis=1) - flat.mean()) <= half)
    assert covered < 0.5


@given(st.lists(st.floats(1, 1e9), min_size=2, max_size=20))
def test_the_interval_holds_the_value(values: list[float]) -> None:
    found = estimate(values)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert min(values) * 0.999999 <= found.value <= max(values) * 1.000001


@given(st.lists(st.floats(1, 1e9), min_size=2, max_size=20), st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(values: list[float], factor: float) -> None:
    plain, scaled = estimate(values), estimate([v * factor for v in values])
    assert plain.high is not None
    assert scaled.high is not None
    assert scaled.value == pytest.approx(plain.value * factor)
    half, other = plain.high - plain.value, scaled.high - scaled.value
    assert other == pytest.approx(half * factor, rel=1e-3, abs=1e-6 * scaled.value)


def test_one_launch_has_no_interval() -> None:
    found = estimate([5.0])
    assert (found.value, found.low, found.high) == (5.0, None, None)
    assert found.relative_half_width is None


def test_no_launch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no launch"):
        estimate([])


def test_summary() -> None:
    found = summarize(measurement(launches([[100] * 9 + [200], [300] * 9 + [400]])))
    assert found.median_ns.value == 200
    assert found.p90_ns.value == pytest.approx((110 + 310) / 2)
    assert found.throughput_per_second.value == pytest.approx((10e9 / 1100 + 10e9 / 3100) / 2)
    assert found.samples == 20
    assert found.peak_rss_bytes == 10**6
    assert found.load_ns.value == 1000


def test_throughput_counts_the_samples_of_a_batch() -> None:
    made = measurement(launches([[1000, 1000], [1000, 1000]]), settings={"batch": 8})
    assert summarize(made).throughput_per_second.value == pytest.approx(8e6)


def test_memory_that_is_not_known_stays_so() -> None:
    made = measurement(
        [
            Launch(load_ns=1, first_ns=1, warmup_ns=(), samples_ns=(5, 6), peak_rss_bytes=None)
            for _ in range(2)
        ]
    )
    assert summarize(made).peak_rss_bytes is None


def test_memory_is_the_largest_of_the_launches_with_the_reason_for_what_is_not_told() -> None:
    why = {"arena_bytes": "no idea"}
    told = [
        Memory(model_rss_bytes=size, model_pss_bytes=size, swap_bytes=0, unavailable=why)
        for size in (10, 30, 20)
    ]
    made = measurement([one.model_copy(update={"memory": memory}) for one, memory in
                        zip(launches([[5, 6]] * 3), told, strict=True)])  # fmt: skip
    found = summarize(made).memory
    assert found == told[1]
    assert memory_facts(found) == (
        ("model's pages", "30 B"),
        ("of these its share (Pss)", "30 B"),
        ("swapped out", "0 B"),
        ("arena", "unavailable: no idea"),
    )
    assert summarize(measurement(launches([[5, 6]]))).memory is None


def test_trend() -> None:
    assert trend(np.full(9, 5.0)) == 0
    assert trend(np.linspace(100, 200, 300)) == pytest.approx(0.57, abs=0.01)
    assert trend(np.array([1.0])) == 0


@pytest.mark.parametrize("seed", range(5))
def test_two_speeds_are_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fast, slow = rng.normal(100, 2, 700), rng.normal(150, 3, 300)
    samples = np.concatenate([fast, slow])
    rng.shuffle(samples)
    found = two_speeds(samples)
    assert found is not None
    assert found[0] == pytest.approx(100, rel=0.02)
    assert found[1] == pytest.approx(150, rel=0.02)
    assert found[2] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_one_speed_is_not_taken_for_two(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for samples in (
        rng.normal(100, 10, 1000),
        rng.uniform(50, 150, 1000),
        100 + rng.exponential(20, 1000),
        rng.lognormal(4.6, 0.3, 1000),
        np.concatenate([rng.normal(100, 2, 990), rng.normal(900, 9, 10)]),  # outliers
        np.full(1000, 100.0),
        rng.normal(100, 2, 5),
    ):
        assert two_speeds(samples) is None


@pytest.mark.parametrize("samples", [[7], [7, 7000], [7000, 7], [3, 5, 7]])
def test_a_long_run_of_few_inferences_settles_at_the_last(samples: list[int]) -> None:
    assert steady(samples).value == samples[-1]
