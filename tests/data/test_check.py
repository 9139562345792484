"""A data set against a model's signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.errors import DataError, UsageError
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.data import check_data, check_labels, sample_notes
from tests.data.conftest import Read


def signature(*shape: int, dtype: str = "float32", classes: int = 10) -> Signature:
    return Signature(
        inputs=(TensorSpec(name="image", shape=(1, *shape), dtype=dtype),),
        outputs=(TensorSpec(name="scores", shape=(1, classes), dtype="float32"),),
    )


def data(*shape: int, dtype: str = "float32", high: float = 1, **more: Any) -> DataSet:
    facts = ArrayFacts(shape=shape, dtype=dtype, minimum=0, maximum=high)
    fields: dict[str, Any] = {"inputs": ("",), "facts": (facts,), **more}
    return DataSet(folder="", count=5, digest="", origin="a.npz", choice="all 5", **fields)


def test_what_fits_is_fine() -> None:
    assert check_data(data(8, 8, 1), signature(8, 8, 1)) == ()
    assert check_data(data(8, 8, 1, inputs=("image",)), signature(8, 8, 1)) == ()


@pytest.mark.parametrize(
    ("have", "wanted", "dtype", "hint"),
    [
        ((3, 8, 9), (8, 9, 3), "float32", "channels come first here"),
        ((8, 9, 3), (3, 8, 9), "float32", "layout=CHW"),
        ((30, 40, 3), (8, 9, 3), "uint8", "add resize=8x9"),
        ((8, 9, 3), (8, 9, 1), "uint8", "color=gray"),
        ((8, 9), (8, 9, 1), "float32", "channel axis is missing"),
        ((1, 8, 9, 3), (8, 9, 3), "float32", "batch axis of its own"),
        ((9, 3), (8, 9, 3), "float32", "a single sample"),
        ((64,), (8, 8, 1), "float32", r"x\.reshape\(-1, 8, 8, 1\)"),
        ((5,), (8, 8, 1), "float32", "the first axis of an array is the samples"),
    ],
)
def test_another_shape_shows_both_and_what_may_be_wrong(
    have: tuple[int, ...], wanted: tuple[int, ...], dtype: str, hint: str
) -> None:
    with pytest.raises(DataError, match=hint) as error:
        check_data(data(*have, dtype=dtype), signature(*wanted), what="--calibration")
    assert "--calibration a.npz" in error.value.message
    assert "×".join(map(str, have)) in error.value.message
    assert f"image takes {'×'.join(map(str, wanted))}" in error.value.message


@pytest.mark.parametrize(
    ("have", "wanted", "high", "said"),
    [
        ("float32", "float32", 1, ""),
        ("uint8", "float32", 255, r"uint8 \(0 to 255\) is given to the model as float32, not sc"),
        ("float16", "float32", 1, "float16 is given to the model as float32"),
        ("bool", "float32", 1, "bool is given"),
        ("int64", "int32", 2**31 - 1, "int64 is given to the model as int32"),
        ("uint8", "int32", 255, "uint8 is given"),
    ],
)
def test_types_that_can_be_given(have: str, wanted: str, high: float, said: str) -> None:
    notes = check_data(data(4, dtype=have, high=high), signature(4, dtype=wanted))
    assert len(notes) == bool(said)
    if said:
        import re

        assert re.search(said, notes[0])


@pytest.mark.parametrize(
    ("have", "wanted", "high", "said"),
    [
        ("float32", "int32", 1, "fractions are never cut off silently"),
        ("float32", "uint8", 1, "the model's input image takes uint8"),
        ("int64", "int32", 2**31, "holds 0 to 2.14748e"),
        ("int32", "int8", 200, "takes int8, -128 to 127"),
    ],
)
def test_types_that_cannot(have: str, wanted: str, high: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        check_data(data(4, dtype=have, high=high), signature(4, dtype=wanted))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (("left", "right"), "has the arrays left, right; the model takes image"),
        (("picture",), "has the arrays picture; the model takes image"),
        (("", ""), "is 2 arrays without names; the model takes 1 input, image"),
    ],
)
def test_names_that_do_not_fit(inputs: tuple[str, ...], said: str) -> None:
    facts = data(4).facts * len(inputs)
    with pytest.raises(DataError, match=said):
        check_data(data(4, inputs=inputs, facts=facts), signature(4))


def test_one_array_for_several_inputs_says_how_to_name_them() -> None:
    spec = signature(4).inputs[0]
    two = Signature(
        inputs=(spec, spec.model_copy(update={"name": "mask"})), outputs=signature(4).outputs
    )
    with pytest.raises(
        DataError,
        match=r"a.npz is one array without a name; the model takes 2 inputs: image, mask\n"
        r".*savez\('data.npz', image=…, mask=…\)",
    ):
        check_data(data(4), two)


def test_labels_must_be_classes_of_the_model() -> None:
    labelled = data(4, labelled=True, label_range=(0, 9))
    assert check_data(labelled, signature(4)) == ()
    with pytest.raises(DataError, match=r"a label is 9, .* has classes 0 to 8\nlabels count from"):
        check_data(labelled, signature(4, classes=9))


def test_a_single_score_is_yes_or_no() -> None:
    assert check_data(data(4, labelled=True, label_range=(0, 1)), signature(4, classes=1)) == ()
    with pytest.raises(DataError, match="classes 0 to 1"):
        check_data(data(4, labelled=True, label_range=(0, 2)), signature(4, classes=1))


def test_there_are_as_many_names_as_classes() -> None:
    assert check_labels((), signature(4, classes=3)) == ()
    assert check_labels(("a", "b", "c"), signature(4, classes=3)) == ()
    assert check_labels(("no", "yes"), signature(4, classes=1)) == ()
    with pytest.raises(UsageError, match=r"--labels has 2 names, .* scores has 3 classes\n"):
        check_labels(("a", "b"), signature(4, classes=3))
    with pytest.raises(UsageError, match=r"has 1 name, .* 2 classes \(a single score: no and yes"):
        check_labels(("a",), signature(4, classes=1))


def test_names_for_a_model_without_scores_are_kept_and_that_is_said() -> None:
    masks = TensorSpec(name="mask", shape=(1, 8, 8, 2), dtype="float32")
    both = Signature(inputs=signature(4).inputs, outputs=(masks,))
    (note,) = check_labels(("sky", "road"), both)
    assert "not used for scores" in note


@pytest.mark.parametrize(
    ("values", "ranges", "said"),
    [
        ([[1, 2]], True, ["1 sample; INT8 ranges need about 100 typical ones"]),
        ([[1, 2]], False, ["1 sample; one answer says little of how well the model does"]),
        ([[1, 2], [3, 4]], True, ["2 samples; INT8 ranges need about 100 typical ones"]),
        ([[1, 2], [3, 4]], False, []),
        ([[i, 2] for i in range(10)], True, []),
        ([[1, 2]] * 12, True, ["all samples are equal"]),
        ([[0, 0]] * 12, False, ["all samples are equal", "every value is 0"]),
    ],
)
def test_samples_of_little_worth_are_pointed_out(
    tmp_path: Path, read: Read, values: list[list[float]], ranges: bool, said: list[str]
) -> None:
    np.save(tmp_path / "a.npy", np.array(values, np.float32))
    assert list(sample_notes(read(tmp_path / "a.npy"), ranges=ranges)) == said


def test_labels_that_nothing_can_be_compared_with_are_not_dropped_silently() -> None:
    image_out = Signature(
        inputs=signature(4).inputs,
        outputs=(TensorSpec(name="mask", shape=(1, 8, 8, 2), dtype="float32"),),
    )
    notes = check_data(data(4, labelled=True, label_range=(0, 1)), image_out)
    assert notes == (
        "the labels are not used: the model has no single output of class scores "
        "(it gives mask 8×8×2)",
    )


def test_what_labels_are_measured_by_is_asked(tmp_path: Path) -> None:
    def fit(signature: Signature, dataset: DataSet) -> None:
        raise DataError(f"{dataset.count} labels do not fit {signature.outputs[0].name}", hint="so")

    with pytest.raises(DataError, match=r"^--evaluate a.npz: 5 labels do not fit scores\nso$"):
        check_data(data(8), signature(8), what="--evaluate", fit=fit)
