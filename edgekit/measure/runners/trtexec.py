"""NVIDIA's ``trtexec`` on a Jetson: builds the engine from the ``.onnx`` there, and times it.

    edgekit profile BUILD --on ssh://jetson --variant onnx-tensorrt-int8

An engine works only with the GPU and the TensorRT that built it, so it is built on the board,
once, and kept in the board's store under a name made of the model's digest, the version and the
flags. Samples are those of ``--exportTimes``: ``latencyMs``, from the host's memory to the GPU,
through the network, and back. Outputs are checked on the first samples of the check set, each in
a process of its own, through ``--loadInputs`` and ``--exportOutput``.
https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html
https://github.com/NVIDIA/TensorRT/blob/main/samples/common/sampleReporting.cpp (the JSON files)
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
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
from edgekit.measure.subject import Subject
from edgekit.measure.surroundings import look

PROGRAM = "trtexec"
PLACES = ("/usr/src/tensorrt/bin/trtexec", "~/trtexec")
BUILD_SECONDS = 3600.0  # an INT8 engine of a large network takes half an hour on an Orin Nano
_GRACE_SECONDS = 120
_STRONG = 10  # the first TensorRT with strong typing: numbers are those of the file
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

    def run(self, job: Mapping[str, Any]) -> Events:
        if job.get("batch") not in (None, 1):
            raise RejectedError("an engine is built for the batch of its file, which is 1")
        if job.get("streams", 1) != 1:  # its times do not say which stream they are of
            raise RejectedError("trtexec is timed with one stream only")
        deadline = time.monotonic() + budget_seconds(job)
        engine = self._engine or self._build(str(job["model"]))
        self._engine = engine
        if job.get("outputs"):
            self._check(engine, str(job["outputs"]), deadline)
        hello, before = look(self._device)
        timed = [] if not job.get("runs") else self._time(engine, job)
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
            self._run(argv, BUILD_SECONDS, "builds no engine")
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
            self._run([*argv, f"--exportOutput={answer}"], left, "does not run the engine")
            path = Path(folder) / "answer.json"
            self._device.pull(answer, path)
            return parse_outputs(path.read_text(encoding="utf-8", errors="replace"))

    # -- times

    def _time(self, engine: str, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The events of a timed run."""
        times, profile = self._device.scratch(), self._device.scratch()
        every = int(job.get("sample_every", 1))  # it times all of them
        argv = [
            self._program,
            f"--loadEngine={engine}",
            f"--iterations={job['runs'] * every}",
            f"--duration={math.ceil(job['min_seconds'])}",
            f"--warmUp={math.ceil(1000 * job['warmup_seconds'])}",
            f"--exportTimes={times}",
            *([f"--exportProfile={profile}"] if job.get("operators") else []),
        ]
        with removed_after(self._device, [times, profile]):
            done = self._run(argv, budget_seconds(job) + _GRACE_SECONDS, "does not run the engine")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "times.json"
                self._device.pull(times, path)
                samples = parse_times(path.read_text(encoding="utf-8", errors="replace"))
                layers = {}
                if job.get("operators"):
                    self._device.pull(profile, path)
                    layers = parse_profile(path.read_text(encoding="utf-8", errors="replace"))
        text = done.stdout + done.stderr
        return [
            {"event": "load", "ns": parse_load(text), "inputs": [], "outputs": []},
            {"event": "samples", "stream": 0, "ns": samples[every - 1 :: every]},
            *([{"event": "operators", **layers}] if layers else []),
        ]

    def _run(self, argv: Sequence[str], seconds: float, fails: str) -> CommandResult:
        """Run trtexec, which ends with 0 and "&&&& PASSED" if all went well."""
        done = self._device.run(argv, timeout_seconds=seconds)
        text = done.stdout + done.stderr
        if done.exit_code != 0 or "&&&& PASSED" not in text:
            errors = re.findall(r"\[E\]\s*(.+)", text)
            why = errors[0] if errors else f"it ended with {done.exit_code}"
            raise RejectedError(
                f"{self._device.address}: trtexec of TensorRT {self._version} {fails} "
                f"for {self._subject.variant}: {why.strip()[:300]}",
                hint=f"by hand, on the device: {shlex.join(argv)}",
            )
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
            {"event": "first", "ns": None},
            {"event": "interference", "own_cores": None, "other_cores": None},
            {"event": "memory"},
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


def parse_times(text: str) -> list[int]:
    """ns of each inference in a file of ``--exportTimes``.

    Raises:
        DeviceError: it is no such file, or it is empty.
    """
    try:
        found = [round(float(entry["latencyMs"]) * 1e6) for entry in json.loads(text)]
    except (ValueError, TypeError, KeyError, OverflowError) as exc:
        raise DeviceError(f"trtexec wrote no times that can be read: {text[:200]!r}") from exc
    if not found or min(found) <= 0:
        raise DeviceError(f"trtexec wrote {len(found)} times, not all of them above zero")
    return found


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
