"""Waiting for a board to cool, with files in the place of thermal zones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.local import LocalDevice
from edgekit.measure.heat import Cooling, parse_zones


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


def zone(folder: Path, milli: int, name: str = "cpu-thermal") -> None:
    place = folder / "zones" / "thermal_zone0"
    place.mkdir(parents=True, exist_ok=True)
    (place / "type").write_text(f"{name}\n")
    (place / "temp").write_text(f"{milli}\n")


def test_it_returns_when_the_board_is_cool_again(device: LocalDevice, tmp_path: Path) -> None:
    zone(tmp_path, 45_000)
    left = [60_000, 50_000, 46_500]

    def sleep(_: float) -> None:
        zone(tmp_path, left.pop(0))

    cooling = Cooling(device, 60, zones=str(tmp_path / "zones"), sleep=sleep)
    zone(tmp_path, 70_000)
    said: list[float] = []
    assert cooling.wait(said.append).too_warm == ""
    assert said == [25, 15, 5]
    assert left == []


def test_it_gives_up_when_the_time_is_over(device: LocalDevice, tmp_path: Path) -> None:
    zone(tmp_path, 45_000)
    cooling = Cooling(device, 0.01, zones=str(tmp_path / "zones"))
    zone(tmp_path, 70_000)
    assert cooling.wait().too_warm == "thermal_zone0:cpu-thermal +25 °C"


def test_a_board_that_tells_no_temperature_is_not_waited_for(
    device: LocalDevice, tmp_path: Path
) -> None:
    assert Cooling(device, 60, zones=str(tmp_path / "none")).wait().seconds == 0


def test_dummies_are_no_temperatures() -> None:
    text = "thermal_zone0:cpu 48312\nthermal_zone1:gpu -256000\nthermal_zone2:x \nrubbish\n"
    assert parse_zones(text) == {"thermal_zone0:cpu": 48.312}


@given(st.text())
def test_whatever_a_board_prints_is_survived(text: str) -> None:
    assert all(celsius > -100 for celsius in parse_zones(text).values())


def dumpsys(folder: Path, status: int, celsius: float) -> None:
    """A double of a phone's."""
    program = folder / "bin" / "dumpsys"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f"#!/bin/sh\n[ $1 = thermalservice ] && cat <<'E'\nThermal Status: {status}\n"
        "Current temperatures from HAL:\n"
        f"\tTemperature{{mValue={celsius}, mType=3, mName=SKIN, mStatus=0}}\nE\n"
    )
    program.chmod(0o755)


@pytest.mark.slow
def test_a_phone_whose_zones_may_not_be_read(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    dumpsys(tmp_path, 0, 30.0)
    cooling = Cooling(device, 1, zones=str(tmp_path / "none"), sleep=lambda _: None)
    assert cooling.status == 0
    dumpsys(tmp_path, 2, 41.0)
    assert cooling.wait().too_warm == "SKIN +11 °C"
    assert cooling.look() == 2


def test_other_boards_have_no_such_service(device: LocalDevice, tmp_path: Path) -> None:
    assert Cooling(device, 0, zones=str(tmp_path / "none")).look() is None


def test_it_pauses_before_each_but_the_first(device: LocalDevice, tmp_path: Path) -> None:
    slept: list[float] = []
    cooling = Cooling(device, 0, pause_seconds=7, zones=str(tmp_path / "none"), sleep=slept.append)
    for _ in range(3):
        cooling.wait()
    assert slept == [7, 7]


@pytest.mark.parametrize(("types", "waits"), [(("gpu-thermal",), False), (("cpu",), True)])
def test_only_zones_that_count(
    device: LocalDevice, tmp_path: Path, types: tuple[str, ...], waits: bool
) -> None:
    """All do where none is of such a type."""
    zone(tmp_path, 45_000, "cpu-thermal")
    other = tmp_path / "zones" / "thermal_zone1"
    other.mkdir()
    (other / "type").write_text("gpu-thermal\n")
    (other / "temp").write_text("40000\n")
    cooling = Cooling(device, 0.1, types=types, zones=str(tmp_path / "zones"), sleep=lambda _: None)
    zone(tmp_path, 70_000, "cpu-thermal")
    assert bool(cooling.wait().too_warm) == waits
