"""A step that fails and has another way: what needs it gets the other one, and all are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Outcome, Step, run_steps

FUNCTIONS = "tests.work.functions"


def step(name: str, **arguments: object) -> Step:
    return Step(title=name, function=f"{FUNCTIONS}:{name}", worker="plain", arguments=arguments)


def joined(first: Step, second: Step) -> Step:
    return replace(step("join"), needs={"first": first, "second": second})


@pytest.fixture
def cache(fresh_cache: Path) -> Cache:
    return Cache()


@pytest.fixture
def first_way(tmp_path: Path) -> Step:
    refusing = step("convert", log=str(tmp_path / "log"))
    return replace(refusing, otherwise=step("write", text="other"))


def run(wanted: Step, cache: Cache) -> Outcome:
    with Pool() as pool:
        return run_steps([wanted], pool=pool, cache=cache)[wanted]


def text_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Done)
    return (outcome.folder / "text").read_text()


def test_the_other_way_is_taken_and_the_first_ones_error_is_told(
    cache: Cache, first_way: Step
) -> None:
    outcome = run(joined(first_way, step("write", text="kit")), cache)
    assert text_of(outcome) == "otherkit"
    assert isinstance(outcome, Done)
    assert [error.message for error in outcome.instead_of] == ["no such operator"]


def test_a_refusal_is_remembered_but_the_story_is_still_told(
    cache: Cache, first_way: Step, tmp_path: Path
) -> None:
    wanted = joined(first_way, step("write", text="kit"))
    run(wanted, cache)
    again = run(wanted, cache)
    assert isinstance(again, Done)
    assert again.cached
    assert [error.message for error in again.instead_of] == ["no such operator"]
    assert (tmp_path / "log").read_text() == "asked\n"


def test_what_is_made_the_other_way_is_kept_under_that_ways_key(
    cache: Cache, first_way: Step
) -> None:
    """If the first way works one day, nothing made the other way may be taken for its work."""
    kit = step("write", text="kit")
    run(joined(first_way, kit), cache)
    assert first_way.otherwise is not None
    assert cache.find(joined(first_way, kit).key) is None
    assert cache.find(joined(first_way.otherwise, kit).key) is not None


def test_a_crash_takes_the_other_way_but_is_not_remembered(cache: Cache) -> None:
    wanted = replace(step("crash"), otherwise=step("write", text="other"))
    outcome = run(wanted, cache)
    assert text_of(outcome) == "other"
    assert isinstance(outcome, Done)
    assert "SIGSEGV" in outcome.instead_of[0].message
    assert cache.find(wanted.key) is None


def test_when_every_way_fails_all_are_named(cache: Cache, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    last = step("convert", log=log, message="nor here")
    middle = replace(step("convert", log=log, message="not there"), otherwise=last)
    first = replace(step("convert", log=log), otherwise=middle)
    outcome = run(joined(first, step("write", text="kit")), cache)
    assert isinstance(outcome, ConversionError)
    assert outcome.message == "nor here (tried before: no such operator; not there)"


def test_a_wrong_input_is_no_reason_for_another_way(cache: Cache) -> None:
    wanted = replace(step("refuse"), otherwise=step("write", text="other"))
    outcome = run(wanted, cache)
    assert isinstance(outcome, EdgekitError)
    assert not isinstance(outcome, ConversionError)


def test_a_failed_need_is_told_although_another_took_its_other_way(
    cache: Cache, first_way: Step
) -> None:
    """The other need fails first; only then is it known that a step is to be replaced."""
    slow = replace(
        first_way, needs={"first": step("write", text="a"), "second": step("write", text="b")}
    )
    slow = replace(slow, function=f"{FUNCTIONS}:convert_late")
    outcome = run(joined(slow, step("refuse")), cache)
    assert isinstance(outcome, EdgekitError)
    assert outcome.message == "not a model"
