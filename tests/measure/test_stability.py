"""Each reason not to rely on a measurement is found, and none where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.core.measurement import Launch
from edgekit.measure.stability import stability
from tests.measure.made_up import measurement


def launch(samples: Any, stopped: str = "enough") -> Launch:
    times = tuple(int(v) for v in samples)
    return Launch(
        load_ns=1,
        first_ns=1,
        warmup_ns=(),
        samples_ns=times,
        peak_rss_bytes=1,
        stopped=stopped,  # type: ignore[arg-type]
    )


def steady(level: float = 1e6, seed: int = 0, count: int = 300) -> Launch:
    rng = np.random.default_rng(seed)
    return launch(level * (1 + rng.gamma(2, 0.005, count)))


STEADY = [steady(seed=s) for s in range(5)]


def seen(*args: Any, **kwargs: Any) -> list[str]:
    findings = stability(measurement(*args, **kwargs))
    assert all(f.do for f in findings)
    return [f.seen for f in findings]


def test_a_sound_measurement() -> None:
    before = {
        "governors": {"policy0": "performance"},
        "temperatures_c": {"thermal_zone0:cpu": 45.0},
        "load_average": [0.1, 0.1, 0.1],
        "throttled": "0x50000",  # long ago, not now
    }
    after = before | {"temperatures_c": {"thermal_zone0:cpu": 47.0}}
    assert seen(STEADY, before=before, after=after) == []


def test_nothing_known_is_nothing_found() -> None:
    assert seen(STEADY) == []


def test_one_launch() -> None:
    assert seen(STEADY[:1]) == ["one launch has no interval"]


def test_a_wide_interval() -> None:
    (text,) = seen([steady(level, 3) for level in (1.0e6, 1.3e6, 0.9e6, 1.05e6)])
    assert text.startswith("the median is known to ±")


def test_slower_and_slower_inside() -> None:
    rising = [launch(np.linspace(1e6, 1.3e6, 300)) for _ in range(5)]
    assert "inferences get 19% slower within a launch" in seen(rising)


def test_faster_and_faster_inside() -> None:
    falling = [launch(np.linspace(1.3e6, 1e6, 300)) for _ in range(5)]
    assert "inferences get 16% faster within a launch" in seen(falling)


def test_slower_from_launch_to_launch() -> None:
    found = seen([steady(1e6 * (1 + 0.02 * i), i) for i in range(5)])
    assert any("each launch is slower than the one before, 8% in all" in f for f in found)


def test_two_speeds() -> None:
    rng = np.random.default_rng(1)
    jumping = [launch(rng.choice([1e6, 1.5e6], 300, p=[0.7, 0.3])) for _ in range(5)]
    assert any(f.startswith("two speeds: 1 ms, and 1.5 ms in") for f in seen(jumping))


def test_the_time_was_over() -> None:
    cut = [launch([1e9] * 7, "time_budget") for _ in range(3)]
    assert "the time was over after 7 of 100 runs" in seen(cut)


def test_governor() -> None:
    before = {"governors": {"policy0": "performance", "policy4": "schedutil"}}
    assert seen(STEADY, before=before) == ["the clock may change (governor schedutil)"]


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ("0x0", "0x4", "throttled"),
        ("0x1", "0x0", "under-voltage"),
        ("0x0", "0xa0000", "frequency capped, soft temperature limit"),  # in between, and over
        ("0x50000", "0x50000", None),
    ],
)
def test_throttling(before: str, after: str, names: str | None) -> None:
    found = seen(STEADY, before={"throttled": before}, after={"throttled": after})
    assert found == ([f"the board was held back while measuring ({names})"] if names else [])


@pytest.mark.parametrize(
    ("status", "said", "invalid"), [(0, "", False), (1, "light", False), (3, "severe", True)]
)
def test_a_phone_that_holds_back(status: int, said: str, invalid: bool) -> None:
    cool, warm = ({"after": {"thermal_status": each}} for each in (0, status))
    launches = [x.model_copy(update=cool) for x in STEADY[:4]] + [STEADY[4].model_copy(update=warm)]
    found = stability(measurement(launches))
    assert [f.seen for f in found] == (
        [f"the phone's thermal service said {said} while measuring"] if said else []
    )
    assert any(f.invalid for f in found) == invalid


def test_heat() -> None:
    zones = [{"temperatures_c": {"z:cpu": value}} for value in (40.0, 55.0, 82.0)]
    assert seen(STEADY, before=zones[0], after=zones[1]) == [
        "z:cpu went from 40 to 55 °C while measuring"
    ]
    assert seen(STEADY, before=zones[0], after=zones[2]) == ["z:cpu is at 82 °C"]


def test_other_work() -> None:
    def with_others(*cores: float | None) -> list[Launch]:
        return [
            x.model_copy(update={"other_cores": c}) for x, c in zip(STEADY, cores, strict=False)
        ]

    assert seen(with_others(1.5, 1.2, 0.1, 1.3, 1.1), hello={"usable_cores": 4}) == [
        "other work kept 1.2 of 4 cores busy meanwhile"
    ]
    assert seen(with_others(0.0, 0.1, 3.0, 0.1, 0.0)) == []  # one launch is what medians are for
    assert seen(with_others(None, None, None, None, None)) == []


def test_emulation_comes_first() -> None:
    found = seen(STEADY[:1], emulated=True, hello={"emulated": "runs inside qemu-aarch64"})
    assert found[0] == "times mean nothing here (runs inside qemu-aarch64)"
