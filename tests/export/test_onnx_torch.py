"""Names of the border of what torch's exporter writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgekit.core.tensor import Signature, TensorSpec
from edgekit.export.onnx_torch import name_border
from edgekit.work.cache import RESULT_FILE

# Keras names an output by its layer and an input as the user likes: as torch names its operators.
MAKE = """
import sys
from pathlib import Path
import torch
from edgekit.export import onnx_torch

class Net(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x + 1).permute(0, 2, 1)

folder = Path(sys.argv[1])
exported = torch.export.export(Net().eval(), (torch.zeros(1, 2, 3),))
torch.export.save(exported, folder / "net.pt2")
onnx_torch.export(folder / "out", program=str(folder))
"""


@pytest.mark.slow
def test_an_output_is_called_like_an_operator_inside(tmp_path: Path) -> None:
    signature = Signature(
        inputs=(TensorSpec(name="add", shape=(1, 2, 3), dtype="float32"),),
        outputs=(TensorSpec(name="relu", shape=(1, 3, 2), dtype="float32"),),
    )
    told = {"files": ["net.pt2"], "signature": signature.to_json(), "way": "", "parent": ""}
    (tmp_path / RESULT_FILE).write_text(json.dumps({**told, "tools": []}))
    (tmp_path / "out").mkdir()
    subprocess.run([sys.executable, "-c", MAKE, str(tmp_path)], check=True, capture_output=True)
    proto = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    rows = np.random.default_rng(0).normal(size=(1, 2, 3)).astype(np.float32)
    (answer,) = session.run(["relu"], {"add": rows})
    np.testing.assert_array_equal(answer, np.maximum(rows + 1, 0).transpose(0, 2, 1))


def test_what_is_inside_gives_its_name_away() -> None:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["in", "w"], ["y"]),
            helper.make_node("Relu", ["y"], ["y_1"]),
            helper.make_node("Neg", ["y_1"], ["out"]),
        ],
        "net",
        [value("in")],
        [value("out")],
        [helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])],
        value_info=[value("y")],
    )
    name_border(graph, {"in": "w", "out": "y"})
    assert [(*node.input, *node.output) for node in graph.node] == [
        ("w", "w_1", "y_2"),
        ("y_2", "y_1"),
        ("y_1", "y"),
    ]
    assert (graph.input[0].name, graph.output[0].name) == ("w", "y")
    assert (graph.initializer[0].name, graph.value_info[0].name) == ("w_1", "y_2")
    onnx.checker.check_model(helper.make_model(graph))
