"""From a converted or measured variant to the figures of a try, and whether it is in the limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from edgekit.core.build import Build, Variant
from edgekit.core.errors import DeviceError
from edgekit.core.result import NO_POWER, Result
from edgekit.core.tuning import FIGURES, UNITS, Figures, Limits, Objective, Status, Tried


def judged(tried: Tried, build: Build, limits: Limits) -> Tried:
    """A candidate with what its conversion says; one that was refused as it is."""
    variant = next((v for v in build.variants if v.recipe.name == tried.name), None)
    if tried.status == "refused" or variant is None:
        return tried
    return tried.model_copy(update=_said(variant, limits))


def _said(variant: Variant, limits: Limits) -> dict[str, Any]:
    verdict, artifact = variant.verdict, variant.artifact
    status: Status = "fits"
    if verdict.status != "accepted":
        status = "over" if verdict.status == "rejected" else "failed"
    figures = Figures()
    if artifact is not None:
        figures = Figures(size=artifact.size_bytes, zipped=artifact.zipped_bytes)
    over = broken(figures, limits)
    return {
        "status": "over" if over and status == "fits" else status,
        "score": verdict.score,
        "snr_db": verdict.worst_snr_db,
        "figures": figures,
        "reasons": (*verdict.reasons, *over),
        "digest": artifact.files[0].sha256 if artifact else "",
    }


def require_told(results: Collection[Result], wanted: Collection[Objective]) -> None:
    """Raise DeviceError if a figure that is wanted is told of none of `results`."""
    for what in wanted:
        reasons = [_untold(result, what) for result in results]
        if all(reasons):
            where = next(iter(results)).measurement.device_name
            raise DeviceError(
                f"{what} cannot be told on {where}: {reasons[0]}",
                hint="--minimize latency needs none, or name another runner with --runner",
            )


def _untold(result: Result, what: Objective) -> str:
    """Why that figure is not known; empty if it is."""
    summary = result.summary
    if what == "energy" and (summary.energy is None or summary.energy.per_inference_j is None):
        return (summary.energy.unavailable if summary.energy else "") or NO_POWER
    if what == "memory" and summary.peak_rss_bytes is None:
        return "its runner does not tell it"
    return ""


def timed(
    tried: Tried,
    results: Mapping[str, Result],
    yardstick: str,
    limits: Limits,
    wanted: Collection[Objective],
) -> Tried:
    """A candidate with what was measured of it, in turns with the `yardstick`; it has failed where
    a figure that is wanted is not told, or the measurement is worth nothing.
    """
    result = results[tried.name]
    summary = result.summary
    untold = [f"{what}: {why}" for what in wanted if (why := _untold(result, what))]
    if untold:
        return tried.model_copy(update={"status": "failed", "reasons": tuple(untold)})
    energy = summary.energy.per_inference_j if summary.energy else None
    if summary.invalid:
        return tried.model_copy(update={"status": "failed", "reasons": summary.findings})
    figures = tried.figures.model_copy(
        update={
            "latency": summary.median_ns,
            "energy": energy.value if energy else None,
            "memory": summary.peak_rss_bytes,
            "yardstick": results[yardstick].summary.median_ns.value,
        }
    )
    over = broken(figures, limits)
    update: dict[str, Any] = {"figures": figures}
    if over:
        update |= {"status": "over", "reasons": (*tried.reasons, *over)}
    return tried.model_copy(update=update)


def broken(figures: Figures, limits: Limits) -> list[str]:
    """The limits that are broken, in words."""
    found = []
    for what in FIGURES:
        limit, figure = limits.of(what), figures.of(what)
        if limit is not None and figure is not None and figure > limit:
            unit, per = UNITS[what]
            found.append(f"{what} {figure / per:.3g} {unit}, of at most {limit / per:.3g}")
    return found
