"""`edgekit compare`, over measurements that were put into the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.core.measurement import Launch
from edgekit.store import Store
from tests.cli.conftest import Run
from tests.measure.made_up import measurement


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "data"))


def kept(
    *, shift: float = 1.0, session: str = "s", launches: int = 5, throttled: bool = False
) -> int:
    """The number of a measurement whose launches take 10 ms and a little more each."""
    bits = {"throttled": "0x4"} if throttled else {}
    taken = [
        Launch(
            load_ns=10**6,
            first_ns=2 * 10**7,
            warmup_ns=(),
            samples_ns=tuple(int((1e7 + 1e4 * index + 10 * run) * shift) for run in range(30)),
            peak_rss_bytes=5 * 10**7,
            before=bits,
            after=bits,
        )
        for index in range(launches)
    ]
    return Store().add(measurement(taken).model_copy(update={"session": session}))


@pytest.mark.slow
def test_three_percent_are_told(edgekit: Run) -> None:
    a, b = kept(), kept(shift=1.03)
    answer = edgekit("compare", a, b)
    assert answer.code == 0, answer.err
    assert "B is slower: it takes 3.0% more time" in answer.out
    assert "in turns" not in answer.out
    found = json.loads(edgekit("compare", a, b, "--json").out)
    assert found["verdict"] == "slower"
    assert found["rows"]["median"]["ratio"] == pytest.approx(1.03, abs=1e-4)


def test_what_takes_several_times_as_long_is_told_so(edgekit: Run) -> None:
    assert (
        "B is slower: it takes 3.00 times as long"
        in edgekit("compare", kept(), kept(shift=3.0)).out
    )


@pytest.mark.slow
def test_a_gate(edgekit: Run) -> None:
    a, b = kept(), kept(shift=1.05)
    assert edgekit("compare", a, b, "--fail-above", "10%").code == 0
    answer = edgekit("compare", a, b, "--fail-above", "3%")
    assert answer.code == 6
    assert "slower than A by 5.0%" in answer.err


def test_no_difference_says_what_would_have_shown(edgekit: Run) -> None:
    answer = edgekit("compare", kept(session="a"), kept(session="b"))
    assert "no difference was found; one of 0." in answer.out
    assert "not measured in turns" in answer.out


@pytest.mark.slow
def test_what_is_invalid_is_not_compared(edgekit: Run) -> None:
    a, b = kept(), kept(throttled=True)
    answer = edgekit("compare", a, b)
    assert answer.code == 4
    assert "invalid: the board was held back while measuring (throttled)" in answer.err
    assert edgekit("compare", a, b, "--anyway").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["1", "1"], 2, "was given twice"),
        (["1", "99"], 2, "no measurement 99"),
        (["1", "nothing"], 3, "is not a build"),
        (["1", "2", "--fail-above", "much"], 2, "write 1% or 0.01"),
        (["1", "3"], 4, "2 launches tell nothing"),
    ],
)
def test_bad_input(edgekit: Run, arguments: list[str], code: int, said: str) -> None:
    kept()
    kept()
    kept(launches=2)
    answer = edgekit("compare", *arguments)
    assert answer.code == code
    assert said in answer.err
