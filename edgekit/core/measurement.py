"""What a measurement leaves: raw samples. Statistics are functions of it and are never stored."""

from __future__ import annotations

from typing import Any

from edgekit.core.noun import Noun


class Launch(Noun):
    """One process launch of the runner on the device, the sampling unit.

    Times are in nanoseconds of the device's monotonic clock, one entry an inference.
    """

    load_ns: int
    first_ns: int
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...]
    peak_rss_bytes: int | None


class MeasureSettings(Noun):
    """How a measurement is taken.

    Each launch warms up for at least `warmup_runs` and `warmup_seconds`, then takes samples until
    it has at least `runs` and has measured for at least `min_seconds`.
    """

    launches: int = 5
    runs: int = 50
    min_seconds: float = 0.5
    warmup_runs: int = 5
    warmup_seconds: float = 0.5
    threads: int = 1
    batch: int = 1
    timeout_seconds: float = 600.0


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
