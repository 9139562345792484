"""TFLite's own ``benchmark_model``, where a phone or a board has it.

    adb push benchmark_model /data/local/tmp/ && adb shell chmod +x /data/local/tmp/benchmark_model
    edgekit profile BUILD --on adb: --runner benchmark-model

It needs no Python, runs on Android, and applies the GPU delegate; it keeps no samples (a launch
gives one number, the mean over its runs) and does not show the model's outputs, so that these are
not checked there. A delegate that it does not apply to the whole model ends the measurement.
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/tools/benchmark
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from edgekit.core.errors import DeviceError, RejectedError, RuntimeMissingError
from edgekit.core.protocols import Device
from edgekit.measure.events import Events, budget_seconds
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.find import find_program
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look

PROGRAM = "benchmark_model"
PLACES = ("~/benchmark_model", "~/.edgekit/benchmark_model", "/data/local/tmp/benchmark_model")
FLAGS = {"xnnpack": (), "cpu": ("--use_xnnpack=false",), "gpu": ("--use_gpu=true",)}
_GRACE_SECONDS = 60
_GET = (
    "prebuilt ones are linked at "
    "https://www.tensorflow.org/lite/performance/measurement; put it to ~/ (on a phone: "
    "/data/local/tmp) and make it executable"
)


def has_program(device: Device) -> bool:
    """Whether `device` has a benchmark_model."""
    try:
        find_program(device, PROGRAM, PLACES, _GET)
    except RuntimeMissingError:
        return False
    return True


class BenchmarkModelRunner:
    """``benchmark_model``; implements `Runner`."""

    name = "benchmark-model"
    runs: ClassVar[dict[str, tuple[str, ...]]] = {"tflite": tuple(FLAGS)}
    checks = 0
    senses = False

    def __init__(self, device: Device, program: str, delegate: str) -> None:
        self._device, self._program, self._delegate = device, program, delegate

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Find the program.

        Raises:
            RuntimeMissingError: it is not there.
        """
        return cls(device, find_program(device, PROGRAM, PLACES, _GET), subject.delegate)

    def run(self, job: Mapping[str, Any]) -> Events:
        if job.get("batch") not in (None, 1) or job.get("streams", 1) != 1:
            raise RejectedError("benchmark_model runs one stream with a batch of 1")
        if job.get("sample_every", 1) != 1:
            raise RejectedError(
                "benchmark_model gives one number over all its runs: none can be left out of it "
                f"(sample_every={job['sample_every']})",
                hint="take sample_every=1, or name another runner with --runner",
            )
        hello, before = look(self._device)
        budget = budget_seconds(job)
        argv = [
            self._program,
            f"--graph={job['model']}",
            f"--num_threads={job['threads']}",
            f"--num_runs={max(1, job['runs'])}",
            f"--min_secs={job['min_seconds']}",
            f"--max_secs={budget}",
            f"--warmup_runs={max(1, job['warmup_runs'])}",
            f"--warmup_min_secs={job['warmup_seconds']}",
            *FLAGS[self._delegate],
            *(["--enable_op_profiling=true"] if job.get("operators") else []),
        ]
        done = self._device.run(argv, timeout_seconds=budget + _GRACE_SECONDS)
        text = done.stdout + done.stderr
        found = parse(text)
        if done.exit_code != 0 or found is None:
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            last = lines[-1] if lines else "it printed nothing"
            why = next((line for line in reversed(lines) if "ERROR" in line), last)
            raise RejectedError(
                f"{self._device.address}: benchmark_model ended with {done.exit_code} and gave no "
                f"times: {why[:300]}",
                hint=f"by hand, on the device: {' '.join(argv)}",
            )
        refuse_fallback(self._device.address, self._delegate, text)
        _, after = look(self._device)
        events = _events(found, hello, before, after)
        if job.get("operators"):
            events.insert(-1, {"event": "operators", **parse_operators(text, found.runs)})
        return Events(tuple(events))


@dataclass(frozen=True)
class Times:
    """What one run of benchmark_model tells, in µs; `first` is None where its edition does not."""

    init: float
    first: float | None
    inference: float
    runs: int
    is_median: bool


_NEW = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+), "
    r"Warmup \(avg\): ([\d.e+]+), Inference \(avg\): ([\d.e+]+)"
)
# The oldest ones call the last number "no stats".
_OLD = re.compile(
    r"Average inference timings in us: Warmup: ([\d.e+]+), Init: ([\d.e+]+), "
    r"(?:Inference|no stats): ([\d.e+]+)"
)
_COUNT = re.compile(r"^count=(\d+)(.*)$", re.MULTILINE)
_FIELD = re.compile(r"\b(\w+)=([\d.e+]+)")


def parse(text: str) -> Times | None:
    """What it printed, of either format; None if there are no times in it."""
    counts = _COUNT.findall(text)
    if not counts:
        return None
    fields = dict(_FIELD.findall(counts[-1][1]))
    runs, median = int(counts[-1][0]), fields.get("median")
    if new := _NEW.search(text):
        init, first, mean = float(new[1]), float(new[2]), float(new[4])
    elif old := _OLD.search(text):
        init, first, mean = float(old[2]), None, float(old[3])
    else:
        return None
    value = mean if median is None else float(median)
    return Times(init, first, value, runs, median is not None)


# [node type] [start] [first] [avg ms] [%] [cdf%] [mem KB] [times called] [Name]
_ROW = re.compile(
    r"^\s*(\S.*?)\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s+[\d.]+%\s+[\d.]+%\s+[\d.]+\s+(\d+)\s+(\S.*)$"
)


def parse_operators(text: str, runs: int) -> dict[str, Any]:
    """The keys of an "operators" event out of the last table "Run Order" that it printed.

    Its times are the mean of one run, in ms to the microsecond.
    """
    table = text.rpartition("Run Order")[2].partition("\n\n")[0] if "Run Order" in text else ""
    found = []
    for line in table.splitlines():
        if row := _ROW.match(line):
            kind, milliseconds, calls, name = row[1], float(row[2]), int(row[3]), row[4].strip()
            where = "delegate" if "elegate" in kind else "cpu"
            ns = round(milliseconds * 1e6 * runs)
            found.append(
                {"name": name, "kind": kind, "where": where, "calls": calls * runs, "ns": ns}
            )
    if not found:
        return {"unavailable": "this benchmark_model printed no table of operators"}
    return {"runs": runs, "total_ns": sum(each["ns"] for each in found), "operators": found}


_APPLIED = re.compile(r"Explicitly applied (\S+) delegate, and the model graph will be (\w+)")


def refuse_fallback(address: str, delegate: str, text: str) -> None:
    """Raise RejectedError unless an accelerator took the whole model, by what was printed."""
    if delegate != "gpu":
        return
    applied = _APPLIED.search(text)
    if applied is None:
        raise RejectedError(
            f"{address}: benchmark_model did not apply the GPU delegate: its times are the CPU's",
            hint="measure a variant for the CPU, or use a build of it with the GPU delegate",
        )
    if applied[2] != "completely":
        kernels = re.search(r"w/ (\d+) delegate kernels", text)
        raise RejectedError(
            f"{address}: the {applied[1]} delegate took the model only partially"
            + (f" ({kernels[1]} pieces)" if kernels else "")
            + "; the rest ran on the CPU",
            hint="edgekit report BUILD says which operators it does not take",
        )


def _events(
    found: Times, hello: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> list[dict[str, Any]]:
    if found.inference <= 0:
        raise DeviceError(f"benchmark_model told {found.inference:g} µs for an inference")
    what = "median" if found.is_median else "mean"
    load = {"ns": round(found.init * 1000)}
    return [
        {"event": "hello", "runner": PROGRAM, "runtime": PROGRAM, "runtime_version": "", **hello},
        {"event": "environment", "when": "before", **before},
        {"event": "load", **load, "inputs": [], "outputs": []},
        {"event": "first", "ns": None if found.first is None else round(found.first * 1000)},
        {
            "event": "samples",
            "stream": 0,
            "ns": [round(found.inference * 1000)],
            "summarized": f"the {what} of {found.runs} runs",
        },
        {"event": "interference", "own_cores": None, "other_cores": None},
        {"event": "memory"},
        {"event": "environment", "when": "after", **after},
        {"event": "done", "stopped": "enough"},
    ]
