"""From a saved Keras model to TFLite files, through real worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.errors import (
    ConversionError,
    DataError,
    EdgekitError,
    ModelError,
    PlanError,
    UsageError,
)
from edgekit.core.files import sha256_file
from edgekit.core.model import InputForm, Model, ModelOptions
from edgekit.core.recipe import BUILTIN, Recipe, named_recipe
from edgekit.core.tensor import Signature
from edgekit.export import EXPORTERS
from edgekit.export.delegates import DELEGATES
from edgekit.export.tflite import TFLiteExporter
from edgekit.sources.keras import KerasSource
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One set of warm workers for all tests of this file."""
    with Pool() as workers:
        yield workers


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def opened(path: Path, **shapes: tuple[int, ...]) -> Model:
    return KerasSource().open(str(path), ModelOptions(shapes=shapes))


def samples(folder: Path, count: int = 20, **arrays: tuple[int, ...]) -> DataSet:
    """Normal numbers for each input, by name and shape of one sample."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index, shape in enumerate(arrays.values()):
        np.save(folder / f"{index}.npy", rng.normal(size=(count, *shape)).astype(np.float32))
    return DataSet(
        folder=str(folder),
        inputs=tuple(arrays),
        count=count,
        digest=f"{sorted(arrays.items())}{count}",
        origin="test",
        choice="all",
    )


def export(
    model: Model, variant: str, pool: Pool, cache: Cache, calibration: DataSet | None = None
) -> Done:
    step = TFLiteExporter().step(model, BUILTIN[variant], calibration)
    return done(step, pool, cache)


def done(step: Step, pool: Pool, cache: Cache) -> Done:
    outcome = run_steps([step], pool=pool, cache=cache)[step]
    if isinstance(outcome, EdgekitError):
        raise outcome
    return outcome


def file_of(made: Done) -> Path:
    return made.folder / made.result["files"][0]


def answers(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """What LiteRT says for one sample, as real numbers, by the signature's names."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    given = {}
    for name, detail in run.get_input_details().items():
        scale, zero = detail["quantization"]
        value = inputs[name]
        given[name] = value if not scale else _stored(value, scale, zero, detail["dtype"])
    found = run(**given)
    details = run.get_output_details()
    return {name: _real(value, *details[name]["quantization"]) for name, value in found.items()}


def _stored(value: Any, scale: float, zero: int, dtype: Any) -> Any:
    bounds = np.iinfo(dtype)
    return np.clip(np.round(value / scale) + zero, bounds.min, bounds.max).astype(dtype)


def _real(value: Any, scale: float, zero: int) -> Any:
    return (value.astype(np.float64) - zero) * scale if scale else value


IMAGE = {"image": (8, 8, 1)}


# ------------------------------------------------------------------------------- variants


@pytest.mark.parametrize("variant", BUILTIN)
def test_every_variant_answers_like_the_float_file(
    zoo: Path, tmp_path: Path, pool: Pool, cache: Cache, variant: str
) -> None:
    model, data = opened(zoo / "cnn.keras"), samples(tmp_path / "data", **IMAGE)
    made = export(model, variant, pool, cache, data)
    reference = export(model, "float32", pool, cache)
    signature = Signature.from_json(made.result["signature"])

    assert signature.name == "serving_default"
    assert [spec.name for spec in signature.inputs] == ["image"]
    assert [spec.name for spec in signature.outputs] == ["scores"]
    assert signature.inputs[0].shape == (1, 8, 8, 1)
    assert signature.inputs[0].dtype == ("int8" if variant == "int8-io" else "float32")
    image = data.arrays()[0][:1]
    expected = answers(file_of(reference), {"image": image})["scores"]
    error = answers(file_of(made), {"image": image})["scores"] - expected
    allowed = 0.25 if variant == "int4" else 0.05  # 15 steps for weights of normal numbers
    assert np.linalg.norm(error) < allowed * np.linalg.norm(expected)


def test_smaller_variants_are_smaller(
    keras3: Path, tmp_path: Path, pool: Pool, cache: Cache
) -> None:
    model, data = opened(keras3 / "cnn.keras"), samples(tmp_path / "data", **IMAGE)
    sizes = {
        variant: file_of(export(model, variant, pool, cache, data)).stat().st_size
        for variant in ("float32", "float16", "dynamic", "int8")
    }

    assert sizes["float16"] < 0.65 * sizes["float32"]
    assert sizes["dynamic"] < 0.5 * sizes["float32"]
    assert sizes["int8"] < 0.5 * sizes["float32"]


def test_integer_borders_carry_scale_and_zero_point(
    keras3: Path, tmp_path: Path, pool: Pool, cache: Cache
) -> None:
    data = samples(tmp_path / "data", **IMAGE)
    made = export(opened(keras3 / "cnn.keras"), "int8-io", pool, cache, data)
    (spec,) = Signature.from_json(made.result["signature"]).inputs
    quantization = spec.quantization
    images = data.arrays()[0]

    assert quantization is not None
    low = quantization.scale[0] * (-128 - quantization.zero_point[0])
    high = quantization.scale[0] * (127 - quantization.zero_point[0])
    step = quantization.scale[0]
    assert low == pytest.approx(images.min(), abs=step)  # the least and greatest, no average
    assert high == pytest.approx(images.max(), abs=step)


# ------------------------------------------------------------------------------ the graph


def test_variants_share_the_float_file_and_the_ranges(keras3: Path, tmp_path: Path) -> None:
    model, data = opened(keras3 / "cnn.keras"), samples(tmp_path / "data", **IMAGE)
    step = {name: TFLiteExporter().step(model, recipe, data) for name, recipe in BUILTIN.items()}

    assert {s.needs["float"].key for n, s in step.items() if n != "float32"} == {
        step["float32"].key
    }
    assert step["int8"].needs["ranges"].key == step["int8-io"].needs["ranges"].key
    assert len({s.key for s in step.values()}) == len(step)


def test_a_second_time_is_found_and_starts_no_worker(
    keras3: Path, tmp_path: Path, pool: Pool, cache: Cache
) -> None:
    model, data = opened(keras3 / "cnn.keras"), samples(tmp_path / "data", **IMAGE)
    export(model, "int8", pool, cache, data)
    with Pool() as untouched:
        again = export(model, "int8", untouched, cache, data)

        assert again.cached
        assert not untouched._workers


def test_the_parent_is_named(keras3: Path, tmp_path: Path, pool: Pool, cache: Cache) -> None:
    model, data = opened(keras3 / "cnn.keras"), samples(tmp_path / "data", **IMAGE)
    base = export(model, "float32", pool, cache)
    made = export(model, "int8", pool, cache, data)

    assert base.result["parent"] == model.digest
    assert made.result["parent"] == sha256_file(file_of(base))
    assert made.result["way"] == f"{base.result['way']}, then ai-edge-quantizer"


# ------------------------------------------------------------------------ other models


@pytest.mark.parametrize("form", ["dict.keras", "dict.h5", "dict"])
@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_inputs_and_outputs_are_not_mixed_up(
    zoo: Path, tmp_path: Path, pool: Pool, cache: Cache, form: str, variant: str
) -> None:
    """Two inputs and two outputs of the same shape: a sum stays when they are swapped, a
    difference changes its sign."""
    data = samples(tmp_path / "data", count=50, beta=(4,), alpha=(4,))
    made = export(opened(zoo / form), variant, pool, cache, data)
    beta, alpha = (array[:1] for array in data.arrays())
    answer = answers(file_of(made), {"alpha": alpha, "beta": beta})
    swapped = answers(file_of(made), {"alpha": beta, "beta": alpha})
    layers = form == "dict" and zoo.name.endswith("keras2")
    total, delta = ("a", "b") if layers else ("total", "delta")

    assert sorted(answer) == sorted([total, delta])
    scale = np.abs(answer[total]).max()
    np.testing.assert_allclose(answer[total], swapped[total], atol=0.05 * scale)
    np.testing.assert_allclose(answer[delta], -swapped[delta], atol=0.05 * scale)


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic"])
def test_a_recurrent_model_forgets_between_calls(
    zoo: Path, pool: Pool, cache: Cache, variant: str
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    made = export(opened(zoo / "lstm.keras"), variant, pool, cache)
    run = Interpreter(model_path=str(file_of(made))).get_signature_runner("serving_default")
    rows = np.random.default_rng(0).normal(size=(1, 8, 8)).astype(np.float32)

    np.testing.assert_array_equal(run(rows=rows)["out"], run(rows=rows)["out"])


def test_a_loop_has_no_integer_form(zoo: Path, tmp_path: Path, pool: Pool, cache: Cache) -> None:
    data = samples(tmp_path / "data", rows=(8, 8))

    with pytest.raises(ConversionError, match="WHILE") as caught:
        export(opened(zoo / "lstm.keras"), "int8", pool, cache, data)

    assert "unroll=True" in caught.value.hint


def test_an_unrolled_recurrent_model_has_one(
    zoo: Path, tmp_path: Path, pool: Pool, cache: Cache
) -> None:
    model, data = opened(zoo / "unrolled.keras"), samples(tmp_path / "data", rows=(4, 8))
    made = export(model, "int8", pool, cache, data)
    reference = export(model, "float32", pool, cache)
    rows = {"rows": data.arrays()[0][:1]}
    expected = answers(file_of(reference), rows)["out"]

    error = answers(file_of(made), rows)["out"] - expected
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(expected)


def test_sizes_given_by_the_user_are_in_the_file(zoo: Path, pool: Pool, cache: Cache) -> None:
    made = export(opened(zoo / "open.keras", image=(1, 20, 24, 3)), "float32", pool, cache)

    assert Signature.from_json(made.result["signature"]).inputs[0].shape == (1, 20, 24, 3)


# --------------------------------------------------------------------------------- forms


@pytest.mark.parametrize("form", ["cnn.keras", "cnn"])
def test_an_image_can_come_as_raw_pixels_in_another_layout(
    zoo: Path, pool: Pool, cache: Cache, form: str
) -> None:
    """The same as if a program had normalised and turned it before."""
    wish = InputForm(layout="nchw", dtype="uint8", mean=(127.5,), std=(60.0,))
    path = zoo / form
    plain = export(opened(path), "float32", pool, cache)
    name = Signature.from_json(plain.result["signature"]).inputs[0].name
    raw = KerasSource().open(str(path), ModelOptions(forms={name: wish}))
    made = export(raw, "float32", pool, cache)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 8)).astype(np.uint8)
    ready = ((pixels.astype(np.float32) - 127.5) / 60).transpose(0, 2, 3, 1)
    (spec,) = Signature.from_json(made.result["signature"]).inputs
    found, expected = answers(file_of(made), {name: pixels}), answers(file_of(plain), {name: ready})

    assert (spec.shape, spec.dtype) == ((1, 1, 8, 8), "uint8")
    for label, wanted in expected.items():
        np.testing.assert_allclose(found[label], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forms": {"picture": InputForm(dtype="uint8")}}, "no input called 'picture'"),
        ({"forms": {"image": InputForm(mean=(1.0, 2.0))}}, "has 1 channels; 2 numbers are given"),
        ({"forms": {"": InputForm(std=(0.0,))}}, "standard deviation of 0"),
        ({"dims": {"batch": (2, 2)}}, "have no names"),
    ],
)
def test_a_form_that_an_input_cannot_take(
    keras3: Path, pool: Pool, cache: Cache, options: dict[str, Any], message: str
) -> None:
    model = KerasSource().open(str(keras3 / "cnn.keras"), ModelOptions(**options))

    with pytest.raises(UsageError, match=message):
        export(model, "float32", pool, cache)


# ----------------------------------------------------------------------------- delegates


class Wrapping:
    """A delegate that puts a step of its own around the CPU's."""

    def step(self, made: Step, recipe: Recipe) -> Step:
        return Step("wrap", "tests.work.functions:write", "plain", {"text": recipe.delegate},
                    needs={"cpu": made})  # fmt: skip


def test_a_delegate_gets_the_step_that_the_cpu_variant_is(
    keras3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DELEGATES._builtin, "tflite/made-up", f"{__name__}:Wrapping")
    model, data = opened(keras3 / "cnn.keras"), samples(tmp_path / "data", **IMAGE)
    recipe = named_recipe("made-up-int8").model_copy(update={"options": {"size": "7"}})
    step = TFLiteExporter().step(model, recipe, data)

    assert step.arguments == {"text": "made-up"}
    assert step.needs["cpu"].key == TFLiteExporter().step(model, BUILTIN["int8"], data).key


# ------------------------------------------------------------------------ what goes wrong


def test_integer_variants_need_calibration(keras3: Path) -> None:
    with pytest.raises(PlanError, match="needs calibration data"):
        TFLiteExporter().step(opened(keras3 / "cnn.keras"), BUILTIN["int8"], None)


def test_an_operator_that_tflite_does_not_have(keras3: Path, pool: Pool, cache: Cache) -> None:
    with pytest.raises(ConversionError, match=r"no operator for .*Erfinv"):
        export(opened(keras3 / "unsupported"), "float32", pool, cache)


def test_nothing_to_quantize(keras3: Path, pool: Pool, cache: Cache) -> None:
    model = opened(keras3 / "no_weights.keras")

    with pytest.raises(ConversionError):
        export(model, "float16", pool, cache)


def test_samples_that_are_not_finite(
    keras3: Path, tmp_path: Path, pool: Pool, cache: Cache
) -> None:
    data = samples(tmp_path / "data", **IMAGE)
    images = np.load(tmp_path / "data" / "0.npy")
    images[3] = np.inf
    np.save(tmp_path / "data" / "0.npy", images)
    data = data.model_copy(update={"digest": "not finite"})

    with pytest.raises(DataError, match="calibration samples"):
        export(opened(keras3 / "cnn.keras"), "int8", pool, cache, data)


def test_samples_for_other_inputs(keras3: Path, tmp_path: Path, pool: Pool, cache: Cache) -> None:
    data = samples(tmp_path / "data", picture=(8, 8, 1))

    with pytest.raises(DataError, match="has the arrays picture; the model takes image"):
        export(opened(keras3 / "cnn.keras"), "int8", pool, cache, data)


def test_a_model_that_does_not_load_fails_in_two_lines(
    keras3: Path, pool: Pool, cache: Cache
) -> None:
    with pytest.raises(ModelError, match="open dimensions") as caught:
        export(opened(keras3 / "open.keras"), "float32", pool, cache)

    assert len(str(caught.value).splitlines()) == 2


def test_the_exporter_is_registered() -> None:
    assert EXPORTERS["tflite"] is TFLiteExporter
