"""What each sensor finds on a made-up board by its own shell script, and understands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.sensors import SENSORS
from edgekit.sensors.sensor import Channel, Unavailable
from tests.sensors.board import PI5, Board, by_rail, jetson_orin, read


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "a board's files")


@pytest.mark.parametrize("name", list(SENSORS))
def test_a_board_that_has_none_says_so(board: Board, name: str) -> None:
    with pytest.raises(Unavailable) as caught:
        board.find(name)
    assert not caught.value.there
    assert str(caught.value)


# ---------------------------------------------------------------------------------------------
# Jetson


def test_ina3221_of_jetpack_6_adds_rails_up_where_no_input_is_measured(board: Board) -> None:
    for path, text in jetson_orin().items():
        board.file(path, text)
    sensor, found = board.find("ina3221")
    assert found.rails == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    assert all(channel.in_total for channel in found.channels)
    assert "the carrier board is not in it" in found.covers
    (trace,) = read(sensor, found.channels[1], ("5000", "200"), ("4900", "-8"))
    assert trace.values == (1.0, -0.0392)
    assert (trace.unit, trace.kind, trace.rail) == ("W", "measured", "VDD_CPU_CV")
    assert (trace.start_ns, trace.offsets_us) == (10**9, (0, 100_000))


@pytest.mark.parametrize("total", ["VDD_IN", "POM_5V_IN"])
def test_ina3221_takes_the_input_alone(board: Board, total: str) -> None:
    """JetPack 4: power in mW."""
    folder = "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    for number, rail in enumerate((total, "POM_5V_GPU", "POM_5V_CPU")):
        board.file(f"{folder}/rail_name_{number}", rail)
        board.file(f"{folder}/in_power{number}_input", f"{943 * (number + 1)}\n")
        board.file(f"{folder}/in_voltage{number}_input", "5000\n")
    sensor, found = board.find("ina3221")
    assert [channel.in_total for channel in found.channels] == [True, False, False]
    assert found.covers == f"the module's input ({total})"
    assert by_rail(read(sensor, found.channels[0], ("943",))) == {total: (0.943,)}


def test_ina3221_leaves_out_a_rail_that_is_switched_off(board: Board) -> None:
    for path, text in jetson_orin().items():
        board.file(path, "" if "hwmon3/in2_input" in path else text)
    assert "VDD_CPU_CV" not in board.find("ina3221")[1].rails


def test_ina238(board: Board) -> None:
    chip = "bus/i2c/drivers/ina238/2-0044/hwmon/hwmon5"
    board.file(f"{chip}/power1_input", "9761000\n")
    sensor, found = board.find("ina238")
    assert by_rail(read(sensor, found.channels[0], ("9761000",))) == {"VIN": (9.761,)}
    board.file(f"{chip}/label", "VDD_GPU\n")
    board.file("bus/i2c/drivers/ina238/2-0045/hwmon/hwmon6/label", "VDD_CPU\n")
    board.file("bus/i2c/drivers/ina238/2-0045/hwmon/hwmon6/power1_input", "1\n")
    assert "which of VDD_GPU, VDD_CPU is the input" in board.find("ina238")[1].no_total


TEGRASTATS = {
    "4": "RAM 2448/3964MB (lfb 5x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU "
    "[2%@102,0%@102,off,off] EMC_FREQ 0% GR3D_FREQ 0% PLL@20C CPU@24.5C PMIC@100C GPU@23.5C "
    "AO@30.5C thermal@24C POM_5V_IN 900/943 POM_5V_GPU 0/0 POM_5V_CPU 123/140",
    "6": "11-29-2026 12:00:00 RAM 2966/7620MB (lfb 1x2MB) SWAP 0/3810MB (cached 0MB) CPU "
    "[0%@729,0%@729] GR3D_FREQ 0%@[305] cpu@45.25C soc2@44.1C tboard@-256C tj@44.5C "
    "VDD_IN 2957mW/2957mW VDD_CPU_GPU_CV 481mW/481mW VDD_SOC 961mW/961mW",
    "7": "RAM 4000/125000MB CPU [0%@1000] cpu@50C/50C tj@51.5C/52C VDD_GPU 0mW/0mW/0mW "
    "VDD_IN 9761mW/9700mW/9999mW",
    "xavier": "RAM 1/2MB GPU 0/0 CPU 311/300 SOC 933/933 CV 0/0 VDDRQ 155/155 SYS5V 1361/1361",
}


@pytest.mark.parametrize(
    ("dialect", "watts", "total", "heat"),
    [
        ("4", {"POM_5V_IN": 0.9, "POM_5V_GPU": 0.0, "POM_5V_CPU": 0.123}, {"POM_5V_IN"},
         {"PLL": 20, "CPU": 24.5, "GPU": 23.5, "AO": 30.5, "thermal": 24}),
        ("6", {"VDD_IN": 2.957, "VDD_CPU_GPU_CV": 0.481, "VDD_SOC": 0.961}, {"VDD_IN"},
         {"cpu": 45.25, "soc2": 44.1, "tj": 44.5}),
        ("7", {"VDD_GPU": 0.0, "VDD_IN": 9.761}, {"VDD_IN"}, {"cpu": 50, "tj": 51.5}),
        ("xavier", {"GPU": 0, "CPU": 0.311, "SOC": 0.933, "CV": 0, "VDDRQ": 0.155, "SYS5V": 1.361},
         {"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}, {}),
    ],
)  # fmt: skip
def test_tegrastats(
    board: Board, dialect: str, watts: dict[str, float], total: set[str], heat: dict[str, float]
) -> None:
    line = TEGRASTATS[dialect]
    board.program("tegrastats", f"while :; do echo '{line}'; sleep 0.05; done")
    sensor, found = board.find("tegrastats")
    assert set(found.rails) == set(watts)
    assert found.channels[0].stream[1:] == ("--interval", "{interval_ms}")
    traces = read(sensor, found.channels[0], (line,), (line,))
    power = [trace for trace in traces if trace.unit == "W"]
    assert by_rail(power) == {rail: (value, value) for rail, value in watts.items()}
    assert {trace.rail for trace in power if trace.in_total} == total
    assert {t.rail: t.values[0] for t in traces if t.unit == "°C"} == heat
    clocks = {t.rail: t.values[0] for t in traces if t.unit == "kHz"}
    assert clocks == ({"GPU": 305e3} if dialect == "6" else {})


def test_tegrastats_without_rails(board: Board) -> None:
    board.program("tegrastats", "echo 'RAM 1/2MB CPU [0%@100]'")
    with pytest.raises(Unavailable, match="no rail"):
        board.find("tegrastats")


def test_jetson_modes(board: Board) -> None:
    board.program(
        "nvpmodel", "echo 'NVPM WARN: fan mode is not set!'; echo 'NV Power Mode: 15W'; echo 2"
    )
    assert board.find("jetson_modes")[1].facts == {"power mode": "15W (2)"}
    board.program(
        "jetson_clocks",
        "echo 'SOC family:tegra234  Machine:Orin'\n"
        "echo 'cpu0: Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400'\n"
        "echo 'GPU MinFreq=306000000 MaxFreq=624750000 CurrentFreq=306000000'",
    )
    assert board.find("jetson_modes")[1].facts == {
        "power mode": "15W (2)",
        "clocks of cpu0": "Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1510400",
        "clocks of GPU": "MinFreq=306000000 MaxFreq=624750000 CurrentFreq=306000000",
    }


# ---------------------------------------------------------------------------------------------
# Raspberry Pi


def vcgencmd(board: Board) -> None:
    board.program(
        "vcgencmd",
        f"case $1 in pmic_read_adc) cat <<'E'\n{PI5}E\n;;\n"
        'measure_temp) echo "temp=48.3\'C";; esac',
    )


def test_pi5_pmic_pairs_current_and_voltage(board: Board) -> None:
    vcgencmd(board)
    sensor, found = board.find("pi5_pmic")
    assert found.rails == ("VDD_CORE", "3V3_SYS")
    measured = read(sensor, found.channels[0], (PI5,))
    assert by_rail(measured) == {
        "VDD_CORE": (0.4,),
        "3V3_SYS": (0.33,),
        "input, by a fit": (pytest.approx(0.73 * 1.1451 + 0.5879, rel=1e-5),),
    }
    assert {(t.rail, t.kind, t.in_total) for t in measured} == {
        ("VDD_CORE", "measured", True),
        ("3V3_SYS", "measured", True),
        ("input, by a fit", "estimated", False),
    }


def test_a_pi_4_has_no_power_and_not_zero(board: Board) -> None:
    board.program("vcgencmd", "echo 'error=1 error_msg=\"Command not registered\"'")
    with pytest.raises(Unavailable, match="only a Raspberry Pi 5"):
        board.find("pi5_pmic")


def test_pi_temperature(board: Board) -> None:
    vcgencmd(board)
    sensor, found = board.find("pi_temperature")
    assert by_rail(read(sensor, found.channels[0], ("temp=48.3'C",))) == {"soc": (48.3,)}


# ---------------------------------------------------------------------------------------------
# Any Linux


def test_hwmon_takes_the_only_meter(board: Board) -> None:
    board.file("class/hwmon/hwmon0/name", "cpu_thermal\n")
    board.file("class/hwmon/hwmon0/temp1_input", "40000\n")
    board.file("class/hwmon/hwmon1/name", "ina226\n")
    board.file("class/hwmon/hwmon1/power1_input", "2500000\n")
    sensor, found = board.find("hwmon")
    assert found.rails == ("ina226 power1",)
    (trace,) = read(sensor, found.channels[0], ("2500000",))
    assert (trace.values, trace.unit, trace.in_total) == ((2.5,), "W", True)


def test_hwmon_does_not_choose_among_several(board: Board) -> None:
    board.file("class/hwmon/hwmon1/name", "board\n")
    board.file("class/hwmon/hwmon1/power1_input", "2500000\n")
    board.file("class/hwmon/hwmon1/energy1_input", "77000000\n")
    board.file("class/hwmon/hwmon1/energy1_label", "core\n")
    sensor, found = board.find("hwmon")
    assert found.rails == ("board power1", "board core")
    assert not any(channel.in_total for channel in found.channels)
    assert "--power 'hwmon:board power1'" in found.no_total
    (trace,) = read(sensor, found.channels[1], ("77000000",), ("77500000",))
    assert (trace.values, trace.unit) == ((77.0, 77.5), "J")


def powercap(board: Board, **zones: str) -> None:
    for zone, name in zones.items():
        folder = f"class/powercap/{zone.replace('__', ':').replace('mmio', '-mmio')}"
        board.file(f"{folder}/name", f"{name}\n")
        board.file(f"{folder}/energy_uj", "262143328000\n")
        board.file(f"{folder}/max_energy_range_uj", "262143328850\n")


def test_rapl_counts_packages_and_memory_and_none_twice(board: Board) -> None:
    zones = {"rapl__0": "package-0", "rapl__0__0": "core", "rapl__0__1": "dram",
             "rapl__1": "package-1", "raplmmio__0": "package-0"}  # fmt: skip
    powercap(board, **zones)
    sensor, found = board.find("rapl")
    counted = {channel.key: channel.files for channel in found.channels if channel.in_total}
    assert set(counted) == {"package-0", "package-0 dram", "package-1"}
    assert "mmio" not in counted["package-0"][0]
    (trace,) = read(sensor, found.channels[0], ("262143328000",), ("1000",))
    assert (trace.values, trace.wraps_at) == ((262143.328, 0.001), 262143.32885)


def test_rapl_takes_the_platform_alone(board: Board) -> None:
    powercap(board, rapl__0="package-0", rapl__1="psys")
    found = board.find("rapl")[1]
    assert [channel.key for channel in found.channels if channel.in_total] == ["psys"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rapl_that_only_root_may_read(board: Board) -> None:
    powercap(board, rapl__0="package-0")
    (board.sys / "class/powercap/rapl:0/energy_uj").chmod(0)
    with pytest.raises(Unavailable, match="only root may read"):
        board.find("rapl")


def test_rapl_that_says_nothing_when_it_is_read() -> None:
    said = "/sys/class/powercap/rapl:0/name\tpackage-0\n/sys/class/powercap/rapl:0/energy_uj\n"
    with pytest.raises(Unavailable, match=r"only root may read .*: on the device: sudo chmod a\+r"):
        SENSORS["rapl"]().find(said)


def test_thermal_zones(board: Board) -> None:
    for number, (kind, temp) in enumerate(
        [("cpu-thermal", "48300"), ("off", "-256000"), ("none", "")]
    ):
        board.file(f"class/thermal/thermal_zone{number}/type", kind)
        board.file(f"class/thermal/thermal_zone{number}/temp", temp)
    sensor, found = board.find("thermal_zones")
    assert found.rails == ("thermal_zone0:cpu-thermal",)
    traces = read(sensor, found.channels[0], ("48300",), ("-256000",), ("49000",))
    assert by_rail(traces) == {"thermal_zone0:cpu-thermal": (48.3, 49.0)}
    assert traces[0].offsets_us == (0, 200_000)


def test_clocks(board: Board) -> None:
    board.file("devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "1500000\n")
    board.file("devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "2400000\n")
    board.file("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1500000\n")
    board.file("class/devfreq/17000000.gpu/cur_freq", "305000000\n")
    board.file("class/devfreq/memory-bus/cur_freq", "800000000\n")
    sensor, found = board.find("cpufreq")
    assert found.rails == ("policy0", "policy4")
    assert by_rail(read(sensor, found.channels[1], ("2400000",))) == {"policy4": (2.4e6,)}
    sensor, found = board.find("gpu_clock")
    assert by_rail(read(sensor, found.channels[0], ("305000000",))) == {"17000000.gpu": (305e3,)}


# ---------------------------------------------------------------------------------------------
# Android


def battery(board: Board, status: str, current: str, voltage: str = "3850000") -> None:
    folder = "class/power_supply/battery"
    values = {"status": status, "current_now": current, "voltage_now": voltage}
    for name, text in values.items():
        board.file(f"{folder}/{name}", text + "\n")


@pytest.mark.parametrize(
    ("current", "watts", "kind"),
    [
        ("-520000", 2.002, "measured"),  # as the kernel wants it
        ("520000", 2.002, "measured"),  # a maker's other sign
        ("-520", 2.002, "derived"),  # a maker's other unit
    ],
)
def test_a_battery(board: Board, current: str, watts: float, kind: str) -> None:
    battery(board, "Discharging", current)
    sensor, found = board.find("android_battery")
    (trace,) = read(sensor, found.channels[0], ("Discharging", current, "3850000"))
    assert trace.values == (pytest.approx(watts),)
    assert trace.kind == kind


@pytest.mark.parametrize(
    ("status", "current", "why"),
    [
        ("Charging", "520000", "is charging, not discharging"),
        ("Full", "-100000", "is full"),
        ("Not charging", "-520000", "is not charging, not"),
        ("Discharging", "0", "nothing at all"),
        ("Discharging", "-15000", "in mA or in µA"),
        ("Discharging", "unknown", "no numbers"),
    ],
)
def test_a_battery_that_cannot_be_trusted(
    board: Board, status: str, current: str, why: str
) -> None:
    battery(board, status, current)
    with pytest.raises(Unavailable, match=why):
        board.find("android_battery")


def test_a_battery_that_changes_in_mid_run(board: Board) -> None:
    battery(board, "Discharging", "-520000")
    sensor, found = board.find("android_battery")
    good = ("Discharging", "-520000", "3850000")
    for then, why in (
        (("Charging", "520000", "3850000"), "charging"),
        (("Discharging", "520000", "3850000"), "changed its sign"),
        (("Discharging", "-900", "3850000"), "in mA or in µA"),
        (("Discharging", "-520000", "385"), "none of a battery"),
    ):
        with pytest.raises(Unavailable, match=why):
            read(sensor, found.channels[0], good, then)


RAILS = """t=16086650
CH0(T=16086645)[S1M_VDD_CAM], 1000000
CH3(T=16086645)[S2M_VDD_CPUCL2], 124265856
"""


def test_android_rails_are_not_added_up_by_themselves(board: Board) -> None:
    board.file("bus/iio/devices/iio:device0/energy_value", RAILS)
    board.file("bus/iio/devices/iio:device1/energy_value", RAILS.replace("S1M", "S9S"))
    sensor, found = board.find("android_rails")
    assert len(found.channels) == 2
    assert "name those that matter with --power android_rails:S1M_VDD_CAM+…" in found.no_total
    traces = read(sensor, found.channels[0], (RAILS,))
    assert by_rail(traces) == {"S1M_VDD_CAM": (1.0,), "S2M_VDD_CPUCL2": (124.265856,)}
    assert {trace.unit for trace in traces} == {"J"}
    assert not any(trace.in_total for trace in traces)


DUMP = """IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=99.0, mType=3, mName=OLD, mStatus=0}
HAL Ready: true
Current temperatures from HAL:
	Temperature{mValue=24.7, mType=3, mName=SKIN, mStatus=0}
	Temperature{mValue=0.0, mType=9, mName=DUMMY, mStatus=0}
	Temperature{mValue=-99.9, mType=2, mName=BATTERY, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=0, mType=2, mName=fan}
Temperature static thresholds from HAL:
	TemperatureThreshold{type=3, name=SKIN}
"""


def test_thermalservice_prefers_what_is_now(board: Board) -> None:
    board.program("dumpsys", f"cat <<'E'\n{DUMP}E")
    sensor, found = board.find("thermalservice")
    assert found.rails == ("SKIN",)
    assert by_rail(read(sensor, found.channels[0], (DUMP,))) == {"SKIN": (24.7,)}


def test_thermalservice_without_that_section(board: Board) -> None:
    board.program("dumpsys", f"cat <<'E'\n{DUMP.partition('HAL Ready')[0]}E")
    assert board.find("thermalservice")[1].rails == ("OLD",)


def test_thermalservice_that_is_not_ready(board: Board) -> None:
    board.program("dumpsys", f"cat <<'E'\n{DUMP.replace('true', 'false')}E")
    with pytest.raises(Unavailable, match="not ready"):
        board.find("thermalservice")


def test_text_that_is_no_reading_is_no_value() -> None:
    channel = Channel("x", files=("/sys/power1_input",), facts={"what": "power"})
    with pytest.raises(Unavailable, match="said 'n/a', in which there is nothing"):
        read(SENSORS["hwmon"](), channel, ("n/a",))
    assert by_rail(read(SENSORS["hwmon"](), channel, ("n/a",), ("5",))) == {"x": (5e-6,)}
