"""Whether one measurement is faster than another, or whether nothing can be told.

What is compared are the medians of process launches, on a logarithmic scale: their mean difference
is the ratio of the geometric means. Launches of one session were taken in turns, so the n-th of the
one belongs to the n-th of the other, and the differences of these pairs are what varies (Student's
t, paired): what slowed both down cancels. Others are independent samples (B. L. Welch, "The
generalization of Student's problem when several different population variances are involved",
Biometrika 34, 1947; degrees of freedom rounded down).

"No difference" is no proof that there is none: `Comparison.detectable` says how large one would
have had to be.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.core.errors import PlanError
from edgekit.core.measurement import Launch, Measurement
from edgekit.core.result import Estimate
from edgekit.measure.stats import student_quantile

LEAST_LAUNCHES = 3


@dataclass(frozen=True)
class Comparison:
    """B against A.

    Attributes:
        ratio: of B's time to A's, with its 95 % interval; below 1, B is faster.
        paired: whether launches were taken in turns, so that they could be compared in pairs.
    """

    ratio: Estimate
    paired: bool

    @property
    def verdict(self) -> Literal["faster", "slower", "no difference"]:
        """Of B; a difference only if the interval leaves out 1."""
        assert self.ratio.low is not None
        assert self.ratio.high is not None
        if self.ratio.high < 1:
            return "faster"
        return "slower" if self.ratio.low > 1 else "no difference"

    @property
    def detectable(self) -> float:
        """About how large a difference must be, as a share, to be seen in such data."""
        return self.ratio.relative_half_width or 0.0


def median_ns(launch: Launch) -> float:
    return statistics.median(launch.samples_ns)


def compare(
    a: Measurement, b: Measurement, value: Callable[[Launch], float] = median_ns
) -> Comparison:
    """`value` (above zero) of the launches of `b` against that of `a`.

    Raises:
        PlanError: one of them has too few launches to tell anything.
    """
    for each in (a, b):
        if len(each.launches) < LEAST_LAUNCHES:
            raise PlanError(
                f"{each.variant} on {each.device}: {len(each.launches)} launches tell nothing of "
                f"how much they vary; {LEAST_LAUNCHES} are the least",
                hint="edgekit profile … --launches 5",
            )
    logs_a, logs_b = ([math.log(value(launch)) for launch in m.launches] for m in (a, b))
    paired = bool(a.session) and a.session == b.session and len(logs_a) == len(logs_b)
    low, mean, high = _paired(logs_a, logs_b) if paired else _welch(logs_a, logs_b)
    return Comparison(
        Estimate(value=math.exp(mean), low=math.exp(low), high=math.exp(high)), paired
    )


def _paired(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    differences = [y - x for x, y in zip(a, b, strict=True)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = student_quantile(len(differences) - 1) * error
    return mean - half, mean, mean + half


def _welch(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    mean = statistics.fmean(b) - statistics.fmean(a)
    share_a, share_b = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    total = share_a + share_b
    if total == 0:
        return mean, mean, mean
    degrees = total**2 / (share_a**2 / (len(a) - 1) + share_b**2 / (len(b) - 1))
    half = student_quantile(max(1, int(degrees))) * math.sqrt(total)
    return mean - half, mean, mean + half


def differences(a: Measurement, b: Measurement) -> list[str]:
    """What else than the artifact differs between the two, so that the artifact alone may not be
    what makes one faster; a few words each.
    """
    pairs = [
        ("device", a.device_name, b.device_name),
        ("runtime", _runtime(a), _runtime(b)),
        ("threads", a.settings.threads, b.settings.threads),
        ("batch", a.settings.batch, b.settings.batch),
        ("streams", a.settings.streams, b.settings.streams),
        ("sustained", a.settings.sustained, b.settings.sustained),
        ("kernel", a.hello.get("kernel"), b.hello.get("kernel")),
        ("governors", _governors(a), _governors(b)),
        ("edgekit", a.edgekit_version, b.edgekit_version),
    ]
    return [f"{what} {x} and {y}" for what, x, y in pairs if x != y]


def _runtime(m: Measurement) -> str:
    return f"{m.hello.get('runtime')} {m.hello.get('runtime_version')}"


def _governors(m: Measurement) -> str:
    before = m.launches[0].before or m.environment_before
    return ", ".join(sorted(set(before.get("governors", {}).values()))) or "unknown"
