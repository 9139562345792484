"""Two artifacts timed in turns on one device, for their ratio: what else it does slows both."""

from __future__ import annotations

import statistics

from edgekit.core.latency import Timing
from edgekit.core.measurement import MeasureSettings
from edgekit.core.protocols import Device
from edgekit.measure.session import Progress, Subject, deployed, launch


def in_turns(
    device: Device,
    before: Subject,
    after: Subject,
    settings: MeasureSettings,
    *,
    where: str,
    progress: Progress = lambda *_: None,
) -> Timing:
    """Launch the two alternately, each first in every other pair; see `Timing`.

    Args:
        device: open (inside its ``with`` block).
        settings: its launches are of each of the two.

    Raises:
        DeviceError: see `edgekit.measure.session.measure`.
    """
    places = [deployed(device, subject, progress=progress) for subject in (before, after)]
    pairs = []
    for index in range(settings.launches):
        progress("measure", index, settings.launches)
        order = (0, 1) if index % 2 == 0 else (1, 0)
        medians = [0.0, 0.0]
        for which in order:
            found = launch(places[which], settings)
            medians[which] = statistics.median(found.samples_ns) / 1e6
        pairs.append(medians)
    progress("measure", settings.launches, settings.launches)
    return Timing(
        before_milliseconds=statistics.median(first for first, _ in pairs),
        milliseconds=statistics.median(second for _, second in pairs),
        share=statistics.median(second / first for first, second in pairs),
        where=where,
    )
