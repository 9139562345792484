"""Two artifacts timed in turns on one device, for their ratio: what else it does slows both."""

from __future__ import annotations

import statistics
from dataclasses import replace

from edgekit.core.latency import Timing
from edgekit.core.measurement import MeasureSettings
from edgekit.core.protocols import Device
from edgekit.measure.comparing import median_ns
from edgekit.measure.runner import RunnerWish
from edgekit.measure.session import SubjectProgress, measure_together
from edgekit.measure.subject import Subject


def in_turns(
    device: Device,
    before: Subject,
    after: Subject,
    settings: MeasureSettings,
    *,
    where: str,
    wish: RunnerWish = RunnerWish(),  # noqa: B008 - frozen
    progress: SubjectProgress = lambda *_: None,
) -> Timing:
    """Launch the two alternately, each first in every other pair; see `Timing`.

    Args:
        device: open (inside its ``with`` block).
        settings: its launches are of each of the two.

    Raises:
        DeviceError: see `edgekit.measure.session.measure`.
    """
    subjects = [replace(before, variant="before"), replace(after, variant="after")]
    taken = measure_together(device, subjects, settings, wish=wish, progress=progress)
    firsts, seconds = ([median_ns(launch) / 1e6 for launch in m.launches] for m in taken)
    return Timing(
        before_milliseconds=statistics.median(firsts),
        milliseconds=statistics.median(seconds),
        share=statistics.median(y / x for x, y in zip(firsts, seconds, strict=True)),
        where=where,
    )
