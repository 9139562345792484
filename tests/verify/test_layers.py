"""The first layer at which an artifact leaves its source."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.core.recipe import Budget
from edgekit.verify.judge import first_divergence
from edgekit.verify.layers import layer_of, layers_of
from tests.verify.conftest import Bench
from tests.verify.networks import network, noisy

NET = network(16, 32, 24, 20, 10)


@pytest.mark.parametrize("layer", ["dense_0", "dense_1", "dense_2", "dense_3"])
@pytest.mark.parametrize("against", ["source", "float32"])
def test_the_layer_whose_weights_are_broken_is_named(
    bench: Bench, features: Any, layer: str, against: str
) -> None:
    data = bench.data(features)
    source, base = bench.source(NET, data), bench.artifact(NET)
    broken = bench.artifact(noisy(NET, layer, 2))
    other = base if against == "float32" else None
    verdict = bench.verdict(broken, source, data, Budget(min_snr_db=20), other)
    assert verdict.status == "rejected"
    assert verdict.divergence is not None
    assert verdict.divergence.layer == layer
    assert verdict.divergence.tensor.startswith(f"net_1/{layer}_1/")
    assert verdict.divergence.snr_db < 20


def test_a_sound_artifact_diverges_nowhere(bench: Bench, features: Any) -> None:
    data = bench.data(features)
    source, base = bench.source(NET, data), bench.artifact(NET)
    budget = Budget(min_snr_db=60)
    assert bench.verdict(base, source, data, budget).divergence is None
    assert bench.verdict(bench.artifact(NET), source, data, budget, base).divergence is None
    names = [each["layer"] for each in bench.layers(base, source, data)]
    assert names == ["dense_0", "dense_1", "dense_2", "dense_3"]


def layer(name: str, snr_db: float | None) -> dict[str, Any]:
    return {"layer": name, "tensor": f"t/{name}", "snr_db": snr_db}


def test_the_first_below_the_threshold_is_named() -> None:
    layers = [layer("a", None), layer("b", 30), layer("c", 8), layer("d", 3)]
    found = first_divergence(layers, 10, always=False)
    assert found is not None
    assert (found.layer, found.snr_db, found.threshold_db) == ("c", 8, 10)
    assert first_divergence(layers, 2, always=False) is None


def test_a_rejected_artifact_always_has_one() -> None:
    layers = [layer("a", 40), layer("b", 18), layer("c", 25), layer("d", 20)]
    found = first_divergence(layers, 10, always=True)
    assert found is not None
    assert (found.layer, found.threshold_db) == ("b", 20)
    found = first_divergence([layer("a", 40), layer("b", 20)], 10, always=True)
    assert found is not None
    assert found.layer == "b"
    assert first_divergence([layer("a", None)], 10, always=True) is None


KNOWN = ["Conv1", "bn_Conv1", "Conv1_relu", "block_1_expand", "inner/dense", "dense_1", "probs"]


@pytest.mark.parametrize(
    ("tensor", "layers"),
    [
        ("functional_1/block_1_expand/Relu6;functional_1/x/Conv2D", ["block_1_expand"]),
        ("net_1/Conv1_relu_1/Relu6;net_1/Conv1_1/convolution", ["Conv1_relu", "Conv1"]),
        ("outer/inner/dense/MatMul", ["inner/dense"]),
        ("model/dense_1/BiasAdd", ["dense_1"]),
        ("StatefulPartitionedCall:0", []),
    ],
)
def test_tensor_names_lead_to_layers(tensor: str, layers: list[str]) -> None:
    assert layers_of(tensor, KNOWN) == layers


def test_without_known_layers_the_scope_is_the_best_guess() -> None:
    assert layer_of("functional_1/block_1_expand/Relu6;functional_1/x/y", []) == "block_1_expand"
    assert layer_of("StatefulPartitionedCall:0", []) == "StatefulPartitionedCall"
