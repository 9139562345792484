"""What Vela says of a piece that it compiled for Ethos-U: its summary, a line of CSV.

https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-vela/-/blob/main/PERFORMANCE.md
"""

from __future__ import annotations

import csv
from pathlib import Path

MEMORIES = (
    ("sram", "SRAM"), ("dram", "DRAM"), ("on_chip_flash", "on-chip flash"),
    ("off_chip_flash", "off-chip flash"),
)  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    """A file of Vela's: the first line has the columns' names."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sentences(tool: str, summary: dict[str, str]) -> list[str]:
    """For the report: how long it estimates, and the memory that it has planned."""
    cycles, seconds = float(summary["cycles_total"]), float(summary["inference_time"])
    clock = float(summary["core_clock"]) / 1e6
    said = [
        f"{tool} estimates {cycles:.0f} cycles, {seconds * 1000:.3g} ms at {clock:.0f} MHz, for "
        f"{summary['system_config']} and {summary['memory_mode']}: a model of its own, not a "
        "measurement"
    ]
    memories = [
        f"{float(summary[f'{key}_memory_used']):.1f} KiB of {name}"
        for key, name in MEMORIES
        if float(summary[f"{key}_memory_used"]) > 0
    ]
    return [*said, *([f"it takes {', '.join(memories)}"] if memories else [])]
