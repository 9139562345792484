"""Measured results, kept in one SQLite file: raw samples and both environments, no statistics.

``data_dir()/results.db``. Each call opens the file, does one short transaction and closes it, so
any number of processes may measure and report at the same time (write-ahead log; a writer waits
for another one). Columns are what one filters by; the measurement itself is its JSON form,
compressed with zlib.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, InputError, UsageError
from edgekit.core.locate import data_dir
from edgekit.core.measurement import Measurement
from edgekit.store.database import Database

FILE_NAME = "results.db"
# 10 launches of a million samples are 80 MB of JSON; more than this is no measurement of ours.
MAX_JSON_BYTES = 256 * 2**20

_TABLES = """
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_us INTEGER NOT NULL,
    build TEXT NOT NULL,
    variant TEXT NOT NULL,
    device TEXT NOT NULL,
    device_name TEXT NOT NULL,
    artifact_sha256 TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX measurements_by_time ON measurements (created_us);
CREATE INDEX measurements_by_artifact ON measurements (artifact_sha256);
"""


@dataclass(frozen=True)
class Stored:
    """A measurement and the number it is kept under."""

    id: int
    measurement: Measurement


@dataclass(frozen=True)
class StoreUsage:
    """What the store holds; `size_bytes` is what its files take on disk."""

    measurements: int
    size_bytes: int


class Store(Database):
    """The results on this computer. Every method raises as `Database` says.

    Args:
        path: the file; the user's own if not given. It is made by the first `add`.
    """

    schema = 1
    application_id = 0x65646B74  # "edkt"
    tables = _TABLES
    what = "result store"

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path or data_dir() / FILE_NAME)

    def add(self, measurement: Measurement) -> int:
        """Keep `measurement`; the id to find it by.

        Raises:
            InputError: `measurement.created` is not an ISO 8601 time.
        """
        body = zlib.compress(json.dumps(measurement.to_json(), separators=(",", ":")).encode(), 6)
        row = (
            _microseconds(measurement.created),
            measurement.build_name,
            measurement.variant,
            measurement.device,
            measurement.device_name,
            measurement.artifact_sha256,
            body,
        )
        with self._transaction(create=True) as connection:
            cursor = connection.execute(
                "INSERT INTO measurements (created_us, build, variant, device, device_name,"
                " artifact_sha256, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def get(self, measurement_id: int) -> Stored:
        """The measurement kept under that id.

        Raises:
            UsageError: there is none.
        """
        rows = self._select("WHERE id = ?", [measurement_id]) if self._there() else []
        if not rows:
            raise UsageError(
                f"there is no measurement {measurement_id} in {str(self.path)!r}",
                hint="edgekit report lists what there is",
            )
        return rows[0]

    def find(
        self,
        *,
        build: str | None = None,
        variant: str | None = None,
        device: str | None = None,
        artifacts: Collection[str] | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[Stored]:
        """What fits every filter given, newest first; all there is without one.

        Args:
            device: the address it ran on ("local", "ssh://pi@10.0.0.7:22") or the device's name.
            artifacts: SHA-256 of artifacts. Names of builds may repeat, digests do not: this is
                how the measurements of one very build are found.
            since: with a time zone.
            limit: at most so many.
        """
        if not self._there():
            return []
        where: list[str] = []
        values: list[Any] = []
        for column, wanted in (("build", build), ("variant", variant)):
            if wanted is not None:
                where.append(f"{column} = ?")
                values.append(wanted)
        if device is not None:
            where.append("(device = ? OR device_name = ?)")
            values += [device, device]
        if artifacts is not None:
            # One JSON value, since the number of SQL parameters is limited.
            where.append("artifact_sha256 IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(sorted(artifacts)))
        if since is not None:
            where.append("created_us >= ?")
            values.append(_epoch_us(since))
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        values.append(-1 if limit is None else limit)
        return self._select(f"{clause} ORDER BY created_us DESC, id DESC LIMIT ?", values)

    def delete(self, ids: Collection[int]) -> int:
        """Remove those measurements; how many there were."""
        return self._delete("id IN (SELECT value FROM json_each(?))", [json.dumps(sorted(ids))])

    def clean(self, *, before: datetime | None = None) -> int:
        """Remove what was measured before that time, or everything; how many there were."""
        if before is None:
            return self._delete("1", [])
        return self._delete("created_us < ?", [_epoch_us(before)])

    def usage(self) -> StoreUsage:
        if not self._there():
            return StoreUsage(0, 0)
        with self._transaction() as connection:
            (count,) = connection.execute("SELECT count(*) FROM measurements").fetchone()
        size = 0
        for suffix in ("", "-wal", "-shm"):
            # The two helper files come and go with the processes that have the store open.
            with contextlib.suppress(FileNotFoundError):
                size += Path(f"{self.path}{suffix}").stat().st_size
        return StoreUsage(count, size)

    def _delete(self, condition: str, values: list[Any]) -> int:
        if not self._there():
            return 0
        with self._transaction(write=True) as connection:
            count = connection.execute(
                f"DELETE FROM measurements WHERE {condition}",  # noqa: S608 - our own words
                values,
            ).rowcount
        if count:
            with self._connection() as connection:
                connection.execute("VACUUM")  # else the file keeps its size on disk
        return count

    def _select(self, clause: str, values: list[Any]) -> list[Stored]:
        with self._transaction() as connection:
            rows = connection.execute(
                f"SELECT id, body FROM measurements {clause}",  # noqa: S608 - our own words
                values,
            ).fetchall()
        return [Stored(row_id, self._measurement(row_id, body)) for row_id, body in rows]

    def _measurement(self, row_id: int, body: Any) -> Measurement:
        try:
            inflate = zlib.decompressobj()
            text = inflate.decompress(body, MAX_JSON_BYTES)
            if not inflate.eof:
                raise ValueError("its data is cut off or too large")
            return Measurement.from_json(json.loads(text), where=f"measurement {row_id}")
        except (zlib.error, ValueError, TypeError, RecursionError, UsageError) as exc:
            reason = exc.message if isinstance(exc, EdgekitError) else str(exc)
            raise self._damaged(f"measurement {row_id} cannot be read: {reason}") from exc


def _microseconds(created: str) -> int:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError as exc:
        raise InputError(f"created = {created!r} is not an ISO 8601 time") from exc
    # `created` is UTC by definition; a time zone in the text is honoured.
    return _epoch_us(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _epoch_us(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(f"the time {moment.isoformat()} needs a time zone (UTC: +00:00)")
    # Integers all the way: a float of seconds cannot tell neighbouring microseconds apart.
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 10**6 + delta.microseconds
