"""Each layer alone in integers: the one that 8 bits ruin stands at the top."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import ConversionError
from edgekit.core.quantize import Quantize
from edgekit.core.recipe import Budget, named_recipe
from edgekit.core.sensitivity import Sensitivity
from edgekit.export import flatbuffer
from edgekit.export.tflite_calibrate import calibrate
from edgekit.export.tflite_quantize import quantize
from edgekit.export.tflite_sensitivity import measure, select
from edgekit.reports.sensitivity import plot, print_sensitivity, write_sensitivity
from edgekit.work.cache import RESULT_FILE
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import FEATURES, Graph, loud, sensitive


def measured(folder: Path, net: Any, variant: str = "int8", *, labelled: bool = False) -> Any:
    for name in ("float", "ranges", "out"):
        (folder / name).mkdir(parents=True)
    path = net(folder / "float" / "model.tflite")
    data = samples(folder / "data", 60, features=(FEATURES,))
    calibrate(folder / "ranges", samples=data.to_json(), float=str(folder / "float"))
    if labelled:
        rows = np.load(folder / "data" / "0.npy")
        best = [answers(path, {"features": row[None]})["last"].argmax() for row in rows]
        np.save(folder / "data" / "labels.npy", np.array(best))
        data = data.model_copy(update={"labelled": True})
    recipe = named_recipe(variant)
    result = measure(
        folder / "out",
        recipe=recipe.to_json(),
        name="net",
        samples=data.to_json(),
        float=str(folder / "float"),
        ranges=str(folder / "ranges") if recipe.needs_calibration else None,
    )
    return Sensitivity.from_json(result["sensitivity"])


@pytest.mark.parametrize("variant", ["int8", "int16x8", "dynamic", "int4"])
def test_the_sensitive_layer_comes_first(tmp_path: Path, variant: str) -> None:
    found = measured(tmp_path, sensitive, variant, labelled=True)
    names = [cost.layer for cost in found.layers]
    assert names[0] == "middle"
    assert set(names) == {"first", "middle", "last"}
    worst, *rest = found.layers
    assert worst.snr_db is not None
    assert all(cost.snr_db > worst.snr_db + 5 for cost in rest if cost.snr_db is not None)
    assert found.float_accuracy == 1.0
    assert worst.accuracy is not None
    assert worst.accuracy < 0.6
    assert all(cost.accuracy > 0.75 for cost in rest if cost.accuracy is not None)
    assert found.whole.snr_db is not None
    assert found.whole.snr_db < worst.snr_db + 3
    assert {cost.layer: cost.macs for cost in found.layers}["middle"] == 32 * 24


def test_float16_costs_next_to_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, sensitive, "float16")
    assert found.float_accuracy is None
    assert all(cost.snr_db > 50 for cost in found.layers if cost.snr_db is not None)


def with_softmax(path: Path) -> Path:
    graph = Graph()
    features = graph.tensor("features", (1, FEATURES))
    dense = [features, graph.weights("dense/w", 10, FEATURES), graph.bias("dense", 10)]
    x = graph.operator(
        "FULLY_CONNECTED", dense, ("dense", (1, 10)), options="FullyConnectedOptions"
    )
    x = graph.operator("SOFTMAX", [x], ("last", (1, 10)), options="SoftmaxOptions", beta=1.0)
    return graph.save(path, {"features": features}, {"last": x})


def test_a_final_softmax_is_left_out(tmp_path: Path) -> None:
    found = measured(tmp_path, with_softmax)
    assert [cost.layer for cost in found.layers] == ["dense"]
    assert found.layers[0].snr_db is not None
    assert found.layers[0].snr_db > 30


def with_an_angle(path: Path) -> Path:
    """``angle``, one number, comes before the scores, ``last``."""
    graph = Graph()
    features = graph.tensor("features", (1, FEATURES))
    outputs = {}
    for name, size in (("angle", 1), ("last", 10)):
        dense = [features, graph.weights(f"{name}/w", size, FEATURES), graph.bias(name, size)]
        outputs[name] = graph.operator(
            "FULLY_CONNECTED", dense, (name, (1, size)), options="FullyConnectedOptions"
        )
    return graph.save(path, {"features": features}, outputs)


def with_one_score(path: Path) -> Path:
    graph = Graph()
    features = graph.tensor("features", (1, FEATURES))
    dense = [features, graph.weights("last/w", 1, FEATURES), graph.bias("last", 1)]
    x = graph.operator("FULLY_CONNECTED", dense, ("last", (1, 1)), options="FullyConnectedOptions")
    return graph.save(path, {"features": features}, {"last": x})


@pytest.mark.parametrize(("net", "accuracy"), [(with_an_angle, 1.0), (with_one_score, None)])
def test_accuracy_is_of_the_output_that_scores_classes(
    tmp_path: Path, net: Any, accuracy: float | None
) -> None:
    found = measured(tmp_path, net, labelled=True)
    assert found.float_accuracy == accuracy
    assert {cost.accuracy is None for cost in found.layers} == {accuracy is None}


def test_the_table_and_the_page_tell_the_same(tmp_path: Path) -> None:
    found = measured(tmp_path, sensitive, labelled=True)
    text = io.StringIO()
    print_sensitivity(found, file=text)
    write_sensitivity([found], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    worst = f"{found.layers[0].snr_db:.1f} dB"
    assert text.getvalue().index("middle") < text.getvalue().index("first")
    assert worst in text.getvalue()
    assert page.count(worst) >= 3  # the bar, its tooltip, the table
    assert "<script" not in page
    assert "http" not in page
    strange = found.layers[0].model_copy(update={"layer": "<b>&x"})
    drawn = plot(found.model_copy(update={"layers": (strange,)}))
    assert "<b>" not in drawn
    assert "&lt;b&gt;&amp;x" in drawn


def selected(
    folder: Path,
    budget: Budget,
    *,
    net: Any = sensitive,
    labelled: bool = False,
    table: Mapping[str, Any] = {"float": "auto"},
) -> tuple[Any, Path]:
    """What was selected for that budget, and the artifact's file."""
    found = measured(folder, net, labelled=labelled)
    (folder / "cost").mkdir()
    result = {"sensitivity": found.to_json()}
    (folder / "cost" / RESULT_FILE).write_text(json.dumps(result))
    data = samples(folder / "data", 60, features=(FEATURES,))
    if labelled:
        data = data.model_copy(update={"labelled": True})
    needs = {"float": str(folder / "float"), "ranges": str(folder / "ranges")}
    recipe = named_recipe("int8").to_json()
    asked = Quantize.from_json(dict(table))
    chosen = select(
        folder / "out",
        recipe={**recipe, "quantize": asked.settled().to_json()},
        budget=budget.to_json(),
        samples=data.to_json(),
        sensitivity=str(folder / "cost"),
        wider=asked.candidates,
        **needs,
    )
    (folder / "out" / RESULT_FILE).write_text(json.dumps(chosen))
    (folder / "made").mkdir()
    recipe = {**recipe, "quantize": dict(table)}
    made = quantize(folder / "made", recipe=recipe, selected=str(folder / "out"), **needs)
    assert chosen["said"] in made["notes"]
    return chosen, folder / "made" / "model.tflite"


def kinds(path: Path) -> dict[str, tuple[str, ...]]:
    """What each dense layer computes in, and what its weights are stored in."""
    tree = flatbuffer.read(path)
    found = [op for op in flatbuffer.operators(tree) if op.name == "FULLY_CONNECTED"]
    stored = {each.name.decode(): flatbuffer.dtype(each) for each in tree.subgraphs[0].tensors}
    return {op.location: (op.inputs[0], stored[f"{op.location}/w"]) for op in found}


@pytest.mark.parametrize("labelled", [False, True])
def test_the_costliest_layers_stay_in_float_until_the_budget_is_kept(
    tmp_path: Path, labelled: bool
) -> None:
    chosen, path = selected(tmp_path, Budget(min_snr_db=20, max_drop=10), labelled=labelled)
    assert chosen["layers"] == {"middle": "float32"}
    assert "found in 2 tries" in chosen["said"]
    whole = ("int8", "int8")
    assert kinds(path) == {"first": whole, "middle": ("float32", "float32"), "last": whole}


INT16 = ("int16", "int8")
HALF = ("float32", "float16")  # the weights come through a DEQUANTIZE


@pytest.mark.parametrize(
    ("net", "table", "expected"),
    [
        # Weights that 8 bits ruin are no better with INT16 activations.
        (sensitive, {}, {"middle": HALF}),
        (sensitive, {"wider": ["float32"]}, {"middle": ("float32", "float32")}),
        # An activation is in 16 bits where both sides of it are.
        (loud, {}, {"first": INT16, "middle": INT16}),
        (loud, {"float": ["first"]}, {"first": ("float32", "float32"), "middle": INT16}),
        (loud, {"wider": ["float16"]}, {"first": HALF, "middle": HALF}),
    ],
)
def test_a_layer_gets_the_numbers_that_help_it(
    tmp_path: Path, net: Any, table: dict[str, Any], expected: dict[str, tuple[str, ...]]
) -> None:
    budget = Budget(min_snr_db=20)
    chosen, path = selected(tmp_path, budget, net=net, table={"layers": "auto", **table})
    whole = dict.fromkeys(("first", "middle", "last"), ("int8", "int8"))
    assert kinds(path) == whole | expected
    plain = named_recipe("int8")
    needs = {"float": str(tmp_path / "float"), "ranges": str(tmp_path / "ranges")}
    (tmp_path / "plain").mkdir()
    quantize(tmp_path / "plain", recipe=plain.to_json(), **needs)
    rows = [{"features": row[None]} for row in np.load(tmp_path / "data" / "0.npy")]
    source = tmp_path / "float" / "model.tflite"
    assert ratio(tmp_path / "plain" / "model.tflite", source, rows) < 10
    assert ratio(path, source, rows) > 20
    assert "the budget is 20 dB" in chosen["said"]
    assert " bytes, they cost " in chosen["said"]


def ratio(path: Path, source: Path, rows: Any) -> float:
    """Signal to noise, in dB."""
    wanted, given = (
        np.concatenate([answers(file, row)["last"] for row in rows]) for file in (source, path)
    )
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - given).sum()))


def test_a_layer_that_is_not_needed_has_its_own_numbers_again(tmp_path: Path) -> None:
    found = measured(tmp_path, sensitive)
    order = ("last", "middle", "first")  # as if `last` was the costliest
    by_name = {cost.layer: cost for cost in found.layers}
    wrong = found.model_copy(update={"layers": tuple(by_name[name] for name in order)})
    (tmp_path / "cost").mkdir()
    kept = json.dumps({"sensitivity": wrong.to_json()})
    (tmp_path / "cost" / RESULT_FILE).write_text(kept)
    chosen = select(
        tmp_path / "out",
        recipe=named_recipe("int8").to_json(),
        budget=Budget(min_snr_db=20).to_json(),
        samples=samples(tmp_path / "data", 60, features=(FEATURES,)).to_json(),
        float=str(tmp_path / "float"),
        ranges=str(tmp_path / "ranges"),
        sensitivity=str(tmp_path / "cost"),
        wider=["float16"],
    )
    assert chosen["layers"] == {"middle": "float16"}


def test_what_is_within_the_budget_is_quantized_whole(tmp_path: Path) -> None:
    chosen, _ = selected(tmp_path, Budget(min_snr_db=-5))
    assert chosen["layers"] == {}


def test_a_budget_that_cannot_be_kept_says_what_was_reached(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"the 2 costliest layers in float32 it has .* dB"):
        selected(tmp_path, Budget(min_snr_db=200))
