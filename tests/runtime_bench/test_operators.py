"""Time by operator, from the runtimes' own profilers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.locate import shipped
from edgekit.core.measurement import OperatorTimes
from tests.tiny_tflite import dense_model

RUNNER = shipped("runtime_bench") / "edgekit_bench.py"

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
        [sys.executable, str(RUNNER), "-"],
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


def test_a_runtime_without_a_profiler_says_so(tmp_path: Path) -> None:
    found = operators(dense_model(tmp_path / "net.tflite"))
    assert "no profiler" in found.unavailable
    assert found.operators == ()


def many(model: dict[str, Any]) -> str:
    done = subprocess.run(
        [sys.executable, str(RUNNER), "-"],
        input=json.dumps(model).encode(),
        capture_output=True,
        check=False,
    )
    return str(json.loads(done.stdout.splitlines()[-1])["message"])


def test_jobs_that_make_no_sense(tmp_path: Path) -> None:
    job = {"protocol": 2, "model": str(dense_model(tmp_path / "net.tflite")), "operators": True}
    assert "told of one stream" in many({**job, "streams": 2})
    assert "is not true or false" in many({**job, "operators": 1})
