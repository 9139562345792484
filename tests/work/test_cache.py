"""The cache: atomic, shared, bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import OutputError, UsageError
from edgekit.work.cache import RESULT_FILE, Cache


def fill(size: int) -> Any:
    def make(out: Path) -> dict[str, Any]:
        (out / "data").write_bytes(b"x" * size)
        return {"size": size}

    return make


def test_an_entry_is_found_again_by_another_cache_object(tmp_path: Path) -> None:
    made, fresh = Cache(tmp_path).get_or_make("aa11", fill(3))
    assert fresh
    found = Cache(tmp_path).find("aa11")
    assert found == made


def test_a_failed_make_leaves_nothing(tmp_path: Path) -> None:
    def make(out: Path) -> dict[str, Any]:
        (out / "half").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).get_or_make("aa11", make)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_two_makers_of_one_step_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make(out: Path) -> dict[str, Any]:
        made.append(1)
        return {}

    threads = [
        threading.Thread(target=lambda: Cache(tmp_path).get_or_make("aa11", make)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_trim_removes_what_was_used_longest_ago(tmp_path: Path) -> None:
    for age, key in enumerate(("aa", "bb", "cc")):
        entry, _ = Cache(tmp_path).get_or_make(key, fill(1000))
        os.utime(entry.folder / RESULT_FILE, (1000 - age, 1000 - age))
    removed = Cache(tmp_path).trim(limit_bytes=1500)
    assert removed.entries == 2
    assert Cache(tmp_path).find("aa") is not None
    assert Cache(tmp_path).find("cc") is None


def test_an_entry_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    entry, _ = Cache(tmp_path).get_or_make("aa11", fill(3))
    (entry.folder / RESULT_FILE).write_text("")
    assert Cache(tmp_path).find("aa11") is None
    assert Cache(tmp_path).get_or_make("aa11", fill(3)) == (entry, True)


def test_trim_removes_what_a_killed_process_left_half_made(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from edgekit.work.cache import Cache\n"
        "def make(out):\n (out / 'big').write_bytes(b'x'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Cache(Path(sys.argv[1])).get_or_make('aa11', make)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert list(tmp_path.rglob("big"))

    def make(out: Path) -> dict[str, Any]:
        Cache(tmp_path).trim()
        return fill(1)(out)

    Cache(tmp_path).get_or_make("bb22", make)  # while it is being made it stays
    assert not list(tmp_path.rglob("big"))
    assert Cache(tmp_path).find("bb22") is not None


def test_trim_spares_what_this_run_has_handed_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.get_or_make("aa", fill(1000))
    assert cache.trim(limit_bytes=0).entries == 0
    assert Cache(tmp_path).trim(limit_bytes=0).entries == 1


def test_a_limit_that_is_no_number_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_LIMIT_MB", "plenty")
    with pytest.raises(UsageError, match="'plenty'"):
        Cache()


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        Cache(tmp_path / "file").get_or_make("aa", fill(1))


def test_the_cache_s_own_limit_spares_what_was_used_just_now(tmp_path: Path) -> None:
    """Another process may be at it; what was asked to go goes all the same."""
    old, _ = Cache(tmp_path).get_or_make("aa", fill(1000))
    Cache(tmp_path).get_or_make("bb", fill(1000))
    os.utime(old.folder / RESULT_FILE, (1000, 1000))
    assert Cache(tmp_path, limit_bytes=0).trim().entries == 1
    assert Cache(tmp_path).find("aa") is None
    assert Cache(tmp_path).trim(limit_bytes=0).entries == 1
