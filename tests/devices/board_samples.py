"""What `probe_script.SCRIPT` prints on boards that were not at hand.

None of it was recorded on hardware. The values follow public documentation: device trees of Linux,
Raspberry Pi's vcgencmd, NVIDIA's nv_tegra_release and INA3221, Android's properties, each in the
form in which the kernel or the program gives it.
"""

from __future__ import annotations

import json

from edgekit.devices.probe_script import BEGIN, END


def blocks(**named: str | tuple[str, str] | list[tuple[str, str]]) -> str:
    """Blocks by name (``__`` stands for a dot): a text, a (path, text), or several of these."""
    lines = ["Welcome to the board", BEGIN]
    for name, value in named.items():
        for path, text in [("", value)] if isinstance(value, str) else _listed(value):
            lines.append(f"@{name.replace('__', '.')}")
            lines += [f"<{path}"] if path else []
            lines += [f"|{line}" for line in text.split("\n")] if text else []
    return "\n".join([*lines, END, ""])


def _listed(value: tuple[str, str] | list[tuple[str, str]]) -> list[tuple[str, str]]:
    return value if isinstance(value, list) else [value]


def python(called: str, version: tuple[int, int, int], **more: object) -> str:
    """What ASK_PYTHON prints."""
    told = {
        "called": called, "executable": f"/usr/bin/python3.{version[1]}", "prefix": "/usr",
        "version": version, "bits": 64, "implementation": "cpython", "environment": False,
        "managed": False, "libc": ["glibc", "2.36"], "runtimes": {}, **more,
    }  # fmt: skip
    return json.dumps(told)


def cpuinfo(*parts: tuple[str, int], extra: str = "") -> str:
    """/proc/cpuinfo of Arm cores: (part, how many), filtered as the script does."""
    lines = []
    for part, count in parts:
        for _ in range(count):
            number = sum(line.startswith("processor") for line in lines)
            lines += [f"processor\t: {number}", "CPU implementer\t: 0x41", f"CPU part\t: {part}"]
    return "\n".join([*lines, extra]).rstrip()


def policies(*clusters: tuple[str, int, str]) -> dict[str, list[tuple[str, str]]]:
    """cpufreq: (cores, highest clock in kHz, governor)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for cores, khz, governor in clusters:
        folder = f"/sys/devices/system/cpu/cpufreq/policy{cores.split()[0]}"
        for name, value in (
            ("related_cpus", cores), ("cpuinfo_max_freq", str(khz)),
            ("scaling_cur_freq", "600000"), ("scaling_governor", governor),
        ):  # fmt: skip
            found.setdefault(f"policy__{name}", []).append((f"{folder}/{name}", value))
    return found


ELF_AARCH64 = " 7f 45 4c 46 02 01 01 00 00 00 00 00 00 00 00 00\n 03 00 b7 00"
ELF_ARMHF = " 7f 45 4c 46 01 01 01 00 00 00 00 00 00 00 00 00\n 03 00 28 00"
DF = (
    "Filesystem     1024-blocks     Used Available Capacity Mounted on\n"
    "/dev/mmcblk0p2    30358832  5242880  23724032      19% /"
)


RASPBERRY_PI_5 = blocks(
    uname__s="Linux", uname__m="aarch64", uname__r="6.6.31+rpt-rpi-2712", elf=ELF_AARCH64,
    **{"os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian'},
    libc__getconf="glibc 2.36",
    model="Raspberry Pi 5 Model B Rev 1.0\0", compatible="raspberrypi,5-model-b\0brcm,bcm2712\0",
    cpuinfo=cpuinfo(("0xd0b", 4), extra="Model\t\t: Raspberry Pi 5 Model B Rev 1.0"),
    features="Features\t: fp asimd evtstrm aes fphp asimdhp cpuid asimddp",
    **policies(("0 1 2 3", 2_400_000, "ondemand")),
    meminfo="MemTotal:        8254656 kB\nMemAvailable:    7340032 kB\nSwapTotal:        204784 kB",
    uid="1000", sudo="yes", store="/home/pi/.cache/edgekit", store__df=DF,
    home="/home/pi", home__df=DF,
    device__hailo=("/dev/hailo0", ""), package__hailort="4.20.0",
    device__dri=[("/dev/dri/card0", ""), ("/dev/dri/renderD128", "")],
    hwmon__name=[("/sys/class/hwmon/hwmon0/name", "cpu_thermal"),
                 ("/sys/class/hwmon/hwmon1/name", "rp1_adc")],
    hwmon__input=[("/sys/class/hwmon/hwmon0/temp1_input", ""),
                  ("/sys/class/hwmon/hwmon1/in1_input", "")],
    thermal__type=("/sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
    thermal__temp=("/sys/class/thermal/thermal_zone0/temp", "51121"),
    throttled__vcgencmd="throttled=0x50000",
    pmic="   3V7_WL_SW_A current(0)=0.09759000A\n     EXT5V_V volt(24)=5.15400000V",
    program__vcgencmd="/usr/bin/vcgencmd", exe="/usr/bin/dash", virtual="none",
    python__there="python3", python=python("python3", (3, 11, 2), managed=True),
)  # fmt: skip

RASPBERRY_PI_4_32_BIT = blocks(
    uname__s="Linux", uname__m="aarch64", uname__r="6.1.21-v8+", elf=ELF_ARMHF,
    **{"os-release": 'PRETTY_NAME="Raspbian GNU/Linux 11 (bullseye)"\nID=raspbian'},
    libc__getconf="glibc 2.31",
    model="Raspberry Pi 4 Model B Rev 1.4\n", compatible="raspberrypi,4-model-b\nbrcm,bcm2711\n",
    cpuinfo=cpuinfo(("0xd08", 4), extra="Hardware\t: BCM2835"),
    **policies(("0 1 2 3", 1_800_000, "ondemand")),
    meminfo="MemTotal:        3885396 kB\nSwapTotal:        102396 kB",
    uid="1000", sudo="yes", store="/home/pi/.cache/edgekit", store__df=DF,
    throttled__vcgencmd="throttled=0x0", program__vcgencmd="/usr/bin/vcgencmd",
    python__there="python3",
    python=python("python3", (3, 9, 2), bits=32, libc=["glibc", "2.31"]),
)  # fmt: skip

_INA3221 = "/sys/class/hwmon/hwmon1"
JETSON_ORIN_NANO = blocks(
    uname__s="Linux", uname__m="aarch64", uname__r="5.15.148-tegra", elf=ELF_AARCH64,
    **{"os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu'},
    libc__getconf="glibc 2.35",
    model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\n",
    compatible="nvidia,p3768-0000+p3767-0005-super\nnvidia,p3767-0005\nnvidia,tegra234\n",
    cpuinfo=cpuinfo(("0xd42", 6)),
    **policies(("0 1 2 3", 1_728_000, "schedutil"), ("4 5", 1_728_000, "schedutil")),
    meminfo="MemTotal:        7802076 kB\nSwapTotal:        3901036 kB",
    uid="1000", sudo="no", store="/home/j/.cache/edgekit", store__df=DF,
    tegra="# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, DATE: …",
    package__libnvinfer10="10.3.0.30-1+cuda12.5", package__libnvinfer8="",
    **{"package.nvidia-jetpack": "6.2+b77"},
    trtexec=("/usr/src/tensorrt/bin/trtexec", ""),
    nvpmodel="NV Power Mode: 25W\n1", program__tegrastats="/usr/bin/tegrastats",
    device__nvidia=("/dev/nvhost-gpu", ""),
    hwmon__name=(f"{_INA3221}/name", "ina3221"),
    hwmon__label=[(f"{_INA3221}/in1_label", "VDD_IN"), (f"{_INA3221}/in2_label", "VDD_CPU_GPU_CV")],
    hwmon__input=[(f"{_INA3221}/curr1_input", ""), (f"{_INA3221}/in1_input", ""),
                  (f"{_INA3221}/in2_input", "")],
    python__there="python3", python=python("python3", (3, 10, 12), libc=["glibc", "2.35"]),
)  # fmt: skip

JETPACK_5 = blocks(
    uname__s="Linux", uname__m="aarch64", uname__r="5.10.120-tegra", elf=ELF_AARCH64,
    **{"os-release": 'PRETTY_NAME="Ubuntu 20.04.6 LTS"\nID=ubuntu'},
    libc__ldd="ldd (Ubuntu GLIBC 2.31-0ubuntu9.16) 2.31\nCopyright (C) 2020 Free Software …",
    model="NVIDIA Orin NX Developer Kit\n",
    compatible="nvidia,p3768-0000+p3767-0000\nnvidia,p3767-0000\nnvidia,tegra234\n",
    cpuinfo=cpuinfo(("0xd42", 8)), meminfo="MemTotal:       15523980 kB",
    tegra="# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, DATE: …",
    package__libnvinfer8="8.5.2-1+cuda11.4", uid="1000",
    python__there="python3", python=python("python3", (3, 8, 10), libc=["glibc", "2.31"]),
)  # fmt: skip

PIXEL_8 = blocks(
    uname__s="Linux", uname__m="aarch64", uname__r="5.15.110-android14-11", elf=ELF_AARCH64,
    libc__bionic=[("/system/bin/linker64", "")],
    **{
        "prop.ro.product.manufacturer": "Google", "prop.ro.product.model": "Pixel 8",
        "prop.ro.product.device": "shiba", "prop.ro.soc.model": "Tensor G3",
        "prop.ro.build.version.release": "14", "prop.ro.build.version.sdk": "34",
        "prop.ro.hardware.vulkan": "mali",
    },
    cpuinfo=cpuinfo(("0xd46", 4), ("0xd4d", 4), ("0xd4e", 1)),
    **policies(("0 1 2 3", 1_704_000, "sched_pixel"), ("4 5 6 7", 2_367_000, "sched_pixel"),
               ("8", 2_914_000, "sched_pixel")),
    meminfo="MemTotal:        7791972 kB\nSwapTotal:        3895984 kB",
    uid="2000", store="/data/local/tmp/.cache/edgekit",
    supply__type=[("/sys/class/power_supply/battery/type", "Battery"),
                  ("/sys/class/power_supply/usb/type", "USB")],
    iio__name=("/sys/bus/iio/devices/iio:device0/name", "s2mpg14-odpm"),
    iio__channel=("/sys/bus/iio/devices/iio:device0/energy_value", ""),
)  # fmt: skip

_RAPL = "/sys/class/powercap/intel-rapl:0"
ALPINE_PC = blocks(
    uname__s="Linux", uname__m="x86_64", uname__r="6.6.58-0-lts",
    elf=" 7f 45 4c 46 02 01 01 00 00 00 00 00 00 00 00 00\n 03 00 3e 00",
    **{"os-release": 'PRETTY_NAME="Alpine Linux v3.20"'},
    libc__ldd="musl libc (x86_64)\nVersion 1.2.5\nDynamic Program Loader",
    **{"dmi.vendor": ("/sys/class/dmi/id/sys_vendor", "LENOVO"),
       "dmi.product": ("/sys/class/dmi/id/product_name", "20XW00AQUS")},
    cpuinfo="processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i7",
    meminfo="MemTotal:       16000000 kB", uid="0", python__there="python3",
    python=python("python3", (3, 12, 7), libc=["", ""]),
    powercap__name=(f"{_RAPL}/name", "package-0"),
).replace(END, f"@powercap.energy\n<{_RAPL}/energy_uj\n!not readable\n{END}")  # fmt: skip
