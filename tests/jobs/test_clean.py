"""The clean job: what killed trainings have left in the cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from edgekit.compress.checkpoints import checkpoint_folder, forget_old_checkpoints
from edgekit.core.bench import bench_program
from edgekit.jobs.clean import clean_here, usage_here

KEYS = {"a" * 64: 40, "b" * 64: 20, "c" * 64: 0}  # days since the training was killed


@pytest.fixture(autouse=True)
def left(fresh_cache: Path) -> dict[str, Path]:
    found = {}
    for key, days in KEYS.items():
        folder = checkpoint_folder(key)
        folder.mkdir(parents=True)
        (folder / "checkpoint.npz").write_bytes(b"x" * 1000)
        then = time.time() - days * 24 * 3600
        for path in (folder / "checkpoint.npz", folder):
            os.utime(path, (then, then))
        found[key[0]] = folder
    return found


def test_they_are_told_and_removed(left: dict[str, Path]) -> None:
    assert (usage_here().entries, usage_here().size_bytes) == (3, 3000)
    freed = clean_here(2000, environments=False)
    assert (freed.entries, freed.size_bytes) == (1, 1000)
    assert [name for name, folder in left.items() if folder.exists()] == ["b", "c"]
    assert clean_here(0, environments=False).entries == 2
    assert usage_here().entries == 0


def test_a_training_that_runs_keeps_its_own(left: dict[str, Path], fresh_cache: Path) -> None:
    lock = fresh_cache / "steps" / "aa" / f"{'a' * 64}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        clean_here(0, environments=False)
        assert [name for name, folder in left.items() if folder.exists()] == ["a"]
    clean_here(0, environments=False)
    assert not left["a"].exists()


def test_native_runners_go_with_the_environments(fresh_cache: Path) -> None:
    program = fresh_cache / "native" / "program-abc" / "edgekit-bench"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"x" * 500)
    assert (usage_here().entries, usage_here().size_bytes) == (4, 3500)
    assert clean_here(0, environments=False).entries == 3
    freed = clean_here(0, environments=True)
    assert (freed.entries, freed.size_bytes) == (1, 500)
    assert not program.exists()


def test_the_runner_that_was_made_for_boards_goes_with_all_else() -> None:
    program = bench_program()
    clean_here(10**9, environments=False)
    assert program.exists()
    clean_here(0, environments=False)
    assert not program.exists()


def test_after_a_month_convert_forgets_them(left: dict[str, Path]) -> None:
    forget_old_checkpoints()
    assert [name for name, folder in left.items() if folder.exists()] == ["b", "c"]
