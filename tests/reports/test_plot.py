"""Plots: round ticks, values inside, labels that do not overlap, text that is only text."""

from __future__ import annotations

import math
import random
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.result import Estimate
from edgekit.reports.axis import axis, tick_text
from edgekit.reports.plot import (
    CHARACTER,
    LINE,
    SHOWN_RUNS,
    WIDTH,
    Point,
    Times,
    distribution,
    latency,
    runs,
    scatter,
)

SVG = "{http://www.w3.org/2000/svg}"
finite = st.floats(allow_nan=False, allow_infinity=False)


def parsed(svg: str) -> ET.Element:
    """The plot as XML, which is stricter than HTML."""
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([3, 97], (0, 20, 40, 60, 80, 100)),
        ([0.1, 0.3], (0.1, 0.15, 0.2, 0.25, 0.3)),
        ([-1, 1], (-1, -0.5, 0, 0.5, 1)),
    ],
)
def test_linear_ticks_are_round(values: list[float], ticks: tuple[float, ...]) -> None:
    assert axis(values, 0, 100, log=False).ticks == ticks


def test_a_wide_range_is_logarithmic() -> None:
    made = axis([15, 2400], 0, 100)
    assert made.log
    assert made.ticks == (20, 50, 100, 200, 500, 1000, 2000)
    assert not axis([-15, 2400], 0, 100).log
    assert not axis([0, 2400], 0, 100).log


def test_percentages_end_at_a_hundred() -> None:
    made = axis([93.3, 99.9], 100, 0, limit=100)
    assert made.high == 100
    assert made.ticks[-1] == 100


@given(st.lists(finite, max_size=8), st.booleans())
def test_every_value_is_on_the_axis_and_the_ticks_are_few(values: list[float], zero: bool) -> None:
    made = axis(values, 10, 200, from_zero=zero)
    assert all(10 <= made.at(value) <= 200 for value in values)
    assert all(10 - 1e-6 <= made.at(tick) <= 200 + 1e-6 for tick in made.ticks)
    assert len(made.ticks) <= 40
    assert list(made.ticks) == sorted(made.ticks)
    for tick in made.ticks:
        assert tick_text(tick, made.ticks)


def test_what_is_not_finite_is_left_out() -> None:
    made = axis([math.inf, math.nan, 1, 2], 0, 100)
    assert made.low <= 1
    assert 2 <= made.high < 10


@pytest.mark.parametrize("seed", range(5))
def test_labels_do_not_overlap(seed: int) -> None:
    draw = random.Random(seed)
    points = [
        Point(f"variant-{n}", draw.uniform(10, 14), draw.uniform(97, 98.6), n % 3 > 0, "")
        for n in range(12)
    ]
    svg = scatter(
        points,
        title="t",
        description="d",
        x_name="x",
        y_name="y",
        y_limit=100,
        line=(98.61, "source model 98.61 %"),
    )
    boxes = []
    for element in parsed(svg).iter(f"{SVG}text"):
        if not (element.text or "").startswith("variant-"):
            continue
        x, y, length = float(element.get("x", 0)), float(element.get("y", 0)), 0.9 * CHARACTER
        length *= len(element.text or "")
        left = x - length if element.get("text-anchor") == "end" else x
        boxes.append((left, y - 10, left + length, y))
        assert left >= 0
        assert left + length <= WIDTH
    assert len(boxes) == 12
    for index, one in enumerate(boxes):
        for two in boxes[index + 1 :]:
            apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
            assert apart


def test_the_names_of_axis_and_line_cover_nothing() -> None:
    """Wide tick labels, and a point on the line where its name would stand."""
    points = [Point("a", 41, 48.125, True, ""), Point("b", 10, 48.25, True, "")]
    svg = scatter(
        points,
        title="t",
        description="d",
        x_name="x",
        y_name="top-1 accuracy, %",
        line=(48.125, "source model 48.13 %"),
    )
    found = {e.text: e for e in parsed(svg).iter(f"{SVG}text")}
    ticks = [e for text, e in found.items() if re.fullmatch(r"48\.\d{3}", text or "")]
    assert ticks
    for tick in ticks:  # the axis's name is turned: its letters end some 4 px right of their base
        left = float(tick.get("x", 0)) - CHARACTER * 6
        assert left > float(found["top-1 accuracy, %"].get("x", 0)) + 4
    name = found["source model 48.13 %"]
    right, base = float(name.get("x", 0)), float(name.get("y", 0))
    assert name.get("text-anchor") == "end"
    for circle in parsed(svg).iter(f"{SVG}circle"):
        x, y = float(circle.get("cx", 0)), float(circle.get("cy", 0))
        beside = x + 5 < right - CHARACTER * 20 or x - 5 > right
        assert beside or y + 5 < base - LINE or y - 5 > base


def test_a_line_at_the_very_top_has_its_name_below() -> None:
    svg = scatter(
        [Point("a", 1, 90, True, "")],
        title="",
        description="",
        x_name="",
        y_name="",
        y_limit=100,
        line=(100.0, "source"),
    )
    (name,) = [e for e in parsed(svg).iter(f"{SVG}text") if e.text == "source"]
    assert float(name.get("y", 0)) > 16


HOSTILE = "</title><script>alert(1)</script>\"'&\x00\x1b\ud800"


def test_hostile_names_are_only_text() -> None:
    made = [
        scatter(
            [Point(HOSTILE, 1, 2, True, HOSTILE)],
            title=HOSTILE,
            description=HOSTILE,
            x_name=HOSTILE,
            y_name=HOSTILE,
            line=(2.0, HOSTILE),
        ),
        latency([Times(HOSTILE, Estimate(value=1), 2, 3)], title=HOSTILE, description=HOSTILE),
        runs([[1, 2]], title=HOSTILE, description=HOSTILE),
        distribution([[1, 2]], title=HOSTILE, description=HOSTILE),
    ]
    for svg in made:
        tags = {element.tag.removeprefix(SVG) for element in parsed(svg).iter()}
        assert tags <= {"svg", "title", "desc", "g", "path", "circle", "polyline", "text"}
        svg.encode()


def test_each_has_a_name_and_a_description() -> None:
    root = parsed(runs([[5, 6, 7]], title="Every run", description="One launch."))
    title, about = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert about is not None
    assert (title.text, about.text) == ("Every run", "One launch.")
    assert root.get("aria-labelledby") == f"{title.get('id')} {about.get('id')}"
    assert root.get("role") == "img"


def test_one_row_of_latency_says_all_in_its_tooltip() -> None:
    rows = [Times("int8", Estimate(value=18e3, low=17e3, high=19e3), 20e3, 30e3)]
    svg = latency(rows, title="Latency", description="")
    assert (
        "int8: median 18.0 µs (95 % interval 17.0 µs to 19.0 µs), p90 20.0 µs, p99 30.0 µs" in svg
    )
    assert "time of one inference, µs" in texts(svg)
    without = latency([Times("a", Estimate(value=5), 6, 7)], title="", description="")
    assert "interval 1" not in without


def test_long_launches_are_thinned_but_the_extremes_stay() -> None:
    draw = random.Random(3)
    launch = [int(draw.gauss(50_000, 500)) for _ in range(20_000)]
    launch[7777], launch[333] = 90_000, 20_000
    svg = runs([launch], title="", description="")
    dots = re.findall(r"M([\d.]+) [\d.]+h0", svg)
    assert SHOWN_RUNS <= len(dots) <= SHOWN_RUNS + 2
    assert max(map(float, dots)) - min(map(float, dots)) > 0.5 * WIDTH
    assert "launch 1: 20000 runs" in svg
    assert len(distribution([launch] * 5, title="", description="")) < 50_000


def test_a_few_slow_runs_make_the_axis_logarithmic() -> None:
    assert "(logarithmic)" in runs([[100, 101, 102, 5000]], title="", description="")
    assert "(logarithmic)" not in runs([[100, 101, 102, 103]], title="", description="")


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**62), min_size=1, max_size=9), min_size=1, max_size=3))
def test_any_samples_give_a_plot(launches: list[list[int]]) -> None:
    for plot in (runs, distribution):
        parsed(plot(launches, title="t", description="d"))
