"""What a board says of itself, taken apart: samples after documentation, and garbage."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.board import Board, glibc_version
from edgekit.core.errors import DeviceError
from edgekit.devices import open_device
from edgekit.devices.cpu_parts import core_name
from edgekit.devices.local import LocalDevice
from edgekit.devices.probe import parse, probe
from edgekit.devices.probe_script import ASK_PYTHON, SCRIPT
from tests.devices import board_samples as samples
from tests.sshd import SSHServer


def board(text: str) -> Board:
    return parse(text, "ssh://board")


def test_a_raspberry_pi_5() -> None:
    pi = board(samples.RASPBERRY_PI_5)
    assert (pi.model, pi.soc) == ("Raspberry Pi 5 Model B Rev 1.0", "bcm2712")
    assert (pi.machine, pi.userland_machine, pi.userland_bits) == ("aarch64", "aarch64", 64)
    assert (pi.glibc, pi.root) == ((2, 36), "sudo")
    (cluster,) = pi.cpu
    assert (cluster.model, cluster.cores, cluster.max_mhz) == ("Cortex-A76", 4, 2400)
    assert (cluster.governor, cluster.now_mhz) == ("ondemand", 600)
    assert pi.memory_bytes == 8254656 * 1024
    assert pi.store_free_bytes == 23724032 * 1024
    assert "asimdhp" in pi.features
    assert [p.name for p in pi.accelerators] == ["Hailo", "GPU with a DRM driver"]
    assert [p.seen for p in pi.accelerators] == ["/dev/hailo0", "/dev/dri/renderD128"]
    assert pi.accelerators[0].version == "4.20.0"
    assert [s.source for s in pi.sensors if s.kind == "power"] == ["vcgencmd pmic_read_adc"]
    assert pi.throttled == 0x50000
    (python,) = pi.pythons
    assert (python.dotted, python.managed, python.runtimes) == ("3.11.2", True, {})
    assert pi.unavailable == {}


def test_32_bit_programs_on_a_64_bit_kernel() -> None:
    pi = board(samples.RASPBERRY_PI_4_32_BIT)
    assert (pi.machine, pi.arch, pi.userland_bits) == ("aarch64", "armv7l", 32)
    assert pi.pythons[0].bits == 32
    assert pi.cpu[0].model == "Cortex-A72"
    assert pi.throttled == 0
    assert pi.unavailable["sensors"].startswith("no hwmon")


def test_a_jetson_with_jetpack_6() -> None:
    jetson = board(samples.JETSON_ORIN_NANO)
    gpu, tensorrt = jetson.accelerators
    assert (gpu.name, gpu.version) == ("NVIDIA Jetson GPU", "L4T 36.4.3, JetPack 6.2+b77")
    assert (tensorrt.seen, tensorrt.version) == (
        "/usr/src/tensorrt/bin/trtexec", "10.3.0.30-1+cuda12.5",
    )  # fmt: skip
    assert jetson.power_mode == "25W"
    assert jetson.root == "none"
    (cluster,) = jetson.cpu  # two policies, alike
    assert (cluster.model, cluster.cores) == ("Cortex-A78AE", 6)
    rails = {s.name: s.kind for s in jetson.sensors}
    assert rails == {
        "ina3221: curr1": "current", "ina3221: VDD_IN": "voltage",
        "ina3221: VDD_CPU_GPU_CV": "voltage",
    }  # fmt: skip
    assert "throttled" in jetson.unavailable


def test_a_jetson_with_jetpack_5() -> None:
    jetson = board(samples.JETPACK_5)
    assert jetson.glibc == (2, 31)
    assert jetson.accelerators[0].version == "L4T 35.4.1"
    assert jetson.unavailable["clocks"] == "no cpufreq in /sys/devices/system/cpu"


def test_a_phone() -> None:
    phone = board(samples.PIXEL_8)
    assert (phone.system, phone.title, phone.model) == ("android", "Android 14", "Google Pixel 8")
    assert (phone.soc, phone.libc, phone.glibc) == ("Tensor G3", "bionic of API 34", None)
    assert [(c.model, c.cores, c.max_mhz) for c in phone.cpu] == [
        ("Cortex-A510", 4, 1704), ("Cortex-A715", 4, 2367), ("Cortex-X3", 1, 2914),
    ]  # fmt: skip
    assert {s.kind: s.name for s in phone.sensors} == {
        "energy": "s2mpg14-odpm", "battery": "battery",
    }  # fmt: skip
    assert phone.unavailable["pythons"] == "no Python where edgekit looks"


def test_musl_and_a_counter_that_only_root_may_read() -> None:
    pc = board(samples.ALPINE_PC)
    assert (pc.libc, pc.glibc) == ("musl 1.2.5", None)
    assert pc.model == "LENOVO 20XW00AQUS"
    assert [s.name for s in pc.sensors] == ["RAPL package-0 (only root may read it)"]


def test_numbers_of_cores_that_are_unknown_stay_numbers() -> None:
    assert core_name("0x41", "0xd0b") == "Cortex-A76"
    assert core_name("0x41", "0xfff") == "implementer 0x41 part 0xfff"
    assert core_name("?", "none") == "implementer ? part none"


def test_an_x86_cpuinfo_under_an_arm_uname() -> None:
    text = samples.blocks(uname__m="aarch64", cpuinfo="vendor_id\t: AuthenticAMD")
    assert "describes an x86 processor" in board(text).emulated
    text = samples.blocks(uname__m="aarch64", exe="/usr/bin/qemu-aarch64-static")
    assert board(text).emulated == "its programs run inside qemu-aarch64-static"


def test_what_is_not_said_is_unavailable() -> None:
    nothing = board(samples.blocks())
    assert set(nothing.unavailable) >= {"model", "soc", "cpu", "memory_bytes", "libc", "pythons"}
    assert nothing.throttled is None


def test_a_python_that_gives_no_answer_is_named() -> None:
    text = samples.blocks(python__there="python3.8", python="Illegal instruction")
    assert board(text).unavailable["pythons"].startswith("python3.8: no answer")


def test_two_names_of_one_python_are_one() -> None:
    one, two = (samples.python(name, (3, 11, 2)) for name in ("python3", "python3.11"))
    (python,) = board(samples.blocks(python=[("", one), ("", two)])).pythons
    assert python.called == "python3"


def test_hostile_names_stay_text() -> None:
    name = "$(touch /tmp/x) `id`; \x1b[31m\x07\u202e"
    hostile = board(samples.blocks(model=name, hwmon__input=("/sys/$(id)/temp1_input", "")))
    assert hostile.model.startswith("$(touch /tmp/x)")
    assert hostile.model.isprintable()
    assert hostile.sensors[0].source == "/sys/$(id)/temp1_input"


def test_a_text_cannot_pass_for_a_block() -> None:
    text = samples.blocks(model="Toaster\n@soc0.id\n|i.MX93\nedgekit-probe-end", uname__m="aarch64")
    assert (board(text).soc, board(text).machine) == ("", "aarch64")


def test_a_megabyte_on_one_line() -> None:
    long = board(samples.blocks(model="x" * 10**6, compatible="y," * 500_000, cpuinfo="z" * 10**6))
    assert len(long.model) <= 2000
    assert long.cpu == ()


def test_json_that_is_too_deep() -> None:
    assert board(samples.blocks(python="[" * 2000)).pythons == ()


NAMES = sorted({line[1:] for line in samples.RASPBERRY_PI_5.splitlines() if line[:1] == "@"})


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.text(max_size=30), st.text(max_size=200)), max_size=40
    )
)
@settings(max_examples=200, deadline=None)
def test_garbage_in_known_blocks(parts: list[tuple[str, str, str]]) -> None:
    lines = [f"@{name}\n<{path}\n|{text}" for name, path, text in parts]
    found = board("edgekit-probe-begin\n" + "\n".join(lines))
    assert Board.from_json(found.to_json()) == found


@given(st.text(max_size=2000), st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=200, deadline=None)
def test_answers_that_were_cut_or_overwritten(noise: str, start: int, length: int) -> None:
    whole = samples.RASPBERRY_PI_5
    assert board(whole[:start] + noise + whole[start + length :]).address == "ssh://board"


@pytest.mark.parametrize(
    ("text", "version"),
    [("glibc 2.36", (2, 36)), ("glibc 2.31.9000", (2, 31)), ("glibc ²", None), ("musl 1.2", None)],
)
def test_versions_of_glibc(text: str, version: tuple[int, int] | None) -> None:
    assert glibc_version(text) == version


# -- the script itself


def test_this_computer(tmp_path: Path) -> None:
    with LocalDevice(root=tmp_path / "store") as device:
        here = probe(device, ("python3", "no-such-python"), {"numpy": "numpy"})
    assert here.machine == os.uname().machine
    assert here.kernel == os.uname().release
    assert here.userland_bits == 64
    assert sum(cluster.cores for cluster in here.cpu) == os.cpu_count()
    assert here.memory_bytes is not None
    assert here.store_free_bytes is not None


def test_over_ssh(board: SSHServer) -> None:
    with open_device(board.address) as device:
        there = probe(device, ("python3",), {})
    assert there.store == str(board.store)
    assert there.address == board.address


def test_a_python_is_asked_for_its_runtimes(tmp_path: Path) -> None:
    python = tmp_path / "with $(space)"
    python.symlink_to(os.path.realpath("/proc/self/exe"))
    with LocalDevice(root=tmp_path / "store") as device:
        (found,) = probe(device, (str(python),), {"json": "json", "none": "no_such"}).pythons
    assert found.called == str(python)
    assert found.runtimes == {"json": "unknown"}  # a module that no package brought


def test_files_with_newlines_and_programs_of_the_same_name(tmp_path: Path) -> None:
    """A home folder with a hostile name, and a vcgencmd that prints marks of ours."""
    home = tmp_path / "a\n@model\n|Forged"
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "vcgencmd"
    fake.write_text("#!/bin/sh\nprintf 'throttled=0x5\\nedgekit-probe-end\\n@model\\n|Forged\\n'\n")
    fake.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", SCRIPT, "edgekit", ASK_PYTHON, "{}", ""], capture_output=True, text=True,
        check=True, env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home)},
    )  # fmt: skip
    found = parse(done.stdout, "local")
    assert found.throttled == 5
    assert found.model != "Forged"


def test_the_room_is_that_of_the_store_in_use(tmp_path: Path) -> None:
    with LocalDevice(root=tmp_path / "of my own" / "store") as device:
        found = probe(device, (), {})
    assert found.store == str(tmp_path / "of my own" / "store")
    assert found.store_free_bytes


def test_a_board_that_gives_up_in_the_middle(tmp_path: Path) -> None:
    class Half(LocalDevice):
        def run(self, argv, **how):  # type: ignore[no-untyped-def]
            return super().run(["sh", "-c", "echo edgekit-probe-begin; echo no >&2; exit 9"], **how)

    with (
        Half(root=tmp_path / "store") as device,
        pytest.raises(DeviceError, match=r"did not answer to the end \(exit code 9\): no"),
    ):
        probe(device, (), {})
