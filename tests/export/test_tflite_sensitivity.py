"""Each layer alone in integers: the one that 8 bits ruin stands at the top."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.recipe import named_recipe
from edgekit.core.sensitivity import Sensitivity
from edgekit.export.tflite_quantize import calibrate
from edgekit.export.tflite_sensitivity import measure
from edgekit.reports.sensitivity import plot, print_sensitivity, write_sensitivity
from tests.export.test_tflite import answers, samples
from tests.tflite_graphs import FEATURES, Graph, sensitive


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


def test_the_table_and_the_page_tell_the_same(tmp_path: Path) -> None:
    found = measured(tmp_path, sensitive, labelled=True)
    text = io.StringIO()
    print_sensitivity(found, file=text)
    write_sensitivity(found, tmp_path / "page.html")
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
