"""How a description is shown: at both usual widths, cut where it is long, whole as JSON."""

from __future__ import annotations

import io
import json

import pytest

from edgekit.core.description import Coverage, Description, Node
from edgekit.core.tensor import Quantization, Signature, TensorSpec
from edgekit.reports.inspection import inspection_document, print_inspection, quantity


def description(kinds: int = 2, where: str = "xnnpack") -> Description:
    nodes = [
        Node(
            operator="CONV_2D", where=where, macs=900, layer=f"{'net/' * 12}conv_{n}", dtype="int8"
        )
        for n in range(3)
    ]
    nodes += [Node(operator=f"OTHER_{n}", layer="odd\x1b[31m", dtype="int8") for n in range(kinds)]
    nodes.append(Node(operator="TRANSPOSE", macs=0, layer="turn", dtype="int8"))
    image = TensorSpec(
        name="image", shape=(1, None, 3), dtype="int8",
        quantization=Quantization(scale=(0.25,), zero_point=(-128,)),
    )  # fmt: skip
    scores = TensorSpec(name="scores", shape=(1, 10), dtype="float32")
    return Description(
        format="tflite",
        size_bytes=2_500_000,
        signatures=(Signature(inputs=(image,), outputs=(scores,)),),
        coverage=Coverage(nodes=tuple(nodes), partitions=1),
        parameters=1_234_567,
        weights={"int8": 1_200_000, "int32": 40_000},
        zeros=123_457,
        quantization="int8 weights per channel, int8 activations",
        metadata={"made_by": "hand", "delegates": [{"id": "X", "size_bytes": 2000}] * 2,
                  "long": "word " * 200, "notes": ["mind the gap"]},
    )  # fmt: skip


def shown(found: Description, columns: int, *, every: bool = False) -> str:
    out = io.StringIO()
    print_inspection(found, "model.tflite", every=every, file=out, columns=columns)
    return out.getvalue()


@pytest.mark.parametrize("columns", [80, 120])
def test_all_that_matters_is_there(columns: int) -> None:
    text = shown(description(), columns)
    assert max(len(line) for line in text.splitlines()) <= columns
    for words in (
        "model.tflite  TFLite, 2.5 MB",
        "image int8 1×?×3, scale 0.250, zero point -128",
        "scores float32 1×10",
        "1.235 million, 10.0 % of them zero",
        "int8 1.2 MB, int32 40.0 kB",
        "2 700",
        "int8 weights per channel, int8 activations",
        "xnnpack: 3 of 6 operators, 100.0 % of the multiply-adds",
        "6 operators, 1 of them only move numbers about",
        "X 4.0 kB in 2 pieces",
        "! mind the gap",
        "conv_0 and 2 more",
    ):
        assert words in text, words
    assert "\x1b" not in text
    assert "(--all shows it whole)" in " ".join(text.split())


def test_a_long_table_is_cut_with_a_count() -> None:
    found = description(kinds=30)
    text = shown(found, 80)
    assert "and 20 more kinds with 20 operators: --all shows them" in text
    assert "OTHER_29" not in text
    whole = shown(found, 80, every=True)
    assert "OTHER_29" in whole
    assert "conv_2" in whole.replace("\n", "")
    assert "--all" not in whole


def test_a_graph_without_operators() -> None:
    assert "no operators" in shown(
        Description(format="onnx", size_bytes=1, signatures=(), coverage=Coverage(nodes=()),
                    parameters=0), 80)  # fmt: skip


def test_the_document_is_whole() -> None:
    found = description(kinds=30)
    document = json.loads(json.dumps(inspection_document(found, "model.tflite")))
    assert document["schema"] == 1
    assert document["file"] == "model.tflite"
    assert document["macs"] == 2700
    assert document["sparsity"] == pytest.approx(0.1, abs=1e-3)
    assert len(document["operators"]) == 32
    assert len(document["nodes"]) == 34
    assert document["delegates"]["xnnpack"] == {
        "operators": 3,
        "share_of_operators": pytest.approx(3 / 34),
        "share_of_macs": 1.0,
    }
    assert document["layout_changes"] == 1
    assert document["metadata"]["notes"] == ["mind the gap"]


def test_numbers_for_people() -> None:
    assert [quantity(n) for n in (0, 999, 12345, 300_774_272, 4_100_000_000)] == [
        "0",
        "999",
        "12 345",
        "300.8 million",
        "4.100 billion",
    ]
