"""A kind of board: what it is, what it can run, and what is usually wanted for it.

A board is one TOML file; `device_profiles/` holds edgekit's, the user's own lie in the config
folder (`edgekit devices` prints where). Adding one needs no code.
"""

from __future__ import annotations

import os
import platform
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.locate import config_dir, shipped
from edgekit.core.noun import Noun
from edgekit.core.recipe import Format, Recipe


class Cpu(Noun):
    """One cluster of like cores."""

    model: str
    cores: int = Field(ge=1)
    max_mhz: int | None = None


class Runtime(Noun):
    """A runtime that the board can have, and what it is known to load.

    `variants` are recipe names; one that is missing is refused before any work. What is listed is
    still proved after export by loading the artifact with this very version.
    """

    name: Literal[
        "ai-edge-litert", "tflite-runtime", "executorch", "onnxruntime", "tensorrt",
        "ethos-u-driver",
    ]  # fmt: skip
    version: str
    variants: tuple[str, ...]
    min_glibc: str = ""

    @property
    def formats(self) -> tuple[Format, ...]:
        """What kinds of artifact it opens."""
        return FORMATS_OF[self.name]


FORMATS_OF: dict[str, tuple[Format, ...]] = {
    "ai-edge-litert": ("tflite",),
    "tflite-runtime": ("tflite",),
    "executorch": ("executorch",),
    "onnxruntime": ("onnx",),
    "tensorrt": ("onnx",),
    "ethos-u-driver": ("tflite", "executorch"),
}


class Accelerator(Noun):
    """A delegate that the board has, and what is demanded of it.

    Attributes:
        delegate: a name in `edgekit.export.delegates.DELEGATES`, without the format.
        formats: in which kinds of artifact.
        share: the least share of multiply-adds (0 to 1) that it has to take over; an artifact that
            leaves more to the CPU is rejected. All of it unless said otherwise.
        options: what the delegate's compiler is told for this board.
    """

    delegate: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    formats: tuple[Format, ...] = Field(min_length=1)
    share: float = Field(default=1.0, ge=0, le=1)
    options: dict[str, str] = Field(default_factory=dict)


class Measuring(Noun):
    """How such boards are measured, where the user does not say otherwise.

    Attributes:
        power: the sensors that can tell the energy, names in `edgekit.sensors.SENSORS`, the best
            first; none if nothing on the board can.
        covers: what that power is of, or what to do where the board tells none.
        zones: types of the thermal zones that the cool-down goes by, if there are such; all if not.
        pause_seconds: before each launch, at least.
        cooldown_seconds: before each launch, at most.
    """

    power: tuple[str, ...] = ()
    covers: str = ""
    zones: tuple[str, ...] = ()
    pause_seconds: float = Field(default=0.0, ge=0)
    cooldown_seconds: float = Field(default=30.0, ge=0)


class DeviceProfile(Noun):
    """A kind of board.

    `arch` is what ``uname -m`` says there, or the core of a microcontroller. `memory_mb` is what
    the smallest model of the board has. `soc` is the maker's name of the chip; `modules` are names
    in the device tree's "compatible", which tell boards with one chip apart. The transport "none"
    stands for a board that artifacts are made for but that edgekit cannot reach.
    """

    schema_version: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    page: str
    os: Literal["linux", "android", "ios", "bare-metal"]
    arch: Literal["aarch64", "x86_64", "cortex-m55", "cortex-m85"]
    transport: Literal["local", "ssh", "adb", "none"]
    soc: str = ""
    modules: tuple[str, ...] = ()
    cpu: tuple[Cpu, ...] = ()
    memory_mb: int | None = None
    threads: int = Field(ge=1)
    runtimes: tuple[Runtime, ...] = Field(min_length=1)
    variants: tuple[str, ...] = Field(min_length=1)
    accelerators: tuple[Accelerator, ...] = ()
    measure: Measuring = Measuring()
    notes: str = ""

    @property
    def runtime(self) -> Runtime:
        """The runtime that is used unless another is asked for."""
        return self.runtimes[0]

    def accelerator(self, recipe: Recipe) -> Accelerator | None:
        """The board's accelerator that `recipe` means; None for the CPU."""
        for accelerator in self.accelerators:
            if recipe.delegate == accelerator.delegate and recipe.format in accelerator.formats:
                return accelerator
        return None

    def runtime_named(self, wanted: str) -> Runtime:
        """The runtime called `wanted`, as ``name`` or ``name==version``.

        Raises:
            UnknownNameError: the board is not known to have it.
        """
        for runtime in self.runtimes:
            if wanted in (runtime.name, f"{runtime.name}=={runtime.version}"):
                return runtime
        known = [f"{r.name}=={r.version}" for r in self.runtimes]
        raise UnknownNameError(f"runtime of {self.name}", wanted, known)


HOST = "host"


def load_profile(name: str) -> DeviceProfile:
    """The profile called `name`, or the one in the file that `name` is the path of.

    Raises:
        UnknownNameError: there is none; names the nearest.
        UsageError: the file is not a valid profile.
    """
    if name == HOST:
        return probe_host()
    if name.endswith(".toml"):
        if not Path(name).is_file():
            raise UsageError(f"there is no profile file {name!r}")
        return _read(Path(name))
    paths = _paths()
    if name not in paths:
        raise UnknownNameError(
            "device profile", name, [*paths, HOST], hint="edgekit devices lists them all"
        )
    return _read(paths[name])


def all_profiles() -> list[DeviceProfile]:
    """Every profile there is, this computer first."""
    return [probe_host(), *(_read(path) for _, path in sorted(_paths().items()))]


def user_profiles_dir() -> Path:
    return config_dir() / "device_profiles"


def _paths() -> dict[str, Path]:
    folders = (shipped("device_profiles"), user_profiles_dir())  # the user's win
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


def _read(path: Path) -> DeviceProfile:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not valid TOML: {exc}") from exc
    return DeviceProfile.from_json(data, where=str(path))


def probe_host() -> DeviceProfile:
    """This computer, from what it says of itself.

    Raises:
        UsageError: this computer is of a kind that artifacts cannot be made for yet.
    """
    arch = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if platform.system() != "Linux" or arch not in ("x86_64", "aarch64"):
        raise UsageError(
            f"this computer ({platform.system()} {arch}) cannot be a target; "
            "Linux on x86_64 or aarch64 can",
            hint="edgekit devices lists the boards you can convert for",
        )
    generic = _read(shipped("device_profiles") / f"linux-{arch}.toml")
    cores = len(os.sched_getaffinity(0))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return generic.model_copy(
        update={
            "name": HOST,
            "title": f"this computer ({platform.node()})",
            "page": "",
            "transport": "local",
            "cpu": (Cpu(model=_cpu_model(), cores=cores),),
            "memory_mb": pages // 2**20,
            "threads": min(4, cores),
        }
    )


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # a sandbox without /proc: the name is for people only
        return platform.processor() or "unknown"
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or "unknown"
