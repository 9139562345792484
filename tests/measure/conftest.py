"""What tests of measurements share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


class StoppedTime:
    """A folder for the PATH of a board where a second does not pass before `go_on`.

    A guard counts its lease in them. Were they real, a test would have to do its part within a
    lease, or to wait for a long one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._goes = folder / "stopped time", folder / "time goes on"
        self.folder.mkdir()
        real = shutil.which("sleep")
        (self.folder / "sleep").write_text(
            f'#!/bin/sh\n[ "$1" = 1 ] || exec {real} "$@"\n'
            f"until [ -e '{self._goes}' ]; do {real} 0.05; done\n"
        )
        (self.folder / "sleep").chmod(0o755)
        self.path = f"{self.folder}:{os.environ['PATH']}"

    def go_on(self) -> None:
        self._goes.touch()


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[StoppedTime]:
    time = StoppedTime(tmp_path)
    yield time
    time.go_on()  # for a guard that is left
