"""How energy, power and heat are shown, and that what is not known is said."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from edgekit.core.build import Build
from edgekit.core.measurement import Sensed, Trace, Window
from edgekit.core.result import NO_POWER, Energy, Estimate, Result
from edgekit.reports import print_report, report_html, report_json
from edgekit.reports.power import quantity, quantity_interval
from tests.samples import result, write_build

S = 10**9
KNOWN = Energy(
    per_inference_j=Estimate(value=0.0123, low=0.0121, high=0.0125),
    mean_power_w=Estimate(value=5.2, low=5.1, high=5.3),
    idle_power_w=Estimate(value=3.1),
    covers="the module's input (VDD_IN)",
    kind="measured",
    notes=("1 of 5 launches left out: it <slept>",),
)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return write_build(tmp_path)


def traces(start_s: int) -> tuple[Trace, ...]:
    at = {"start_ns": start_s * S, "offsets_us": tuple(range(0, 5_000_000, 10_000))}
    count = len(at["offsets_us"])  # type: ignore[arg-type]
    return (
        Trace(source="s", rail="VDD_<IN>", unit="W", kind="measured", in_total=True,
              values=tuple(5 + i % 3 for i in range(count)), **at),
        Trace(source="s", rail="package", unit="J", kind="measured", in_total=True,
              values=tuple(0.02 * i for i in range(count)), **at),
        Trace(source="s", rail="part", unit="W", kind="measured", values=(1.0,) * count, **at),
        Trace(source="t", rail="cpu", unit="°C", kind="measured",
              values=tuple(40 + i / 100 for i in range(count)), **at),
    )  # fmt: skip


def with_energy(build: Build, energy: Energy | None, *, sensed: bool = True) -> Result:
    made = result(build, "int8", launches=2)
    launches = tuple(
        launch.model_copy(
            update={
                "windows": (Window(start_ns=(100 + 10 * i) * S, end_ns=(104 + 10 * i) * S),),
                "sensed": Sensed(
                    rate_hz=100, traces=traces(100 + 10 * i), facts={"power mode": "15W (2)"}
                ),
            }
        )
        if sensed
        else launch
        for i, launch in enumerate(made.measurement.launches)
    )
    return made.model_copy(
        update={
            "measurement": made.measurement.model_copy(update={"launches": launches}),
            "summary": made.summary.model_copy(update={"energy": energy}),
        }
    )


def printed(build: Build, shown: Result, columns: int = 80) -> str:
    out = io.StringIO()
    print_report(build, [shown], file=out, columns=columns)
    return out.getvalue()


def test_words() -> None:
    assert [quantity(v, "J") for v in (2.0, 0.0123, 4.5e-6, 7e-10)] == [
        "2.00 J", "12.3 mJ", "4.50 µJ", "0.700 nJ",
    ]  # fmt: skip
    assert quantity_interval(KNOWN.per_inference_j, "J") == "12.1–12.5 mJ"
    assert quantity_interval(KNOWN.idle_power_w, "W") == "no interval"
    assert quantity_interval(None, "J") == ""


def test_it_is_in_the_terminal_with_what_it_is_of(build: Build) -> None:
    text = printed(build, with_energy(build, KNOWN))
    for said in (
        "12.3 mJ", "12.1–12.5 mJ", "5.20 W", "3.10 W", "int8: energy: of the module's input",
        "measured", "left out: it <slept>",
    ):  # fmt: skip
        assert said in text
    assert max(map(len, text.splitlines())) <= 80


def test_where_it_is_not_known_the_terminal_says_why_and_no_number(build: Build) -> None:
    text = printed(build, with_energy(build, Energy(unavailable="rapl: only root may read it")))
    assert "int8: energy unavailable: rapl: only root may read it" in " ".join(text.split())
    assert " 0 J" not in text


@pytest.mark.parametrize("energy", [None, Energy(unavailable=NO_POWER)])
def test_a_board_without_sensors_is_not_told_about_it_each_time(
    build: Build, energy: Energy | None
) -> None:
    assert "nergy" not in printed(build, with_energy(build, energy, sensed=False))


def test_the_page_has_a_column_a_reason_and_plots_over_time(build: Build) -> None:
    page = report_html(build, [with_energy(build, KNOWN)])
    assert '<th scope="col" class="n">Energy</th>' in page
    assert page.count("12.3 mJ") == 2  # in the table and in the details
    assert "energy: of the module&#39;s input (VDD_IN); measured" in page
    assert "power mode" in page
    assert page.count('<rect class="shade"') == 4  # two launches in two plots
    assert "VDD_&lt;IN&gt;: at most 7.00; package: at most 2.00" in page
    assert "cpu: at most 45.0" in page
    assert "part: at most" not in page  # a part of what is plotted already
    assert "<slept>" not in page
    unknown = report_html(build, [with_energy(build, Energy(unavailable="it <slept>"))])
    assert "energy unavailable: it &lt;slept&gt;" in unknown
    without = report_html(build, [with_energy(build, None, sensed=False)])
    assert "not measured" in without
    assert "over all launches; shaded" not in without


def test_the_json(build: Build) -> None:
    document = json.loads(report_json(build, [with_energy(build, KNOWN)]))
    energy = document["measurements"][0]["summary"]["energy"]
    assert energy["per_inference_j"] == {"value": 0.0123, "low": 0.0121, "high": 0.0125}
    assert energy["idle_power_w"]["low"] is None
