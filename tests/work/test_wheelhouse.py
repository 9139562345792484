"""Wheels for another machine: what pip is told, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import PlanError
from edgekit.core.eviction import StoreUsage
from edgekit.work.wheelhouse import Wanted, fetch, remove_wheels, wheels_usage
from tests.wheels import make_wheel

PI = Wanted(
    packages=("ai-edge-litert==2.3.0",), python=(3, 11), machine="aarch64", glibc=(2, 36)
)  # fmt: skip


def test_what_pip_is_told() -> None:
    words = PI.pip_arguments()
    assert words[:3] == ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
    assert words[3] == "--platform=manylinux_2_36_aarch64"
    assert "--platform=manylinux2014_aarch64" in words
    assert "--platform=manylinux_2_37_aarch64" not in words


@pytest.mark.slow
def test_wheels_of_the_other_machine_are_taken(tmp_path: Path, fresh_cache: Path) -> None:
    for tag in (
        "cp311-cp311-manylinux_2_34_aarch64", "cp311-cp311-manylinux_2_34_x86_64",
        "cp310-cp310-manylinux_2_34_aarch64",
    ):  # fmt: skip
        make_wheel(tmp_path, tag=tag, needs=("numpy",))
    make_wheel(tmp_path, "numpy", "2.0.0", tag="cp311-cp311-manylinux2014_aarch64")
    assert [wheel.name for wheel in fetch(PI, tmp_path)] == [
        "ai_edge_litert-2.3.0-cp311-cp311-manylinux_2_34_aarch64.whl",
        "numpy-2.0.0-cp311-cp311-manylinux2014_aarch64.whl",
    ]
    assert wheels_usage().entries == 0  # they are the user's: not kept


OLD = PI.model_copy(update={"glibc": (2, 31)})


@pytest.mark.slow
def test_the_runtime_is_taken_whatever_its_tag_claims(tmp_path: Path, fresh_cache: Path) -> None:
    """Which glibc it needs is known; a wheel whose tag suits is preferred all the same."""
    make_wheel(tmp_path, tag="cp311-cp311-manylinux_2_34_aarch64")
    assert len(fetch(OLD, tmp_path)) == 1
    fits = make_wheel(tmp_path, tag="cp311-cp311-manylinux_2_28_aarch64")
    assert fetch(OLD, tmp_path) == [fits]


@pytest.mark.slow
def test_what_it_needs_has_to_suit_the_glibc(tmp_path: Path, fresh_cache: Path) -> None:
    make_wheel(tmp_path, needs=("numpy>=1", "none; extra == 'more'"))
    make_wheel(tmp_path, "numpy", "2.0.0", tag="cp311-cp311-manylinux_2_34_aarch64")
    with pytest.raises(PlanError, match=r"for what ai-edge-litert==2\.3\.0 needs.* glibc 2\.31"):
        fetch(OLD, tmp_path)
    assert len(fetch(PI, tmp_path)) == 2


def test_a_file_that_is_no_wheel(tmp_path: Path, fresh_cache: Path) -> None:
    make_wheel(tmp_path).write_bytes(b"PK")
    with pytest.raises(PlanError):
        fetch(PI, tmp_path)


def test_what_was_fetched_is_kept(
    tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (first,) = fetch(PI)
    wheel.unlink()
    assert fetch(PI) == [first]
    size = first.stat().st_size
    assert wheels_usage() == StoreUsage(entries=1, size_bytes=size)
    assert remove_wheels().size_bytes == size
    assert not first.exists()
    assert wheels_usage().entries == 0
