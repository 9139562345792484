"""From a made-up board to the energy of an inference: probe, sampler, runner, statistics."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.errors import DeviceError, UnknownNameError, UsageError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.core.result import Energy
from edgekit.devices.local import LocalDevice
from edgekit.devices.ssh import SSHDevice
from edgekit.measure.energy import energy
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import measure
from edgekit.measure.subject import Subject
from edgekit.sensors.watch import Watch
from tests.sensors.board import PI5, Board, jetson_orin
from tests.sshd import SSHServer
from tests.tiny_tflite import dense_model

SETTINGS = MeasureSettings(
    launches=1, runs=20, min_seconds=1.0, warmup_runs=1, warmup_seconds=0, timeout_seconds=120
)
RATE_HZ = 50.0


@pytest.fixture(autouse=True)
def _busy_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run side by side, and a sampler that has to wait for a core misses turns. Where power
    is constant that costs nothing; what it costs elsewhere is in tests/measure/test_energy.py.
    """
    monkeypatch.setattr("edgekit.measure.energy.TOLERATED_MISSING", 0.9)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """This computer as it would be with other files in sysfs and other programs."""
    made = Board(tmp_path / "a board")
    for key, text in made.environment.items():
        monkeypatch.setenv(key, text)
    return made


@pytest.fixture
def device(board: Board, tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


def meter(board: Board, watts: float) -> None:
    board.file("class/hwmon/hwmon0/name", "ina226\n")
    board.file("class/hwmon/hwmon0/power1_input", f"{round(watts * 1e6)}\n")


def measured(
    device: LocalDevice | SSHDevice,
    folder: Path,
    *,
    power: str = "auto",
    runner: str = "python",
    **how: int,
) -> Measurement:
    path = dense_model(folder / "model.tflite", inputs=512, outputs=512)
    watch = Watch.open(device, power=power, rate_hz=RATE_HZ)
    for _ in range(5):
        found = measure(
            device,
            Subject(path, sha256_file(path), "none", "tiny", "float32"),
            SETTINGS.model_copy(update=how),
            runner=runner,
            wish=RunnerWish(python=sys.executable if runner == "python" else None),
            sensing=watch,
        )
        told = energy(found)
        # Other work may keep the sampler waiting for all of a second: no energy is right then.
        if told is None or "are too few" not in told.unavailable:
            break
    assert Measurement.from_json(found.to_json()) == found
    return found


def known(found: Measurement) -> Energy:
    told = energy(found)
    assert told is not None
    return told


def is_energy_of(found: Measurement, watts: float) -> None:
    """The power is known and constant, so the energy is that times the time of a run."""
    told = known(found)
    each = [
        (max(w.end_ns for w in x.windows) - min(w.start_ns for w in x.windows))
        / 1e9
        / len(x.samples_ns)
        for x in found.launches
    ]
    assert told.unavailable == ""
    assert told.per_inference_j is not None
    assert told.per_inference_j.value == pytest.approx(watts * statistics.mean(each), rel=1e-6)
    assert told.mean_power_w is not None
    assert told.mean_power_w.value == pytest.approx(watts)
    assert told.idle_power_w is not None
    assert told.idle_power_w.value == pytest.approx(watts)


@pytest.mark.parametrize(("prefer", "taken"), [((), "ina3221"), (("hwmon",), "hwmon")])
def test_what_a_kind_of_board_prefers(
    board: Board, device: LocalDevice, prefer: tuple[str, ...], taken: str
) -> None:
    meter(board, 2.5)
    for path, text in jetson_orin().items():
        board.file(path, text)
    watch = Watch.open(device, prefer=prefer)
    assert [sensor.name for sensor, _ in watch.chosen if sensor.gives == "power"] == [taken]


@pytest.mark.slow
@pytest.mark.parametrize(("runner", "streams"), [("python", 1), ("python", 2), ("native", 2)])
def test_a_meter_of_known_power(
    board: Board, device: LocalDevice, tmp_path: Path, runner: str, streams: int
) -> None:
    meter(board, 2.5)
    board.file("class/thermal/thermal_zone0/type", "cpu")
    board.file("class/thermal/thermal_zone0/temp", "48300")
    found = measured(device, tmp_path, runner=runner, streams=streams, launches=2)
    is_energy_of(found, 2.5)
    assert known(found).kind == "measured"
    sensed = found.launches[0].sensed
    assert sensed is not None
    assert {(t.source, t.unit) for t in sensed.traces} == {("hwmon", "W"), ("thermal_zones", "°C")}
    assert sensed.unavailable["rapl"] == "no powercap counter in sysfs"
    assert sensed.cost["start_cpu_seconds"] > 0
    assert sensed.cost["ended"] == "asked"


@pytest.mark.slow
def test_over_ssh_a_jetson_of_rails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(tmp_path / "a board", jetson_orin())
    board.program("nvpmodel", "echo 'NV Power Mode: MAXN'; echo 0")
    server = SSHServer(tmp_path / "sshd", environment=board.environment)
    try:
        server.configure(monkeypatch)
        server.trust()
        with SSHDevice("ssh://board") as device:
            found = measured(device, tmp_path)
            watts = 5 * (0.1 + 0.2 + 0.3 + 0.2)
            is_energy_of(found, watts)
            told = known(found)
            assert told.kind == "derived"
            assert told.covers.startswith("VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ")
            sensed = found.launches[0].sensed
            assert sensed is not None
            assert sensed.facts == {"power mode": "MAXN (0)"}
            one = measured(device, tmp_path, power="ina3221:VDD_CPU_CV+VDD_GPU_SOC")
            is_energy_of(one, 1.5)
            assert known(one).covers == "VDD_CPU_CV + VDD_GPU_SOC"
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["python", "native"])
def test_commands_and_streams(
    board: Board, device: LocalDevice, tmp_path: Path, runner: str
) -> None:
    board.program("vcgencmd", f"cat <<'E'\n{PI5}E")
    found = measured(device, tmp_path, runner=runner)
    is_energy_of(found, 0.73)
    assert "less than at the plug" in known(found).covers
    board.program(
        "tegrastats",
        'echo "$@" > ${0%/*}/asked; while :; do echo VDD_IN 1500mW/1mW VDD_SOC 1mW/1mW; '
        "sleep 0.02; done",
    )
    is_energy_of(measured(device, tmp_path, runner=runner), 1.5)
    assert (board.bin / "asked").read_text() == "--interval 20\n"


@pytest.mark.slow
def test_a_sensor_that_ends_in_mid_run_gives_no_energy(
    board: Board, device: LocalDevice, tmp_path: Path
) -> None:
    # For 1.1 s, however slowly programs start: in the midst of a run, or before it is timed.
    board.program(
        "tegrastats",
        "end=$(($(date +%s%N) / 1000000 + 1100)); "
        "while [ $(($(date +%s%N) / 1000000)) -lt $end ]; do echo VDD_IN 1500mW/1mW; "
        "sleep 0.02; done",
    )
    told = known(measured(device, tmp_path))
    assert told.per_inference_j is None
    assert "tegrastats (VDD_IN) said nothing more after" in told.unavailable


@pytest.mark.slow
def test_a_board_that_has_nothing_is_measured_all_the_same(
    board: Board, device: LocalDevice, tmp_path: Path
) -> None:
    found = measured(device, tmp_path)
    told = known(found)
    assert (told.per_inference_j, told.unavailable) == (None, "no sensor of power is there")
    assert found.launches[0].sensed is not None
    assert found.launches[0].sensed.traces == ()
    assert found.settings.timeout_seconds == 120


@pytest.mark.slow
def test_a_sensor_that_is_there_and_broken_says_why(
    board: Board, device: LocalDevice, tmp_path: Path
) -> None:
    for name, text in {"status": "Charging", "current_now": "1", "voltage_now": "1"}.items():
        board.file(f"class/power_supply/battery/{name}", text)
    told = known(measured(device, tmp_path))
    assert told.unavailable.startswith("android_battery: the battery is charging")


@pytest.mark.slow
def test_several_meters_need_a_name(board: Board, device: LocalDevice, tmp_path: Path) -> None:
    meter(board, 2.5)
    board.file("class/hwmon/hwmon0/power2_input", "700000\n")
    told = known(measured(device, tmp_path))
    assert told.per_inference_j is None
    assert "name one with --power 'hwmon:ina226 power1'" in told.unavailable
    is_energy_of(measured(device, tmp_path, power="hwmon:ina226 power2"), 0.7)


def test_wishes_that_cannot_be_met(board: Board, device: LocalDevice) -> None:
    meter(board, 2.5)
    with pytest.raises(DeviceError, match="local has no power by rapl: no powercap counter"):
        Watch.open(device, power="rapl")
    with pytest.raises(
        UnknownNameError, match="no sensor of power called 'rappl'; did you mean rapl"
    ):
        Watch.open(device, power="rappl")
    with pytest.raises(UnknownNameError, match="no sensor of power called 'cpufreq'"):
        Watch.open(device, power="cpufreq")
    with pytest.raises(UnknownNameError, match="no rail of hwmon called 'VIN'"):
        Watch.open(device, power="hwmon:VIN")
    with pytest.raises(UsageError, match="--rate 0 is not"):
        Watch.open(device, rate_hz=0)


def test_the_best_of_several_is_read(board: Board, device: LocalDevice) -> None:
    meter(board, 2.5)
    assert [s.name for s, _ in Watch.open(device).chosen] == ["hwmon"]
    for path, text in jetson_orin().items():
        board.file(path, text)
    both = Watch.open(device)
    assert [s.name for s, _ in both.chosen] == ["ina3221"]
    assert both.unavailable["hwmon"] == "not read beside ina3221"
    # An Android's rails have no total: another sensor that has one is better.
    assert [s.name for s, _ in Watch.open(device, power="hwmon").chosen] == ["hwmon"]


def test_the_probe_is_one_command_and_survives_what_a_login_prints(
    board: Board, device: LocalDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter(board, 2.5)
    runs = []
    run = device.run

    def talking(argv: list[str], **more: object):
        runs.append(argv)
        done = run(argv, **more)
        return done.model_copy(update={"stdout": f"Welcome!\n/sys\tx\n{done.stdout}"})

    monkeypatch.setattr(device, "run", talking)
    assert Watch.open(device).has_power
    assert len(runs) == 1
