"""Whether a difference is found where there is one, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.errors import PlanError
from edgekit.core.measurement import Launch, Measurement
from edgekit.measure.comparing import compare, differences
from tests.measure.made_up import measurement

LAUNCHES = 8
ROUNDS = 300


def drawn(
    rng: np.random.Generator, drift: np.ndarray, *, shift: float = 1.0, session: str = "together"
) -> Measurement:
    """Launches of 10 ms with 2 % between launches, 1 % inside, and `drift` (a factor each)."""
    launches = []
    for factor in drift:
        level = 1e7 * shift * factor * np.exp(rng.normal(0, 0.005))
        samples = level * np.exp(rng.normal(0, 0.01, 50))
        launches.append(
            Launch(
                load_ns=10**6,
                first_ns=10**7,
                warmup_ns=(),
                samples_ns=tuple(samples.astype(int)),
                peak_rss_bytes=None,
            )
        )
    return measurement(launches).model_copy(update={"session": session})


def drift(rng: np.random.Generator) -> np.ndarray:
    """What hits both alike: the board warms by 10 % over the session."""
    return np.linspace(1, 1.1, LAUNCHES) * np.exp(rng.normal(0, 0.02, LAUNCHES))


def test_the_same_twice_is_no_difference_at_the_stated_rate() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(ROUNDS):
        common = drift(rng)
        found += compare(drawn(rng, common), drawn(rng, common)).verdict != "no difference"
    # 5 % of 300 are 15; 28 or more would be seen once in a thousand such tests.
    assert found < 28


def test_unpaired_the_rate_holds_too() -> None:
    rng = np.random.default_rng(1)
    flat = np.ones(LAUNCHES)
    found = sum(
        compare(drawn(rng, flat, session="a"), drawn(rng, flat, session="b")).verdict
        != "no difference"
        for _ in range(ROUNDS)
    )
    assert found < 28


def test_three_percent_are_found_in_pairs_in_spite_of_a_drift_of_ten() -> None:
    rng = np.random.default_rng(2)
    verdicts, ratios = [], []
    for _ in range(ROUNDS):
        common = drift(rng)
        found = compare(drawn(rng, common), drawn(rng, common, shift=1.03))
        assert found.paired
        verdicts.append(found.verdict)
        ratios.append(found.ratio.value)
    assert verdicts.count("slower") > 0.95 * ROUNDS
    assert np.mean(ratios) == pytest.approx(1.03, abs=0.001)


def test_without_turns_the_drift_hides_them() -> None:
    rng = np.random.default_rng(3)
    common = drift(rng)
    found = compare(drawn(rng, common, session="a"), drawn(rng, common, shift=1.03, session="b"))
    assert not found.paired
    assert found.verdict == "no difference"
    assert found.detectable > 0.03


def test_equal_launches_are_equal() -> None:
    rng = np.random.default_rng(4)
    same = drawn(rng, np.ones(LAUNCHES))
    found = compare(same, same.model_copy(update={"session": "other"}))
    assert found.verdict == "no difference"
    assert found.ratio.value == 1


def test_two_launches_tell_nothing() -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(PlanError, match="2 launches tell nothing"):
        compare(drawn(rng, np.ones(2)), drawn(rng, np.ones(2)))


def test_what_else_differs_is_told() -> None:
    rng = np.random.default_rng(6)
    one = drawn(rng, np.ones(3))
    other = one.model_copy(
        update={
            "settings": one.settings.model_copy(update={"threads": 4}),
            "hello": {**one.hello, "runtime_version": "2.0"},
        }
    )
    assert differences(one, one) == []
    assert differences(one, other) == [
        "runtime ai-edge-litert None and ai-edge-litert 2.0",
        "threads 1 and 4",
    ]
