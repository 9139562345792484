"""The Android app's benchmark keeps to the contract of runners, over the real LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contracts.runner import Program, TFLiteContract

pytestmark = pytest.mark.slow


class TestApp(TFLiteContract):
    """But for what an app cannot do: that is refused, or told in its event."""

    @pytest.mark.slow
    def test_streams_are_timed_together(self, program: Program, model: Path) -> None:
        code, event = program.error({"model": str(model), "streams": 3})
        assert (code, event["code"]) == (2, "bad_job")
        assert "streams = 3: an app runs one" in event["message"]

    test_a_stream_that_fails_ends_all = None  # there are no others

    @pytest.mark.slow
    @pytest.mark.parametrize("streams", [1])
    def test_sensors_are_read_from_before_the_load_to_after_the_last_run(
        self, program: Program, model: Path, tmp_path: Path, streams: int
    ) -> None:
        sensors = program.sensors(tmp_path / "power1_input")
        events = program.good({"model": str(model), "runs": 5, "sensors": sensors})
        assert len(events["samples"]["ns"]) == 5
        told = events["sensors"]
        assert "an app may not start a sampler" in told["problem"]
        assert told["idle_start_ns"] == told["idle_end_ns"] < events["window"]["start_ns"]

    @pytest.mark.parametrize(("more", "said"), [({"sampler": "/no/sampler"}, "may not start")])
    def test_a_sampler_that_fails_leaves_the_times_alone(
        self, program: Program, model: Path, tmp_path: Path, more: dict[str, Any], said: str
    ) -> None:
        job = {"model": str(model), "runs": 5, "sensors": program.sensors(tmp_path, **more)}
        assert said in program.good(job)["sensors"]["problem"]

    test_the_sampler_ends_where_the_run_fails = None  # none was started

    @pytest.mark.parametrize("batch", [None, 1])
    def test_a_batch_that_the_file_leaves_open(
        self, program: Program, model: Path, batch: int | None
    ) -> None:
        super().test_a_batch_that_the_file_leaves_open(program, model, batch)

    @pytest.mark.parametrize("batch", [2])
    def test_a_batch_gives_the_same(
        self, program: Program, model: Path, tmp_path: Path, batch: int
    ) -> None:
        code, event = program.error({"model": str(model), "batch": batch})
        assert (code, event["code"]) == (4, "model_refused")
        assert "cannot change the batch" in event["message"]
