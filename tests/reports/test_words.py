"""Numbers as words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.result import Estimate
from edgekit.reports.view import headed
from edgekit.reports.words import (
    decibel,
    digits,
    duration,
    interval,
    moment,
    percent,
    plain,
    points,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1.00"),
        (0.99951, "1.00"),
        (9.996, "10.0"),
        (18.06, "18.1"),
        (1234.5, "1234"),
        (-5.284, "−5.28"),
        (0.00012345, "0.000123"),
        (1.2345e-7, "1.23e−07"),
        (4.2e9, "4.20e+09"),
        (math.inf, "not finite"),
        (math.nan, "not finite"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert digits(value) == text


@given(st.floats(-1e300, 1e300))
def test_digits_stay_near_the_value(value: float) -> None:
    shown = float(digits(value).replace("−", "-"))
    assert shown == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "not measured"),
        (0, "0 ns"),
        (12, "12.0 ns"),
        (18_060, "18.1 µs"),
        (2_500_000, "2.50 ms"),
        (3.2e9, "3.20 s"),
    ],
)
def test_durations(ns: float | None, text: str) -> None:
    assert duration(ns) == text


def test_the_interval_is_in_the_unit_of_the_value() -> None:
    assert interval(Estimate(value=1.01e6, low=0.99e6, high=1.02e6)) == "0.990–1.02 ms"
    assert interval(Estimate(value=1.01e6)) == "no interval"


def test_what_is_missing_is_never_zero() -> None:
    assert percent(None, "no labels") == "no labels"
    assert percent(0.0, "no labels") == "0.00 %"
    assert points(None) == ""
    assert points(1e-12) == "±0"
    assert points(-5.28) == "−5.28"
    assert decibel(None, compared=True) == "equal"
    assert decibel(None, compared=False) == "not compared"


@pytest.mark.parametrize(
    ("created", "text"),
    [
        ("2026-03-14T09:26:53.123456+00:00", "2026-03-14 09:26:53"),
        ("2026-03-14T09:26:53Z", "2026-03-14 09:26:53"),
        ("2026-03-14T01:26:53+02:00", "2026-03-13 23:26:53"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"),
        ("yester\x1bday", "yester\\x1bday"),
    ],
)
def test_moments_are_in_utc(created: str, text: str) -> None:
    assert moment(created) == text


@given(st.text())
def test_plain_text_is_one_line_that_can_be_printed(text: str) -> None:
    shown = plain(text + "\ud800\x1b[31m\r\n\u202e")
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("title", "head"), [("top-1", "Top-1"), ("mAP of boxes", "mAP of boxes"), ("RMSE", "RMSE")]
)
def test_heads_of_metrics(title: str, head: str) -> None:
    assert headed(title) == head
