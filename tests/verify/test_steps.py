"""Verification as a job runs it, in worker processes: verdict, load check, check set."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.bench import bench_program
from edgekit.core.errors import ModelError, UnknownNameError, WorkerError
from edgekit.core.profile import Runtime
from edgekit.core.recipe import BUILTIN, Budget
from edgekit.core.verdict import LoadCheck, Score, Verdict
from edgekit.verify import (
    check_set_step,
    compare_step,
    load_step,
    reference_step,
    score,
    score_step,
)
from edgekit.verify.load import load
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests.tiny_tflite import dense_model
from tests.verify.conftest import Bench
from tests.verify.networks import network, noisy, save, signature_of, write

LITERT = version("ai-edge-litert")
NET = network(16, 32, 10)


def exported(path: Path, **identity: Any) -> Step:
    """A step that stands for an exporter's."""
    return Step(
        title="export",
        function="tests.verify.networks:export",
        worker="plain",
        arguments={"path": str(path), "signature": signature_of(NET).to_json()},
    )


@pytest.mark.slow
def test_from_artifact_to_verdict(
    bench: Bench, features: Any, tmp_path: Path, fresh_cache: Path
) -> None:
    data = bench.data(features)
    model = save(tmp_path / "net.npz", NET)
    good = exported(write(tmp_path / "good.tflite", NET))
    bad = exported(write(tmp_path / "bad.tflite", noisy(NET, "dense_0", 3)))
    runtime = Runtime(name="ai-edge-litert", version=LITERT, variants=())
    reference = reference_step(model, data)
    check = check_set_step(good, reference, data, BUILTIN["float32"], samples=4)
    steps = {
        "good": compare_step(good, reference, data, BUILTIN["float32"], good),
        "bad": compare_step(bad, reference, data, BUILTIN["int8"], good),
        "load": load_step(good, check, runtime, BUILTIN["float32"]),
        "other": load_step(bad, check, runtime, BUILTIN["int8"]),
        "check": check,
    }
    with Pool() as pool:
        done = run_steps(steps.values(), pool=pool, cache=Cache())
        again = run_steps(steps.values(), pool=pool, cache=Cache())
    results = {}
    for name, step in steps.items():
        outcome = done[step]
        assert isinstance(outcome, Done), outcome
        cached = again[step]
        assert isinstance(cached, Done)
        assert cached.cached
        results[name] = outcome
    assert Verdict.from_json(results["good"].result["verdict"]).status == "accepted"
    rejected = Verdict.from_json(results["bad"].result["verdict"])
    assert rejected.status == "rejected"
    assert rejected.divergence is not None
    assert rejected.divergence.layer == "dense_0"
    assert LoadCheck.from_json(results["load"].result["load"]).ok
    other = LoadCheck.from_json(results["other"].result["load"])
    assert (other.loads, other.ok) == (True, False)
    assert "output 'scores' differs by up to" in other.error
    _check_set(results["check"].folder, features)


def _check_set(folder: Path, features: Any) -> None:
    with np.load(folder / "check.npz") as found, np.load(folder / "inputs.npz") as inputs:
        assert sorted(found.files) == ["in:features", "out:scores"]
        assert (found["in:features"] == features[[0, 25, 50, 75]]).all()
        assert found["out:scores"].shape == (4, 10)
        assert found["out:scores"].sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert (inputs["features"] == found["in:features"]).all()


def test_a_changed_model_is_scored_beside_its_source(
    bench: Bench, features: Any, tmp_path: Path, fresh_cache: Path
) -> None:
    models = [
        save(tmp_path / f"{index}.npz", net)
        for index, net in enumerate((NET, NET, noisy(NET, "dense_0", 3)))
    ]
    labels = np.load(bench.source(NET, bench.data(features)) / "0.npy").argmax(axis=1)
    data = bench.data(features, labels)
    source, same, worse = (reference_step(model, data) for model in models)
    steps = [score_step(step, source, data, Budget(metric="f1")) for step in (same, worse)]
    with Pool() as pool:
        done = run_steps(steps, pool=pool, cache=Cache())
    scores = []
    for step in steps:
        outcome = done[step]
        assert isinstance(outcome, Done), outcome
        scores.append(Score.from_json(outcome.result["score"]))
    assert (scores[0].value, scores[0].drop, scores[0].low, scores[0].high) == (1, 0, 0, 0)
    assert (scores[1].metric, scores[1].samples, scores[1].source_value) == ("f1", 100, 1)
    assert 0 < scores[1].low < scores[1].drop < scores[1].high
    assert scores[0].within(0)
    assert not scores[1].within(1)


def test_a_changed_model_has_its_sources_outputs(bench: Bench, features: Any) -> None:
    data = bench.data(features, np.zeros(100, int))
    source, other = (bench.source(network(16, 8, last), data) for last in (10, 9))
    with pytest.raises(ModelError, match=r"'scores' as \(100, 9\), its source as \(100, 10\)"):
        score.run(bench.folder(), data.to_json(), "top1", str(other), str(source))


def test_a_score_is_known_by_what_it_depends_on(
    bench: Bench, features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def best(outputs, targets):\n    return targets\n")
    data, model = bench.data(features, np.zeros(100, int)), save(tmp_path / "net.npz", NET)
    source = reference_step(model, data)

    def key(**budget: Any) -> str:
        return score_step(source, source, data, Budget(**budget)).key

    assert key() == key(max_drop=7) != key(metric="f1")
    first = key(metric="mine:best")
    assert first == key(metric="mine:best")
    (tmp_path / "helper.py").write_text("")
    assert first != key(metric="mine:best")
    with pytest.raises(UnknownNameError, match="no metric called 'best'"):
        key(metric="best")


def test_another_budget_recomputes_no_figures(bench: Bench, features: Any, tmp_path: Path) -> None:
    data, model = bench.data(features), save(tmp_path / "net.npz", NET)
    artifact = exported(tmp_path / "a.tflite")
    reference = reference_step(model, data)
    steps = [
        compare_step(artifact, reference, data, BUILTIN[name], artifact)
        for name in ("float16", "int8")
    ]
    assert steps[0].key != steps[1].key
    assert steps[0].needs["figures"].key == steps[1].needs["figures"].key


# ----------------------------------------------------------------------------- load check


def check(path: Path, **more: Any) -> LoadCheck:
    runner = more.get("runner") or bench_program()
    return load(path, "ai-edge-litert", LITERT, Path(sys.executable), runner)


def test_a_file_that_loads(tmp_path: Path) -> None:
    assert check(dense_model(tmp_path / "a.tflite")).ok


def test_a_file_the_runtime_refuses(tmp_path: Path) -> None:
    found = check(dense_model(tmp_path / "a.tflite", version=99))
    assert not found.ok
    assert "FULLY_CONNECTED" in found.error


def test_a_file_that_gives_nan(tmp_path: Path) -> None:
    found = check(dense_model(tmp_path / "a.tflite", weight=float("nan")))
    assert not found.ok
    assert found.error == "gives NaN or infinity in y"


def test_a_runtime_that_crashes_refuses_the_file(tmp_path: Path) -> None:
    runner = tmp_path / "crash.py"
    runner.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    found = check(tmp_path / "a.tflite", runner=runner)
    assert (found.ok, found.error) == (False, "its process was killed by SIGSEGV")


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("raise SystemExit('no such thing')", "no such thing"),
        ("", "it said nothing"),
        ("import sys; print('{\"event\": \"error\", \"code\": \"bad_job\", \"message\": \"m\"}')",
         "load check with ai-edge-litert .* did not run: m"),
    ],
)  # fmt: skip
def test_a_runner_that_fails_says_nothing_of_the_file(
    tmp_path: Path, runner: str, said: str
) -> None:
    script = tmp_path / "runner.py"
    script.write_text(runner)
    with pytest.raises(WorkerError, match=said):
        check(tmp_path / "a.tflite", runner=script)


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="cannot start"):
        load(tmp_path / "a", "ai-edge-litert", LITERT, tmp_path / "python", bench_program())


def test_another_version_than_asked_for(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=f"environment of ai-edge-litert 9.9.9 has.*{LITERT}"):
        load(
            dense_model(tmp_path / "a.tflite"), "ai-edge-litert", "9.9.9", Path(sys.executable),
            bench_program(),
        )  # fmt: skip


def test_a_file_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: Any, **kwargs: Any) -> Any:
        raise subprocess.TimeoutExpired(args[0], 360)

    monkeypatch.setattr("subprocess.run", late)
    with pytest.raises(WorkerError, match="took longer than 360 s"):
        check(tmp_path / "a.tflite")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGALRM"])
def test_a_process_ended_from_outside_is_no_refusal(tmp_path: Path, name: str) -> None:
    runner = tmp_path / "killed.py"
    runner.write_text(f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    with pytest.raises(WorkerError, match=f"was killed by {name}\nnothing is known"):
        check(tmp_path / "a.tflite", runner=runner)
