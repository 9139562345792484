"""What the store knows of a build: its measurements, with their statistics."""

from __future__ import annotations

from edgekit.core.build import Build
from edgekit.core.measurement import Measurement
from edgekit.core.result import Result
from edgekit.measure.stability import stability
from edgekit.measure.stats import summarize
from edgekit.store import Store


def to_result(measurement: Measurement, number: int | None = None) -> Result:
    """The measurement with its statistics and what speaks against relying on them."""
    return Result(
        measurement=measurement,
        summary=summarize(measurement),
        findings=tuple(str(finding) for finding in stability(measurement)),
        id=number,
    )


def results_of(build: Build) -> list[Result]:
    """All measurements of the artifacts in `build`, newest first."""
    digests = {v.artifact.files[0].sha256 for v in build.variants if v.artifact}
    return [to_result(kept.measurement, kept.id) for kept in Store().find(artifacts=digests)]


def latest(results: list[Result]) -> list[Result]:
    """Of several results for the same variant, device, threads and batch, the newest one."""
    found: dict[tuple[object, ...], Result] = {}
    for result in results:
        m = result.measurement
        key = (m.variant, m.device, m.settings.threads, m.settings.batch)
        found.setdefault(key, result)
    return list(found.values())
