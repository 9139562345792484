"""What measuring on several boards still has to do, and boards that keep failing.

``data_dir()/queue.db``, beside the results. A job is one variant on one board. It is taken by one
process, in one transaction; one whose process has ended, killed or not, can be taken again. A job
that is done is gone: its result is in the store of results.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from edgekit.core.errors import UsageError
from edgekit.core.locate import data_dir
from edgekit.core.process import ended, me
from edgekit.store.database import Database

FILE_NAME = "queue.db"
FAILURES = 3  # in a row, after which a board is left alone

State = Literal["waiting", "running", "interrupted", "failed"]

_TABLES = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    board TEXT NOT NULL,
    address TEXT NOT NULL,
    build TEXT NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    variant TEXT NOT NULL,
    wish TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE boards (
    address TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    since TEXT NOT NULL,
    reason TEXT NOT NULL
);
"""
_COLUMNS = (
    "id, created, board, address, build, artifact_sha256, variant, wish, state, owner, reason"
)


@dataclass(frozen=True)
class Task:
    """What is to be measured: a variant of the build in the folder `build`, on a board.

    Attributes:
        board, address: what the board is called, and where it is.
        artifact_sha256: of the variant's file; a build that was made anew has another one.
        wish: how, as JSON types.
    """

    board: str
    address: str
    build: str
    artifact_sha256: str
    variant: str
    wish: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A task in the queue. `reason` is why it has failed; `created` is UTC, ISO 8601."""

    id: int
    created: str
    task: Task
    state: State
    reason: str


@dataclass(frozen=True)
class Trouble:
    """How often in a row a board has failed, since when, and why the last time."""

    address: str
    failures: int
    since: str
    reason: str

    @property
    def quarantined(self) -> bool:
        """Whether it is left alone until it is released."""
        return self.failures >= FAILURES


class Queue(Database):
    """The jobs of this user on this computer. Every method raises as `Database` says.

    Args:
        path: the file; the user's own if not given.
    """

    schema = 1
    application_id = 0x65646B71  # "edkq"
    tables = _TABLES
    what = "job queue"

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path or data_dir() / FILE_NAME)

    def add(self, tasks: Sequence[Task]) -> list[Job]:
        """Put them in, taken by this process, in place of what was left of the same."""
        now, own = _now(), me()
        again = {(task.address, task.build, task.variant) for task in tasks}
        with self._transaction(create=True) as connection:
            connection.executemany(
                "DELETE FROM jobs WHERE id = ?",
                [
                    (job.id,)
                    for job in _read(connection)
                    if job.state != "running"
                    and (job.task.address, job.task.build, job.task.variant) in again
                ],
            )
            ids = [
                connection.execute(
                    "INSERT INTO jobs (created, board, address, build, artifact_sha256, variant,"
                    " wish, state, owner, reason) VALUES (?, ?, ?, ?, ?, ?, ?, 'running', ?, '')",
                    (
                        now,
                        task.board,
                        task.address,
                        task.build,
                        task.artifact_sha256,
                        task.variant,
                        json.dumps(task.wish, sort_keys=True),
                        own,
                    ),
                ).lastrowid
                for task in tasks
            ]
        return [
            Job(number or 0, now, task, "running", "")
            for number, task in zip(ids, tasks, strict=True)
        ]

    def jobs(self) -> list[Job]:
        """All that is left to do, oldest first."""
        if not self._there():
            return []
        with self._transaction() as connection:
            return _read(connection)

    def take(self, ids: Collection[int] | None = None, *, failed: bool = False) -> list[Job]:
        """Take what nobody works on: those with `ids`, or all; `failed` ones only if asked for."""
        if not self._there():
            return []
        free = ("waiting", "interrupted", *(("failed",) if failed else ()))
        with self._transaction(write=True) as connection:
            found = [
                job
                for job in _read(connection)
                if job.state in free and (ids is None or job.id in ids)
            ]
            connection.executemany(
                "UPDATE jobs SET state = 'running', owner = ?, reason = '' WHERE id = ?",
                [(me(), job.id) for job in found],
            )
        return found

    def finish(self, job: Job) -> None:
        """It is done, and its result kept."""
        self._change("DELETE FROM jobs WHERE id = ?", job.id)

    def fail(self, job: Job, reason: str) -> None:
        """It is not done again unless somebody says so."""
        self._change(
            "UPDATE jobs SET state = 'failed', owner = '', reason = ? WHERE id = ?", reason, job.id
        )

    def give_back(self, job: Job) -> None:
        """It was not begun, or came to nothing through nobody's fault."""
        self._change("UPDATE jobs SET state = 'waiting', owner = '' WHERE id = ?", job.id)

    def drop(self, ids: Collection[int]) -> None:
        """Forget jobs.

        Raises:
            UsageError: there is no such job, or a process is at it.
        """
        known = {job.id: job for job in self.jobs()}
        for number in ids:
            if number not in known:
                raise UsageError(f"there is no job {number}", hint="edgekit jobs lists them")
            if known[number].state == "running":
                raise UsageError(
                    f"job {number} is being done just now", hint="stop that edgekit profile first"
                )
        for number in ids:
            self._change("DELETE FROM jobs WHERE id = ?", number)

    def troubles(self) -> dict[str, Trouble]:
        """The boards that have failed since they last worked, by address."""
        if not self._there():
            return {}
        with self._transaction() as connection:
            rows = connection.execute("SELECT address, failures, since, reason FROM boards")
            return {row[0]: Trouble(*row) for row in rows.fetchall()}

    def board_failed(self, address: str, reason: str) -> Trouble:
        """Count a failure of a board; what is known of it now."""
        with self._transaction(create=True) as connection:
            connection.execute(
                "INSERT INTO boards (address, failures, since, reason) VALUES (?, 1, ?, ?)"
                " ON CONFLICT (address) DO UPDATE SET failures = failures + 1, reason = ?",
                (address, _now(), reason, reason),
            )
            row = connection.execute(
                "SELECT address, failures, since, reason FROM boards WHERE address = ?", (address,)
            ).fetchone()
        return Trouble(*row)

    def board_worked(self, address: str) -> None:
        """It works, or somebody says so: failures before count no more."""
        if self._there():
            self._change("DELETE FROM boards WHERE address = ?", address)

    def _change(self, statement: str, *values: Any) -> None:
        with self._transaction(write=True) as connection:
            connection.execute(statement, values)


def _read(connection: sqlite3.Connection) -> list[Job]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY id")  # noqa: S608 - our own
    return [_job(row) for row in rows.fetchall()]


def _job(row: tuple[Any, ...]) -> Job:
    number, created, board, address, build, digest, variant, wish, state, owner, reason = row
    if state == "running" and ended(owner):
        state = "interrupted"
    task = Task(board, address, build, digest, variant, json.loads(wish))
    return Job(number, created, task, state, reason)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
