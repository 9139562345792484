"""Names of Arm cores by the numbers in /proc/cpuinfo ("CPU implementer", "CPU part").

From the main ID registers in Arm's reference manuals, as Linux (arch/arm64/include/asm/cputype.h)
and util-linux (sys-utils/lscpu-arm.c) list them; a number that is not here is shown as a number.
"""

from __future__ import annotations

_ARM = {
    0xB76: "ARM1176", 0xC05: "Cortex-A5", 0xC07: "Cortex-A7", 0xC08: "Cortex-A8",
    0xC09: "Cortex-A9", 0xC0D: "Cortex-A17", 0xC0E: "Cortex-A17", 0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32", 0xD02: "Cortex-A34", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35",
    0xD05: "Cortex-A55", 0xD06: "Cortex-A65", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72",
    0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77", 0xD0E: "Cortex-A76AE", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE", 0xD43: "Cortex-A65AE", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510",
    0xD47: "Cortex-A710", 0xD48: "Cortex-X2", 0xD49: "Neoverse-N2", 0xD4A: "Neoverse-E1",
    0xD4B: "Cortex-A78C", 0xD4C: "Cortex-X1C", 0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720", 0xD82: "Cortex-X4",
    0xD83: "Neoverse-V3AE", 0xD84: "Neoverse-V3", 0xD85: "Cortex-X925", 0xD87: "Cortex-A725",
}  # fmt: skip

# Numbers mean something else with each maker; makers of boards' processors only.
_PARTS = {
    0x41: _ARM,
    0x4E: {0x000: "Denver", 0x003: "Denver 2", 0x004: "Carmel"},
    0x51: {
        0x800: "Kryo 2XX Gold", 0x801: "Kryo 2XX Silver", 0x802: "Kryo 3XX Gold",
        0x803: "Kryo 3XX Silver", 0x804: "Kryo 4XX Gold", 0x805: "Kryo 4XX Silver",
    },
    0x53: {0x001: "Exynos M1", 0x002: "Exynos M3", 0x003: "Exynos M4", 0x004: "Exynos M5"},
}  # fmt: skip


def core_name(implementer: str, part: str) -> str:
    """ "Cortex-A76" for "0x41", "0xd0b"; the numbers themselves where they are not known."""
    try:
        return _PARTS[int(implementer, 16)][int(part, 16)]
    except (ValueError, KeyError):  # no numbers, or none of the table
        return f"implementer {implementer} part {part}"
