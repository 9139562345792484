"""What the app tells of the memory that drivers of GPUs hold, as the other runners do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime_bench.descriptors import DESCRIPTORS, write_descriptors

pytestmark = pytest.mark.slow


def test_what_drivers_hold(ask: Callable[..., list[Any]], tmp_path: Path) -> None:
    roots = []
    for at, (files, links, _) in enumerate(DESCRIPTORS):
        roots.append(tmp_path / str(at))
        write_descriptors(roots[-1] / "proc" / "self", files, links)
    told = [each["said"] for each in ask("drivers", *roots, tmp_path / "nothing")]
    for said, (_, _, expected) in zip(told, DESCRIPTORS, strict=False):
        assert said == expected if isinstance(expected, int) else expected in said
    assert told[-1].endswith("/proc/self/fdinfo cannot be listed")


def test_what_adreno_holds(ask: Callable[..., list[Any]], tmp_path: Path) -> None:
    write_descriptors(tmp_path / "proc" / "self", {"3": ""}, {"3": "/dev/kgsl-3d0"})
    (tmp_path / "proc" / "self" / "stat").write_text("77 (app) S 1 77")
    folder = tmp_path / "sys" / "class" / "kgsl" / "kgsl" / "proc" / "77"
    folder.mkdir(parents=True)
    (folder / "gpumem_mapped").write_text("4096\n")
    (folder / "gpumem_unmapped").write_text("12288\n")
    assert ask("drivers", tmp_path) == [{"said": 16384}]
    (folder / "gpumem_mapped").unlink()
    (told,) = ask("drivers", tmp_path)
    assert told["said"].endswith("gpumem_mapped has no number")
