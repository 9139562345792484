"""NVIDIA's ``trtexec`` on a Jetson: builds the engine from the ``.onnx`` there, and times it.

    edgekit profile BUILD --on ssh://jetson --variant onnx-tensorrt-int8

An engine works only with the GPU and the TensorRT that built it, so it is built on the board,
once, and kept in the board's store under a name made of the model's digest, the version and the
flags. Samples are those of ``--exportTimes``: ``latencyMs``, from the host's memory to the GPU,
through the network, and back, without those of the warm-up. Outputs are checked on the first
samples of the check set, each in a process of its own, through ``--loadInputs`` and
``--exportOutput``.
https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html
https://github.com/NVIDIA/TensorRT/blob/main/samples/common/sampleReporting.cpp (the JSON files)
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from edgekit.core.errors import DeviceError, RejectedError
from edgekit.core.files import sha256_file
from edgekit.core.leftovers import removed_after
from edgekit.core.protocols import CommandResult, Device
from edgekit.measure.events import Events, budget_seconds
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.find import find_program
from edgekit.measure.runners.program import NO_CORES, fetch, not_understood, run_program
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look

PROGRAM = "trtexec"
PLACES = ("/usr/src/tensorrt/bin/trtexec", "~/trtexec")
BUILD_SECONDS = 3600.0  # an INT8 engine of a large network takes half an hour on an Orin Nano
_GRACE_SECONDS = 120
_STRONG = 10  # the first TensorRT with strong typing: numbers are those of the file
_IN_FLIGHT = 2  # may be counted as iterations and begin in the warm-up
_SILENT = "trtexec does not tell it"
_OLD_FLAGS = {"none": (), "float16": ("--fp16",), "int8": ("--int8", "--fp16")}


class TrtexecRunner:
    """``trtexec``; implements `Runner`."""

    name = "trtexec"
    runs: ClassVar[dict[str, tuple[str, ...]]] = {"onnx": ("tensorrt",)}
    checks = 4  # each is a process that loads the engine
    senses = False

    def __init__(self, device: Device, program: str, version: str, subject: Subject) -> None:
        self._device, self._program, self._version = device, program, version
        self._subject = subject
        self._engine = ""

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Find the program and its version.

        Raises:
            RuntimeMissingError: it is not there.
            DeviceError: it does not say its version.
        """
        program = find_program(
            device, PROGRAM, PLACES, "on a Jetson: sudo apt install nvidia-jetpack"
        )
        said = device.run([program, "--help"], timeout_seconds=120)
        version = parse_version(said.stdout + said.stderr)
        if version is None:
            raise DeviceError(
                f"{device.address}: {program} does not say which TensorRT it is of",
                hint=f"by hand, on the device: {program} --help",
            )
        return cls(device, program, version, subject)

    def accept(self, job: Mapping[str, Any]) -> None:
        if job.get("batch") not in (None, 1):
            raise RejectedError("an engine is built for the batch of its file, which is 1")
        if job.get("streams", 1) != 1:  # its times do not say which stream they are of
            raise RejectedError("trtexec is timed with one stream only")

    def run(self, job: Mapping[str, Any]) -> Events:
        self.accept(job)
        deadline = time.monotonic() + budget_seconds(job)
        engine = self._engine or self._build(str(job["model"]))
        self._engine = engine
        if job.get("outputs"):
            self._check(engine, str(job["outputs"]), deadline)
        hello, before = look(self._device)
        timed: list[dict[str, Any]] = []
        if job.get("runs"):
            how = self._profile if job.get("operators") else self._time
            timed = how(engine, job)
        _, after = look(self._device)
        return Events(tuple(self._events(hello, before, after, timed)))

    # -- the engine

    def _build(self, model: str) -> str:
        """The engine for `model`; built there unless it was before."""
        flags = self._flags()
        known = f"{self._subject.sha256}\n{self._version}\n{' '.join(flags)}\n"
        name = hashlib.sha256(f"tensorrt engine\n{known}".encode()).hexdigest()
        target = f"{model.rpartition('/')[0]}/{name}"
        if self._device.run(["test", "-s", target]).exit_code == 0:
            self._device.run(["touch", target])
            return target
        part = self._device.scratch()
        with removed_after(self._device, [part]):
            argv = [self._program, f"--onnx={model}", f"--saveEngine={part}", *flags]
            argv.append("--skipInference" if self._major >= 9 else "--buildOnly")
            self._run(argv, BUILD_SECONDS, "build an engine")
            moved = self._device.run(["mv", "-f", part, target])
            if moved.exit_code != 0:
                raise DeviceError(f"{self._device.address}: {moved.stderr.strip()[:300]}")
        return target

    @property
    def _major(self) -> int:
        return int(self._version.partition(".")[0])

    def _flags(self) -> tuple[str, ...]:
        if self._major >= _STRONG:
            return ("--stronglyTyped",)
        return _OLD_FLAGS.get(self._subject.quantization, ())

    # -- outputs

    def _check(self, engine: str, outputs: str, deadline: float) -> None:
        """Write what the engine answers to the first samples as the .npz that is asked for."""
        assert self._subject.check is not None
        with np.load(self._subject.check, allow_pickle=False) as file:
            inputs = {n[3:]: file[n][: self.checks] for n in file.files if n.startswith("in:")}
            types = {n: file[n].dtype for n in file.files if n.startswith("out:")}
        count = len(next(iter(inputs.values())))
        answers = [
            self._answer(engine, {name: rows[i] for name, rows in inputs.items()}, deadline)
            for i in range(count)
        ]
        arrays = {f"out:{name}": np.stack([a[name] for a in answers]) for name in answers[0]}
        arrays = {n: rows.astype(types.get(n, rows.dtype)) for n, rows in arrays.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outputs.npz"
            np.savez(path, **arrays)  # type: ignore[arg-type] # numpy's stub takes no ** here
            pushed = self._device.push(path, sha256_file(path))
        copied = self._device.run(["cp", pushed, outputs])
        self._device.remove(pushed)
        if copied.exit_code != 0:
            raise DeviceError(f"{self._device.address}: {copied.stderr.strip()[:300]}")

    def _answer(
        self, engine: str, sample: Mapping[str, np.ndarray[Any, Any]], deadline: float
    ) -> dict[str, np.ndarray[Any, Any]]:
        answer = self._device.scratch()
        made, given = [answer], []
        with removed_after(self._device, made), tempfile.TemporaryDirectory() as folder:
            for name, values in sample.items():
                path = Path(folder) / "input"
                path.write_bytes(np.ascontiguousarray(values).tobytes())
                made.append(self._device.push(path, sha256_file(path)))
                given.append(f"{name}:{made[-1]}")
            argv = [self._program, f"--loadEngine={engine}", f"--loadInputs={','.join(given)}"]
            argv += ["--iterations=1", "--duration=0", "--warmUp=0"]
            left = max(1.0, deadline - time.monotonic())
            self._run([*argv, f"--exportOutput={answer}"], left, "run the engine")
            path = Path(folder) / "answer.json"
            fetch(self._device, answer, path, PROGRAM, argv)
            return parse_outputs(path.read_text(encoding="utf-8", errors="replace"))

    # -- times

    def _time(self, engine: str, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The events of a timed run.

        trtexec knows a time of warm-up and no number, so that the first of the others are left out.
        """
        times = self._device.scratch()
        every = int(job.get("sample_every", 1))  # it times all of them
        wanted, warmup_runs = job["runs"] * every, job["warmup_runs"]
        warmup_ms = math.ceil(1000 * job["warmup_seconds"])
        argv = [
            self._program,
            f"--loadEngine={engine}",
            f"--iterations={warmup_runs + wanted + _IN_FLIGHT}",
            f"--duration={math.ceil(job['min_seconds'])}",
            f"--warmUp={warmup_ms}",
            f"--exportTimes={times}",
        ]
        with removed_after(self._device, [times]):
            done = self._timed(argv, job)
            warm, found = parse_times(self._pulled(times, argv), warmup_ms)
        warm, found = warm + found[:warmup_runs], found[warmup_runs:]
        if len(found) < wanted:
            what = f"{len(found)} times after the warm-up, where {wanted} were asked for"
            raise not_understood(self._device, PROGRAM, what, argv)
        text = done.stdout + done.stderr
        load = parse_load(text)
        return [
            {"event": "load", "inputs": [], "outputs": [], "ns": load}
            | ({} if load else {"unavailable": _SILENT}),
            {"event": "warmup", "stream": 0, "ns": warm},
            {"event": "samples", "stream": 0, "ns": found[every - 1 :: every]},
            {"event": "memory", **parse_memory(text)},
        ]

    def _profile(self, engine: str, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The event of one with the profiler, in which trtexec writes no times of inferences."""
        profile = self._device.scratch()
        argv = [self._program, f"--loadEngine={engine}", f"--iterations={job['runs']}"]
        argv += [f"--duration={math.ceil(job['min_seconds'])}", f"--exportProfile={profile}"]
        with removed_after(self._device, [profile]):
            self._timed(argv, job)
            return [{"event": "operators", **parse_profile(self._pulled(profile, argv))}]

    def _timed(self, argv: Sequence[str], job: Mapping[str, Any]) -> CommandResult:
        return self._run(argv, budget_seconds(job) + _GRACE_SECONDS, "run the engine")

    def _pulled(self, remote: str, argv: Sequence[str]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "told.json"
            fetch(self._device, remote, path, PROGRAM, argv)
            return path.read_text(encoding="utf-8", errors="replace")

    def _run(self, argv: Sequence[str], seconds: float, what: str) -> CommandResult:
        """Run trtexec, which ends with 0 and "&&&& PASSED" if all went well."""
        fails = f"trtexec of TensorRT {self._version} does not {what} for {self._subject.variant}"
        done = run_program(self._device, argv, seconds, fails=fails, why=why_failed)
        if "&&&& PASSED" not in done.stdout + done.stderr:
            raise not_understood(self._device, PROGRAM, "no last line that says PASSED", argv)
        return done

    def _events(
        self,
        hello: dict[str, Any],
        before: dict[str, Any],
        after: dict[str, Any],
        timed: list[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        return [
            {
                "event": "hello",
                "runner": PROGRAM,
                "runtime": "tensorrt",
                "runtime_version": self._version,
                **hello,
            },
            {"event": "environment", "when": "before", **before},
            *timed,
            {"event": "first", "ns": None, "unavailable": _SILENT},
            NO_CORES,
            {"event": "environment", "when": "after", **after},
            {"event": "done", "stopped": "enough"},
        ]


def parse_version(text: str) -> str | None:
    """ "10.3.0" of what trtexec prints first: ``[TensorRT v100300]``, before version 10 ``v8502``.

    The number is major * 10000 + minor * 100 + patch since 10.0, major * 1000 + … before.
    """
    found = re.search(r"\[TensorRT v(\d+)\]", text)
    if found is None:
        return None
    number = int(found[1])
    major, rest = divmod(number, 10_000) if number >= 100_000 else divmod(number, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def parse_load(text: str) -> int | None:
    """ns to load the engine, of ``Engine deserialized in 0.0051 sec.``; None if it is not told."""
    found = re.search(r"Engine (?:deserialized|loaded) in ([\d.e+-]+) sec", text)
    return round(float(found[1]) * 1e9) if found else None


def parse_times(text: str, warmup_ms: float = 0) -> tuple[list[int], list[int]]:
    """ns of each inference in a file of ``--exportTimes``: of the warm-up, and of the others.

    Older editions have those of the warm-up in it, too; they begin in its first `warmup_ms`, which
    is how trtexec itself tells them apart.

    Raises:
        DeviceError: it is no such file, or it is empty.
    """
    try:
        warm: list[int] = []
        found: list[int] = []
        for entry in json.loads(text):
            begun = float(entry["startComputeMs"])
            (warm if begun < warmup_ms else found).append(round(float(entry["latencyMs"]) * 1e6))
    except (ValueError, TypeError, KeyError, OverflowError) as exc:
        raise DeviceError(f"trtexec wrote no times that can be read: {text[:200]!r}") from exc
    if not found or min(found) <= 0:
        raise DeviceError(f"trtexec wrote {len(found)} times, not all of them above zero")
    return warm, found


_CONTEXT = re.compile(r"Created execution context with device memory size: ([\d.e+-]+) MiB")
_MANAGED = re.compile(r"\[MemUsageChange\] TensorRT-managed allocation.+GPU (\d+) \(MiB\)")


def parse_memory(text: str) -> dict[str, Any]:
    """The keys of a "memory" event of what it logs; newer editions tell the context's memory.

    That is what TensorRT has planned for activations and scratch. Of the GPU's memory it tells, in
    whole MiB, only what it allocates itself: neither CUDA's own nor that of inputs and outputs.
    """
    keys = ("peak_bytes", "before_load_bytes", "model_rss_bytes", "model_pss_bytes", "swap_bytes")
    why = dict.fromkeys((*keys, "arena_bytes", "driver_bytes"), _SILENT)
    if managed := _MANAGED.findall(text):
        why["driver_bytes"] = (
            f"trtexec tells only what TensorRT allocates itself, {managed[-1]} MiB of the GPU's"
        )
    context = _CONTEXT.search(text)
    if context is None:
        return {"unavailable": why}
    del why["arena_bytes"]
    return {"arena_bytes": round(float(context[1]) * 2**20), "unavailable": why}


def why_failed(text: str) -> str:
    """The first error in `text`, which is the cause; "" if there is none."""
    found = re.search(r"\[E\]\s*(.+)", text)
    return found[1].strip() if found else ""


def parse_profile(text: str) -> dict[str, Any]:
    """The keys of an "operators" event out of a file of ``--exportProfile``.

    It holds a count of runs, then a name and a time in ms over all of them for each layer of the
    engine, which may be several of the model's fused.

    Raises:
        DeviceError: it is no such file.
    """
    try:
        head, *layers = json.loads(text)
        runs = int(head["count"])
        found = [
            {
                "name": str(layer["name"]),
                "kind": str(layer["name"]),
                "where": "gpu",
                "calls": runs,
                "ns": round(float(layer["timeMs"]) * 1e6),
            }
            for layer in layers
        ]
    except (ValueError, TypeError, KeyError, OverflowError) as exc:
        raise DeviceError(f"trtexec wrote no profile that can be read: {text[:200]!r}") from exc
    return {"runs": runs, "total_ns": sum(each["ns"] for each in found), "operators": found}


def parse_outputs(text: str) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays by name in a file of ``--exportOutput``, without the batch of one.

    Each entry has "name", "dimensions" ("1x10") and "values"; NaN and infinity are written as C++
    prints them.

    Raises:
        DeviceError: it is no such file.
    """
    legal = re.sub(r"(?<=[\s,\[])(-?)(nan|inf)(?=[\s,\]])", _json_name, text)
    try:
        found = {}
        for entry in json.loads(legal):
            shape = [int(size) for size in entry["dimensions"].split("x")]
            values = np.array(entry["values"], np.float32).reshape(shape)
            found[entry["name"]] = values[0] if shape[0] == 1 and len(shape) > 1 else values
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise DeviceError(f"trtexec wrote no outputs that can be read: {text[:200]!r}") from exc
    return found


def _json_name(found: re.Match[str]) -> str:
    return found[1] + {"nan": "NaN", "inf": "Infinity"}[found[2]]
