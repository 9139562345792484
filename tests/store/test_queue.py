"""The queue: a job is taken once, whoever asks, and again after the one that had it has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.store.queue import FAILURES, Queue, Task

ADDRESS = "ssh://pi@10.0.0.7"


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "data" / "queue.db")


def task(variant: str, **changes: str) -> Task:
    fields = {"board": "pi", "address": ADDRESS, "build": "/b", "artifact_sha256": "00"} | changes
    return Task(**fields, variant=variant, wish={"settings": {"launches": 2}})


def test_an_empty_place_is_left_alone(queue: Queue) -> None:
    assert queue.jobs() == []
    assert queue.take() == []
    assert queue.troubles() == {}
    queue.board_worked(ADDRESS)
    assert not queue.path.exists()
    with pytest.raises(UsageError, match="there is no job 1"):
        queue.drop([1])


def test_from_given_to_done_failed_or_given_back(queue: Queue) -> None:
    first, second, third = queue.add([task("a"), task("b"), task("c")])
    assert [job.state for job in queue.jobs()] == ["running"] * 3
    assert queue.take(failed=True) == []
    queue.finish(first)
    queue.fail(second, "the link broke")
    queue.give_back(third)
    assert [(job.task, job.state, job.reason) for job in queue.jobs()] == [
        (task("b"), "failed", "the link broke"),
        (task("c"), "waiting", ""),
    ]
    with pytest.raises(UsageError, match="there is no job 1"):
        queue.drop([1, 2])
    assert [job.task.variant for job in queue.take()] == ["c"]
    with pytest.raises(UsageError, match="is being done just now"):
        queue.drop([3])
    assert [job.task.variant for job in queue.take(failed=True)] == ["b"]


def test_the_same_asked_for_again_takes_the_place_of_what_was_left(queue: Queue) -> None:
    (job, other) = queue.add([task("a"), task("a", address="ssh://another")])
    queue.fail(job, "no")
    queue.fail(other, "no")
    queue.add([task("a")])
    assert [(job.task.address, job.state) for job in queue.jobs()] == [
        ("ssh://another", "failed"),
        (ADDRESS, "running"),
    ]


def script(queue: Queue, text: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "import json, sys; from pathlib import Path; from edgekit.store.queue import Queue; "
        f"queue = Queue(Path({str(queue.path)!r})); {text}",
    ]


def test_of_two_processes_each_takes_what_the_other_does_not(queue: Queue) -> None:
    for job in queue.add([task(str(number)) for number in range(30)]):
        queue.give_back(job)
    text = (
        "sys.stdin.readline(); "
        "found = [job.id for n in range(1, 31) for job in queue.take([n])]; "
        "print(json.dumps(found), flush=True); sys.stdin.readline()"
    )
    processes = [
        subprocess.Popen(
            script(queue, text), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    taken: list[int] = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        taken += json.loads(process.stdout.readline())
    assert sorted(taken) == list(range(1, 31))
    assert {job.state for job in queue.jobs()} == {"running"}
    for process in processes:
        process.kill()
        process.communicate()
    assert {job.state for job in queue.jobs()} == {"interrupted"}
    assert len(queue.take()) == 30


def test_a_board_is_left_alone_after_failures_in_a_row(queue: Queue) -> None:
    for count in range(1, FAILURES + 1):
        found = queue.board_failed(ADDRESS, f"reason {count}")
        assert found.quarantined == (count == FAILURES)
    assert queue.troubles()[ADDRESS].reason == f"reason {FAILURES}"
    queue.board_worked(ADDRESS)
    assert queue.troubles() == {}
    assert not queue.board_failed(ADDRESS, "again").quarantined
