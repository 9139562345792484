"""Loaded Keras models: signatures, answers, layers, and what is said when one does not load.

These run TensorFlow in the test's own process, Keras 2 and Keras 3 side by side, as a worker does.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.errors import (
    EdgekitError,
    ModelError,
    UntrustedModelError,
    UsageError,
)
from edgekit.core.model import Model, ModelOptions
from edgekit.core.tensor import Signature
from edgekit.sources.keras import KerasSource

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")


def load(path: Path | str, **shapes: tuple[int, ...]) -> Any:
    from edgekit.sources import keras_worker

    return keras_worker.load(KerasSource().open(str(path), ModelOptions(shapes=shapes)))


def refusal(path: Path | str, **options: tuple[int, ...]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load(path, **options)
    assert len(str(caught.value).splitlines()) <= 2
    return caught.value


def words(signature: Signature) -> tuple[list[str], list[str]]:
    return [str(spec) for spec in signature.inputs], [str(spec) for spec in signature.outputs]


FORMS = ["{}.keras", "{}.h5"]


def test_a_model_that_is_overwritten_meanwhile_is_refused(zoo: Path, tmp_path: Path) -> None:
    """All that is made from it would be kept under the digest of what was there before."""
    from edgekit.sources import keras_worker

    path = tmp_path / "model.keras"
    shutil.copyfile(zoo / "cnn.keras", path)
    handle = KerasSource().open(str(path), ModelOptions())
    shutil.copyfile(zoo / "list.keras", path)
    for _ in range(2):
        with pytest.raises(ModelError, match="was changed while it was being converted"):
            keras_worker.load(handle)


# -------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("form", FORMS)
def test_the_batch_is_one_and_names_are_the_users(zoo: Path, form: str) -> None:
    assert words(load(zoo / form.format("cnn")).signature) == (
        ["image float32 1×8×8×1"],
        ["scores float32 1×10"],
    )


@pytest.mark.parametrize("form", FORMS)
def test_several_inputs_and_outputs_keep_names_and_order(zoo: Path, form: str) -> None:
    assert words(load(zoo / form.format("list")).signature) == (
        ["zeta float32 1×4", "gamma float32 1×4"],
        ["z float32 1×4", "a float32 1×4"],
    )
    assert words(load(zoo / form.format("dict")).signature)[1] == [
        "delta float32 1×3",
        "total float32 1×3",
    ]


def test_a_saved_model_keeps_the_names_of_its_signature(keras3: Path, keras2: Path) -> None:
    assert words(load(keras3 / "dict").signature) == (
        ["alpha float32 1×4", "beta float32 1×4"],
        ["delta float32 1×3", "total float32 1×3"],
    )
    assert words(load(keras2 / "cnn").signature) == (
        ["image float32 1×8×8×1"],
        ["scores float32 1×10"],
    )


def test_open_dimensions_take_the_given_size(zoo: Path) -> None:
    for shape in ((1, 16, 12, 3), (16, 12, 3)):
        signature = load(zoo / "open.keras", image=shape).signature
        assert words(signature)[0] == ["image float32 1×16×12×3"]


@pytest.mark.parametrize(
    ("name", "shapes", "said"),
    [
        ("open", {}, "open dimensions: ?×?×?×3"),
        ("open", {"image": (1, 16, 16, 1)}, "cannot be 1×16×16×1"),
        ("open", {"image": (16, 16)}, "cannot be 16×16"),
        ("open", {"picture": (1, 16, 16, 3)}, "no input called 'picture'; its inputs: image"),
        ("open", {"image": (2, 16, 16, 3)}, "cannot be 2×16×16×3"),
        ("batch4", {}, "fixed batch of 4"),
    ],
)
def test_shapes_that_do_not_fit(
    zoo: Path, name: str, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    assert said in refusal(zoo / f"{name}.keras", **shapes).message


def test_an_open_size_names_the_option(keras3: Path) -> None:
    assert "--shape image=1,224,224,3" in refusal(keras3 / "open.keras").hint


# ----------------------------------------------------------------------------- answers


@pytest.mark.parametrize("form", [*FORMS, "{}"])
def test_names_lead_to_the_right_values(zoo: Path, form: str) -> None:
    """Both inputs and both outputs have the same shapes, so only their names tell them apart."""
    model = load(zoo / form.format("dict"))
    alpha = np.ones((2, 4), np.float32)
    answers = model.run({"beta": 2 * alpha, "alpha": alpha})
    swapped = model.run({"beta": alpha, "alpha": 2 * alpha})
    total, delta = sorted(answers, reverse=True)  # Keras 2 names a SavedModel's by their layers
    if form == "{}" and zoo.name.endswith("keras2"):
        total, delta = "a", "b"

    np.testing.assert_allclose(answers[total], swapped[total], rtol=1e-6)
    np.testing.assert_allclose(answers[delta], -swapped[delta], rtol=1e-6)


def test_many_samples_are_the_same_as_one_by_one(zoo: Path) -> None:
    model = load(zoo / "cnn.keras")
    images = np.random.default_rng(0).normal(size=(70, 8, 8, 1)).astype(np.float32)
    together = model.run({"image": images})["scores"]
    apart = [model.run({"image": image[np.newaxis]})["scores"][0] for image in images]

    assert together.shape == (70, 10)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


def test_a_missing_input_is_named(zoo: Path) -> None:
    with pytest.raises(ModelError, match="no data for input 'beta'"):
        load(zoo / "dict.keras").run({"alpha": np.zeros((1, 4))})


def test_layers_come_in_order_with_inner_models_opened(zoo: Path) -> None:
    model = load(zoo / "nested.keras")
    inputs = {"image": np.ones((2, 8, 8, 1), np.float32)}
    layers = model.layers(inputs)

    assert list(layers) == ["base/conv", "base/flatten", "base", "head"]
    np.testing.assert_allclose(layers["head"], model.run(inputs)["head"], rtol=1e-5)
    assert layers["base/conv"].shape == (2, 6, 6, 8)


def test_looking_at_layers_leaves_the_model_as_it_was(zoo: Path) -> None:
    model = load(zoo / "nested.keras")
    inputs = {"image": np.ones((1, 8, 8, 1), np.float32)}

    assert list(model.layers(inputs)) == list(model.layers(inputs))
    assert all("call" not in vars(layer) for layer in model._live._flatten_layers())


def test_a_saved_model_has_operations_for_layers(keras3: Path) -> None:
    layers = load(keras3 / "cnn").layers({"image": np.ones((1, 8, 8, 1), np.float32)})

    assert [name.rpartition("/")[2] for name in layers][-1] in ("BiasAdd", "MatMul", "add")
    assert any("second" in name for name in layers)


def test_a_recurrent_saved_model_has_layers_too(zoo: Path) -> None:
    layers = load(zoo / "lstm").layers({"rows": np.ones((1, 8, 8), np.float32)})

    assert any("out" in name for name in layers)


# ----------------------------------------------------------------------- what goes wrong


def test_weights_of_another_architecture(zoo: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.keras"
    with (
        zipfile.ZipFile(zoo / "cnn.keras") as one,
        zipfile.ZipFile(zoo / "nested.keras") as other,
        zipfile.ZipFile(mixed, "w") as file,
    ):
        file.writestr("metadata.json", one.read("metadata.json"))
        file.writestr("config.json", one.read("config.json"))
        file.writestr("model.weights.h5", other.read("model.weights.h5"))

    assert "weights do not fit" in refusal(mixed).message


def test_weights_of_another_architecture_in_hdf5(zoo: Path, tmp_path: Path) -> None:
    import h5py

    mixed = tmp_path / "mixed.h5"
    shutil.copy(zoo / "cnn.h5", mixed)
    with h5py.File(mixed, "r+") as file, h5py.File(zoo / "nested.h5") as other:
        del file["model_weights"]
        other.copy("model_weights", file)

    assert "weights do not fit" in refusal(mixed).message


def test_a_class_that_is_not_in_the_file(zoo: Path) -> None:
    with pytest.raises(UntrustedModelError, match="Plain"):
        load(zoo / "unregistered.h5")


def test_damaged_weights(zoo: Path, tmp_path: Path) -> None:
    whole = bytearray((zoo / "cnn.keras").read_bytes())
    at = whole.find(b"\x89HDF") + 600
    whole[at : at + 200] = bytes(200)
    (tmp_path / "damaged.keras").write_bytes(whole)

    refusal(tmp_path / "damaged.keras")


@pytest.mark.parametrize(
    ("raised", "made", "said"),
    [
        (ValueError("A total of 3 objects could not be loaded"), ModelError, "weights do not fit"),
        (ValueError("Layer count mismatch when loading weights"), ModelError, "weights do not fit"),
        (TypeError("Could not locate class 'Mine'. Make sure"), UntrustedModelError, "Mine"),
        (ValueError("Unknown layer: 'Mine'. Please ensure"), UntrustedModelError, "Mine"),
        (ValueError("Unknown activation function: mine"), UntrustedModelError, "mine"),
        (ValueError("Requested the deserialization of a Lambda layer… safe_mode=False"),
         UntrustedModelError, "code"),
        (KeyError("config"), ModelError, "cannot be loaded: KeyError: 'config'"),
        (OSError("Unable to synchronously open file"), ModelError, "cannot be loaded: OSError"),
        (RuntimeError(""), ModelError, "cannot be loaded: RuntimeError"),
        (ModelError("ours"), ModelError, "ours"),
    ],
)  # fmt: skip
def test_every_foreign_error_becomes_one_of_ours(
    raised: Exception, made: type[EdgekitError], said: str
) -> None:
    from edgekit.sources.keras_worker import translated

    with pytest.raises(made, match=said) as caught, translated("model.keras"):
        raise raised

    assert caught.value is raised or caught.value.__cause__ is raised
    assert len(str(caught.value).splitlines()) <= 2


# --------------------------------------------------------------------------- functions

PACKAGE = """
import keras

class Scaled(keras.layers.Layer):
    def call(self, x):
        return x * 2

def build():
    x = keras.layers.Input((3,), name="x")
    return keras.Model(x, keras.layers.Dense(2, name="y")(Scaled()(x)))

def not_a_model():
    return 42

def broken():
    raise ZeroDivisionError("in the user's code")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "users_models.py").write_text(PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "users_models"
    sys.modules.pop("users_models", None)


def materialised(reference: str, out: Path) -> Model:
    from edgekit.sources import keras_worker

    model = KerasSource().open(reference, ModelOptions())
    return Model.from_json(keras_worker.materialise(out, model=model.to_json())["model"])


def test_a_function_becomes_a_file(package: str, tmp_path: Path) -> None:
    from edgekit.sources import keras_worker

    model = materialised(f"{package}:build", tmp_path)
    assert model.kind == "keras3"
    assert len(model.digest) == 64

    keras_worker._loaded.clear()  # as another process would find it
    loaded = keras_worker.load(model.model_copy(update={"path": str(tmp_path / model.path)}))
    assert words(loaded.signature) == (["x float32 1×3"], ["y float32 1×2"])


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("not_a_model", ModelError, "returned a int, not a Keras model"),
        ("broken", ModelError, "raised ZeroDivisionError: in the user's code"),
        ("missing", UsageError, "has no 'missing'"),
    ],
)
def test_functions_that_give_no_model(
    package: str, tmp_path: Path, name: str, error: type[EdgekitError], said: str
) -> None:
    with pytest.raises(error, match=said):
        materialised(f"{package}:{name}", tmp_path)


def test_the_model_loaded_last_stays(zoo: Path) -> None:
    first = load(zoo / "cnn.keras")

    assert load(zoo / "cnn.keras") is first
    assert load(zoo / "nested.keras") is not first
    assert load(zoo / "cnn.keras") is not first


@pytest.mark.slow
def test_a_model_that_a_function_makes_anew_is_the_same_file(tmp_path: Path) -> None:
    """Or nothing that was made of it, a training above all, would be found again."""
    import keras

    from edgekit.sources.keras_worker import repeatable

    files = []
    for name in ("one.keras", "two.keras"):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        image, shared = keras.Input((6, 6, 1)), keras.layers.Dense(4)
        x = keras.layers.Dense(4)(keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(image)))
        keras.Model(image, shared(shared(x))).save(tmp_path / name)
        repeatable(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    again = keras.models.load_model(tmp_path / "one.keras")
    assert again.count_params() == 20 + (32 * 4 + 4) + 20
