"""What every test gets: folders of its own, so that nothing outside the run is read or left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache, data and config folder for the whole session (child processes see them too)."""
    root = tmp_path_factory.mktemp("edgekit")
    for name in ("CACHE", "DATA", "CONFIG"):
        os.environ[f"EDGEKIT_{name}"] = str(root / name.lower())
    os.environ["NO_COLOR"] = "1"


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE", str(folder))
    return folder
