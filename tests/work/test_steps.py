"""Steps run in real worker processes: what is done once, what fails alone, what is cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import ConversionError, EdgekitError, ModelError, WorkerError
from edgekit.work import pool
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests.waiting import until

FUNCTIONS = "tests.work.functions"


def step(name: str, **arguments: object) -> Step:
    return Step(title=name, function=f"{FUNCTIONS}:{name}", worker="plain", arguments=arguments)


@pytest.fixture
def cache(fresh_cache: Path) -> Cache:
    return Cache()


def run(steps: list[Step], cache: Cache, **limits: float) -> list[Done | EdgekitError]:
    with Pool(**limits) as pool:  # type: ignore[arg-type]
        outcomes = run_steps(steps, pool=pool, cache=cache)
    return [outcomes[s] for s in steps]


def test_a_step_hands_its_folder_to_the_one_that_needs_it(cache: Cache) -> None:
    joined = Step(
        title="join",
        function=f"{FUNCTIONS}:join",
        worker="plain",
        needs={"first": step("write", text="edge"), "second": step("write", text="kit")},
    )
    (outcome,) = run([joined], cache)
    assert isinstance(outcome, Done)
    assert (outcome.folder / "text").read_text() == "edgekit"


def test_the_same_step_is_not_done_twice_and_needs_no_worker(cache: Cache) -> None:
    (first,) = run([step("write", text="once")], cache)
    before = set((cache.root / "logs").iterdir())
    (second,) = run([step("write", text="once")], cache)
    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert not first.cached
    assert second.cached
    assert second.result == first.result  # the same process id: nobody ran it again
    assert set((cache.root / "logs").iterdir()) == before  # no worker was started


def test_other_arguments_are_another_step(cache: Cache) -> None:
    one, two = run([step("write", text="a"), step("write", text="b")], cache)
    assert isinstance(one, Done)
    assert isinstance(two, Done)
    assert one.folder != two.folder


def test_identity_leaves_paths_out_of_the_key() -> None:
    def at(path: str) -> Step:
        return Step(
            title="x",
            function=f"{FUNCTIONS}:write",
            worker="plain",
            arguments={"text": path},
            identity={"content": "abc"},
        )

    assert at("/here").key == at("/there").key


def test_a_worker_stays_warm_for_the_next_step(cache: Cache) -> None:
    with Pool() as pool:
        pids = set()
        for text in "abc":
            wanted = step("write", text=text)
            outcome = run_steps([wanted], pool=pool, cache=cache)[wanted]
            assert isinstance(outcome, Done)
            pids.add(outcome.result["pid"])
    assert len(pids) == 1


def test_what_a_library_prints_is_no_answer(cache: Cache) -> None:
    (outcome,) = run([step("chatter")], cache)
    assert isinstance(outcome, Done)
    assert outcome.result == {}
    logs = "".join(p.read_text() for p in (cache.root / "logs").iterdir())
    assert "native noise" in logs


def test_our_errors_come_home_as_themselves(cache: Cache) -> None:
    (outcome,) = run([step("refuse")], cache)
    assert isinstance(outcome, ModelError)
    assert (outcome.message, outcome.hint) == ("not a model", "give a model")


def test_a_bug_is_a_conversion_error_with_its_log(cache: Cache) -> None:
    (outcome,) = run([step("blunder")], cache)
    assert isinstance(outcome, ConversionError)
    assert "ZeroDivisionError: a bug" in outcome.message
    assert "Traceback" in Path(outcome.log).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "limits", "says"),
    [
        ("crash", {}, "SIGSEGV"),
        ("hang", {"timeout_seconds": 5.0}, "took longer than 5 s"),
        ("devour", {"memory_bytes": 200_000_000}, "of memory"),
    ],
)
def test_a_worker_that_dies_takes_only_its_own_step_down(
    cache: Cache, name: str, limits: dict[str, float], says: str
) -> None:
    bad, good = run([step(name), step("write", text="unharmed")], cache, **limits)
    assert isinstance(bad, WorkerError)
    assert says in bad.message
    assert Path(bad.log).parent.is_dir()
    assert isinstance(good, Done)


def test_a_worker_that_dies_on_a_full_disk_says_so(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (crashed,) = run([step("crash")], cache)
    monkeypatch.setattr("edgekit.work.pool.FULL_BYTES", 2**62)  # more than any disk has left
    (full,) = run([step("crash")], cache)
    assert isinstance(crashed, WorkerError)
    assert isinstance(full, WorkerError)
    assert crashed.hint == ""
    assert "is full: EDGEKIT_CACHE" in full.hint


def test_what_needs_a_failed_step_gets_its_error(cache: Cache) -> None:
    needy = Step(
        title="join",
        function=f"{FUNCTIONS}:join",
        worker="plain",
        needs={"first": step("refuse"), "second": step("write", text="x")},
    )
    (outcome,) = run([needy], cache)
    assert isinstance(outcome, ModelError)


@pytest.mark.parametrize("die", [False, True], ids=["well", "killed"])
def test_temporary_files_go_with_their_worker(cache: Cache, die: bool) -> None:
    wanted = step("litter", die=die)
    with Pool() as pool:
        outcome = run_steps([wanted], pool=pool, cache=cache)[wanted]
        assert isinstance(outcome, WorkerError if die else Done)
        (note,) = (cache.root / "steps").rglob("littered")
        path = Path(note.read_text())
        assert path.parent.parent == cache.root / "tmp"
        assert path.exists() is not die
    assert list((cache.root / "tmp").iterdir()) == []


def test_what_a_killed_edgekit_left_goes_after_a_day(cache: Cache) -> None:
    ages = {"4194305-old": 2, "4194305-young": 0, f"{os.getpid()}-running": 2}
    for name, days in ages.items():  # no process has a number above 2²²
        folder = cache.root / "tmp" / name
        folder.mkdir(parents=True)
        os.utime(folder, (then := time.time() - days * 24 * 3600, then))
    run([step("write", text="a")], cache)
    assert {path.name for path in (cache.root / "tmp").iterdir()} == set(ages) - {"4194305-old"}


def test_a_failure_leaves_nothing_in_the_cache(cache: Cache) -> None:
    run([step("refuse"), step("blunder")], cache)
    assert cache.usage().entries == 0
    assert [p for p in cache.root.rglob("*") if p.is_file() and p.suffix != ".log"] == []


def test_ctrl_c_ends_the_workers_and_keeps_nothing_half_done(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = textwrap.dedent(f"""
        from edgekit.work.cache import Cache
        from edgekit.work.pool import Pool
        from edgekit.work.steps import Step, run_steps
        wanted = Step(title="hang", function="{FUNCTIONS}:hang", worker="plain",
                      arguments={{"started": {str(started)!r}}})
        with Pool() as pool:
            run_steps([wanted], pool=pool, cache=Cache())
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "EDGEKIT_CACHE": str(tmp_path / "cache")},
        stderr=subprocess.PIPE,
    )
    assert until(lambda: started.exists() and started.read_text() != "")
    worker = int(started.read_text())
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in stderr
    assert until(lambda: not Path(f"/proc/{worker}").exists())
    assert Cache(tmp_path / "cache").usage().entries == 0
    assert list((tmp_path / "cache" / "steps").rglob("*.lock")) == []
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_what_a_step_has_cost_is_known_later_with_all_that_it_needed(cache: Cache) -> None:
    shared = step("write", text="edge")
    wanted = Step(
        title="join",
        function=f"{FUNCTIONS}:join",
        worker="plain",
        needs={"first": shared, "second": shared},
    )
    (first,) = run([wanted], cache)
    (again,) = run([wanted], cache)
    (need,) = run([shared], cache)
    assert isinstance(first, Done)
    assert isinstance(again, Done)
    assert isinstance(need, Done)
    assert again.cached
    assert again.made_seconds == first.made_seconds > need.made_seconds > 0
    assert again.made_peak_bytes == first.made_peak_bytes
    assert (first.made_peak_bytes or 0) > 2**20


def test_the_longest_chain_starts_first(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pool.KINDS, "plain", replace(pool.KINDS["plain"], at_most=1))
    alone = [step("write", text=text) for text in ("a", "b")]
    head = step("write", text="head")
    joined = replace(step("join"), needs={"first": head, "second": alone[1]})
    started: list[Step] = []
    with Pool() as workers:
        run_steps(
            [*alone, replace(step("join"), needs={"first": joined, "second": head})],
            pool=workers,
            cache=cache,
            progress=lambda which, what: started.append(which) if what == "start" else None,
        )
    assert started[:2] == [alone[1], head]
    assert started.index(alone[0]) == 2


def told(wanted: Step, cache: Cache, **limits: float) -> tuple[Done | EdgekitError, list[str]]:
    """What became of the step, and what was said of it."""
    events: list[str] = []
    with Pool(**limits) as pool:  # type: ignore[arg-type]
        outcomes = run_steps(
            [wanted], pool=pool, cache=cache, progress=lambda _, event: events.append(event)
        )
    return outcomes[wanted], events


def test_a_step_says_how_far_it_is(cache: Cache) -> None:
    outcome, events = told(step("report", words=3), cache)
    assert isinstance(outcome, Done)
    assert outcome.result == {"said": 3}
    words = [f"says word {n + 1} of 3, “{'ä' * n}”\nin two lines" for n in range(3)]
    assert events == ["start", *words, "done"]
    assert told(step("report", words=3), cache)[1] == ["cached"]  # nothing is done, nothing said


@pytest.mark.slow
def test_the_limit_of_time_is_between_two_words(cache: Cache) -> None:
    """One that says something in time is not stopped, however long it takes in all."""
    outcome, events = told(step("report", words=7, pause=0.8), cache, timeout_seconds=5)
    assert isinstance(outcome, Done)
    assert len(events) == 9
    outcome, events = told(step("report", words=2, then_hang=True), cache, timeout_seconds=5)
    assert isinstance(outcome, WorkerError)
    assert "report took longer than 5 s" in outcome.message
    assert [event.partition(",")[0] for event in events] == [
        "start", "says word 1 of 2", "says word 2 of 2", "failed",
    ]  # fmt: skip


def test_words_go_nowhere_outside_a_worker(capfd: pytest.CaptureFixture[str]) -> None:
    from edgekit.work.progress import tell

    tell("nobody listens")
    assert capfd.readouterr().out == ""
