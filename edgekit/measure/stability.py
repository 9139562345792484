"""Whether a measurement can be relied on; if not, what was seen and what to do."""

from __future__ import annotations

import functools
import operator
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.core.measurement import Measurement
from edgekit.measure.stats import overlap, summarize, trend, two_speeds

# Half the 95 % interval of the median, or a trend, above this share of the median.
TOLERATED_SHARE = 0.05
TOLERATED_OTHER_CORES = 0.25
HOT_C = 80.0
WARMED_C = 10.0

# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_THROTTLE_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}

# https://source.android.com/docs/core/power/thermal-mitigation (throttling severity); with "light"
# nothing is slower yet that a person would notice.
_THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_MODERATE = 2


@dataclass(frozen=True)
class Finding:
    """One thing that makes the numbers doubtful: what was seen, and what to do.

    `invalid` where they must not be used at all.
    """

    seen: str
    do: str
    invalid: bool = False

    def __str__(self) -> str:
        return f"{'invalid: ' if self.invalid else ''}{self.seen}: {self.do}"


def stability(measurement: Measurement) -> list[Finding]:
    """What speaks against relying on the measurement; nothing if it is sound.

    Raises:
        ValueError: a launch has no samples.
    """
    return [finding for look in _LOOKS for finding in look(measurement)]


def _emulated(m: Measurement) -> Iterator[Finding]:
    if m.emulated:
        why = m.hello.get("emulated", "the processor is emulated")
        yield Finding(
            f"times mean nothing here ({why})", "measure on the board itself", invalid=True
        )


def _cut_off(m: Measurement) -> Iterator[Finding]:
    if m.cut_short:
        done = len(m.launches)
        yield Finding(
            f"it ended after {done} of {max(done, m.settings.launches)} launches ({m.cut_short})",
            "what was measured by then is kept; repeat it",
        )


def _interval(m: Measurement) -> Iterator[Finding]:
    if m.settings.sustained:
        return
    if len(m.launches) == 1:
        yield Finding("one launch has no interval", "use --launches 5")
        return
    share = summarize(m).median_ns.relative_half_width
    if share is not None and share > TOLERATED_SHARE:
        yield Finding(
            f"the median is known to ±{share:.0%} only",
            "use --precision 2%, and stop what else runs there",
        )


def _cut_short(m: Measurement) -> Iterator[Finding]:
    over = [x for x in m.launches if x.stopped == "time_budget"]
    if over:
        fewest = min(len(x.samples_ns) for x in over)
        yield Finding(
            f"the time was over after {fewest} of {m.settings.runs} runs",
            f"give more than {m.settings.timeout_seconds:g} s a launch, or ask for fewer runs",
        )


def _drift_inside(m: Measurement) -> Iterator[Finding]:
    import numpy as np

    if m.settings.sustained:  # that is what it was taken for
        return
    trends = [trend(np.asarray(x.samples_ns, dtype=np.float64)) for x in m.launches]
    typical = statistics.median(trends)
    if typical > TOLERATED_SHARE:
        yield Finding(
            f"inferences get {typical:.0%} slower within a launch",
            "heat, as a rule: cool the board, or measure as long as it will work (--min-seconds)",
        )
    elif typical < -TOLERATED_SHARE:
        yield Finding(
            f"inferences get {-typical:.0%} faster within a launch",
            "it is not warm yet: raise --warmup-seconds",
        )


def _drift_across(m: Measurement) -> Iterator[Finding]:
    medians = [statistics.median(x.samples_ns) for x in m.launches]
    if len(medians) < 4:
        return
    rising, falling = sorted(medians), sorted(medians, reverse=True)
    change = medians[-1] / medians[0] - 1 if medians[0] else 0.0
    if abs(change) > TOLERATED_SHARE and medians in (rising, falling):
        way = "slower" if change > 0 else "faster"
        yield Finding(
            f"each launch is {way} than the one before, {abs(change):.0%} in all",
            "wait until the board has the same temperature and load throughout, then repeat",
        )


def _two_speeds(m: Measurement) -> Iterator[Finding]:
    import numpy as np

    samples = [np.asarray(x.samples_ns, dtype=np.float64) for x in m.launches]
    found = two_speeds(np.concatenate(samples))
    if found is not None:
        fast, slow, share = found
        size, unit = (1e6, "ms") if fast >= 1e6 else (1e3, "µs")
        yield Finding(
            f"two speeds: {fast / size:.3g} {unit}, and {slow / size:.3g} {unit} in {share:.0%} of "
            "the runs",
            "a changing clock or fast and slow cores: fix the governor, or pin with taskset",
        )


def _governor(m: Measurement) -> Iterator[Finding]:
    governors = set(m.environment_before.get("governors", {}).values())
    others = sorted(governors - {"performance"})
    if others:
        yield Finding(
            f"the clock may change (governor {', '.join(others)})",
            "on the device: echo performance | sudo tee "
            "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )


def _throttled(m: Measurement) -> Iterator[Finding]:
    moments = [each for launch in m.launches for each in (launch.before, launch.after)]
    bits = [_bits(each) for each in moments if each] or [
        _bits(m.environment_before),
        _bits(m.environment_after),
    ]
    known = [each for each in bits if each is not None]
    if len(known) < 2:
        return
    now = functools.reduce(operator.or_, known) & 0xF
    since = ((known[-1] & ~known[0]) >> 16) & 0xF
    names = [name for bit, name in _THROTTLE_BITS.items() if (now | since) >> bit & 1]
    if names:
        yield Finding(
            f"the board was held back while measuring ({', '.join(names)})",
            "give it a better power supply or cooling, then repeat",
            invalid=True,
        )


def _held_back(m: Measurement) -> Iterator[Finding]:
    worst = max((int(x.after.get("thermal_status", 0)) for x in m.launches), default=0)
    if worst:
        name = _THERMAL_STATUS[min(worst, len(_THERMAL_STATUS) - 1)]
        yield Finding(
            f"the phone's thermal service said {name} while measuring",
            "let it cool, out of its case and off the charger, then repeat (--cooldown)",
            invalid=worst >= _MODERATE,
        )


def _bits(environment: dict[str, Any]) -> int | None:
    try:
        return int(str(environment.get("throttled")), 16)
    except ValueError:  # not told, or not the kernel's words
        return None


def _too_warm(m: Measurement) -> Iterator[Finding]:
    warm = [launch.too_warm for launch in m.launches if launch.too_warm]
    if warm:
        yield Finding(
            f"{len(warm)} of {len(m.launches)} launches began warmer than the first ({warm[-1]})",
            f"wait longer than {m.settings.cooldown_seconds:g} s (--cooldown), or cool the board",
        )


def _streams_apart(m: Measurement) -> Iterator[Finding]:
    shares = [overlap(launch.windows) for launch in m.launches if len(launch.windows) > 1]
    if shares and min(shares) < 1 - 2 * TOLERATED_SHARE:
        yield Finding(
            f"the streams ran together for {min(shares):.0%} of the time only",
            "measure longer: --min-seconds",
        )


def _temperature(m: Measurement) -> Iterator[Finding]:
    if m.settings.sustained:  # the curve shows what the heat does
        return
    before = m.environment_before.get("temperatures_c", {})
    after = m.environment_after.get("temperatures_c", {})
    rises = {zone: after[zone] - before[zone] for zone in after if zone in before}
    zone = max(rises, key=lambda z: rises[z], default=None)
    hottest = max(after, key=lambda z: after[z], default=None)
    if hottest is not None and after[hottest] >= HOT_C:
        yield Finding(
            f"{hottest} is at {after[hottest]:.0f} °C", "most boards throttle near that: cool it"
        )
    elif zone is not None and rises[zone] >= WARMED_C:
        yield Finding(
            f"{zone} went from {before[zone]:.0f} to {after[zone]:.0f} °C while measuring",
            "let it reach its working temperature first (--warmup-seconds), or cool it",
        )


def _other_work(m: Measurement) -> Iterator[Finding]:
    seen = [x.other_cores for x in m.launches if x.other_cores is not None]
    if seen and statistics.median(seen) > TOLERATED_OTHER_CORES:
        cores = m.hello.get("usable_cores") or m.hello.get("cores")
        of = f" of {cores}" if cores else ""
        yield Finding(
            f"other work kept {statistics.median(seen):.1f}{of} cores busy meanwhile",
            "stop it and repeat",
        )


_LOOKS: tuple[Callable[[Measurement], Iterator[Finding]], ...] = (
    _emulated,
    _throttled,
    _held_back,
    _cut_off,
    _interval,
    _cut_short,
    _two_speeds,
    _drift_inside,
    _drift_across,
    _too_warm,
    _streams_apart,
    _temperature,
    _governor,
    _other_work,
)
