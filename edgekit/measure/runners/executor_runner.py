"""ExecuTorch's own ``executor_runner``, where a board or a phone has it; 0.6 and newer.

    cmake -B cmake-out -DCMAKE_BUILD_TYPE=Release -DEXECUTORCH_ENABLE_LOGGING=ON \\
        -DEXECUTORCH_BUILD_DEVTOOLS=ON -DEXECUTORCH_ENABLE_EVENT_TRACER=ON \\
        -DEXECUTORCH_BUILD_XNNPACK=ON && cmake --build cmake-out --target executor_runner
    adb push cmake-out/executor_runner /data/local/tmp/
    edgekit profile BUILD --on adb: --runner executor-runner --operators

It needs no Python and has the backends that it is built with; what a backend does not know is
refused when the model is loaded. Times are those of its log, each inference's where its edition
tells it, else their mean; a build that logs nothing (which a release does unless it is told to) is
timed by the ETDump. The time of each operator is the ETDump's: a build with the event tracer. It
cannot be switched off there, so what is timed has it in it. Outputs are checked on the first
samples, where the edition writes them (1.0).
https://github.com/pytorch/executorch/blob/main/examples/portable/executor_runner/executor_runner.cpp
"""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from edgekit.core.errors import DeviceError, RejectedError, RuntimeMissingError
from edgekit.core.files import sha256_file
from edgekit.core.leftovers import removed_after
from edgekit.core.protocols import CommandResult, Device
from edgekit.measure.etdump import TracedRun, inferences, operators, read_etdump
from edgekit.measure.events import Events, budget_seconds
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.find import find_program
from edgekit.measure.runners.program import NO_CORES, fetch, not_understood, run_program
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look

PROGRAM = "executor_runner"
PLACES = ("~/executor_runner", "~/.edgekit/executor_runner", "/data/local/tmp/executor_runner")
CHECKED = 4  # samples, each is a process that loads the model
# In one launch: each is a line of the log; the tracer keeps some kilobytes of it till the end.
MOST_EXECUTIONS, MOST_TRACED = 300_000, 10_000
LONG_SECONDS = 30.0  # what is asked for this long is of interest for how it changes
PROFILED_RUNS = 50
_GRACE_SECONDS = 60
_GET = (
    "build it with -DEXECUTORCH_ENABLE_LOGGING=ON, and for the time of each operator with "
    "-DEXECUTORCH_BUILD_DEVTOOLS=ON -DEXECUTORCH_ENABLE_EVENT_TRACER=ON; put it to ~/ (on a phone: "
    "/data/local/tmp) and make it executable"
)
_TRACER = (
    "this executor_runner was built without the event tracer, it writes no ETDump; build it with "
    "-DEXECUTORCH_BUILD_DEVTOOLS=ON -DEXECUTORCH_ENABLE_EVENT_TRACER=ON"
)
_SILENT = "this executor_runner does not tell it"
_NEEDED = ("model_path", "num_executions", "cpu_threads")


def has_program(device: Device) -> bool:
    """Whether `device` has an executor_runner."""
    try:
        find_program(device, PROGRAM, PLACES, _GET)
    except RuntimeMissingError:
        return False
    return True


class ExecutorRunner:
    """``executor_runner``; implements `Runner`."""

    name = "executor-runner"
    runs: ClassVar[dict[str, tuple[str, ...]]] = {"executorch": ("xnnpack", "portable", "vulkan")}
    checks: int | None = CHECKED
    senses = False

    def __init__(
        self, device: Device, program: str, flags: frozenset[str], subject: Subject
    ) -> None:
        self._device, self._program, self._flags = device, program, flags
        self._subject = subject
        self._given = {"inputs"} <= flags and subject.check is not None
        self.checks = CHECKED if self._given and "output_file" in flags else 0
        self._ns: float | None = None  # of an inference, of the launch before

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Find the program and what it takes.

        Raises:
            RuntimeMissingError: it is not there, or too old.
        """
        program = find_program(device, PROGRAM, PLACES, _GET)
        said = device.run([program, "--help"], timeout_seconds=60)
        flags = parse_flags(said.stdout + said.stderr)
        if missing := [f"--{flag}" for flag in _NEEDED if flag not in flags]:
            old = "it is older than ExecuTorch 0.6: " if "model_path" in flags else ""
            raise RuntimeMissingError(
                f"{device.address}: {program} cannot be timed, {old}its --help tells of no "
                f"{', '.join(missing)}",
                hint=_GET,
            )
        return cls(device, program, flags, subject)

    def accept(self, job: Mapping[str, Any]) -> None:
        if job.get("batch") not in (None, 1) or job.get("streams", 1) != 1:
            raise RejectedError("executor_runner runs one stream, with the batch of the file")

    def run(self, job: Mapping[str, Any]) -> Events:
        self.accept(job)
        if job.get("operators") and "etdump_path" not in self._flags:
            raise RejectedError(f"{self._device.address}: {_TRACER}")
        deadline = time.monotonic() + budget_seconds(job)
        if job.get("outputs"):
            self._check(job, deadline)
        hello, before = look(self._device)
        timed = []
        if job.get("operators") or job.get("runs") or job.get("min_seconds"):
            with self._first_sample() as inputs:
                how = self._profile if job.get("operators") else self._time
                timed = how(job, inputs, deadline)
        _, after = look(self._device)
        return Events(tuple(_events(hello, before, after, timed)))

    # -- times

    def _time(
        self, job: Mapping[str, Any], inputs: Sequence[str], deadline: float
    ) -> list[dict[str, Any]]:
        """The events of a timed run: as many executions as the job's times need, by the launch
        before, or by a short one.
        """
        if self._ns is None:
            short = self._execute(job, inputs, max(3, job.get("warmup_runs", 0)), deadline)
            self._ns = short.typical_ns
        most = MOST_TRACED if "etdump_path" in self._flags else MOST_EXECUTIONS
        plan = planned(job, self._ns, deadline - time.monotonic(), most)
        every = int(job.get("sample_every", 1))
        long = every > 1 or job.get("min_seconds", 0) >= LONG_SECONDS
        if long and plan.stopped == "max_runs":  # of which this would be the start alone
            raise RejectedError(
                f"{self._device.address}: executor_runner is run at most {most} times a launch, "
                f"{most * self._ns / 1e9:.3g} s of this model: what it tells of each is kept",
                hint="ask for a shorter run, or name another runner with --runner",
            )
        found = self._execute(job, inputs, plan.warmup + plan.count, deadline)
        self._ns = found.typical_ns
        load: dict[str, Any] = {"ns": found.load_ns, "inputs": [], "outputs": []}
        if found.load_ns is None:
            load["unavailable"] = _SILENT
        first: dict[str, Any] = {"ns": None, "unavailable": _SILENT}
        if found.each_ns:
            first, stream = {"ns": found.each_ns[0]}, {"stream": 0}
            samples = found.each_ns[plan.warmup :][every - 1 :: every]
            times = [
                {"event": "warmup", **stream, "ns": found.each_ns[: plan.warmup]},
                {"event": "samples", **stream, "ns": samples},
            ]
        elif every != 1:
            raise RejectedError(
                f"{self._device.address}: this executor_runner gives one number over all its runs: "
                f"none can be left out of it (sample_every={every})",
                hint="take sample_every=1, or a build with the event tracer",
            )
        else:
            words = f"the mean of {found.count} runs, the first of them included"
            times = [
                {"event": "samples", "stream": 0, "ns": [found.typical_ns], "summarized": words}
            ]
        return [
            {"event": "load", **load},
            {"event": "first", **first},
            *times,
            {"event": "memory", **_memory(found)},
            {"event": "done", "stopped": plan.stopped},
        ]

    def _profile(
        self, job: Mapping[str, Any], inputs: Sequence[str], deadline: float
    ) -> list[dict[str, Any]]:
        found = self._execute(job, inputs, 1 + PROFILED_RUNS, deadline, traced=True)
        told = operators(found.traced, skip=1)
        return [{"event": "operators", **told}, {"event": "done", "stopped": "enough"}]

    def _execute(
        self,
        job: Mapping[str, Any],
        inputs: Sequence[str],
        count: int,
        deadline: float,
        *,
        traced: bool = False,
    ) -> Told:
        """Run the model `count` times in one process, and what that tells.

        The ETDump is fetched if `traced`, and where the log has no times in it.
        """
        dump = ""
        made: list[str] = []
        with removed_after(self._device, made):
            words = [f"--num_executions={count}", f"--cpu_threads={job.get('threads', 1)}", *inputs]
            if "etdump_path" in self._flags:
                dump = self._device.scratch()
                made.append(dump)
                words.append(f"--etdump_path={dump}")
            done = self._run(str(job["model"]), words, deadline)
            told = parse_log(done.stdout + done.stderr, count)
            if told.is_logged and not told.has_threads and job.get("threads", 1) > 1:
                raise RejectedError(
                    f"{self._device.address}: this executor_runner was built without a thread "
                    f"pool: it runs one thread, not {job['threads']}",
                    hint="--threads 1, or build it with EXECUTORCH_BUILD_PTHREADPOOL",
                )
            if traced or not told.count:
                told = self._traced(told, dump, count)
        return told

    def _traced(self, told: Told, dump: str, count: int) -> Told:
        """`told` with what the ETDump at `dump` tells; "" if there can be none."""
        if not dump and (told.has_threads or told.planned_bytes is not None):  # it logs
            raise not_understood(self._device, PROGRAM, "no times in its log", [self._program])
        if not dump:
            raise RuntimeMissingError(
                f"{self._device.address}: this executor_runner tells no times: it was built "
                "without logging and without the event tracer, or it is another program",
                hint=_GET,
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.etdump"
            fetch(self._device, dump, path, PROGRAM, [self._program])
            runs = read_etdump(path)
        each = tuple(inferences(runs))
        if len(each) != count:
            raise DeviceError(
                f"{self._device.address}: the ETDump tells of {len(each)} executions, not of the "
                f"{count} that were asked for"
            )
        return replace(told, count=count, each_ns=told.each_ns or each, traced=runs)

    def _run(self, model: str, words: Sequence[str], deadline: float) -> CommandResult:
        left = max(1.0, deadline - time.monotonic()) + _GRACE_SECONDS
        argv = [self._program, f"--model_path={model}", *words]
        if "print_output" in self._flags:
            argv.append("--print_output=none")
        fails = f"executor_runner does not run {self._subject.variant}"
        return run_program(
            self._device, argv, left, fails=fails, why=why_failed, silent=_why_silent
        )

    # -- inputs and outputs

    @contextlib.contextmanager
    def _first_sample(self) -> Iterator[list[str]]:
        """The flag for the first sample of the check set; none without one, it then takes ones."""
        if not self._given:
            yield []
            return
        made: list[str] = []
        with removed_after(self._device, made):
            yield self._pushed({name: rows[0] for name, rows in self._inputs(1).items()}, made)

    def _inputs(self, count: int) -> dict[str, np.ndarray[Any, Any]]:
        """The first `count` samples by name, in the order of the model's inputs."""
        assert self._subject.check is not None
        with np.load(self._subject.check, allow_pickle=False) as file:
            found = {n[3:]: file[n][:count] for n in file.files if n.startswith("in:")}
        if self._subject.names is None:
            return found
        return {name: found[name] for name in self._subject.names[0]}

    def _pushed(self, sample: Mapping[str, np.ndarray[Any, Any]], made: list[str]) -> list[str]:
        paths = []
        with tempfile.TemporaryDirectory() as folder:
            for values in sample.values():
                path = Path(folder) / "input"
                path.write_bytes(np.ascontiguousarray(values).tobytes())
                paths.append(self._device.push(path, sha256_file(path)))
        made += paths
        return [f"--inputs={','.join(paths)}"]

    def _check(self, job: Mapping[str, Any], deadline: float) -> None:
        """Write what it answers to the first samples as the .npz that is asked for."""
        assert self._subject.check is not None
        with np.load(self._subject.check, allow_pickle=False) as file:
            expected = {n[4:]: file[n] for n in file.files if n.startswith("out:")}
        if self._subject.names is not None:
            expected = {name: expected[name] for name in self._subject.names[1]}
        inputs = self._inputs(CHECKED)
        answers = [
            self._answer(job, {n: rows[i] for n, rows in inputs.items()}, expected, deadline)
            for i in range(len(next(iter(inputs.values()))))
        ]
        arrays: dict[str, Any] = {
            f"out:{name}": np.stack([answer[name] for answer in answers]) for name in expected
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outputs.npz"
            np.savez(path, **arrays)
            pushed = self._device.push(path, sha256_file(path))
        copied = self._device.run(["cp", pushed, str(job["outputs"])])
        self._device.remove(pushed)
        if copied.exit_code != 0:
            raise DeviceError(f"{self._device.address}: {copied.stderr.strip()[:300]}")

    def _answer(
        self,
        job: Mapping[str, Any],
        sample: Mapping[str, np.ndarray[Any, Any]],
        expected: Mapping[str, np.ndarray[Any, Any]],
        deadline: float,
    ) -> dict[str, np.ndarray[Any, Any]]:
        base = self._device.scratch()
        files = [f"{base}-{index}.bin" for index in range(len(expected))]
        made = [base, *files]
        with removed_after(self._device, made), tempfile.TemporaryDirectory() as folder:
            words = [*self._pushed(sample, made), f"--output_file={base}"]
            words.append(f"--cpu_threads={job.get('threads', 1)}")
            if "etdump_path" in self._flags:
                made.append(f"{base}.etdump")
                words.append(f"--etdump_path={base}.etdump")
            self._run(str(job["model"]), words, deadline)
            found = {}
            for remote, (name, rows) in zip(files, expected.items(), strict=True):
                path = Path(folder) / "answer"
                fetch(self._device, remote, path, PROGRAM, [self._program, *words])
                data = path.read_bytes()
                if len(data) != rows[0].nbytes:
                    raise DeviceError(
                        f"{self._device.address}: the output {name!r} has {len(data)} bytes there, "
                        f"{rows[0].nbytes} on this computer"
                    )
                found[name] = np.frombuffer(data, rows.dtype).reshape(rows.shape[1:])
            return found


@dataclass(frozen=True)
class Told:
    """What one process tells.

    Attributes:
        count: executions that times were told of; 0 if it told none.
        each_ns: ns of each, where the edition tells that.
        mean_ns: of all of them.
        load_ns: of the model; None where the edition does not tell it.
        is_logged: whether it logs at all.
        has_threads: whether it says that it sets the number of threads.
        planned_bytes: of the buffers that are planned for tensors; None if it does not log.
        traced: what the ETDump tells, if it was asked for.
    """

    count: int = 0
    each_ns: tuple[int, ...] = ()
    mean_ns: float | None = None
    load_ns: int | None = None
    is_logged: bool = False
    has_threads: bool = False
    planned_bytes: int | None = None
    traced: Sequence[TracedRun] = ()

    @property
    def typical_ns(self) -> int:
        """The median of an inference, or the mean where that is all."""
        if self.each_ns:
            return max(1, sorted(self.each_ns)[len(self.each_ns) // 2])
        return max(1, round(self.mean_ns or 0))


@dataclass(frozen=True)
class Plan:
    """How many executions are warm-up, how many count, and what bounds them."""

    warmup: int
    count: int
    stopped: str


def planned(job: Mapping[str, Any], ns: float, seconds: float, most: int = MOST_EXECUTIONS) -> Plan:
    """How many executions of about `ns` the job asks for, within `seconds` and at most `most`."""
    every = int(job.get("sample_every", 1))
    warmup = max(job.get("warmup_runs", 0), math.ceil(job.get("warmup_seconds", 0) * 1e9 / ns))
    wanted = max(job.get("runs", 1) * every, math.ceil(job.get("min_seconds", 0) * 1e9 / ns), every)
    warmup = min(warmup, most // 2)
    most = min(int(job.get("max_runs", most)) * every, most - warmup)
    stopped = "enough" if wanted <= most else "max_runs"
    count = min(wanted, most)
    room = int(max(0.0, seconds) * 1e9 / ns)
    if warmup + count > room:
        warmup = min(warmup, room // 10)
        count, stopped = max(every, room - warmup), "time_budget"
    return Plan(warmup, count, stopped)


# "I 00:00:00.001906 executorch:executor_runner.cpp:183] Model executed …". A build with
# EXECUTORCH_PAL_DEFAULT=android logs to logcat instead, which is nothing here.
_LINE = re.compile(r"^([DIEF]) \d+:\d+:\d+\.\d+ executorch:\S+\] (.*)$", re.MULTILINE)
_EACH = re.compile(r"\] Iteration (\d+) of (\d+): (\d+\.\d+) ms$", re.MULTILINE)
_ALL = re.compile(
    r"\] Model executed successfully (\d+) time\(s\) in (\d+\.\d+) ms\.?$", re.MULTILINE
)
_METHOD = "] Using method "  # before the buffers, of which there may be none
_LOAD = re.compile(r"\] Model loaded in (\d+\.\d+) ms\.?$", re.MULTILINE)
_PLANNED = re.compile(r"\] Setting up planned buffer \d+, size (\d+)\.$", re.MULTILINE)
_UNKNOWN = re.compile(
    r"^ERROR: (unknown command line flag '[^']*'|illegal value .*)$", re.MULTILINE
)
_FLAG = re.compile(r"^ +-([a-z_0-9]+) \(", re.MULTILINE)


def parse_flags(text: str) -> frozenset[str]:
    """The names of the flags that its ``--help`` tells of."""
    return frozenset(_FLAG.findall(text))


def parse_log(text: str, count: int) -> Told:
    """The times in the log of a run with `count` executions, whichever edition's it is."""
    each = tuple(round(float(ms) * 1e6) for _, of, ms in _EACH.findall(text) if int(of) == count)
    load = _LOAD.search(text)
    together = _ALL.search(text)
    is_told = together is not None and int(together[1]) == count
    return Told(
        count=count if is_told else 0,
        each_ns=each if len(each) == count else (),
        mean_ns=float(together[2]) * 1e6 / count if together and is_told else None,
        load_ns=round(float(load[1]) * 1e6) if load else None,
        is_logged=_LINE.search(text) is not None,
        planned_bytes=sum(map(int, _PLANNED.findall(text))) if _METHOD in text else None,
        has_threads="] Resetting threadpool with num threads" in text,
    )


def _memory(told: Told) -> dict[str, Any]:
    """The keys of a "memory" event."""
    keys = ("peak_bytes", "before_load_bytes", "model_rss_bytes", "model_pss_bytes", "swap_bytes")
    why = dict.fromkeys((*keys, "driver_bytes"), _SILENT)
    if told.planned_bytes is not None:
        return {"arena_bytes": told.planned_bytes, "unavailable": why}
    return {"unavailable": {**why, "arena_bytes": _SILENT}}


def _why_silent(text: str) -> str:
    is_logged = _LINE.search(text) is not None
    return "" if is_logged else "; it was built without logging, which would say why"


def why_failed(text: str) -> str:
    """What the log of a run that failed says of it; empty if it says nothing."""
    if unknown := _UNKNOWN.search(text):
        return (
            f"{unknown[1]}: another program of this name, or an edition that edgekit does not know"
        )
    said = [words for level, words in _LINE.findall(text) if level in "EF"]
    # The first error is the cause, the last one what it was for.
    return "; ".join(dict.fromkeys([*said[:1], *said[-1:]]))[:400]


def _events(
    hello: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    timed: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    done = timed[-1] if timed else {"event": "done", "stopped": "enough"}
    return [
        {
            "event": "hello",
            "runner": PROGRAM,
            "runtime": "executorch",
            "runtime_version": "",
            **hello,
        },
        {"event": "environment", "when": "before", **before},
        *timed[:-1],
        NO_CORES,
        {"event": "environment", "when": "after", **after},
        done,
    ]
