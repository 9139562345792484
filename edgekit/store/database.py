"""One SQLite file of edgekit's that any number of processes use at the same time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from edgekit.core.errors import EdgekitError, InputError, OutputError

BUSY_SECONDS = 10.0


class Database:
    """A file that is made by the first transaction with `create`.

    Each call opens it, does one short transaction and closes it (write-ahead log; a writer waits
    for another one).

    Every method raises:
        InputError: the file is not one of edgekit's, is damaged, or is of a newer edgekit.
        OutputError: it cannot be read or written here, the disk is full, or another process has
            held it for longer than 10 s.

    Attributes:
        schema: counts up when the tables change.
        application_id: in SQLite's header: this file is ours, not just any database.
        tables: the statements that make them.
        what: what it is, for messages.
    """

    schema: ClassVar[int]
    application_id: ClassVar[int]
    tables: ClassVar[str]
    what: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    def _there(self) -> bool:
        try:
            return self.path.exists()
        except OSError as exc:  # a folder on the way that may not be entered
            raise self._unusable(exc) from exc

    @contextlib.contextmanager
    def _transaction(
        self, *, create: bool = False, write: bool = False
    ) -> Iterator[sqlite3.Connection]:
        with self._connection(create=create) as connection:
            # IMMEDIATE takes the write lock at once, so that two writers wait for each other
            # rather than one of them failing half-way.
            connection.execute("BEGIN IMMEDIATE" if create or write else "BEGIN")
            try:
                if create:
                    self._lay_out(connection)
                self._check_schema(connection)
                yield connection
            except BaseException:
                if connection.in_transaction:  # SQLite ends it by itself when the disk is full
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _connection(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # isolation_level None: transactions are begun here and not behind our back.
            mode = "rwc" if create else "rw"
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
            )
        except (OSError, sqlite3.Error) as exc:
            raise self._unusable(exc) from exc
        try:
            if create:
                connection.execute("PRAGMA journal_mode = WAL")
            yield connection
        except sqlite3.Error as exc:
            raise self._translated(exc) from exc
        finally:
            connection.close()

    def _lay_out(self, connection: sqlite3.Connection) -> None:
        """Make the tables in a file that is new; in one that is not, change nothing."""
        if (
            _pragma(connection, "user_version") != 0
            or connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        ):
            return
        for statement in self.tables.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {self.application_id}")
        connection.execute(f"PRAGMA user_version = {self.schema}")

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        if _pragma(connection, "application_id") != self.application_id:
            raise InputError(
                f"{str(self.path)!r} is not a {self.what} of edgekit's",
                hint="move it elsewhere, or set EDGEKIT_DATA to another folder",
            )
        found = _pragma(connection, "user_version")
        if found != self.schema:
            raise InputError(
                f"{str(self.path)!r} was written by another edgekit "
                f"(schema {found}; this one reads {self.schema})",
                hint="pip install --upgrade edgekit, or set EDGEKIT_DATA to another folder",
            )

    def _translated(self, exc: sqlite3.Error) -> EdgekitError:
        # The primary code is the low byte of the extended one.
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return OutputError(
                f"{str(self.path)!r}: another process has held it for more than "
                f"{BUSY_SECONDS:.0f} s",
                hint="try again when the other edgekit has finished",
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            return self._damaged(str(exc))
        return self._unusable(exc)

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{str(self.path)!r} is damaged or not a {self.what}: {reason}",
            hint="move it elsewhere; the next edgekit profile starts a new one",
        )

    def _unusable(self, exc: Exception) -> OutputError:
        reason = getattr(exc, "strerror", None) or str(exc)
        return OutputError(
            f"cannot use the {self.what} {str(self.path)!r}: {reason}",
            hint="make its folder writable, free some space, or set EDGEKIT_DATA to another folder",
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
