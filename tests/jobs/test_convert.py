"""The convert job, where its surroundings fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit.core.errors import WorkerError
from edgekit.jobs import convert
from edgekit.jobs.plan import Wish, make_plan


def test_cached_work_that_vanishes_meanwhile_is_said(
    tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any) -> Any:
        raise FileNotFoundError(2, "No such file", str(fresh_cache / "steps" / "samples.txt"))

    monkeypatch.setattr(convert, "_open", opened)
    plan = make_plan(Wish(model="keras:a.b:c", profile="linux-x86_64", variants=["float32"]))
    with pytest.raises(WorkerError, match="removed while it was in use"):
        convert.convert(plan, tmp_path / "build")
    assert not (tmp_path / "build").exists()
