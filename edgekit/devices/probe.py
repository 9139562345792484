"""Takes apart what `probe_script.SCRIPT` printed on a board.

The text comes from a board, so from anybody: whatever does not have the form that is known is left
out and said to be unavailable; nothing of it is guessed, and nothing of it is run.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from posixpath import basename, dirname
from typing import Any

from edgekit.core.board import Board, BoardPython, BoardSensor, Cluster, Part
from edgekit.core.errors import DeviceError
from edgekit.core.protocols import Device
from edgekit.devices.cpu_parts import core_name
from edgekit.devices.probe_script import ASK_PYTHON, BEGIN, END, SCRIPT

PROBE_SECONDS = 120  # twenty Pythons on a slow card take a while to start
LONGEST_LINE = 2000  # characters
MOST_LINES = 4000  # of one block
MOST_CORES = 1024

_NONE_THERE = "nothing on the board tells it"


def probe(device: Device, pythons: tuple[str, ...], modules: Mapping[str, str]) -> Board:
    """Ask `device` what it is, in one round trip.

    Args:
        pythons: names and paths of Pythons to ask, which may start with ``~/``.
        modules: a runtime's top module by the runtime's name.

    Raises:
        DeviceError: the board did not run the script to its end.
    """
    asked = [ASK_PYTHON, json.dumps(dict(modules)), device.store_folder, *pythons]
    result = device.run(["sh", "-c", SCRIPT, "edgekit", *asked], timeout_seconds=PROBE_SECONDS)
    if f"{END}\n" not in result.stdout + "\n":
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no message"]
        raise DeviceError(
            f"{device.address} did not answer to the end (exit code {result.exit_code}): "
            f"{lines[-1][:200]}",
            hint="a POSIX sh is needed there: plain ssh TARGET sh -c true must work",
        )
    return parse(result.stdout, device.address)


@dataclass
class Block:
    """Something that was read: where (empty for a program) and its lines."""

    path: str = ""
    lines: list[str] = field(default_factory=list)
    unreadable: bool = False

    @property
    def first(self) -> str:
        """The first line that says something, without blanks at its ends."""
        return next((line.strip() for line in self.lines if line.strip()), "")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Blocks:
    """The blocks of an answer by name."""

    def __init__(self, text: str) -> None:
        self._by_name: dict[str, list[Block]] = defaultdict(list)
        for name, block in _blocks(text):
            self._by_name[name].append(block)

    def all(self, name: str) -> list[Block]:
        return self._by_name.get(name, [])

    def first(self, *names: str) -> str:
        """The first line that says something, of the first block of `names` that has one."""
        found = (block.first for name in names for block in self.all(name))
        return next((text for text in found if text), "")

    def values(self, name: str) -> dict[str, str]:
        """First line by path."""
        return {block.path: block.first for block in self.all(name) if block.first}

    def paths(self, name: str) -> list[str]:
        return [block.path for block in self.all(name) if block.path]


def _blocks(text: str) -> Iterator[tuple[str, Block]]:
    """What stands between `BEGIN` and `END`; what a login script prints before is none of it."""
    _, _, inside = text.partition(f"{BEGIN}\n")
    name, block = "", Block()
    for line in inside.split("\n"):
        mark, whole = line[:1], line[1 : LONGEST_LINE + 1]
        rest = clean(whole)
        if line == END:
            break
        if mark == "@":
            if name:
                yield name, block
            name, block = rest.strip(), Block()
        elif mark == "<":
            block.path = rest
        elif mark == "|" and len(block.lines) < MOST_LINES:
            # NULs end the strings of a device tree.
            block.lines += [clean(part) for part in whole.split("\0")]
        elif mark == "!":
            block.unreadable = True
    if name:
        yield name, block


def clean(text: str) -> str:
    """Without what a terminal would obey or a line cannot hold; tabs become blanks."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "" for c in text)


def parse(text: str, address: str) -> Board:
    """The board that printed `text`. Never raises for what is in it."""
    found = Blocks(text)
    why: dict[str, str] = {}
    values: dict[str, Any] = {
        **_identity(found),
        **_system(found),
        "cpu": tuple(_clusters(found)),
        "features": tuple(_features(found)),
        **_memory(found),
        "pythons": tuple(_pythons(found)),
        "root": _root(found),
        **_room(found),
        "accelerators": tuple(_accelerators(found)),
        "programs": _programs(found),
        "sensors": tuple(_sensors(found)),
        "throttled": _throttled(found, why),
        "power_mode": _power_mode(found),
        "emulated": _emulated(found),
        "virtual": _virtual(found),
    }
    for key in ("model", "soc", "kernel", "title", "libc", "userland_bits", "memory_bytes"):
        if values[key] in ("", None):
            why[key] = _NONE_THERE
    if not values["cpu"]:
        why["cpu"] = "/proc/cpuinfo names no core"
    elif all(cluster.max_mhz is None for cluster in values["cpu"]):
        why["clocks"] = "no cpufreq in /sys/devices/system/cpu"
    if not values["sensors"]:
        why["sensors"] = "no hwmon, thermal zone, powercap, IIO or power supply in /sys"
    elif not any(s.kind in ("power", "energy") for s in values["sensors"]):
        why["power"] = "no sensor of power or energy"
    there = {block.first for block in found.all("python.there")} - {""}
    silent = sorted(there - {python.called for python in _answers(found)})
    if silent:
        why["pythons"] = f"{', '.join(silent)}: no answer (an old version, or a broken one)"
    elif not there:
        why["pythons"] = "no Python where edgekit looks"
    return Board(address=address, unavailable=why, **values)


# -- what it is


def _identity(found: Blocks) -> dict[str, Any]:
    props = {
        name: found.first(f"prop.{name}")
        for name in (
            "ro.product.manufacturer", "ro.product.model", "ro.product.device", "ro.soc.model",
            "ro.board.platform",
        )
    }  # fmt: skip
    maker, model = props["ro.product.manufacturer"], props["ro.product.model"]
    android = model if not maker or model.lower().startswith(maker.lower()) else f"{maker} {model}"
    tree = found.first("model")
    dmi = " ".join(filter(None, (found.first("dmi.vendor"), found.first("dmi.product"))))
    compatible = [line.strip() for block in found.all("compatible") for line in block.lines]
    compatible = [line for line in compatible if line]
    chip = compatible[-1].rpartition(",")[2] if compatible else ""
    others = (model, props["ro.product.device"], found.first("soc0.machine"), *compatible)
    name = (android if model else "") or tree or dmi or found.first("soc0.machine")
    soc0 = found.first("soc0.id")  # Qualcomm has a bare number there, which names nothing
    soc = props["ro.soc.model"] or ("" if soc0.isdigit() else soc0) or chip
    return {
        "model": name,
        "names": tuple(dict.fromkeys(other for other in others if other and other != name)),
        "soc": soc or props["ro.board.platform"],
    }


def _system(found: Blocks) -> dict[str, Any]:
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', _text(found, "os-release"), re.M))
    android = found.first("prop.ro.build.version.release")
    kernel = found.first("uname.s")
    machine, bits = _elf(_text(found, "elf"))
    return {
        "machine": found.first("uname.m"),
        "kernel": found.first("uname.r"),
        "system": "android" if android else kernel.lower(),
        "title": f"Android {android}" if android else release.get("PRETTY_NAME", ""),
        "userland_machine": machine,
        "userland_bits": bits,
        "libc": _libc(found),
    }


# e_machine of ELF, https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
_MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


def _elf(text: str) -> tuple[str, int | None]:
    """Machine and bits of the board's own sh, from the first 20 bytes that ``od -tx1`` prints."""
    try:
        head = bytes.fromhex("".join(text.split()))
    except ValueError:  # od said something else
        return "", None
    if len(head) < 20 or head[:4] != b"\x7fELF" or head[4] not in (1, 2):
        return "", None
    order: Any = "big" if head[5] == 2 else "little"
    return _MACHINES.get(int.from_bytes(head[18:20], order), ""), 32 if head[4] == 1 else 64


def _libc(found: Blocks) -> str:
    if found.all("libc.bionic"):
        level = found.first("prop.ro.build.version.sdk")
        return f"bionic of API {level}" if level.isdigit() else "bionic"
    getconf = re.fullmatch(r"glibc (\d+\.\d+)\S*", found.first("libc.getconf"))
    if getconf:
        return f"glibc {getconf[1]}"
    ldd = _text(found, "libc.ldd") + "\n" + _text(found, "libc.musl")
    musl = re.search(r"^musl libc.*?^Version (\d[\w.]*)", ldd, re.M | re.S)
    if musl:
        return f"musl {musl[1]}"
    glibc = re.search(r"^ldd \(.*\) (\d+\.\d+)", ldd, re.M)
    if glibc:
        return f"glibc {glibc[1]}"
    itself = re.search(r"^GNU C Library .* version (\d+\.\d+)", _text(found, "libc.itself"), re.M)
    if itself:
        return f"glibc {itself[1]}"
    told = {python.libc for python in _pythons(found) if not python.environment}
    return next((libc for libc in sorted(told) if libc), "")


# -- processor and memory


def _clusters(found: Blocks) -> list[Cluster]:
    """Cores of one model, highest clock and governor; the present clock is the first core's."""
    clocks = _policies(found)
    groups: dict[tuple[str, int | None, str], list[int | None]] = {}
    for number, model in _cores(_text(found, "cpuinfo")):
        most, now, governor = clocks.get(number, (None, None, ""))
        groups.setdefault((model, most, governor), []).append(now)
    return [
        Cluster(model=model, cores=len(now), max_mhz=most, now_mhz=now[0], governor=governor)
        for (model, most, governor), now in groups.items()
    ]


def _cores(cpuinfo: str) -> Iterator[tuple[int, str]]:
    """Number and model of each core that is listed."""
    number: int | None = None
    values: dict[str, str] = {}
    common: dict[str, str] = {}
    sections: dict[int, dict[str, str]] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and _number(value) is not None:
            number = _number(value)
            assert number is not None
            if len(sections) < MOST_CORES:
                values = sections.setdefault(number, {})
        elif colon:
            (common if key in ("Model", "Hardware") else values).setdefault(key, value)
    for number, own in sections.items():
        model = own.get("model name", "")
        if "CPU part" in own:  # 32-bit kernels also give a "model name": ARMv7 Processor rev 3 …
            model = core_name(own.get("CPU implementer", "?"), own["CPU part"])
        yield number, model or common.get("Hardware", "") or "unknown"


def _policies(found: Blocks) -> dict[int, tuple[int | None, int | None, str]]:
    """Highest and present clock in MHz, and the governor, by core."""
    by_folder: dict[str, dict[str, str]] = defaultdict(dict)
    for name in (
        "related_cpus", "cpuinfo_max_freq", "scaling_max_freq", "scaling_cur_freq",
        "scaling_governor",
    ):  # fmt: skip
        for path, value in found.values(f"policy.{name}").items():
            by_folder[dirname(path)][name] = value
    clocks = {}
    for folder, values in by_folder.items():
        most = _mhz(values.get("cpuinfo_max_freq") or values.get("scaling_max_freq"))
        entry = (most, _mhz(values.get("scaling_cur_freq")), values.get("scaling_governor", ""))
        alone = re.search(r"/(?:cpu|policy)(\d+)(?:/cpufreq)?$", folder)
        listed = [_number(word) for word in values.get("related_cpus", "").split()]
        for number in listed or ([_number(alone[1])] if alone else []):
            if number is not None:
                clocks[number] = entry
    return clocks


def _mhz(khz: str | None) -> int | None:
    number = _number(khz or "")
    return None if number is None else round(number / 1000)


def _features(found: Blocks) -> list[str]:
    return found.first("features").partition(":")[2].split()


def _memory(found: Blocks) -> dict[str, int | None]:
    kib = dict(re.findall(r"^(\w+):\s*(\d{1,15}) kB$", _text(found, "meminfo"), re.M | re.A))
    names = (
        ("memory_bytes", "MemTotal"), ("available_bytes", "MemAvailable"),
        ("swap_bytes", "SwapTotal"),
    )  # fmt: skip
    return {key: int(kib[name]) * 1024 if name in kib else None for key, name in names}


# -- what is installed there


def _pythons(found: Blocks) -> list[BoardPython]:
    """One for each environment, since names like python3 and python3.11 often are the same."""
    return list({(p.executable, p.prefix): p for p in reversed(list(_answers(found)))}.values())[
        ::-1
    ]


def _answers(found: Blocks) -> Iterator[BoardPython]:
    for block in found.all("python"):
        try:
            told = json.loads(block.first)
            yield BoardPython(
                called=str(told["called"]),
                executable=str(told["executable"]),
                prefix=str(told["prefix"]),
                version=tuple(told["version"]),
                bits=told["bits"],
                implementation=str(told["implementation"]),
                environment=bool(told["environment"]),
                managed=bool(told["managed"]),
                libc=" ".join(str(part) for part in told["libc"] if part),
                runtimes={str(name): str(version) for name, version in told["runtimes"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # not what ASK_PYTHON prints


def _root(found: Blocks) -> str:
    uid = found.first("uid")
    if not uid:
        return ""
    return "root" if uid == "0" else "sudo" if found.first("sudo") == "yes" else "none"


def _room(found: Blocks) -> dict[str, Any]:
    return {
        "store": found.first("store"),
        "store_free_bytes": _free(_text(found, "store.df")),
        "home": found.first("home"),
        "home_free_bytes": _free(_text(found, "home.df")),
    }


def _free(df: str) -> int | None:
    """Bytes from ``df -Pk``."""
    row = re.search(r"\s\d{1,18}\s+\d{1,18}\s+(-?\d{1,18})\s+\d+%\s+/", df, re.A)
    return int(row[1]) * 1024 if row else None


def _programs(found: Blocks) -> dict[str, str]:
    names = ("tegrastats", "jetson_clocks", "vcgencmd", "hailortcli", "edgetpu_compiler", "adb")
    paths = {name: found.first(f"program.{name}") for name in names}
    paths["trtexec"] = next(iter(found.paths("trtexec")), "") or found.first("trtexec.path")
    return {name: path for name, path in paths.items() if path}


# -- accelerators and sensors

_DEVICES = {
    "hailo": "Hailo",
    "apex": "Edge TPU (PCIe)",
    "ethosu": "Arm Ethos-U",
    "mali": "Arm Mali GPU",
    "kgsl": "Qualcomm Adreno GPU",
    "rknpu": "Rockchip NPU",
    "accel": "accelerator of Linux' accel drivers",
    "galcore": "Vivante GPU or NPU",
    "dri": "GPU with a DRM driver",
}


def _accelerators(found: Blocks) -> Iterator[Part]:
    l4t = _l4t(found)
    jetpack = found.first("package.nvidia-jetpack")
    if l4t:
        version = f"L4T {l4t}" + (f", JetPack {jetpack}" if jetpack else "")
        yield Part(name="NVIDIA Jetson GPU", seen="/etc/nv_tegra_release", version=version)
    for line in _text(found, "nvidia-smi").splitlines():
        name, comma, driver = line.rpartition(", ")
        if comma and re.fullmatch(r"\d+(\.\d+)+", driver) and not l4t:
            yield Part(name=name, seen="nvidia-smi", version=f"driver {driver}")
    tensorrt = found.first("package.libnvinfer10", "package.libnvinfer8")
    trtexec = _programs(found).get("trtexec", "")
    if tensorrt or trtexec:
        yield Part(name="TensorRT", seen=trtexec or "dpkg-query", version=tensorrt)
    for key, name in _DEVICES.items():
        paths = sorted(found.paths(f"device.{key}"), key=lambda path: "render" not in path)
        if paths:
            version = found.first("package.hailort") if key == "hailo" else ""
            yield Part(name=name, seen=paths[0], version=version)
    for path in found.paths("usb.coral"):
        yield Part(name="Edge TPU (USB)", seen=path)
    vulkan = found.first("prop.ro.hardware.vulkan")
    drivers = found.paths("vulkan")
    if vulkan:
        yield Part(name="Vulkan driver", seen="ro.hardware.vulkan", version=vulkan)
    elif drivers:
        yield Part(name="Vulkan driver", seen=drivers[0])


def _l4t(found: Blocks) -> str:
    """36.4.3 for "# R36 (release), REVISION: 4.3, …"."""
    told = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", _text(found, "tegra"))
    return f"{told[1]}.{told[2]}" if told else ""


_KINDS: dict[str, Any] = {
    "temp": "temperature", "power": "power", "curr": "current", "in": "voltage",
    "energy": "energy",
}  # fmt: skip


def _sensors(found: Blocks) -> Iterator[BoardSensor]:
    names = {dirname(path): value for path, value in found.values("hwmon.name").items()}
    labels = found.values("hwmon.label")
    for path in found.paths("hwmon.input"):
        stem = re.fullmatch(r"([a-z]+)(\d+)_(?:input|average)", basename(path))
        if stem is None or stem[1] not in _KINDS:
            continue
        label = labels.get(f"{dirname(path)}/{stem[1]}{stem[2]}_label", "")
        name = names.get(dirname(path), "hwmon")
        shown = f"{name}: {label}" if label else f"{name}: {stem[1]}{stem[2]}"
        yield BoardSensor(kind=_KINDS[stem[1]], name=shown, source=path)
    for path, kind in found.values("thermal.type").items():
        yield BoardSensor(kind="temperature", name=kind, source=f"{dirname(path)}/temp")
    for block in found.all("powercap.energy"):
        zone = dirname(block.path)
        name = found.values("powercap.name").get(f"{zone}/name", basename(zone))
        shut = " (only root may read it)" if block.unreadable else ""
        yield BoardSensor(kind="energy", name=f"RAPL {name}{shut}", source=block.path)
    iio = {dirname(path): value for path, value in found.values("iio.name").items()}
    for path in found.paths("iio.channel"):
        name = iio.get(dirname(path), basename(dirname(path)))
        counts = basename(path) == "energy_value"
        yield BoardSensor(kind="energy" if counts else "power", name=name, source=path)
    for path, kind in found.values("supply.type").items():
        if kind == "Battery":
            yield BoardSensor(kind="battery", name=basename(dirname(path)), source=dirname(path))
    if re.search(r"_A current\(\d+\)=[\d.]+A", _text(found, "pmic")):
        yield BoardSensor(kind="power", name="rails of the PMIC", source="vcgencmd pmic_read_adc")


def _throttled(found: Blocks, why: dict[str, str]) -> int | None:
    said = found.first("throttled.vcgencmd")
    text = found.first("throttled.file") or said.partition("throttled=")[2]
    try:
        return int(text, 16)
    except ValueError:
        why["throttled"] = (
            f"vcgencmd get_throttled said {said[:80]!r}"
            if said
            else "no get_throttled in /sys and no vcgencmd on PATH"
        )
        return None


def _power_mode(found: Blocks) -> str:
    mode = re.search(r"^NV Power Mode: *(\S.*)$", _text(found, "nvpmodel"), re.M)
    return mode[1].strip() if mode else ""


def _emulated(found: Blocks) -> str:
    program = basename(found.first("exe"))
    machine, keys = found.first("uname.m"), _text(found, "cpuinfo")
    if program.startswith("qemu-"):
        return f"its programs run inside {program}"
    if machine in ("aarch64", "armv7l", "armv6l", "riscv64") and "vendor_id" in keys:
        return f"uname says {machine}, /proc/cpuinfo describes an x86 processor"
    if machine in ("x86_64", "i686") and "CPU implementer" in keys:
        return f"uname says {machine}, /proc/cpuinfo describes an Arm processor"
    if found.first("prop.ro.kernel.qemu") == "1":
        return "Android's emulator"
    return ""


def _virtual(found: Blocks) -> str:
    told = found.first("virtual")
    return "" if told == "none" or not re.fullmatch(r"[a-z0-9-]+", told) else told


def _text(found: Blocks, name: str) -> str:
    return "\n".join(block.text for block in found.all(name))


def _number(text: str) -> int | None:
    """A whole number that a kernel may mean; None for anything else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
