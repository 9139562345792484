"""The runner over the Android app: a real adb server, doubles of a phone's adbd and programs, and a
real runner as the app. Nobody here had a phone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import (
    DeviceError,
    PlanError,
    RejectedError,
    RuntimeMissingError,
    TransientDeviceError,
    UsageError,
)
from edgekit.core.measurement import Measurement
from edgekit.devices.adb import AdbDevice
from edgekit.devices.local import LocalDevice
from edgekit.measure.answers import Answering
from edgekit.measure.choice import choose_runner
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.app import PACKAGE, AppRunner
from edgekit.measure.session import measure, measure_together
from edgekit.measure.subject import Subject
from tests.adb_double import AdbDouble, RealServer, known_to
from tests.app_double import RUNNER, AppPhone
from tests.measure.test_session import QUICK, is_sound, subject
from tests.tiny_tflite import dense_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer(tmp_path_factory.mktemp("adb"))
    yield server
    server.stop()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppPhone]:
    app = AppPhone(tmp_path / "phone")
    monkeypatch.setattr("edgekit.measure.runners.app.RUNS", str(app.runs))
    yield app
    subprocess.run([str(app.path / "am"), "force-stop", PACKAGE], check=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("edgekit.devices.adb.FOLDER", str(tmp_path / "data" / "edgekit"))
    return tmp_path / "data" / "edgekit"


@pytest.fixture
def double(
    server: RealServer, app: AppPhone, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AdbDouble]:
    for name in ("ADB_SERVER_SOCKET", "ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    with known_to(server, AdbDouble(path=f"{app.path}:{os.environ['PATH']}")) as double:
        yield double


@pytest.fixture
def device(double: AdbDouble, store: Path) -> Iterator[AdbDevice]:
    with AdbDevice(f"adb:{double.serial}") as device:
        yield device


def for_app(folder: Path, **more: Any) -> Subject:
    return replace(subject(folder, **more), runner="app")


def test_measured_in_the_app(device: AdbDevice, app: AppPhone, store: Path, tmp_path: Path) -> None:
    found = measure(device, for_app(tmp_path), QUICK)
    is_sound(found, device.address)
    starts = [call for call in app.calls if call.startswith("start")]
    assert len(starts) == len(set(starts)) == 3  # the check and two launches, each its own process
    assert found.environment_before["battery_percent"] == 81
    assert found.environment_before["battery"] == "charging"
    assert found.environment_before["fed_by"] == "USB"
    assert found.environment_after["screen"] == "on"
    assert app.is_clean(store)
