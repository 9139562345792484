"""Time by operator, from the runtimes' own profilers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.bench import bench_program
from edgekit.core.measurement import OperatorTimes
from edgekit_bench import litert_profiler
from edgekit_bench.operators import NoProfiler
from tests.tiny_tflite import dense_model

MAKE_PTE = """
import sys, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
program = torch.export.export(net.eval(), (torch.zeros(1, 64),))
lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
with open(sys.argv[1], "wb") as file:
    lowered.to_executorch().write_to_file(file)
"""


def operators(model: Path) -> OperatorTimes:
    job = {"protocol": 2, "model": str(model), "runs": 3, "operators": True}
    done = subprocess.run(
        [sys.executable, str(bench_program()), "-"],
        input=json.dumps(job).encode(),
        capture_output=True,
        check=True,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (found,) = [event for event in events if event.pop("event") == "operators"]
    return OperatorTimes.from_json(found)


def onnx_model(path: Path) -> Path:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.ones((64, 512), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="dense"),
        helper.make_node("Softmax", ["a"], ["y"], name="top"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", 64), ("y", 512))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.mark.slow
def test_onnx_runtime_tells_of_its_nodes(tmp_path: Path) -> None:
    found = operators(onnx_model(tmp_path / "net.onnx"))
    assert [(each.name, each.kind, each.where) for each in found.operators] == [
        ("dense", "MatMul", "cpu"),
        ("top", "Softmax", "cpu"),
    ]
    assert all(each.calls == found.runs > 1 for each in found.operators)
    assert 0 < sum(each.ns for each in found.operators) <= found.total_ns


@pytest.mark.slow
def test_executorch_tells_of_what_xnnpack_runs(tmp_path: Path) -> None:
    path = tmp_path / "net.pte"
    subprocess.run([sys.executable, "-c", MAKE_PTE, str(path)], check=True, capture_output=True)
    found = operators(path)
    kinds = [each.kind for each in found.operators if "Fully Connected" in each.kind]
    assert len(kinds) == 2
    assert {each.where for each in found.operators} == {"delegate"}
    assert all(each.calls == found.runs for each in found.operators)
    assert 0 < sum(each.ns for each in found.operators) <= found.total_ns


def test_litert_tells_of_what_xnnpack_runs(tmp_path: Path) -> None:
    found = operators(dense_model(tmp_path / "net.tflite", inputs=512, outputs=512))
    (only,) = [each for each in found.operators if "Fully Connected" in each.kind]
    assert only.where == "xnnpack"
    assert only.calls == found.runs
    assert 0 < only.ns <= found.total_ns


SUMMARY = """
================ Run Order ================
        [node type] [start] [first] [avg ms] [%] [cdf%] [mem KB] [times called] [Name]
 Delegate/Convolution (NHWC, F32) IGEMM 0.000 0.013 0.013 13.820% 14.027% 0.000 20 [Delegate]:1
        SOFTMAX      0.013   0.001 0.001     86.180% 100.000% 0.000 20 [top of it]:5

=========== Top by Computation Time ===========
        SOFTMAX      0.013   0.001 0.001     86.180% 100.000% 0.000 20 [top of it]:5

Timings (microseconds): count=14 first=9 curr=2000 min=1
"""


def test_the_table_of_litert() -> None:
    assert litert_profiler.litert_operators(SUMMARY) == [
        {"name": "[Delegate]:1", "kind": "Convolution (NHWC, F32) IGEMM", "where": "xnnpack",
         "calls": 20, "ns": 276_400},
        {"name": "[top of it]:5", "kind": "SOFTMAX", "where": "cpu", "calls": 20, "ns": 1_723_600},
    ]  # fmt: skip
    for other in ("", SUMMARY.replace("Run Order", "Order"), SUMMARY.replace("curr=", "now=")):
        with pytest.raises(NoProfiler):
            litert_profiler.litert_operators(other)


def test_a_profiler_that_is_not_known_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert_profiler, "version_of", lambda _: "2.4.0")
    with pytest.raises(NoProfiler, match=r"another \(2\.4\.0\)"):
        litert_profiler.LiteRtLibrary("/any/libLiteRt.so")


def many(model: dict[str, Any]) -> str:
    done = subprocess.run(
        [sys.executable, str(bench_program()), "-"],
        input=json.dumps(model).encode(),
        capture_output=True,
        check=False,
    )
    return str(json.loads(done.stdout.splitlines()[-1])["message"])


def test_jobs_that_make_no_sense(tmp_path: Path) -> None:
    job = {"protocol": 2, "model": str(dense_model(tmp_path / "net.tflite")), "operators": True}
    assert "told of one stream" in many({**job, "streams": 2})
    assert "is not true or false" in many({**job, "operators": 1})
