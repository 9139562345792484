"""Ranges from histograms, checked against what quantizing the very values costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.quantize import RangeMethod
from edgekit.export.ranges import BINS, Histogram, averaged, span

BY_HISTOGRAM: list[RangeMethod] = ["percentile", "mse", "entropy"]


def histogram(values: Any) -> Histogram:
    made = Histogram(float(values.min()), float(values.max()))
    for part in np.array_split(values, 3):
        made.add(part)
    return made


def ranged(values: Any, method: RangeMethod, **options: Any) -> tuple[float, float]:
    options = {"percentile": 99.9, "levels": 256, "symmetric": False, **options}
    return span(histogram(values), method, **options)


def error(values: Any, low: float, high: float, levels: int = 256) -> float:
    """Mean squared error of `values` in that many steps with an exact zero."""
    step = (high - low) / (levels - 1) or 1.0
    zero = np.round(-low / step)
    stored = np.clip(np.round(values / step) + zero, 0, levels - 1)
    return float(np.mean((values - (stored - zero) * step) ** 2))


def drawn(seed: int, outlier: float = 1.0, *, cut: bool = False) -> Any:
    """Normal numbers, one in a thousand of them times `outlier`; negative ones as 0 if cut."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=20_000)
    values[:20] *= outlier
    return np.maximum(values, 0) if cut else values


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 50), st.booleans(), st.sampled_from(BY_HISTOGRAM))
def test_a_range_holds_zero_and_is_inside_the_values(
    seed: int, outlier: float, cut: bool, method: RangeMethod
) -> None:
    values = drawn(seed, outlier, cut=cut)
    low, high = ranged(values, method)
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    assert high > low


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(1, 30), st.booleans())
def test_the_least_squared_error_is_no_more_than_that_of_all_values(
    seed: int, outlier: float, cut: bool
) -> None:
    values = drawn(seed, outlier, cut=cut)
    whole = min(values.min(), 0), max(values.max(), 0)
    assert error(values, *ranged(values, "mse")) <= 1.02 * error(values, *whole)


@pytest.mark.parametrize("method", BY_HISTOGRAM)
def test_an_outlier_is_cut_off(method: RangeMethod) -> None:
    kept = np.random.default_rng(1).normal(size=600_000)
    values = np.append(kept, 60.0)
    low, high = ranged(values, method, percentile=99.99)
    assert error(kept, low, high) < 0.5 * error(kept, values.min(), values.max())


def test_sixteen_levels_are_cut_off_more_than_256() -> None:
    values = drawn(2)
    few, many = (ranged(values, "mse", levels=levels) for levels in (16, 256))
    assert few[1] - few[0] < 0.9 * (many[1] - many[0])


def test_without_a_zero_point_both_sides_share_their_steps() -> None:
    values = np.append(np.abs(drawn(3)), -1.0)
    low, high = ranged(values, "mse", levels=16, symmetric=True)
    assert low == pytest.approx(-1.0)  # narrower than the other side: nothing to gain there
    assert 1 < high < values.max()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(BY_HISTOGRAM), st.integers(-8, 8))
def test_the_unit_does_not_matter(seed: int, method: RangeMethod, power: int) -> None:
    values = drawn(seed, 10.0)
    factor = 2.0**power
    wanted = np.array(ranged(values, method)) * factor
    assert np.allclose(ranged(values * factor, method), wanted, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(60, 100), st.booleans())
def test_so_many_values_stay_inside(seed: int, percentile: float, cut: bool) -> None:
    values = drawn(seed, 5.0, cut=cut)
    found = ranged(values, "percentile", percentile=percentile)
    bin_width = (values.max() - min(values.min(), 0)) / BINS
    below, above = (float(np.mean(values < found[0])), float(np.mean(values > found[1])))
    outside = float(np.mean((values < found[0] - bin_width) | (values > found[1] + bin_width)))
    cut_off = (100 - percentile) / 200
    assert below <= cut_off + 0.01
    assert above <= cut_off + 0.01
    assert outside <= 2 * cut_off + 1e-9


@pytest.mark.parametrize("method", BY_HISTOGRAM)
def test_a_tensor_of_zeros_has_no_range(method: RangeMethod) -> None:
    assert ranged(np.zeros(100), method) == (0.0, 0.0)


def test_an_average_starts_at_the_first_sample_and_goes_to_the_later_ones() -> None:
    value = averaged(None, 10.0)
    assert value == 10.0
    for _ in range(200):
        value = averaged(value, 1.0)
    assert value == pytest.approx(1.0, abs=0.01)
