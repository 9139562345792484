"""What a measurement leaves: raw samples. Statistics are functions of it and are never stored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.core.noun import Noun


class Window(Noun):
    """When samples were taken, in ns of the device's monotonic clock."""

    start_ns: int
    end_ns: int


class Trace(Noun):
    """What one sensor said over time, as it said it.

    Attributes:
        source: which sensor (a name in `edgekit.sensors.SENSORS`).
        rail: what of the board, as the board calls it: ``VDD_IN``, ``thermal_zone0:cpu``.
        unit: of `values`. J is a counter of energy used since some time in the past.
        kind: whether the board measured it, it was computed from what the board measured, or it is
            a guess by a rule of thumb.
        start_ns: the device's monotonic clock; a reading was taken `offsets_us` later.
        offsets_us, values: one entry a reading, in order.
        in_total: whether it counts for the energy; where several do they are added up.
        wraps_at: where a counter starts again from zero, in `unit`; 0 if it is not known to.
        resolution: the least step between two values, in `unit`; None if not known.
        note: what a reader must know of it.
    """

    source: str
    rail: str
    unit: Literal["W", "J", "°C", "kHz"]
    kind: Literal["measured", "derived", "estimated"]
    start_ns: int
    offsets_us: tuple[int, ...]
    values: tuple[float, ...]
    in_total: bool = False
    wraps_at: float = 0.0
    resolution: float | None = None
    note: str = ""


class Sensed(Noun):
    """What the sensors said in one launch.

    Attributes:
        rate_hz: how often they were asked to be read.
        idle: a time in which the model was not loaded yet and nothing was asked of the board.
        covers: what of the board the traces that are `in_total` cover; empty without any.
        no_power: why no trace is `in_total`; empty where one is.
        unavailable: sensor to why there is nothing of it.
        facts: modes of power and clocks that the board was in.
        cost: what reading them cost, in seconds of processor time; see edgekit_sampler.py.
    """

    rate_hz: float
    traces: tuple[Trace, ...] = ()
    idle: Window | None = None
    covers: str = ""
    no_power: str = ""
    unavailable: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, str] = Field(default_factory=dict)
    cost: dict[str, Any] = Field(default_factory=dict)


class Launch(Noun):
    """One launch of the runner on the device, the sampling unit: a process, or one a stream.

    Times are in nanoseconds of the device's monotonic clock, one entry an inference.

    Attributes:
        load_ns: to open the model and allocate its tensors.
        first_ns: of the first inference; it is in neither of the two lists.
        peak_rss_bytes: resident memory of the whole process at its peak.
        rss_before_load_bytes: the same when runtime and Python were there and the model was not.
        windows: when samples were taken, one a stream; empty in what older editions measured.
        samples_per_stream: how many of `samples_ns` are the first stream's, the
            second's, and so on; empty for a single stream.
        own_cores, other_cores: how many cores the runner and how many other work kept busy on
            average while samples were taken; None where the device does not tell, or for windows
            too short to tell.
        before, after: clocks, governors, temperatures, load; empty in what older editions measured.
        stopped: why sampling ended: "enough", "max_runs" or "time_budget".
        sensed: power, heat and clocks over time; None where they were not asked for.
    """

    load_ns: int
    first_ns: int
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...]
    peak_rss_bytes: int | None
    rss_before_load_bytes: int | None = None
    own_cores: float | None = None
    other_cores: float | None = None
    windows: tuple[Window, ...] = ()
    samples_per_stream: tuple[int, ...] = ()
    before: dict[str, Any] = Field(default_factory=dict)
    after: dict[str, Any] = Field(default_factory=dict)
    stopped: Literal["enough", "max_runs", "time_budget"] = "enough"
    sensed: Sensed | None = None


class MeasureSettings(Noun):
    """How a measurement is taken.

    Each launch warms up for at least `warmup_runs` and `warmup_seconds`, then takes samples until
    it has at least `runs` and has measured for at least `min_seconds`; `max_runs` ends both.
    `timeout_seconds` is for one launch.
    """

    launches: int = Field(default=5, ge=1)
    runs: int = Field(default=100, ge=1)  # fewer leave a 99th percentile that is the slowest run
    min_seconds: float = Field(default=0.5, ge=0)
    max_runs: int = Field(default=200_000, ge=1)
    warmup_runs: int = Field(default=5, ge=0)
    warmup_seconds: float = Field(default=0.5, ge=0)
    threads: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)
    streams: int = Field(default=1, ge=1)
    timeout_seconds: float = Field(default=600.0, gt=0)


class OutputCheck(Noun):
    """The board's outputs against this computer's for the same inputs.

    `tolerance` is the largest difference allowed, in the unit of `max_abs_error`.
    """

    samples: int
    max_abs_error: float
    tolerance: float
    ok: bool
    detail: str = ""


class Measurement(Noun):
    """One artifact on one device.

    Attributes:
        created: UTC, ISO 8601.
        device: where it was asked to run ("local", "ssh://pi@10.0.0.7:22").
        hello: what the runner said of itself and the machine.
        environment_before, environment_after: clocks, governors, temperatures, load.
        emulated: whether the device's processor is emulated, so that its times mean nothing.
    """

    created: str
    device: str
    device_name: str
    build_name: str
    variant: str
    artifact_sha256: str
    artifact_size_bytes: int
    settings: MeasureSettings
    hello: dict[str, Any]
    environment_before: dict[str, Any]
    environment_after: dict[str, Any]
    launches: tuple[Launch, ...]
    check: OutputCheck | None = None
    emulated: bool = False
    edgekit_version: str
