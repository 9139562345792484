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
from edgekit.core.errors import UnknownNameError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import Launch, Measurement, MeasureSettings, OutputCheck
from edgekit.core.protocols import Device
from edgekit.core.recipe import QuantizationKind
from edgekit.measure.runner import READERS, RUNNER, Events, find_python, run_job

# What is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        path: the artifact's file here; `sha256` is its digest.
        file_format: "tflite", "executorch" or "onnx".
        names: of its inputs and of its outputs, in order.
        quantization: how it computes; decides how near the board's outputs must be.
        check: .npz with its inputs (``in:<name>``) and this computer's outputs (``out:<name>``),
            one row a sample; None leaves the check out.
    """

    path: Path
    sha256: str
    quantization: QuantizationKind
    build_name: str
    variant: str
    check: Path | None = None
    file_format: str = "tflite"
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None


def measure(
    device: Device,
    subject: Subject,
    settings: MeasureSettings,
    *,
    python: str | None = None,
    runtime: str | None = None,
    device_name: str = "",
    progress: Progress = lambda *_: None,
) -> Measurement:
    """Deploy `subject` to `device`, check its outputs there, and time it.

    Args:
        device: open (inside its ``with`` block).
        python: the Python to use there; looked for if not given.
        runtime: one of `edgekit.measure.runner.READERS`; the first that is there otherwise.
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
    place = deployed(device, subject, python=python, runtime=runtime, progress=progress)
    check = inputs = None
    if subject.check is not None:
        progress("check", 0, 1)
        check = _check(device, place, subject, settings)
        inputs = _push_first_sample(device, subject.check)
        progress("check", 1, 1)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    launches: list[Events] = []
    for index in range(settings.launches):
        progress("measure", index, settings.launches)
        # The digest once is enough, and not before the check has done it.
        digest = subject.sha256 if index == 0 and check is None else None
        job = {**_timing(settings), "sha256": digest, "inputs": inputs}
        launches.append(place.run(job))
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
        launches=tuple(_launch(events) for events in launches),
        check=check,
        emulated="emulated" in hello,
        edgekit_version=__version__,
    )


@dataclass(frozen=True)
class Deployed:
    """What lies on the device, under the names it has there."""

    device: Device
    python: str
    runner: str
    model: str
    runtime: str | None
    names: dict[str, list[str]] | None

    def run(self, job: dict[str, Any]) -> Events:
        full = {"model": self.model, "runtime": self.runtime, "names": self.names, **job}
        return run_job(self.device, self.python, self.runner, full)


def deployed(
    device: Device,
    subject: Subject,
    *,
    python: str | None = None,
    runtime: str | None = None,
    progress: Progress = lambda *_: None,
) -> Deployed:
    """The artifact on the device, and what runs it there. Raises as `measure` does."""
    readers = READERS[subject.file_format]
    if runtime is not None and runtime not in readers:
        raise UnknownNameError(f"runtime for {subject.variant}", runtime, readers)
    progress("deploy", 0, 2)
    runner = device.push(RUNNER, sha256_file(RUNNER))
    progress("deploy", 1, 2)
    found = find_python(device, named=python, runtime=runtime, file_format=subject.file_format)
    model = device.push(subject.path, subject.sha256)
    progress("deploy", 2, 2)
    names = None
    if subject.names is not None and subject.file_format == "executorch":
        names = dict(zip(("inputs", "outputs"), map(list, subject.names), strict=True))
    return Deployed(device, found, runner, model, runtime, names)


def _timing(settings: MeasureSettings) -> dict[str, Any]:
    return {
        "threads": settings.threads,
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
    device: Device, place: Deployed, subject: Subject, settings: MeasureSettings
) -> OutputCheck:
    assert subject.check is not None
    expected = load_outputs(subject.check)
    inputs = device.push(subject.check, sha256_file(subject.check))
    outputs = device.scratch()
    try:
        place.run(
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


def launch(place: Deployed, settings: MeasureSettings) -> Launch:
    """One launch, on inputs that the runner makes up."""
    return _launch(place.run({**_timing(settings), "sha256": None, "inputs": None}))


def _launch(events: Events) -> Launch:
    memory = events["memory"]
    return Launch(
        load_ns=events["load"]["ns"],
        first_ns=events["first"]["ns"],
        warmup_ns=events.times("warmup"),
        samples_ns=events.times("samples"),
        peak_rss_bytes=memory.get("peak_bytes"),
        rss_before_load_bytes=memory.get("before_load_bytes"),
        other_cores=events["interference"]["other_cores"],
        stopped=events["done"]["stopped"],
    )


def _name(device: Device, hello: dict[str, Any]) -> str:
    return str(hello.get("board") or hello.get("cpu") or device.address)
