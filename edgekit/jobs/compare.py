"""The compare job: two measurements → is one faster, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edgekit.core.build import load_build
from edgekit.core.errors import PlanError, UsageError
from edgekit.core.measurement import Launch
from edgekit.core.result import Result
from edgekit.jobs.results import results_of, to_result
from edgekit.measure.comparing import LEAST_LAUNCHES, Comparison, compare, differences, median_ns
from edgekit.store import Store


@dataclass(frozen=True)
class Compared:
    """B against A.

    Attributes:
        rows: by what was measured ("median", "p90", "load", "first"): times of the launches.
        differences: what else than the artifact differs between the two.
    """

    a: Result
    b: Result
    rows: dict[str, Comparison]
    differences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return self.rows["median"].verdict

    def to_json(self) -> dict[str, Any]:
        rows = {
            name: {
                "ratio": row.ratio.value,
                "low": row.ratio.low,
                "high": row.ratio.high,
                "verdict": row.verdict,
            }
            for name, row in self.rows.items()
        }
        return {
            "a": self.a.id,
            "b": self.b.id,
            "verdict": self.verdict,
            "paired": self.rows["median"].paired,
            "detectable": self.rows["median"].detectable,
            "rows": rows,
            "differences": list(self.differences),
        }


def compare_results(first: str, second: str, *, anyway: bool = False) -> Compared:
    """Compare the measurements that two references name.

    Args:
        first, second: a measurement's number, ``BUILD`` or ``BUILD:VARIANT``; of the latter two the
            newest measurements that the two have in common on one device, run the same way.
        anyway: even if one of them is invalid.

    Raises:
        UsageError: a reference names nothing; both name the same.
        PlanError: one is invalid, or has too few launches to tell anything.
    """
    if first == second:
        raise UsageError(
            f"{first} was given twice", hint="edgekit compare BUILD:float32 BUILD:int8"
        )
    a, b = _pair(_candidates(first), _candidates(second), f"{first} and {second}")
    if a.id == b.id:
        raise UsageError(
            f"{first} and {second} are the same measurement, {a.id}",
            hint="name two variants: edgekit compare BUILD:float32 BUILD:int8",
        )
    for each in (a, b):
        if each.summary.invalid and not anyway:
            why = next(f for f in each.summary.findings if f.startswith("invalid: "))
            raise PlanError(
                f"measurement {each.id} ({each.measurement.variant}) is {why}",
                hint="repeat it; or --anyway",
            )
    values: dict[str, Callable[[Launch], float | None]] = {
        "median": median_ns,
        "p90": _p90_ns,
        "load": lambda launch: launch.load_ns,
        "first": lambda launch: launch.first_ns,
    }
    rows = {}
    for name, value in values.items():
        taken = [launch for each in (a, b) for launch in each.measurement.launches]
        if all(value(launch) for launch in taken):
            rows[name] = compare(a.measurement, b.measurement, cast(Any, value))
    return Compared(a, b, rows, tuple(differences(a.measurement, b.measurement)))


def _p90_ns(launch: Launch) -> float | None:
    import numpy as np

    if launch.summarized:
        return None
    return float(np.quantile(launch.samples_ns, 0.9))


def _candidates(reference: str) -> list[Result]:
    """What `reference` may mean, newest first."""
    if reference.isascii() and reference.isdigit():
        kept = Store().get(int(reference))
        return [to_result(kept.measurement, kept.id)]
    folder, variant = reference, ""
    if not Path(folder).is_dir() and ":" in reference:
        folder, _, variant = reference.rpartition(":")
    build = load_build(Path(folder))
    if variant:
        build.choose([variant])  # it says which there are
    found = [r for r in results_of(build) if variant in ("", r.measurement.variant)]
    if not found:
        raise UsageError(
            f"nothing was measured of {reference!r}",
            hint=f"edgekit profile {folder} --on DEVICE"
            + (f" --variant {variant}" * bool(variant)),
        )
    return found


def _pair(first: list[Result], second: list[Result], what: str) -> tuple[Result, Result]:
    """Of those that can be compared at all: the newest two that were taken together; else on one
    device in the same way; else any.
    """
    pairs = [
        (a, b) for a in first for b in second if a.id != b.id or len(first) == len(second) == 1
    ]
    if not pairs:
        raise UsageError(
            f"{what} have one measurement between them", hint="edgekit profile measures another"
        )

    def likeness(pair: tuple[Result, Result]) -> tuple[bool, bool, bool, bool]:
        a, b = (each.measurement for each in pair)
        enough = min(len(a.launches), len(b.launches)) >= LEAST_LAUNCHES
        sound = enough and not any(each.summary.invalid for each in pair)
        together = bool(a.session) and a.session == b.session
        return (
            sound,
            together,
            a.device == b.device and a.settings == b.settings,
            a.variant == b.variant,
        )

    return max(pairs, key=likeness)  # of equals the first, and each list has the newest first
