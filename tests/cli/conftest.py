"""The command line as a person uses it: real processes in an empty folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """The folder that commands run in."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return folder


@pytest.fixture
def edgekit(desk: Path) -> Run:
    def run(*arguments: object, cwd: Path = desk) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs for the zoo's `cnn`, good and bad, and labels that are what `cnn` cannot know."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    images = rng.random((40, 8, 8, 1), dtype=np.float32)
    np.savez(folder / "calibration.npz", image=images[:20])
    np.savez(folder / "evaluation.npz", image=images[20:])
    np.savez(folder / "overlapping.npz", image=images[10:])
    np.savez(folder / "empty.npz", image=images[:0])
    np.savez(folder / "small.npz", image=images[:, :4])
    np.savez(folder / "words.npz", image=np.array(["no", "numbers"]))
    broken = images.copy()
    broken[3, 2, 1, 0] = np.nan
    np.savez(folder / "nan.npz", image=broken)
    return folder
