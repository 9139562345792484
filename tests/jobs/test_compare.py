"""Which of several measurements a reference means."""

from __future__ import annotations

from edgekit.core.measurement import Launch
from edgekit.core.result import Result
from edgekit.jobs.compare import _pair
from edgekit.jobs.results import to_result
from tests.measure.made_up import measurement


def result(number: int, *, launches: int = 3, session: str = "", bits: str = "0x0") -> Result:
    moment = {"throttled": bits}
    launch = Launch(
        load_ns=1, first_ns=1, warmup_ns=(), samples_ns=(10**6,) * 30, peak_rss_bytes=1,
        before=moment, after=moment,
    )  # fmt: skip
    taken = measurement([launch] * launches).model_copy(update={"session": session})
    return to_result(taken, number)


def test_the_newest_two_that_were_taken_together() -> None:
    a = [result(5, session="late"), result(3, session="early")]
    b = [result(6, session="other"), result(4, session="early")]
    assert [each.id for each in _pair(a, b, "both")] == [3, 4]


def test_newer_ones_that_tell_nothing_are_passed_over() -> None:
    a = [result(9, session="s", launches=1), result(7, session="s", bits="0x4"), result(1)]
    b = [result(8, session="s"), result(2)]
    assert [each.id for each in _pair(a, b, "both")] == [1, 8]


def test_what_is_there_is_taken_where_nothing_is_sound() -> None:
    a, b = [result(3, launches=1), result(1, launches=1)], [result(2, launches=1)]
    assert [each.id for each in _pair(a, b, "both")] == [3, 2]
