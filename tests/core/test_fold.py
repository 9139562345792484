"""What moves into an artifact, and what stays to be done before it."""

from __future__ import annotations

import pytest

from edgekit.core.errors import UsageError
from edgekit.core.fold import fold
from edgekit.core.model import InputForm
from edgekit.core.preprocess_text import format_operation, read_preprocessing

IMAGENET = "resize=224x224,normalize=123.675:116.28:103.53/58.395:57.12:57.375,layout=CHW"


def left(text: str, **options: object) -> tuple[list[str], InputForm]:
    kept, form = fold(read_preprocessing(text), **options)  # type: ignore[arg-type]
    return [format_operation(op) for op in kept.operations], form


def test_nothing_asked_nothing_moves() -> None:
    operations, form = left(IMAGENET, layout="", raw_pixels=False)
    assert len(operations) == 3
    assert form == InputForm()


def test_another_layout_takes_the_move_of_the_channels_along() -> None:
    operations, form = left(IMAGENET, layout="nhwc", raw_pixels=False)
    assert [each.partition("=")[0] for each in operations] == ["resize", "normalize"]
    assert form == InputForm(layout="nhwc")


def test_raw_pixels_leave_only_what_is_done_to_pictures() -> None:
    operations, form = left(IMAGENET, layout="", raw_pixels=True)
    assert operations == ["resize=224x224:bilinear"]
    assert form.dtype == "uint8"
    assert form.layout == "nhwc"  # a picture comes with its channels last
    assert form.mean == pytest.approx((123.675, 116.28, 103.53))
    assert form.std == pytest.approx((58.395, 57.12, 57.375))


def test_raw_pixels_without_normalisation_only_change_the_type() -> None:
    operations, form = left("resize=8x8,cast=float32", layout="", raw_pixels=True)
    assert operations == ["resize=8x8:bilinear"]
    assert form == InputForm(dtype="uint8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("normalize=0/1,normalize=0/1", "normalize, twice"),
        ("normalize=0/1,quantize=0.1/0:int8", "quantize"),
    ],
)
def test_what_cannot_move_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"cannot move {said}"):
        left(text, layout="", raw_pixels=True)
