"""What a measurement leaves: raw samples. Statistics are functions of it and are never stored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from edgekit.core.noun import Noun
from edgekit.core.verdict import Score

PROTOCOL = 2  # of the jobs and events of runtime_bench/edgekit_bench


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


class Memory(Noun):
    """What was held when the last inference was done, in bytes, summed over streams; None where it
    is not known.

    Attributes:
        model_rss_bytes, model_pss_bytes: pages of the model's file that are mapped and in memory;
            Pss counts a page that several processes share in parts.
        swap_bytes: of the process, swapped out.
        arena_bytes: what the runtime has planned for the tensors between the operators.
        driver_bytes: what drivers of GPUs and NPUs hold for it, in memory of theirs or the board's.
        unavailable: of each that is None why, by its name here.
    """

    model_rss_bytes: int | None = None
    model_pss_bytes: int | None = None
    swap_bytes: int | None = None
    arena_bytes: int | None = None
    driver_bytes: int | None = None
    unavailable: dict[str, str] = Field(default_factory=dict)


MEMORY_KEYS = tuple(key for key in Memory.model_fields if key != "unavailable")


class Launch(Noun):
    """One launch of the runner on the device, the sampling unit: a process, or one a stream.

    Times are in nanoseconds of the device's monotonic clock, one entry an inference.

    Attributes:
        load_ns: to open the model and allocate its tensors; None where the runner does not tell.
        first_ns: of the first inference, which is in neither of the two lists; None likewise.
        summarized: what the only sample is where the runner keeps none ("the mean of 88 runs");
            empty where there are samples.
        peak_rss_bytes: resident memory of the whole process at its peak.
        rss_before_load_bytes: the same when runtime and Python were there and the model was not.
        memory: what else it held; None in what older editions measured.
        windows: when samples were taken, one a stream; empty in what older editions measured.
        samples_per_stream: how many of `samples_ns` are the first stream's, the
            second's, and so on; empty for a single stream.
        own_cores, other_cores: how many cores the runner and how many other work kept busy on
            average while samples were taken; None where the device does not tell, or for windows
            too short to tell.
        cooled_seconds: spent waiting before it until the board was as cool as at the start.
        too_warm: the zone that had not cooled by then, and by how much; empty where all had.
        before, after: clocks, governors, temperatures, load; empty in what older editions measured.
        unavailable: why one of the times, of the peak and of the cores above is None, by its name
            here; of memory beside the peak `memory` says it.
        stopped: why sampling ended: "enough", "max_runs" or "time_budget".
        sensed: power, heat and clocks over time; None where they were not asked for.
    """

    load_ns: int | None
    first_ns: int | None
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...]
    peak_rss_bytes: int | None
    rss_before_load_bytes: int | None = None
    memory: Memory | None = None
    summarized: str = ""
    own_cores: float | None = None
    other_cores: float | None = None
    windows: tuple[Window, ...] = ()
    samples_per_stream: tuple[int, ...] = ()
    cooled_seconds: float = 0.0
    too_warm: str = ""
    before: dict[str, Any] = Field(default_factory=dict)
    after: dict[str, Any] = Field(default_factory=dict)
    unavailable: dict[str, str] = Field(default_factory=dict)
    stopped: Literal["enough", "max_runs", "time_budget"] = "enough"
    sensed: Sensed | None = None


class MeasureSettings(Noun):
    """How a measurement is taken.

    Each launch warms up for at least `warmup_runs` and `warmup_seconds`, then takes samples until
    it has at least `runs` and has measured for at least `min_seconds`; `max_runs` ends both.
    `timeout_seconds` is for one launch.

    Attributes:
        launches: how many; at least so many where `precision` is given.
        precision: launches go on until half the 95 % interval of the median is at most this share
            of it, or `max_launches` or `budget_seconds` (of the whole measurement) are reached.
        streams: processes that run the model at the same time.
        sample_every: only every so many-th inference is timed and kept, for very long runs.
        pause_seconds: how long to wait before each launch but the first, at least.
        cooldown_seconds: how long to wait at most, before each launch, until the board is as cool
            as it was at the start.
        cooling_zones: types of the thermal zones that this goes by; all if there are none of these.
        clocks: "fixed" sets the governor to performance where that is allowed, and gives it back.
        power_mode: a Jetson's, by nvpmodel's number or name, to be in meanwhile; as it is if empty.
        sustained: the launch is a long one, of interest for how it changes.
        operators: whether one more launch tells the time of each operator.
    """

    launches: int = Field(default=5, ge=1)
    precision: float | None = Field(default=None, gt=0, lt=1)
    max_launches: int = Field(default=50, ge=1)
    budget_seconds: float = Field(default=900.0, gt=0)
    runs: int = Field(default=100, ge=1)  # fewer leave a 99th percentile that is the slowest run
    min_seconds: float = Field(default=0.5, ge=0)
    max_runs: int = Field(default=200_000, ge=1)
    warmup_runs: int = Field(default=5, ge=0)
    warmup_seconds: float = Field(default=0.5, ge=0)
    threads: int = Field(default=1, ge=1)
    batch: int = Field(default=1, ge=1)
    streams: int = Field(default=1, ge=1)
    timeout_seconds: float = Field(default=600.0, gt=0)
    sample_every: int = Field(default=1, ge=1)
    pause_seconds: float = Field(default=0.0, ge=0)
    cooldown_seconds: float = Field(default=30.0, ge=0)
    cooling_zones: tuple[str, ...] = ()
    clocks: Literal["fixed", "as-is"] = "fixed"
    power_mode: str = ""
    sustained: bool = False
    operators: bool = False


class OutputCheck(Noun):
    """The board's outputs against this computer's for the same inputs.

    `tolerance` is the largest difference allowed, in the unit of `max_abs_error`.
    """

    samples: int
    max_abs_error: float
    tolerance: float
    ok: bool
    detail: str = ""


class OperatorTime(Noun):
    """What one operator of the artifact took, over all profiled runs.

    Attributes:
        name: the runtime's own; kind: what it is ("Conv", "Convolution (NHWC, QC8) IGEMM").
        where: the place that the runtime names ("cpu", "delegate").
        ns: over all calls.
        layer: the user's own name for the layer that it comes from; empty where the runtime keeps
            no link to it.
    """

    name: str
    kind: str
    where: str
    calls: int
    ns: int
    layer: str = ""


class OperatorTimes(Noun):
    """Time by operator, from the runtime's profiler, in a session of its own.

    Attributes:
        runs, total_ns: inferences that were profiled, and their time as a whole, in which the
            profiler's own is contained.
        unavailable: why there are none; empty where there are.
    """

    runs: int = 0
    total_ns: int = 0
    operators: tuple[OperatorTime, ...] = ()
    unavailable: str = ""


class DeviceAccuracy(Noun):
    """What the board's own answers to the evaluation set score by the metric of the budget.

    Attributes:
        data: in words, which samples.
        not_finite: of how many of the `samples` an answer has NaN or infinity; nothing is scored
            where there is one.
        score: against the source model's answers.
        beside: against the artifact's own answers at the conversion: `Score.source_value` is what
            it scored there.
        max_drop: what may be lost against the source, as in `edgekit.core.recipe.Budget`.
        ok: whether the board keeps that.
        detail: why, in words.
    """

    data: str
    samples: int
    not_finite: int = 0
    score: Score | None = None
    beside: Score | None = None
    max_drop: float
    ok: bool
    detail: str


class Measurement(Noun):
    """One artifact on one device.

    Attributes:
        created: UTC, ISO 8601.
        device: where it was asked to run ("local", "ssh://pi@10.0.0.7:22").
        hello: what the runner said of itself and the machine.
        environment_before, environment_after: clocks, governors, temperatures, load.
        session: of what was measured together, launches taking turns; `turns` are the places of
            its launches in that order.
        clocks: what was set while measuring, or why nothing was.
        operators: None where nobody asked.
        cut_short: why there are fewer launches than asked for; empty where there are not.
        accuracy: what it scored there; None where that was not asked for.
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
    session: str = ""
    turns: tuple[int, ...] = ()
    clocks: str = ""
    cut_short: str = ""
    operators: OperatorTimes | None = None
    accuracy: DeviceAccuracy | None = None
    emulated: bool = False
    edgekit_version: str
