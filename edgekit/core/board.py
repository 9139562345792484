"""What one board says of itself, as `edgekit devices probe` finds it.

A `DeviceProfile` is a kind of board; this is one that stands somewhere.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.core.noun import Noun


class Cluster(Noun):
    """Cores of one kind with one highest clock; clocks in MHz as the kernel gives them."""

    model: str
    cores: int
    max_mhz: int | None = None
    now_mhz: int | None = None
    governor: str = ""


class BoardPython(Noun):
    """A Python on the board.

    Attributes:
        called: how it was called, a name or a path.
        executable: the program behind it; of an environment, the Python that it was made with.
        prefix: its folder, which tells environments of one executable apart.
        environment: whether it is a virtual environment's.
        managed: whether the distribution keeps pip out of it (PEP 668).
        runtimes: version by the name that pip knows.
    """

    called: str
    executable: str
    prefix: str = ""
    version: tuple[int, int, int]
    bits: int
    implementation: str = "cpython"
    environment: bool = False
    managed: bool = False
    libc: str = ""
    runtimes: dict[str, str] = Field(default_factory=dict)

    @property
    def dotted(self) -> str:
        return ".".join(str(part) for part in self.version)


class Part(Noun):
    """An accelerator: what it is, how it was seen, and the version of its software if known."""

    name: str
    seen: str
    version: str = ""


class BoardSensor(Noun):
    """A source of readings: what of, its name on the board, and where it is read."""

    kind: Literal["temperature", "power", "energy", "voltage", "current", "battery"]
    name: str
    source: str


class Board(Noun):
    """A board. What could not be found out is absent, and `unavailable` says of it why.

    Attributes:
        model: the maker's name of it; empty if nothing tells.
        names: other names under which a profile may know it.
        soc: the chip, as the device tree, the kernel or Android calls it.
        machine: what ``uname -m`` says, of the kernel.
        system: "linux" or "android", or what ``uname -s`` says.
        userland_machine: of the programs there, which may be 32-bit on a 64-bit kernel.
        libc: "glibc 2.36", "musl 1.2.4", "bionic of API 34"; empty if unknown.
        root: how commands as root can be run: "root", "sudo" (without a password) or "none".
        store: folder that edgekit's files go to there.
        features: flags of the processor.
        throttled: Raspberry Pi's bits, 0 if there was nothing.
        emulated: why the processor is known to be emulated; empty if nothing says so.
        virtual: kind of virtual machine or container; empty if it is none that is known.
    """

    address: str
    model: str = ""
    names: tuple[str, ...] = ()
    soc: str = ""
    machine: str = ""
    kernel: str = ""
    system: str = ""
    title: str = ""
    userland_machine: str = ""
    userland_bits: int | None = None
    libc: str = ""
    cpu: tuple[Cluster, ...] = ()
    features: tuple[str, ...] = ()
    memory_bytes: int | None = None
    available_bytes: int | None = None
    swap_bytes: int | None = None
    pythons: tuple[BoardPython, ...] = ()
    root: str = ""
    home: str = ""
    home_free_bytes: int | None = None
    store: str = ""
    store_free_bytes: int | None = None
    accelerators: tuple[Part, ...] = ()
    programs: dict[str, str] = Field(default_factory=dict)
    sensors: tuple[BoardSensor, ...] = ()
    throttled: int | None = None
    power_mode: str = ""
    emulated: str = ""
    virtual: str = ""
    unavailable: dict[str, str] = Field(default_factory=dict)

    @property
    def arch(self) -> str:
        """Of what programs there are built for, in the words of profiles and of wheels."""
        return self.userland_machine or self.machine

    @property
    def glibc(self) -> tuple[int, int] | None:
        """Its version, or None if the C library is another one or unknown."""
        return glibc_version(self.libc)


def glibc_version(libc: str) -> tuple[int, int] | None:
    """(2, 36) of "glibc 2.36"; None for any other library."""
    name, _, version = libc.partition(" ")
    parts = version.split(".")
    whole = len(parts) >= 2 and all(part.isascii() and part.isdigit() for part in parts[:2])
    return (int(parts[0]), int(parts[1])) if name == "glibc" and whole else None
