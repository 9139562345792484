"""What a board tells of power, heat and clocks. Adding a source is a file with a class that
implements `Sensor` (`edgekit.sensors.sensor`), and a line.
"""

from __future__ import annotations

from edgekit.core.registry import Registry

SENSORS = Registry(
    "sensor",
    {
        "ina3221": "edgekit.sensors.ina3221:Ina3221",
        "ina238": "edgekit.sensors.ina238:Ina238",
        "tegrastats": "edgekit.sensors.tegrastats:Tegrastats",
        "pi5_pmic": "edgekit.sensors.pi5_pmic:Pi5Pmic",
        "hwmon": "edgekit.sensors.hwmon:Hwmon",
        "rapl": "edgekit.sensors.rapl:Rapl",
        "android_battery": "edgekit.sensors.android_battery:AndroidBattery",
        "android_rails": "edgekit.sensors.android_rails:AndroidRails",
        "thermal_zones": "edgekit.sensors.thermal_zones:ThermalZones",
        "pi_temperature": "edgekit.sensors.pi_temperature:PiTemperature",
        "thermalservice": "edgekit.sensors.thermalservice:Thermalservice",
        "cpufreq": "edgekit.sensors.cpufreq:Cpufreq",
        "gpu_clock": "edgekit.sensors.gpu_clock:GpuClock",
        "jetson_modes": "edgekit.sensors.jetson_modes:JetsonModes",
    },
)
