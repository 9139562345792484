"""What every runner keeps to: the events that answer a job, and what is refused and how.

A test class inherits `RunnerContract`, or `TFLiteContract` if it runs .tflite with ai-edge-litert.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.export import flatbuffer
from tests.tflite_graphs import Graph, cnn, loop, running_sum
from tests.tiny_tflite import dense_model

Event = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """A runner that is started by `argv` and the path of a job.

    Attributes:
        sampler: for a job's "sensors".
        names: for all jobs, where the file keeps none.
    """

    argv: tuple[str, ...]
    sampler: str = ""
    names: dict[str, list[str]] | None = None

    def run(self, job: Any, env: dict[str, str] | None = None) -> tuple[int, list[Event]]:
        """Exit status and events for a job, which may be bytes that are none."""
        if isinstance(job, dict) and self.names is not None:
            job = {"names": self.names, **job}
        done = subprocess.run(
            [*self.argv, "-"],
            input=job if isinstance(job, bytes) else json.dumps(job).encode(),
            capture_output=True,
            check=False,
            env={**os.environ, **(env or {})},
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        lines = done.stdout.splitlines()
        assert all(line.startswith(b'{"event": ') for line in lines)
        return done.returncode, [json.loads(line) for line in lines]

    def good(self, job: dict[str, Any]) -> dict[str, Event]:
        """The events of a job that ends well, by name; the last one of each name."""
        code, events = self.run({"protocol": 2, **job})
        assert code == 0, events[-1]
        assert events[-1]["event"] == "done"
        return {event["event"]: event for event in events}

    def sensors(self, path: Path, **more: Any) -> dict[str, Any]:
        """A job's "sensors" that read the file `path`, with `more` in the place of its keys."""
        spec = {"channels": [{"files": [str(path)]}], "rate": 100}
        return {"sampler": self.sampler, "spec": spec, "idle_seconds": 0.3, **more}

    def error(self, job: Any) -> tuple[int, Event]:
        """Exit status and error event of a job that does not."""
        code, events = self.run({"protocol": 2, **job} if isinstance(job, dict) else job)
        assert events[-1]["event"] == "error"
        return code, events[-1]


def expected(path: Path, rows: np.ndarray) -> np.ndarray:
    """What ai-edge-litert's interpreter in Python gives for each row."""
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(str(path), num_threads=1)
    model.allocate_tensors()
    results = []
    for row in rows:
        model.set_tensor(0, row[None])
        model.invoke()
        results.append(model.get_tensor(3)[0].copy())
    return np.stack(results)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = (
    *("protocol", "runtime", "threads", "streams", "batch", "runs", "min_seconds"),
    *("sample_every", "names"),
)


# They compute on the CPU.
NO_DRIVER = {"driver_bytes": "no driver of a GPU or an NPU is open"}


class RunnerContract:
    """Fixtures to give: `program`; `model`, whose input x of four float32 gives an output y of
    three; `answers`, what the runtime in Python makes of rows for it; `overflowing`, the same where
    every answer is infinite.
    """

    RUNTIME: ClassVar = ("ai-edge-litert", "2.3.0")
    TENSOR: ClassVar = "x:0"  # the file's own name of x
    HEAD: ClassVar = b"    TFL3"  # of files of the format
    NO_ARENA: ClassVar = {"arena_bytes": "TFLite and LiteRT tell it neither in Python nor in C"}

    def test_the_events_in_order(self, program: Program, model: Path) -> None:
        job = {"protocol": 2, "model": str(model), "runs": 7, "warmup_runs": 3}
        _, events = program.run(job)
        assert [event["event"] for event in events] == [
            *("hello", "environment", "load", "first", "window", "warmup", "samples"),
            *("interference", "memory", "environment", "done"),
        ]
        hello, load = events[0], events[2]
        assert hello["protocol"] == 2
        assert (hello["runtime"], hello["runtime_version"]) == self.RUNTIME
        assert hello["cores"] == os.cpu_count()
        assert hello["usable_cores"] == len(os.sched_getaffinity(0))
        assert hello["machine"] == os.uname().machine
        assert hello["kernel"] == os.uname().release
        assert hello["memory_bytes"] > 2**27
        assert load["inputs"] == [
            {
                "name": "x",
                "tensor": self.TENSOR,
                "shape": [1, 4],
                "dtype": "float32",
                "scales": [],
                "zero_points": [],
            }
        ]
        window, warmup, samples = events[4:7]
        assert len(warmup["ns"]) == 3
        assert len(samples["ns"]) == 7
        assert all(ns > 0 for ns in samples["ns"])
        assert window["end_ns"] - window["start_ns"] >= sum(samples["ns"])
        if window["end_ns"] - window["start_ns"] < 1e8:  # it is, unless the computer stood still
            # too short to tell
            assert events[7] == {"event": "interference", "own_cores": None, "other_cores": None}
        assert events[8]["peak_bytes"] >= events[8]["before_load_bytes"] > 0
        # Little is in memory of a file of one page; a mapping has at least what was read of it.
        held, unavailable = events[8], events[8]["unavailable"]
        assert 0 < held["model_pss_bytes"] <= held["model_rss_bytes"] <= 2**20
        assert held["swap_bytes"] >= 0
        assert unavailable == {**self.NO_ARENA, **NO_DRIVER}
        assert held.get("arena_bytes", 0) > 0 or self.NO_ARENA
        before, after = events[1], events[9]
        assert (before["when"], after["when"]) == ("before", "after")
        told = before.keys() | before["unavailable"].keys()
        assert told >= {"governors", "cpu_khz", "temperatures_c", "load_average", "throttled"}

    def test_count_and_time_must_both_be_reached(self, program: Program, model: Path) -> None:
        times = {"min_seconds": 0.3, "warmup_seconds": 0.1}
        events = program.good({"model": str(model), "runs": 1, "max_runs": 10**8, **times})
        assert len(events["samples"]["ns"]) > 1
        assert len(events["warmup"]["ns"]) > 1
        assert events["done"]["stopped"] == "enough"
        assert events["interference"]["own_cores"] > 0
        assert events["interference"]["other_cores"] >= 0

    def test_nothing_is_timed_without_a_count_and_a_time(
        self, program: Program, model: Path
    ) -> None:
        events = program.good({"model": str(model), "runs": 0})
        assert "samples" not in events
        assert events["window"]["end_ns"] >= events["window"]["start_ns"]

    @pytest.mark.slow
    def test_streams_are_timed_together(self, program: Program, model: Path) -> None:
        code, events = program.run(
            {"protocol": 2, "model": str(model), "streams": 3, "runs": 5, "min_seconds": 2,
             "sample_every": 100, "max_runs": 10**7}
        )  # fmt: skip
        assert code == 0
        windows = [event for event in events if event["event"] == "window"]
        assert [window["stream"] for window in windows] == [0, 1, 2]
        # They wait for each other: all have begun before the first one ends.
        assert max(w["start_ns"] for w in windows) < min(w["end_ns"] for w in windows)
        assert {event["stream"] for event in events if event["event"] == "samples"} == {0, 1, 2}
        kinds = [event["event"] for event in events if event["event"] not in ("warmup", "samples")]
        assert kinds == [
            *("hello", "environment", "load", "first", "window", "window", "window"),
            *("interference", "memory", "environment", "done"),
        ]
        alone = program.good({"model": str(model), "runs": 5})["memory"]["peak_bytes"]
        memory = next(event for event in events if event["event"] == "memory")
        assert memory["peak_bytes"] > 2 * alone
        assert memory["model_rss_bytes"] > 0
        assert memory["unavailable"] == {**self.NO_ARENA, **NO_DRIVER}

    @pytest.mark.slow
    @pytest.mark.parametrize("streams", [1, 2])
    def test_sensors_are_read_from_before_the_load_to_after_the_last_run(
        self, program: Program, model: Path, tmp_path: Path, streams: int
    ) -> None:
        (tmp_path / "power1_input").write_text("2500000\n")
        job = {"protocol": 2, "model": str(model), "runs": 5, "min_seconds": 0.3}
        sensors = program.sensors(tmp_path / "power1_input", idle_seconds=1.0)
        code, events = program.run({**job, "streams": streams, "sensors": sensors})
        assert code == 0, events[-1]
        told = [event for event in events if event["event"] == "sensors"]
        idle, rows = told[0], [row for event in told[1:] for row in event["rows"]]
        assert [event["event"] for event in events[-2:]] == ["sensors", "done"]
        assert idle["problem"] == ""
        assert idle["idle_end_ns"] - idle["idle_start_ns"] >= 1e9
        window = next(event for event in events if event["event"] == "window")
        assert idle["idle_end_ns"] < window["start_ns"]
        readings = [row for row in rows if isinstance(row, list)]
        assert readings[0][1] < idle["idle_end_ns"]
        assert readings[-1][1] > window["end_ns"]  # the same clock, and one after the end
        assert {row[3][0] for row in readings} == {"2500000"}
        assert rows[-1]["ended"] == "asked"

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"sampler": "/no/sampler"}, "/no/sampler"),
            ({"spec": {"channels": []}}, "channels = []"),
        ],
    )
    def test_a_sampler_that_fails_leaves_the_times_alone(
        self, program: Program, model: Path, tmp_path: Path, more: dict[str, Any], said: str
    ) -> None:
        job = {"model": str(model), "runs": 5, "sensors": program.sensors(tmp_path, **more)}
        events = program.good(job)
        assert len(events["samples"]["ns"]) == 5
        assert "the sampler ended with" in events["sensors"]["problem"]
        assert said in events["sensors"]["problem"]

    def test_the_sampler_ends_where_the_run_fails(self, program: Program, tmp_path: Path) -> None:
        (tmp_path / "model.tflite").write_bytes(self.HEAD + b" and no model")
        mark = str(tmp_path / "stream")  # in its command line
        stream = f": '{mark}'; while :; do echo 1; sleep 0.05; done"
        spec = {"channels": [{"stream": ["sh", "-c", stream]}]}
        job = {"model": str(tmp_path / "model.tflite")}
        code, event = program.error({**job, "sensors": program.sensors(tmp_path, spec=spec)})
        assert (code, event["code"]) == (4, "model_refused")
        assert not [p.pid for p in psutil.process_iter(["cmdline"]) if mark in str(p.info)]

    def test_a_stream_that_fails_ends_all(self, program: Program, model: Path) -> None:
        code, last = program.error({"model": str(model), "streams": 3, "inputs": "/no/inputs.npz"})
        assert (code, last["code"]) == (2, "bad_inputs")

    def test_outputs_are_of_one_stream(self, program: Program, model: Path) -> None:
        code, last = program.error(
            {"model": str(model), "streams": 2, "inputs": "i", "outputs": "o"}
        )
        assert (code, last["code"]) == (2, "bad_job")
        assert "one stream" in last["message"]

    def test_of_a_long_run_every_so_many_th_is_timed(self, program: Program, model: Path) -> None:
        job = {"model": str(model), "runs": 20, "sample_every": 200}
        events = program.good(job)
        window = events["window"]["end_ns"] - events["window"]["start_ns"]
        assert len(events["samples"]["ns"]) == 20
        # 4000 inferences were run, whatever interrupted them
        assert window > 1000 * statistics.median(events["samples"]["ns"])
        code, last = program.error({**job, "sample_every": 0})
        assert (code, last["code"]) == (2, "bad_job")

    def test_operators_are_told_or_why_not(self, program: Program, model: Path) -> None:
        job = {"model": str(model), "runs": 3, "operators": True}
        told = program.good(job)["operators"]
        assert told.keys() in (
            {"event", "unavailable"},
            {"event", "runs", "total_ns", "operators"},
        )
        assert told.get("unavailable") != ""
        assert "one stream" in program.error({**job, "streams": 2})[1]["message"]

    def test_max_runs_ends_it(self, program: Program, model: Path) -> None:
        code, events = program.run(
            {"protocol": 2, "model": str(model), "runs": 5, "min_seconds": 60, "max_runs": 25_000}
        )
        assert code == 0
        samples = [event["ns"] for event in events if event["event"] == "samples"]
        assert [len(ns) for ns in samples] == [10_000, 10_000, 5_000]
        assert events[-1]["stopped"] == "max_runs"

    def test_the_time_budget_ends_it(self, program: Program, model: Path) -> None:
        job = {"model": str(model), "runs": 10**9, "max_runs": 10**9, "time_budget_seconds": 0.5}
        assert program.good(job)["done"]["stopped"] == "time_budget"

    def test_the_check_writes_all_outputs(
        self,
        program: Program,
        model: Path,
        tmp_path: Path,
        answers: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
        inputs, outputs = tmp_path / "in.npz", tmp_path / "out.npz"
        np.savez(inputs, **{"in:x": rows, "out:y": np.zeros((7, 3))})
        job = {"model": str(model), "inputs": str(inputs), "outputs": str(outputs), "runs": 0}
        events = program.good(job)
        assert events["check"]["samples"] == 7
        assert events["check"]["finite"] is True
        with np.load(outputs) as file:
            np.testing.assert_array_equal(file["out:y"], answers(rows))

    @pytest.mark.parametrize("key", ["x:0", "anything"])
    def test_the_only_input_needs_no_exact_name(
        self, program: Program, model: Path, tmp_path: Path, key: str
    ) -> None:
        np.savez(tmp_path / "in.npz", **{key: np.zeros((1, 1, 4), np.float32)})
        program.good({"model": str(model), "inputs": str(tmp_path / "in.npz")})

    def test_outputs_that_are_not_finite_are_said(
        self, program: Program, overflowing: Path, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "in.npz", **{"in:x": np.ones((2, 4), np.float32)})
        job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")}
        events = program.good({"model": str(overflowing), **job})
        assert events["first"]["finite"] is False
        assert events["first"]["not_finite"] == [{"name": "y", "not_finite": 3, "of": 3}]
        assert events["check"]["not_finite"] == [{"name": "y", "not_finite": 6, "of": 6}]

    def test_outputs_that_cannot_be_written(
        self, program: Program, model: Path, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "in.npz", x=np.zeros((1, 4), np.float32))
        job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "no" / "out.npz")}
        code, event = program.error({"model": str(model), **job})
        assert (code, event["code"]) == (5, "cannot_write")

    def test_no_model_at_all(self, program: Program, tmp_path: Path) -> None:
        (tmp_path / "model.tflite").write_bytes(b"nothing of the kind")
        code, event = program.error({"model": str(tmp_path / "model.tflite")})
        assert (code, event["code"]) == (4, "model_refused")

    def test_a_batch_that_the_model_cannot_take(self, program: Program, model: Path) -> None:
        assert program.error({"model": str(model), "batch": 2**40})[1]["code"] == "model_refused"

    @pytest.mark.parametrize("more", [0, 1, 55, 56, 63, 64, 70_000])
    def test_the_digest(self, program: Program, model: Path, more: int) -> None:
        # whatever the length of the last block of SHA-256 is
        model.write_bytes(model.read_bytes() + bytes(more))
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        program.good({"model": str(model), "sha256": digest})

    def test_another_digest(self, program: Program, model: Path) -> None:
        code, event = program.error({"model": str(model), "sha256": "0" * 64})
        assert (code, event["code"]) == (4, "model_changed")

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"surprise": 1}, "surprise"),
            ({"protocol": 1}, "protocol 1"),
            ({"model": None}, "model"),
            ({"model": 5}, "model"),
            ({"model": ""}, "model"),
            ({"model": "/no/such/file"}, "/no/such/file"),
            ({"model": "/"}, "'/'"),
            ({"runtime": "onnx"}, "'onnx'"),
            ({"threads": 0}, "threads"),
            ({"threads": None}, "threads"),
            ({"threads": True}, "threads"),
            ({"threads": "2"}, "threads"),
            ({"streams": 0}, "streams"),
            ({"operators": 1}, "operators"),
            ({"operators": None}, "operators"),
            ({"operators": True, "streams": "2"}, "streams"),
            ({"batch": 0}, "batch"),
            ({"sample_every": 0}, "sample_every"),
            ({"runs": -1}, "runs"),
            ({"runs": 1.5}, "runs"),
            ({"runs": 1.0}, "runs"),
            ({"runs": 10**6}, "max_runs"),
            ({"max_runs": 0}, "max_runs"),
            ({"min_seconds": -1}, "min_seconds"),
            ({"min_seconds": "1"}, "min_seconds"),
            ({"min_seconds": None}, "min_seconds"),
            ({"warmup_seconds": True}, "warmup_seconds"),
            ({"time_budget_seconds": 0}, "time_budget_seconds"),
            ({"names": {"inputs": ["x"]}}, "names"),
            ({"names": {"inputs": ["x"], "outputs": [5]}}, "names"),
            ({"outputs": "x.npz"}, "outputs"),
            ({"sensors": {}}, "sensors"),
            ({"sensors": {"sampler": "x", "spec": {}, "idle_seconds": 601}}, "sensors"),
            ({"inputs": "/no/such.npz"}, "/no/such.npz"),
        ],
    )
    def test_jobs_that_are_refused(
        self, program: Program, model: Path, change: dict[str, Any], named: str
    ) -> None:
        code, event = program.error({"model": str(model), **change})
        assert code == 2
        assert event["code"] in ("bad_job", "bad_inputs")
        assert named in event["message"]
        assert event.keys() == {"event", "code", "message", "hint"}

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"[]", b"null", b'{"protocol": NaN}', b"\xff\xfe", b"{} {}"]
    )
    def test_what_is_no_job(self, program: Program, text: bytes) -> None:
        code, event = program.error(text)
        assert (code, event["code"]) == (2, "bad_job")

    @pytest.mark.parametrize(
        ("arrays", "named"),
        [
            ({"x": np.zeros((2, 5), np.float32)}, "shape (4,)"),
            ({"x": np.zeros((2, 4), np.float64)}, "takes float32"),
            ({"x": np.zeros((0, 4), np.float32)}, "empty"),
            ({"a": np.zeros((1, 4), np.float32), "b": np.zeros(1)}, "'x'"),
            ({"x": np.zeros((2, 2, 4), np.float32)}, "(2, 4)"),
        ],
    )
    def test_inputs_that_do_not_fit(
        self,
        program: Program,
        model: Path,
        tmp_path: Path,
        arrays: dict[str, np.ndarray],
        named: str,
    ) -> None:
        np.savez(tmp_path / "in.npz", **arrays)
        code, event = program.error({"model": str(model), "inputs": str(tmp_path / "in.npz")})
        assert (code, event["code"]) == (2, "bad_inputs")
        assert named in event["message"]

    def test_a_job_in_a_file(self, program: Program, model: Path, tmp_path: Path) -> None:
        job = tmp_path / "job.json"
        job.write_text(json.dumps({"protocol": 2, "model": str(model)}))
        done = subprocess.run([*program.argv, str(job)], capture_output=True, check=True)
        assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"

    @pytest.mark.parametrize("words", [[], ["one.json", "two.json"]])
    def test_one_job(self, program: Program, words: list[str]) -> None:
        done = subprocess.run([*program.argv, *words], capture_output=True, check=False)
        assert done.returncode == 2
        assert json.loads(done.stdout)["code"] == "bad_job"

    @pytest.mark.slow
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,  # the classes that inherit it
        ],
    )
    @given(change=st.dictionaries(st.sampled_from(KEYS), ANYTHING, min_size=1, max_size=2))
    def test_any_job_is_refused_or_run(self, program: Program, change: dict[str, Any]) -> None:
        # The file that is not there is the last thing that a good job can be refused for.
        code, event = program.error({"model": "/no/such/file", **change})
        assert (code, event["code"]) == (2, "bad_job")


class TFLiteContract(RunnerContract):
    """Fixtures to give: `program`, with ai-edge-litert 2.3.0."""

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return dense_model(tmp_path / "モデル $(x).tflite")

    @pytest.fixture
    def overflowing(self, tmp_path: Path) -> Path:
        return dense_model(tmp_path / "model.tflite", weight=3e38)

    @pytest.fixture
    def answers(self, model: Path) -> Callable[[np.ndarray], np.ndarray]:
        return partial(expected, model)

    @pytest.mark.parametrize("make", [cnn, running_sum, loop])
    def test_other_models_give_what_the_interpreter_gives(
        self, program: Program, tmp_path: Path, make: Callable[[Path], Path]
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        path = make(tmp_path / "model.tflite")
        model = Interpreter(str(path), num_threads=1)
        model.allocate_tensors()
        (taken,), (given_out,) = model.get_input_details(), model.get_output_details()
        rows = np.random.default_rng(0).normal(size=(3, *taken["shape"][1:])).astype(np.float32)
        np.savez(tmp_path / "in.npz", rows)  # the only one needs no name
        job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")}
        events = program.good({"model": str(path), **job})
        assert events["load"]["outputs"][0]["shape"] == given_out["shape"].tolist()
        with np.load(tmp_path / "out.npz") as file:
            (found,) = file.values()
        for row, answer in zip(rows, found, strict=True):
            model.set_tensor(taken["index"], row[None])
            model.invoke()
            np.testing.assert_array_equal(answer, model.get_tensor(given_out["index"])[0])

    @pytest.mark.parametrize("signatures", [0, 1, 2])
    def test_names_are_those_of_the_only_signature(
        self, program: Program, model: Path, signatures: int
    ) -> None:
        file = flatbuffer.read(model)
        file.signatureDefs = [copy.deepcopy(file.signatureDefs[0]) for _ in range(signatures)]
        for index, signature in enumerate(file.signatureDefs):
            signature.signatureKey = f"signature {index}"
        flatbuffer.write(file, model)
        load = program.good({"model": str(model)})["load"]
        names = [load[side][0]["name"] for side in ("inputs", "outputs")]
        assert names == (["x", "y"] if signatures == 1 else ["x:0", "y:0"])

    @pytest.mark.parametrize("batch", [None, 3])
    def test_a_batch_that_the_file_leaves_open(
        self, program: Program, model: Path, batch: int | None
    ) -> None:
        file = flatbuffer.read(model)
        tensors = file.subgraphs[0].tensors
        for tensor in (tensors[0], tensors[3]):
            tensor.shapeSignature = [-1, *tensor.shape[1:]]
        flatbuffer.write(file, model)
        load = program.good({"model": str(model), "batch": batch})["load"]
        assert load["inputs"][0]["shape"] == [batch or 1, 4]
        assert load["outputs"][0]["shape"] == [batch or 1, 3]

    @pytest.mark.parametrize("batch", [2, 3, 7, 8])
    def test_a_batch_gives_the_same(
        self, program: Program, model: Path, tmp_path: Path, batch: int
    ) -> None:
        rows = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
        inputs, outputs = tmp_path / "in.npz", tmp_path / "out.npz"
        np.savez(inputs, x=rows)  # the bare name will do
        job = {"model": str(model), "inputs": str(inputs), "outputs": str(outputs), "batch": batch}
        events = program.good(job)
        assert events["load"]["inputs"][0]["shape"] == [batch, 4]
        assert events["load"]["outputs"][0]["shape"] == [batch, 3]
        with np.load(outputs) as file:
            assert file["out:y"].shape == (7, 3)
            np.testing.assert_allclose(file["out:y"], expected(model, rows), rtol=1e-5, atol=1e-6)

    def test_a_first_dimension_that_is_no_batch(self, program: Program, tmp_path: Path) -> None:
        graph = Graph()
        x, one = graph.tensor("x", (2, 3)), graph.tensor("one", (), np.float32(1))
        less = graph.operator("SUB", [x, one], ("less", (2, 3)), options="SubOptions")
        path = graph.save(tmp_path / "model.tflite", {"x": x}, {"less": less})
        rows = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
        np.savez(tmp_path / "in.npz", x=rows)
        job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")}
        program.good({"model": str(path), **job})
        with np.load(tmp_path / "out.npz") as file:
            np.testing.assert_array_equal(file["out:less"], rows - 1)

    def test_integers(self, program: Program, tmp_path: Path) -> None:
        path = dense_model(tmp_path / "int8.tflite", quantized=True)
        rows = np.random.default_rng(0).integers(-128, 128, (5, 4)).astype(np.int8)
        np.savez(tmp_path / "in.npz", **{"in:x": rows})
        job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")}
        events = program.good({"model": str(path), **job})
        assert events["load"]["inputs"][0]["scales"] == [1 / 32]
        assert events["load"]["inputs"][0]["zero_points"] == [0]
        with np.load(tmp_path / "out.npz") as file:
            np.testing.assert_array_equal(file["out:y"], expected(path, rows))

    def test_a_model_that_this_runtime_does_not_know(
        self, program: Program, tmp_path: Path
    ) -> None:
        path = dense_model(tmp_path / "model.tflite", version=99)
        code, event = program.error({"model": str(path)})
        assert (code, event["code"]) == (4, "model_refused")
        assert "version '99'" in event["message"]
