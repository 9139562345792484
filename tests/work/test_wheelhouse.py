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


def test_a_glibc_that_is_too_old(tmp_path: Path, fresh_cache: Path) -> None:
    make_wheel(tmp_path, tag="cp311-cp311-manylinux_2_34_aarch64")
    with pytest.raises(PlanError, match=r"no wheels in .*No matching distribution"):
        fetch(PI.model_copy(update={"glibc": (2, 31)}), tmp_path)


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
