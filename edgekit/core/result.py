"""A measurement with what the statistics say of it, for those who show or hand on results.

Derived and never stored: `edgekit.measure` computes it from the raw samples each time.
"""

from __future__ import annotations

from edgekit.core.measurement import Measurement
from edgekit.core.noun import Noun


class Estimate(Noun):
    """A statistic and its 95 % confidence interval; no interval where there is too little data."""

    value: float
    low: float | None = None
    high: float | None = None


class Summary(Noun):
    """What one measurement comes to. Times in ns, over all samples of all launches.

    Attributes:
        median_ns, p90_ns, p99_ns: of one inference (of a whole batch where the batch is not 1).
        throughput_per_second: samples, not batches, in a second.
        load_ns: of opening the artifact, over launches.
        peak_rss_bytes: the largest of the launches; None where the device does not tell.
        samples: how many inferences were timed, warm-ups not counted.
        stable: whether the numbers may be relied on.
        findings: what is wrong with the measurement and what to do, a sentence each.
    """

    median_ns: Estimate
    p90_ns: Estimate
    p99_ns: Estimate
    throughput_per_second: Estimate
    load_ns: Estimate
    peak_rss_bytes: int | None
    samples: int
    stable: bool
    findings: tuple[str, ...] = ()


class Result(Noun):
    """A measurement, its summary, and its number in the store where it is kept there."""

    measurement: Measurement
    summary: Summary
    id: int | None = None
