"""From PyTorch modules to TFLite: through litert-torch, and through ONNX where that cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.model import Model
from edgekit.core.recipe import named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer
from edgekit.export.tflite import TFLiteExporter, float_step
from edgekit.export.tflite_torch import explained
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests.export import tflite_nets
from tests.export.test_tflite import answers, file_of, samples


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One set of warm workers for all tests of this file, of one thread each."""
    with pytest.MonkeyPatch.context() as patch, Pool() as workers:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield workers


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def done(step: Step, pool: Pool, cache: Cache) -> Done:
    outcome = run_steps([step], pool=pool, cache=cache)[step]
    if isinstance(outcome, EdgekitError):
        raise outcome
    return outcome


def torch_says(model: Model, pool: Pool, cache: Cache) -> tuple[dict[str, Any], dict[str, Any]]:
    """An example and what torch computes of it."""
    step = Step(
        title="torch",
        function="tests.export.tflite_nets:answer",
        worker="torch",
        arguments={"model": model.to_json()},
    )
    folder = done(step, pool, cache).folder
    inputs, outputs = (dict(np.load(folder / f"{what}.npz")) for what in ("inputs", "outputs"))
    return inputs, outputs


def like_torch(made: Done, model: Model, pool: Pool, cache: Cache, atol: float = 1e-4) -> None:
    """Assert that the file has the model's names and shapes, and computes what torch does."""
    inputs, expected = torch_says(model, pool, cache)
    signature = Signature.from_json(made.result["signature"])
    assert [spec.name for spec in signature.inputs] == list(inputs)
    assert [spec.name for spec in signature.outputs] == list(expected)
    assert [spec.shape for spec in signature.inputs] == [each.shape for each in inputs.values()]
    typed = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in signature.inputs}
    found = answers(file_of(made), typed)
    for name, wanted in expected.items():
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, atol=atol, rtol=0)


def counted(made: Done) -> Counter[str]:
    tree = flatbuffer.read(file_of(made))
    return Counter(operator.name for operator in flatbuffer.operators(tree))


# -------------------------------------------------------------------------------- both ways


@pytest.mark.slow
@pytest.mark.parametrize("way", ["litert-torch", "torch.onnx → onnx2tf → TFLiteConverter"])
@pytest.mark.parametrize("net", ["cnn", "tokens", "recurrent"])
def test_both_ways_give_what_torch_gives(net: str, way: str, pool: Pool, cache: Cache) -> None:
    model = tflite_nets.model(net)
    step = float_step(model)
    assert step.otherwise is not None
    made = done(step if way == "litert-torch" else step.otherwise, pool, cache)

    assert made.result["way"] == way
    assert made.result["parent"] == model.digest
    like_torch(made, model, pool, cache)


@pytest.mark.slow
def test_a_channels_first_network_keeps_two_transposes_and_says_so(
    pool: Pool, cache: Cache
) -> None:
    """One at the input, one at the output that is an image; the mean reads its image as it is."""
    made = done(float_step(tflite_nets.model("cnn")), pool, cache)

    assert counted(made)["TRANSPOSE"] == 2
    assert "2 TRANSPOSE operators are in the graph" in made.result["notes"]


@pytest.mark.slow
def test_narrower_types_are_told(pool: Pool, cache: Cache) -> None:
    made = done(float_step(tflite_nets.model("tokens")), pool, cache)

    assert "words is int32 in the artifact and int64 in the model" in made.result["notes"]


@pytest.mark.slow
def test_a_recurrent_network_has_an_integer_form(tmp_path: Path, pool: Pool, cache: Cache) -> None:
    model, data = tflite_nets.model("recurrent"), samples(tmp_path / "data", rows=(5, 4))
    step = TFLiteExporter().step(model, named_recipe("int8"), data)
    made = done(step, pool, cache)
    inputs, expected = torch_says(model, pool, cache)

    assert made.result["way"] == "litert-torch, then ai-edge-quantizer"
    error = answers(file_of(made), inputs)["last"] - expected["last"]
    assert np.linalg.norm(error) < 0.15 * np.linalg.norm(expected["last"])


LAYERS = ("conv", "depth", "turned", "norm", "double", "half", "relu", "silu", "pool", "mean",
          "grow", "pad", "soft", "gate", "swap")  # fmt: skip


@pytest.mark.slow
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.lists(st.sampled_from(LAYERS), min_size=2, max_size=5))
def test_random_networks_come_out_the_same_both_ways(
    words: list[str], pool: Pool, cache: Cache
) -> None:
    model = tflite_nets.model("-".join(words))
    step = float_step(model)
    assert step.otherwise is not None

    for way in (step, step.otherwise):
        like_torch(done(way, pool, cache), model, pool, cache)


# ----------------------------------------------------------------------- what goes wrong


@pytest.mark.slow
def test_the_other_way_is_taken_and_told_of(pool: Pool, cache: Cache) -> None:
    model = tflite_nets.model("only_onnx")
    made = done(float_step(model), pool, cache)

    (failure,) = made.instead_of
    assert "litert-torch has no way to do aten._trilinear" in failure.message
    assert "tflite_nets.py:" in failure.message
    assert made.result["way"] == "torch.onnx → onnx2tf → TFLiteConverter"
    like_torch(made, model, pool, cache)


@pytest.mark.slow
def test_an_operator_that_no_way_has_is_named_with_the_line(pool: Pool, cache: Cache) -> None:
    with pytest.raises(
        ConversionError, match=r"litert-torch has no way to do aten\.erfinv"
    ) as caught:
        done(float_step(tflite_nets.model("nowhere")), pool, cache)

    assert "in forward: return (torch.erfinv(rows),)" in str(caught.value)


def test_words_of_litert_torch_become_one_line() -> None:
    text = (
        "Lowering not found: aten.erfinv.default\n\nWhile executing %erfinv : [num_users=1] = "
        "call_function[target=torch.ops.aten.erfinv.default](args = (%add,), kwargs = {})\n"
        "Original traceback:\n"
        'File "/somewhere/net.py", line 10, in forward\n    return self.block(x)\n'
        'File "/py/site-packages/torch/nn/modules/linear.py", line 1, in forward\n    F.linear\n'
    )
    error = explained(RuntimeError(text))

    assert error.message == (
        "litert-torch has no way to do aten.erfinv (at net.py:10 in forward: return self.block(x))"
    )
    assert "ONNX" in error.hint


def test_a_failed_lowering_names_the_line_it_came_from() -> None:
    text = (
        "Failed to run converter passes: /x/net.py:7:0: error: failed to legalize 'tfl.mul'\nmore"
    )

    assert explained(ValueError(text)).message == (
        "litert-torch cannot lower the model to TFLite: failed to legalize 'tfl.mul' (at net.py:7)"
    )


def test_an_error_without_an_operator_is_still_one_line() -> None:
    error = explained(AssertionError("Number of input tokens (1)\ndoes not match"))

    assert error.message.startswith(
        "litert-torch failed: AssertionError: Number of input tokens (1)"
    )
