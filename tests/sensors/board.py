"""Made-up boards: a sysfs and programs with the names and formats of real ones. Doubles: none of
these numbers is a board's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.core.measurement import Trace
from edgekit.sensors import SENSORS
from edgekit.sensors.sensor import PRELUDE, Channel, Found, Reading, Sensor


class Board:
    """A folder with ``sys`` and ``bin``; `environment` makes programs see it."""

    def __init__(self, folder: Path, files: Mapping[str, str] | None = None) -> None:
        self.sys, self.bin = folder / "sys", folder / "bin"
        for place in (self.sys, self.bin):
            place.mkdir(parents=True, exist_ok=True)
        for path, text in (files or {}).items():
            self.file(path, text)

    def file(self, path: str, text: str) -> Path:
        place = self.sys / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        return {"EDGEKIT_SYSFS": str(self.sys), "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def find(self, name: str) -> tuple[Sensor, Found]:
        """What the sensor's own probe, run by a real shell, makes of the board."""
        import subprocess

        sensor: Sensor = SENSORS[name]()
        said = subprocess.run(
            ["sh", "-c", PRELUDE + sensor.probe],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        ).stdout
        return sensor, sensor.find(said)


def read(sensor: Sensor, channel: Channel, *texts: Sequence[str]) -> list[Trace]:
    """What the sensor understands of readings a tenth of a second apart."""
    readings = [Reading(10**9 + 10**8 * i, tuple(each)) for i, each in enumerate(texts)]
    return sensor.parse(channel, readings)


def by_rail(traces: Sequence[Trace]) -> dict[str, tuple[float, ...]]:
    return {trace.rail: trace.values for trace in traces}


def jetson_orin() -> dict[str, str]:
    """JetPack 6: two chips; the second has one rail, one that is not connected, and channel 7."""
    one = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    two = "bus/i2c/drivers/ina3221/1-0041/hwmon/hwmon4"
    rails = {(one, 1): "VDD_GPU_SOC", (one, 2): "VDD_CPU_CV", (one, 3): "VIN_SYS_5V0",
             (two, 1): "NC", (two, 2): "VDDQ_VDD2_1V8AO", (two, 3): "NC"}  # fmt: skip
    files = {}
    for (chip, n), label in rails.items():
        files[f"{chip}/in{n}_label"] = f"{label}\n"
        files[f"{chip}/in{n}_input"] = "5000\n"
        files[f"{chip}/curr{n}_input"] = f"{100 * n}\n"
    for chip in (one, two):
        files[f"{chip}/in7_label"] = "sum of shunt voltages\n"
        files[f"{chip}/in7_input"] = "16\n"
        files[f"{chip}/curr4_input"] = "999\n"
    return files


PI5 = """\
 VDD_CORE_A current(7)=0.50000000A
   3V3_SYS_A current(1)=0.10000000A
 VDD_CORE_V volt(15)=0.80000000V
   3V3_SYS_V volt(9)=3.30000000V
   EXT5V_V volt(24)=5.14875000V
    BATT_V volt(25)=0.00781404V
"""
