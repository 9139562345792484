"""Saved Keras models of both generations, made once a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keras_zoo import zoo_for


@pytest.fixture(scope="session")
def keras3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo_for(tmp_path_factory, "keras3")


@pytest.fixture(scope="session")
def keras2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo_for(tmp_path_factory, "keras2")


@pytest.fixture(scope="session", params=["keras3", "keras2"])
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of each generation in turn."""
    return zoo_for(tmp_path_factory, request.param)
