"""What can be said of a measurement's raw samples. Nothing here is ever stored.

The sampling unit is a process launch: memory layout, page colours and thread placement are drawn
once a launch, so samples of one launch are alike and their number says little. Each quantile is
taken in every launch; the reported value is the mean over launches, and its interval is Student's
t on those few values: A. Georges, D. Buytaert, L. Eeckhout, "Statistically rigorous Java
performance evaluation", OOPSLA 2007, section 3.2 (fewer than 30 launches), and T. Kalibera,
R. Jones, "Rigorous benchmarking in reasonable time", ISMM 2013, on repeating at the level that
varies most. Quantiles inside a launch are numpy's linear ones (type 7 of Hyndman and Fan 1996).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from edgekit.core.measurement import MEMORY_KEYS, Launch, Measurement, Memory, Window
from edgekit.core.result import Estimate, Summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
PARTS = 30  # of a sustained run: 20 s each of ten minutes


def estimate(per_launch: Sequence[float]) -> Estimate:
    """Mean of one value a launch and Student's t interval around it, cut off at zero.

    The values are times or rates, so what the interval says below zero is no news.

    Raises:
        ValueError: there is no launch.
    """
    count = len(per_launch)
    if not count:
        raise ValueError("no launch to estimate from")
    mean = math.fsum(per_launch) / count
    if count == 1:
        return Estimate(value=mean)
    variance = math.fsum((value - mean) ** 2 for value in per_launch) / (count - 1)
    half = student_quantile(count - 1) * math.sqrt(variance / count)
    return Estimate(value=mean, low=max(0.0, mean - half), high=mean + half)


@cache
def student_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """t such that Student's distribution has `confidence` of its mass between −t and t.

    By bisection on the closed form for whole degrees of freedom: Abramowitz and Stegun, Handbook
    of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    low, high = 0.0, 1e4
    while high - low > 1e-9 * max(1.0, low):
        middle = (low + high) / 2
        if _student_mass(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _student_mass(t: float, degrees: int) -> float:
    """Probability that |T| ≤ t."""
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def summarize(
    measurement: Measurement, findings: Sequence[str] = (), *, invalid: bool = False
) -> Summary:
    """The numbers of a measurement, with what `edgekit.measure.stability` found against them.

    Raises:
        ValueError: a launch has no samples.
    """
    import numpy as np

    from edgekit.measure.energy import energy  # it needs `estimate`

    launches = measurement.launches
    quantiles = [np.quantile(launch.samples_ns, (0.5, 0.9, 0.99)) for launch in launches]
    batch = measurement.settings.batch
    rates = [batch * inferences_per_second(launch) for launch in launches]
    peaks = [x.peak_rss_bytes for x in launches if x.peak_rss_bytes is not None]
    summarized = any(launch.summarized for launch in launches)
    long = launches[0] if measurement.settings.sustained else None
    return Summary(
        median_ns=estimate([float(q[0]) for q in quantiles]),
        p90_ns=None if summarized else estimate([float(q[1]) for q in quantiles]),
        p99_ns=None if summarized else estimate([float(q[2]) for q in quantiles]),
        throughput_per_second=estimate(rates),
        load_ns=_known([launch.load_ns for launch in launches]),
        first_ns=_known([launch.first_ns for launch in launches]),
        peak_rss_bytes=max(peaks, default=None),
        samples=sum(len(launch.samples_ns) for launch in launches),
        unavailable=_untold(launches),
        memory=_largest([launch.memory for launch in launches if launch.memory is not None]),
        energy=energy(measurement),
        findings=tuple(findings),
        invalid=invalid,
        curve=_in_seconds(long) if long else (),
        steady_ns=steady(long.samples_ns) if long else None,
    )


def _largest(told: Sequence[Memory]) -> Memory | None:
    """Of each the largest; why there is none is that of the first launch."""
    if not told:
        return None
    values = {key: [getattr(memory, key) for memory in told] for key in MEMORY_KEYS}
    most = {k: max((v for v in each if v is not None), default=None) for k, each in values.items()}
    said = told[0].unavailable
    why = {key: said[key] for key in MEMORY_KEYS if most[key] is None and key in said}
    return Memory(**most, unavailable=why)


def _untold(launches: Sequence[Launch]) -> dict[str, str]:
    """Of what no launch tells, why the first does not."""
    first = launches[0]
    why: dict[str, str] = {
        key: first.unavailable[key]
        for key in ("load_ns", "first_ns", "peak_rss_bytes")
        if key in first.unavailable and all(getattr(each, key) is None for each in launches)
    }
    if summarized := next((each.summarized for each in launches if each.summarized), ""):
        no_samples = f"the runner keeps no samples, it gives {summarized}"
        why |= dict.fromkeys(("p90_ns", "p99_ns"), no_samples)
    return why


def _known(times: Sequence[int | None]) -> Estimate | None:
    known = [float(ns) for ns in times if ns is not None]
    return estimate(known) if known else None


def inferences_per_second(launch: Launch) -> float:
    """Of all streams of a launch together, each at the speed that it had."""
    total, begin = 0.0, 0
    for count in launch.samples_per_stream or (len(launch.samples_ns),):
        total += count * 1e9 / max(1, sum(launch.samples_ns[begin : begin + count]))
        begin += count
    return total


def overlap(windows: Sequence[Window]) -> float:
    """The share of the time between the first start and the last end in which all were running."""
    begin, end = (min(w.start_ns for w in windows), max(w.end_ns for w in windows))
    common = min(w.end_ns for w in windows) - max(w.start_ns for w in windows)
    return max(0, common) / max(1, end - begin)


def curve(samples_ns: Sequence[int], points: int) -> list[tuple[float, float]]:
    """How a run changed: the end of each of `points` equal parts of its time, as a share of the
    whole, and the median of the samples in it, in ns. Parts without a sample are left out.
    """
    import numpy as np

    samples = np.asarray(samples_ns, dtype=np.float64)
    ends = np.cumsum(samples)
    parts = np.minimum((points * (ends - samples / 2) / ends[-1]).astype(int), points - 1)
    return [
        ((part + 1) / points, float(np.median(samples[parts == part])))
        for part in range(points)
        if (parts == part).any()
    ]


def steady(samples_ns: Sequence[int]) -> Estimate:
    """The speed that a run settles at: the mean of the medians of the 10 last of 30 parts of its
    time, with Student's t interval over them. Of fewer inferences than parts, the last part's that
    has one.
    """
    parts = curve(samples_ns, PARTS)
    return estimate([median for share, median in parts if share > 2 / 3] or [parts[-1][1]])


def _in_seconds(launch: Launch) -> tuple[tuple[float, float], ...]:
    """`curve` over the seconds that the launch took, which with untimed runs is more than the sum
    of its samples.
    """
    windows = launch.windows
    span_ns = windows[0].end_ns - windows[0].start_ns if windows else sum(launch.samples_ns)
    return tuple((share * span_ns / 1e9, ns) for share, ns in curve(launch.samples_ns, PARTS))


def trend(samples: NDArray[np.float64]) -> float:
    """Median of the last third of the samples over the median of the first third, minus one."""
    import numpy as np

    third = len(samples) // 3
    if not third:
        return 0.0
    return float(np.median(samples[-third:]) / np.median(samples[:third]) - 1)


def two_speeds(samples: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """The two levels that the samples jump between, and the share of the slower; None if one.

    The best split in two (least squares on the logarithms, as N. Otsu 1979 splits grey levels)
    must explain nine tenths of the variance (a uniform distribution gives 3/4, a normal one 2/π),
    the levels must be 10 % apart, and a tenth of the samples must be on either. The slowest 2 %
    are left out: outliers are no second speed.
    """
    import numpy as np

    values = np.sort(np.log(np.maximum(samples, 1.0)))
    values = values[: max(1, int(len(values) * 0.98))]
    count = len(values)
    total = float(np.var(values))
    if count < 20 or total == 0:
        return None
    sums = np.cumsum(values)[:-1]
    left = np.arange(1, count)
    mean_left = sums / left
    mean_right = (float(values.sum()) - sums) / (count - left)
    between = left / count * (1 - left / count) * (mean_left - mean_right) ** 2
    at = int(np.argmax(between))
    share = 1 - (at + 1) / count
    fast, slow = math.exp(mean_left[at]), math.exp(mean_right[at])
    if between[at] / total < 0.9 or slow < 1.1 * fast or not 0.1 <= share <= 0.9:
        return None
    return fast, slow, share
