"""The result store: what goes in comes out, by any number of processes; bad files say so."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekit.core.build import Build
from edgekit.core.errors import EdgekitError, InputError, OutputError, UsageError
from edgekit.core.locate import data_dir
from edgekit.store import Store
from tests.samples import measurement, write_build


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return write_build(tmp_path / "build")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "results.db")


def test_what_was_added_comes_back_whole(store: Store, build: Build) -> None:
    taken = measurement(build)
    stored = store.get(store.add(taken))
    assert stored.measurement == taken
    assert stored.measurement.launches[0].samples_ns == taken.launches[0].samples_ns
    assert stored.measurement.environment_after == taken.environment_after


def test_an_empty_place_reads_as_empty_and_is_left_alone(store: Store) -> None:
    assert store.find() == []
    assert store.usage().measurements == 0
    assert store.clean() == 0
    assert not store.path.exists()
    with pytest.raises(UsageError, match="no measurement 3"):
        store.get(3)


def test_newest_first_whatever_the_order_and_the_way_of_writing_time(
    store: Store, build: Build
) -> None:
    times = [
        "2026-03-14T10:00:00Z",
        "2026-03-14T11:30:00+02:00",  # 09:30 UTC
        "2026-03-14T10:00:00.000001+00:00",
        "2026-03-14T09:59:59",
    ]
    for created in times:
        store.add(measurement(build, created=created))
    found = [stored.measurement.created for stored in store.find()]
    assert found == [times[2], times[0], times[3], times[1]]


def test_a_time_that_is_none_is_refused(store: Store, build: Build) -> None:
    with pytest.raises(InputError, match="'yesterday' is not an ISO 8601 time"):
        store.add(measurement(build, created="yesterday"))
    assert store.find() == []


def test_filters(store: Store, build: Build, tmp_path: Path) -> None:
    other = write_build(tmp_path / "other", name="o'ther; DROP TABLE measurements")
    for variant in ("float32", "int8"):
        store.add(measurement(build, variant))
        store.add(measurement(build, variant, device="local", created="2026-03-15T00:00:00Z"))
    store.add(measurement(other))
    int8 = build.variant("int8").artifact
    assert int8 is not None

    def count(**filters: object) -> int:
        return len(store.find(**filters))  # type: ignore[arg-type]

    assert count() == 5
    assert count(build="digits") == 4
    assert count(build=other.name) == 1
    assert count(variant="int8") == 3
    assert count(device="local") == 2
    assert count(device="raspberry-pi-5") == 5
    assert count(artifacts=[int8.files[0].sha256]) == 3  # same bytes under another build's name
    assert count(artifacts=[]) == 0
    assert count(since=datetime(2026, 3, 14, 23, tzinfo=UTC)) == 2
    assert count(build="digits", variant="int8", device="local") == 1
    assert count(limit=2) == 2
    with pytest.raises(UsageError, match="needs a time zone"):
        count(since=datetime(2026, 3, 14))


def test_delete_and_clean_give_the_space_back(store: Store, build: Build) -> None:
    ids = [store.add(measurement(build, seed=n, runs=2000)) for n in range(4)]
    full = store.usage()
    assert full.measurements == 4
    assert store.delete([ids[0], 999]) == 1
    later = datetime.fromisoformat(measurement(build).created) + timedelta(seconds=1)
    assert store.clean(before=later - timedelta(days=1)) == 0
    assert store.clean(before=later) == 3
    assert store.find() == []
    assert store.usage().size_bytes < full.size_bytes / 2
    assert store.add(measurement(build)) > max(ids)  # a number is never used again


def test_the_users_own_store_is_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    assert Store().path == data_dir() / "results.db" == tmp_path / "results.db"


def test_processes_that_start_at_once_lose_nothing(store: Store, build: Build) -> None:
    script = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        from edgekit.core.measurement import Measurement
        from edgekit.store import Store
        taken = Measurement.from_json(json.load(sys.stdin))
        store = Store(Path(sys.argv[1]))
        for _ in range(10):
            store.add(taken)
            store.find(limit=1)
    """)
    import json

    taken = json.dumps(measurement(build).to_json())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(store.path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    errors = [process.communicate(taken)[1] for process in processes]
    assert errors == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert store.usage().measurements == 40


class TestBadFiles:
    """Each names the file and what to do; none is overwritten."""

    def check(self, store: Store, build: Build, kind: type[EdgekitError], words: str) -> None:
        for call in (store.find, lambda: store.add(measurement(build)), store.usage):
            with pytest.raises(kind, match=words) as caught:
                call()
            assert store.path.name in str(caught.value)
            assert caught.value.hint
            assert len(str(caught.value).splitlines()) <= 2

    def test_not_a_database(self, store: Store, build: Build) -> None:
        store.path.parent.mkdir()
        store.path.write_bytes(b"not a database at all " * 100)
        self.check(store, build, InputError, "damaged or not a result store")
        assert store.path.read_bytes().startswith(b"not a database")

    def test_cut_off(self, store: Store, build: Build) -> None:
        for n in range(20):
            store.add(measurement(build, seed=n, runs=500))
        whole = store.path.read_bytes()
        store.path.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(InputError, match="damaged"):
            store.find()

    def test_somebody_elses_database(self, store: Store, build: Build) -> None:
        store.path.parent.mkdir()
        connection = sqlite3.connect(store.path)
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()
        connection.close()
        self.check(store, build, InputError, "not a result store of edgekit")

    def test_a_newer_edgekit(self, store: Store, build: Build) -> None:
        store.add(measurement(build))
        connection = sqlite3.connect(store.path)
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
        connection.close()
        self.check(store, build, InputError, "schema 2; this one reads 1")

    def test_a_row_that_is_no_measurement(self, store: Store, build: Build) -> None:
        kept = store.add(measurement(build))
        connection = sqlite3.connect(store.path)
        connection.execute("UPDATE measurements SET body = substr(body, 1, 100)")
        connection.commit()
        connection.close()
        with pytest.raises(InputError, match=f"measurement {kept} cannot be read"):
            store.find()

    def test_a_row_that_inflates_without_end(
        self, store: Store, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.add(measurement(build))
        monkeypatch.setattr("edgekit.store.MAX_JSON_BYTES", 1000)
        with pytest.raises(InputError, match="cut off or too large"):
            store.find()

    def test_a_folder_in_its_place(self, store: Store, build: Build) -> None:
        store.path.mkdir(parents=True)
        self.check(store, build, OutputError, "cannot use the result store")

    def test_a_place_that_cannot_be(self, tmp_path: Path, build: Build) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(OutputError, match="cannot use the result store"):
            Store(tmp_path / "file" / "results.db").add(measurement(build))

    def test_held_by_another_process_for_too_long(
        self, store: Store, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgekit.store.database.BUSY_SECONDS", 0.1)
        store.add(measurement(build))
        other = sqlite3.connect(store.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OutputError, match="another process has held it"):
                store.add(measurement(build))
            assert len(store.find()) == 1  # reading goes on
        finally:
            other.close()

    def test_a_full_disk(self, store: Store, build: Build) -> None:
        store.add(measurement(build))
        before = store.usage().measurements
        connection = sqlite3.connect(store.path)
        limited = int(connection.execute("PRAGMA page_count").fetchone()[0])
        connection.close()
        # SQLite's own ceiling gives the very error of a full disk.
        original = sqlite3.connect

        def connect(*args: object, **kwargs: object) -> sqlite3.Connection:
            made: sqlite3.Connection = original(*args, **kwargs)  # type: ignore[call-overload]
            made.execute(f"PRAGMA max_page_count = {limited}")
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edgekit.store.database.sqlite3.connect", connect)
            with pytest.raises(OutputError, match="full"):
                store.add(measurement(build, runs=20_000))
        assert store.usage().measurements == before
