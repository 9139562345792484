"""Data from the user's own function."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.core.errors import DataError, UsageError
from tests.data import functions
from tests.data.conftest import Read

HERE = "tests.data.functions"


@pytest.mark.parametrize("name", ["array", "labelled", "batches", "as_tflite_wants_it", "one_hot"])
def test_every_form_gives_the_same_samples(read: Read, name: str) -> None:
    data = read(f"{HERE}:{name}")
    assert (data.arrays()[0] == functions.IMAGES).all()
    assert data.inputs == ("",)
    labels = data.labels()
    assert labels is None or labels.tolist() == functions.LABELS.tolist()


def test_inputs_by_name_and_in_order(read: Read) -> None:
    assert read(f"{HERE}:named").inputs == ("a", "b")
    data = read(f"{HERE}:two_inputs")
    assert data.inputs == ("", "")
    assert [array.shape for array in data.arrays()] == [(6, 2, 2), (6, 2)]


@pytest.mark.parametrize("name", ["array", "batches"])
def test_the_choice_of_samples(read: Read, name: str) -> None:
    spread = read(f"{HERE}:{name}", samples=3)
    assert spread.arrays()[0][:, 0, 0].tolist() == [0, 8, 16]
    first = read(f"{HERE}:{name}", samples=3, choice="first")
    assert first.arrays()[0][:, 0, 0].tolist() == [0, 4, 8]
    assert first.choice == "the first 3"


def test_nan_is_found_in_what_is_not_chosen_too(read: Read) -> None:
    with pytest.raises(DataError, match="sample 5 holds NaN"):
        read(f"{HERE}:spoiled", samples=2)


def test_targets_are_kept_as_they_are(read: Read) -> None:
    data = read(f"{HERE}:masked", targets=True)
    assert (data.targets() == functions.IMAGES / 8).all()
    assert (read(f"{HERE}:labelled", targets=True).targets() == functions.LABELS).all()
    spread = read(f"{HERE}:masked", targets=True, samples=3)
    assert (spread.targets() == functions.IMAGES[::2] / 8).all()
    first = read(f"{HERE}:masked", targets=True, samples=3, choice="first")
    assert (first.targets() == functions.IMAGES[:3] / 8).all()


def test_targets_that_change_their_shape(read: Read) -> None:
    with pytest.raises(DataError, match="labels: sample 6 is 2, those before it are 2×2"):
        read(f"{HERE}:masked_otherwise", targets=True)


def test_an_endless_generator_can_be_taken_from(read: Read) -> None:
    assert read(f"{HERE}:endless", samples=7, choice="first").count == 7


def test_an_endless_generator_is_found_out(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data.functions.MAX_SAMPLES", 100)
    for choice in ({}, {"samples": 3}):
        with pytest.raises(DataError, match=r"did not end\n.*--choice first"):
            read(f"{HERE}:endless", **choice)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "raised ZeroDivisionError: division by zero in the user's code"),
        ("raises_later", "raised OSError: the camera is gone"),
        ("nothing", "gave a NoneType"),
        ("no_batches", "gave no samples"),
        ("text", "of <U1"),
        ("triple", "a tuple of 3"),
        ("labels_at_times", "gave 1 inputs and labels first and 1 inputs later"),
        ("uneven", "differ in their number of samples: 6, 3"),
        ("other_names", "gave a, b first and a, c later"),
        ("not_a_function", "is a int, not a function"),
    ],
)
def test_what_a_function_does_wrong_is_said(read: Read, name: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(f"{HERE}:{name}")


@pytest.mark.parametrize("reference", ["tests.data.functions:gone", "tests.data.gone:array"])
def test_a_function_that_is_not_there(read: Read, reference: str) -> None:
    with pytest.raises(UsageError, match="gone"):
        read(reference)


def test_a_function_is_called_every_time() -> None:
    from edgekit.core.preprocessing import Preprocessing
    from edgekit.data import open_data

    def step() -> Any:
        return open_data(f"{HERE}:array", preprocessing=Preprocessing())

    assert step().key != step().key
