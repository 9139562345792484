"""TFLite's own ``benchmark_model``, where a phone or a board has it.

    adb push benchmark_model /data/local/tmp/ && adb shell chmod +x /data/local/tmp/benchmark_model
    edgekit profile BUILD --on adb: --runner benchmark-model

It needs no Python, runs on Android, and applies the GPU delegate; it keeps no samples (a launch
gives one number, the mean over its runs) and does not show the model's outputs, so that these are
not checked there. A delegate that it does not apply to the whole model ends the measurement.

Its peak of memory is that of a short launch beside the first one, which is not timed: what asks for
it, ``--report_peak_memory_footprint``, starts a thread that reads getrusage's ru_maxrss.
https://github.com/tensorflow/tensorflow/tree/master/tensorflow/lite/tools/benchmark
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from edgekit.core.errors import (
    DeviceError,
    RejectedError,
    RuntimeMissingError,
    TransientDeviceError,
)
from edgekit.core.files import readable_bytes
from edgekit.core.protocols import Device
from edgekit.measure.events import Events, budget_seconds
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.find import find_program
from edgekit.measure.runners.program import NO_CORES, not_understood, run_program
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look

PROGRAM = "benchmark_model"
PLACES = ("~/benchmark_model", "~/.edgekit/benchmark_model", "/data/local/tmp/benchmark_model")
FLAGS = {"xnnpack": (), "cpu": ("--use_xnnpack=false",), "gpu": ("--use_gpu=true",)}
_GRACE_SECONDS = 60
# As a child of a small shell, not in its place: Linux keeps ru_maxrss over exec, so that otherwise
# it would be at least that of who starts it, edgekit's own Python or sshd.
_OF_A_SHELL = '"$@"; exit $?'
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
        self._weighed = False  # whether its memory was told

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Find the program.

        Raises:
            RuntimeMissingError: it is not there.
        """
        return cls(device, find_program(device, PROGRAM, PLACES, _GET), subject.delegate)

    def accept(self, job: Mapping[str, Any]) -> None:
        if job.get("batch") not in (None, 1) or job.get("streams", 1) != 1:
            raise RejectedError("benchmark_model runs one stream with a batch of 1")
        if job.get("sample_every", 1) != 1:
            raise RejectedError(
                "benchmark_model gives one number over all its runs: none can be left out of it "
                f"(sample_every={job['sample_every']})",
                hint="take sample_every=1, or name another runner with --runner",
            )

    def run(self, job: Mapping[str, Any]) -> Events:
        self.accept(job)
        hello, before = look(self._device)
        budget = budget_seconds(job)
        most = max(budget / 2, job["min_seconds"])  # for the warm-up, and again for what counts
        argv = [
            *self._argv(job),
            f"--num_runs={max(1, job['runs'])}",
            f"--min_secs={job['min_seconds']}",
            f"--max_secs={most}",
            f"--warmup_runs={max(1, job['warmup_runs'])}",
            f"--warmup_min_secs={job['warmup_seconds']}",
            *(["--enable_op_profiling=true"] if job.get("operators") else []),
        ]
        text = self._run(argv, budget + _GRACE_SECONDS)
        found = parse(text)
        if found is None or found.inference <= 0:
            raise not_understood(self._device, PROGRAM, "no times", argv)
        refuse_fallback(self._device.address, self._delegate, text)
        _, after = look(self._device)
        stopped = "enough" if found.runs >= job["runs"] else "time_budget"
        more = [{"event": "memory", **self._memory(job)}]
        if job.get("operators"):
            more.append({"event": "operators", **parse_operators(text, found.runs)})
        return Events(tuple(_events(found, hello, before, after, more, stopped)))

    def _argv(self, job: Mapping[str, Any]) -> list[str]:
        graph, threads = f"--graph={job['model']}", f"--num_threads={job['threads']}"
        return [self._program, graph, threads, *FLAGS[self._delegate]]

    def _run(self, argv: Sequence[str], seconds: float) -> str:
        fails = "benchmark_model does not run the model"
        done = run_program(self._device, argv, seconds, fails=fails, why=why_failed)
        return done.stdout + done.stderr

    def _memory(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The keys of a "memory" event, by a launch of its own, once."""
        if self._weighed:
            return _no_memory("told once, beside the first launch")
        self._weighed = True
        few = ["--num_runs=1", "--min_secs=0", "--warmup_runs=1", "--warmup_min_secs=0"]
        argv = [*self._argv(job), *few, "--report_peak_memory_footprint=true"]
        argv = ["sh", "-c", _OF_A_SHELL, "sh", *argv]
        try:
            return parse_memory(self._run(argv, budget_seconds(job) + _GRACE_SECONDS))
        except TransientDeviceError:
            raise
        except (RejectedError, DeviceError) as exc:  # the times are there, and stay
            return _no_memory(f"a launch that asks for it fails: {exc.message}")


@dataclass(frozen=True)
class Times:
    """What one run of benchmark_model tells, in µs; `first` is None where its edition does not."""

    init: float
    first: float | None
    inference: float
    runs: int
    is_median: bool


# Since TensorFlow 2.6 each line has its severity before it.
_SEVERITY = re.compile(r"^(?:VERBOSE|INFO|WARN(?:ING)?): ", re.MULTILINE)
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
    """What it printed, of any edition's format; None if there are no times in it."""
    text = _SEVERITY.sub("", text)
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


def why_failed(text: str) -> str:
    """What its errors in `text` say, without the last line of each that failed; "" if nothing."""
    said = [words.strip() for words in re.findall(r"\bERROR\b:?(.+)$", text, re.MULTILINE)]
    said = [words for words in said if words != "Benchmarking failed."]
    # The first error is the cause, the last one what it was for.
    return "; ".join(dict.fromkeys([*said[:1], *said[-1:]]))


_GROWN = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) "
    r"\(MB\): init=([\d.e+-]+) overall=([\d.e+-]+)"
)
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: ([\d.e+]+)")
_MIB = 1 << 20  # what it calls MB


def parse_memory(text: str) -> dict[str, Any]:
    """The keys of a "memory" event of a launch with ``--report_peak_memory_footprint``.

    It tells the largest resident memory of its process ("peak") and by how much that grew since
    just before the model was loaded ("overall"); old editions only the latter.
    """
    peak, grown = _PEAK.search(text), _GROWN.search(text)
    if peak is None:
        why = "this benchmark_model tells no peak of memory"
        if grown:
            size = readable_bytes(round(float(grown[2]) * _MIB))
            why += f", only that it grew by {size} from before the load"
        return _no_memory(why)
    found: dict[str, Any] = {"peak_bytes": round(float(peak[1]) * _MIB)}
    if grown:
        found["before_load_bytes"] = round((float(peak[1]) - float(grown[2])) * _MIB)
    return found


def _no_memory(why: str) -> dict[str, Any]:
    return {"unavailable": dict.fromkeys(("peak_bytes", "before_load_bytes"), why)}


# [node type] [start] [first] [avg ms] [%] [cdf%] [mem KB] [times called] [Name]; the start was left
# out in 2022. The mean is of one call.
_ROW = re.compile(
    r"^\s*(\S.*?)(?:\s+[\d.]+)?\s+[\d.]+\s+([\d.]+)\s+[\d.]+%\s+[\d.]+%\s+[\d.]+\s+(\d+)\s+(\S.*)$"
)
_OF_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"


def parse_operators(text: str, runs: int) -> dict[str, Any]:
    """The keys of an "operators" event out of the table "Run Order" of the regular runs, which is
    the last one where these have no headline.

    Its times are in ms to the microsecond. What a delegate tells of its inside in a table of its
    own ("Delegate internal") is in the delegate's time already.
    """
    headed = text.rpartition(_OF_RUNS)
    tables = headed[2].partition("Delegate internal:")[0]
    order = tables.partition("Run Order") if headed[1] else tables.rpartition("Run Order")
    table = order[2].partition("\n\n")[0] if order[1] else ""
    found = []
    for line in table.splitlines():
        if row := _ROW.match(line):
            kind, milliseconds, calls, name = row[1], float(row[2]), int(row[3]), row[4].strip()
            inside = "elegate" in kind or name.startswith("Delegate/")
            where = "delegate" if inside else "cpu"
            ns = round(milliseconds * 1e6 * calls * runs)
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
    found: Times,
    hello: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    more: list[dict[str, Any]],
    stopped: str,
) -> list[dict[str, Any]]:
    what = "median" if found.is_median else "mean"
    first: dict[str, Any] = {"ns": None, "unavailable": "this benchmark_model does not tell it"}
    if found.first is not None:
        first = {"ns": round(found.first * 1000)}
    return [
        {"event": "hello", "runner": PROGRAM, "runtime": PROGRAM, "runtime_version": "", **hello},
        {"event": "environment", "when": "before", **before},
        {"event": "load", "ns": round(found.init * 1000), "inputs": [], "outputs": []},
        {"event": "first", **first},
        {
            "event": "samples",
            "stream": 0,
            "ns": [round(found.inference * 1000)],
            "summarized": f"the {what} of {found.runs} runs",
        },
        NO_CORES,
        *more,
        {"event": "environment", "when": "after", **after},
        {"event": "done", "stopped": stopped},
    ]
