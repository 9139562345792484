"""Two artifacts in turns, on this computer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.files import sha256_file
from edgekit.core.measurement import MeasureSettings
from edgekit.core.protocols import CommandResult
from edgekit.devices.local import LocalDevice
from edgekit.measure.session import Subject
from edgekit.measure.turns import in_turns
from tests.tiny_tflite import dense_model


class Watched(LocalDevice):
    """Remembers which models were run."""

    def __init__(self, root: Path) -> None:
        super().__init__(root=root)
        self.models: list[str] = []

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None
    ) -> CommandResult:
        if stdin.startswith(b"{"):
            self.models.append(json.loads(stdin)["model"])
        return super().run(argv, stdin=stdin, timeout_seconds=timeout_seconds)


def subject(path: Path, **more: Any) -> Subject:
    dense_model(path, **more)
    return Subject(path, sha256_file(path), "none", "net", path.stem)


@pytest.mark.slow
def test_launches_take_turns_and_change_who_is_first(tmp_path: Path) -> None:
    one, two = subject(tmp_path / "one.tflite"), subject(tmp_path / "two.tflite", version=2)
    quick = MeasureSettings(launches=3, runs=5, min_seconds=0, warmup_runs=1, warmup_seconds=0)
    with Watched(tmp_path / "store") as device:
        found = in_turns(device, one, two, quick, where="here")
        first, second = device.models[:2]
        assert first != second
        assert device.models == [first, second, second, first, first, second]
    assert min(found.before_milliseconds, found.milliseconds, found.share) > 0
    assert found.text.endswith("ms before")
