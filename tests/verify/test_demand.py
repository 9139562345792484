"""A board's demand on its accelerator: what is too little, and what is said about it."""

from __future__ import annotations

from edgekit.core.description import Coverage, Node
from edgekit.core.profile import Accelerator
from edgekit.verify.demand import shortfall

CONV = Node(operator="CONV_2D", where="ethos-u", macs=900, layer="stem")
DENSE = Node(operator="FULLY_CONNECTED", where="cpu", macs=100, layer="head")
SOFTMAX = Node(operator="SOFTMAX", where="cpu", layer="probabilities")


def npu(share: float = 1.0) -> Accelerator:
    return Accelerator(delegate="ethos-u", formats=("tflite",), share=share)


def said(*nodes: Node, share: float = 1.0) -> str:
    return "\n".join(shortfall(Coverage(nodes=nodes, source="Vela"), npu(share), "corstone-300"))


def test_all_taken_is_enough() -> None:
    assert said(CONV, CONV) == ""


def test_where_all_is_demanded_an_operator_without_arithmetic_counts_too() -> None:
    text = said(CONV, SOFTMAX)
    assert "ethos-u takes 100.0 % of the multiply-adds and 1 of 2 operators (says Vela)" in text
    assert "corstone-300 demands all: left are SOFTMAX (layer probabilities)" in text
    assert "what would help: let the model end in logits" in text


def test_a_share_is_one_of_multiply_adds() -> None:
    assert said(CONV, DENSE, SOFTMAX, share=0.9) == ""
    text = said(CONV, DENSE, share=0.95)
    assert "takes 90.0 % of the multiply-adds" in text
    assert "demands 95 %: left are FULLY_CONNECTED (layer head)" in text


def test_the_heaviest_come_first_and_many_are_counted() -> None:
    light = [Node(operator=f"OP_{i}", where="cpu") for i in range(9)]
    text = said(*light, DENSE)
    assert "left are FULLY_CONNECTED (layer head), OP_0" in text
    assert "and 4 more kinds" in text


def test_layers_of_one_operator_are_joined() -> None:
    layers = [Node(operator="CUMSUM", where="cpu", layer=f"layer{i}") for i in range(5)]
    assert "5 × CUMSUM (layer layer0, layer1, layer2, …)" in said(*layers)


def test_names_of_torch_get_advice_too() -> None:
    node = Node(operator="aten._softmax.default", where="portable")
    assert "let the model end in logits" in said(CONV, node)


def test_integers_at_the_border_are_not_advised_where_they_are() -> None:
    coverage = Coverage(nodes=(CONV, Node(operator="QUANTIZE", where="cpu")), source="Vela")

    float_border = shortfall(coverage, npu(), "corstone-300")
    integer_border = shortfall(coverage, npu(), "corstone-300", "integer")

    assert "take the int8-io variant" in float_border[1]
    assert integer_border[1].startswith("what would help: replace these in the model; or")
