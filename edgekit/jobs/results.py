"""What the store knows of a build: its measurements, with their statistics."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.build import Build
from edgekit.core.measurement import Measurement
from edgekit.core.result import Result
from edgekit.measure.stability import stability
from edgekit.measure.stats import summarize
from edgekit.reports import write_html
from edgekit.store import Store

PAGE = "report.html"


def to_result(measurement: Measurement, number: int | None = None) -> Result:
    """The measurement with its statistics and what speaks against relying on them."""
    findings = stability(measurement)
    summary = summarize(
        measurement,
        [str(finding) for finding in findings],
        invalid=any(finding.invalid for finding in findings),
    )
    return Result(measurement=measurement, summary=summary, id=number)


def results_of(build: Build) -> list[Result]:
    """All measurements of the artifacts in `build`, newest first."""
    digests = {v.artifact.files[0].sha256 for v in build.variants if v.artifact}
    return [to_result(kept.measurement, kept.id) for kept in Store().find(artifacts=digests)]


def write_page(build: Build, folder: Path) -> Path:
    """Write the report page of `build` into `folder`, with all that was measured so far."""
    page = folder / PAGE
    write_html(build, page, results_of(build))
    return page
