"""Figures of artifacts against their source, on networks whose figures are known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.core.errors import ConversionError, ModelError
from edgekit.core.recipe import Budget
from edgekit.core.verdict import Score
from edgekit.verify.compare import (
    RESOLUTION,
    ROUNDING,
    SNR_FLOOR_DB,
    Sums,
    Variation,
    centred_logits,
)
from edgekit.verify.metrics import decided, ranks
from edgekit.verify.session_litert import LiteRTSession
from tests.tiny_tflite import dense_model
from tests.verify.conftest import Bench
from tests.verify.networks import network, noisy, signature_of

NET = network(16, 32, 24, 10)


def figures(bench: Bench, net: Any, features: Any, last: str = "softmax", **more: Any) -> Any:
    data = bench.data(features, **more)
    found = bench.figures(bench.artifact(net, last), bench.source(NET, data, last), data)
    return found["outputs"][0]


def test_the_same_network_is_the_same_to_rounding(bench: Bench, features: Any) -> None:
    found = figures(bench, NET, features)
    parity = found["parity"]
    assert parity["name"] == "scores"
    assert parity["max_abs_error"] < 1e-6
    assert parity["cosine"] == pytest.approx(1)
    assert parity["snr_db"] is None or parity["snr_db"] > 100
    assert parity["top1_agreement"] == 1
    assert parity["before_softmax"]
    assert (found["not_finite"], found["accuracy"], found["flat"]) == (0, None, False)


def test_noise_before_a_softmax_is_measured_there(bench: Bench, features: Any) -> None:
    """Against logits computed by hand, in float64."""
    changed = noisy(NET, "dense_2", 0.1)
    found = figures(bench, changed, features)["parity"]

    def logits(net: Any) -> Any:
        value = features.astype(float)
        for layer in net:
            value = value @ layer.weights.T + layer.bias
            value = np.maximum(value, 0) if layer.relu else value
        return value - value.mean(axis=1, keepdims=True)

    right, wrong = logits(NET), logits(changed)
    expected = 10 * math.log10((right**2).sum() / ((right - wrong) ** 2).sum())
    assert found["snr_db"] == pytest.approx(expected, abs=0.01)
    agreed = (right.argmax(1) == wrong.argmax(1)).mean()
    assert found["top1_agreement"] == pytest.approx(agreed)


def test_an_output_without_softmax_is_measured_as_it_is(bench: Bench, features: Any) -> None:
    found = figures(bench, noisy(NET, "dense_0", 0.01), features, last="none")["parity"]
    assert not found["before_softmax"]
    assert 20 < found["snr_db"] < 60


def test_accuracy_counts_labels(bench: Bench, features: Any) -> None:
    data = bench.data(features)
    right = np.load(bench.source(NET, data) / "0.npy").argmax(axis=1)
    labels = right.copy()
    labels[:7] = (labels[:7] + 1) % 10
    found = figures(bench, NET, features, labels=labels)["accuracy"]
    assert found["source"] == found["artifact"]
    assert found["source"]["top1"] == pytest.approx(0.93)
    assert 0.93 <= found["source"]["top5"] <= 1
    worse = figures(bench, noisy(NET, "dense_1", 2), features, labels=labels)["accuracy"]
    assert worse["artifact"]["top1"] < 0.9
    assert worse["source"]["top1"] == pytest.approx(0.93)


def test_the_metric_of_labels_is_their_accuracy(bench: Bench, features: Any) -> None:
    labels = np.load(bench.source(NET, bench.data(features)) / "0.npy").argmax(axis=1)
    data = bench.data(features, labels)
    worse = bench.artifact(noisy(NET, "dense_1", 2))
    found = bench.figures(worse, bench.source(NET, data), data)
    accuracy = found["outputs"][0]["accuracy"]
    score = Score.from_json(found["score"])
    assert (score.source_value, score.value) == (1, accuracy["artifact"]["top1"])
    assert score.drop == pytest.approx(100 * (1 - score.value))
    assert score.low < score.drop < score.high
    five = Score.from_json(bench.figures(worse, bench.source(NET, data), data, "top5")["score"])
    assert five.value == accuracy["artifact"]["top5"]


def test_an_error_is_measured_against_targets_and_a_constant(bench: Bench, features: Any) -> None:
    """By hand; a metric that the source's mean answer reaches proves nothing."""
    net = network(16, 8, 2)
    right = np.load(bench.source(net, bench.data(features), "none") / "0.npy")
    noise = np.random.default_rng(1).normal(size=right.shape).astype(np.float32)
    for scale, no_better in ((0.1, []), (50, ["source", "artifact"])):
        data = bench.data(features, targets=right + scale * noise)
        source = bench.source(net, data, "none")
        figures = bench.figures(bench.artifact(net, "none"), source, data, "rmse")
        found = Score.from_json(figures["score"])
        assert found.value == pytest.approx(scale * np.sqrt(np.square(noise).mean()), rel=1e-5)
        assert found.drop == pytest.approx(0, abs=1e-3)
        always = right.mean(axis=0) - right - scale * noise
        expected = np.sqrt(np.square(always).mean())
        assert figures["constant"]["value"] == pytest.approx(expected, rel=1e-5)
        assert figures["constant"]["no_better"] == no_better
        assert figures["outputs"][0]["measured"]


def test_an_artifact_that_gives_nan_has_no_score(bench: Bench, features: Any) -> None:
    net = network(16, 4)
    wild = [replace(net[0], weights=net[0].weights * 1e3)]
    targets = np.zeros((100, 4), np.float32)
    features[99, 0] = 1e38
    data, calm = (bench.data(x, targets=targets) for x in (features, np.minimum(features, 1)))
    source = bench.source(net, calm, "none")
    found = bench.figures(bench.artifact(wild, "none"), source, data, "mse")
    assert (found["score"], found["constant"]) == (None, None)
    assert found["outputs"][0]["not_finite"] == 1


@pytest.mark.parametrize("last", ["sigmoid", "none"])
def test_a_single_score_needs_no_sigmoid_that_the_format_shows(
    bench: Bench, features: Any, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(16, 8, 1)
    source = bench.source(net, bench.data(features), last)
    labels = (np.load(source / "0.npy")[:, 0] > (0.5 if last == "sigmoid" else 0)).astype(int)
    monkeypatch.setattr(LiteRTSession, "ends_in_sigmoid", lambda *_: False)
    data = bench.data(features, labels)
    found = bench.figures(bench.artifact(net, last), source, data)
    assert found["outputs"][0]["accuracy"]["source"]["top1"] == 1
    assert found["score"]["value"] == 1


@pytest.mark.parametrize(("last", "threshold"), [("sigmoid", 0.5), ("none", 0.0)])
def test_a_single_score_is_yes_above_its_threshold(
    bench: Bench, features: Any, last: str, threshold: float
) -> None:
    net = network(16, 8, 1)
    data = bench.data(features)
    source = bench.source(net, data, last)
    labels = (np.load(source / "0.npy")[:, 0] > threshold).astype(int)
    assert 0 < labels.sum() < 100
    labelled = bench.data(features, labels)
    found = bench.figures(bench.artifact(net, last), source, labelled)
    assert found["classes"] == 2
    assert found["outputs"][0]["accuracy"]["artifact"] == {"top1": 1.0, "top5": None}


def test_memory_is_flat_and_chunks_do_not_matter(
    bench: Bench, features: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = figures(bench, noisy(NET, "dense_1", 0.1), features)["parity"]
    monkeypatch.setattr("edgekit.verify.folders.MAX_ROWS", 7)
    parts = figures(bench, noisy(NET, "dense_1", 0.1), features)["parity"]
    for key in ("max_abs_error", "cosine", "snr_db", "top1_agreement"):
        assert parts[key] == pytest.approx(whole[key])


def test_nan_in_the_artifact_is_counted(bench: Bench, features: Any) -> None:
    # The first feature decides whether a sample overflows.
    features[:3, 0] = 1e38
    net = network(16, 4)
    wild = [type(net[0])(net[0].name, net[0].weights * 1e3, net[0].bias, relu=False)]
    data = bench.data(features)
    calm = bench.data(np.minimum(features, 1))
    found = bench.figures(bench.artifact(wild, "none"), bench.source(net, calm, "none"), data)
    assert found["outputs"][0]["not_finite"] == 3
    assert math.isfinite(found["outputs"][0]["parity"]["max_abs_error"])


def test_a_source_that_gives_nan_is_the_models_fault(bench: Bench, features: Any) -> None:
    with pytest.raises(ModelError, match=r"itself gives NaN or infinity in 'scores' for sample 0"):
        bench.source(NET, bench.data(features), "nan")


def test_what_the_framework_raises_is_a_model_error(bench: Bench, features: Any) -> None:
    with pytest.raises(ModelError, match=r"fails to run on the data: ZeroDivisionError: by zero"):
        bench.source(NET, bench.data(features), "raise")


def test_a_file_cut_off_anywhere_is_a_clear_error(bench: Bench, features: Any) -> None:
    data = bench.data(features)
    source, artifact = bench.source(NET, data), bench.artifact(NET)
    content = (artifact / "model.tflite").read_bytes()
    for length in range(0, len(content) - 200, 97):
        (artifact / "model.tflite").write_bytes(content[:length])
        with pytest.raises(ConversionError, match=r"TFLite file|does not load"):
            bench.figures(artifact, source, data)


def test_another_artifact_is_refused(bench: Bench, features: Any) -> None:
    data = bench.data(features)
    source = bench.source(NET, data)
    folder = bench.folder({"files": ["model.tflite"], "signature": {"inputs": [], "outputs": []}})
    dense_model(folder / "model.tflite", inputs=5)
    with pytest.raises(ConversionError, match="the artifact's inputs are x 1×5, the source model"):
        bench.figures(folder, source, data)
    (folder / "model.tflite").write_bytes(b"\0" * 100)
    with pytest.raises(ConversionError, match="is not a TFLite file"):
        bench.figures(folder, source, data)
    dense_model(folder / "model.tflite", inputs=16, version=99)
    with pytest.raises(ConversionError, match="LiteRT on this computer does not load it"):
        bench.figures(folder, source, data)


# ------------------------------------------------------------------- numbers in and out


def test_integers_are_stored_and_read_by_the_files_own_parameters(tmp_path: Any) -> None:
    session = LiteRTSession(dense_model(tmp_path / "q.tflite", quantized=True))
    (port,), (out,) = session.inputs, session.outputs
    assert (port.name, port.dtype, port.scales) == ("x", np.int8, (1 / 32,))
    reals = np.array([[0.0, 1 / 64, 3 / 64, 100.0]], np.float32)  # halves round to even
    assert port.store(reals).tolist() == [[0, 0, 2, 127]]
    assert out.real(np.array([[-8, 0, 4]], np.int8)).tolist() == [[-1, 0, 0.5]]


def test_a_channel_can_have_a_scale_of_its_own(tmp_path: Any) -> None:
    from dataclasses import replace

    session = LiteRTSession(dense_model(tmp_path / "q.tflite", quantized=True))
    port = replace(session.outputs[0], scales=(1.0, 2.0, 4.0), zero_points=(0, 1, 0), axis=1)
    assert port.real(np.array([[1, 1, 1]], np.int8)).tolist() == [[1, 0, 4]]


def test_an_integer_input_without_a_scale_takes_no_fractions(tmp_path: Any) -> None:
    from dataclasses import replace

    port = LiteRTSession(dense_model(tmp_path / "q.tflite", quantized=True)).inputs[0]
    with pytest.raises(ConversionError, match="is int8 without a scale"):
        replace(port, scales=(), zero_points=()).store(np.zeros((1, 4), np.float32))


def test_names_decide_before_order(bench: Bench, features: Any) -> None:
    session = LiteRTSession(bench.artifact(NET) / "model.tflite")
    inputs, outputs = session.matched(signature_of(NET))
    assert [name for name, _ in inputs + outputs] == ["features", "scores"]


# ------------------------------------------------------------------------------- formulas


vectors = hnp.arrays(np.float64, 20, elements=st.floats(-1e3, 1e3))


@given(vectors, vectors)
def test_sums_of_parts_are_those_of_the_whole(first: Any, second: Any) -> None:
    whole, parts = Sums(), Sums()
    whole.add(first, second)
    for start in range(0, 20, 6):
        parts.add(first[start : start + 6], second[start : start + 6])
    assert parts.worst == whole.worst
    assert parts.cosine == pytest.approx(whole.cosine)
    assert (parts.snr_db is None) == (whole.snr_db is None)


@given(vectors)
def test_equal_vectors_have_no_noise(vector: Any) -> None:
    sums = Sums()
    sums.add(vector, vector)
    assert (sums.snr_db, sums.worst) == (None, 0)
    assert sums.cosine == pytest.approx(1)


def test_tiny_and_huge_numbers_neither_vanish_nor_overflow() -> None:
    sums = Sums()
    sums.add(np.array([1e-170, 1e150]), np.array([2e-170, 1e150]))
    assert sums.snr_db is None or math.isfinite(sums.snr_db)
    tiny = Sums()
    tiny.add(np.array([1e-160]), np.array([1e-160]))
    assert math.isfinite(tiny.cosine)


def test_noise_without_signal_has_a_floor() -> None:
    sums = Sums()
    sums.add(np.zeros(3), np.ones(3))
    assert (sums.snr_db, sums.cosine) == (SNR_FLOOR_DB, 0)


@given(
    hnp.arrays(np.float64, (4, 6), elements=st.floats(-30, 30)),
    st.floats(-50, 50),
)
@settings(max_examples=50)
def test_a_softmax_gives_its_logits_back(logits: Any, shift: float) -> None:
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (grown / grown.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
    source, artifact = centred_logits(p, logits + shift)
    assert np.abs(source - artifact).max() < 4 * RESOLUTION


def test_of_underflowed_probabilities_only_that_is_known() -> None:
    """They may be as small as they like in the artifact, but not large."""
    p = np.array([[0.5, 0.5, 0.0, 1e-44]])
    source, artifact = centred_logits(p, np.array([[3.0, 3.0, -500.0, -90.0]]))
    assert source.tolist() == artifact.tolist()
    source, artifact = centred_logits(p, np.array([[3.0, 3.0, -500.0, -7.0]]))
    assert np.abs(source - artifact).max() > 50


def test_sure_answers_that_are_wrong_are_not_overlooked() -> None:
    sums = Sums()
    sums.add(*centred_logits(np.array([[0.6, 0.3, 0.1]]), np.log([[0.6, 0.3, 0.1]])))
    sums.add(*centred_logits(np.array([[1.0, 0.0, 0.0]] * 9), np.array([[0.0, 500.0, 0.0]] * 9)))
    assert sums.snr_db is not None
    assert sums.snr_db < 3


# --------------------------------------------------------------------- between the samples


@given(hnp.arrays(np.float64, (9, 4), elements=st.floats(-1, 1)), st.integers(1, 9))
@settings(max_examples=50)
def test_variation_is_that_of_the_whole_set(values: Any, size: int) -> None:
    """Around each element's mean, by hand; a large offset does not lose it to rounding."""
    given_ = values.mean(axis=0) + np.array([0.5, 0.0, 0.0, 0.25])
    found = Variation()
    for start in range(0, 9, size):
        part = slice(start, start + size)
        found.add(values[part] + 1e4, np.broadcast_to(given_, values.shape)[part] + 1e4)
    varying = np.square(values - values.mean(axis=0)).sum(axis=0)
    rounding = 9 * (ROUNDING * 1e4) ** 2
    if ((varying > rounding / 2) & (varying < rounding * 2)).any():
        return  # so near the bound that the offset's last digits decide
    varying = np.where(varying > rounding, varying, 0)
    if not varying.any():
        assert found.constant
        return
    error = np.square(values - given_).sum(axis=0)
    told = found.figures(4)
    assert told is not None
    expected = 10 * math.log10(varying.sum() / error.sum())
    assert told["snr_db"] == pytest.approx(expected, abs=1e-3)
    assert told["snr_db"] < 0  # a constant never does better


def test_a_column_lost_beside_larger_ones_is_found(features: Any) -> None:
    boxes, scores = features[:, :4] * 640, features[:, 4:6]
    found = Variation()
    found.add(np.hstack([boxes, scores]), np.hstack([boxes + 1, scores * 0]))
    told = found.figures(6)
    assert told is not None
    assert told["lost"] == [4, 5]
    assert told["snr_db"] > 40


def test_one_sample_and_equal_samples_show_no_variation() -> None:
    one, equal = Variation(), Variation()
    one.add(np.ones((1, 3)), np.zeros((1, 3)))
    equal.add(np.ones((5, 3)), np.zeros((5, 3)))
    assert (one.figures(3), equal.figures(3), Variation().figures(3)) == (None, None, None)


def test_a_price_in_steps_of_twenty_is_rejected(bench: Bench, features: Any) -> None:
    """5000 ± 1 as a constant has 70 dB, and nothing to say."""
    net = network(16, 8, 1)
    far = [net[0], replace(net[1], bias=net[1].bias + np.float32(5000))]
    flat = [net[0], replace(far[1], weights=far[1].weights * 0)]
    data = bench.data(features)
    source = bench.source(far, data, "none")
    for artifact, status in ((far, "accepted"), (flat, "rejected")):
        verdict = bench.verdict(bench.artifact(artifact, "none"), source, data, Budget())
        assert verdict.status == status
    assert verdict.parity[0].snr_db is not None
    assert verdict.parity[0].snr_db > 50
    assert "may as well be a constant" in verdict.reasons[1]


def test_ties_go_to_the_first_class() -> None:
    scores = np.array([[0.0, 0.0, 0.0], [0.1, 0.9, 0.9]])
    assert decided(scores, 0.5).tolist() == [0, 1]
    assert ranks(scores, np.array([2, 2])).tolist() == [2, 1]
    assert decided(np.array([[np.nan, 1.0]]), 0.5).tolist() == [-1]


def test_a_source_that_says_the_same_to_every_sample_is_no_ground_for_rejection() -> None:
    """What differs between its answers is rounding; an artifact cannot be held to that."""
    rng = np.random.default_rng(4)
    reference = np.full((50, 3), 100.0) * (1 + 1e-8 * rng.standard_normal((50, 3)))
    found = Variation()
    found.add(reference, reference + 1e-3)
    assert found.constant
    assert found.figures(3) is None
    found.add(reference + 1.0, reference + 1.0)
    assert not found.constant
