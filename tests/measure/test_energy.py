"""Energy of made-up traces whose energy is known, and when none may be told."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.measurement import Launch, Sensed, Trace, Window
from edgekit.measure.energy import TOLERATED_NOISE, UnknownEnergy, energy, launch_energy, used
from edgekit.measure.stability import stability
from edgekit.measure.stats import summarize
from tests.measure.made_up import measurement

S = 1_000_000_000
START = 5_000 * S


def moments(rate: float, until: float, seed: int = 0) -> list[float]:
    """As the sampler reads: at a random moment of each turn, in seconds."""
    chance = random.Random(seed).random
    return [(turn + chance()) / rate for turn in range(int(until * rate))]


def trace(
    times: Sequence[float],
    values: Sequence[float],
    unit: Literal["W", "J"] = "W",
    **more: Any,
) -> Trace:
    return Trace(
        source="made-up",
        rail="IN",
        unit=unit,
        kind="measured",
        start_ns=START,
        offsets_us=tuple(round(t * 1e6) for t in times),
        values=tuple(values),
        in_total=True,
        **more,
    )


def window(start: float, end: float) -> Window:
    return Window(start_ns=START + round(start * S), end_ns=START + round(end * S))


def of_power(power: Callable[[float], float], rate: float = 10.0, seed: int = 0) -> Trace:
    times = moments(rate, 12.0, seed)
    return trace(times, [power(t) for t in times])


def test_a_constant_load_to_the_digit() -> None:
    found = used(of_power(lambda _: 5.0), window(1, 11), 0.1)
    assert found.joules == pytest.approx(50.0, rel=1e-9)
    assert found.watts == pytest.approx(5.0, rel=1e-9)
    assert found.noise == 0


@given(
    st.floats(0.0, 3.0), st.floats(2.0, 8.0), st.floats(0.5, 20), st.floats(0, 20), st.integers()
)
def test_a_ramp_to_the_digit(
    start: float, seconds: float, least: float, slope: float, seed: int
) -> None:
    """The ends lie between readings; past the first and the last there is none to go by."""
    ramp = of_power(lambda t: least + slope * t, seed=seed)
    at = window(start + 0.2, start + 0.2 + seconds)
    middle = start + 0.2 + seconds / 2
    found = used(ramp, at, 0.1)
    assert found.joules == pytest.approx(seconds * (least + slope * middle), rel=1e-4)


@settings(max_examples=50, derandomize=True)  # of all seeds it can hold for nearly all only
@given(
    frequency=st.sampled_from([5.0, 10.0, 20.0, 30.0, 37.3, 100.0, 400.0]),
    duty=st.floats(0.1, 0.9),
    seed=st.integers(0, 1 << 30),
)
def test_a_square_wave_faster_than_it_is_read(frequency: float, duty: float, seed: int) -> None:
    """In step with the reading or not: within 1 %, or said to be uncertain by more than that,
    and then within four times of what was said.
    """

    def power(t: float) -> float:
        return 9.0 if (t * frequency) % 1.0 < duty else 1.0

    true = 10 * (9.0 * duty + 1.0 * (1 - duty))
    found = used(of_power(power, seed=seed), window(1, 11), 0.1)
    off = abs(found.joules / true - 1)
    assert off < 0.01 or found.noise > TOLERATED_NOISE
    assert off < 4 * found.noise + 0.01


def test_many_launches_of_a_square_wave_have_its_mean() -> None:
    """A wave in step with an even rate would give 9 W or 1 W; random moments have no bias."""
    found = [
        used(of_power(lambda t: 9.0 if (t * 10) % 1 < 0.5 else 1.0, seed=s), window(1, 11), 0.1)
        for s in range(200)
    ]
    assert sum(each.watts for each in found) / 200 == pytest.approx(5.0, rel=0.01)
    near = [abs(each.watts / 5 - 1) <= each.noise for each in found]
    assert sum(near) / 200 > 0.85  # what was said holds about as often as it says


def test_a_slow_drift_is_no_noise() -> None:
    assert used(of_power(lambda t: 2 + t), window(1, 11), 0.1).noise < 0.02


@given(st.integers(0, 1 << 30), st.floats(0.0, 999.0))
def test_a_counter_that_wraps(seed: int, first: float) -> None:
    times = moments(10, 12, seed)
    counted = [(first + 40.0 * t) % 100 for t in times]
    found = used(trace(times, counted, "J", wraps_at=100.0), window(1, 11), 0.1)
    assert found.joules == pytest.approx(400.0, rel=1e-4)


def test_a_counter_sees_what_happens_between_readings() -> None:
    """Nine tenths of the energy come in bursts of a millisecond."""
    times = moments(10, 12)
    counted = [math.floor(t * 7) * 0.9 + t * 0.7 for t in times]
    found = used(trace(times, counted, "J"), window(1, 11), 0.1)
    assert abs(found.joules / 70 - 1) <= found.noise
    assert found.noise < 0.1


def test_a_counter_that_is_updated_seldom() -> None:
    """Once a second, read ten times as often: the end of a window between two updates."""
    times = moments(10, 40)
    counted = [3.0 * math.floor(t + 0.37) for t in times]
    found = used(trace(times, counted, "J"), window(2.2, 37.9), 0.1)
    assert found.joules == pytest.approx(3.0 * 35.7, rel=0.01)
    with pytest.raises(UnknownEnergy, match=r"3 readings .* use --min-seconds"):
        used(trace(times, counted, "J"), window(10.0, 13.0), 0.1)


def bad(times: Sequence[float], values: Sequence[float] | None = None, **more: Any) -> str:
    at = more.pop("at", window(1, 11))
    with pytest.raises(UnknownEnergy) as caught:
        used(trace(times, [5.0] * len(times) if values is None else values, **more), at, 0.1)
    return str(caught.value)


EVEN = moments(10, 12)


def test_a_sensor_that_dies_in_mid_run() -> None:
    assert "said nothing more after 3.8 of the 10.0 s" in bad([t for t in EVEN if t < 4.95])
    assert "said nothing more after 0.0" in bad([t for t in EVEN if t < 0.5])
    assert "said nothing in the first 4.1 s" in bad([t for t in EVEN if t > 5.0])
    assert "said nothing" in bad([])


def without(start: float, end: float) -> list[float]:
    return [t for t in EVEN if not start < t < end]


def test_readings_that_are_missing() -> None:
    assert "readings are missing over" in bad(without(4.0, 6.0))
    kept = without(4.0, 4.8)  # a tenth of the window is let pass
    assert used(trace(kept, [5.0] * len(kept)), window(1, 11), 0.1).joules == pytest.approx(50.0)


def test_single_readings_that_are_dropped_cost_nothing() -> None:
    kept = [t for i, t in enumerate(EVEN) if i % 3]
    found = used(trace(kept, [2 + t for t in kept]), window(1, 11), 0.1)
    assert found.joules == pytest.approx(80.0, rel=1e-3)


def test_two_readings_at_one_time() -> None:
    times = [t for t in EVEN for _ in range(2)]
    found = used(trace(times, [2 + t for t in times]), window(1, 11), 0.1)
    assert found.joules == pytest.approx(80.0, rel=1e-3)


def test_a_clock_that_jumps() -> None:
    assert "jumped back" in bad([*EVEN[:50], *EVEN[:50]])
    assert "readings are missing" in bad([t if t < 3 else t + 4 for t in EVEN])


def test_too_few_readings_say_what_to_do() -> None:
    said = bad(EVEN, at=window(1.0, 1.5))
    assert "too few, 10 are needed: use --min-seconds 2" in said


def test_values_that_cannot_be() -> None:
    assert "less than nothing" in bad(EVEN, [-1.0] * len(EVEN))
    assert "went back" in bad(EVEN, [100 - t for t in EVEN], unit="J")
    assert "stood still" in bad(EVEN, [1.0] * len(EVEN), unit="J")


# ---------------------------------------------------------------------------------------------
# Of a measurement


def launch(traces: Sequence[Trace], **more: Any) -> Launch:
    return Launch(
        load_ns=1,
        first_ns=1,
        warmup_ns=(),
        samples_ns=(S // 10,) * 100,
        peak_rss_bytes=None,
        windows=(window(2, 12),),
        sensed=Sensed(rate_hz=10, traces=tuple(traces), idle=window(0, 1), **more),
    )


def rails(*watts: float, until: float = 13.0) -> list[Trace]:
    times = moments(10, until)
    return [trace(times, [w if t > 1.5 else w / 5 for t in times]) for w in watts]


def test_rails_are_added_up_and_divided_by_the_runs() -> None:
    found = energy(measurement([launch(rails(3.0, 2.0)), launch(rails(3.0, 4.0))]))
    assert found is not None
    assert found.per_inference_j is not None
    assert found.per_inference_j.value == pytest.approx(0.6)  # 10 s of 5 W and of 7 W, 100 runs
    assert found.per_inference_j.low is not None
    assert found.mean_power_w is not None
    assert found.mean_power_w.value == pytest.approx(6.0)
    assert found.idle_power_w is not None
    assert found.idle_power_w.value == pytest.approx(1.2)
    assert found.kind == "derived"


def test_a_rail_that_carries_nothing_is_no_reason_to_refuse_the_others() -> None:
    times = moments(10, 13)
    nothing = trace(times, [-0.008 if i % 2 else 0.0 for i in range(len(times))])
    assert launch_energy(launch([*rails(5.0), nothing])).joules == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(
    ("watts", "said"),
    [
        (lambda i: 0.0, "0 W all the time"),
        (lambda i: 50.0 if i % 10 == 0 else 0.0, "jumps so much"),
    ],
)
def test_a_total_that_says_nothing(watts: Callable[[int], float], said: str) -> None:
    times = moments(10, 13)
    with pytest.raises(UnknownEnergy, match=said):
        launch_energy(launch([trace(times, [watts(i) for i in range(len(times))])]))


def test_all_streams_share_one_window() -> None:
    one = launch(rails(5.0)).model_copy(update={"windows": (window(2, 11), window(3, 12))})
    assert launch_energy(one).joules == pytest.approx(50.0)


def test_a_launch_without_energy_is_left_out_and_told() -> None:
    whole, cut = launch(rails(5.0)), launch(rails(5.0, until=6.0))
    found = energy(measurement([whole, whole, cut]))
    assert found is not None
    assert found.per_inference_j is not None
    assert found.per_inference_j.value == pytest.approx(0.5)
    assert "1 of 3 launches left out: made-up (IN) said nothing more after" in found.notes[0]
    none = energy(measurement([whole, cut]))
    assert none is not None
    assert none.per_inference_j is None
    assert "said nothing more" in none.unavailable


def test_runs_that_ended_at_the_most_there_may_be_are_told_so() -> None:
    """A longer --min-seconds alone would not help."""
    short = launch(rails(5.0)).model_copy(
        update={"windows": (window(2.0, 2.4),), "stopped": "max_runs"}
    )
    found = energy(measurement([short]))
    assert found is not None
    assert "are too few" in found.unavailable
    assert found.unavailable.endswith("; 100 runs are the most there may be in a launch")


def test_without_a_sensor_the_reason_is_told_and_nothing_is_zero() -> None:
    found = energy(measurement([launch([], no_power="rapl: only root may read it")]))
    assert found is not None
    assert found.unavailable == "rapl: only root may read it"
    assert found.per_inference_j is found.mean_power_w is found.idle_power_w is None


def test_what_older_editions_measured_has_none() -> None:
    old = launch([]).to_json()
    del old["sensed"]
    taken = measurement([Launch.from_json(old)])
    summary = summarize(taken, [str(f) for f in stability(taken)])
    assert summary.energy is None
