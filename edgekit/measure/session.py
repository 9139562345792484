"""One measurement: deploy, check the answers, launch the runner several times, collect."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.core.agreement import compare, load_outputs
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Launch, Measurement, MeasureSettings, OutputCheck, Window
from edgekit.core.protocols import Device, Sensing
from edgekit.measure.events import Events
from edgekit.measure.runner import Runner, RunnerWish
from edgekit.measure.runners import RUNNERS
from edgekit.measure.subject import Subject

# What is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


def measure(
    device: Device,
    subject: Subject,
    settings: MeasureSettings,
    *,
    runner: str = "python",
    wish: RunnerWish = RunnerWish(),  # noqa: B008 - frozen
    device_name: str = "",
    sensing: Sensing | None = None,
    progress: Progress = lambda *_: None,
) -> Measurement:
    """Deploy `subject` to `device`, check its outputs there, and time it.

    Args:
        device: open (inside its ``with`` block).
        runner: a name in `edgekit.measure.runners.RUNNERS`; `wish` is what it is asked for.
        sensing: reads the device's sensors meanwhile, if given.
        device_name: how the result shall call it; what the board calls itself if not given.
        progress: called as (what, done, of).

    Raises:
        RuntimeMissingError: no runtime there; says how to install one.
        RejectedError: the runtime there does not load the artifact.
        MismatchError: the board computes something else than this computer.
        TransientDeviceError: the link broke. Nothing is repeated: half a measurement is none.
        DeviceError: anything else that went wrong there.
    """
    size = subject.path.stat().st_size  # now: the folder may be moved before the last launch ends
    deployed = _deploy(device, subject, runner, wish, progress)
    check = inputs = None
    if subject.check is not None:
        progress("check", 0, 1)
        check = _check(device, deployed, subject, settings)
        inputs = _push_first_sample(device, subject.check)
        progress("check", 1, 1)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    launches: list[Events] = []
    for index in range(settings.launches):
        progress("measure", index, settings.launches)
        # The digest once is enough, and not before the check has done it.
        digest = subject.sha256 if index == 0 and check is None else None
        job = {**_timing(settings), "sha256": digest, "inputs": inputs}
        launches.append(deployed.run(job if sensing is None else sensing.add(job)))
    progress("measure", settings.launches, settings.launches)

    hello = launches[0].hello
    return Measurement(
        created=created,
        device=device.address,
        device_name=device_name or _name(device, hello),
        build_name=subject.build_name,
        variant=subject.variant,
        artifact_sha256=subject.sha256,
        artifact_size_bytes=size,
        settings=settings,
        hello=hello,
        environment_before=launches[0].environment("before"),
        environment_after=launches[-1].environment("after"),
        launches=tuple(_launch(events, sensing) for events in launches),
        check=check,
        emulated="emulated" in hello,
        edgekit_version=__version__,
    )


@dataclass(frozen=True)
class _Deployed:
    """A runner and an artifact on a device."""

    runner: Runner
    model: str
    runtime: str | None
    names: dict[str, list[str]] | None

    def run(self, job: dict[str, Any]) -> Events:
        return self.runner.run(
            {"model": self.model, "runtime": self.runtime, "names": self.names, **job}
        )


def _deploy(
    device: Device, subject: Subject, runner: str, wish: RunnerWish, progress: Progress
) -> _Deployed:
    progress("deploy", 0, 2)
    there: Runner = RUNNERS[runner].deploy(device, subject, wish)
    progress("deploy", 1, 2)
    model = device.push(subject.path, subject.sha256)
    progress("deploy", 2, 2)
    names = None
    if subject.names is not None and subject.file_format == "executorch":
        names = dict(zip(("inputs", "outputs"), map(list, subject.names), strict=True))
    return _Deployed(there, model, wish.runtime, names)


def _timing(settings: MeasureSettings) -> dict[str, Any]:
    return {
        "threads": settings.threads,
        "streams": settings.streams,
        # 1 is what every artifact is made for, and a first dimension need not be a batch
        "batch": settings.batch if settings.batch > 1 else None,
        "warmup_runs": settings.warmup_runs,
        "warmup_seconds": settings.warmup_seconds,
        "runs": settings.runs,
        "min_seconds": settings.min_seconds,
        "max_runs": max(settings.max_runs, settings.runs),
        "time_budget_seconds": settings.timeout_seconds,
    }


def _check(
    device: Device, deployed: _Deployed, subject: Subject, settings: MeasureSettings
) -> OutputCheck:
    assert subject.check is not None
    expected = load_outputs(subject.check)
    inputs = device.push(subject.check, sha256_file(subject.check))
    outputs = device.scratch()
    try:
        deployed.run(
            {
                "sha256": subject.sha256,
                "threads": settings.threads,
                "inputs": inputs,
                "outputs": outputs,
                "runs": 0,
                "time_budget_seconds": settings.timeout_seconds,
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "outputs.npz"
            device.pull(outputs, answer)
            actual = load_outputs(answer)
    finally:
        device.remove(outputs)
    where = f"{subject.variant} on {device.address}"
    return compare(expected, actual, subject.quantization, where=where)


def _push_first_sample(device: Device, check: Path) -> str:
    """Real inputs for the timed runs, but one sample only: more would show as peak memory."""
    import numpy as np

    with np.load(check, allow_pickle=False) as file:
        first = {name: file[name][:1] for name in file.files if not name.startswith("out:")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, **first)
        return device.push(path, sha256_file(path))


def _launch(events: Events, sensing: Sensing | None = None) -> Launch:
    memory = events["memory"]
    return Launch(
        load_ns=events["load"]["ns"],
        first_ns=events["first"]["ns"],
        warmup_ns=events.times("warmup"),
        samples_ns=events.times("samples"),
        peak_rss_bytes=memory.get("peak_bytes"),
        rss_before_load_bytes=memory.get("before_load_bytes"),
        own_cores=events["interference"].get("own_cores"),
        other_cores=events["interference"]["other_cores"],
        windows=tuple(
            Window(start_ns=event["start_ns"], end_ns=event["end_ns"])
            for event in events.every("window")
        ),
        samples_per_stream=_by_stream(events),
        before=events.environment("before"),
        after=events.environment("after"),
        stopped=events["done"]["stopped"],
        sensed=None if sensing is None else sensing.sensed(events.all),
    )


def _by_stream(events: Events) -> tuple[int, ...]:
    counts: dict[int, int] = {}
    for event in events.every("samples"):
        counts[event["stream"]] = counts.get(event["stream"], 0) + len(event["ns"])
    return tuple(counts[stream] for stream in sorted(counts)) if len(counts) > 1 else ()


def _name(device: Device, hello: dict[str, Any]) -> str:
    return str(hello.get("board") or hello.get("cpu") or device.address)
