"""A measurement with what the statistics say of it, for those who show or hand on results.

Derived and never stored: `edgekit.measure` computes it from the raw samples each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from edgekit.core.measurement import Measurement, Memory
from edgekit.core.noun import Noun


class Estimate(Noun):
    """A statistic and its 95 % confidence interval; no interval where there is too little data."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def relative_half_width(self) -> float | None:
        """Half the interval's width as a share of the value; None without an interval."""
        if self.low is None or self.high is None or not self.value:
            return None
        return (self.high - self.low) / 2 / self.value


NO_POWER = "no sensor of power is there"


class Energy(Noun):
    """What the runs took from the board's supply, or why that is not known.

    Attributes:
        per_inference_j: of one inference (of a whole batch where the batch is not 1), everything
            else that the board did meanwhile included; None where `unavailable` says why.
        mean_power_w: while the runs were timed.
        idle_power_w: before the model was loaded; nothing is ever subtracted.
        covers: what of the board that is.
        kind: as in `edgekit.core.measurement.Trace`; "derived" where rails were added up.
        notes: what a reader must know of these numbers.
    """

    per_inference_j: Estimate | None = None
    mean_power_w: Estimate | None = None
    idle_power_w: Estimate | None = None
    covers: str = ""
    kind: Literal["measured", "derived", "estimated"] | None = None
    unavailable: str = ""
    notes: tuple[str, ...] = ()


class Summary(Noun):
    """What one measurement comes to. Times in ns, over all samples of all launches.

    Attributes:
        median_ns, p90_ns, p99_ns: of one inference (of a whole batch where the batch is not 1);
            None for the latter two where the runner kept no samples.
        throughput_per_second: samples, not batches, in a second.
        load_ns, first_ns: of opening the artifact, and of the first inference after that; None
            where the runner does not tell.
        peak_rss_bytes: the largest of the launches; None where the device does not tell.
        unavailable: why one of those above is None, by its name here.
        memory: what else was held, of each the largest of the launches; None where no launch says.
        samples: how many inferences were timed, warm-ups not counted.
        energy: None where nothing was read of the board's sensors.
        findings: what is wrong with the measurement and what to do, a sentence each.
        invalid: whether one of these means that the numbers must not be used at all.
        curve: of a sustained run, how it changed: for 30 equal parts of its time the second in
            which it ends and the median of its runs in ns.
        steady_ns: of a sustained run, the median of its last third; the interval is of its minutes.
    """

    median_ns: Estimate
    p90_ns: Estimate | None
    p99_ns: Estimate | None
    throughput_per_second: Estimate
    load_ns: Estimate | None
    first_ns: Estimate | None
    peak_rss_bytes: int | None
    samples: int
    unavailable: dict[str, str] = Field(default_factory=dict)
    memory: Memory | None = None
    energy: Energy | None = None
    findings: tuple[str, ...] = ()
    invalid: bool = False
    curve: tuple[tuple[float, float], ...] = ()
    steady_ns: Estimate | None = None

    @property
    def stable(self) -> bool:
        """Whether the numbers may be relied on."""
        return not self.findings


class Result(Noun):
    """A measurement, its summary, and its number in the store where it is kept there."""

    measurement: Measurement
    summary: Summary
    id: int | None = None


def way_of(result: Result) -> tuple[int, int, int, bool]:
    """How it was run: threads, batch, streams, and whether for long."""
    settings = result.measurement.settings
    return settings.threads, settings.batch, settings.streams, settings.sustained


def latest(results: Sequence[Result]) -> list[Result]:
    """Of the results for one variant, device and way of running it the newest; order is kept.

    One that was cut short gives way to one that was not.
    """
    newest: dict[tuple[object, ...], Result] = {}
    for result in results:
        taken = result.measurement
        key = (taken.variant, taken.device, way_of(result))
        if key not in newest or _rank(taken) > _rank(newest[key].measurement):
            newest[key] = result
    chosen = {id(result) for result in newest.values()}
    return [result for result in results if id(result) in chosen]


def _rank(taken: Measurement) -> tuple[bool, str]:
    return not taken.cut_short, taken.created
